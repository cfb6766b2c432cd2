//! Plain rows that everyone shares: what an epoch reports, what was chosen and how it scored. They know nothing of
//! files, training or tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

/// A selection policy that needs no training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReferenceResult {
    /// `random`, `nearest` or `oracle`
    pub name: String,
    /// Per shot count, the score per evaluation query.
    pub scores: BTreeMap<usize, Vec<f64>>,
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
    pub score: f64,
    pub log_prob: f64,
}

/// One row of `metrics.csv`; `None` where a figure does not apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EpochMetrics {
    /// `rce` or `grpo`
    pub phase: String,
    /// 1-based.
    pub epoch: u32,
    pub train_loss: f64,
    pub ppo_loss: Option<f64>,
    pub kl: Option<f64>,
    pub mean_ratio: Option<f64>,
    pub advantage_mean: Option<f64>,
    pub advantage_std: Option<f64>,
    pub advantage_max: Option<f64>,
    /// KL_BETA at the end of the epoch.
    pub beta: Option<f64>,
    pub val_loss: Option<f64>,
    /// RCE's temperature at the last step.
    pub temperature: Option<f64>,
    /// Norm before clipping, mean over steps.
    pub grad_norm: f64,
    /// Wall time of the epoch, shared by the members of its cohort.
    pub seconds: f64,
    /// Share of steps whose gradient was clipped.
    pub clipped_share: Option<f64>,
}

impl EpochMetrics {
    /// All figures by name, without the time it took: what equal runs have equal.
    pub fn figures(&self) -> [(&'static str, Option<f64>); 12] {
        [
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
        ]
    }
}

/// The health of the reward signal (over training groups).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalHealth {
    pub groups: usize,
    /// Groups whose rewards are all equal: they teach nothing.
    pub flat_groups: usize,
    /// Mean over groups of (largest - smallest raw reward).
    pub mean_range: f64,
    /// `distinct[n]` = number of groups with `n` distinct raw rewards.
    pub distinct: BTreeMap<usize, usize>,
}
