//! Steps of an epoch, uploaded in a few buffers; what depends only on frozen parameters is computed for all at once.

use std::ops::Range;

use cubecl::prelude::*;
use rayon::prelude::*;

use super::super::StackedCohort;
use super::super::chunk::{EpochPlan, LaneInputs};
use super::device::{Buffer, View, cube};
use super::kernels::{self, Place, PlaceLaunch};
use super::program::{Chunk, Fused};

impl<R: Runtime> Fused<R> {
    /// Uploads the steps `range` of `plan`.
    pub fn chunk(&self, cohort: &StackedCohort, plan: &EpochPlan, range: Range<usize>) -> Chunk {
        let lanes = plan.walks.pairs.len();
        let places: Vec<(usize, usize)> =
            range.clone().flat_map(|step| (0..lanes).map(move |lane| (step, lane))).collect();
        let steps: Vec<LaneInputs> =
            places.par_iter().map(|&(step, lane)| cohort.lane_inputs(plan, step, lane)).collect();
        let masks: Vec<f32> = steps
            .iter()
            .flat_map(|step| [&step.masks.query, &step.masks.attention, &step.masks.candidates])
            .flatten()
            .copied()
            .collect();
        let labels = cohort.sizes.trajectories * cohort.params.length;
        let mut index: Vec<u32> = plan.lane_of.iter().map(|&lane| lane as u32).collect();
        let counts = index.len() as u32;
        index.extend(steps.iter().map(|step| step.count as u32));
        let queries = index.len() as u32;
        index.extend(steps.iter().map(|step| step.query as u32));
        let pools = index.len() as u32;
        index.extend(steps.iter().flat_map(|step| &step.pool).map(|&id| id as u32));
        let first_label = index.len() as u32;
        for step in &steps {
            let own = &cohort.params.labels[step.group];
            index.extend(own.iter().copied().chain(std::iter::repeat_n(0, labels - own.len())));
        }
        let (candidates, keys) = (None, None);
        let (index, masks) = (self.device.upload(&index), self.device.upload(&masks));
        let facts = self.device.upload(&facts(cohort, plan, range));
        let (counts, labels) = (counts, first_label);
        let mut chunk =
            Chunk { index, masks, facts, candidates, keys, lanes, counts, queries, pools, labels };
        if cohort.projected {
            chunk.candidates = Some(self.chunk_candidates(cohort, &chunk, steps.len()));
            chunk.keys = self.chunk_keys(cohort, plan, &chunk, steps.len());
        }
        chunk
    }

    fn chunk_candidates(&self, cohort: &StackedCohort, chunk: &Chunk, steps: usize) -> Buffer {
        let (h, k) = (cohort.layout.shape.hidden, cohort.sizes.pool);
        let out = self.device.empty(steps * k * h);
        let (table, index) = (self.table.arg(), chunk.index.arg());
        let count = CubeCount::Static(k as u32, steps as u32, 1);
        kernels::gather::launch::<R>(
            &self.device.client,
            count,
            cube(),
            table,
            index,
            out.arg(),
            chunk.pools,
            h as u32,
        );
        out
    }

    /// Candidates after dropout and the frozen `cand_proj`.
    fn chunk_keys(
        &self,
        cohort: &StackedCohort,
        plan: &EpochPlan,
        chunk: &Chunk,
        steps: usize,
    ) -> Option<Buffer> {
        if cohort.trained_pieces().any(|piece| piece.offset == cohort.layout.cand_proj) {
            return None;
        }
        let (h, k) = (cohort.layout.shape.hidden, cohort.sizes.pool);
        let candidates = chunk.candidates.as_ref()?;
        let dropped = if cohort.params.model.dropout > 0.0 {
            let dropped = self.device.empty(steps * k * h);
            // Every step of every lane as if it were a member with a lane of its own.
            let identity = self.device.upload(&(0..steps as u32).collect::<Vec<u32>>());
            let at = Place { step: 0, lanes: 1, ..self.place(cohort, chunk, steps, 0) };
            let at = Place { mask: candidate_mask(cohort), ..at };
            let masks = (&chunk.masks, true);
            self.drop_candidates((candidates, true), masks, &identity, at, (&dropped, steps));
            dropped
        } else {
            candidates.clone()
        };
        let keys = self.device.empty(steps * k * h);
        if cohort.shares.len() == 1 {
            let weights = self.cand_of_shares(cohort, &[0]);
            self.device.multiply(
                &View::new(&dropped, &[1, steps * k, h]),
                &View::new(&weights, &[1, h, h]).transposed(),
                &View::new(&keys, &[1, steps * k, h]),
            );
        } else {
            let shares: Vec<usize> = plan.walks.pairs.iter().map(|&(_, share)| share).collect();
            let weights = self.cand_of_shares(cohort, &shares);
            let shape = [steps / chunk.lanes, chunk.lanes, k, h];
            self.device.multiply(
                &View::new(&dropped, &shape),
                &View::new(&weights, &[1, chunk.lanes, h, h]).transposed(),
                &View::new(&keys, &shape),
            );
        }
        Some(keys)
    }

    /// Candidates of `copies` members or lanes after dropout, if there are factors of it.
    pub fn drop_candidates(
        &self,
        (candidates, by_lane): (&Buffer, bool),
        (masks, masked): (&Buffer, bool),
        index: &Buffer,
        at: Place,
        (out, copies): (&Buffer, usize),
    ) {
        let count = CubeCount::Static(at.pool, copies as u32, 1);
        let (client, input, masks) = (&self.device.client, candidates.arg(), masks.arg());
        let (index, out, at) = (index.arg(), out.arg(), at.arg());
        kernels::drop_candidates::launch::<R>(
            client,
            count,
            cube(),
            input,
            masks,
            index,
            out,
            at,
            by_lane,
            masked,
        );
    }

    /// The place of step `i` of `chunk` for `members` members.
    pub fn place(&self, cohort: &StackedCohort, chunk: &Chunk, members: usize, i: usize) -> Place {
        let (shape, k) = (cohort.layout.shape, cohort.sizes.pool);
        let model = cohort.params.model;
        let dropout = if model.dropout > 0.0 { shape.hidden + k * shape.hidden } else { 0 };
        let attention = if model.attn_dropout > 0.0 { shape.layers * shape.heads * k } else { 0 };
        Place {
            step: i as u32,
            lanes: chunk.lanes as u32,
            members: members as u32,
            width: self.places.width,
            hidden: shape.hidden as u32,
            pool: k as u32,
            masks: (dropout + attention) as u32,
            mask: 0,
        }
    }
}

/// Where the candidates' dropout factors begin in a lane's.
pub fn candidate_mask(cohort: &StackedCohort) -> u32 {
    let (shape, model) = (cohort.layout.shape, cohort.params.model);
    let query = if model.dropout > 0.0 { shape.hidden } else { 0 };
    let attention = if model.attn_dropout > 0.0 { shape.layers * shape.heads * cohort.sizes.pool } else { 0 };
    (query + attention) as u32
}

impl Place {
    /// As a kernel takes it.
    pub fn arg<R: Runtime>(self) -> PlaceLaunch<R> {
        let Self { step, lanes, members, width, hidden, pool, masks, mask } = self;
        PlaceLaunch::new(step, lanes, members, width, hidden, pool, masks, mask)
    }
}

/// Per step and member: weights, advantages, reference log-probabilities `[T]` each, learning rate, bias correction, decay.
fn facts(cohort: &StackedCohort, plan: &EpochPlan, range: Range<usize>) -> Vec<f32> {
    let width = cohort.sizes.trajectories;
    let [weights, advantages, reference] = cohort.trajectory_values(plan, range.clone());
    let mut facts = Vec::with_capacity(range.len() * plan.tasks.len() * (3 * width + 3));
    let places = range.flat_map(|step| (0..plan.tasks.len()).map(move |row| (step, row)));
    for (i, (step, row)) in places.enumerate() {
        for part in [&weights, &advantages, &reference] {
            facts.extend_from_slice(&part[i * width..(i + 1) * width]);
        }
        facts.extend(plan.rates(step, row));
    }
    facts
}
