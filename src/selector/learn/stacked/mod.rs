//! The GPU engine: one program for all members of a cohort, as kernels of its own ([`fused`]) on a GPU, and as tensor
//! operators with gradients by burn's autodiff on burn's CPU backend and where the kernels do not fit.
//!
//! Every trainable parameter has a leading member axis; frozen ones that all members share are stored once.
//! Nothing goes back to the host within an epoch: steps are uploaded in chunks ([`chunk`]), what they report
//! stays on the device and is read once at the end. Members never meet in an operation other than side by
//! side, so that a member whose numbers are no longer finite leaves the others untouched; its own rows are
//! put back to where they were before the epoch.
//!
//! With burn's operators the parameters are one `[G, P]` matrix, of which the model uses views: the optimizer is one
//! expression over all parameters of all members, and its cost in launches does not depend on their number.
//!
//! # Precision
//! With the kernels all products are f32 unless `--precision tf32` asks otherwise, those of training and those of the
//! scores of validation, reference and evaluation: they ask `cubek` for a strategy without tensor cores. burn's own
//! product leaves no such choice: on CUDA it takes tensor cores where they are faster, and rounds f32 to TF32 for them
//! (11 significant bits, sums in f32; `adjust_dtypes` in `cubek-matmul`). So on CUDA burn's operators compute only where a
//! test asks for them; what does not fit the kernels is left to the CPU engine. wgpu knows no TF32: burn's operators are f32
//! there.

mod chunk;
mod epoch;
mod evaluate;
mod forward;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod fused;
mod loss;
mod memory;
mod optimizer;
mod pieces;

use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use burn::{Dispatch, DispatchDevice};

use self::chunk::EpochPlan;
use self::epoch::Run;
pub use self::evaluate::scores_of;
pub use self::memory::members_that_fit;
use self::optimizer::Rows;
use self::pieces::{Piece, Role, compact, expand, pieces};
use super::host::State;
use super::parameters::Layout;
use super::task::{EpochTask, Start};
use super::walks::Walks;
use super::{EngineParams, EpochResult, Phase, Query};
use crate::device::Device;
use crate::experiment::Cancel;
use crate::panics;
use crate::selector::ParamGroup;
use crate::selector::data::Embeddings;

type Plane = Tensor<Dispatch, 2>;
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
    /// Frozen pieces in their order, `[shares, rows, columns]` each. This and the next four are what burn's operators
    /// read; `program` has its own.
    frozen: Vec<Stack>,
    /// `cand_proj` `[shares, h, h]` where both projections of the candidates are fixed.
    frozen_cand_proj: Option<Stack>,
    /// Whether `table` holds projected embeddings: `input_proj` is frozen or absent.
    projected: bool,
    /// Embeddings `[N, d]`, or projected by each share's `input_proj` `[shares * N, h]`.
    table: Plane,
    /// The members' rows.
    rows: Rows,
    program: Option<Box<dyn Program>>,
    /// Optimizer steps taken, per member.
    taken: Vec<u64>,
    /// The members' states on the host, read when somebody asks after an epoch; with a `program` always there.
    states: Option<Vec<State>>,
}

/// Hand-written kernels for some device.
trait Kernels {
    /// Steps of `cohort`; `None` where the device or the model does not fit the kernels.
    fn program(&self, cohort: &StackedCohort) -> Option<Box<dyn Program>>;

    /// Scores `[K]` of every query under the parameters `flat`; `None` as above.
    fn scores_of(
        &self,
        layout: &Layout,
        flat: &[f32],
        embeddings: &Embeddings,
        queries: &[Query],
        temperature: f64,
    ) -> Option<Vec<Vec<f32>>>;
}

/// Steps as hand-written kernels.
trait Program: Send + Sync {
    /// Trains an epoch of the members `active` (a row of the plan each), which begin with `states` unless they are
    /// on the device already. Returns the figures `[G, steps * figures]` and how many a step has; `None` when
    /// `cancel` was raised.
    fn train(
        &mut self,
        cohort: &StackedCohort,
        plan: (&EpochPlan, &[usize]),
        states: &[State],
        cancel: &Cancel,
    ) -> Option<(Vec<f32>, usize)>;

    /// States of the members that trained last, in their order, without the number of steps.
    fn read(&self, cohort: &StackedCohort) -> Vec<State>;

    /// Forgets the members: what the device has of them is not to be gone on with.
    fn forget(&mut self);

    /// Scores `[K]` of every query under the parameters `flat`.
    fn scores(&self, cohort: &StackedCohort, flat: &[f32], queries: &[Query]) -> Vec<Vec<f32>>;
}

impl<'d> StackedCohort<'d> {
    /// A cohort on `device` whose members start from `starts`. Some parameter must be trainable. `None` where the CPU
    /// engine has to do: on the CPU, and where the kernels do not fit and burn's operators would round.
    pub fn new(params: EngineParams<'d>, device: Device, starts: &[Start]) -> Option<Self> {
        let (kernels, may_round) = (kernels(device), may_round(device));
        let device = device.burn_device()?;
        let layout = Layout::new(params.shape);
        let pieces = pieces(&layout, params.freeze);
        let (shares, share_of) = shares(&pieces, starts);
        let untrained = |start: &Start| {
            let zeros = vec![0.0; start.weights.len()];
            State { parameters: start.weights.to_vec(), first: zeros.clone(), second: zeros, steps: 0 }
        };
        let states: Vec<Cow<State>> = starts
            .iter()
            .map(|start| start.state.map_or_else(|| Cow::Owned(untrained(start)), Cow::Borrowed))
            .collect();
        let fixed = |group| params.freeze.contains(group);
        let projected = layout.input_proj.is_none() || fixed(ParamGroup::InputProj);
        let empty = || Plane::zeros([1, 1], &device);
        let mut cohort = Self {
            sizes: sizes(&params),
            frozen: Vec::new(),
            frozen_cand_proj: None,
            projected,
            table: empty(),
            rows: Rows { parameters: empty(), first: empty(), second: empty() },
            program: None,
            taken: states.iter().map(|state| state.steps).collect(),
            states: None,
            params,
            layout,
            device,
            pieces,
            shares,
            share_of,
        };
        if let Some(program) = kernels.and_then(|kernels| kernels.program(&cohort)) {
            cohort.program = Some(program);
            cohort.states = Some(states.into_iter().map(Cow::into_owned).collect());
            return Some(cohort);
        }
        if may_round {
            return None;
        }
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
        Some(cohort)
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

    fn project_table(&self) -> Plane {
        let embeddings = self.params.embeddings;
        let raw: Plane = self.upload(embeddings.values.clone(), [embeddings.rows, embeddings.dim]);
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
        let plan = EpochPlan {
            phase,
            epoch,
            tasks: tasks.iter().flatten().collect(),
            taken: active.iter().map(|&member| self.taken[member]).collect(),
            lane_of: active.iter().map(|&member| walks.place[member].1).collect(),
            walks,
            steps: tasks.iter().flatten().map(|task| task.order.len()).max().unwrap_or(0),
        };
        match self.program.take() {
            Some(mut program) => {
                let states = self.states.take().unwrap_or_default();
                let figures = program.train(self, (&plan, &active), &states, cancel);
                self.states = Some(states);
                let ends = figures.map(|figures| epoch::results(&plan, figures, self.params.train));
                if let Some(ends) = &ends {
                    self.take_over(&mut *program, &active, ends);
                }
                self.program = Some(program);
                ends?
            }
            None => self.train_rows(&plan, &active, cancel)?,
        }
        .into_iter()
        .zip(&active)
        .for_each(|(end, &member)| {
            if end.is_ok() {
                self.taken[member] += plan.steps as u64;
            }
            results[member] = end;
        });
        if let (Some(_), Some(states)) = (&self.program, &mut self.states) {
            states.iter_mut().zip(&self.taken).for_each(|(state, &taken)| state.steps = taken);
        }
        Some(results)
    }

    /// An epoch of the members `active` with burn's operators.
    fn train_rows(
        &mut self,
        plan: &EpochPlan,
        active: &[usize],
        cancel: &Cancel,
    ) -> Option<Vec<EpochResult>> {
        let mut run = Run::new(self, plan, active);
        let len = self.chunk_len(plan);
        for first in (0..plan.steps).step_by(len) {
            let chunk = self.chunk(plan, first..plan.steps.min(first + len));
            for i in 0..chunk.len {
                if cancel.is_raised() {
                    return None;
                }
                run = run.step(self, &chunk, i);
                cancel.count_steps(active.len() as u64);
            }
            run.log.close_chunk();
        }
        let ends = epoch::results(plan, run.log.read(), self.params.train);
        let kept: Vec<usize> = (0..active.len()).filter(|&row| ends[row].is_ok()).collect();
        let finished: Vec<usize> = kept.iter().map(|&row| active[row]).collect();
        let trained = if kept.len() < active.len() { run.rows.select(&kept) } else { run.rows };
        if !finished.is_empty() {
            let all = finished.len() == self.taken.len();
            self.rows = if all { trained } else { self.rows.replace(&finished, &trained) };
            self.states = None;
        }
        Some(ends)
    }

    /// Takes over the states of the members that finished an epoch; the others keep theirs.
    fn take_over(&mut self, program: &mut dyn Program, active: &[usize], ends: &[EpochResult]) {
        let trained = program.read(self);
        let states = self.states.get_or_insert_default();
        for ((&member, end), state) in active.iter().zip(ends).zip(trained) {
            if end.is_ok() {
                states[member] = state;
            }
        }
        if ends.iter().any(Result::is_err) {
            program.forget();
        }
    }

    /// Pieces that are not frozen, in the order of the flat buffer.
    #[cfg_attr(not(any(feature = "cuda", feature = "wgpu")), expect(dead_code, reason = "for the kernels"))]
    fn trained_pieces(&self) -> impl Iterator<Item = Piece> {
        self.pieces.iter().copied().filter(|piece| piece.role != Role::Frozen)
    }

    /// Training state of a member: parameters (frozen ones included) and moments, as the CPU engine has it.
    pub fn states_of(&mut self, members: &[usize]) -> Vec<State> {
        let states = self.states();
        members.iter().map(|&member| states[member].clone()).collect()
    }

    fn states(&mut self) -> &[State] {
        if self.states.is_none() {
            let read = |rows: &Plane| read_floats(rows.clone());
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

/// Whether tests ask for burn's operators, which the kernels have to agree with.
fn kernels_are_off() -> bool {
    std::env::var_os("SWEEP_KERNELS").is_some_and(|value| value == "off")
}

/// Kernels for `device`, if there are any.
fn kernels(device: Device) -> Option<Box<dyn Kernels>> {
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    if !kernels_are_off() {
        return fused::kernels(&device.burn_device()?, device.precision());
    }
    let _ = device;
    None
}

/// Whether burn's operators are not to be used on `device`, because they round f32 to TF32.
fn may_round(device: Device) -> bool {
    matches!(device, Device::Cuda(..)) && !kernels_are_off()
}

/// Starts with distinct frozen values, and which of them each member has.
fn shares(pieces: &[Piece], starts: &[Start]) -> (Vec<Arc<Vec<f32>>>, Vec<usize>) {
    let mut shares: Vec<Arc<Vec<f32>>> = Vec::new();
    let same = |a: &Arc<Vec<f32>>, b: &Arc<Vec<f32>>| {
        let frozen = || pieces.iter().filter(|piece| piece.role == Role::Frozen);
        let range = |piece: &Piece| piece.offset..piece.offset + piece.size();
        Arc::ptr_eq(a, b) || frozen().all(|piece| a[range(piece)] == b[range(piece)])
    };
    let mut share_of = Vec::new();
    for Start { weights: start, .. } in starts {
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
///
/// # Panics
/// As [`panics::pass_on`]: a device that has failed answers all the same.
fn read_floats<const D: usize>(tensor: Tensor<Dispatch, D>) -> Vec<f32> {
    let values = tensor.into_data().into_vec().expect("the program computes in f32 only");
    panics::pass_on();
    values
}
