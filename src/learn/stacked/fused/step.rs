//! One step of all members: the order of the launches. The derivations are those of the CPU engine.

use cubecl::prelude::*;

use super::super::StackedCohort;
use super::super::chunk::Plan;
use super::attention::{self, Attention, NormAt};
use super::device::{Buffer, View, cube};
use super::head::{self, HeadAtLaunch};
use super::kernels::{self, Finish, LANES, Place, ProductAtLaunch, ROWS};
use super::places::LayerPlaces;
use super::program::{Chunk, Epoch, Fused, Loaded, Source};
use super::update::BooksLaunch;
use super::upload::{candidate_mask, query_masks};
use crate::learn::Phase;

/// Step `i` of a chunk that begins with the epoch's step `first`.
pub struct Step<'a, R: Runtime> {
    pub fused: &'a Fused<R>,
    pub cohort: &'a StackedCohort<'a>,
    pub plan: &'a Plan<'a>,
    pub loaded: &'a Loaded,
    pub epoch: &'a Epoch,
    pub chunk: &'a Chunk,
    pub i: usize,
    pub first: usize,
}

/// One matrix-vector product.
struct Job<'a> {
    source: Source<'a>,
    bias: u32,
    rows: usize,
    columns: usize,
    segment: usize,
    input: u32,
    output: u32,
    extra: u32,
    scale: f32,
}

impl<R: Runtime> Step<'_, R> {
    /// Forward, loss, backward, update.
    pub fn run(&self) {
        self.project_candidates();
        for l in 0..self.layers() {
            self.attend(l);
        }
        self.score();
        let input_learns = self.loaded.input.is_some();
        self.back_through_candidates();
        let attention_learns =
            self.fused.rest.iter().any(|piece| piece.offset > self.cohort.layout.cand_proj);
        if input_learns || attention_learns {
            for l in (0..self.layers()).rev() {
                self.attend_backward(l);
            }
        }
        if input_learns {
            self.back_through_input();
        }
        self.update();
    }

    pub fn client(&self) -> &ComputeClient<R> {
        &self.fused.device.client
    }

    fn layers(&self) -> usize {
        self.cohort.layout.shape.layers
    }

    fn members(&self) -> usize {
        self.loaded.members.len()
    }

    /// `(h, d, K, G)`
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        let shape = self.cohort.layout.shape;
        (shape.hidden, shape.dim, self.cohort.sizes.pool, self.members())
    }

    /// Cubes `(x, members, z)`.
    pub fn cubes(&self, x: usize, z: usize) -> CubeCount {
        CubeCount::Static(x as u32, self.members() as u32, z as u32)
    }

    fn place(&self, mask: u32) -> Place {
        Place { mask, ..self.fused.place(self.cohort, self.chunk, self.members(), self.i) }
    }

    fn dropout(&self) -> bool {
        self.cohort.params.model.dropout > 0.0
    }

    fn source(&self, offset: usize) -> Source<'_> {
        self.fused.source(self.loaded, self.cohort, offset)
    }

    /// Candidates as the attention sees them, and whether they are the lanes' or the members'.
    fn candidates(&self) -> (&Buffer, bool) {
        self.chunk.candidates.as_ref().map_or((&self.loaded.candidates, false), |own| (own, true))
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
        let (table, index, work) = (self.fused.table.arg(), self.chunk.index.arg(), loaded.work.arg());
        let (at, queries) = (self.place(0).arg(), self.chunk.queries);
        let (client, count) = (self.client(), self.cubes(1, 1));
        kernels::load_query::launch::<R>(
            client,
            count,
            cube(),
            table,
            index,
            work,
            at,
            queries,
            columns as u32,
            query,
        );
        let copies = self.copies();
        if let (Some(input), Some(offset)) = (&loaded.input, self.cohort.layout.input_proj) {
            let (table, index) = (self.fused.table.arg(), self.chunk.index.arg());
            let (out, at) = (loaded.embeddings.arg(), self.place(0).arg());
            let count = CubeCount::Static(k as u32, copies as u32, 1);
            kernels::gather_step::launch::<R>(
                client,
                count,
                cube(),
                table,
                index,
                out,
                at,
                self.chunk.pools,
                d as u32,
            );
            device.multiply(
                &View::new(&loaded.embeddings, &[copies, k, d]),
                &View::new(&input.parameters, &[g, h, d]).transposed(),
                &View::new(&loaded.candidates, &[g, k, h]),
            );
            let (input, output) = (query, self.fused.places.layers[0].input);
            let job = Job { columns: d, ..self.whole(self.source(offset), input, output) };
            self.product(job, Finish::Scale);
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
        let (candidates, by_lane) = self.candidates();
        let copies = if by_lane { copies } else { self.members() };
        if !by_lane && !self.dropout() {
            return (candidates, copies);
        }
        let (input, masks, index) = (candidates.arg(), self.chunk.masks.arg(), self.chunk.index.arg());
        let (out, at) = (self.loaded.dropped.arg(), self.place(candidate_mask(self.cohort)).arg());
        let count = CubeCount::Static(self.cohort.sizes.pool as u32, copies as u32, 1);
        let (client, masked) = (self.client(), self.dropout());
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
        (&self.loaded.dropped, copies)
    }

    /// Weights of `cand_proj` and how many of them there are.
    fn cand_proj(&self) -> (&Buffer, usize) {
        match (&self.loaded.cand, &self.loaded.frozen_cand) {
            (Some(own), _) => (&own.parameters, self.members()),
            (None, Some((weights, count))) => (weights, *count),
            (None, None) => (&self.loaded.keys, 1),
        }
    }

    /// A product with a whole `[h, h]` matrix, without bias.
    fn whole<'a>(&self, source: Source<'a>, input: u32, output: u32) -> Job<'a> {
        let h = self.cohort.layout.shape.hidden;
        Job { source, bias: 0, rows: h, columns: h, segment: h, input, output, extra: 0, scale: 1.0 }
    }

    fn product_arg(&self, job: &Job) -> ProductAtLaunch<R> {
        let Job { source, bias, rows, columns, segment, input, output, extra, scale } = job;
        let (rows, columns, segment) = (*rows as u32, *columns as u32, *segment as u32);
        let (stride, offset, width) = (source.stride, source.offset, self.fused.places.width);
        ProductAtLaunch::new(
            stride, offset, *bias, rows, columns, segment, width, *input, *output, *extra, *scale,
        )
    }

    fn product(&self, job: Job, finish: Finish) {
        let (weights, owner) = (job.source.weights.arg(), job.source.owner.arg());
        let count = self.cubes(job.rows.div_ceil(ROWS as usize), 1);
        let (work, at) = (self.loaded.work.arg(), self.product_arg(&job));
        kernels::product::launch::<R>(self.client(), count, cube(), weights, owner, work, at, finish);
    }

    fn transposed(&self, job: Job, add: bool) {
        let (weights, owner) = (job.source.weights.arg(), job.source.owner.arg());
        let count = self.cubes(job.columns.div_ceil(LANES as usize), job.rows / job.segment);
        let (work, at) = (self.loaded.work.arg(), self.product_arg(&job));
        kernels::product_transposed::launch::<R>(self.client(), count, cube(), weights, owner, work, at, add);
    }

    /// Offsets of layer `l`'s parameters, its vectors, and its arguments for the attention kernels.
    fn layer(&self, l: usize) -> (LayerPlaces, Attention) {
        let places = self.fused.places.layers[l];
        let h = self.cohort.layout.shape.hidden;
        let bias = self.source(self.cohort.layout.layer[l].in_bias + 2 * h);
        (places, places.attention(self.cohort.layout.shape.heads, (bias.stride, bias.offset)))
    }

    fn attention_mask(&self, l: usize) -> u32 {
        let heads = self.cohort.layout.shape.heads;
        (query_masks(self.cohort) + l * heads * self.cohort.sizes.pool) as u32
    }

    fn attend(&self, l: usize) {
        let at = self.cohort.layout.layer[l];
        let (shape, (own, attention)) = (self.cohort.layout.shape, self.layer(l));
        let (h, e) = (shape.hidden, shape.head_size());
        let bias = |offset: usize| self.source(offset).offset;
        let query = self.whole(self.source(at.in_proj), own.input, own.query);
        let scale = 1.0 / (e as f32).sqrt();
        self.product(Job { bias: bias(at.in_bias), scale, ..query }, Finish::BiasScale);
        let keys = self.whole(self.source(at.in_proj + h * h), own.query, own.key_query);
        self.transposed(Job { segment: e, ..keys }, false);
        let (candidates, by_lane) = self.candidates();
        let (pool, masked) = (self.cohort.sizes.pool, self.cohort.params.model.attn_dropout > 0.0);
        attention::attend::launch::<R>(
            self.client(),
            self.cubes(shape.heads, 1),
            cube(),
            candidates.arg(),
            self.chunk.masks.arg(),
            self.chunk.index.arg(),
            self.loaded.work.arg(),
            self.place(self.attention_mask(l)).arg(),
            attention.arg(),
            self.chunk.counts,
            pool,
            by_lane,
            masked,
        );
        let values = self.whole(self.source(at.in_proj + 2 * h * h), own.context, own.heads);
        let (segment, extra) = (e, own.mass);
        self.product(Job { segment, bias: bias(at.in_bias + 2 * h), extra, ..values }, Finish::BiasMass);
        let out = self.whole(self.source(at.out_proj), own.heads, own.residual);
        self.product(Job { bias: bias(at.out_bias), extra: own.input, ..out }, Finish::BiasResidual);
        let (weights, norm) = self.norm(l);
        let last = l + 1 == self.layers();
        attention::norm::launch::<R>(
            self.client(),
            self.cubes(1, 1),
            cube(),
            weights.weights.arg(),
            weights.owner.arg(),
            self.chunk.masks.arg(),
            self.chunk.index.arg(),
            self.loaded.work.arg(),
            self.place(0).arg(),
            norm.arg(),
            last,
            self.dropout(),
        );
    }

    fn norm(&self, l: usize) -> (Source<'_>, NormAt) {
        let at = self.cohort.layout.layer[l];
        let (weight, bias) = (self.source(at.norm_weight), self.source(at.norm_bias));
        let places = &self.fused.places;
        let norm = places.layers[l].norm(places, l, (weight.stride, weight.offset, bias.offset));
        (weight, norm)
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
        let query_proj = || self.source(self.cohort.layout.query_proj);
        self.product(self.whole(query_proj(), places.dropped, places.query), Finish::Scale);
        let (keys, by_lane) =
            self.chunk.keys.as_ref().map_or((&self.loaded.keys, false), |keys| (keys, true));
        let inverse_temperature = (1.0 / self.cohort.params.model.temperature) as f32;
        let (counts, labels) = (self.chunk.counts, self.chunk.labels);
        let sizes = &self.cohort.sizes;
        head::head::launch::<R>(
            self.client(),
            self.cubes(1, 1),
            cube(),
            keys.arg(),
            self.chunk.index.arg(),
            self.chunk.facts.arg(),
            self.epoch.constants.arg(),
            self.loaded.work.arg(),
            self.loaded.keys_gradient.arg(),
            self.epoch.beta.arg(),
            self.epoch.log.arg(),
            self.place(0).arg(),
            self.books(),
            HeadAtLaunch::new(places.query, places.query_gradient, counts, labels, inverse_temperature),
            (sizes.pool, sizes.trajectories, self.cohort.params.length),
            by_lane,
            self.plan.phase == Phase::Grpo,
        );
        self.transposed(self.whole(query_proj(), places.query_gradient, places.flow), false);
    }

    /// Gradients of `cand_proj` and of the candidates before it.
    fn back_through_candidates(&self) {
        let (h, _, k, g) = self.sizes();
        let (device, loaded) = (&self.fused.device, self.loaded);
        if loaded.cand.is_some() {
            let (candidates, by_lane) = self.candidates();
            let dropped = if by_lane || self.dropout() { &loaded.dropped } else { candidates };
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
        let (shape, (own, attention)) = (self.cohort.layout.shape, self.layer(l));
        let (h, e) = (shape.hidden, shape.head_size());
        let (weights, norm) = self.norm(l);
        attention::norm_backward::launch::<R>(
            self.client(),
            self.cubes(1, 1),
            cube(),
            weights.weights.arg(),
            weights.owner.arg(),
            self.chunk.masks.arg(),
            self.chunk.index.arg(),
            self.loaded.work.arg(),
            self.place(0).arg(),
            norm.arg(),
            self.dropout() && l + 1 == self.layers(),
        );
        self.transposed(
            self.whole(self.source(at.out_proj), own.residual_gradient, own.heads_gradient),
            false,
        );
        let values = self.whole(self.source(at.in_proj + 2 * h * h), own.heads_gradient, own.value_query);
        self.transposed(Job { segment: e, ..values }, false);
        let (candidates, by_lane) = self.candidates();
        let bias = self.source(at.in_bias + 2 * h);
        attention::attend_backward::launch::<R>(
            self.client(),
            self.cubes(shape.heads, 1),
            cube(),
            candidates.arg(),
            self.chunk.masks.arg(),
            self.chunk.index.arg(),
            bias.weights.arg(),
            bias.owner.arg(),
            self.loaded.work.arg(),
            self.place(self.attention_mask(l)).arg(),
            attention.arg(),
            self.cohort.sizes.pool,
            by_lane,
            self.cohort.params.model.attn_dropout > 0.0,
        );
        let keys = self.whole(self.source(at.in_proj + h * h), own.key_query_gradient, own.query_gradient);
        self.product(Job { segment: e, scale: 1.0 / (e as f32).sqrt(), ..keys }, Finish::Scale);
        // Nothing below learns from the query path of a first layer whose input is frozen.
        if l > 0 || self.loaded.input.is_some() {
            let query = self.whole(self.source(at.in_proj), own.query_gradient, own.flow);
            self.transposed(Job { extra: own.residual_gradient, ..query }, true);
        }
    }

    /// Gradient of `input_proj` as far as it comes from the candidates.
    fn back_through_input(&self) {
        let (h, d, k, g) = self.sizes();
        let loaded = self.loaded;
        let (first, attention) = self.layer(0);
        attention::candidates_backward::launch::<R>(
            self.client(),
            self.cubes(k, 1),
            cube(),
            self.chunk.masks.arg(),
            self.chunk.index.arg(),
            loaded.work.arg(),
            loaded.candidates_gradient.arg(),
            self.place(candidate_mask(self.cohort)).arg(),
            attention.arg(),
            self.layers() as u32,
            self.fused.places.layer_width,
            self.dropout(),
        );
        debug_assert_eq!(
            first.input + self.fused.places.layer_width * self.layers() as u32,
            self.fused.places.width
        );
        self.fused.device.multiply(
            &View::new(&loaded.candidates_gradient, &[g, k, h]).transposed(),
            &View::new(&loaded.embeddings, &[self.copies(), k, d]),
            &View::new(&loaded.input_gradient, &[g, h, d]),
        );
    }
}
