//! What a results directory says, as plain values: the input of every table and report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::figure::EpochMetrics;
use crate::finite::Finite;
use crate::record::{JudgeRecord, Leaks, PointStatus, QueryScore, ReferenceResult, SignalHealth, Unanswered};
use crate::spec::{Config, EvalParams, ExportFormat, KeepParams, Point, is_default, nameless};

/// One sweep's results, read from its directory; complete or not.
#[derive(Clone, Debug)]
pub struct SweepResults {
    /// `ROOT/<name>`
    pub dir: PathBuf,
    pub name: String,
    /// What was trained.
    pub experiment: String,
    /// Dotted keys of the axes that vary, in file order.
    pub axes: Vec<String>,
    /// Points in grid order.
    pub points: Vec<PointResult>,
    /// Reference rows, which need no training: `random`, `nearest`, `oracle`. Empty without `[eval]`.
    pub references: Vec<ReferenceResult>,
    /// Indices into `points`: empty, one, or one per seed.
    pub baseline: Vec<usize>,
    /// `[eval]`, if the sweep has one.
    pub eval: Option<EvalParams>,
    /// The score columns of every point, ascending, where `eval` does not say them.
    pub columns: Vec<usize>,
    /// How much signal the training rewards carry.
    pub health: Option<SignalHealth>,
    /// Evaluation queries that training has seen; empty in results of earlier versions.
    pub leaks: Leaks,
    /// Who scored, where a judge was asked.
    pub judge: Option<JudgeRecord>,
}

impl SweepResults {
    /// The score columns of every point, ascending; none where nothing is evaluated.
    pub fn columns(&self) -> Vec<usize> {
        self.eval.as_ref().map_or_else(|| self.columns.clone(), |eval| eval.shots.clone())
    }

    /// How many inputs are looked at (in file order), one set of columns per entry; `None` = all.
    pub fn samples(&self) -> Vec<Option<usize>> {
        self.eval.as_ref().map_or_else(|| vec![None], |eval| eval.samples.clone())
    }

    /// The best `count` points and the baseline: by their average over the shots or, where nothing is evaluated, by their
    /// last validation loss. Of equal ones the first.
    pub fn best(&self, count: usize) -> BTreeSet<usize> {
        let done = self.points.iter().enumerate().filter(|(_, point)| point.status == PointStatus::Done);
        let mut ranked: Vec<(f64, usize)> = done.map(|(at, point)| (point.worth(), at)).collect();
        ranked.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
        ranked.into_iter().take(count).map(|(_, at)| at).chain(self.baseline.iter().copied()).collect()
    }
}

impl PointResult {
    /// What points are ranked by: the larger, the better.
    fn worth(&self) -> f64 {
        let mean = |column: &Vec<QueryScore>| {
            column.iter().map(|query| query.score.get()).sum::<f64>() / column.len().max(1) as f64
        };
        match self.scores.len() {
            0 => self
                .metrics
                .last()
                .and_then(|row| row.get("val_loss"))
                .map_or(f64::NEG_INFINITY, |loss| -loss),
            columns => self.scores.values().map(mean).sum::<f64>() / columns as f64,
        }
    }
}

/// One point's row.
#[derive(Clone, Debug)]
pub struct PointResult {
    pub name: String,
    /// Value of every axis that varies, in the order of [`SweepResults::axes`].
    pub axes: Vec<(String, serde_json::Value)>,
    pub config: Config,
    pub status: PointStatus,
    /// Why it failed: cause with step.
    pub error: Option<String>,
    /// Per shot count, one entry per evaluation query, in file order. Empty until done.
    pub scores: BTreeMap<usize, Vec<QueryScore>>,
    /// What the judge has not answered: these queries are not among `scores`.
    pub unanswered: Vec<Unanswered>,
    /// Parameters trained in the last phase, and all.
    pub trainable: usize,
    pub total: usize,
    /// One row per finished epoch of the point's whole chain.
    pub metrics: Vec<EpochMetrics>,
    /// Relative parameter change from the parent (`||after - before||2 / ||before||2`), per parameter group
    /// and under the key `all`.
    pub movement: BTreeMap<String, Finite>,
    /// The checkpoint, relative to the sweep's directory.
    pub checkpoint: Option<PathBuf>,
}

/// Version of the files below. It changes only where an older program would misread a file: a newer one is refused,
/// an older one is read. What a record lacks that came later has its default, what it has that is not known yet is
/// kept, so that a new key, figure or field needs no new version.
pub const FORMAT: u32 = 2;

/// `resolved.json`: what was asked for, with every default filled in. Written before anything trains.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResolvedRecord {
    pub format: u32,
    pub name: String,
    /// What is trained; results that do not say are of the one that was there first.
    #[serde(default = "unnamed", skip_serializing_if = "is_unnamed")]
    pub experiment: String,
    /// The score columns, where `eval` does not say them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<usize>,
    /// Version of the tool that wrote it.
    pub version: String,
    /// Dotted keys of the axes that vary.
    pub axes: Vec<String>,
    /// All points, in grid order: the directory `points/<name>` may not exist yet.
    #[serde(deserialize_with = "points")]
    pub points: Vec<Point>,
    /// Indices into `points`.
    pub baseline: Vec<usize>,
    #[serde(default)]
    pub eval: Option<EvalParams>,
    /// `[export] formats`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export: Vec<ExportFormat>,
    /// `[keep]`
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep: KeepParams,
    /// Content hashes (blake3, hex) of the inputs by key (`data.trajectories`, `data.embeddings`, `eval.logged`, ...).
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    #[serde(default)]
    pub health: Option<SignalHealth>,
    #[serde(default)]
    pub leaks: Leaks,
    /// Everything about this launch that determines no result: tool path, host, device, git commit, times.
    #[serde(default)]
    pub provenance: BTreeMap<String, String>,
}

fn unnamed() -> String {
    nameless().to_owned()
}

fn is_unnamed(name: &String) -> bool {
    name == nameless()
}

/// What the points have in common is kept once.
fn points<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Point>, D::Error> {
    struct Points;

    impl<'de> Visitor<'de> for Points {
        type Value = Vec<Point>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of points")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Point>, A::Error> {
            let mut points: Vec<Point> = Vec::new();
            while let Some(mut point) = seq.next_element::<Point>()? {
                if let Some(first) = points.first() {
                    point.config.share(&first.config);
                }
                points.push(point);
            }
            Ok(points)
        }
    }
    deserializer.deserialize_seq(Points)
}

impl ResolvedRecord {
    /// The score columns of every point, ascending; none where nothing is evaluated.
    pub fn columns(&self) -> Vec<usize> {
        self.eval.as_ref().map_or_else(|| self.columns.clone(), |eval| eval.shots.clone())
    }
}

/// `points/<name>/point.json`: written once the point has ended. Beside it `metrics.csv` ([`EpochMetrics`]
/// rows), `selections.jsonl` ([`QueryScore`] lines) and `scores.csv`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PointRecord {
    pub format: u32,
    pub name: String,
    pub axes: Vec<(String, serde_json::Value)>,
    pub config: Config,
    pub status: PointStatus,
    pub error: Option<String>,
    /// Key of the stage whose checkpoint the point is.
    pub stage: String,
    /// Hash of what its selections were scored with: shots, samples, score and the evaluation file's contents.
    #[serde(default)]
    pub evaluation: Option<String>,
    pub trainable: usize,
    pub total: usize,
    pub movement: BTreeMap<String, Finite>,
    /// Relative to the sweep's directory: `stages/<hash>/grpo_epoch3.safetensors`.
    pub checkpoint: Option<PathBuf>,
    /// Short hash of the judge that scored, where one was asked; `judge.json` has the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
    /// Scores that are missing because the judge did not answer: a later run asks again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unanswered: usize,
    /// What a later version of the program added: kept when the record is written again.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// `references.json`: scores of the reference policies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReferencesRecord {
    pub format: u32,
    pub references: Vec<ReferenceResult>,
}
