//! One epoch of the members that take part in it: the steps, and what they report.

use burn::tensor::Tensor;

use super::chunk::{Chunk, EpochPlan, Own};
use super::forward::{Inputs, scores};
use super::loss::{GrpoTerms, KlTarget, Labels, grpo, log_probs, rce};
use super::optimizer::{Gradient, Rates, Rows};
use super::pieces::{ModelTensors, join_gradients, trained};
use super::{Ids, Plane, Stack, StackedCohort, read_floats};
use crate::selector::data::Group;
use crate::selector::learn::task::{Diverged, EpochTask, Objective, StepRecord};
use crate::selector::learn::{EpochResult, Phase};

/// The members that train in one epoch, on their way through it.
pub struct Run {
    /// Parameters and moments, one row per task of the plan.
    pub rows: Rows,
    /// As constants of the gradient program, `[1 or G, rows, columns]` each.
    frozen: Vec<Stack>,
    lanes: Option<Ids>,
    /// Zeros `[G, h]`: the gradient of a key bias.
    idle: Plane,
    max_norm: Plane,
    beta: Plane,
    /// Clip range `[G, T]`, GRPO only.
    clip: Option<(Plane, Plane)>,
    target: Option<KlTarget>,
    pub log: Log,
}

impl Run {
    /// The members `active` of `cohort` at the beginning of the epoch.
    pub fn new(cohort: &StackedCohort, plan: &EpochPlan, active: &[usize]) -> Self {
        let members = active.len();
        let column = |of: &dyn Fn(&EpochTask) -> f32| -> Plane {
            cohort.upload(plan.tasks.iter().map(|task| of(task)).collect(), [members, 1])
        };
        let frozen = cohort.frozen.iter().map(|tensor| {
            let one_share = cohort.shares.len() == 1;
            let shares = || active.iter().map(|&member| cohort.share_of[member] as i32).collect();
            let own = if one_share { tensor.clone() } else { tensor.clone().select(0, cohort.ids(shares())) };
            Tensor::from_inner(own)
        });
        let identity = plan.lane_of.iter().copied().eq(0..plan.walks.pairs.len());
        let direct = plan.walks.pairs.len() == 1 || identity;
        let lanes = || cohort.ids(plan.lane_of.iter().map(|&lane| lane as i32).collect());
        let width = cohort.sizes.trajectories;
        let bound = |of: fn(&Bounds) -> f32| column(&|task| of(&Bounds::of(task)));
        let range = |of: fn(&Bounds) -> f32| bound(of).repeat_dim(1, width);
        let adaptive = plan.tasks.iter().any(|task| kl_target(task).is_some());
        Self {
            rows: if active.len() == cohort.taken.len() {
                cohort.rows.clone()
            } else {
                cohort.rows.select(active)
            },
            frozen: frozen.collect(),
            lanes: (!direct).then(lanes),
            idle: Plane::zeros([members, cohort.layout.shape.hidden], &cohort.device),
            max_norm: bound(|bounds| bounds.max_norm),
            beta: column(&|task| task.objective.kl_beta() as f32),
            clip: (plan.phase == Phase::Grpo)
                .then(|| (range(|bounds| bounds.clip[0]), range(|bounds| bounds.clip[1]))),
            target: adaptive
                .then(|| KlTarget { low: bound(|bounds| bounds.kl[0]), high: bound(|bounds| bounds.kl[1]) }),
            log: Log::default(),
        }
    }

    /// Forward, loss, backward, update of all members. Takes the run by value, so that the update finds the
    /// rows unshared and works in place.
    pub fn step(mut self, cohort: &StackedCohort, chunk: &Chunk, i: usize) -> Self {
        let own = chunk.own(i);
        let (rate, inverse_bias, decay) = (own.rate.clone(), own.inverse_bias.clone(), own.decay.clone());
        let gradient = self.gradient(cohort, chunk.step(i, self.lanes.as_ref()), own);
        let rates = Rates { decay, max_norm: self.max_norm.clone(), rate, inverse_bias };
        self.rows = self.rows.update(gradient, rates);
        self
    }

    /// Forward, loss, backward; leaves the step's figures in the log.
    fn gradient(&mut self, cohort: &StackedCohort, (inputs, labels): (Inputs, Labels), own: Own) -> Gradient {
        let leaves: Vec<Stack> = trained(&cohort.pieces, &self.rows.parameters)
            .into_iter()
            .map(|leaf| Tensor::from_inner(leaf).require_grad())
            .collect();
        let mut weights = ModelTensors::gather(&cohort.layout, &cohort.pieces, &self.frozen, &leaves);
        if cohort.projected {
            weights.input_proj = None;
        }
        let temperature = cohort.params.model.temperature;
        let scores = scores(cohort.layout.shape, &weights, inputs, temperature);
        let log_probs = log_probs(scores, labels, cohort.params.length);
        let loss = match (&self.clip, own.advantages, own.reference) {
            (Some((low, high)), Some(advantages), Some(reference)) => {
                let beta = self.beta.clone();
                let (low, high) = (low.clone(), high.clone());
                let terms = GrpoTerms { weights: own.weights, advantages, reference, low, high, beta };
                let parts = grpo(log_probs, terms);
                if let Some(target) = &self.target {
                    self.beta = target.adapt(self.beta.clone(), &parts.kl);
                }
                self.log.push([parts.ppo, parts.kl, parts.mean_ratio]);
                parts.loss
            }
            _ => {
                let loss = rce(log_probs, Tensor::from_inner(own.weights));
                self.log.push([loss.clone().inner()]);
                loss
            }
        };
        let mut gradients = loss.sum().backward();
        let of_leaf = |leaf: &Stack| {
            leaf.grad_remove(&mut gradients).unwrap_or_else(|| leaf.clone().inner().zeros_like())
        };
        let gradients = leaves.iter().map(of_leaf).collect();
        let gradient = join_gradients(&cohort.pieces, gradients, &self.idle);
        let gradient = Gradient::new(gradient, cohort.layout.shape.hidden);
        self.log.push_norm(gradient.norm.clone());
        gradient
    }
}

/// What stays the same for a member during an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Range of the probability ratio.
    pub clip: [f32; 2],
    /// Range of the KL outside which KL_BETA is adapted; unreachable where it is fixed.
    pub kl: [f32; 2],
    /// Largest norm of a gradient.
    pub max_norm: f32,
}

impl Bounds {
    /// Those of `task`.
    pub fn of(task: &EpochTask) -> Self {
        let range = |sign: f64| (1.0 + sign * clip_epsilon(task)) as f32;
        Self {
            clip: [range(-1.0), range(1.0)],
            kl: kl_target(task).map_or([f32::MIN, f32::MAX], |[low, high]| [not_below(low), not_above(high)]),
            max_norm: task.optimizer.grad_clip as f32,
        }
    }

    /// All of them, as the kernels take them.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    pub fn values(self) -> [f32; 5] {
        let Self { clip: [low, high], kl: [least, most], max_norm } = self;
        [low, high, least, most, max_norm]
    }
}

fn clip_epsilon(task: &EpochTask) -> f64 {
    match task.objective {
        Objective::Grpo { clip_epsilon, .. } => clip_epsilon,
        Objective::Rce { .. } => 0.0,
    }
}

fn kl_target(task: &EpochTask) -> Option<[f64; 2]> {
    match task.objective {
        Objective::Grpo { kl_target, .. } => kl_target,
        Objective::Rce { .. } => None,
    }
}

/// The smallest f32 not below `bound`: `x < bound` in f64 and `x < not_below(bound)` in f32 are the same for
/// every f32 `x`, so that device and host adapt KL_BETA at the same steps.
fn not_below(bound: f64) -> f32 {
    let rounded = bound as f32;
    if f64::from(rounded) < bound { rounded.next_up() } else { rounded }
}

/// The largest f32 not above `bound`, likewise for `x > bound`.
fn not_above(bound: f64) -> f32 {
    let rounded = bound as f32;
    if f64::from(rounded) > bound { rounded.next_down() } else { rounded }
}

/// What the steps reported, on the device until the end of the epoch.
#[derive(Default)]
pub struct Log {
    /// Per step, one `[G, 1]` per figure: the loss (RCE) or ppo, kl and mean ratio (GRPO), then the norm.
    open: Vec<Plane>,
    figures: usize,
    /// Finished chunks `[G, steps * figures]`.
    closed: Vec<Plane>,
}

impl Log {
    fn push<const N: usize>(&mut self, figures: [Plane; N]) {
        self.open.extend(figures);
        self.figures = N + 1;
    }

    fn push_norm(&mut self, norm: Plane) {
        self.open.push(norm);
    }

    /// Puts the figures of a chunk's steps together.
    pub fn close_chunk(&mut self) {
        self.closed.push(Tensor::cat(std::mem::take(&mut self.open), 1));
    }

    /// The figures `[G, steps * figures]`, and how many a step has.
    pub fn read(self) -> (Vec<f32>, usize) {
        let values =
            if self.closed.is_empty() { Vec::new() } else { read_floats(Tensor::cat(self.closed, 1)) };
        (values, self.figures)
    }
}

/// The members' epochs, in the order of the plan's rows, from the figures that the steps reported.
pub fn results(plan: &EpochPlan, (values, figures): (Vec<f32>, usize), train: &[Group]) -> Vec<EpochResult> {
    let count = plan.steps * figures;
    let row = |(task, row): (&&EpochTask, &[f32])| epoch_result(task, row.chunks(figures), train);
    if count == 0 {
        return plan.tasks.iter().map(|_| Ok(Vec::new())).collect();
    }
    plan.tasks.iter().zip(values.chunks(count)).map(row).collect()
}

/// One member's records; the loss and KL_BETA of GRPO are computed here as the CPU engine does, in f64.
fn epoch_result<'a>(
    task: &EpochTask,
    steps: impl Iterator<Item = &'a [f32]>,
    train: &[Group],
) -> EpochResult {
    let mut beta = task.objective.kl_beta();
    let mut records = Vec::with_capacity(task.order.len());
    for (step, figures) in steps.enumerate() {
        let record = match figures {
            [loss, norm] => {
                StepRecord { loss: f64::from(*loss), grad_norm: f64::from(*norm), ..StepRecord::default() }
            }
            [ppo, kl, ratio, norm] => {
                let (ppo, kl) = (f64::from(*ppo), f64::from(*kl));
                let (mean_ratio, grad_norm) = (f64::from(*ratio), f64::from(*norm));
                StepRecord { loss: ppo + beta * kl, ppo, kl, mean_ratio, beta, grad_norm }
            }
            _ => StepRecord::default(),
        };
        let diverged = |what| {
            let query_id = train[task.order[step] as usize].query_id;
            Err(Diverged { step: step + 1, query_id, what })
        };
        if !record.loss.is_finite() {
            return diverged("loss");
        }
        if !record.grad_norm.is_finite() {
            return diverged("gradient");
        }
        beta = task.objective.next_beta(beta, record.kl);
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_bounds_decide_as_the_exact_ones() {
        for bound in [0.01, 0.1, 0.15, 1.0 / 3.0, 0.5, 1e-7] {
            let nearest = bound as f32;
            for x in [nearest.next_down(), nearest, nearest.next_up()] {
                assert_eq!(x < not_below(bound), f64::from(x) < bound, "{x} < {bound}");
                assert_eq!(x > not_above(bound), f64::from(x) > bound, "{x} > {bound}");
            }
        }
    }
}
