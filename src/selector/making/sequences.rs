//! The sequences of one query: by method, each with its own random numbers.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::selector::data::{CandidateScores, Embeddings};
use crate::spec::BuildParams;

use super::draw::{What, by_scores, ranked, stream, subset};

/// How often a sequence that is there already is drawn anew.
const ATTEMPTS: usize = 32;

/// Where a sequence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Retrieval,
    Beam,
    Random,
    Sample,
    PolicySample,
}

impl Method {
    /// `gen_method` of a trajectory; both ways of drawing are samples.
    pub fn gen_method(self) -> &'static str {
        match self {
            Self::Retrieval => "retrieval",
            Self::Beam => "beam",
            Self::Random => "random",
            Self::Sample | Self::PolicySample => "sample",
        }
    }
}

/// Demonstrations for a query, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    pub method: Method,
    /// Local ids, `[S]`.
    pub pointer: Vec<u32>,
    /// Mean cosine of the demonstrations to the query.
    pub similarity: f64,
    /// Under the policy, where there is one.
    pub log_prob: Option<f64>,
}

/// What sequences of one query are drawn from.
pub struct Source<'a> {
    pub params: &'a BuildParams,
    pub query: u64,
    /// Of the candidates to the query, `[K]`.
    pub cosines: &'a [f64],
    /// The policy's scores of the candidates, `[K]`.
    pub logits: Option<&'a [f32]>,
}

impl Source<'_> {
    /// Sequences of `length` that differ from each other, and how many were left out because the pool has no more.
    pub fn sequences(&self, length: usize) -> (Vec<Sequence>, usize) {
        let params = self.params;
        let mut taken = BTreeSet::new();
        let (mut found, mut lost) = (Vec::new(), 0);
        // Those without a choice come first, so that a further method changes nothing of the others.
        for pointer in self.nearest(length) {
            if taken.insert(pointer.clone()) {
                found.push(self.sequence(Method::Retrieval, pointer));
            }
        }
        for pointer in self.beams(length) {
            match taken.insert(pointer.clone()) {
                true => found.push(self.sequence(Method::Beam, pointer)),
                false => lost += 1,
            }
        }
        let drawn = [
            (Method::Random, params.random),
            (Method::Sample, params.sample),
            (Method::PolicySample, params.policy_sample),
        ];
        for (method, count) in drawn {
            for index in 0..count {
                match self.draw(method, index, length, &taken) {
                    Some(pointer) => {
                        taken.insert(pointer.clone());
                        found.push(self.sequence(method, pointer));
                    }
                    None => lost += 1,
                }
            }
        }
        (found, lost)
    }

    /// The n-th begins with the n-th nearest candidate and goes on with the nearest others.
    fn nearest(&self, length: usize) -> Vec<Vec<u32>> {
        let order = ranked(self.cosines, self.cosines.len());
        let with_first = |first: &u32| {
            let others = order.iter().filter(|id| *id != first).copied();
            std::iter::once(*first).chain(others).take(length).collect()
        };
        order.iter().take(self.params.retrieval).map(with_first).collect()
    }

    /// The sequences that the policy finds most probable, as far as a search that keeps as many at each step finds them.
    fn beams(&self, length: usize) -> Vec<Vec<u32>> {
        let Some(scores) = self.logits.map(CandidateScores::new) else { return Vec::new() };
        let mut beams: Vec<(f64, Vec<u32>)> = vec![(0.0, Vec::new())];
        for _ in 0..length {
            let mut longer = Vec::new();
            for (_, beam) in &beams {
                for id in (0..self.cosines.len() as u32).filter(|id| !beam.contains(id)) {
                    let pointer: Vec<u32> = beam.iter().copied().chain([id]).collect();
                    longer.push((scores.log_prob(&pointer), pointer));
                }
            }
            longer.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            longer.truncate(self.params.beam);
            beams = longer;
        }
        beams.into_iter().map(|(_, pointer)| pointer).collect()
    }

    /// The first draw that is not `taken`.
    fn draw(
        &self,
        method: Method,
        index: usize,
        length: usize,
        taken: &BTreeSet<Vec<u32>>,
    ) -> Option<Vec<u32>> {
        let (what, scores) = match method {
            Method::Sample => {
                (What::Sample, self.over(self.params.temperature, self.cosines.iter().copied()))
            }
            Method::PolicySample => {
                let logits = self.logits?.iter().map(|logit| f64::from(*logit));
                (What::Policy, self.over(self.params.policy_temperature, logits))
            }
            _ => (What::Random, Vec::new()),
        };
        let mut stream = stream(self.params.seed, what, index, self.query);
        let mut next = || match method {
            Method::Random => subset(&mut stream, self.cosines.len(), length),
            _ => by_scores(&mut stream, &scores, length),
        };
        (0..ATTEMPTS).map(|_| next()).find(|pointer| !taken.contains(pointer))
    }

    fn over(&self, temperature: f64, scores: impl Iterator<Item = f64>) -> Vec<f64> {
        scores.map(|score| score / temperature).collect()
    }

    fn sequence(&self, method: Method, pointer: Vec<u32>) -> Sequence {
        let sum: f64 = pointer.iter().map(|id| self.cosines[*id as usize]).sum();
        let similarity = sum / pointer.len().max(1) as f64;
        let log_prob = self.logits.map(|logits| CandidateScores::new(logits).log_prob(&pointer));
        Sequence { method, pointer, similarity, log_prob }
    }
}

/// Cosine of two rows of `embeddings`; 0 where one of them has no length.
pub fn cosine(embeddings: &Embeddings, a: u64, b: u64) -> f64 {
    let (a, b) = (embeddings.row(a as usize), embeddings.row(b as usize));
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}
