//! Scores of what was asked, and which queries and trajectories stay.

use serde::Serialize;

use crate::judge::{Answer, Gathering, Items, Wanted, relevance};
use crate::selector::evaluate::score_of;
use crate::spec::{BuildParams, ScoreField};

use super::draw::{What, stream};
use super::plan::Group;
use super::recipe::Recipe;
use super::sequences::{Method, Sequence};

/// What the judge says of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    pub correct: bool,
    pub accuracy: f64,
    pub probability: Option<f64>,
    pub relevance: Option<f64>,
    pub text: String,
}

/// Scores sequences by the judge's answers.
pub struct Scorer<'a> {
    pub recipe: &'a Recipe,
    pub items: &'a Items,
    pub answers: &'a Gathering,
}

impl Scorer<'_> {
    /// Of the first `length` demonstrations of `sequence`; `None` where an answer is missing.
    pub fn scores(&self, group: &Group, sequence: &Sequence, length: usize) -> Option<Scores> {
        let answer = self.answers.answer(&group.question(sequence, length, Wanted::Answer))?;
        let probability = match self.recipe.probabilities() {
            false => None,
            true => {
                let found = self.answers.answer(&group.question(sequence, length, Wanted::Probability))?;
                Some(found.log_prob?.get().exp())
            }
        };
        let accepted = self.items.get(group.query).map_or(&[][..], |item| &item.answers);
        // A judge's own score is an accuracy, and right from one half on.
        let correct = score_of(ScoreField::Correct, answer, accepted)?.get() >= 0.5;
        Some(Scores {
            correct,
            accuracy: score_of(ScoreField::Accuracy, answer, accepted)?.get(),
            probability,
            relevance: said(answer).map(|text| relevance(text, accepted)),
            text: answer.text.trim().to_owned(),
        })
    }
}

/// The text of `answer`; a judge that gives scores may give none.
fn said(answer: &Answer) -> Option<&str> {
    (answer.score.is_none() || !answer.text.is_empty()).then_some(answer.text.as_str())
}

/// A scored query; sequences whose answer is missing have no scores.
#[derive(Clone, Debug)]
pub struct Scored<'a> {
    pub group: &'a Group,
    pub sequences: Vec<(&'a Sequence, Option<Scores>)>,
}

/// What was left out, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Sequences that would have been in a query twice.
    pub repeated: usize,
    /// Sequences that the judge gave no answer to.
    pub unanswered: usize,
    /// Queries that it answered nothing about.
    pub unanswered_queries: usize,
    /// `require_mixed`: queries all of whose sequences are wrong, and all right.
    pub all_wrong: usize,
    pub all_right: usize,
    /// `balance`: sequences of the more frequent kind.
    pub surplus: usize,
}

impl Left {
    /// The reasons that anything was left out for, with their counts.
    pub fn reasons(&self) -> Vec<(usize, &'static str)> {
        let Self { repeated, unanswered, unanswered_queries, all_wrong, all_right, surplus } = *self;
        let all = [
            (repeated, "sequences that would have been there twice"),
            (unanswered, "sequences without an answer"),
            (unanswered_queries, "queries without an answer"),
            (all_wrong, "queries whose sequences are all wrong"),
            (all_right, "queries whose sequences are all right"),
            (surplus, "sequences for balance"),
        ];
        all.into_iter().filter(|(count, _)| *count > 0).collect()
    }
}

/// Leaves what `params` want of `groups`.
pub fn shape<'a>(params: &BuildParams, groups: Vec<Scored<'a>>, left: &mut Left) -> Vec<Scored<'a>> {
    let mut kept = Vec::new();
    for mut scored in groups {
        left.unanswered += scored.sequences.iter().filter(|(_, scores)| scores.is_none()).count();
        let is = |right: bool| {
            let of = |(at, (_, scores)): (usize, &(&Sequence, Option<Scores>))| {
                scores.as_ref().is_some_and(|scores| scores.correct == right).then_some(at)
            };
            scored.sequences.iter().enumerate().filter_map(of).collect::<Vec<usize>>()
        };
        let (right, wrong) = (is(true), is(false));
        let why = match (right.len(), wrong.len()) {
            (0, 0) => Some(&mut left.unanswered_queries),
            (0, _) if params.require_mixed => Some(&mut left.all_wrong),
            (_, 0) if params.require_mixed => Some(&mut left.all_right),
            _ => None,
        };
        if let Some(why) = why {
            *why += 1;
            continue;
        }
        let fewer = right.len().min(wrong.len());
        if params.balance && fewer > 0 {
            let mut surplus = Vec::new();
            for side in [&right, &wrong] {
                let order = stream(params.seed, What::Balance, 0, scored.group.query).permutation(side.len());
                surplus.extend(order[fewer..].iter().map(|at| side[*at as usize]));
            }
            left.surplus += surplus.len();
            let mut at = 0;
            scored.sequences.retain(|_| {
                at += 1;
                !surplus.contains(&(at - 1))
            });
        }
        kept.push(scored);
    }
    kept
}

/// How the sequences of one method fare.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MethodFacts {
    pub trajectories: usize,
    pub correct: usize,
    /// Mean `vqa_acc_score`.
    pub accuracy: f64,
}

/// By method, of everything that was scored: also of what `shape` leaves out, which would distort it.
pub fn methods(groups: &[Scored]) -> std::collections::BTreeMap<Method, MethodFacts> {
    let mut facts = std::collections::BTreeMap::<Method, MethodFacts>::new();
    for (sequence, scores) in groups.iter().flat_map(|group| &group.sequences) {
        let Some(scores) = scores else { continue };
        let facts = facts.entry(sequence.method).or_default();
        facts.trajectories += 1;
        facts.correct += usize::from(scores.correct);
        facts.accuracy += scores.accuracy;
    }
    for facts in facts.values_mut() {
        facts.accuracy = super::files::short(facts.accuracy / facts.trajectories.max(1) as f64);
    }
    facts
}
