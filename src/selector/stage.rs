//! The stages of a point's training. Each struct holds exactly what its stage reads, so that it *is* the
//! stage's cache key: training gets only that struct and cannot depend on anything that is not in the key.
//!
//! The key is a hash of the struct's JSON, and results outlive versions: a field that is added later carries
//! `#[serde(skip_serializing_if = ...)]` for its default, so that stages that do not use it keep their keys.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::plan::{INIT, Traits, Work};
use crate::selector::FreezeSet;
use crate::selector::{ModelParams, Params, Reference, RewardForm, RewardParams};
use crate::spec::is_default;

/// What files of weights call the phases.
pub const RCE: crate::checkpoint::Phase = crate::checkpoint::Phase::called("rce");
pub const GRPO: crate::checkpoint::Phase = crate::checkpoint::Phase::called("grpo");

/// What RCE reads besides the weights it starts from and the data.
///
/// RCE's temperature depends on the total number of steps, so a run of 3 epochs is not the beginning of a
/// run of 5: `epochs` is part of the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RceParams {
    pub seed: u64,
    pub epochs: u32,
    pub lr: f64,
    pub reward: RewardForm,
    pub temperature: [f64; 2],
    pub top1_only: bool,
    pub weight_decay: f64,
    #[serde(skip_serializing_if = "is_default")]
    pub warmup_steps: u32,
    pub grad_clip: f64,
    pub shuffle: bool,
    pub early_stop: Option<u32>,
}

/// What GRPO reads besides the weights it starts from, its reference policy and the data.
///
/// Nothing in GRPO depends on its total number of epochs, so the number is not here: a point asks for
/// (this stage, epoch n), and `grpo_epochs = [1, 2, 3]` is one run with three stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrpoParams {
    pub seed: u64,
    pub lr: f64,
    pub kl_beta: f64,
    pub clip_epsilon: f64,
    /// Bounds of the adaptive KL; `None` when it is off.
    pub kl_target: Option<[f64; 2]>,
    pub top_k: [usize; 2],
    pub freeze: FreezeSet,
    pub weight_decay: f64,
    #[serde(skip_serializing_if = "is_default")]
    pub warmup_steps: u32,
    pub grad_clip: f64,
    pub shuffle: bool,
    pub early_stop: Option<u32>,
}

/// AdamW with a clipped gradient (as in PyTorch): what of a stage's key says how far a step goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// Learning rate.
    pub lr: f64,
    pub weight_decay: f64,
    /// Steps over which the learning rate grows linearly to `lr`; 0 = none.
    pub warmup_steps: u32,
    /// Largest global gradient norm.
    pub grad_clip: f64,
}

impl Optimizer {
    /// The learning rate of step `t` of the phase (1 = first): `lr * min(1, t / warmup_steps)`, PyTorch's `LinearLR` with
    /// `start_factor = 1 / warmup_steps` and `total_iters = warmup_steps - 1`.
    pub fn rate(&self, t: u64) -> f64 {
        match t < u64::from(self.warmup_steps) {
            true => self.lr * t as f64 / f64::from(self.warmup_steps),
            false => self.lr,
        }
    }

    /// The factor of the weights in step `t`: `1 - lr * weight_decay`.
    pub fn decay(&self, t: u64) -> f64 {
        1.0 - self.rate(t) * self.weight_decay
    }
}

/// That of a point with every default: what a record lacks that was written before a key existed.
impl Default for RceParams {
    fn default() -> Self {
        Self::of(&Params::default())
    }
}

impl RceParams {
    /// The RCE part of a point.
    pub fn of(config: &Params) -> Self {
        let train = &config.train;
        Self {
            seed: train.seed,
            epochs: train.rce_epochs,
            lr: train.rce_lr,
            reward: train.rce_reward,
            temperature: train.rce_temperature,
            top1_only: train.rce_top1_only,
            weight_decay: train.weight_decay,
            warmup_steps: train.warmup_steps,
            grad_clip: train.grad_clip,
            shuffle: train.shuffle,
            early_stop: train.early_stop,
        }
    }

    /// How far its steps go.
    pub fn optimizer(&self) -> Optimizer {
        Optimizer {
            lr: self.lr,
            weight_decay: self.weight_decay,
            warmup_steps: self.warmup_steps,
            grad_clip: self.grad_clip,
        }
    }
}

/// That of a point with every default: what a record lacks that was written before a key existed.
impl Default for GrpoParams {
    fn default() -> Self {
        Self::of(&Params::default())
    }
}

impl GrpoParams {
    /// The GRPO part of a point.
    pub fn of(config: &Params) -> Self {
        let train = &config.train;
        Self {
            seed: train.seed,
            lr: train.grpo_lr,
            kl_beta: train.kl_beta,
            clip_epsilon: train.clip_epsilon,
            kl_target: train.adaptive_kl.then_some(train.kl_target),
            top_k: train.top_k,
            freeze: train.freeze.clone(),
            weight_decay: train.weight_decay,
            warmup_steps: train.warmup_steps,
            grad_clip: train.grad_clip,
            shuffle: train.shuffle,
            early_stop: train.early_stop,
        }
    }

    /// How far its steps go.
    pub fn optimizer(&self) -> Optimizer {
        Optimizer {
            lr: self.lr,
            weight_decay: self.weight_decay,
            warmup_steps: self.warmup_steps,
            grad_clip: self.grad_clip,
        }
    }
}

/// Where a chain starts: fresh weights of a seed, or a checkpoint file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    /// Drawn from the seed's stream.
    Fresh { seed: u64 },
    /// Content hash (blake3) of the checkpoint file.
    Checkpoint { content: String },
}

/// The two training phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reward-weighted cross-entropy.
    Rce,
    /// Clipped policy gradient with a KL term.
    Grpo,
}

impl Phase {
    /// `rce` or `grpo`, as in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rce => "rce",
            Self::Grpo => "grpo",
        }
    }
}

/// What stages have equal that train as one tensor program; the time of a step depends on nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// `None` where nothing is trained.
    pub phase: Option<Phase>,
    pub freeze: FreezeSet,
    pub model: ModelParams,
    /// Dimension of the embeddings.
    pub dim: usize,
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StageKind {
    Init { dim: usize, model: ModelParams, origin: Origin },
    Rce { data: String, reward: RewardParams, params: RceParams },
    Grpo { data: String, reward: RewardParams, reference: Reference, params: GrpoParams },
}

impl StageKind {
    /// The phase that it trains; `None` for `Init`.
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::Init { .. } => None,
            Self::Rce { .. } => Some(Phase::Rce),
            Self::Grpo { .. } => Some(Phase::Grpo),
        }
    }

    /// The phase's name in files and for people; `init` where nothing is trained.
    pub fn name(&self) -> &'static str {
        self.phase().map_or(INIT, Phase::name)
    }

    /// The number of epochs where it is part of the stage; `None` where a run of more epochs begins with this one.
    fn whole(&self) -> Option<u32> {
        match self {
            Self::Init { .. } => Some(0),
            Self::Rce { params, .. } => Some(params.epochs),
            Self::Grpo { .. } => None,
        }
    }

    /// As a work of the plan; `model` and `dim` are those of its chain.
    pub fn work(&self, (model, dim): (&ModelParams, usize)) -> Work {
        let json = "stage parameters are plain finite values";
        let frozen = self.frozen();
        let lane = Lane { phase: self.phase(), freeze: frozen.clone(), model: model.clone(), dim };
        let names = frozen.0.into_iter().map(|group| group.parameter_prefix().to_owned());
        Work {
            values: serde_json::to_string(self).expect(json),
            traits: Traits {
                phase: self.name().to_owned(),
                lane: serde_json::to_string(&lane).expect(json),
                whole: self.whole(),
                frozen: names.collect(),
            },
        }
    }

    /// What it leaves as it is while it trains the rest.
    pub fn frozen(&self) -> FreezeSet {
        match self {
            Self::Grpo { params, .. } => params.freeze.clone(),
            Self::Init { .. } | Self::Rce { .. } => FreezeSet::default(),
        }
    }

    /// Feeds `hasher` with what the stages of one sweep are likely to differ in. What is left out costs time,
    /// never a wrong answer: equality decides.
    pub fn hash_into(&self, hasher: &mut impl Hasher) {
        let reward = match self {
            Self::Init { model, origin, .. } => {
                hash_numbers(&[model.dropout, model.attn_dropout, model.temperature], hasher);
                hasher.write_usize(model.hidden);
                match origin {
                    Origin::Fresh { seed } => hasher.write_u64(*seed),
                    Origin::Checkpoint { content } => content.hash(hasher),
                }
                return;
            }
            Self::Rce { reward, params, .. } => {
                hash_numbers(&[params.lr, params.weight_decay, params.grad_clip], hasher);
                hash_numbers(&params.temperature, hasher);
                (params.seed, params.epochs, params.early_stop, params.warmup_steps).hash(hasher);
                reward
            }
            Self::Grpo { reward, params, .. } => {
                hash_numbers(&[params.lr, params.kl_beta, params.clip_epsilon], hasher);
                hash_numbers(&[params.weight_decay, params.grad_clip], hasher);
                hash_numbers(&params.kl_target.unwrap_or_default(), hasher);
                (params.seed, params.top_k, params.early_stop).hash(hasher);
                (&params.freeze, params.warmup_steps).hash(hasher);
                reward
            }
        };
        let weights = [reward.hard_weight, reward.soft_weight, reward.rel_weight, reward.alpha, reward.beta];
        hash_numbers(&weights, hasher);
        std::mem::discriminant(&reward.mode).hash(hasher);
    }
}

fn hash_numbers(numbers: &[f64], hasher: &mut impl Hasher) {
    for number in numbers {
        hasher.write_u64(number.to_bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates of `LinearLR(AdamW(lr = 2e-5), start_factor = 1 / 4, total_iters = 3)`, by its definition.
    #[test]
    fn the_learning_rate_grows_over_the_warm_up() {
        let warm =
            |steps: u32| Optimizer { lr: 2e-5, weight_decay: 0.5, warmup_steps: steps, grad_clip: 1.0 };
        let rates: Vec<f64> = (1..=6).map(|t| warm(4).rate(t)).collect();
        for (rate, expected) in rates.iter().zip([0.5e-5, 1e-5, 1.5e-5, 2e-5, 2e-5, 2e-5]) {
            assert!((rate / expected - 1.0).abs() < 1e-15, "{rate} is not {expected}");
        }
        assert_eq!(warm(4).decay(2), 1.0 - 0.5e-5);
        for steps in [0, 1] {
            assert_eq!([warm(steps).rate(1), warm(steps).rate(7)], [2e-5, 2e-5]);
        }
    }

    #[test]
    fn a_key_at_its_default_is_not_written() {
        let text = |warmup_steps: u32| {
            let params = GrpoParams { warmup_steps, ..GrpoParams::default() };
            serde_json::to_string(&params).unwrap()
        };
        assert!(!text(0).contains("warmup") && text(7).contains("\"warmup_steps\":7"), "{}", text(7));
        assert_eq!(serde_json::from_str::<GrpoParams>(&text(0)).unwrap().warmup_steps, 0);
    }
}
