//! The launches of the forward pass from the projected query on: those of a training step, and of an evaluation.

use cubecl::prelude::*;

use super::attention::{self, AttentionLaunch, NormAtLaunch};
use super::device::{Accelerator, Buffer, cube};
use super::kernels::{self, Finish, LANES, Place, ProductAtLaunch, ROWS};
use super::places::Places;
use crate::selector::learn::parameters::Layout;

/// Parameters that kernels read: a member's own, or the set it shares.
pub struct Source<'a> {
    pub weights: &'a Buffer,
    /// Per member, which row of `weights`.
    pub owner: &'a Buffer,
    pub stride: u32,
    pub offset: u32,
}

/// Which dropout factors there are.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Of the query and of the candidates.
    pub vectors: bool,
    pub attention: bool,
}

/// One query per member, against its candidates.
pub struct Forward<'a, R: Runtime> {
    pub device: &'a Accelerator<R>,
    pub layout: &'a Layout,
    pub places: &'a Places,
    /// Where the parameter at an offset of the flat buffer is.
    pub source: &'a dyn Fn(usize) -> Source<'a>,
    pub work: &'a Buffer,
    pub index: &'a Buffer,
    pub masks: &'a Buffer,
    /// Candidates as the attention sees them, and whether they are the lanes' or the members'.
    pub candidates: (&'a Buffer, bool),
    /// Where the sizes of the pools begin in the index.
    pub counts: u32,
    pub at: Place,
    pub dropout: Dropout,
}

/// One matrix-vector product.
pub struct Job<'a> {
    pub source: Source<'a>,
    pub bias: u32,
    pub rows: usize,
    pub columns: usize,
    pub segment: usize,
    pub input: u32,
    pub output: u32,
    pub extra: u32,
    pub scale: f32,
}

impl<'a, R: Runtime> Forward<'a, R> {
    pub fn client(&self) -> &ComputeClient<R> {
        &self.device.client
    }

    pub fn layers(&self) -> usize {
        self.layout.shape.layers
    }

    /// Cubes `(x, members, z)`.
    pub fn cubes(&self, x: usize, z: usize) -> CubeCount {
        CubeCount::Static(x as u32, self.at.members, z as u32)
    }

    pub fn place(&self, mask: u32) -> Place {
        Place { mask, ..self.at }
    }

    /// A product with a whole `[h, h]` matrix, without bias.
    pub fn whole(&self, source: Source<'a>, input: u32, output: u32) -> Job<'a> {
        let h = self.layout.shape.hidden;
        Job { source, bias: 0, rows: h, columns: h, segment: h, input, output, extra: 0, scale: 1.0 }
    }

    fn product_arg(&self, job: &Job) -> ProductAtLaunch<R> {
        let Job { source, bias, rows, columns, segment, input, output, extra, scale } = job;
        let (rows, columns, segment) = (*rows as u32, *columns as u32, *segment as u32);
        let (stride, offset, width) = (source.stride, source.offset, self.at.width);
        ProductAtLaunch::new(
            stride, offset, *bias, rows, columns, segment, width, *input, *output, *extra, *scale,
        )
    }

    pub fn product(&self, job: Job, finish: Finish) {
        let (weights, owner) = (job.source.weights.arg(), job.source.owner.arg());
        let count = self.cubes(job.rows.div_ceil(ROWS as usize), 1);
        let (work, at) = (self.work.arg(), self.product_arg(&job));
        kernels::product::launch::<R>(self.client(), count, cube(), weights, owner, work, at, finish);
    }

    pub fn transposed(&self, job: Job, add: bool) {
        let (weights, owner) = (job.source.weights.arg(), job.source.owner.arg());
        let count = self.cubes(job.columns.div_ceil(LANES as usize), job.rows / job.segment);
        let (work, at) = (self.work.arg(), self.product_arg(&job));
        kernels::product_transposed::launch::<R>(self.client(), count, cube(), weights, owner, work, at, add);
    }

    /// The queries' rows of `table`, `columns` wide, into `output`; `queries` is where the index names them.
    pub fn load_query(&self, table: &Buffer, queries: u32, (columns, output): (usize, u32)) {
        let (table, index, work) = (table.arg(), self.index.arg(), self.work.arg());
        let (client, count, at) = (self.client(), self.cubes(1, 1), self.at.arg());
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
            output,
        );
    }

    /// The candidates' rows of `table`, `columns` wide, for the first `copies` members; `pools` is where the index
    /// names them.
    pub fn gather(&self, table: &Buffer, (pools, copies): (u32, usize), columns: usize, out: &Buffer) {
        let (table, index, out) = (table.arg(), self.index.arg(), out.arg());
        let count = CubeCount::Static(self.at.pool, copies as u32, 1);
        let (client, at) = (self.client(), self.at.arg());
        kernels::gather_step::launch::<R>(
            client,
            count,
            cube(),
            table,
            index,
            out,
            at,
            pools,
            columns as u32,
        );
    }

    /// The query through the `input_proj` at `offset`.
    pub fn project_query(&self, offset: usize) {
        let (input, output) = (self.places.embedding, self.places.layers[0].input);
        let job = self.whole((self.source)(offset), input, output);
        self.product(Job { columns: self.layout.shape.dim, ..job }, Finish::Scale);
    }

    /// Layer `l` for the attention kernels.
    pub fn attention(&self, l: usize) -> AttentionLaunch<R> {
        let shape = self.layout.shape;
        let bias = (self.source)(self.layout.layer[l].in_bias + 2 * shape.hidden);
        self.places.layers[l].attention(shape.heads, (bias.stride, bias.offset))
    }

    /// The parameters and the place of layer `l`'s norm.
    pub fn norm(&self, l: usize) -> (Source<'a>, NormAtLaunch<R>) {
        let at = self.layout.layer[l];
        let (weight, bias) = ((self.source)(at.norm_weight), (self.source)(at.norm_bias));
        let norm = self.places.norm(l, (weight.stride, weight.offset, bias.offset));
        (weight, norm)
    }

    /// Where the attention of layer `l` finds its dropout factors.
    pub fn attention_mask(&self, l: usize) -> u32 {
        let shape = self.layout.shape;
        let query = if self.dropout.vectors { shape.hidden as u32 } else { 0 };
        query + (l * shape.heads) as u32 * self.at.pool
    }

    /// Layer `l`: attention, residual, norm; the last one's output also after dropout.
    pub fn attend(&self, l: usize) {
        let at = self.layout.layer[l];
        let (shape, own) = (self.layout.shape, self.places.layers[l]);
        let (h, e) = (shape.hidden, shape.head_size());
        let source = |offset: usize| (self.source)(offset);
        let bias = |offset: usize| source(offset).offset;
        let query = self.whole(source(at.in_proj), own.input, own.query);
        let scale = 1.0 / (e as f32).sqrt();
        self.product(Job { bias: bias(at.in_bias), scale, ..query }, Finish::BiasScale);
        let keys = self.whole(source(at.in_proj + h * h), own.query, own.key_query);
        self.transposed(Job { segment: e, ..keys }, false);
        let (candidates, by_lane) = self.candidates;
        attention::attend::launch::<R>(
            self.client(),
            self.cubes(shape.heads, 1),
            cube(),
            candidates.arg(),
            self.masks.arg(),
            self.index.arg(),
            self.work.arg(),
            self.place(self.attention_mask(l)).arg(),
            self.attention(l),
            self.counts,
            self.at.pool as usize,
            by_lane,
            self.dropout.attention,
        );
        let values = self.whole(source(at.in_proj + 2 * h * h), own.context, own.heads);
        let (segment, extra) = (e, own.mass);
        self.product(Job { segment, bias: bias(at.in_bias + 2 * h), extra, ..values }, Finish::BiasMass);
        let out = self.whole(source(at.out_proj), own.heads, own.residual);
        self.product(Job { bias: bias(at.out_bias), extra: own.input, ..out }, Finish::BiasResidual);
        let (weights, norm) = self.norm(l);
        attention::norm::launch::<R>(
            self.client(),
            self.cubes(1, 1),
            cube(),
            weights.weights.arg(),
            weights.owner.arg(),
            self.masks.arg(),
            self.index.arg(),
            self.work.arg(),
            self.place(0).arg(),
            norm,
            l + 1 == self.layers(),
            self.dropout.vectors,
        );
    }
}
