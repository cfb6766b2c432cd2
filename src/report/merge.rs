//! Several sweeps in one table.

use super::columns::Detail;
use super::matrix::{Comparisons, Matrix, Row};
use super::notes;

/// Lays the matrices over one another: a first axis `sweep`, then the union of their axes and score columns. Every
/// row keeps the difference to its own sweep's baseline; group letters are told apart by the sweep's number.
/// The matrices' names must differ.
pub fn merge(matrices: &[Matrix], every_point: bool) -> Matrix {
    let mut axes = vec!["sweep".to_owned()];
    let (mut score_columns, mut groups) = (Vec::new(), Vec::new());
    for matrix in matrices {
        add_missing(&mut axes, &matrix.axes);
        add_missing(&mut score_columns, &matrix.score_columns);
        add_missing(&mut groups, &matrix.groups);
    }
    let mut merged = Matrix {
        name: matrices.iter().map(|matrix| matrix.name.as_str()).collect::<Vec<_>>().join(", "),
        axes,
        score_columns,
        groups,
        points: Vec::new(),
        configurations: Vec::new(),
        references: Vec::new(),
        comparisons: Comparisons::default(),
        judge: None,
    };
    for (number, matrix) in matrices.iter().enumerate() {
        let rows = if every_point { &matrix.points } else { matrix.main_rows() };
        let translated: Vec<Row> =
            rows.iter().map(|row| translate(row, matrix, &merged, number + 1)).collect();
        let references: Vec<Row> =
            matrix.references.iter().map(|row| translate(row, matrix, &merged, number + 1)).collect();
        merged.points.extend(translated);
        merged.references.extend(references);
    }
    merged
}

/// The notes for `rows` of the [`merge`] of `matrices`, sweep by sweep.
pub fn merged_notes(matrices: &[Matrix], rows: &[Row], detail: Detail) -> Vec<String> {
    let of_sweep = |matrix: &Matrix| -> Vec<String> {
        let own: Vec<Row> = rows.iter().filter(|row| row.axes[0] == matrix.name).cloned().collect();
        let named = |note| format!("{}: {note}", matrix.name);
        if own.is_empty() {
            Vec::new()
        } else {
            notes::notes(matrix, &own, detail).into_iter().map(named).collect()
        }
    };
    matrices.iter().flat_map(of_sweep).collect()
}

/// Appends the names that `all` does not have yet.
pub(super) fn add_missing(all: &mut Vec<String>, some: &[String]) {
    for name in some {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
}

fn translate(row: &Row, from: &Matrix, to: &Matrix, number: usize) -> Row {
    let place = |names: &[String], name: &String| names.iter().position(|other| other == name);
    let mut translated = row.clone();
    translated.axes = to
        .axes
        .iter()
        .map(|axis| place(&from.axes, axis).map(|index| row.axes[index].clone()).unwrap_or_default())
        .collect();
    translated.axes[0].clone_from(&from.name);
    translated.scores = to
        .score_columns
        .iter()
        .map(|column| place(&from.score_columns, column).and_then(|index| row.scores[index]))
        .collect();
    translated.group_movement = to
        .groups
        .iter()
        .map(|group| place(&from.groups, group).and_then(|index| row.group_movement[index]))
        .collect();
    translated.identical = row.identical.as_ref().map(|letter| format!("{letter}{number}"));
    translated
}
