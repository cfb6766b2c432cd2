//! A cohort's rows on the device, and an epoch of them.

use cubecl::prelude::*;
use rayon::prelude::*;

use super::super::chunk::EpochPlan;
use super::super::epoch::Bounds;
use super::super::pieces::{Piece, Role, compact, expand};
use super::super::{Program, StackedCohort};
use super::device::{Accelerator, Buffer, View};
use super::forward::{Dropout, Forward, Source};
use super::places::{Factors, Places};
use super::step::Step;
use super::update::{BLOCK, CONSTANTS};
use crate::experiment::Cancel;
use crate::selector::learn::host::State;
use crate::selector::learn::{Phase, Query};

/// Parameters and moments of the members on the device, one row each.
pub struct Moments {
    pub parameters: Buffer,
    pub first: Buffer,
    pub second: Buffer,
    /// Numbers per member.
    pub size: usize,
}

/// The members on the device.
pub struct Loaded {
    /// In the order of the rows.
    pub members: Vec<usize>,
    /// All trainable parameters but the two below.
    pub rest: Moments,
    /// `[h, d]` and `[h, h]` where they are trained.
    pub input: Option<Moments>,
    pub cand: Option<Moments>,
    /// `cand_proj` where it is not trained and yet needed at every step, one per share or per member.
    pub frozen_cand: Option<(Buffer, usize)>,
    /// Row numbers, and each member's share.
    own: Buffer,
    share: Buffer,
    pub work: Buffer,
    pub partial: Buffer,
    /// `[G, K, h]` each where a step needs it: candidates, after dropout, projected, gradients of the last two.
    pub candidates: Buffer,
    pub dropped: Buffer,
    pub keys: Buffer,
    pub keys_gradient: Buffer,
    pub candidates_gradient: Buffer,
    /// `[G, K, d]`: embeddings of the candidates.
    pub embeddings: Buffer,
    /// Gradients of `input_proj` and `cand_proj`.
    pub input_gradient: Buffer,
    pub cand_gradient: Buffer,
}

/// What an epoch needs besides the members.
pub struct Epoch {
    pub constants: Buffer,
    pub beta: Buffer,
    pub log: Buffer,
    pub figures: usize,
}

/// Steps on the device: C of them, B lanes.
pub struct Chunk {
    pub index: Buffer,
    pub masks: Buffer,
    pub facts: Buffer,
    /// `[C, B, K, h]`: candidates of a frozen `input_proj`, and what `cand_proj` makes of them if frozen too.
    pub candidates: Option<Buffer>,
    pub keys: Option<Buffer>,
    pub lanes: usize,
    /// Where the parts of `index` begin.
    pub counts: u32,
    pub queries: u32,
    pub pools: u32,
    pub labels: u32,
}

/// The kernels and what they share.
pub struct Fused<R: Runtime> {
    pub device: Accelerator<R>,
    pub places: Places,
    pub factors: Factors,
    pub factor_table: Buffer,
    pub block_table: Buffer,
    /// Embeddings as they are, and projected for every share if `input_proj` is frozen.
    embeddings: Buffer,
    pub table: Buffer,
    /// All parameters of every share.
    frozen: Buffer,
    /// Pieces trained, other than the projections of the candidates.
    pub rest: Vec<Piece>,
    loaded: Option<Loaded>,
}

impl<R: Runtime> Fused<R> {
    /// The kernels for `cohort`; `None` where the device or the model does not fit them.
    pub fn new(device: Accelerator<R>, cohort: &StackedCohort) -> Option<Self> {
        let layout = &cohort.layout;
        let labels = cohort.sizes.trajectories * cohort.params.length;
        let shared = 4 * (labels + 4 * cohort.sizes.trajectories);
        if !device.has_room(cohort.sizes.pool, shared) || layout.shape.layers == 0 || labels == 0 {
            return None;
        }
        let places = Places::new(layout, cohort.sizes.pool);
        let rest: Vec<Piece> = cohort.trained_pieces().filter(|piece| !is_wide(cohort, piece)).collect();
        let factors = Factors::new(layout, &places, &rest);
        let flat: Vec<f32> = cohort.shares.iter().flat_map(|share| share.iter().copied()).collect();
        let embeddings = device.upload(&cohort.params.embeddings.values);
        let fused = Self {
            factor_table: device.upload(&factors.factors),
            block_table: device.upload(&factors.blocks),
            table: embeddings.clone(),
            embeddings,
            frozen: device.upload(&flat),
            loaded: None,
            device,
            places,
            factors,
            rest,
        };
        Some(Self { table: fused.project_table(cohort), ..fused })
    }

    /// The table as the steps read it.
    fn project_table(&self, cohort: &StackedCohort) -> Buffer {
        let (rows, shape) = (cohort.params.embeddings.rows, cohort.layout.shape);
        let Some(offset) = cohort.layout.input_proj.filter(|_| cohort.projected) else {
            return self.table.clone();
        };
        let (h, d) = (shape.hidden, shape.dim);
        let weights: Vec<f32> =
            cohort.shares.iter().flat_map(|share| share[offset..offset + h * d].iter().copied()).collect();
        let shares = cohort.shares.len();
        let weights = self.device.upload(&weights);
        let out = self.device.empty(shares * rows * h);
        self.device.multiply(
            &View::new(&self.table, &[1, rows, d]),
            &View::new(&weights, &[shares, h, d]).transposed(),
            &View::new(&out, &[shares, rows, h]),
        );
        out
    }

    /// Parameters at `offset` of the flat buffer: from the members' rows if trained, else from the shares.
    pub fn source<'a>(&'a self, loaded: &'a Loaded, cohort: &StackedCohort, offset: usize) -> Source<'a> {
        let mut start = 0;
        for piece in &self.rest {
            if piece.offset == offset {
                let (weights, stride) = (&loaded.rest.parameters, loaded.rest.size as u32);
                return Source { weights, owner: &loaded.own, stride, offset: start as u32 };
            }
            start += piece.size();
        }
        if let Some(input) = loaded.input.as_ref().filter(|_| cohort.layout.input_proj == Some(offset)) {
            let (weights, stride) = (&input.parameters, input.size as u32);
            return Source { weights, owner: &loaded.own, stride, offset: 0 };
        }
        let stride = cohort.layout.total as u32;
        Source { weights: &self.frozen, owner: &loaded.share, stride, offset: offset as u32 }
    }

    /// The forward pass of step `i` of `chunk`.
    fn forward<'a>(
        &'a self,
        cohort: &'a StackedCohort,
        (loaded, chunk): (&'a Loaded, &'a Chunk),
        source: &'a dyn Fn(usize) -> Source<'a>,
        i: usize,
    ) -> Forward<'a, R> {
        let model = cohort.params.model;
        Forward {
            device: &self.device,
            layout: &cohort.layout,
            places: &self.places,
            source,
            work: &loaded.work,
            index: &chunk.index,
            masks: &chunk.masks,
            candidates: chunk.candidates.as_ref().map_or((&loaded.candidates, false), |own| (own, true)),
            counts: chunk.counts,
            at: self.place(cohort, chunk, loaded.members.len(), i),
            dropout: Dropout { vectors: model.dropout > 0.0, attention: model.attn_dropout > 0.0 },
        }
    }

    /// Puts `members` on the device.
    pub fn load(&mut self, cohort: &StackedCohort, members: &[usize], states: &[State]) {
        // The old rows are given back first: there may not be room for both.
        self.loaded = None;
        let (shape, g) = (cohort.layout.shape, members.len());
        let (h, d, k) = (shape.hidden, shape.dim, cohort.sizes.pool);
        let moments = |pieces: &[Piece]| self.moments(members, states, pieces);
        let wide = |offset: usize| -> Option<Moments> {
            let piece = cohort.trained_pieces().find(|piece| piece.offset == offset)?;
            Some(moments(&[piece]))
        };
        let input = cohort.layout.input_proj.and_then(wide);
        let cand = wide(cohort.layout.cand_proj);
        let if_needed = |needed: bool, len: usize| self.device.empty(if needed { g * len } else { 0 });
        let per_step = input.is_some() || cand.is_some();
        let fresh: Vec<f32> = members.iter().flat_map(|_| self.places.fresh()).collect();
        let shares: Vec<u32> = members.iter().map(|&member| cohort.share_of[member] as u32).collect();
        let device = &self.device;
        self.loaded = Some(Loaded {
            rest: moments(&self.rest),
            frozen_cand: (input.is_some() && cand.is_none()).then(|| self.frozen_cand(cohort, members)),
            own: device.upload(&(0..g as u32).collect::<Vec<u32>>()),
            share: device.upload(&shares),
            work: device.upload(&fresh),
            partial: device.empty(g * self.partials(input.as_ref(), cand.as_ref()) as usize),
            candidates: if_needed(input.is_some(), k * h),
            dropped: if_needed(per_step, k * h),
            keys: if_needed(per_step, k * h),
            keys_gradient: if_needed(per_step, k * h),
            candidates_gradient: if_needed(input.is_some(), k * h),
            embeddings: if_needed(input.is_some(), k * d),
            input_gradient: if_needed(input.is_some(), h * d),
            cand_gradient: if_needed(cand.is_some(), h * h),
            members: members.to_vec(),
            input,
            cand,
        });
    }

    /// How many sums a member's squared norm is made of.
    pub fn partials(&self, input: Option<&Moments>, cand: Option<&Moments>) -> u32 {
        let blocks = |moments: Option<&Moments>| moments.map_or(0, |own| own.size.div_ceil(BLOCK as usize));
        self.factors.counts().1 + (blocks(input) + blocks(cand)) as u32
    }

    fn moments(&self, members: &[usize], states: &[State], pieces: &[Piece]) -> Moments {
        let upload = |of: fn(&State) -> &[f32]| {
            let rows: Vec<Vec<f32>> =
                members.par_iter().map(|&member| compact(pieces, of(&states[member]))).collect();
            self.device.upload(&rows.concat())
        };
        Moments {
            parameters: upload(|state| &state.parameters),
            first: upload(|state| &state.first),
            second: upload(|state| &state.second),
            size: pieces.iter().map(Piece::size).sum(),
        }
    }

    fn frozen_cand(&self, cohort: &StackedCohort, members: &[usize]) -> (Buffer, usize) {
        let shares: Vec<usize> = match cohort.shares.len() {
            1 => vec![0],
            _ => members.iter().map(|&member| cohort.share_of[member]).collect(),
        };
        (self.cand_of_shares(cohort, &shares), shares.len())
    }

    pub fn cand_of_shares(&self, cohort: &StackedCohort, shares: &[usize]) -> Buffer {
        let (first, h) = (cohort.layout.cand_proj, cohort.layout.shape.hidden);
        let weights: Vec<f32> = shares
            .iter()
            .flat_map(|&share| cohort.shares[share][first..first + h * h].iter().copied())
            .collect();
        self.device.upload(&weights)
    }

    fn epoch(&self, plan: &EpochPlan) -> Epoch {
        let constants: Vec<f32> = plan.tasks.iter().flat_map(|task| Bounds::of(task).values()).collect();
        debug_assert_eq!(constants.len(), plan.tasks.len() * CONSTANTS as usize);
        let beta: Vec<f32> = plan.tasks.iter().map(|task| task.objective.kl_beta() as f32).collect();
        let figures = if plan.phase == Phase::Grpo { 4 } else { 2 };
        Epoch {
            constants: self.device.upload(&constants),
            beta: self.device.upload(&beta),
            log: self.device.empty(plan.tasks.len() * plan.steps * figures),
            figures,
        }
    }

    /// The states of all rows, without their numbers of steps.
    fn states(&self, cohort: &StackedCohort, loaded: &Loaded) -> Vec<State> {
        let read = |of: fn(&Moments) -> &Buffer| {
            let one = |moments: &Moments| (self.device.read(of(moments)), moments.size);
            [Some(one(&loaded.rest)), loaded.input.as_ref().map(one), loaded.cand.as_ref().map(one)]
        };
        let (parameters, first, second) =
            (read(|own| &own.parameters), read(|own| &own.first), read(|own| &own.second));
        let wide = |offset: Option<usize>| {
            cohort.trained_pieces().filter(|piece| Some(piece.offset) == offset).collect::<Vec<Piece>>()
        };
        let pieces = [self.rest.clone(), wide(cohort.layout.input_proj), wide(Some(cohort.layout.cand_proj))];
        let fill = |row: usize, values: &[Option<(Vec<f32>, usize)>; 3], mut flat: Vec<f32>| {
            for (pieces, values) in pieces.iter().zip(values) {
                if let Some((values, size)) = values.as_ref().filter(|(_, size)| *size > 0) {
                    expand(pieces, &values[row * size..(row + 1) * size], &mut flat);
                }
            }
            flat
        };
        let zeros = || vec![0.0; cohort.layout.total];
        let one = |(row, &member): (usize, &usize)| State {
            parameters: fill(row, &parameters, cohort.shares[cohort.share_of[member]].to_vec()),
            first: fill(row, &first, zeros()),
            second: fill(row, &second, zeros()),
            steps: 0,
        };
        loaded.members.par_iter().enumerate().map(one).collect()
    }
}

impl<R: Runtime> Program for Fused<R> {
    fn train(
        &mut self,
        cohort: &StackedCohort,
        (plan, active): (&EpochPlan, &[usize]),
        states: &[State],
        cancel: &Cancel,
    ) -> Option<(Vec<f32>, usize)> {
        if self.loaded.as_ref().is_none_or(|loaded| loaded.members != active) {
            self.load(cohort, active, states);
        }
        // Taken out: whoever leaves this function early leaves nothing half trained behind.
        let loaded = self.loaded.take()?;
        let epoch = self.epoch(plan);
        // A lane's step is a cube on the second axis of a launch.
        let most = (usize::from(u16::MAX) / plan.walks.pairs.len()).max(1);
        let len = cohort.chunk_len(plan).min(most);
        for first in (0..plan.steps).step_by(len) {
            let range = first..plan.steps.min(first + len);
            let chunk = self.chunk(cohort, plan, range.clone());
            for i in 0..range.len() {
                if cancel.is_raised() {
                    return None;
                }
                let source = |offset| self.source(&loaded, cohort, offset);
                let forward = self.forward(cohort, (&loaded, &chunk), &source, i);
                let (loaded, epoch, chunk) = (&loaded, &epoch, &chunk);
                Step { forward, fused: self, cohort, plan, loaded, epoch, chunk, i, first }.run();
                cancel.count_steps(active.len() as u64);
            }
        }
        let log = if plan.steps == 0 { Vec::new() } else { self.device.read(&epoch.log) };
        self.loaded = Some(loaded);
        Some((log, epoch.figures))
    }

    fn read(&self, cohort: &StackedCohort) -> Vec<State> {
        self.loaded.as_ref().map(|loaded| self.states(cohort, loaded)).unwrap_or_default()
    }

    fn forget(&mut self) {
        self.loaded = None;
    }

    fn scores(&self, cohort: &StackedCohort, flat: &[f32], queries: &[Query]) -> Vec<Vec<f32>> {
        let temperature = cohort.params.model.temperature;
        self.device.scores(&cohort.layout, flat, &self.embeddings, queries, temperature)
    }
}

/// Whether a piece sees all candidates, so that its gradient is no outer product.
fn is_wide(cohort: &StackedCohort, piece: &Piece) -> bool {
    debug_assert!(piece.role != Role::Frozen);
    Some(piece.offset) == cohort.layout.input_proj || piece.offset == cohort.layout.cand_proj
}
