//! The GPU engine: one tensor program for all members of a cohort, gradients by burn's autodiff.
//!
//! Every trainable parameter has a leading member axis; frozen ones that all members share are stored once.
//! Nothing goes back to the host within an epoch: steps are uploaded in chunks ([`chunk`]), what they report
//! stays on the device and is read once at the end. Members never meet in an operation other than side by
//! side, so that a member whose numbers are no longer finite leaves the others untouched; its own rows are
//! put back to where they were before the epoch.
//!
//! The parameters are one `[G, P]` matrix, of which the model uses views: the optimizer is one expression
//! over all parameters of all members, and its cost in kernel launches does not depend on their number.

mod chunk;
mod evaluate;
mod forward;
mod loss;
mod optimizer;
mod pieces;

use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use burn::{Dispatch, DispatchDevice};

use self::chunk::{Chunk, Own, Plan};
pub use self::evaluate::scores_of;
use self::forward::Inputs;
use self::loss::{GrpoTerms, KlTarget, Labels};
use self::optimizer::{Gradient, Rates, Rows};
use self::pieces::{Piece, Role, Weights, compact, expand, join_gradients, pieces, trained};
use super::host::State;
use super::layout::Layout;
use super::task::{Diverged, EpochTask, Objective, StepRecord};
use super::walks::Walks;
use super::{Cancel, EngineParams, EpochResult, Phase};
use crate::spec::ParamGroup;

type Matrix = Tensor<Dispatch, 2>;
type Stack = Tensor<Dispatch, 3>;
type Quad = Tensor<Dispatch, 4>;
type Ids = Tensor<Dispatch, 1, Int>;

/// Largest sizes over the training groups; smaller groups are padded.
struct Sizes {
    /// Candidates K of a pool, and whether pools differ.
    pool: usize,
    ragged: bool,
    /// Trajectories T of a group.
    trajectories: usize,
}

/// A cohort on a burn device.
pub struct StackedCohort<'d> {
    params: EngineParams<'d>,
    layout: Layout,
    device: DispatchDevice,
    pieces: Vec<Piece>,
    sizes: Sizes,
    /// Starts whose frozen parameters differ, and each member's.
    shares: Vec<Arc<Vec<f32>>>,
    share_of: Vec<usize>,
    /// Frozen pieces in their order, `[shares, rows, columns]` each.
    frozen: Vec<Stack>,
    /// `cand_proj` `[shares, h, h]` where both projections of the candidates are fixed.
    frozen_cand_proj: Option<Stack>,
    /// Whether `table` holds projected embeddings: `input_proj` is frozen or absent.
    projected: bool,
    /// Embeddings `[N, d]`, or projected by each share's `input_proj` `[shares * N, h]`.
    table: Matrix,
    rows: Rows,
    /// Optimizer steps taken, per member.
    taken: Vec<u64>,
    /// The members' states on the host, read when somebody asks after an epoch.
    states: Option<Vec<State>>,
}

impl<'d> StackedCohort<'d> {
    /// A cohort on `device` whose members start from `starts` (flat parameters) and have trained as far as
    /// their states say. Some parameter must be trainable.
    pub fn new(
        params: EngineParams<'d>,
        device: DispatchDevice,
        starts: Vec<(Arc<Vec<f32>>, State)>,
    ) -> Self {
        let layout = Layout::new(params.shape);
        let pieces = pieces(&layout, params.freeze);
        let (shares, share_of) = shares(&pieces, &starts);
        let states: Vec<State> = starts.into_iter().map(|(_, state)| state).collect();
        let fixed = |group| params.freeze.contains(group);
        let projected = layout.input_proj.is_none() || fixed(ParamGroup::InputProj);
        let empty = || Matrix::zeros([1, 1], &device);
        let mut cohort = Self {
            sizes: sizes(&params),
            frozen: Vec::new(),
            frozen_cand_proj: None,
            projected,
            table: empty(),
            rows: Rows { parameters: empty(), first: empty(), second: empty() },
            taken: states.iter().map(|state| state.steps).collect(),
            states: None,
            params,
            layout,
            device,
            pieces,
            shares,
            share_of,
        };
        cohort.frozen = cohort.upload_frozen();
        if projected && fixed(ParamGroup::CandProj) {
            let weights = cohort.frozen_piece(cohort.layout.cand_proj);
            cohort.frozen_cand_proj = weights;
        }
        cohort.table = cohort.project_table();
        let part = |of: fn(&State) -> &[f32]| {
            let values: Vec<f32> =
                states.iter().flat_map(|state| compact(&cohort.pieces, of(state))).collect();
            let width = values.len() / states.len().max(1);
            cohort.upload(values, [states.len(), width])
        };
        cohort.rows = Rows {
            parameters: part(|state| &state.parameters),
            first: part(|state| &state.first),
            second: part(|state| &state.second),
        };
        cohort
    }

    fn upload_frozen(&self) -> Vec<Stack> {
        let one = |piece: &Piece| {
            let range = piece.offset..piece.offset + piece.size();
            let values = self.shares.iter().flat_map(|share| &share[range.clone()]).copied().collect();
            self.upload(values, [self.shares.len(), piece.rows, piece.columns])
        };
        self.pieces.iter().filter(|piece| piece.role == Role::Frozen).map(one).collect()
    }

    /// The frozen piece at `offset` of the flat buffer.
    fn frozen_piece(&self, offset: usize) -> Option<Stack> {
        let mut frozen = self.pieces.iter().filter(|piece| piece.role == Role::Frozen).zip(&self.frozen);
        frozen.find(|(piece, _)| piece.offset == offset).map(|(_, tensor)| tensor.clone())
    }

    fn project_table(&self) -> Matrix {
        let embeddings = self.params.embeddings;
        let raw: Matrix = self.upload(embeddings.values.clone(), [embeddings.rows, embeddings.dim]);
        match self.layout.input_proj.and_then(|offset| self.frozen_piece(offset)) {
            Some(weight) => {
                let projected = raw.unsqueeze_dim::<3>(0).matmul(weight.swap_dims(1, 2));
                projected.reshape([self.shares.len() * embeddings.rows, self.layout.shape.hidden])
            }
            None => raw,
        }
    }

    /// First row of a share's embeddings in the table.
    fn table_offset(&self, share: usize) -> usize {
        let own = self.projected && self.layout.input_proj.is_some();
        if own { share * self.params.embeddings.rows } else { 0 }
    }

    /// Trains one epoch. `tasks[i]` belongs to member `i`; `None` leaves it as it is. A member that diverges
    /// keeps the state it had before the epoch.
    ///
    /// Returns `None` when `cancel` was raised; the members' states are then those before the epoch.
    pub fn train_epoch(
        &mut self,
        (phase, epoch): (Phase, u32),
        tasks: &[Option<EpochTask>],
        cancel: &Cancel,
    ) -> Option<Vec<EpochResult>> {
        let active: Vec<usize> = (0..tasks.len()).filter(|&member| tasks[member].is_some()).collect();
        let mut results: Vec<EpochResult> = tasks.iter().map(|_| Ok(Vec::new())).collect();
        if active.is_empty() {
            return Some(results);
        }
        let walks = Walks::of_tasks(tasks, |member| self.share_of[member]);
        let plan = Plan {
            phase,
            epoch,
            tasks: tasks.iter().flatten().collect(),
            taken: active.iter().map(|&member| self.taken[member]).collect(),
            lane_of: active.iter().map(|&member| walks.place[member].1).collect(),
            walks,
            steps: tasks.iter().flatten().map(|task| task.order.len()).max().unwrap_or(0),
        };
        let mut run = Run::new(self, &plan, &active);
        let len = self.chunk_len(&plan);
        for first in (0..plan.steps).step_by(len) {
            let chunk = self.chunk(&plan, first..plan.steps.min(first + len));
            for i in 0..chunk.len {
                if cancel.is_raised() {
                    return None;
                }
                run = run.step(self, &chunk, i);
            }
            run.log.close_chunk();
        }
        let ends = run.log.read(&plan, self.params.train);
        let (mut finished, mut kept) = (Vec::new(), Vec::new());
        for (row, (&member, end)) in active.iter().zip(ends).enumerate() {
            if end.is_ok() {
                finished.push(member);
                kept.push(row);
                self.taken[member] += plan.steps as u64;
            }
            results[member] = end;
        }
        let trained = if kept.len() < active.len() { run.rows.select(&kept) } else { run.rows };
        let all = finished.len() == self.taken.len();
        if !finished.is_empty() {
            self.rows = if all { trained } else { self.rows.replace(&finished, &trained) };
            self.states = None;
        }
        Some(results)
    }

    /// Full parameters of a member, frozen ones included.
    pub fn parameters_of(&mut self, member: usize) -> Vec<f32> {
        self.states()[member].parameters.clone()
    }

    /// Training state of a member: parameters (frozen ones included) and moments, as the CPU engine has it.
    pub fn state_of(&mut self, member: usize) -> State {
        self.states()[member].clone()
    }

    fn states(&mut self) -> &[State] {
        if self.states.is_none() {
            let read = |rows: &Matrix| read_floats(rows.clone());
            let (parameters, first, second) =
                (read(&self.rows.parameters), read(&self.rows.first), read(&self.rows.second));
            let width = self.rows.parameters.dims()[1];
            let one = |member: usize| {
                let own = member * width..(member + 1) * width;
                let fill = |values: &[f32], mut flat: Vec<f32>| {
                    expand(&self.pieces, &values[own.clone()], &mut flat);
                    flat
                };
                let zeros = || vec![0.0; self.layout.total];
                State {
                    parameters: fill(&parameters, self.shares[self.share_of[member]].to_vec()),
                    first: fill(&first, zeros()),
                    second: fill(&second, zeros()),
                    steps: self.taken[member],
                }
            };
            self.states = Some((0..self.taken.len()).map(one).collect());
        }
        self.states.as_deref().unwrap_or_default()
    }
}

/// Starts with distinct frozen values, and which of them each member has.
fn shares(pieces: &[Piece], starts: &[(Arc<Vec<f32>>, State)]) -> (Vec<Arc<Vec<f32>>>, Vec<usize>) {
    let mut shares: Vec<Arc<Vec<f32>>> = Vec::new();
    let same = |a: &Arc<Vec<f32>>, b: &Arc<Vec<f32>>| {
        let frozen = || pieces.iter().filter(|piece| piece.role == Role::Frozen);
        let range = |piece: &Piece| piece.offset..piece.offset + piece.size();
        Arc::ptr_eq(a, b) || frozen().all(|piece| a[range(piece)] == b[range(piece)])
    };
    let mut share_of = Vec::new();
    for (start, _) in starts {
        let known = shares.iter().position(|share| same(share, start));
        share_of.push(known.unwrap_or(shares.len()));
        if known.is_none() {
            shares.push(Arc::clone(start));
        }
    }
    (shares, share_of)
}

fn sizes(params: &EngineParams) -> Sizes {
    let pools = || params.train.iter().map(|group| group.pool.len());
    let pool = pools().max().unwrap_or(1);
    let labels = params.labels.iter().map(|labels| labels.len() / params.length);
    Sizes { pool, ragged: pools().any(|count| count < pool), trajectories: labels.max().unwrap_or(1) }
}

/// The values of a tensor, row by row. Waits for the device.
fn read_floats<const D: usize>(tensor: Tensor<Dispatch, D>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("the program computes in f32 only")
}

/// The members that train in one epoch, on their way through it.
struct Run {
    rows: Rows,
    /// As constants of the gradient program, `[1 or G, rows, columns]` each.
    frozen: Vec<Stack>,
    lanes: Option<Ids>,
    /// Zeros `[G, h]`: the gradient of a key bias.
    idle: Matrix,
    decay: Matrix,
    max_norm: Matrix,
    beta: Matrix,
    /// Clip range `[G, T]`, GRPO only.
    clip: Option<(Matrix, Matrix)>,
    target: Option<KlTarget>,
    log: Log,
}

impl Run {
    fn new(cohort: &StackedCohort, plan: &Plan, active: &[usize]) -> Self {
        let members = active.len();
        let column = |of: &dyn Fn(&EpochTask) -> f32| -> Matrix {
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
        let range = |sign: f64| column(&|task| (1.0 + sign * clip_epsilon(task)) as f32).repeat_dim(1, width);
        let adaptive = plan.tasks.iter().any(|task| kl_target(task).is_some());
        Self {
            rows: if active.len() == cohort.taken.len() {
                cohort.rows.clone()
            } else {
                cohort.rows.select(active)
            },
            frozen: frozen.collect(),
            lanes: (!direct).then(lanes),
            idle: Matrix::zeros([members, cohort.layout.shape.hidden], &cohort.device),
            decay: column(&|task| (1.0 - task.optimizer.lr * task.optimizer.weight_decay) as f32),
            max_norm: column(&|task| task.optimizer.grad_clip as f32),
            beta: column(&|task| task.objective.kl_beta() as f32),
            clip: (plan.phase == Phase::Grpo).then(|| (range(-1.0), range(1.0))),
            target: adaptive.then(|| KlTarget {
                low: column(&|task| kl_target(task).map_or(f32::MIN, |[low, _]| not_below(low))),
                high: column(&|task| kl_target(task).map_or(f32::MAX, |[_, high]| not_above(high))),
            }),
            log: Log::default(),
        }
    }

    /// Forward, loss, backward, update of all members. Takes the run by value, so that the update finds the
    /// rows unshared and works in place.
    fn step(mut self, cohort: &StackedCohort, chunk: &Chunk, i: usize) -> Self {
        let own = chunk.own(i);
        let (rate, inverse_bias) = (own.rate.clone(), own.inverse_bias.clone());
        let gradient = self.gradient(cohort, chunk.step(i, self.lanes.as_ref()), own);
        let (decay, max_norm) = (self.decay.clone(), self.max_norm.clone());
        let rates = Rates { decay, max_norm, rate, inverse_bias };
        self.rows = self.rows.update(gradient, rates);
        self
    }

    /// Forward, loss, backward; leaves the step's figures in the log.
    fn gradient(&mut self, cohort: &StackedCohort, (inputs, labels): (Inputs, Labels), own: Own) -> Gradient {
        let leaves: Vec<Stack> = trained(&cohort.pieces, &self.rows.parameters)
            .into_iter()
            .map(|leaf| Tensor::from_inner(leaf).require_grad())
            .collect();
        let mut weights = Weights::gather(&cohort.layout, &cohort.pieces, &self.frozen, &leaves);
        if cohort.projected {
            weights.input_proj = None;
        }
        let temperature = cohort.params.model.temperature;
        let scores = forward::scores(cohort.layout.shape, &weights, inputs, temperature);
        let log_probs = loss::log_probs(scores, labels, cohort.params.length);
        let loss = match (&self.clip, own.advantages, own.reference) {
            (Some((low, high)), Some(advantages), Some(reference)) => {
                let beta = self.beta.clone();
                let (low, high) = (low.clone(), high.clone());
                let terms = GrpoTerms { weights: own.weights, advantages, reference, low, high, beta };
                let parts = loss::grpo(log_probs, terms);
                if let Some(target) = &self.target {
                    self.beta = target.adapt(self.beta.clone(), &parts.kl);
                }
                self.log.push([parts.ppo, parts.kl, parts.mean_ratio]);
                parts.loss
            }
            _ => {
                let loss = loss::rce(log_probs, Tensor::from_inner(own.weights));
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
struct Log {
    /// Per step, one `[G, 1]` per figure: the loss (RCE) or ppo, kl and mean ratio (GRPO), then the norm.
    open: Vec<Matrix>,
    figures: usize,
    /// Finished chunks `[G, steps * figures]`.
    closed: Vec<Matrix>,
}

impl Log {
    fn push<const N: usize>(&mut self, figures: [Matrix; N]) {
        self.open.extend(figures);
        self.figures = N + 1;
    }

    fn push_norm(&mut self, norm: Matrix) {
        self.open.push(norm);
    }

    fn close_chunk(&mut self) {
        self.closed.push(Tensor::cat(std::mem::take(&mut self.open), 1));
    }

    /// The members' epochs, in the order of the plan's rows.
    fn read(self, plan: &Plan, train: &[crate::data::Group]) -> Vec<EpochResult> {
        let count = plan.steps * self.figures;
        let values =
            if self.closed.is_empty() { Vec::new() } else { read_floats(Tensor::cat(self.closed, 1)) };
        let row = |(task, row): (&&EpochTask, &[f32])| epoch_result(task, row.chunks(self.figures), train);
        if count == 0 {
            return plan.tasks.iter().map(|_| Ok(Vec::new())).collect();
        }
        plan.tasks.iter().zip(values.chunks(count)).map(row).collect()
    }
}

/// One member's records; the loss and KL_BETA of GRPO are computed here as the CPU engine does, in f64.
fn epoch_result<'a>(
    task: &EpochTask,
    steps: impl Iterator<Item = &'a [f32]>,
    train: &[crate::data::Group],
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
