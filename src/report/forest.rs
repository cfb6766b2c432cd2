//! The pictures that the report begins with: every result against the baseline, and what each axis does.

use super::alike::{Group, groups};
use super::columns::signed;
use super::dots::{Dot, Dots, Kind, Look, Panel, to_points, to_row};
use super::effects::{Effect, PointScores, average, extremes};
use super::matrix::{Matrix, Row, Verdict};
use super::stats::{Bootstrap, Interval, mean};
use super::svg::Figure;
use super::words::names;
use crate::store::SweepResults;
use crate::text::plural;

/// Results of a forest plot: this many of the best, this many of the worst, and the baseline.
const BEST: usize = 9;
const WORST: usize = 3;
/// Half a point on either side of no difference.
const LEAST: f64 = 0.5;

/// What a forest plot compares rows by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// Differences to the baseline.
    Delta,
    /// Averages, where there is no baseline.
    Average,
    /// Validation losses, where nothing was evaluated.
    ValLoss,
}

impl Shown {
    fn of(matrix: &Matrix) -> Self {
        let any =
            |figure: &dyn Fn(&Row) -> Option<f64>| matrix.main_rows().iter().any(|row| figure(row).is_some());
        match () {
            () if any(&|row| row.delta) => Self::Delta,
            () if any(&|row| row.average) => Self::Average,
            () => Self::ValLoss,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Delta => "Average against the baseline, points",
            Self::Average => "Average accuracy, %",
            Self::ValLoss => "Validation loss",
        }
    }

    /// Value, interval and their text.
    fn figures(self, row: &Row) -> Option<(f64, Option<Interval>, String)> {
        let percent = |of: Interval| Interval { low: 100.0 * of.low, high: 100.0 * of.high };
        Some(match self {
            Self::Delta => {
                let delta = row.delta?;
                let between = |of: Interval| format!(" [{}, {}]", signed(of.low, 1), signed(of.high, 1));
                let text = match row.is_baseline {
                    true => "baseline".to_owned(),
                    false => signed(delta, 2) + &row.delta_interval.map(between).unwrap_or_default(),
                };
                (100.0 * delta, row.delta_interval.map(percent), text)
            }
            Self::Average => {
                let average = row.average?;
                let between = |of: Interval| format!(" [{:.1}, {:.1}]", 100.0 * of.low, 100.0 * of.high);
                let text = format!("{:.2}", 100.0 * average)
                    + &row.average_interval.map(between).unwrap_or_default();
                (100.0 * average, row.average_interval.map(percent), text)
            }
            Self::ValLoss => {
                let baseline = if row.is_baseline { " baseline" } else { "" };
                (row.val_loss?, None, format!("{:.4}{baseline}", row.val_loss?))
            }
        })
    }

    fn dot(self, matrix: &Matrix, row: &Row, label: String, kind: Kind) -> Option<Dot> {
        let (value, interval, text) = self.figures(row)?;
        let leads_to = if kind == Kind::Reference { String::new() } else { to_row(&row.name) };
        let queries = row.queries.filter(|_| self != Self::ValLoss);
        let queries = queries.map_or_else(String::new, |queries| over_queries(matrix, queries));
        let seeds = if row.seeds > 1 { format!("; {} seeds", row.seeds) } else { String::new() };
        let about = seeds + &queries;
        let look = match row.verdict() {
            Verdict::Better => Look::Better,
            Verdict::Worse => Look::Worse,
            Verdict::Baseline | Verdict::Same | Verdict::Unclear | Verdict::Unknown => Look::Plain,
        };
        Some(Dot { label, value, interval, text, about, leads_to, kind, look })
    }
}

/// `; 200 queries`, at the end of what a mark of `matrix` says.
pub fn over_queries(matrix: &Matrix, queries: usize) -> String {
    format!("; {}", names(&matrix.score_columns).counted(queries))
}

/// What the page needs to draw the plot anew from a table: its columns, title, direction and scale.
pub fn columns_of(matrix: &Matrix) -> serde_json::Value {
    let shown = Shown::of(matrix);
    let (value, interval) = match shown {
        Shown::Delta => ("vs baseline", "its interval"),
        Shown::Average => ("average", "95 % interval"),
        Shown::ValLoss => ("val_loss", ""),
    };
    serde_json::json!({
        "table": if matrix.configurations.is_empty() { "points" } else { "configurations" },
        "value": value,
        "interval": interval,
        "title": shown.title(),
        "falling": shown != Shown::ValLoss,
        "zero": (shown == Shown::Delta).then_some(LEAST),
        "about": matrix.queries().filter(|_| shown != Shown::ValLoss).map_or_else(String::new, |queries| over_queries(matrix, queries)),
    })
}

/// Every result that differs in what it chooses, best first, with the references among them.
pub fn forest(matrix: &Matrix) -> Option<Figure> {
    let rows = matrix.main_rows();
    let shown = Shown::of(matrix);
    let mut found = groups(matrix, rows);
    found.retain(|group| shown.figures(&rows[group.first]).is_some());
    let falling = shown != Shown::ValLoss;
    let value = |group: &Group| shown.figures(&rows[group.first]).map_or(f64::NAN, |(value, _, _)| value);
    // Ties stay in order.
    let order = |a: f64, b: f64| if falling { b.total_cmp(&a) } else { a.total_cmp(&b) };
    found.sort_by(|a, b| order(value(a), value(b)));
    let all = found.len();
    let mut place = 0;
    found.retain(|group| {
        place += 1;
        place <= BEST || place > all.saturating_sub(WORST) || rows[group.first].is_baseline
    });
    let trained = found.iter().filter_map(|group| {
        let row = &rows[group.first];
        let label = if group.is_several() { group.place.short() } else { row.name.clone() };
        let kind = if row.is_baseline { Kind::Baseline } else { Kind::Trained };
        shown.dot(matrix, row, label, kind)
    });
    let references =
        matrix.references.iter().filter_map(|row| shown.dot(matrix, row, row.name.clone(), Kind::Reference));
    let mut dots: Vec<Dot> = trained.chain(references).collect();
    dots.sort_by(|a, b| order(a.value, b.value));
    let which = match all - found.len() {
        0 => plural(all, "result"),
        _ => format!("the best and the worst of {}", plural(all, "result")),
    };
    Dots {
        id: "forest".to_owned(),
        title: shown.title().to_owned(),
        x_label: which,
        panels: vec![Panel { title: String::new(), dots }],
        above: true,
        around_zero: (shown == Shown::Delta).then_some(LEAST),
    }
    .draw()
}

/// One panel per axis, on one scale: what its values do, averaged over everything else. The axis that matters most
/// comes first; the seed, whose differences are luck, last.
pub fn axes(results: &SweepResults, matrix: &Matrix) -> Option<Figure> {
    let evaluated = PointScores::of(results);
    let varying = (0..matrix.axes.len()).filter(|&axis| matrix.values(axis).len() > 1);
    let mut panels: Vec<(bool, f64, Panel)> = match &evaluated {
        Some(scores) => {
            let bootstrap = Bootstrap::new(scores.queries, 2_000, 7);
            varying.filter_map(|axis| effect_panel(matrix, axis, scores, &bootstrap)).collect()
        }
        None => varying.filter_map(|axis| loss_panel(matrix, axis)).collect(),
    };
    panels.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    Dots {
        id: "axes".to_owned(),
        title: match evaluated {
            Some(_) => "Values of the axes against their mean, points".to_owned(),
            None => "Validation loss by the values of the axes".to_owned(),
        },
        x_label: "each averaged over everything else".to_owned(),
        panels: panels.into_iter().map(|(_, _, panel)| panel).collect(),
        above: false,
        around_zero: evaluated.map(|_| LEAST),
    }
    .draw()
}

/// Whether it is the seed's, how far its values are apart, and the panel.
fn effect_panel(
    matrix: &Matrix,
    axis: usize,
    scores: &PointScores,
    bootstrap: &Bootstrap,
) -> Option<(bool, f64, Panel)> {
    let effect = Effect::of(matrix, axis, scores)?;
    let deviations = effect.deviations();
    let intervals = bootstrap.intervals(&deviations);
    let is_seed = matrix.axes[axis] == "seed";
    let told = effect.is_told() && !is_seed;
    let dots = effect.values.iter().zip(deviations.iter().zip(intervals)).enumerate();
    let dots = dots.map(|(place, ((value, _), (deviation, interval)))| {
        let middle = average(deviation);
        Dot {
            label: value.clone(),
            value: 100.0 * middle,
            interval: Some(Interval { low: 100.0 * interval.low, high: 100.0 * interval.high }),
            text: format!(
                "{} [{}, {}]",
                signed(middle, 2),
                signed(interval.low, 1),
                signed(interval.high, 1)
            ),
            about: of_points(matrix, axis, value, scores.queries),
            leads_to: to_points(&[(&matrix.axes[axis], value)]),
            kind: Kind::Trained,
            look: match place {
                _ if !told => Look::Plain,
                _ if place == effect.top => Look::Better,
                _ if place == effect.low => Look::Worse,
                _ => Look::Plain,
            },
        }
    });
    let (dots, which) = listed(dots.collect());
    let gap = average(&effect.gap());
    let name = if is_seed { "seed (luck)" } else { &matrix.axes[axis] };
    let title = format!("{name}{which}: {:.2} points apart, p = {:.3}", 100.0 * gap, effect.p);
    Some((is_seed, gap, Panel { title, dots }))
}

/// `; 54 points; 200 queries`
fn of_points(matrix: &Matrix, axis: usize, value: &str, queries: usize) -> String {
    let points = matrix.points.iter().filter(|row| row.axes[axis] == value).count();
    let queries = if queries > 0 { over_queries(matrix, queries) } else { String::new() };
    format!("; {}{queries}", plural(points, "point"))
}

/// The same of validation losses, where nothing was evaluated.
fn loss_panel(matrix: &Matrix, axis: usize) -> Option<(bool, f64, Panel)> {
    let dot = |value: String| {
        let rows = matrix.points.iter().filter(|row| row.axes[axis] == value);
        let loss = mean(&rows.filter_map(|row| row.val_loss).collect::<Vec<f64>>())?;
        Some(Dot {
            value: loss,
            interval: None,
            text: format!("{loss:.4}"),
            about: of_points(matrix, axis, &value, 0),
            leads_to: to_points(&[(&matrix.axes[axis], &value)]),
            label: value,
            kind: Kind::Trained,
            look: Look::Plain,
        })
    };
    let dots: Vec<Dot> = matrix.values(axis).into_iter().filter_map(dot).collect();
    let values = || dots.iter().map(|dot| dot.value);
    let gap = values().reduce(f64::max)? - values().reduce(f64::min)?;
    let (dots, which) = listed(dots);
    let name = if matrix.axes[axis] == "seed" { "seed (luck)" } else { &matrix.axes[axis] };
    let title = format!("{name}{which}: {gap:.4} apart");
    Some((matrix.axes[axis] == "seed", gap, Panel { title, dots }))
}

/// Of many values the best and the worst, and how many these are of.
fn listed(dots: Vec<Dot>) -> (Vec<Dot>, String) {
    let all = dots.len();
    let places = extremes(&dots.iter().map(|dot| dot.value).collect::<Vec<f64>>());
    let which =
        if places.len() < all { format!(" ({} of {all} values)", places.len()) } else { String::new() };
    let dots = dots.into_iter().enumerate().filter(|(place, _)| places.contains(place));
    (dots.map(|(_, dot)| dot).collect(), which)
}
