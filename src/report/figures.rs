//! The report's figures, each a pure function of the results and their matrix.

use super::columns::percent;
use super::curves::{Section, charts, curve_name, ranking};
use super::dots::{to_points, to_row};
use super::forest::{self, over_queries};
use super::groups;
use super::matrix::{Matrix, Row};
use super::stats::mean;
use super::svg::{Figure, HeatMap, bars};
use crate::spec::{is_set, signal_of};
use crate::store::SweepResults;
use crate::text::plural;

/// Rows of maps that list points: more cannot be read.
const LISTED: usize = 40;

/// All figures, in the order of the page.
pub fn figures(results: &SweepResults, matrix: &Matrix) -> Vec<(Section, Figure)> {
    let mut all = Vec::new();
    all.extend(
        [forest::forest(matrix), forest::axes(results, matrix)]
            .into_iter()
            .flatten()
            .map(|figure| (Section::Picture, figure)),
    );
    all.extend(heat_maps(matrix).into_iter().map(|figure| (Section::HeatMaps, figure)));
    all.extend(charts(results, matrix).iter().filter_map(|(section, chart)| Some((*section, chart.draw()?))));
    all.extend(movement(matrix).map(|figure| (Section::Movement, figure)));
    all.extend(overlap(results, matrix).map(|figure| (Section::Overlap, figure)));
    all.extend(signal(results).map(|figure| (Section::Signal, figure)));
    all
}

/// What heat maps show: accuracy, or validation loss where nothing was evaluated.
pub fn mapped(matrix: &Matrix, row: &Row) -> Option<f64> {
    if matrix.score_columns.is_empty() { row.val_loss } else { row.average }
}

/// The range of [`mapped`] over all points: the colour scale of all maps, so that they can be compared.
pub fn mapped_range(matrix: &Matrix) -> Option<(f64, f64)> {
    let figures = || matrix.points.iter().filter_map(|row| mapped(matrix, row));
    figures().reduce(f64::min).zip(figures().reduce(f64::max))
}

/// Maps over every pair of axes, one per value of an axis that is drawn apart; against that axis where there is only
/// one other.
fn heat_maps(matrix: &Matrix) -> Vec<Figure> {
    let varies = |axis: &usize| matrix.axes[*axis] != "seed" && matrix.values(*axis).len() > 1;
    let varying: Vec<usize> = (0..matrix.axes.len()).filter(varies).collect();
    let apart = varying.iter().copied().find(|&axis| is_set(&matrix.axes[axis]));
    let apart = apart.filter(|_| varying.len() > 2);
    let free: Vec<usize> = varying.into_iter().filter(|&axis| Some(axis) != apart).collect();
    let settings = apart.map_or(vec![None], |axis| {
        matrix.values(axis).into_iter().map(|value| Some((axis, value))).collect()
    });
    let mut maps = Vec::new();
    for (place, &down) in free.iter().enumerate() {
        for &across in &free[place + 1..] {
            maps.extend(
                settings.iter().filter_map(|setting| heat_map(matrix, down, across, setting.as_ref())),
            );
        }
    }
    maps
}

fn heat_map(
    matrix: &Matrix,
    down: usize,
    across: usize,
    setting: Option<&(usize, String)>,
) -> Option<Figure> {
    let evaluated = !matrix.score_columns.is_empty();
    let chosen = |row: &&Row| setting.is_none_or(|(axis, value)| row.axes[*axis] == *value);
    let (downs, acrosses) = (matrix.values(down), matrix.values(across));
    let members = |down_value: &String, across_value: &String| {
        let (down_value, across_value) = (down_value.clone(), across_value.clone());
        let is_member = move |row: &&Row| row.axes[down] == down_value && row.axes[across] == across_value;
        matrix.points.iter().filter(chosen).filter(is_member).filter_map(|row| mapped(matrix, row))
    };
    let cell = |down_value: &String, across_value: &String| {
        mean(&members(down_value, across_value).collect::<Vec<f64>>())
    };
    let values = downs
        .iter()
        .map(|down_value| acrosses.iter().map(|across_value| cell(down_value, across_value)).collect())
        .collect();
    let counts: Vec<Vec<usize>> = downs
        .iter()
        .map(|down_value| {
            acrosses.iter().map(|across_value| members(down_value, across_value).count()).collect()
        })
        .collect();
    let queries = matrix
        .queries()
        .filter(|_| evaluated)
        .map_or_else(String::new, |queries| over_queries(matrix, queries));
    let axes = [down, across].map(|axis| matrix.axes[axis].clone());
    let (names, values_of) = (axes.clone(), [downs.clone(), acrosses.clone()]);
    let mark = move |row: usize, column: usize| {
        let only = [(names[0].as_str(), values_of[0][row].as_str()), (&names[1], &values_of[1][column])];
        (to_points(&only), format!("; {}{queries}", plural(counts[row][column], "point")))
    };
    let id = setting.map_or_else(String::new, |(_, value)| format!("-{value}"));
    let suffix =
        setting.map_or_else(String::new, |(axis, value)| format!(", {} = {value}", matrix.axes[*axis]));
    let mut figure = HeatMap {
        id: format!("heat-{}{id}", axes.join("-")),
        title: format!("{}{suffix}", if evaluated { "Average accuracy, %" } else { "Validation loss" }),
        axes: Some(axes),
        rows: downs,
        columns: acrosses,
        values,
        format: if evaluated { percent_cell } else { loss_cell },
        range: mapped_range(matrix),
        cell: 64.0,
        mark: Box::new(mark),
    }
    .draw()?;
    figure.setting = setting.map(|(_, value)| value.clone());
    Some(figure)
}

/// Decimals as those of averages in tables.
fn percent_cell(value: f64) -> String {
    percent(Some(value), 2).text
}

fn loss_cell(value: f64) -> String {
    format!("{value:.4}")
}

fn movement(matrix: &Matrix) -> Option<Figure> {
    let mut rows: Vec<&Row> = ranking(matrix)
        .into_iter()
        .map(|index| &matrix.points[index])
        .filter(|row| row.movement.is_some())
        .collect();
    let all = rows.len();
    rows.truncate(LISTED);
    let which =
        if rows.len() < all { format!(" (the best {LISTED} of {all} points)") } else { String::new() };
    let mut columns = matrix.groups.clone();
    columns.push("all".to_owned());
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    HeatMap {
        id: "movement".to_owned(),
        title: format!("Relative parameter change in the last phase, %{which}"),
        axes: None,
        rows: rows.iter().map(|row| row.name.clone()).collect(),
        columns,
        values: rows
            .iter()
            .map(|row| row.group_movement.iter().copied().chain([row.movement]).collect())
            .collect(),
        format: |value| format!("{:.3}", 100.0 * value),
        range: None,
        cell: 84.0,
        mark: Box::new(move |row, _| (to_row(&names[row]), String::new())),
    }
    .draw()
}

/// Share of equal selections between the baseline and the best points, one per group of identical ones.
fn overlap(results: &SweepResults, matrix: &Matrix) -> Option<Figure> {
    let mut taken: Vec<&str> = Vec::new();
    let mut chosen: Vec<usize> = Vec::new();
    let baseline = results.baseline.iter().copied().filter(|&index| matrix.points[index].average.is_some());
    for index in baseline.chain(ranking(matrix)) {
        let letter = matrix.points[index].identical.as_deref();
        if chosen.len() == LISTED / 2
            || chosen.contains(&index)
            || letter.is_some_and(|letter| taken.contains(&letter))
        {
            continue;
        }
        taken.extend(letter);
        chosen.push(index);
    }
    let point = |index: usize| &results.points[index];
    let values: Vec<Vec<Option<f64>>> = chosen
        .iter()
        .map(|&row| {
            let share =
                |&column: &usize| groups::changed_share(point(row), point(column)).map(|share| 1.0 - share);
            chosen.iter().map(share).collect()
        })
        .collect();
    let name = |&index: &usize| {
        let name = curve_name(&matrix.points[index]);
        matrix.points[index]
            .identical
            .as_ref()
            .map_or_else(|| name.clone(), |letter| format!("{letter}: {name}"))
    };
    let names: Vec<String> = chosen.iter().map(name).collect();
    (names.len() > 1).then_some(())?;
    let points: Vec<String> = chosen.iter().map(|&index| matrix.points[index].name.clone()).collect();
    let queries = matrix.queries().map_or_else(String::new, |queries| over_queries(matrix, queries));
    let mark = move |row: usize, _| (to_row(&points[row]), queries.clone());
    HeatMap {
        id: "overlap".to_owned(),
        title: "Share of equal selections, % (one point per group of identical ones)".to_owned(),
        axes: None,
        rows: names.clone(),
        columns: names,
        values,
        // Rounding makes no two points alike.
        format: |value| {
            if value == 1.0 { "100".to_owned() } else { format!("{:.1}", 99.9_f64.min(100.0 * value)) }
        },
        range: None,
        cell: 36.0,
        mark: Box::new(mark),
    }
    .draw()
}

fn signal(results: &SweepResults) -> Option<Figure> {
    let health = results.health.as_ref()?;
    let signal = signal_of(&results.experiment);
    let counts: Vec<(String, usize)> =
        health.distinct.iter().map(|(values, groups)| (values.to_string(), *groups)).collect();
    bars(
        "signal",
        &format!("Training groups by number of distinct {signal}s"),
        &format!("distinct {signal}s (1 = no signal)"),
        &counts,
    )
}
