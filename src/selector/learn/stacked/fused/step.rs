//! One step of all members: the order of the launches. The derivations are those of the CPU engine.

use cubecl::prelude::*;

use super::super::StackedCohort;
use super::super::chunk::EpochPlan;
use super::attention;
use super::device::{Buffer, View, cube};
use super::forward::{Forward, Job};
use super::head::{self, HeadAtLaunch};
use super::kernels::Finish;
use super::program::{Chunk, Epoch, Fused, Loaded};
use super::update::BooksLaunch;
use super::upload::candidate_mask;
use crate::selector::learn::Phase;

/// Step `i` of a chunk that begins with the epoch's step `first`.
pub struct Step<'a, R: Runtime> {
    pub forward: Forward<'a, R>,
    pub fused: &'a Fused<R>,
    pub cohort: &'a StackedCohort<'a>,
    pub plan: &'a EpochPlan<'a>,
    pub loaded: &'a Loaded,
    pub epoch: &'a Epoch,
    pub chunk: &'a Chunk,
    pub i: usize,
    pub first: usize,
}

impl<R: Runtime> Step<'_, R> {
    /// Forward, loss, backward, update.
    pub fn run(&self) {
        self.project_candidates();
        for l in 0..self.forward.layers() {
            self.forward.attend(l);
        }
        self.score();
        let input_learns = self.loaded.input.is_some();
        self.back_through_candidates();
        let attention_learns =
            self.fused.rest.iter().any(|piece| piece.offset > self.cohort.layout.cand_proj);
        if input_learns || attention_learns {
            for l in (0..self.forward.layers()).rev() {
                self.attend_backward(l);
            }
        }
        if input_learns {
            self.back_through_input();
        }
        self.update();
    }

    fn members(&self) -> usize {
        self.loaded.members.len()
    }

    /// `(h, d, K, G)`
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        let shape = self.cohort.layout.shape;
        (shape.hidden, shape.dim, self.cohort.sizes.pool, self.members())
    }

    /// How many copies of the inputs a step has: one that all share, or one per member.
    fn copies(&self) -> usize {
        if self.chunk.lanes == 1 { 1 } else { self.members() }
    }

    /// The query, the candidates and what `cand_proj` makes of them, as far as the chunk does not have them.
    fn project_candidates(&self) {
        let (h, d, k, g) = self.sizes();
        let (device, loaded) = (&self.fused.device, self.loaded);
        let input_learns = loaded.input.is_some();
        let (columns, query) = match input_learns {
            true => (d, self.fused.places.embedding),
            false => (h, self.fused.places.layers[0].input),
        };
        self.forward.load_query(&self.fused.table, self.chunk.queries, (columns, query));
        let copies = self.copies();
        if let (Some(input), Some(offset)) = (&loaded.input, self.cohort.layout.input_proj) {
            self.forward.gather(&self.fused.table, (self.chunk.pools, copies), d, &loaded.embeddings);
            device.multiply(
                &View::new(&loaded.embeddings, &[copies, k, d]),
                &View::new(&input.parameters, &[g, h, d]).transposed(),
                &View::new(&loaded.candidates, &[g, k, h]),
            );
            self.forward.project_query(offset);
        }
        if self.chunk.keys.is_some() {
            return;
        }
        let (dropped, copies) = self.drop_candidates(copies);
        let (weights, count) = self.cand_proj();
        device.multiply(
            &View::new(dropped, &[copies, k, h]),
            &View::new(weights, &[count, h, h]).transposed(),
            &View::new(&loaded.keys, &[g, k, h]),
        );
    }

    /// Candidates after dropout, and how many copies there are.
    fn drop_candidates(&self, copies: usize) -> (&Buffer, usize) {
        let (candidates, by_lane) = self.forward.candidates;
        let copies = if by_lane { copies } else { self.members() };
        let masked = self.forward.dropout.vectors;
        if !by_lane && !masked {
            return (candidates, copies);
        }
        let (masks, at) = ((&self.chunk.masks, masked), self.forward.place(candidate_mask(self.cohort)));
        let out = &self.loaded.dropped;
        self.fused.drop_candidates((candidates, by_lane), masks, &self.chunk.index, at, (out, copies));
        (out, copies)
    }

    /// Weights of `cand_proj` and how many of them there are.
    fn cand_proj(&self) -> (&Buffer, usize) {
        match (&self.loaded.cand, &self.loaded.frozen_cand) {
            (Some(own), _) => (&own.parameters, self.members()),
            (None, Some((weights, count))) => (weights, *count),
            (None, None) => (&self.loaded.keys, 1),
        }
    }

    pub fn books(&self) -> BooksLaunch<R> {
        let width = 3 * self.cohort.sizes.trajectories as u32;
        let (step, steps) = ((self.first + self.i) as u32, self.plan.steps as u32);
        let (members, figures) = (self.members() as u32, self.epoch.figures as u32);
        BooksLaunch::new(members, self.i as u32, width + 3, width, step, steps, figures)
    }

    /// Projected query, cosines, loss and back to both; then to the refined query.
    fn score(&self) {
        let places = &self.fused.places;
        let query_proj = || (self.forward.source)(self.cohort.layout.query_proj);
        self.forward.product(self.forward.whole(query_proj(), places.dropped, places.query), Finish::Scale);
        let (keys, by_lane) =
            self.chunk.keys.as_ref().map_or((&self.loaded.keys, false), |keys| (keys, true));
        let inverse_temperature = (1.0 / self.cohort.params.model.temperature) as f32;
        let (counts, labels) = (self.chunk.counts, self.chunk.labels);
        let sizes = &self.cohort.sizes;
        head::head::launch::<R>(
            self.forward.client(),
            self.forward.cubes(1, 1),
            cube(),
            keys.arg(),
            self.chunk.index.arg(),
            self.chunk.facts.arg(),
            self.epoch.constants.arg(),
            self.loaded.work.arg(),
            self.loaded.keys_gradient.arg(),
            self.epoch.beta.arg(),
            self.epoch.log.arg(),
            self.forward.place(0).arg(),
            self.books(),
            HeadAtLaunch::new(places.query, places.query_gradient, counts, labels, inverse_temperature),
            (sizes.pool, sizes.trajectories, self.cohort.params.length),
            by_lane,
            self.plan.phase == Phase::Grpo,
        );
        self.forward.transposed(self.forward.whole(query_proj(), places.query_gradient, places.flow), false);
    }

    /// Gradients of `cand_proj` and of the candidates before it.
    fn back_through_candidates(&self) {
        let (h, _, k, g) = self.sizes();
        let (device, loaded) = (&self.fused.device, self.loaded);
        if loaded.cand.is_some() {
            let (candidates, by_lane) = self.forward.candidates;
            let dropped = if by_lane || self.forward.dropout.vectors { &loaded.dropped } else { candidates };
            let copies = if by_lane { self.copies() } else { g };
            device.multiply(
                &View::new(&loaded.keys_gradient, &[g, k, h]).transposed(),
                &View::new(dropped, &[copies, k, h]),
                &View::new(&loaded.cand_gradient, &[g, h, h]),
            );
        }
        if loaded.input.is_some() {
            let (weights, count) = self.cand_proj();
            device.multiply(
                &View::new(&loaded.keys_gradient, &[g, k, h]),
                &View::new(weights, &[count, h, h]),
                &View::new(&loaded.candidates_gradient, &[g, k, h]),
            );
        }
    }

    fn attend_backward(&self, l: usize) {
        let at = self.cohort.layout.layer[l];
        let (shape, own) = (self.cohort.layout.shape, self.fused.places.layers[l]);
        let (h, e) = (shape.hidden, shape.head_size());
        let (weights, norm) = self.forward.norm(l);
        attention::norm_backward::launch::<R>(
            self.forward.client(),
            self.forward.cubes(1, 1),
            cube(),
            weights.weights.arg(),
            weights.owner.arg(),
            self.chunk.masks.arg(),
            self.chunk.index.arg(),
            self.loaded.work.arg(),
            self.forward.place(0).arg(),
            norm,
            self.forward.dropout.vectors && l + 1 == self.forward.layers(),
        );
        self.forward.transposed(
            self.forward.whole((self.forward.source)(at.out_proj), own.residual_gradient, own.heads_gradient),
            false,
        );
        let values = self.forward.whole(
            (self.forward.source)(at.in_proj + 2 * h * h),
            own.heads_gradient,
            own.value_query,
        );
        self.forward.transposed(Job { segment: e, ..values }, false);
        let (candidates, by_lane) = self.forward.candidates;
        let bias = (self.forward.source)(at.in_bias + 2 * h);
        attention::attend_backward::launch::<R>(
            self.forward.client(),
            self.forward.cubes(shape.heads, 1),
            cube(),
            candidates.arg(),
            self.chunk.masks.arg(),
            self.chunk.index.arg(),
            bias.weights.arg(),
            bias.owner.arg(),
            self.loaded.work.arg(),
            self.forward.place(self.forward.attention_mask(l)).arg(),
            self.forward.attention(l),
            self.cohort.sizes.pool,
            by_lane,
            self.forward.dropout.attention,
        );
        let keys = self.forward.whole(
            (self.forward.source)(at.in_proj + h * h),
            own.key_query_gradient,
            own.query_gradient,
        );
        self.forward.product(Job { segment: e, scale: 1.0 / (e as f32).sqrt(), ..keys }, Finish::Scale);
        // Nothing below learns from the query path of a first layer whose input is frozen.
        if l > 0 || self.loaded.input.is_some() {
            let query = self.forward.whole((self.forward.source)(at.in_proj), own.query_gradient, own.flow);
            self.forward.transposed(Job { extra: own.residual_gradient, ..query }, true);
        }
    }

    /// Gradient of `input_proj` as far as it comes from the candidates.
    fn back_through_input(&self) {
        let (h, d, k, g) = self.sizes();
        let loaded = self.loaded;
        let first = self.fused.places.layers[0];
        attention::candidates_backward::launch::<R>(
            self.forward.client(),
            self.forward.cubes(k, 1),
            cube(),
            self.chunk.masks.arg(),
            self.chunk.index.arg(),
            loaded.work.arg(),
            loaded.candidates_gradient.arg(),
            self.forward.place(candidate_mask(self.cohort)).arg(),
            self.forward.attention(0),
            self.forward.layers() as u32,
            self.fused.places.layer_width,
            self.forward.dropout.vectors,
        );
        debug_assert_eq!(
            first.input + self.fused.places.layer_width * self.forward.layers() as u32,
            self.fused.places.width
        );
        self.fused.device.multiply(
            &View::new(&loaded.candidates_gradient, &[g, k, h]).transposed(),
            &View::new(&loaded.embeddings, &[self.copies(), k, d]),
            &View::new(&loaded.input_gradient, &[g, h, d]),
        );
    }
}
