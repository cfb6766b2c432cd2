//! The report's figures, each a pure function of the results and their matrix.

use super::groups;
use super::matrix::{Matrix, Row};
use super::panel::Panel;
use super::stats::{Bootstrap, mean};
use super::svg::{Figure, HeatMap, LineChart, Series, bars};
use crate::spec::ParamGroup;
use crate::store::{EpochMetrics, SweepResults};

/// A figure's group on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    HeatMaps,
    Shots,
    Learning,
    Movement,
    Overlap,
    Signal,
}

/// Rows of maps that list points: more cannot be read.
const LISTED: usize = 40;
/// Points whose curves are visible at first, besides the baseline.
const SHOWN: usize = 3;

/// All figures, in the order of the page.
pub fn figures(results: &SweepResults, matrix: &Matrix) -> Vec<(Section, Figure)> {
    let shown = shown_at_first(matrix);
    let mut all = Vec::new();
    all.extend(heat_maps(matrix).into_iter().map(|figure| (Section::HeatMaps, figure)));
    all.extend(shots(results, matrix, &shown).map(|figure| (Section::Shots, figure)));
    all.extend(learning(results, &shown).into_iter().map(|figure| (Section::Learning, figure)));
    all.extend(movement(matrix).map(|figure| (Section::Movement, figure)));
    all.extend(overlap(results, matrix).map(|figure| (Section::Overlap, figure)));
    all.extend(signal(results).map(|figure| (Section::Signal, figure)));
    all
}

/// Whether each point's curves are visible at first: the baseline, and the best that differ from each other.
pub fn shown_at_first(matrix: &Matrix) -> Vec<bool> {
    let mut shown: Vec<bool> = matrix.points.iter().map(|row| row.is_baseline).collect();
    let mut taken: Vec<&str> = Vec::new();
    let mut left = SHOWN;
    for index in ranking(matrix) {
        let letter = matrix.points[index].identical.as_deref();
        if left == 0 || letter.is_some_and(|letter| taken.contains(&letter)) {
            continue;
        }
        taken.extend(letter);
        shown[index] = true;
        left -= 1;
    }
    shown
}

/// Points from best to worst; those without a figure are left out.
fn ranking(matrix: &Matrix) -> Vec<usize> {
    let figure = |row: &Row| row.average.or(row.val_loss.map(|loss| -loss));
    let mut order: Vec<usize> =
        (0..matrix.points.len()).filter(|&index| figure(&matrix.points[index]).is_some()).collect();
    order.sort_by(|&a, &b| {
        let of = |index: usize| figure(&matrix.points[index]).unwrap_or(f64::NEG_INFINITY);
        of(b).total_cmp(&of(a))
    });
    order
}

fn classes(index: usize, shown: &[bool]) -> String {
    format!("s{}{}", index % 8, if shown[index] { "" } else { " off" })
}

/// Accuracy (or validation loss) over every pair of axes, one map per freeze setting.
fn heat_maps(matrix: &Matrix) -> Vec<Figure> {
    let freeze = matrix.axes.iter().position(|axis| axis == "freeze");
    let free: Vec<usize> = (0..matrix.axes.len())
        .filter(|&axis| Some(axis) != freeze && matrix.axes[axis] != "seed" && matrix.values(axis).len() > 1)
        .collect();
    let settings = freeze.map_or(vec![None], |axis| {
        matrix.values(axis).into_iter().map(|value| Some((axis, value))).collect()
    });
    let evaluated = !matrix.shots.is_empty();
    let figure = |row: &Row| if evaluated { row.average } else { row.val_loss };
    // One colour scale for all maps, so that they can be compared.
    let cells = || matrix.points.iter().filter_map(figure);
    let range = cells().reduce(f64::min).zip(cells().reduce(f64::max));
    let mut maps = Vec::new();
    for (place, &down) in free.iter().enumerate() {
        for &across in &free[place + 1..] {
            for setting in &settings {
                let chosen: Vec<&Row> = matrix
                    .points
                    .iter()
                    .filter(|row| setting.as_ref().is_none_or(|(axis, value)| row.axes[*axis] == *value))
                    .collect();
                maps.extend(heat_map(matrix, (down, across), setting.as_ref(), &chosen, range));
            }
        }
    }
    maps
}

fn heat_map(
    matrix: &Matrix,
    (down, across): (usize, usize),
    setting: Option<&(usize, String)>,
    rows: &[&Row],
    range: Option<(f64, f64)>,
) -> Option<Figure> {
    let evaluated = !matrix.shots.is_empty();
    let (downs, acrosses) = (matrix.values(down), matrix.values(across));
    let values = downs
        .iter()
        .map(|down_value| {
            acrosses
                .iter()
                .map(|across_value| {
                    let cell: Vec<f64> = rows
                        .iter()
                        .filter(|row| row.axes[down] == *down_value && row.axes[across] == *across_value)
                        .filter_map(|row| if evaluated { row.average } else { row.val_loss })
                        .collect();
                    mean(&cell)
                })
                .collect()
        })
        .collect();
    let (down_name, across_name) = (&matrix.axes[down], &matrix.axes[across]);
    let suffix = setting.map_or_else(String::new, |(_, value)| format!(", freeze {value}"));
    let id = setting.map_or_else(String::new, |(_, value)| format!("-{value}"));
    HeatMap {
        id: format!("heat-{down_name}-{across_name}{id}"),
        title: format!("{down_name} (down) by {across_name}{suffix}"),
        rows: downs,
        columns: acrosses,
        values,
        format: if evaluated { percent_cell } else { loss_cell },
        range,
        cell: 64.0,
    }
    .draw()
}

fn percent_cell(value: f64) -> String {
    format!("{:.1}", 100.0 * value)
}

fn loss_cell(value: f64) -> String {
    format!("{value:.3}")
}

fn shots(results: &SweepResults, matrix: &Matrix, shown: &[bool]) -> Option<Figure> {
    let panel = Panel::of(results)?;
    let queries = panel.widest();
    let bootstrap = Bootstrap::new(queries, 2_000, 11);
    let mut columns = Vec::new();
    let mut owners = Vec::new();
    for (index, point) in results.points.iter().enumerate() {
        if let Some(scores) = panel.point(point) {
            columns.extend((0..panel.shots.len()).map(|shot| scores.at_shot(shot, queries)));
            owners.push((Some(index), point.name.as_str(), scores));
        }
    }
    for reference in &results.references {
        if let Some(scores) = panel.reference(reference) {
            columns.extend((0..panel.shots.len()).map(|shot| scores.at_shot(shot, queries)));
            owners.push((None, reference.name.as_str(), scores));
        }
    }
    let intervals = bootstrap.intervals(&columns);
    let many = owners.len() as f64;
    let series = owners
        .iter()
        .zip(intervals.chunks(panel.shots.len()))
        .enumerate()
        .map(|(place, ((index, name, scores), intervals))| Series {
            name: (*name).to_owned(),
            classes: index.map_or("s7 ref".to_owned(), |index| classes(index, shown)),
            point: *index,
            values: panel
                .shots
                .iter()
                .enumerate()
                .map(|(shot, count)| {
                    // A little apart, so that intervals do not hide each other.
                    let x = *count as f64 + 0.16 * (place as f64 / many - 0.5);
                    let y = scores.accuracy(shot, queries).map_or(f64::NAN, |score| 100.0 * score);
                    (x, y, Some((100.0 * intervals[shot].low, 100.0 * intervals[shot].high)))
                })
                .collect(),
        })
        .collect();
    let samples = matrix.queries().unwrap_or(queries);
    LineChart {
        id: "shots".to_owned(),
        title: format!("Accuracy by shots, % ({samples} queries, 95 % intervals)"),
        x_label: "demonstrations".to_owned(),
        series,
        ticks: panel.shots.iter().map(|shot| (*shot as f64, shot.to_string())).collect(),
    }
    .draw()
}

/// A figure of an epoch.
type EpochFigure = fn(&EpochMetrics) -> Option<f64>;

fn learning(results: &SweepResults, shown: &[bool]) -> Vec<Figure> {
    let kinds: [(&str, &str, EpochFigure); 4] = [
        ("train-loss", "Training loss", |epoch| Some(epoch.train_loss)),
        ("val-loss", "Validation loss", |epoch| epoch.val_loss),
        ("kl", "KL to the reference policy", |epoch| epoch.kl),
        ("ratio", "Mean probability ratio", |epoch| epoch.mean_ratio),
    ];
    let longest = results.points.iter().max_by_key(|point| point.metrics.len());
    let ticks: Vec<(f64, String)> = longest
        .map(|point| point.metrics.as_slice())
        .unwrap_or_default()
        .iter()
        .enumerate()
        .map(|(place, epoch)| (place as f64 + 1.0, format!("{} {}", epoch.phase, epoch.epoch)))
        .collect();
    kinds
        .into_iter()
        .filter_map(|(id, title, figure)| {
            let series = results
                .points
                .iter()
                .enumerate()
                .filter_map(|(index, point)| {
                    let values: Vec<_> = point
                        .metrics
                        .iter()
                        .enumerate()
                        .filter_map(|(place, epoch)| Some((place as f64 + 1.0, figure(epoch)?, None)))
                        .collect();
                    let classes = classes(index, shown);
                    (!values.is_empty()).then(|| Series {
                        name: point.name.clone(),
                        classes,
                        point: Some(index),
                        values,
                    })
                })
                .collect();
            let ticks = ticks.clone();
            let chart = LineChart {
                id: id.to_owned(),
                title: title.to_owned(),
                x_label: "epoch".to_owned(),
                series,
                ticks,
            };
            chart.draw()
        })
        .collect()
}

fn movement(matrix: &Matrix) -> Option<Figure> {
    let rows: Vec<&Row> = ranking(matrix)
        .into_iter()
        .map(|index| &matrix.points[index])
        .filter(|row| row.movement.is_some())
        .take(LISTED)
        .collect();
    let mut columns: Vec<String> = ParamGroup::ALL.iter().map(|group| group.name().to_owned()).collect();
    columns.push("all".to_owned());
    HeatMap {
        id: "movement".to_owned(),
        title: "Relative parameter change from the parent, %".to_owned(),
        rows: rows.iter().map(|row| row.name.clone()).collect(),
        columns,
        values: rows
            .iter()
            .map(|row| row.group_movement.into_iter().chain([row.movement]).collect())
            .collect(),
        format: |value| format!("{:.3}", 100.0 * value),
        range: None,
        cell: 84.0,
    }
    .draw()
}

/// Share of equal selections between the best points, one per group of identical ones.
fn overlap(results: &SweepResults, matrix: &Matrix) -> Option<Figure> {
    let mut taken: Vec<&str> = Vec::new();
    let mut chosen: Vec<usize> = Vec::new();
    for index in ranking(matrix) {
        let letter = matrix.points[index].identical.as_deref();
        if chosen.len() == LISTED / 2 || letter.is_some_and(|letter| taken.contains(&letter)) {
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
    let name = |&index: &usize| match &matrix.points[index].identical {
        Some(letter) => format!("{} ({letter})", point(index).name),
        None => point(index).name.clone(),
    };
    let names: Vec<String> = chosen.iter().map(name).collect();
    (names.len() > 1).then_some(())?;
    HeatMap {
        id: "overlap".to_owned(),
        title: "Share of equal selections, % (one point per group of identical ones)".to_owned(),
        rows: names.clone(),
        columns: names,
        values,
        format: |value| format!("{:.0}", 100.0 * value),
        range: Some((0.0, 1.0)),
        cell: 34.0,
    }
    .draw()
}

fn signal(results: &SweepResults) -> Option<Figure> {
    let health = results.health.as_ref()?;
    let counts: Vec<(String, usize)> =
        health.distinct.iter().map(|(values, groups)| (values.to_string(), *groups)).collect();
    bars(
        "signal",
        "Training groups by number of distinct rewards",
        "distinct rewards (1 = no signal)",
        &counts,
    )
}
