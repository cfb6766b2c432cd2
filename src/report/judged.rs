//! What a judge that was asked adds to the notes: who it is, what it did not answer, and how far its answers can be
//! relied on.

use std::collections::BTreeSet;

use super::matrix::{Matrix, Row};
use super::words::list;
use crate::text::{plural, thousands};

/// The notes for `rows` of `matrix`.
pub fn notes(matrix: &Matrix, rows: &[Row]) -> Vec<String> {
    let Some(judge) = &matrix.judge else { return missing(rows).into_iter().collect() };
    let name = judge.identity["model"].as_str().unwrap_or("a program");
    let mut notes = vec![format!(
        "Scored by {name} (judge {}): {} questions, {} of them distinct.",
        judge.judge.get(..8).unwrap_or(&judge.judge),
        thousands(judge.naive),
        thousands(judge.distinct)
    )];
    notes.extend(missing(rows));
    notes.extend(noise(matrix, rows));
    notes
}

/// The rows that lack answers: n of N.
pub fn missing(rows: &[Row]) -> Option<String> {
    let lacking: Vec<String> = rows
        .iter()
        .filter(|row| row.unanswered > 0)
        .map(|row| format!("{} ({} missing)", row.name, plural(row.unanswered, "answer")))
        .collect();
    let names: Vec<&str> = lacking.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        format!(
            "The judge did not answer everything: {}; averages are over what is there, differences over what both have. The same run asks again.",
            list(&names)
        )
    })
}

/// What asking again changed, and the differences that this alone could explain.
///
/// Two rows share the answers to the questions that both ask. With `m` the mean squared change of a score and `k` of `n`
/// questions not shared, the judge's noise in the difference of their means has the variance `k m / n^2`.
fn noise(matrix: &Matrix, rows: &[Row]) -> Option<String> {
    let noise = matrix.judge.as_ref()?.noise.as_ref()?;
    let of = noise.questions as f64;
    let mut text = format!(
        "Asked a second time, the judge changed {} of {} answers and {} of their scores ({:.1} %)",
        thousands(noise.answers_changed),
        thousands(noise.questions),
        thousands(noise.scores_changed),
        100.0 * noise.scores_changed as f64 / of
    );
    // `shot_1@100` and `shot_1@200` are about the same questions.
    let columns: BTreeSet<&str> =
        matrix.score_columns.iter().filter_map(|column| column.split('@').next()).collect();
    let bound = |row: &Row| {
        let questions = (row.queries? * columns.len().max(1)) as f64;
        Some(1.96 * (row.changed_share? * noise.mean_square.get() / questions).sqrt())
    };
    let explained: Vec<&str> = rows
        .iter()
        .filter(|row| !row.is_baseline)
        .filter(|row| {
            bound(row).zip(row.delta).is_some_and(|(bound, delta)| delta != 0.0 && delta.abs() < bound)
        })
        .map(|row| row.name.as_str())
        .collect();
    if !explained.is_empty() {
        text += &format!("; that alone could explain the differences of {}", list(&explained));
    }
    Some(text + ".")
}
