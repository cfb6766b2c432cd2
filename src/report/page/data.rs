//! What the page's script knows: one block of JSON that no browser shows. Everything in it that people read is there as
//! the text that they read, so that the script has no rounding of its own.

use std::path::Path;

use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};

use super::answers::{Answers, Asked};
use super::table::Grid;
use crate::figure::EpochFigure;
use crate::report::curves::{Section, curves};
use crate::report::figures::{mapped, mapped_range};
use crate::report::forest::{self, over_queries};
use crate::report::matrix::{Matrix, Row};
use crate::report::svg::{LineChart, rounded};
use crate::report::why::{baseline_of, epoch_text};
use crate::spec::{columns_of, figures_of};
use crate::store::{PointResult, SweepResults};
use crate::text::quoted;

/// The element that holds `data`.
pub fn block(data: &Value) -> Markup {
    // Nothing in it may look like the end of the element.
    let text = data.to_string().replace('<', "\\u003c");
    html! { script type="application/json" id="data" { (PreEscaped(text)) } "\n" }
}

/// What the script needs of the rows: names, values of the axes, which of them is the baseline.
pub fn of_rows(matrix: &Matrix) -> Value {
    let varies = |axis: &usize| matrix.values(*axis).len() > 1;
    let axes: Vec<(usize, Vec<String>)> =
        (0..matrix.axes.len()).filter(varies).map(|axis| (axis, matrix.values(axis))).collect();
    let at = |row: &Row| -> Vec<usize> {
        let place = |(axis, values): &(usize, Vec<String>)| {
            values.iter().position(|value| *value == row.axes[*axis]).unwrap_or_default()
        };
        axes.iter().map(place).collect()
    };
    let is_baseline = |index: &usize| matrix.points[*index].is_baseline;
    json!({
        "names": matrix.points.iter().map(|row| &row.name).collect::<Vec<_>>(),
        "axes": axes.iter().map(|(axis, values)| json!([matrix.axes[*axis], values])).collect::<Vec<_>>(),
        "at": matrix.points.iter().map(at).collect::<Vec<_>>(),
        "baseline": (0..matrix.points.len()).filter(is_baseline).collect::<Vec<_>>(),
        "forest": forest::columns_of(matrix),
        "what": "point",
    })
}

/// Everything that the page of one sweep knows.
pub fn of_sweep(
    results: &SweepResults,
    matrix: &Matrix,
    tables: &[Grid],
    charts: &[(Section, LineChart)],
    asked: Option<Asked>,
) -> Value {
    let is_loss = matrix.score_columns.is_empty();
    let scale = if is_loss { 1.0 } else { 100.0 };
    let looks = curves(matrix);
    let mut first: Vec<usize> = (0..looks.len()).filter(|&index| looks[index].shown).collect();
    first.sort_by_key(|&index| looks[index].colour);
    let against = |point| -> Option<usize> {
        let base = baseline_of(results, point)?;
        results.baseline.iter().copied().find(|&index| results.points[index].name == base.name)
    };
    let mut data = of_rows(matrix);
    let known = figures_of(&results.experiment);
    let figures = json!({
        "dir": quoted(&results.dir.display().to_string()),
        "queries": matrix.queries().unwrap_or_default(),
        "about": matrix.queries().map_or_else(String::new, |queries| over_queries(matrix, queries)),
        "columns": results.columns(),
        "column": columns_of(&results.experiment).field,
        "inputs": columns_of(&results.experiment).inputs,
        "counts": !columns_of(&results.experiment).unit.is_empty(),
        "isLoss": is_loss,
        "mapped": matrix.points.iter().map(|row| mapped(matrix, row).map(|value| rounded(scale * value))).collect::<Vec<_>>(),
        "range": mapped_range(matrix).map(|(low, high)| [rounded(scale * low), rounded(scale * high)]),
        "letters": matrix.points.iter().map(|row| &row.identical).collect::<Vec<_>>(),
        "against": results.points.iter().map(|point| against(point).map_or(-1, |index| index as i64)).collect::<Vec<_>>(),
        "facts": results.points.iter().map(|point| facts(known, point)).collect::<Vec<_>>(),
        "first": first,
        "groups": matrix.groups.iter().map(String::as_str).chain(["all"]).collect::<Vec<_>>(),
        "movement": matrix.points.iter().map(movement).collect::<Vec<_>>(),
        "charts": charts.iter().map(|(_, chart)| (chart.id.clone(), chart_data(chart, results.points.len()))).collect::<serde_json::Map<_, _>>(),
        "tables": tables.iter().map(|table| (table.id.to_owned(), table_data(matrix, table))).collect::<serde_json::Map<_, _>>(),
        "answers": Answers::of(results, matrix).map(|answers| answers.data(asked)),
    });
    merge(&mut data, figures);
    data
}

/// Adds the keys of `more` to the object `data`.
pub fn merge(data: &mut Value, more: Value) {
    if let (Value::Object(data), Value::Object(more)) = (data, more) {
        data.extend(more);
    }
}

/// A table, and the points behind the rows that average over seeds.
fn table_data(matrix: &Matrix, table: &Grid) -> Value {
    let mut data = table.data();
    if table.id != "points" {
        let is_member = |row: &Row, point: &Row| {
            row.axes.iter().zip(&point.axes).all(|(text, other)| text.is_empty() || text == other)
        };
        let members = |row: &Row| -> Vec<usize> {
            (0..matrix.points.len()).filter(|&index| is_member(row, &matrix.points[index])).collect()
        };
        merge(&mut data, json!({ "of": table.rows.iter().map(members).collect::<Vec<_>>() }));
    }
    data
}

/// Relative change per parameter group and of all, percent.
fn movement(row: &Row) -> Value {
    let shares = row.group_movement.iter().copied().chain([row.movement]);
    let percent = |share: Option<f64>| share.map(|share| rounded(100.0 * share));
    row.movement.map_or(Value::Null, |_| shares.map(percent).collect())
}

/// Trained parameters, all of them, the checkpoint, and the last epoch in words.
fn facts(figures: &[EpochFigure], point: &PointResult) -> Value {
    let checkpoint = point.checkpoint.as_deref().map(Path::display).map(|path| path.to_string());
    json!([
        point.trainable,
        point.total,
        checkpoint,
        point.metrics.last().map(|epoch| epoch_text(figures, epoch))
    ])
}

/// A chart with the values of every point, `null` for those without.
fn chart_data(chart: &LineChart, points: usize) -> Value {
    let values = |values: &[crate::report::svg::Mark]| -> Value {
        // By the places of the axis: a chart of one phase has gaps.
        let at = |(x, _): &(f64, String)| {
            let mark = values.iter().find(|(other, _, _)| (other - x).abs() < 0.5);
            mark.map(|(_, y, interval)| match interval {
                Some((low, high)) => json!([rounded(*y), rounded(*low), rounded(*high)]),
                None => rounded(*y),
            })
        };
        chart.ticks.iter().map(at).collect()
    };
    let mut rows = vec![Value::Null; points];
    let mut references = Vec::new();
    for series in &chart.series {
        match series.point {
            Some(point) => rows[point] = values(&series.values),
            None => references.push(json!([series.name, values(&series.values)])),
        }
    }
    json!({
        "title": chart.title,
        "under": chart.x_label,
        "ticks": chart.ticks,
        "unit": chart.unit,
        "about": chart.about,
        "isApart": chart.series.iter().any(|series| series.values.iter().any(|(_, _, interval)| interval.is_some())),
        "values": rows,
        "references": references,
    })
}
