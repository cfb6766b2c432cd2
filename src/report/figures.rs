//! The report's figures, each a pure function of the results and their matrix.

use super::forest;
use super::groups;
use super::layout::percent;
use super::matrix::{Matrix, Row, RowStatus};
use super::panel::Panel;
use super::stats::{Bootstrap, mean};
use super::svg::{Figure, HeatMap, LineChart, Series, bars};
use crate::spec::ParamGroup;
use crate::store::{EpochMetrics, SweepResults};

/// A figure's group on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What the page begins with.
    Picture,
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
    let looks = curves(matrix);
    let mut all = Vec::new();
    all.extend(
        [forest::forest(matrix), forest::axes(results, matrix)]
            .into_iter()
            .flatten()
            .map(|figure| (Section::Picture, figure)),
    );
    all.extend(heat_maps(matrix).into_iter().map(|figure| (Section::HeatMaps, figure)));
    all.extend(shots(results, matrix, &looks).map(|figure| (Section::Shots, figure)));
    let curves = learning(results, matrix, &looks).into_iter().filter_map(|chart| chart.draw());
    all.extend(curves.map(|figure| (Section::Learning, figure)));
    all.extend(movement(matrix).map(|figure| (Section::Movement, figure)));
    all.extend(overlap(results, matrix).map(|figure| (Section::Overlap, figure)));
    all.extend(signal(results).map(|figure| (Section::Signal, figure)));
    all
}

/// How the curves of each point look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve {
    /// Visible at first: the baseline, and the best that differ from each other.
    pub shown: bool,
    colour: usize,
}

impl Curve {
    /// CSS classes of everything that belongs to the curve.
    pub fn classes(self) -> String {
        format!("s{}{}", self.colour % 8, if self.shown { "" } else { " off" })
    }
}

/// A point's name in legends.
pub fn curve_name(row: &Row) -> String {
    format!("{}{}", row.name, if row.is_baseline { " (baseline)" } else { "" })
}

/// The curves of all points. Those visible at first have the first colours, each its own.
pub fn curves(matrix: &Matrix) -> Vec<Curve> {
    let mut shown: Vec<usize> =
        (0..matrix.points.len()).filter(|&index| matrix.points[index].is_baseline).collect();
    let letter = |index: usize| matrix.points[index].identical.as_deref();
    let mut left = SHOWN;
    let finished = (0..matrix.points.len()).filter(|&index| matrix.points[index].status == RowStatus::Done);
    for index in ranking(matrix).into_iter().chain(finished) {
        let taken = shown
            .iter()
            .any(|&other| other == index || letter(index).is_some_and(|name| letter(other) == Some(name)));
        if left > 0 && !taken {
            shown.push(index);
            left -= 1;
        }
    }
    let place = |index: usize| shown.iter().position(|&other| other == index);
    (0..matrix.points.len())
        .map(|index| Curve { shown: place(index).is_some(), colour: place(index).unwrap_or(index) })
        .collect()
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

/// What heat maps show: accuracy, or validation loss where nothing was evaluated.
pub fn mapped(matrix: &Matrix, row: &Row) -> Option<f64> {
    if matrix.shots.is_empty() { row.val_loss } else { row.average }
}

/// The range of [`mapped`] over all points: the colour scale of all maps, so that they can be compared.
pub fn mapped_range(matrix: &Matrix) -> Option<(f64, f64)> {
    let figures = || matrix.points.iter().filter_map(|row| mapped(matrix, row));
    figures().reduce(f64::min).zip(figures().reduce(f64::max))
}

/// Maps over every pair of axes, one per freeze setting; against the freeze setting where there is only one
/// other axis.
fn heat_maps(matrix: &Matrix) -> Vec<Figure> {
    let varies = |axis: &usize| matrix.axes[*axis] != "seed" && matrix.values(*axis).len() > 1;
    let varying: Vec<usize> = (0..matrix.axes.len()).filter(varies).collect();
    let freeze = varying.iter().copied().find(|&axis| matrix.axes[axis] == "freeze");
    let freeze = freeze.filter(|_| varying.len() > 2);
    let free: Vec<usize> = varying.into_iter().filter(|&axis| Some(axis) != freeze).collect();
    let settings = freeze.map_or(vec![None], |axis| {
        matrix.values(axis).into_iter().map(|value| Some((axis, value))).collect()
    });
    let mut maps = Vec::new();
    for (place, &down) in free.iter().enumerate() {
        for &across in &free[place + 1..] {
            maps.extend(
                settings.iter().filter_map(|setting| heat_map(matrix, (down, across), setting.as_ref())),
            );
        }
    }
    maps
}

fn heat_map(
    matrix: &Matrix,
    (down, across): (usize, usize),
    setting: Option<&(usize, String)>,
) -> Option<Figure> {
    let evaluated = !matrix.shots.is_empty();
    let chosen = |row: &&Row| setting.is_none_or(|(axis, value)| row.axes[*axis] == *value);
    let (downs, acrosses) = (matrix.values(down), matrix.values(across));
    let cell = |down_value: &String, across_value: &String| {
        let members = matrix
            .points
            .iter()
            .filter(chosen)
            .filter(|row| row.axes[down] == *down_value && row.axes[across] == *across_value);
        mean(&members.filter_map(|row| mapped(matrix, row)).collect::<Vec<f64>>())
    };
    let values = downs
        .iter()
        .map(|down_value| acrosses.iter().map(|across_value| cell(down_value, across_value)).collect())
        .collect();
    let axes = [down, across].map(|axis| matrix.axes[axis].clone());
    let id = setting.map_or_else(String::new, |(_, value)| format!("-{value}"));
    let suffix = setting.map_or_else(String::new, |(_, value)| format!(", freeze = {value}"));
    HeatMap {
        id: format!("heat-{}{id}", axes.join("-")),
        title: format!("{}{suffix}", if evaluated { "Average accuracy, %" } else { "Validation loss" }),
        axes: Some(axes),
        rows: downs,
        columns: acrosses,
        values,
        format: if evaluated { percent_cell } else { loss_cell },
        range: mapped_range(matrix),
        cell: 64.0,
    }
    .draw()
}

/// Decimals as those of averages in tables.
fn percent_cell(value: f64) -> String {
    percent(Some(value), 2).text
}

fn loss_cell(value: f64) -> String {
    format!("{value:.4}")
}

fn shots(results: &SweepResults, matrix: &Matrix, looks: &[Curve]) -> Option<Figure> {
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
            name: index.map_or_else(|| (*name).to_owned(), |index| curve_name(&matrix.points[index])),
            classes: index.map_or("s7 ref".to_owned(), |index| looks[index].classes()),
            shown: index.is_none_or(|index| looks[index].shown),
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

/// Whether training is healthy: the charts of [`learning`] that tell, with only what is visible at first.
pub fn health(results: &SweepResults, matrix: &Matrix) -> Vec<Figure> {
    let tells = |chart: &LineChart| ["val-loss", "kl"].contains(&chart.id.as_str());
    let charts = learning(results, matrix, &curves(matrix)).into_iter().filter(tells);
    let draw = |mut chart: LineChart| {
        chart.series.retain(|series| series.shown);
        chart.id = format!("first-{}", chart.id);
        chart.draw()
    };
    charts.filter_map(draw).collect()
}

/// Every point's curves, one chart per figure of an epoch.
fn learning(results: &SweepResults, matrix: &Matrix, looks: &[Curve]) -> Vec<LineChart> {
    let kinds: [(&str, &str, EpochFigure); 5] = [
        ("rce-loss", "Training loss, RCE", |epoch| (epoch.phase == "rce").then_some(epoch.train_loss.get())),
        ("grpo-loss", "Training loss, GRPO", |epoch| {
            (epoch.phase == "grpo").then_some(epoch.train_loss.get())
        }),
        ("val-loss", "Validation loss", |epoch| epoch.val_loss.map(f64::from)),
        ("kl", "KL to the reference policy", |epoch| epoch.kl.map(f64::from)),
        ("ratio", "Mean probability ratio", |epoch| epoch.mean_ratio.map(f64::from)),
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
        .map(|(id, title, figure)| {
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
                    let classes = looks[index].classes();
                    (!values.is_empty()).then(|| Series {
                        name: curve_name(&matrix.points[index]),
                        classes,
                        shown: looks[index].shown,
                        point: Some(index),
                        values,
                    })
                })
                .collect();
            let ticks = ticks.clone();
            LineChart {
                id: id.to_owned(),
                title: title.to_owned(),
                x_label: "epoch".to_owned(),
                series,
                ticks,
            }
        })
        .collect()
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
    let mut columns: Vec<String> = ParamGroup::ALL.iter().map(|group| group.name().to_owned()).collect();
    columns.push("all".to_owned());
    HeatMap {
        id: "movement".to_owned(),
        title: format!("Relative parameter change in the last phase, %{which}"),
        axes: None,
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
