//! Sentences that the data supports, each with its evidence: what a person would otherwise write by hand.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::columns::{column_title, signed};
use super::effects::{Effect, PointScores, average};
use super::hints::kl_weight;
use super::matrix::{LEVEL, Matrix, Row, RowStatus, Verdict};
use super::panel::difference;
use super::stats::{Bootstrap, sign_flip};
use super::words::{list, names, what_is_chosen};
use crate::spec::signal_of;
use crate::store::{PointResult, PointStatus, SweepResults};

/// One sentence and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    pub text: String,
    pub evidence: String,
}

impl Observation {
    fn new(text: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self { text: text.into(), evidence: evidence.into() }
    }
}

/// What `results` and their `matrix` show, most important first.
pub fn observations(results: &SweepResults, matrix: &Matrix) -> Vec<Observation> {
    let mut found = Vec::new();
    found.extend(leaks(results));
    found.extend(best_row(matrix));
    found.extend(best_per_column(matrix));
    found.extend(against_references(matrix));
    let scores = PointScores::of(results);
    found.extend(axis_effects(matrix, scores.as_ref()));
    found.extend(best_on_edge(matrix, scores.as_ref()));
    found.extend(identical_share(matrix));
    found.extend(overfitting(results));
    found.extend(kl_dominates(results));
    found.extend(hardly_moved(matrix));
    found.extend(silent_groups(results));
    found
}

/// Evaluation queries that training has seen come before everything that is said of accuracy.
fn leaks(results: &SweepResults) -> Vec<Observation> {
    let evidence = "ids and embeddings of the queries in the training data and in the evaluation file";
    results.leaks.sentences().into_iter().map(|found| Observation::new(found, evidence)).collect()
}

/// The row with the best average, or the lowest val_loss where nothing was evaluated.
pub fn best(matrix: &Matrix) -> Option<&Row> {
    let rows = matrix.main_rows();
    let by_average = rows
        .iter()
        .filter(|row| row.average.is_some())
        .reduce(|best, row| if row.average > best.average { row } else { best });
    by_average.or_else(|| {
        rows.iter()
            .filter(|row| row.val_loss.is_some())
            .reduce(|best, row| if row.val_loss < best.val_loss { row } else { best })
    })
}

/// Whether the best row is really better.
pub fn best_row(matrix: &Matrix) -> Option<Observation> {
    let row = best(matrix)?;
    let Some(average) = row.average else {
        let loss = row.val_loss?;
        return Some(Observation::new(
            format!("{} has the lowest validation loss.", row.name),
            format!("val_loss {loss:.4}"),
        ));
    };
    let interval = row.average_interval.map_or_else(String::new, |interval| {
        format!(" [{:.1}, {:.1}]", 100.0 * interval.low, 100.0 * interval.high)
    });
    let mut evidence = format!("average {:.2} %{interval}", 100.0 * average);
    if let (Some(delta), Some(p)) = (row.delta, row.p_holm) {
        evidence += &format!(", {} points against the baseline, corrected p = {p:.3}", signed(delta, 2));
    }
    let judgement = match row.verdict() {
        Verdict::Baseline => "it is the baseline: nothing beats it",
        Verdict::Same => "it chooses exactly what the baseline chooses",
        Verdict::Better => "it is better than the baseline",
        Verdict::Worse | Verdict::Unclear => "the difference to the baseline may be noise",
        Verdict::Unknown => "there is no baseline to compare it with",
    };
    Some(Observation::new(format!("{} has the highest average; {judgement}.", row.name), evidence))
}

fn best_per_column(matrix: &Matrix) -> Option<Observation> {
    let rows = matrix.main_rows();
    let parts: Vec<String> = matrix
        .score_columns
        .iter()
        .enumerate()
        .filter_map(|(place, column)| {
            let score = |row: &Row| row.scores[place];
            let top = rows.iter().filter_map(score).reduce(f64::max)?;
            let names: Vec<&str> = rows
                .iter()
                .filter(|row| score(row).is_some_and(|score| (score - top).abs() < 1e-12))
                .map(|row| row.name.as_str())
                .collect();
            let others =
                if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
            Some(format!("{}: {}{others} ({:.1} %)", column_title(column), names[0], 100.0 * top))
        })
        .collect();
    let text = || format!("Highest accuracy at every {}.", names(&matrix.score_columns).noun);
    (parts.len() > 1).then(|| Observation::new(text(), parts.join("; ")))
}

fn against_references(matrix: &Matrix) -> Option<Observation> {
    let best = best(matrix)?;
    let average = best.average?;
    let parts: Vec<String> = matrix
        .references
        .iter()
        .filter_map(|row| Some(format!("{} {:.1} %", row.name, 100.0 * row.average?)))
        .collect();
    let (beaten, others): (Vec<&Row>, Vec<&Row>) = matrix
        .references
        .iter()
        .filter(|row| row.average.is_some())
        .partition(|row| row.average.is_some_and(|other| average > other));
    let names = |rows: &[&Row]| list(&rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>());
    let text = match (beaten.len(), others.len()) {
        (0, _) => "Nothing that was trained beats a policy that needs no training.".to_owned(),
        (_, 0) => format!("{} is above {}.", best.name, names(&beaten)),
        _ => format!("{} is above {}, but not above {}.", best.name, names(&beaten), names(&others)),
    };
    (!parts.is_empty()).then(|| Observation::new(text, parts.join(", ")))
}

/// Largest difference between two values of each axis, averaged over everything else.
fn axis_effects(matrix: &Matrix, scores: Option<&PointScores>) -> Vec<Observation> {
    let Some(scores) = scores else { return Vec::new() };
    let bootstrap = Bootstrap::new(scores.queries, 2_000, 7);
    let axes = (0..matrix.axes.len()).filter(|&axis| matrix.axes[axis] != "seed");
    axes.filter_map(|axis| axis_effect(matrix, axis, scores, &bootstrap)).collect()
}

fn axis_effect(
    matrix: &Matrix,
    axis: usize,
    scores: &PointScores,
    bootstrap: &Bootstrap,
) -> Option<Observation> {
    let effect = Effect::of(matrix, axis, scores)?;
    let gap = effect.gap();
    let interval = bootstrap.intervals(std::slice::from_ref(&gap)).into_iter().next()?;
    let (top, low, p) = (&effect.values[effect.top].0, &effect.values[effect.low].0, effect.p);
    let name = &matrix.axes[axis];
    let text = if top == low {
        format!("{name} makes no difference on average.")
    } else if effect.is_told() {
        format!("{name} = {top} does best on average over the other axes, {low} worst.")
    } else {
        format!("{name} makes no difference that can be told from noise.")
    };
    let listed = effect.listed();
    let mean = |&place: &usize| {
        let (value, row) = &effect.values[place];
        format!("{value}: {:.2} %", 100.0 * average(row))
    };
    let means: Vec<String> = listed.iter().map(mean).collect();
    let which = match effect.values.len() {
        all if all > listed.len() => format!(" (the best and the worst of {all} values)"),
        _ => String::new(),
    };
    let evidence = format!(
        "{}{which}; largest difference {} [{}, {}] points, p = {p:.3}",
        means.join(", "),
        signed(average(&gap), 2),
        signed(interval.low, 2),
        signed(interval.high, 2)
    );
    Some(Observation::new(text, evidence))
}

/// Numeric axes whose best value is their smallest or largest: the optimum may lie outside the grid.
fn best_on_edge(matrix: &Matrix, scores: Option<&PointScores>) -> Vec<Observation> {
    let Some(best) = best(matrix) else { return Vec::new() };
    (0..matrix.axes.len())
        .filter(|&axis| matrix.axes[axis] != "seed")
        .filter_map(|axis| on_edge(matrix, best, axis, scores))
        .collect()
}

fn on_edge(matrix: &Matrix, best: &Row, axis: usize, scores: Option<&PointScores>) -> Option<Observation> {
    let values = matrix.values(axis);
    let numbers: Option<Vec<f64>> = values.iter().map(|value| value.parse().ok()).collect();
    let numbers = numbers.filter(|numbers| numbers.len() >= 3)?;
    let value: f64 = best.axes[axis].parse().ok()?;
    let (edge, direction) = match value {
        _ if numbers.iter().all(|other| value <= *other) => ("smallest", "smaller"),
        _ if numbers.iter().all(|other| value >= *other) => ("largest", "larger"),
        _ => return None,
    };
    let next = next_best(matrix, best, axis);
    let noise = match next {
        // Another value does as well: the edge is not where the best is.
        Some(next) if !exceeds(best, next) => return None,
        Some(next) => scores.and_then(|scores| noise(matrix, best, next, axis, scores)),
        None => None,
    };
    let name = &matrix.axes[axis];
    let text = match &noise {
        Some(_) => format!(
            "The best {name} is the {edge} on the grid, but within noise of the next: {direction} values may be no better."
        ),
        None => format!("The best {name} is the {edge} on the grid: try {direction} values."),
    };
    let evidence = format!(
        "{} has {name} = {}; values {}{}",
        best.name,
        best.axes[axis],
        list(&values.iter().map(String::as_str).collect::<Vec<_>>()),
        noise.unwrap_or_default()
    );
    Some(Observation::new(text, evidence))
}

/// The best row that differs from `best` in the value of `axis` alone.
fn next_best<'a>(matrix: &'a Matrix, best: &Row, axis: usize) -> Option<&'a Row> {
    let alike = |row: &&Row| {
        (0..matrix.axes.len()).all(|other| (row.axes[other] == best.axes[other]) == (other != axis))
    };
    let with_figure = |row: &&Row| row.average.or(row.val_loss).is_some();
    let rows = matrix.main_rows().iter().filter(alike).filter(with_figure);
    rows.reduce(|next, row| if exceeds(row, next) { row } else { next })
}

/// Whether `row` is better than `other` in what [`best`] ranks by.
fn exceeds(row: &Row, other: &Row) -> bool {
    match (row.average, other.average) {
        (Some(average), Some(next)) => average - next > 1e-12,
        _ => row.val_loss.zip(other.val_loss).is_some_and(|(loss, next)| loss < next),
    }
}

/// By how much `best` is ahead of `next`, if that cannot be told from noise.
fn noise(matrix: &Matrix, best: &Row, next: &Row, axis: usize, scores: &PointScores) -> Option<String> {
    // A configuration stands for all its seeds, and has no seed of its own.
    let of = |row: &Row| {
        scores.mean(matrix, |point| {
            row.axes.iter().zip(&point.axes).all(|(text, other)| text.is_empty() || text == other)
        })
    };
    let gap = difference(&of(best)?, &of(next)?);
    let interval =
        Bootstrap::new(scores.queries, 2_000, 7).intervals(std::slice::from_ref(&gap)).into_iter().next()?;
    (sign_flip(&gap) > LEVEL).then(|| {
        format!(
            "; {} points ahead of {} [{}, {}]",
            signed(average(&gap), 2),
            next.axes[axis],
            signed(interval.low, 2),
            signed(interval.high, 2)
        )
    })
}

fn identical_share(matrix: &Matrix) -> Option<Observation> {
    let rows: Vec<&Row> = matrix.points.iter().filter(|row| row.average.is_some()).collect();
    let alike = rows.iter().filter(|row| row.identical.is_some()).count();
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for letter in rows.iter().filter_map(|row| row.identical.as_deref()) {
        *groups.entry(letter).or_default() += 1;
    }
    let (largest, members) = groups.iter().max_by_key(|(letter, members)| (**members, Reverse(*letter)))?;
    (alike > 0).then(|| {
        Observation::new(
            format!(
                "{alike} of {} points choose exactly the same {} as another point: they are one result, not several.",
                rows.len(),
                what_is_chosen(&matrix.score_columns)
            ),
            match groups.len() {
                1 => format!("one group, {largest}"),
                count => format!("{count} groups; the largest, {largest}, has {members} points"),
            },
        )
    })
}

/// Points whose validation loss ends above its minimum within the last phase.
fn overfitting(results: &SweepResults) -> Option<Observation> {
    let rising: Vec<(&PointResult, u32)> =
        results.points.iter().filter_map(|point| Some((point, turning_epoch(point)?))).collect();
    let (example, epoch) = rising.first()?;
    let losses: Vec<String> =
        last_phase(example).filter_map(|(epoch, loss)| Some(format!("{epoch}: {:.4}", loss?))).collect();
    Some(Observation::new(
        format!(
            "Validation loss rises again in {} of {} points (overfitting): fewer epochs may do.",
            rising.len(),
            results.points.len()
        ),
        format!("{} from epoch {} on; val_loss by epoch {}", example.name, epoch + 1, losses.join(", ")),
    ))
}

fn last_phase(point: &PointResult) -> impl Iterator<Item = (u32, Option<f64>)> {
    let phase = point.metrics.last().map(|epoch| epoch.phase.as_str());
    point
        .metrics
        .iter()
        .filter(move |epoch| Some(epoch.phase.as_str()) == phase)
        .map(|epoch| (epoch.epoch, epoch.get("val_loss")))
}

/// The epoch of the smallest validation loss, if the last one is larger by more than a thousandth.
fn turning_epoch(point: &PointResult) -> Option<u32> {
    let losses: Vec<(u32, f64)> =
        last_phase(point).filter_map(|(epoch, loss)| Some((epoch, loss?))).collect();
    let (_, last) = losses.last()?;
    let (epoch, least) =
        losses.iter().copied().reduce(|least, next| if next.1 < least.1 { next } else { least })?;
    (last - least > 1e-3 * least.abs()).then_some(epoch)
}

fn kl_dominates(results: &SweepResults) -> Option<Observation> {
    let heavy: Vec<(&PointResult, f64)> = results
        .points
        .iter()
        .filter_map(|point| {
            let weight = kl_weight(point.metrics.last()?).filter(|weight| *weight > 1.0)?;
            Some((point, weight))
        })
        .collect();
    let (example, weight) =
        heavy.iter().copied().reduce(|most, next| if next.1 > most.1 { next } else { most })?;
    Some(Observation::new(
        format!(
            "The KL term outweighs the policy term in {} of {} points: they are held back more than taught.",
            heavy.len(),
            results.points.len()
        ),
        format!("{}: beta * kl is {weight:.1} times |ppo_loss| in the last epoch", example.name),
    ))
}

fn hardly_moved(matrix: &Matrix) -> Option<Observation> {
    let still: Vec<&Row> = matrix.points.iter().filter(|row| row.warning.is_some()).collect();
    let first = still.first()?;
    Some(Observation::new(
        format!("{} of {} points hardly changed their parameters.", still.len(), matrix.points.len()),
        format!("{} {}", first.name, first.warning.as_deref().unwrap_or_default()),
    ))
}

fn silent_groups(results: &SweepResults) -> Option<Observation> {
    let health = results.health.as_ref().filter(|health| health.groups > 0)?;
    let share = health.flat_groups as f64 / health.groups as f64;
    let signal = signal_of(&results.experiment);
    (health.flat_groups > 0).then(|| {
        Observation::new(
            format!(
                "{:.0} % of the training groups carry no signal: all their {signal}s are equal.",
                100.0 * share
            ),
            format!(
                "{} of {} groups; mean range of {signal}s {:.3}",
                health.flat_groups, health.groups, health.mean_range
            ),
        )
    })
}

/// Points without results, in a sentence each; for the report's warnings.
pub fn failures(results: &SweepResults) -> Vec<Observation> {
    results
        .points
        .iter()
        .filter(|point| matches!(point.status, PointStatus::Failed | PointStatus::Infeasible))
        .map(|point| {
            let status = RowStatus::from(point.status).name();
            Observation::new(
                format!("{} is {status}.", point.name),
                point.error.clone().unwrap_or_else(|| "no cause recorded".to_owned()),
            )
        })
        .collect()
}
