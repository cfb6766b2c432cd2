//! What one member of a cohort does in one epoch, and what it reports; the same for every engine.

use std::sync::Arc;

use super::host::State;
use super::loss::{self, AdvantageFigures, GrpoTerms, LossParts};
use crate::selector::Optimizer;

/// Where a member of a cohort begins.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Flat weights the stage starts from; frozen ones keep these values.
    pub weights: &'a Arc<Vec<f32>>,
    /// What an earlier run has trained; `None` = nothing yet.
    pub state: Option<&'a State>,
}

/// One member's epoch.
#[derive(Clone, Debug)]
pub struct EpochTask<'a> {
    /// Seed of its dropout masks.
    pub seed: u64,
    /// Indices of the training groups in visiting order; members with equal seeds have equal orders.
    pub order: Vec<u32>,
    pub objective: Objective<'a>,
    pub optimizer: Optimizer,
}

/// The loss a member minimises in one epoch.
#[derive(Clone, Debug)]
pub enum Objective<'a> {
    Rce {
        /// Rewards per training group and trajectory.
        rewards: &'a [Vec<f64>],
        /// First and last temperature of the whole phase.
        temperature: [f64; 2],
        /// Number of this epoch's first step within the phase, and of all its steps.
        first_step: usize,
        total_steps: usize,
        /// Plain cross-entropy on the best trajectory.
        top1_only: bool,
    },
    Grpo {
        /// Per training group.
        groups: &'a [GrpoGroup],
        clip_epsilon: f64,
        /// KL_BETA at the start of the epoch.
        kl_beta: f64,
        /// Bounds of the KL outside which beta is adapted after a step.
        kl_target: Option<[f64; 2]>,
    },
}

/// A group's kept trajectories: known before the epoch starts.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpoGroup {
    /// `[n]` their places among the group's trajectories.
    pub kept: Vec<u32>,
    /// `[n * S]` local ids.
    pub labels: Vec<u32>,
    /// `[n]`
    pub advantages: Vec<f32>,
    /// `[n]` log-probabilities under the reference policy.
    pub reference: Vec<f32>,
    pub figures: AdvantageFigures,
}

/// What one step reported.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepRecord {
    pub loss: f64,
    pub ppo: f64,
    pub kl: f64,
    pub mean_ratio: f64,
    /// KL_BETA used in the loss (GRPO).
    pub beta: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
}

/// A member left its cohort because a number was not finite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not finite at step {step} of the epoch (query {query_id})")]
pub struct Diverged {
    /// 1-based step within the epoch.
    pub step: usize,
    pub query_id: u64,
    /// `loss`, `gradient`, `validation loss`, `a weight`, `a figure`
    pub what: &'static str,
}

impl Objective<'_> {
    /// Loss of one group and its gradient with respect to the K scores.
    ///
    /// `step` counts within the epoch, `group` indexes the training groups, `labels` `[n * length]` are all
    /// trajectories of the group, `beta` is the current KL_BETA.
    pub fn evaluate(
        &self,
        (step, group): (usize, usize),
        (labels, length): (&[u32], usize),
        beta: f64,
        scores: &[f32],
        gradient: &mut [f32],
    ) -> LossParts {
        match self {
            Self::Rce { rewards, .. } => {
                let weights = self.trajectory_weights(step, &rewards[group]);
                loss::rce(scores, labels, length, &weights, gradient)
            }
            Self::Grpo { groups, clip_epsilon, .. } => {
                let kept = &groups[group];
                let terms = GrpoTerms {
                    labels: &kept.labels,
                    advantages: &kept.advantages,
                    reference: &kept.reference,
                    kl_beta: beta,
                    clip_epsilon: *clip_epsilon,
                };
                loss::grpo(scores, &terms, length, gradient)
            }
        }
    }

    /// RCE's weights of a group's trajectories at `step` of the epoch. Empty for GRPO.
    pub fn trajectory_weights(&self, step: usize, rewards: &[f64]) -> Vec<f32> {
        match self {
            Self::Rce { top1_only: true, .. } => loss::top1_weights(rewards),
            Self::Rce { .. } => loss::rce_weights(rewards, self.temperature(step)),
            Self::Grpo { .. } => Vec::new(),
        }
    }

    /// RCE's temperature at `step` of the epoch: linear over all RCE steps; 0 for GRPO.
    pub fn temperature(&self, step: usize) -> f64 {
        match self {
            Self::Rce { temperature: [first, last], first_step, total_steps, .. } => {
                let share = (first_step + step) as f64 / (total_steps.saturating_sub(1)).max(1) as f64;
                first + (last - first) * share
            }
            Self::Grpo { .. } => 0.0,
        }
    }

    /// KL_BETA at the start of the epoch; 0 for RCE.
    pub fn kl_beta(&self) -> f64 {
        match self {
            Self::Rce { .. } => 0.0,
            Self::Grpo { kl_beta, .. } => *kl_beta,
        }
    }

    /// KL_BETA for the step after one that saw `kl`.
    pub fn next_beta(&self, beta: f64, kl: f64) -> f64 {
        match self {
            Self::Grpo { kl_target: Some([low, high]), .. } => adapt_beta(beta, kl, [*low, *high]),
            _ => beta,
        }
    }
}

/// Adaptive KL: `beta *= 1.5` above the target range, `/= 1.5` below it, kept in [0.001, 10].
pub fn adapt_beta(beta: f64, kl: f64, [low, high]: [f64; 2]) -> f64 {
    let factor = match kl {
        kl if kl > high => 1.5,
        kl if kl < low => 1.0 / 1.5,
        _ => return beta,
    };
    (beta * factor).clamp(0.001, 10.0)
}
