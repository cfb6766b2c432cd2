//! What every point chose for every query, small enough for a page: points that choose alike are one text, with a letter
//! per column and query that says which of the query's choices it is.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::report::curves::ranking;
use crate::report::matrix::Matrix;
use crate::store::{PointResult, SweepResults};

/// Bytes of all texts together. What has no room is left to `sweep why`.
const ROOM: usize = 1_500_000;
/// Bytes of all prompts together, likewise.
const PROMPTS: usize = 1_500_000;
/// The letter of a query's first choice; a space stands for a missing answer.
const FIRST: u32 = '0' as u32;

/// Demonstrations in order, and what the answer with them scored.
type Choice = (Vec<u32>, f64);

/// Where a judge was asked: what it was asked about a query with some demonstrations, and which answers would have been
/// right. `None` where that cannot be told any more.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub prompt: &'a dyn Fn(u64, &[u32]) -> Option<String>,
    pub accepted: &'a dyn Fn(u64) -> Option<String>,
}

/// The answers that a page holds.
pub struct Answers {
    /// Per column, the queries in the order of the evaluation file.
    queries: Vec<Vec<u64>>,
    /// Per column and query, what was chosen by anyone, and what it scored.
    choices: Vec<Vec<Vec<Choice>>>,
    /// For each of them, what the judge answered.
    said: Vec<Vec<Vec<Option<String>>>>,
    results: Vec<String>,
    /// Per point, its place among the results; `None` where there was no room.
    of: Vec<Option<usize>>,
}

impl Answers {
    /// The answers of the baseline, then of the best points, as many as there is room for; `None` without evaluation.
    pub fn of(results: &SweepResults, matrix: &Matrix) -> Option<Self> {
        let columns = &results.columns();
        let scored = results.points.iter().find(|point| !point.scores.is_empty())?;
        let ids =
            |column| scored.scores.get(column).map(|lines| lines.iter().map(|line| line.query_id).collect());
        let queries: Vec<Vec<u64>> = columns.iter().map(|column| ids(column).unwrap_or_default()).collect();
        let mut answers = Self {
            choices: queries.iter().map(|ids| vec![Vec::new(); ids.len()]).collect(),
            said: queries.iter().map(|ids| vec![Vec::new(); ids.len()]).collect(),
            queries,
            results: Vec::new(),
            of: vec![None; results.points.len()],
        };
        let mut used = 0;
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut letters: HashMap<&str, usize> = HashMap::new();
        for index in results.baseline.iter().copied().chain(ranking(matrix)) {
            let letter = matrix.points[index].identical.as_deref();
            if answers.of[index].is_none() {
                answers.of[index] = letter.and_then(|letter| letters.get(letter)).copied();
            }
            if answers.of[index].is_some() || used >= ROOM {
                continue;
            }
            let Some(text) = answers.text(&results.points[index], columns) else { continue };
            let next = answers.results.len();
            let place = *known.entry(text.clone()).or_insert(next);
            if place == next {
                used += text.len();
                answers.results.push(text);
            }
            letters.extend(letter.map(|letter| (letter, place)));
            answers.of[index] = Some(place);
        }
        Some(answers)
    }

    /// One letter per column and query; `None` where there are more choices than letters.
    fn text(&mut self, point: &PointResult, columns: &[usize]) -> Option<String> {
        let mut text = String::new();
        let places = self.queries.iter().zip(&mut self.choices).zip(&mut self.said);
        for (column, ((ids, choices), said)) in columns.iter().zip(places) {
            let lines = point.scores.get(column).map(Vec::as_slice).unwrap_or_default();
            let in_step =
                lines.len() == ids.len() && lines.iter().zip(ids).all(|(line, id)| line.query_id == *id);
            for (place, id) in ids.iter().enumerate() {
                let line =
                    if in_step { lines.get(place) } else { lines.iter().find(|line| line.query_id == *id) };
                let Some(line) = line else {
                    text.push(' ');
                    continue;
                };
                let choices = &mut choices[place];
                let score = line.score.get();
                let is_same = |(selection, other): &Choice| *selection == line.selection && *other == score;
                let code = choices.iter().position(is_same).unwrap_or_else(|| {
                    choices.push((line.selection.clone(), score));
                    said[place].push(line.answer.clone());
                    choices.len() - 1
                });
                // A letter behind the surrogates would be two of them to the script.
                let letter = FIRST + u32::try_from(code).ok()?;
                text.push(char::from_u32(letter).filter(|_| letter < 0xd800)?);
            }
        }
        Some(text)
    }

    /// What the judge was asked, and what it said: per column, query and choice. Prompts that have no room are left to
    /// `sweep why`.
    fn asked(&self, asked: Asked) -> Value {
        let mut room = PROMPTS;
        let mut prompt = |id: u64, (selection, _): &Choice| {
            let text = (asked.prompt)(id, selection).filter(|text| text.len() <= room)?;
            room -= text.len();
            Some(text)
        };
        let mut said = Vec::new();
        for ((ids, choices), answers) in self.queries.iter().zip(&self.choices).zip(&self.said) {
            let places = ids.iter().zip(choices).zip(answers);
            let of_column: Vec<Vec<Value>> = places
                .map(|((id, choices), answers)| {
                    let both = choices.iter().zip(answers);
                    both.map(|(choice, answer)| json!([answer, prompt(*id, choice)])).collect()
                })
                .collect();
            said.push(of_column);
        }
        let ids: std::collections::BTreeSet<u64> = self.queries.iter().flatten().copied().collect();
        let accepted: serde_json::Map<String, Value> =
            ids.into_iter().map(|id| (id.to_string(), json!((asked.accepted)(id)))).collect();
        json!({ "said": said, "accepted": accepted })
    }

    /// For the page's block of data.
    pub fn data(&self, asked: Option<Asked>) -> Value {
        let starts = self.queries.iter().scan(0, |next, ids| {
            let start = *next;
            *next += ids.len();
            Some(start)
        });
        json!({
            "queries": self.queries,
            "choices": self.choices,
            "results": self.results,
            "of": self.of.iter().map(|place| place.map_or(-1, |place| place as i64)).collect::<Vec<_>>(),
            "starts": starts.collect::<Vec<usize>>(),
            "asked": asked.map(|asked| self.asked(asked)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_those_that_the_script_reads() {
        assert!(include_str!("../assets/look.js").contains(&format!("const LETTERS = {FIRST};")));
    }
}
