//! A cohort on the CPU: each core trains one member at a time, several steps in a row.

use std::sync::Arc;
use std::sync::Mutex;

use rayon::prelude::*;

use super::backward::{Candidates, Gradients, Step, backward};
use super::bundle::{BundleData, Prepared, SharedCandidates};
use super::evaluate::{Pools, Projection};
use super::forward::{Masks, Parameters, Trace, attend, score};
use super::frozen::Frozen;
use super::kernels::{AdamW, Operand, matmul, matvec, multiply, normalize_rows, project};
use super::slab::{Slab, Slices};
use super::update::{State, update};
use crate::experiment::Cancel;
use crate::selector::data::{Embeddings, Group};
use crate::selector::learn::parameters::Layout;
use crate::selector::learn::task::{Diverged, EpochTask, Start, StepRecord};
use crate::selector::learn::walks::Walks;
use crate::selector::learn::{EngineParams, EpochResult, Phase};

/// Steps that a member makes before the cores wait for each other: what members have in common is prepared for so
/// many steps at once. More of it would no longer fit the caches beside the members' states.
const BLOCK: usize = 16;

/// Frozen parameters that several members have in common, and what depends only on them.
pub(super) struct Share<'d> {
    pub(super) start: Arc<Vec<f32>>,
    /// All embeddings through the frozen (or absent) `input_proj` `[N, h]`; empty when it is trained.
    pub(super) projected: std::borrow::Cow<'d, [f32]>,
    /// For evaluation, when both projections of the candidates are fixed.
    pub(super) evaluation: Option<Projection>,
}

pub(super) struct Member {
    pub(super) share: usize,
    /// Optimizer steps taken.
    pub(super) steps: u64,
}

/// A cohort on the CPU.
pub struct HostCohort<'d> {
    pub(super) params: EngineParams<'d>,
    pub(super) layout: Layout,
    pub(super) frozen: Frozen,
    pub(super) members: Vec<Member>,
    /// Parameters and moments of the members.
    pub(super) states: Slab,
    pub(super) shares: Vec<Share<'d>>,
    /// Once a validation was made.
    pub(super) validation: Option<Pools>,
    scratch: Mutex<Vec<Scratch>>,
}

/// Work space of one thread for one member's step.
struct Scratch {
    trace: Trace,
    gradients: Gradients,
    candidates: OwnCandidates,
    score_gradient: Vec<f32>,
}

/// The candidates of one step as far as they depend on the member: rows `[K, h]`, columns `[h, K]`.
#[derive(Default)]
struct OwnCandidates {
    projected: Vec<f32>,
    projected_columns: Vec<f32>,
    /// Columns after dropout.
    dropped: Vec<f32>,
    unit: Vec<f32>,
    unit_columns: Vec<f32>,
    norms: Vec<f32>,
}

impl<'d> HostCohort<'d> {
    /// A cohort whose members start from `starts`.
    pub fn new(params: EngineParams<'d>, starts: &[Start]) -> Self {
        let layout = Layout::new(params.shape);
        let frozen = Frozen::new(params.freeze);
        let mut cohort = Self {
            params,
            frozen,
            members: Vec::new(),
            states: Slab::new(starts.len(), layout.total),
            shares: Vec::new(),
            validation: None,
            scratch: Mutex::default(),
            layout,
        };
        let slices: Vec<Slices> = cohort.states.members_mut().collect();
        // In parallel, as most of the time goes into fresh memory.
        slices.into_par_iter().zip(starts).for_each(|(slices, start)| match start.state {
            None => slices.p.copy_from_slice(start.weights),
            Some(state) => {
                slices.p.copy_from_slice(&state.parameters);
                slices.m.copy_from_slice(&state.first);
                slices.v.copy_from_slice(&state.second);
            }
        });
        for Start { weights, state } in starts {
            let share = cohort.share_of(weights);
            cohort.members.push(Member { share, steps: state.map_or(0, |state| state.steps) });
        }
        cohort
    }

    /// The share whose frozen segments equal those of `start`.
    fn share_of(&mut self, start: &Arc<Vec<f32>>) -> usize {
        let frozen_segments =
            || self.layout.segments.iter().filter(|segment| self.params.freeze.contains(segment.group));
        let same = |share: &Share| {
            Arc::ptr_eq(&share.start, start)
                || frozen_segments().all(|segment| {
                    let range = segment.offset..segment.offset + segment.len();
                    share.start[range.clone()] == start[range]
                })
        };
        if let Some(found) = self.shares.iter().position(same) {
            return found;
        }
        let projected = self.project_all(start);
        self.shares.push(Share { start: Arc::clone(start), projected, evaluation: None });
        self.shares.len() - 1
    }

    /// All embeddings through `input_proj` where it is frozen or absent.
    fn project_all(&self, start: &[f32]) -> std::borrow::Cow<'d, [f32]> {
        let Embeddings { rows, dim, values } = self.params.embeddings;
        let hidden = self.layout.shape.hidden;
        match self.layout.input_proj {
            None => values.as_slice().into(),
            Some(offset) if self.frozen.input_proj => {
                let weight = Operand::transposed(&start[offset..offset + hidden * dim], *dim);
                let mut projected = vec![0.0; rows * hidden];
                let threads = rayon::current_num_threads();
                matmul((*rows, hidden, *dim), Operand::plain(values, *dim), weight, &mut projected, threads);
                projected.into()
            }
            Some(_) => std::borrow::Cow::Borrowed(&[]),
        }
    }

    pub(super) fn parameters(&self, member: usize) -> Parameters<'_> {
        let shared = self.shares[self.members[member].share].start.as_slice();
        let [own, ..] = self.states.of(member);
        Parameters { layout: &self.layout, own, shared, frozen: &self.frozen }
    }

    /// Trains one epoch. `tasks[i]` belongs to member `i`; `None` leaves it as it is.
    ///
    /// Returns `None` when `cancel` was raised; the members' states are then in the middle of the epoch and
    /// must not be used.
    pub fn train_epoch(
        &mut self,
        (phase, epoch): (Phase, u32),
        tasks: &[Option<EpochTask>],
        cancel: &Cancel,
    ) -> Option<Vec<EpochResult>> {
        let steps = tasks.iter().flatten().map(|task| task.order.len()).max().unwrap_or(0);
        let walks = Walks::of_tasks(tasks, |member| self.members[member].share);
        let mut members = std::mem::take(&mut self.members);
        let mut states = std::mem::replace(&mut self.states, Slab::new(0, 0));
        let mut runs: Vec<MemberRun> = (members.iter_mut().zip(states.members_mut()).zip(tasks).enumerate())
            .filter_map(|(index, (member, task))| {
                Some(MemberRun::new(index, member, task.as_ref()?, &walks, steps))
            })
            .collect();
        let prepare = |first: usize, out: &mut Vec<Prepared>| {
            out.resize_with(BLOCK.min(steps.saturating_sub(first)), Prepared::default);
            out.par_iter_mut().enumerate().for_each(|(ahead, prepared)| {
                self.prepare((phase, epoch, first + ahead), &walks, prepared);
            });
        };
        let (mut current, mut next) = (Vec::new(), Vec::new());
        prepare(0, &mut current);
        let mut cancelled = cancel.is_raised();
        for first in (0..steps).step_by(BLOCK) {
            let active = runs.iter().filter(|run| run.diverged.is_none()).count();
            let threads = if active == 1 { rayon::current_num_threads() } else { 1 };
            let work = || {
                let runs = runs.par_iter_mut().with_max_len(1);
                runs.for_each(|run| self.member_steps(first, run, &current, (threads, cancel)));
            };
            rayon::join(|| prepare(first + BLOCK, &mut next), work);
            current.iter().for_each(|_| cancel.count_steps(active as u64));
            std::mem::swap(&mut current, &mut next);
            cancelled = cancel.is_raised();
            if cancelled {
                break;
            }
        }
        let mut results: Vec<EpochResult> = tasks.iter().map(|_| Ok(Vec::new())).collect();
        for run in runs {
            results[run.index] = run.diverged.map_or(Ok(run.records), Err);
        }
        self.members = members;
        self.states = states;
        (!cancelled).then_some(results)
    }

    /// A member's steps of one block: forward, loss, backward, update. Ends at once when `cancel` is raised.
    fn member_steps(
        &self,
        first: usize,
        run: &mut MemberRun,
        block: &[Prepared],
        (threads, cancel): (usize, &Cancel),
    ) {
        let pooled = self.scratch.lock().ok().and_then(|mut pool| pool.pop());
        let mut scratch = pooled.unwrap_or_else(|| self.new_scratch());
        for (step, prepared) in (first..).zip(block) {
            if run.diverged.is_some() || cancel.is_raised() {
                break;
            }
            let bundle = &prepared.bundles[run.bundle];
            let group = &self.params.train[bundle.group];
            let shared = &prepared.shared[run.shared];
            match self.train_step(step, run, (bundle, shared, group), &mut scratch, threads) {
                Ok(record) => run.records.push(record),
                Err(what) => run.diverged = Some(Diverged { step: step + 1, query_id: group.query_id, what }),
            }
        }
        if let Ok(mut pool) = self.scratch.lock() {
            pool.push(scratch);
        }
    }

    /// One step of one member: forward, loss, backward, update; or what was not finite.
    fn train_step(
        &self,
        step: usize,
        run: &mut MemberRun,
        (bundle, shared, group): (&BundleData, &SharedCandidates, &Group),
        scratch: &mut Scratch,
        threads: usize,
    ) -> Result<StepRecord, &'static str> {
        let Scratch { trace, gradients, candidates: own, score_gradient } = scratch;
        let parameters = Parameters {
            layout: &self.layout,
            own: run.state.p,
            shared: self.shares[run.member.share].start.as_slice(),
            frozen: &self.frozen,
        };
        let query = self.params.embeddings.row(group.query_id as usize);
        let candidates = self.candidates(&parameters, bundle, shared, own, threads);
        self.project_query(run.member.share, &parameters, group, &mut trace.output);
        let masks = Masks { attention: &bundle.masks.attention, query: &bundle.masks.query };
        let temperature = self.params.model.temperature as f32;
        attend(&parameters, candidates.projected, masks, trace);
        score(&parameters, candidates.unit, masks, temperature, trace);

        score_gradient.resize(trace.scores.len(), 0.0);
        let labels = &self.params.labels[bundle.group];
        let at = (step, bundle.group);
        let parts = run.task.objective.evaluate(
            at,
            (labels, self.params.length),
            run.beta,
            &trace.scores,
            score_gradient,
        );
        if !parts.loss.is_finite() {
            return Err("loss");
        }
        let backward_step = Step { parameters, candidates, query, masks, temperature, threads };
        let norm = backward(&backward_step, trace, score_gradient, gradients).sqrt();
        if !norm.is_finite() {
            return Err("gradient");
        }
        run.member.steps += 1;
        let adam = AdamW::new(&run.task.optimizer, norm, run.member.steps);
        update((&self.layout, &self.frozen), (&adam, threads), trace, gradients, &mut run.state);
        let beta = run.beta;
        run.beta = run.task.objective.next_beta(beta, parts.kl);
        Ok(StepRecord {
            loss: parts.loss,
            ppo: parts.ppo,
            kl: parts.kl,
            mean_ratio: parts.mean_ratio,
            beta,
            grad_norm: norm,
        })
    }

    /// The query through `input_proj` `[h]`: computed where the member trains it, else looked up.
    fn project_query(&self, share: usize, parameters: &Parameters, group: &Group, out: &mut [f32]) {
        match parameters.input_proj() {
            Some(weight) if !self.frozen.input_proj => {
                matvec(weight, self.params.embeddings.row(group.query_id as usize), out);
            }
            _ => {
                let row = group.query_id as usize * out.len();
                out.copy_from_slice(&self.shares[share].projected[row..row + out.len()]);
            }
        }
    }

    /// The candidates of a step: taken from what members share, computed where they depend on the member.
    fn candidates<'a>(
        &self,
        parameters: &Parameters,
        bundle: &'a BundleData,
        shared: &'a SharedCandidates,
        own: &'a mut OwnCandidates,
        threads: usize,
    ) -> Candidates<'a> {
        let (h, d) = (self.layout.shape.hidden, self.layout.shape.dim);
        let count = self.params.train[bundle.group].pool.len();
        let (mut projected, mut dropped) = (&shared.projected, &shared.dropped);
        if let (Some(weight), false) = (parameters.input_proj(), self.frozen.input_proj) {
            let embeddings = Operand::plain(&bundle.embedding_columns, count);
            let columns = &mut own.projected_columns;
            project((embeddings, count), (weight, d), columns, &mut own.projected, threads);
            (projected, dropped) = (&own.projected, columns);
            if !bundle.mask_columns.is_empty() {
                own.dropped.resize(count * h, 0.0);
                multiply(dropped, &bundle.mask_columns, &mut own.dropped);
                dropped = &own.dropped;
            }
        }
        let (mut unit, mut norms) = (&shared.unit, &shared.norms);
        if unit.is_empty() {
            let (weight, operand) = (parameters.cand_proj(), Operand::plain(dropped, count));
            project((operand, count), (weight, h), &mut own.unit_columns, &mut own.unit, threads);
            own.norms.resize(count, 0.0);
            normalize_rows(&mut own.unit, h, &mut own.norms);
            (unit, norms) = (&own.unit, &own.norms);
        }
        Candidates {
            embeddings: &bundle.embeddings,
            projected,
            dropped,
            unit,
            columns: &own.unit_columns,
            norms,
            mask: &bundle.mask_columns,
        }
    }

    fn new_scratch(&self) -> Scratch {
        Scratch {
            trace: Trace::new(&self.layout),
            gradients: Gradients::new(&self.layout, &self.frozen),
            candidates: OwnCandidates::default(),
            score_gradient: Vec::new(),
        }
    }

    /// Training states of `members`: parameters (frozen ones included) and moments. In parallel, as most of the
    /// time goes into fresh memory.
    pub fn states_of(&self, members: &[usize]) -> Vec<State> {
        let one = |&member: &usize| {
            let [parameters, first, second] = self.states.of(member).map(<[f32]>::to_vec);
            State { parameters, first, second, steps: self.members[member].steps }
        };
        members.par_iter().map(one).collect()
    }
}

/// A member on its way through one epoch.
struct MemberRun<'a> {
    index: usize,
    member: &'a mut Member,
    state: Slices<'a>,
    task: &'a EpochTask<'a>,
    bundle: usize,
    shared: usize,
    beta: f64,
    records: Vec<StepRecord>,
    diverged: Option<Diverged>,
}

impl<'a> MemberRun<'a> {
    fn new(
        index: usize,
        (member, state): (&'a mut Member, Slices<'a>),
        task: &'a EpochTask,
        walks: &Walks,
        steps: usize,
    ) -> Self {
        let (bundle, shared) = walks.place[index];
        let beta = task.objective.kl_beta();
        Self {
            index,
            member,
            state,
            task,
            bundle,
            shared,
            beta,
            records: Vec::with_capacity(steps),
            diverged: None,
        }
    }
}
