//! Axis against axis: one figure, averaged over everything else.

use super::columns::{Cell, Column, Line, Table};
use super::error::ReportError;
use super::matrix::{Matrix, Row};
use super::select::Metric;
use super::stats::mean;

/// The table of `metric` over two axes. Cells average over the points that share both values.
///
/// # Errors
/// Keys that are no axes, or the same one.
pub fn pivot(
    matrix: &Matrix,
    rows: &str,
    columns: &str,
    metric: Metric,
    precision: usize,
) -> Result<Table, ReportError> {
    let (down, across) = (matrix.axis(rows)?, matrix.axis(columns)?);
    if down == across {
        return Err(ReportError::SameAxis(matrix.axes[down].clone()));
    }
    let (down_values, across_values) = (matrix.values(down), matrix.values(across));
    let corner = format!("{} \\ {}", matrix.axes[down], matrix.axes[across]);
    let mut head = vec![Column { title: corner, numeric: false }];
    head.extend(across_values.iter().map(|value| Column { title: value.clone(), numeric: true }));
    let mut largest = 0;
    let lines: Vec<Line> = down_values
        .iter()
        .map(|down_value| {
            let mut cells = vec![Cell::text(down_value)];
            for across_value in &across_values {
                let members: Vec<&Row> = matrix
                    .points
                    .iter()
                    .filter(|row| row.axes[down] == *down_value && row.axes[across] == *across_value)
                    .collect();
                let figures: Vec<f64> = members.iter().filter_map(|row| metric.of(row)).collect();
                largest = largest.max(figures.len());
                cells.push(metric.cell(mean(&figures), precision));
            }
            Line { cells, reference: false }
        })
        .collect();
    let mut table = Table { title: matrix.name.clone(), columns: head, rows: lines, notes: Vec::new() };
    mark_best(&mut table, metric);
    let over =
        if largest > 1 { format!(", mean over up to {largest} points per cell") } else { String::new() };
    table.notes.push(format!("{}{over}.", metric.name(matrix)));
    Ok(table)
}

/// One best cell for the whole table.
fn mark_best(table: &mut Table, metric: Metric) {
    let values = table.rows.iter().flat_map(|line| &line.cells).filter_map(|cell| cell.value);
    let best = if metric.larger_is_better() { values.reduce(f64::max) } else { values.reduce(f64::min) };
    for cell in table.rows.iter_mut().flat_map(|line| &mut line.cells) {
        cell.best = best.is_some() && cell.value == best;
    }
}
