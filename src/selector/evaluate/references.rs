//! Selection policies that need no training: they mark the range in which a selector can move.

use super::logged::{Choices, Logged, Question, first_largest};
use crate::finite::Finite;
use crate::record::ReferenceResult;
use crate::selector::data::Embeddings;

/// What selectors score that need no training: `random` (mean over the logged sequences), `nearest` (highest mean
/// cosine similarity of the demonstrations to the query; ties to the first), `oracle` (the best).
pub fn references(logged: &Logged, embeddings: &Embeddings) -> Vec<ReferenceResult> {
    let nearest = |question: &Question, choices: &Choices| nearest(logged, embeddings, question, choices);
    vec![
        reference(logged, "random", |_, choices| {
            let sum = choices.scores.iter().map(|score| score.get()).sum::<f64>();
            // A mean of numbers between 0 and 1.
            Finite::new(sum / choices.scores.len() as f64).unwrap_or_default()
        }),
        reference(logged, "nearest", nearest),
        reference(logged, "oracle", |_, choices| {
            choices.scores[first_largest(choices.scores.iter().map(|score| score.get())).0]
        }),
    ]
}

fn reference(logged: &Logged, name: &str, score: impl Fn(&Question, &Choices) -> Finite) -> ReferenceResult {
    let per_query = |shot: usize| {
        logged.questions.iter().map(|question| score(question, &question.lines[&shot])).collect()
    };
    let scores = logged.shots.iter().map(|&shot| (shot, per_query(shot))).collect();
    ReferenceResult { name: name.to_string(), scores }
}

/// The score of the sequence whose demonstrations are nearest to the query, in the mean of their cosines.
fn nearest(logged: &Logged, embeddings: &Embeddings, question: &Question, choices: &Choices) -> Finite {
    let query = embeddings.row(question.query_id as usize);
    let pool = &logged.queries()[choices.input].pool;
    let mean_cosine = |pointer: &Vec<u32>| {
        let cosines =
            pointer.iter().map(|&local| cosine(query, embeddings.row(pool[local as usize] as usize)));
        cosines.sum::<f64>() / pointer.len() as f64
    };
    choices.scores[first_largest(choices.pointers.iter().map(mean_cosine)).0]
}

/// Cosine of the angle between two embeddings; 0 if one of them is zero.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum() };
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}
