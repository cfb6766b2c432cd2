//! TOML text -> [`SweepSpec`]: defaults, validation, the grid's points and their names. Pure after reading.

mod config;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use config::{
    DataParams, FreezeSet, ModelParams, Normalize, ParamGroup, PointConfig, Quality, Reference, RewardForm,
    RewardMode, RewardParams, TrainParams,
};

/// A sweep file, read, checked and expanded.
#[derive(Clone, Debug)]
pub struct SweepSpec {
    /// `name` of the file; results go to `ROOT/<name>/`.
    pub name: String,
    /// The file as given.
    pub path: PathBuf,
    /// Its text at launch.
    pub source: String,
    /// Keys of the axes that vary, dotted (`train.kl_beta`), in file order.
    pub axes: Vec<String>,
    /// The points, in grid order (the last axis of the file varies fastest).
    pub points: Vec<Point>,
    /// Indices into `points` of the baseline: one, or one per seed when `seed` is an axis that
    /// `[baseline]` leaves open. Empty without `[baseline]`.
    pub baseline: Vec<usize>,
    /// `[eval]`, if present.
    pub eval: Option<EvalParams>,
    /// `[export] formats`.
    pub export: Vec<ExportFormat>,
}

/// One grid point: a fully resolved configuration with a name for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// For people and for paths: `kl0.15-lr5e-6-ep3-frozen-s0`; names only the axes that vary.
    pub name: String,
    /// Value of every axis that varies, in the order of [`SweepSpec::axes`], as JSON
    /// (freeze sets as lists of group names).
    pub axes: Vec<(String, serde_json::Value)>,
    pub config: PointConfig,
}

/// `[eval]`: how points are scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalParams {
    /// File of sequences that a judge has already scored.
    pub logged: PathBuf,
    /// Shot counts, ascending.
    pub shots: Vec<usize>,
    /// How many queries (in file order) are used, one set of columns per entry; `None` = all.
    pub samples: Vec<Option<usize>>,
    /// Which logged score counts.
    pub score: ScoreField,
}

/// The logged field that accuracy is the mean of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScoreField {
    #[serde(rename = "vqa_acc_score")]
    Accuracy,
    #[serde(rename = "vqa_correct")]
    Correct,
}

/// A foreign format that `run` writes beside every final checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Lightning-like `.ckpt`, what the lab's inference script reads.
    V2,
    /// PyTorch training checkpoint.
    Pt,
}
