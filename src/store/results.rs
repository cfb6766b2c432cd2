//! What a results directory says, as plain values: the input of every table and report.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::finite::Finite;
use crate::spec::{EvalParams, ExportFormat, PointConfig};

/// One sweep's results, read from its directory; complete or not.
#[derive(Clone, Debug)]
pub struct SweepResults {
    /// `ROOT/<name>`
    pub dir: PathBuf,
    pub name: String,
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
    /// How much signal the training rewards carry.
    pub health: Option<SignalHealth>,
}

/// How one point ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointStatus {
    Done,
    Failed,
    /// Diverged: a non-finite loss or gradient.
    Infeasible,
    Pending,
}

/// One point's row.
#[derive(Clone, Debug)]
pub struct PointResult {
    pub name: String,
    /// Value of every axis that varies, in the order of [`SweepResults::axes`].
    pub axes: Vec<(String, serde_json::Value)>,
    pub config: PointConfig,
    pub status: PointStatus,
    /// Why it failed: cause with step.
    pub error: Option<String>,
    /// Per shot count, one entry per evaluation query, in file order. Empty until done.
    pub scores: BTreeMap<usize, Vec<QueryScore>>,
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

/// A selection policy that needs no training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReferenceResult {
    /// `random`, `nearest` or `oracle`
    pub name: String,
    /// Per shot count, the score per evaluation query.
    pub scores: BTreeMap<usize, Vec<Finite>>,
}

/// What was chosen for one query at one shot count, and what it scored. One line of `selections.jsonl`
/// together with its shot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryScore {
    pub query_id: u64,
    pub shot: usize,
    /// Local ids of the chosen demonstrations.
    pub selection: Vec<u32>,
    /// Index of the chosen logged trajectory.
    pub trajectory: usize,
    pub score: Finite,
    pub log_prob: Finite,
}

/// One row of `metrics.csv`; `None` where a figure does not apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// `rce` or `grpo`
    pub phase: String,
    /// 1-based.
    pub epoch: u32,
    pub train_loss: Finite,
    pub ppo_loss: Option<Finite>,
    pub kl: Option<Finite>,
    pub mean_ratio: Option<Finite>,
    pub advantage_mean: Option<Finite>,
    pub advantage_std: Option<Finite>,
    pub advantage_max: Option<Finite>,
    /// KL_BETA at the end of the epoch.
    pub beta: Option<Finite>,
    pub val_loss: Option<Finite>,
    /// RCE's temperature at the last step.
    pub temperature: Option<Finite>,
    /// Norm before clipping, mean over steps.
    pub grad_norm: Finite,
    /// Wall time of the epoch, shared by the members of its cohort.
    pub seconds: Finite,
    /// Share of steps whose gradient was clipped.
    pub clipped_share: Option<Finite>,
}

impl EpochMetrics {
    /// All figures by name, without the time it took: what equal runs have equal.
    pub fn figures(&self) -> [(&'static str, Option<f64>); 12] {
        let figures = [
            ("train_loss", Some(self.train_loss)),
            ("grad_norm", Some(self.grad_norm)),
            ("ppo_loss", self.ppo_loss),
            ("kl", self.kl),
            ("mean_ratio", self.mean_ratio),
            ("advantage_mean", self.advantage_mean),
            ("advantage_std", self.advantage_std),
            ("advantage_max", self.advantage_max),
            ("beta", self.beta),
            ("val_loss", self.val_loss),
            ("temperature", self.temperature),
            ("clipped_share", self.clipped_share),
        ];
        figures.map(|(name, figure)| (name, figure.map(Finite::get)))
    }
}

/// The health of the reward signal (over training groups).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalHealth {
    pub groups: usize,
    /// Groups whose rewards are all equal: they teach nothing.
    pub flat_groups: usize,
    /// Mean over groups of (largest - smallest raw reward).
    pub mean_range: Finite,
    /// `distinct[n]` = number of groups with `n` distinct raw rewards.
    pub distinct: BTreeMap<usize, usize>,
}

/// Version of the files below; a newer one is refused.
pub const FORMAT: u32 = 1;

/// `resolved.json`: what was asked for, with every default filled in. Written before anything trains.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResolvedRecord {
    pub format: u32,
    pub name: String,
    /// Version of the tool that wrote it.
    pub version: String,
    /// Dotted keys of the axes that vary.
    pub axes: Vec<String>,
    /// All points, in grid order: the directory `points/<name>` may not exist yet.
    pub points: Vec<crate::spec::Point>,
    /// Indices into `points`.
    pub baseline: Vec<usize>,
    pub eval: Option<EvalParams>,
    /// `[export] formats`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export: Vec<ExportFormat>,
    /// Content hashes (blake3, hex) of the inputs by key (`data.trajectories`, `data.embeddings`, `eval.logged`, ...).
    pub inputs: BTreeMap<String, String>,
    pub health: Option<SignalHealth>,
    /// Everything about this launch that determines no result: tool path, host, device, git commit, times.
    pub provenance: BTreeMap<String, String>,
}

/// `points/<name>/point.json`: written once the point has ended. Beside it `metrics.csv` ([`EpochMetrics`]
/// rows), `selections.jsonl` ([`QueryScore`] lines) and `scores.csv`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PointRecord {
    pub format: u32,
    pub name: String,
    pub axes: Vec<(String, serde_json::Value)>,
    pub config: PointConfig,
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
}

/// `references.json`: scores of the reference policies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReferencesRecord {
    pub format: u32,
    pub references: Vec<ReferenceResult>,
}
