//! What a point gives the selector's keys: the only place where their defaults live.
//!
//! Records of earlier versions lack the keys that came later: a missing field is the key's default, which therefore
//! never changes. A new field enters an identity only where it differs from its default (see `stage`), so that a new key
//! orphans no results.
//!
//! Field names are the keys of the sweep file (snake_case). Later code never sees an `Option` that
//! means "default". Every struct serializes to canonical JSON (fields in declaration order), which is
//! what identities are hashed from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::reward::RewardParams;
use crate::selector::FreezeSet;
use crate::spec::{choice, is_default};

/// Everything that can change the result of one point (paths stand for their contents).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    pub data: DataParams,
    pub reward: RewardParams,
    pub model: ModelParams,
    pub train: TrainParams,
}

/// `[data]`: where the query groups come from and which of them are used. Not an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataParams {
    /// Trajectory JSON, resolved against the directory of the sweep file.
    pub trajectories: PathBuf,
    /// Embedding matrix (`.safetensors` or `.pt`), resolved likewise.
    pub embeddings: PathBuf,
    /// Share of the integer keys, in numeric order, that are used for training.
    pub train_fraction: f64,
    /// Keep trajectories whose `vqa_eval_mode` is `"fallback"`.
    pub keep_fallback: bool,
    /// Keep only queries with at least one correct trajectory.
    pub require_positive: bool,
}

/// The paths must be given; they are empty here.
impl Default for DataParams {
    fn default() -> Self {
        Self {
            trajectories: PathBuf::new(),
            embeddings: PathBuf::new(),
            train_fraction: 0.8,
            keep_fallback: false,
            require_positive: false,
        }
    }
}

/// `[model]`: the shape and fixed constants of the `PointerSelector`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelParams {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub dropout: f64,
    pub attn_dropout: f64,
    pub temperature: f64,
}

impl Default for ModelParams {
    fn default() -> Self {
        Self { hidden: 256, layers: 1, heads: 1, dropout: 0.5, attn_dropout: 0.1, temperature: 0.1 }
    }
}

/// `[train]`: initialisation, RCE and GRPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainParams {
    /// Checkpoint to start from; fresh weights when absent.
    pub init: Option<PathBuf>,
    pub seed: u64,
    pub rce_epochs: u32,
    pub rce_lr: f64,
    pub rce_reward: RewardForm,
    /// First and last softmax temperature of RCE.
    pub rce_temperature: [f64; 2],
    pub rce_top1_only: bool,
    /// 0 = RCE only.
    pub grpo_epochs: u32,
    pub grpo_lr: f64,
    pub kl_beta: f64,
    pub clip_epsilon: f64,
    pub reference: Reference,
    pub adaptive_kl: bool,
    /// Adaptive KL: beta shrinks below the first, grows above the second.
    pub kl_target: [f64; 2],
    /// Trajectories kept per group in the first GRPO epoch and in later ones.
    pub top_k: [usize; 2],
    /// Frozen during GRPO.
    pub freeze: FreezeSet,
    pub weight_decay: f64,
    /// Steps at the start of each phase over which the learning rate grows to its value.
    #[serde(skip_serializing_if = "is_default")]
    pub warmup_steps: u32,
    pub grad_clip: f64,
    /// `false` visits the groups in numeric order of their ids.
    pub shuffle: bool,
    /// Patience in epochs on val_loss; off when absent. Applies within each phase.
    pub early_stop: Option<u32>,
}

impl Default for TrainParams {
    fn default() -> Self {
        Self {
            init: None,
            seed: 0,
            rce_epochs: 5,
            rce_lr: 1e-4,
            rce_reward: RewardForm::Raw,
            rce_temperature: [2.0, 0.5],
            rce_top1_only: false,
            grpo_epochs: 0,
            grpo_lr: 5e-6,
            kl_beta: 0.15,
            clip_epsilon: 0.2,
            reference: Reference::Warmup,
            adaptive_kl: false,
            kl_target: [0.01, 0.1],
            top_k: [3, 5],
            freeze: FreezeSet::default(),
            weight_decay: 0.01,
            warmup_steps: 0,
            grad_clip: 1.0,
            shuffle: true,
            early_stop: None,
        }
    }
}

choice! {
    /// Which form of the reward RCE weighs trajectories by.
    RewardForm {
        Raw = "raw",
        Normalized = "normalized",
    }
}

choice! {
    /// The policy whose log-probabilities GRPO's ratios and KL are measured against.
    Reference {
        /// The model GRPO starts from.
        Warmup = "warmup",
        /// The model as it stood before RCE.
        Init = "init",
    }
}
