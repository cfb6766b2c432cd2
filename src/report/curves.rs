//! Curves of the points over shot counts and epochs: which are visible at first, and how they look.

use super::matrix::{Matrix, Row, RowStatus};
use super::panel::{Panel, Scores};
use super::stats::{mean, normal_quantile, variance};
use super::svg::{Figure, LineChart, Series};
use crate::figure::{Chart, EpochFigure, EpochMetrics};
use crate::spec::{Columns, columns_of, figures_of};
use crate::store::SweepResults;

/// A figure's group on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What the page begins with.
    Picture,
    HeatMaps,
    Columns,
    Learning,
    Movement,
    Overlap,
    Signal,
}

/// Points whose curves are visible at first, besides the baseline.
const SHOWN: usize = 3;
/// Between the first and the last of curves that stand at the same places.
pub const APART: f64 = 0.16;

/// How the curves of each point look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve {
    /// Visible at first: the baseline, and the best that differ from each other.
    pub shown: bool,
    pub colour: usize,
}

impl Curve {
    /// CSS classes of everything that belongs to the curve.
    pub fn classes(self) -> String {
        format!("s{}", self.colour % 8)
    }
}

/// A point's name in legends.
pub fn curve_name(row: &Row) -> String {
    format!("{}{}", row.name, if row.is_baseline { " (baseline)" } else { "" })
}

/// The curves of all points. Those visible at first have the first colours, each its own.
pub fn curves(matrix: &Matrix) -> Vec<Curve> {
    // Of a baseline with many seeds one is enough.
    let mut shown: Vec<usize> =
        (0..matrix.points.len()).filter(|&index| matrix.points[index].is_baseline).take(1).collect();
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
pub fn ranking(matrix: &Matrix) -> Vec<usize> {
    let figure = |row: &Row| row.average.or(row.val_loss.map(|loss| -loss));
    let mut order: Vec<usize> =
        (0..matrix.points.len()).filter(|&index| figure(&matrix.points[index]).is_some()).collect();
    order.sort_by(|&a, &b| {
        let of = |index: usize| figure(&matrix.points[index]).unwrap_or(f64::NEG_INFINITY);
        of(b).total_cmp(&of(a))
    });
    order
}

/// All charts, in the order of the page, with the curves of every point.
pub fn charts(results: &SweepResults, matrix: &Matrix) -> Vec<(Section, LineChart)> {
    let looks = curves(matrix);
    let columns = by_column(results, matrix, &looks).map(|chart| (Section::Columns, chart));
    let learning = learning(results, matrix, &looks).into_iter().map(|chart| (Section::Learning, chart));
    columns.into_iter().chain(learning).collect()
}

/// Accuracy by score column. The intervals are those of a mean over queries: every point has four, and none is worth a bootstrap.
fn by_column(results: &SweepResults, matrix: &Matrix, looks: &[Curve]) -> Option<LineChart> {
    let panel = Panel::of(results)?;
    let names = columns_of(&results.experiment);
    let Columns { unit, field, .. } = names;
    if unit.is_empty() {
        return None;
    }
    let queries = panel.widest();
    let interval = |row: &[f64]| {
        let (middle, error) = (mean(row)?, (variance(row) / row.len() as f64).sqrt());
        let end = |sign: f64| {
            rounded(100.0 * (middle + sign * normal_quantile(0.975) * error).clamp(0.0, 1.0), 10.0)
        };
        Some((end(-1.0), end(1.0)))
    };
    let marks = |place: usize, scores: &Scores| {
        let mark = |(column, count): (usize, &usize)| {
            // A little apart, so that intervals do not hide each other.
            let x = *count as f64 + APART * ((place % 8) as f64 / 8.0 - 0.5);
            let y = scores.accuracy(column, queries).map_or(f64::NAN, |score| rounded(100.0 * score, 100.0));
            (x, y, interval(&scores.of_column(column, queries)))
        };
        panel.columns.iter().enumerate().map(mark).collect()
    };
    let points = results.points.iter().enumerate().filter_map(|(index, point)| {
        Some(Series {
            name: curve_name(&matrix.points[index]),
            row: point.name.clone(),
            classes: looks[index].classes(),
            shown: looks[index].shown,
            point: Some(index),
            values: marks(index, &panel.point(point)?),
        })
    });
    let references = results.references.iter().filter_map(|reference| {
        Some(Series {
            name: reference.name.clone(),
            row: String::new(),
            classes: "s7 ref".to_owned(),
            shown: true,
            point: None,
            values: marks(7, &panel.reference(reference)?),
        })
    });
    let series = points.chain(references).collect();
    let samples = matrix.queries().unwrap_or(queries);
    Some(LineChart {
        first: false,
        id: format!("{field}s"),
        title: format!("Accuracy by {field}s, % ({samples} {}, 95 % intervals)", names.inputs[1]),
        x_label: unit.to_owned(),
        series,
        ticks: panel.columns.iter().map(|column| (*column as f64, column.to_string())).collect(),
        unit: format!("{unit} "),
        about: format!("; {}", names.counted(samples)),
    })
}

/// `value` with no more digits than people read.
fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// Whether training is healthy: those of `charts` that tell, once more.
pub fn health(charts: &[(Section, LineChart)]) -> Vec<Figure> {
    let charts = charts.iter().map(|(_, chart)| chart).filter(|chart| chart.first);
    let draw = |chart: &LineChart| {
        let mut figure = chart.draw()?;
        figure.id = format!("first-{}", chart.id);
        Some(figure)
    };
    charts.filter_map(draw).collect()
}

/// Every point's curves, one chart per figure of an epoch.
fn learning(results: &SweepResults, matrix: &Matrix, looks: &[Curve]) -> Vec<LineChart> {
    let table = figures_of(&results.experiment);
    let charts = table.iter().flat_map(|figure| figure.charts.iter().map(move |chart| (figure, chart)));
    let mut kinds: Vec<(&EpochFigure, &Chart)> = charts.collect();
    kinds.sort_by_key(|(_, chart)| chart.place);
    let value = |epoch: &EpochMetrics, (figure, chart): (&EpochFigure, &Chart)| {
        let here = chart.phase.is_none_or(|phase| phase == epoch.phase);
        epoch.get(figure.name).filter(|_| here)
    };
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
        .map(|kind| {
            let series = results
                .points
                .iter()
                .enumerate()
                .filter_map(|(index, point)| {
                    let values: Vec<_> = point
                        .metrics
                        .iter()
                        .enumerate()
                        .filter_map(|(place, epoch)| Some((place as f64 + 1.0, value(epoch, kind)?, None)))
                        .collect();
                    let classes = looks[index].classes();
                    (!values.is_empty()).then(|| Series {
                        name: curve_name(&matrix.points[index]),
                        row: point.name.clone(),
                        classes,
                        shown: looks[index].shown,
                        point: Some(index),
                        values,
                    })
                })
                .collect();
            let ticks = ticks.clone();
            LineChart {
                id: kind.1.id.to_owned(),
                first: kind.1.first,
                title: [kind.1.title, kind.0.unit]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join(", "),
                x_label: "epoch".to_owned(),
                series,
                ticks,
                unit: format!("{} at ", kind.1.title),
                about: String::new(),
            }
        })
        .collect()
}
