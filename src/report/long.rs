//! One row per point, score column and query: what other programs fit their own models to.

use super::axes::{AxisLabels, configuration_name};
use super::error::ReportError;
use super::groups;
use super::matrix::{Comparisons, Matrix, Row, RowStatus};
use super::merge::add_missing;
use super::select::Condition;
use crate::spec::{Columns, columns_of};
use crate::store::{PointResult, ReferenceResult, SweepResults};

/// Columns before the axes.
const BEFORE: [&str; 4] = ["sweep", "kind", "point", "configuration"];

/// Columns after them; `field` is what the experiment calls the score column.
fn after(field: &'static str) -> [&'static str; 7] {
    ["baseline", "identical", field, "query", "score", "log_prob", "selection"]
}

/// The scores of `sweeps` as CSV: one row per point, score column and query, in grid order, then those of the
/// references. Every sweep comes with the name that tells it from the others. Of the points only those that satisfy
/// `conditions`.
///
/// # Errors
/// As [`Matrix::keep`].
pub fn long_csv(sweeps: &[(String, SweepResults)], conditions: &[Condition]) -> Result<Vec<u8>, ReportError> {
    let outlines: Vec<Matrix> =
        sweeps.iter().map(|(name, results)| outline(name, results, conditions)).collect::<Result<_, _>>()?;
    let mut axes = Vec::new();
    for outline in &outlines {
        add_missing(&mut axes, &outline.axes);
    }
    let impossible = "writing to memory does not fail";
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Sweeps that are laid over one another are mostly of one experiment.
    let field = sweeps.first().map_or(Columns::NUMBERED, |(_, first)| columns_of(&first.experiment)).field;
    let header = BEFORE.into_iter().chain(axes.iter().map(String::as_str)).chain(after(field));
    writer.write_record(header).expect(impossible);
    let mut write = |record: Vec<String>| writer.write_record(record).expect(impossible);
    for ((name, results), outline) in sweeps.iter().zip(&outlines) {
        let mut left = outline.points.iter().peekable();
        for point in &results.points {
            let Some(row) = left.next_if(|row| row.name == point.name) else { continue };
            let text = |axis: &String| {
                let place = outline.axes.iter().position(|own| own == axis);
                place.map(|place| row.axes[place].clone()).unwrap_or_default()
            };
            let before =
                [name.clone(), "point".to_owned(), row.name.clone(), configuration_name(results, point)];
            let known: Vec<String> = before.into_iter().chain(axes.iter().map(text)).collect();
            point_records(point, row, &known).for_each(&mut write);
        }
        for reference in &results.references {
            let before =
                [name.clone(), "reference".to_owned(), reference.name.clone(), reference.name.clone()];
            let known: Vec<String> = before.into_iter().chain(axes.iter().map(|_| String::new())).collect();
            reference_records(reference, results, &known).for_each(&mut write);
        }
    }
    Ok(writer.into_inner().expect(impossible))
}

/// The matrix of a sweep without its figures: what rows are chosen by and called.
fn outline(name: &str, results: &SweepResults, conditions: &[Condition]) -> Result<Matrix, ReportError> {
    let labels = AxisLabels::of(results);
    let fingerprints: Vec<_> = results.points.iter().map(groups::fingerprint).collect();
    let rows = results.points.iter().zip(groups::letters(&fingerprints)).enumerate();
    let mut outline = Matrix {
        name: name.to_owned(),
        score_columns: Vec::new(),
        groups: Vec::new(),
        points: rows
            .map(|(index, (point, identical))| Row {
                axes: labels.texts(index),
                is_baseline: results.baseline.contains(&index),
                identical,
                ..Row::named(&point.name, RowStatus::from(point.status))
            })
            .collect(),
        axes: labels.names,
        configurations: Vec::new(),
        references: Vec::new(),
        comparisons: Comparisons::default(),
        judge: None,
    };
    outline.keep(conditions)?;
    Ok(outline)
}

fn point_records<'a>(
    point: &'a PointResult,
    row: &'a Row,
    known: &'a [String],
) -> impl Iterator<Item = Vec<String>> + 'a {
    let identical = row.identical.clone().unwrap_or_default();
    point.scores.values().flatten().map(move |line| {
        let selection: Vec<String> = line.selection.iter().map(u32::to_string).collect();
        let after = [
            row.is_baseline.to_string(),
            identical.clone(),
            line.column.to_string(),
            line.query_id.to_string(),
            line.score.get().to_string(),
            line.log_prob.get().to_string(),
            selection.join(" "),
        ];
        known.iter().cloned().chain(after).collect()
    })
}

/// A reference has a score per line of the evaluation file; which query a line is about, the points say.
fn reference_records<'a>(
    reference: &'a ReferenceResult,
    results: &'a SweepResults,
    known: &'a [String],
) -> impl Iterator<Item = Vec<String>> + 'a {
    let scored = results.points.iter().find(|point| !point.scores.is_empty());
    reference.scores.iter().flat_map(move |(column, scores)| {
        let lines = scored.and_then(|point| point.scores.get(column)).map(Vec::as_slice).unwrap_or_default();
        lines.iter().zip(scores).map(move |(line, score)| {
            let empty = String::new;
            let after = [
                "false".to_owned(),
                empty(),
                column.to_string(),
                line.query_id.to_string(),
                score.get().to_string(),
                empty(),
                empty(),
            ];
            known.iter().cloned().chain(after).collect()
        })
    })
}
