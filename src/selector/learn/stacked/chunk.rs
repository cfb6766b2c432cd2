//! What a run of steps needs, uploaded in a few large tensors; what depends only on frozen parameters is
//! computed for the whole run at once.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::forward::{Inputs, Keys, linear, with_norms};
use super::loss::Labels;
use super::{Ids, Plane, Quad, Stack, StackedCohort};
use crate::selector::learn::Phase;
use crate::selector::learn::masks::DropoutMasks;
use crate::selector::learn::random::{Purpose, Stream};
use crate::selector::learn::task::{EpochTask, Objective};
use crate::selector::learn::walks::Walks;

/// Device memory of one chunk.
pub const CHUNK_BYTES: usize = 256 << 20;
/// Score of a candidate already chosen.
const CHOSEN: f32 = -100.0;
/// Score of a place beyond the end of a pool: its probability is exactly 0.
const BEYOND: f32 = -1e30;

/// One epoch of the members that take part in it.
pub struct EpochPlan<'a> {
    pub phase: Phase,
    pub epoch: u32,
    /// Per row of the training state.
    pub tasks: Vec<&'a EpochTask<'a>>,
    /// Optimizer steps taken before the epoch, per row.
    pub taken: Vec<u64>,
    pub walks: Walks,
    /// Per row: its lane, an index of `walks.pairs`.
    pub lane_of: Vec<usize>,
    pub steps: usize,
}

/// Steps of an epoch: C of them, B lanes, G rows, K candidates, T trajectories of S labels, on the device.
pub struct Chunk {
    pub len: usize,
    /// `[C, B, 1, d or h]` and `[C, B, K, d or h]`
    queries: Quad,
    candidates: Quad,
    keys: ChunkKeys,
    /// `[C, B, 1, h]`
    query_mask: Option<Quad>,
    /// `[C, B, layers * heads, K]`
    attention_mask: Option<Quad>,
    /// `[C, B, 1, K]`; absent when all pools have K candidates.
    padding: Option<Quad>,
    /// `[C, B, T * S, K]` each.
    hot: Quad,
    keep: Quad,
    fill: Quad,
    /// `[C, G, T]` each; the last two only for GRPO.
    weights: Stack,
    advantages: Option<Stack>,
    reference: Option<Stack>,
    /// `[C, G, 1]` each.
    rate: Stack,
    inverse_bias: Stack,
    decay: Stack,
}

/// As [`Keys`], with a leading axis C.
#[allow(clippy::large_enum_variant, reason = "tensor handles; their size depends on the backends built in")]
enum ChunkKeys {
    Ready { keys: Quad, inverse_norms: Quad },
    Dropped(Quad),
    Raw(Option<Quad>),
}

/// What members have to themselves in one step, `[G, T]` or `[G, 1]` each, without gradient.
pub struct Own {
    pub weights: Plane,
    pub advantages: Option<Plane>,
    pub reference: Option<Plane>,
    pub rate: Plane,
    pub inverse_bias: Plane,
    pub decay: Plane,
}

impl Chunk {
    /// Inputs and labels of step `i` of the chunk, as constants of the gradient program. `lanes` names the
    /// lane of every member; `None` = one lane for all, or one each in their order.
    pub fn step(&self, i: usize, lanes: Option<&Ids>) -> (Inputs, Labels) {
        let at = |all: &Quad| {
            let own: Stack = all.clone().narrow(0, i, 1).squeeze_dim(0);
            Tensor::from_inner(match lanes {
                Some(lanes) => own.select(0, lanes.clone()),
                None => own,
            })
        };
        let keys = match &self.keys {
            ChunkKeys::Ready { keys, inverse_norms } => {
                Keys::Ready { keys: at(keys), inverse_norms: at(inverse_norms) }
            }
            ChunkKeys::Dropped(dropped) => Keys::Dropped(at(dropped)),
            ChunkKeys::Raw(mask) => Keys::Raw(mask.as_ref().map(at)),
        };
        let inputs = Inputs {
            queries: at(&self.queries),
            candidates: at(&self.candidates),
            keys,
            query_mask: self.query_mask.as_ref().map(at),
            attention_mask: self.attention_mask.as_ref().map(at),
            padding: self.padding.as_ref().map(at),
        };
        (inputs, Labels { hot: at(&self.hot), keep: at(&self.keep), fill: at(&self.fill) })
    }

    /// The members' own figures of step `i` of the chunk.
    pub fn own(&self, i: usize) -> Own {
        let at = |all: &Stack| all.clone().narrow(0, i, 1).squeeze_dim(0);
        Own {
            weights: at(&self.weights),
            advantages: self.advantages.as_ref().map(at),
            reference: self.reference.as_ref().map(at),
            rate: at(&self.rate),
            inverse_bias: at(&self.inverse_bias),
            decay: at(&self.decay),
        }
    }
}

/// What one lane's step reads, on the host.
pub struct LaneInputs {
    /// Which training group, and how many candidates it has.
    pub group: usize,
    pub count: usize,
    /// Row of the query and, padded to K, of the candidates in the cohort's table.
    pub query: i32,
    pub pool: Vec<i32>,
    /// Padded to K candidates with ones.
    pub masks: DropoutMasks,
}

/// The same with labels as burn's operators take them.
struct LaneStep {
    inputs: LaneInputs,
    padding: Vec<f32>,
    hot: Vec<f32>,
    fill: Vec<f32>,
}

impl EpochPlan<'_> {
    /// AdamW's `lr / (1 - 0.9^t)`, `1 / sqrt(1 - 0.999^t)` and `1 - lr * weight_decay` at step `step` of the row `row`.
    pub fn rates(&self, step: usize, row: usize) -> [f32; 3] {
        let t = self.taken[row] + step as u64 + 1;
        let (optimizer, power) = (&self.tasks[row].optimizer, |beta: f64| 1.0 - beta.powf(t as f64));
        let [rate, decay] = [optimizer.rate(t) / power(0.9), optimizer.decay(t)];
        [rate as f32, (1.0 / power(0.999).sqrt()) as f32, decay as f32]
    }
}

impl StackedCohort<'_> {
    /// How many steps of `plan` one chunk holds.
    pub(super) fn chunk_len(&self, plan: &EpochPlan) -> usize {
        let (shape, sizes) = (self.layout.shape, &self.sizes);
        let lane = sizes.pool * (3 * shape.hidden + shape.dim)
            + 3 * sizes.trajectories * self.params.length * sizes.pool;
        let own = 3 * plan.tasks.len() * sizes.trajectories;
        (CHUNK_BYTES / (4 * (plan.walks.pairs.len() * lane + own))).clamp(1, plan.steps.max(1))
    }

    /// Uploads the steps `range` of `plan`.
    pub(super) fn chunk(&self, plan: &EpochPlan, range: Range<usize>) -> Chunk {
        let (count, lanes) = (range.len(), plan.walks.pairs.len());
        let places: Vec<(usize, usize)> =
            range.clone().flat_map(|step| (0..lanes).map(move |lane| (step, lane))).collect();
        let steps: Vec<LaneStep> =
            places.par_iter().map(|&(step, lane)| self.lane_step(plan, step, lane)).collect();
        let (h, pool) = (self.layout.shape.hidden, self.sizes.pool);
        let labels = self.sizes.trajectories * self.params.length;
        let quad = |part: fn(&LaneStep) -> &[f32], rows: usize, columns: usize| -> Option<Quad> {
            let values: Vec<f32> = steps.iter().flat_map(part).copied().collect();
            let shape = [count, lanes, rows, columns];
            (!values.is_empty()).then(|| self.upload(values, shape))
        };
        let queries: Vec<i32> = steps.iter().map(|step| step.inputs.query).collect();
        let pools: Vec<i32> = steps.iter().flat_map(|step| &step.inputs.pool).copied().collect();
        let width = self.table.dims()[1];
        let queries = self.rows(queries).reshape([count, lanes, 1, width]);
        let candidates = self.rows(pools).reshape([count, lanes, pool, width]);
        let candidate_mask = quad(|step| &step.inputs.masks.candidates, pool, h);
        let hot = quad(|step| &step.hot, labels, pool);
        let fill = quad(|step| &step.fill, labels, pool);
        let empty = || Quad::zeros([count, lanes, labels, pool], &self.device);
        let (hot, fill) = (hot.unwrap_or_else(empty), fill.unwrap_or_else(empty));
        let attention_rows = self.layout.shape.layers * self.layout.shape.heads;
        let (weights, advantages, reference) = self.trajectories(plan, range.clone());
        let [rate, inverse_bias, decay] = self.rates(plan, range);
        Chunk {
            len: count,
            keys: self.keys(plan, &candidates, candidate_mask),
            queries,
            candidates,
            query_mask: quad(|step| &step.inputs.masks.query, 1, h),
            attention_mask: quad(|step| &step.inputs.masks.attention, attention_rows, pool),
            padding: self.sizes.ragged.then(|| quad(|step| &step.padding, 1, pool)).flatten(),
            keep: fill.clone().equal_elem(0.0).float(),
            hot,
            fill,
            weights,
            advantages,
            reference,
            rate,
            inverse_bias,
            decay,
        }
    }

    fn lane_step(&self, plan: &EpochPlan, step: usize, lane: usize) -> LaneStep {
        let inputs = self.lane_inputs(plan, step, lane);
        let mut padding = vec![0.0; self.sizes.pool];
        padding[inputs.count..].fill(BEYOND);
        let (hot, fill) = self.label_rows(inputs.group, &padding);
        LaneStep { inputs, padding, hot, fill }
    }

    /// What step `step` of `plan` reads on lane `lane`.
    pub(super) fn lane_inputs(&self, plan: &EpochPlan, step: usize, lane: usize) -> LaneInputs {
        let (walk, share) = plan.walks.pairs[lane];
        let (seed, order) = &plan.walks.walks[walk];
        let index = order[step] as usize;
        let group = &self.params.train[index];
        let (count, pool) = (group.pool.len(), self.sizes.pool);
        let purpose = Purpose::Dropout { phase: plan.phase, epoch: plan.epoch, step: step as u32 };
        let mut masks = DropoutMasks::default();
        masks.draw(Stream::new(*seed, purpose), self.layout.shape, self.params.model, count);
        if count < pool {
            let rows = masks.attention.chunks(count);
            let beyond = || std::iter::repeat_n(1.0, pool - count);
            masks.attention = rows.flat_map(|row| row.iter().copied().chain(beyond())).collect();
            if !masks.candidates.is_empty() {
                masks.candidates.resize(pool * self.layout.shape.hidden, 1.0);
            }
        }
        let base = self.table_offset(share);
        let mut ids: Vec<i32> = group.pool.iter().map(|&id| (base + id as usize) as i32).collect();
        ids.resize(pool, ids.first().copied().unwrap_or(0));
        let query = (base + group.query_id as usize) as i32;
        LaneInputs { group: index, count, query, pool: ids, masks }
    }

    /// Labels of a training group as rows `[T * S, K]`: where they are, and what scores are set to before each.
    fn label_rows(&self, group: usize, padding: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (length, pool) = (self.params.length, self.sizes.pool);
        let rows = self.sizes.trajectories * length;
        let mut hot = vec![0.0; rows * pool];
        let mut fill: Vec<f32> = std::iter::repeat_n(padding, rows).flatten().copied().collect();
        for (i, sequence) in self.params.labels[group].chunks_exact(length).enumerate() {
            for (step, &label) in sequence.iter().enumerate() {
                let row = (i * length + step) * pool;
                hot[row + label as usize] = 1.0;
                for &chosen in &sequence[..step] {
                    fill[row + chosen as usize] = CHOSEN;
                }
            }
        }
        (hot, fill)
    }

    /// Weights, advantages and reference log-probabilities `[C, G, T]`; zero for trajectories left out.
    fn trajectories(&self, plan: &EpochPlan, range: Range<usize>) -> (Stack, Option<Stack>, Option<Stack>) {
        let shape = [range.len(), plan.tasks.len(), self.sizes.trajectories];
        let [weights, advantages, reference] = self.trajectory_values(plan, range);
        let grpo = plan.phase == Phase::Grpo;
        (
            self.upload(weights, shape),
            grpo.then(|| self.upload(advantages, shape)),
            grpo.then(|| self.upload(reference, shape)),
        )
    }

    /// The same on the host; the last two are zero but for GRPO.
    pub(super) fn trajectory_values(&self, plan: &EpochPlan, range: Range<usize>) -> [Vec<f32>; 3] {
        let width = self.sizes.trajectories;
        let size = range.len() * plan.tasks.len() * width;
        let (mut weights, mut advantages, mut reference) =
            (vec![0.0; size], vec![0.0; size], vec![0.0; size]);
        let places = range.flat_map(|step| plan.tasks.iter().map(move |task| (step, task)));
        for (i, (step, task)) in places.enumerate() {
            let group = task.order[step] as usize;
            let at = i * width;
            match &task.objective {
                Objective::Rce { rewards, .. } => {
                    let own = task.objective.trajectory_weights(step, &rewards[group]);
                    weights[at..at + own.len()].copy_from_slice(&own);
                }
                Objective::Grpo { groups, .. } => {
                    let kept = &groups[group];
                    for (j, &trajectory) in kept.kept.iter().enumerate() {
                        let slot = at + trajectory as usize;
                        weights[slot] = 1.0 / kept.kept.len() as f32;
                        advantages[slot] = kept.advantages[j];
                        reference[slot] = kept.reference[j];
                    }
                }
            }
        }
        [weights, advantages, reference]
    }

    /// What [`EpochPlan::rates`] says `[C, G, 1]`.
    fn rates(&self, plan: &EpochPlan, range: Range<usize>) -> [Stack; 3] {
        let shape = [range.len(), plan.tasks.len(), 1];
        let all = range.flat_map(|step| (0..plan.tasks.len()).map(move |row| plan.rates(step, row)));
        let all: Vec<[f32; 3]> = all.collect();
        [0, 1, 2].map(|which| self.upload(all.iter().map(|of| of[which]).collect(), shape))
    }

    /// The candidates' path to the scores as far as it is the same at every step.
    fn keys(&self, plan: &EpochPlan, candidates: &Quad, mask: Option<Quad>) -> ChunkKeys {
        if !self.projected {
            return ChunkKeys::Raw(mask);
        }
        let dropped = match mask {
            Some(mask) => candidates.clone() * mask,
            None => candidates.clone(),
        };
        let Some(weight) = &self.frozen_cand_proj else { return ChunkKeys::Dropped(dropped) };
        let [count, lanes, pool, h] = dropped.dims();
        let keys: Quad = if self.shares.len() == 1 {
            linear(dropped.reshape([1, count * lanes * pool, h]), weight.clone())
                .reshape([count, lanes, pool, h])
        } else {
            let shares: Vec<i32> = plan.walks.pairs.iter().map(|&(_, share)| share as i32).collect();
            let own: Stack = weight.clone().select(0, self.ids(shares));
            dropped.matmul(own.swap_dims(1, 2).unsqueeze_dim(0))
        };
        let (keys, inverse_norms) = with_norms(keys.reshape([count * lanes, pool, h]));
        ChunkKeys::Ready {
            keys: keys.reshape([count, lanes, pool, h]),
            inverse_norms: inverse_norms.reshape([count, lanes, 1, pool]),
        }
    }

    pub(super) fn upload<const D: usize>(
        &self,
        values: Vec<f32>,
        shape: [usize; D],
    ) -> Tensor<burn::Dispatch, D> {
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    pub(super) fn ids(&self, ids: Vec<i32>) -> Ids {
        let count = ids.len();
        Ids::from_data(TensorData::new(ids, [count]), &self.device)
    }

    fn rows(&self, ids: Vec<i32>) -> Plane {
        self.table.clone().select(0, self.ids(ids))
    }
}
