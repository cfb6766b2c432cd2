//! The losses of all members at once. Every trajectory of a group takes part; what a member does not train
//! on (padding, trajectories outside the top k) has weight 0.

use burn::tensor::Tensor;

use super::{Plane, Stack};

/// The trajectories of one group per lane: T of them, S labels each.
#[derive(Clone, Debug)]
pub struct Labels {
    /// 1 at each label `[L, T * S, K]`.
    pub hot: Stack,
    /// 0 at candidates already chosen or beyond the pool, else 1 `[L, T * S, K]`.
    pub keep: Stack,
    /// What those candidates' scores are set to, else 0 `[L, T * S, K]`.
    pub fill: Stack,
}

/// Log-probabilities of the trajectories `[G, T]` under scores `[G, 1, K]`.
pub fn log_probs(scores: Stack, labels: Labels, length: usize) -> Plane {
    let own = (scores.clone() * labels.hot).sum_dim(2);
    let masked = scores * labels.keep + labels.fill;
    let peak = masked.clone().detach().max_dim(2);
    let sum = (masked - peak.clone()).exp().sum_dim(2);
    let log_prob = own - peak - sum.log();
    let [members, rows, _] = log_prob.dims();
    let count = rows / length;
    log_prob.reshape([members, count, length]).sum_dim(2).reshape([members, count])
}

/// `-sum_i w_i * log p_i` per member `[G, 1]`; `weights` `[G, T]`.
pub fn rce(log_probs: Plane, weights: Plane) -> Plane {
    (log_probs * weights).sum_dim(1).neg()
}

/// What GRPO knows before a step; tensors without gradient.
#[derive(Clone, Debug)]
pub struct GrpoTerms {
    /// `1 / n` for the n kept trajectories, else 0 `[G, T]`.
    pub weights: Plane,
    /// `[G, T]`
    pub advantages: Plane,
    /// Log-probabilities under the reference policy; 0 where the weight is 0 `[G, T]`.
    pub reference: Plane,
    /// Clip range `[G, T]` each.
    pub low: Plane,
    pub high: Plane,
    /// KL_BETA `[G, 1]`.
    pub beta: Plane,
}

/// GRPO's loss with gradient `[G, 1]`, and its figures without `[G, 1]` each.
pub struct GrpoParts {
    pub loss: Plane,
    pub ppo: Plane,
    pub kl: Plane,
    pub mean_ratio: Plane,
}

/// `ppo = -mean(min(ratio*A, clip(ratio)*A))`, `kl = mean(ratio - 1 - log ratio)`, `loss = ppo + beta * kl`.
pub fn grpo(log_probs: Plane, terms: GrpoTerms) -> GrpoParts {
    let constant = |values: Plane| Tensor::from_inner(values);
    let log_ratio = log_probs - constant(terms.reference);
    let ratio = log_ratio.clone().exp();
    let plain = ratio.clone().inner();
    let free = plain.clone() * terms.advantages.clone();
    let clipped = plain.clone().max_pair(terms.low).min_pair(terms.high) * terms.advantages.clone();
    // Where the clipped branch is the smaller one the ratio is outside the range: no gradient.
    let outside = free.greater(clipped.clone());
    let surrogate = (ratio.clone() * constant(terms.advantages)).mask_where(outside, constant(clipped));
    let weights = constant(terms.weights.clone());
    let ppo = (surrogate * weights.clone()).sum_dim(1).neg();
    let kl = ((ratio.sub_scalar(1.0) - log_ratio) * weights).sum_dim(1);
    let loss = ppo.clone() + kl.clone() * constant(terms.beta);
    GrpoParts { loss, ppo: ppo.inner(), kl: kl.inner(), mean_ratio: (plain * terms.weights).sum_dim(1) }
}

/// Bounds of the KL outside which KL_BETA is adapted, `[G, 1]` each; unreachable ones for members whose
/// KL_BETA is fixed.
#[derive(Clone, Debug)]
pub struct KlTarget {
    pub low: Plane,
    pub high: Plane,
}

impl KlTarget {
    /// `beta *= 1.5` above the range, `/= 1.5` below it, kept in [0.001, 10].
    pub fn adapt(&self, beta: Plane, kl: &Plane) -> Plane {
        let raised = beta.clone().mul_scalar(1.5).clamp(0.001, 10.0);
        let lowered = beta.clone().div_scalar(1.5).clamp(0.001, 10.0);
        beta.mask_where(kl.clone().greater(self.high.clone()), raised)
            .mask_where(kl.clone().lower(self.low.clone()), lowered)
    }
}
