//! The trace of one cell: which configuration and checkpoint it comes from, and which queries make it up.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::axes::axis_text;
use super::error::ReportError;
use super::stats::mcnemar;
use crate::figure::{EpochFigure, EpochMetrics};
use crate::spec::{Columns, columns_of, figures_of};
use crate::store::{JudgeRecord, PointResult, PointStatus, QueryScore, SweepResults};

/// Everything behind the accuracy of one point at one column.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    pub point: String,
    pub status: PointStatus,
    /// Text of every axis that varies.
    pub axes: Vec<(String, String)>,
    /// Relative to the sweep's directory.
    pub checkpoint: Option<PathBuf>,
    pub trainable: usize,
    pub total: usize,
    /// Of the last epoch.
    pub last_epoch: Option<EpochMetrics>,
    /// The same in words.
    #[serde(skip)]
    pub last_epoch_text: Option<String>,
    #[serde(flatten)]
    pub at: At,
    pub accuracy: f64,
    pub answers: Vec<Answer>,
    /// Queries that the judge did not answer about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<u64>,
    /// The judge that scored, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeRecord>,
    /// Against the baseline, if the sweep has one that was evaluated and is not this point.
    pub comparison: Option<Comparison>,
}

/// A score column.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub column: usize,
    pub names: Columns,
}

/// In the word of the experiment: `"shot": 2`.
impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.names.field, &self.column)?;
        map.end()
    }
}

/// What was chosen for one query.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub query_id: u64,
    /// Local ids of the demonstrations.
    pub selection: Vec<u32>,
    pub score: f64,
    pub log_prob: f64,
    pub baseline_selection: Option<Vec<u32>>,
    pub baseline_score: Option<f64>,
    /// What the judge answered, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// The point against the baseline, query by query.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub baseline: String,
    pub baseline_accuracy: f64,
    /// Queries with another selection.
    pub chosen_differently: usize,
    /// Queries that score higher, and lower, than with the baseline.
    pub better: usize,
    pub worse: usize,
    /// McNemar's exact test; only where all scores are 0 or 1.
    pub mcnemar_p: Option<f64>,
}

/// Traces the accuracy of `point` of `results` at `column` demonstrations.
///
/// # Errors
/// A column that was not evaluated, a point without results.
pub fn why(results: &SweepResults, point: &PointResult, column: usize) -> Result<Why, ReportError> {
    let (columns, names) = (results.columns(), columns_of(&results.experiment));
    if !columns.contains(&column) {
        let known: Vec<String> = columns.iter().map(usize::to_string).collect();
        let known = if known.is_empty() { "none (no `[eval]`)".to_owned() } else { known.join(", ") };
        let Columns { field, noun, .. } = names;
        return Err(ReportError::UnknownColumn { sweep: results.name.clone(), column, field, noun, known });
    }
    let lines = point.scores.get(&column).filter(|lines| !lines.is_empty()).ok_or_else(|| {
        ReportError::NoAnswers {
            point: point.name.clone(),
            status: super::RowStatus::from(point.status).name(),
        }
    })?;
    let baseline = baseline_of(results, point);
    let others: HashMap<u64, &QueryScore> = baseline
        .and_then(|baseline| baseline.scores.get(&column))
        .map(|lines| lines.iter().map(|line| (line.query_id, line)).collect())
        .unwrap_or_default();
    let answers: Vec<Answer> = lines
        .iter()
        .map(|line| {
            let other = others.get(&line.query_id);
            Answer {
                query_id: line.query_id,
                selection: line.selection.clone(),
                score: line.score.get(),
                log_prob: line.log_prob.get(),
                baseline_selection: other.map(|other| other.selection.clone()),
                baseline_score: other.map(|other| other.score.get()),
                answer: line.answer.clone(),
            }
        })
        .collect();
    Ok(Why {
        point: point.name.clone(),
        status: point.status,
        axes: point.axes.iter().map(|(key, value)| (key.clone(), axis_text(key, value))).collect(),
        checkpoint: point.checkpoint.clone(),
        trainable: point.trainable,
        total: point.total,
        last_epoch_text: point.metrics.last().map(|epoch| epoch_text(figures_of(&results.experiment), epoch)),
        last_epoch: point.metrics.last().cloned(),
        at: At { column, names },
        accuracy: answers.iter().map(|answer| answer.score).sum::<f64>() / answers.len() as f64,
        unanswered: point
            .unanswered
            .iter()
            .filter(|line| line.column == column)
            .map(|line| line.query_id)
            .collect(),
        judge: results.judge.clone(),
        comparison: baseline.map(|baseline| compare(&baseline.name, &answers)),
        answers,
    })
}

/// `grpo 2, train loss -0.0400, val_loss 7.4600, kl 0.0200, beta 0.1500`
pub fn epoch_text(figures: &[EpochFigure], epoch: &EpochMetrics) -> String {
    let mut text = format!("{} {}", epoch.phase, epoch.epoch);
    let told = figures.iter().filter_map(|figure| Some((figure.told?, figure.name)));
    for (_, name) in told.collect::<BTreeSet<_>>() {
        if let Some(value) = epoch.get(name) {
            text += &format!(", {name} {value:.4}");
        }
    }
    text
}

/// The baseline of the point's seed, or the only one; none for the baseline itself.
pub fn baseline_of<'a>(results: &'a SweepResults, point: &PointResult) -> Option<&'a PointResult> {
    let all = || results.baseline.iter().map(|&index| &results.points[index]);
    let same = all().find(|baseline| baseline.config.seed() == point.config.seed());
    same.or_else(|| all().next())
        .filter(|baseline| baseline.name != point.name && !baseline.scores.is_empty())
}

fn compare(baseline: &str, answers: &[Answer]) -> Comparison {
    let pairs: Vec<(f64, f64)> =
        answers.iter().filter_map(|answer| Some((answer.score, answer.baseline_score?))).collect();
    let better = pairs.iter().filter(|(score, other)| score > other).count();
    let worse = pairs.iter().filter(|(score, other)| score < other).count();
    let binary = pairs.iter().all(|(a, b)| [*a, *b].iter().all(|score| *score == 0.0 || *score == 1.0));
    Comparison {
        baseline: baseline.to_owned(),
        baseline_accuracy: pairs.iter().map(|(_, other)| other).sum::<f64>() / pairs.len().max(1) as f64,
        chosen_differently: answers
            .iter()
            .filter(|answer| {
                answer.baseline_selection.as_ref().is_some_and(|other| *other != answer.selection)
            })
            .count(),
        better,
        worse,
        mcnemar_p: binary.then(|| mcnemar(better, worse)),
    }
}
