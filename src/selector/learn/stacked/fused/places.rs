//! Where a member's vectors are in its row of `work`, and the tables of what each parameter's gradient is made of.

use cubecl::prelude::Runtime;

use super::super::pieces::{Piece, Role};
use super::attention::{AttentionLaunch, NormAtLaunch};
use super::update::{BLOCK, BLOCK_FIELDS, FACTOR_FIELDS};
use crate::selector::learn::parameters::{LayerOffsets, Layout};

/// Vectors of one attention layer; offsets from the layer's first.
#[derive(Clone, Copy, Debug)]
pub struct LayerPlaces {
    /// `[h]`: input of the layer.
    pub input: u32,
    /// `[h]`: `scale * (W_q x + b_q)`, and the gradient of `W_q x + b_q`.
    pub query: u32,
    pub query_gradient: u32,
    /// `[heads * h]`
    pub key_query: u32,
    pub key_query_gradient: u32,
    pub context: u32,
    pub value_query: u32,
    /// `[heads * K]`
    pub weights: u32,
    pub dropped: u32,
    pub score_gradient: u32,
    /// `[heads]`
    pub mass: u32,
    /// `[h]`: outputs of the heads and their gradient.
    pub heads: u32,
    pub heads_gradient: u32,
    pub value_bias_gradient: u32,
    /// `[h]`: before the layer norm, and its gradient, which is also that of the output projection.
    pub residual: u32,
    pub residual_gradient: u32,
    pub normed: u32,
    pub norm_weight_gradient: u32,
    pub norm_bias_gradient: u32,
    /// `[h]`: gradient of the input.
    pub flow: u32,
    /// `[1]`
    pub inverse_std: u32,
}

/// A member's row of `work`.
#[derive(Clone, Debug)]
pub struct Places {
    /// Length of the row.
    pub width: u32,
    /// `[1]` of 1, `[h]` of 0.
    pub one: u32,
    pub zeros: u32,
    /// `[1]`: the factor that clips the gradient.
    pub clip: u32,
    /// `[d]`: the query's embedding where `input_proj` learns.
    pub embedding: u32,
    /// `[h]`: the refined query after dropout, the projected query and its gradient; gradient of the refined query
    /// before dropout is undone.
    pub dropped: u32,
    pub query: u32,
    pub query_gradient: u32,
    pub flow: u32,
    /// `[h]`: output of the last layer.
    pub output: u32,
    pub layers: Vec<LayerPlaces>,
    /// Distance between two layers' vectors.
    pub layer_width: u32,
}

/// Hands out places one after the other.
struct Row(u32);

impl Row {
    fn take(&mut self, len: usize) -> u32 {
        let place = self.0;
        self.0 += len as u32;
        place
    }
}

impl Places {
    /// For a model of `layout` and pools of `pool` candidates.
    pub fn new(layout: &Layout, pool: usize) -> Self {
        let shape = layout.shape;
        let (h, wide, narrow) = (shape.hidden, shape.heads * shape.hidden, shape.heads * pool);
        let mut row = Row(0);
        let one = row.take(1);
        let (zeros, clip, embedding) = (row.take(h), row.take(1), row.take(shape.dim));
        let (dropped, query) = (row.take(h), row.take(h));
        let (query_gradient, flow, output) = (row.take(h), row.take(h), row.take(h));
        let first = row.0;
        let layers: Vec<LayerPlaces> =
            (0..shape.layers).map(|_| LayerPlaces::new(&mut row, (h, wide, narrow), shape.heads)).collect();
        let layer_width = (row.0 - first) / shape.layers.max(1) as u32;
        Self {
            width: row.0,
            one,
            zeros,
            clip,
            embedding,
            dropped,
            query,
            query_gradient,
            flow,
            output,
            layers,
            layer_width,
        }
    }

    /// Where layer `l` puts its output.
    fn output_of(&self, l: usize) -> u32 {
        self.layers.get(l + 1).map_or(self.output, |next| next.input)
    }

    /// Where the gradient of layer `l`'s output is.
    fn flow_into(&self, l: usize) -> u32 {
        self.layers.get(l + 1).map_or(self.flow, |next| next.flow)
    }

    /// Layer `l` as the norm kernels take it.
    pub fn norm<R: Runtime>(&self, l: usize, (stride, weight, bias): (u32, u32, u32)) -> NormAtLaunch<R> {
        let own = &self.layers[l];
        NormAtLaunch::new(
            stride,
            weight,
            bias,
            own.residual,
            own.normed,
            own.inverse_std,
            self.output_of(l),
            self.dropped,
            self.flow_into(l),
            own.norm_weight_gradient,
            own.norm_bias_gradient,
            own.residual_gradient,
        )
    }

    /// A row as it is before the first step.
    pub fn fresh(&self) -> Vec<f32> {
        let mut row = vec![0.0; self.width as usize];
        row[self.one as usize] = 1.0;
        row
    }
}

impl LayerPlaces {
    fn new(row: &mut Row, (h, wide, narrow): (usize, usize, usize), heads: usize) -> Self {
        Self {
            input: row.take(h),
            query: row.take(h),
            query_gradient: row.take(h),
            key_query: row.take(wide),
            key_query_gradient: row.take(wide),
            context: row.take(wide),
            value_query: row.take(wide),
            weights: row.take(narrow),
            dropped: row.take(narrow),
            score_gradient: row.take(narrow),
            mass: row.take(heads),
            heads: row.take(h),
            heads_gradient: row.take(h),
            value_bias_gradient: row.take(h),
            residual: row.take(h),
            residual_gradient: row.take(h),
            normed: row.take(h),
            norm_weight_gradient: row.take(h),
            norm_bias_gradient: row.take(h),
            flow: row.take(h),
            inverse_std: row.take(1),
        }
    }

    /// As the attention kernels take it.
    pub fn attention<R: Runtime>(
        &self,
        heads: usize,
        (stride, value_bias): (u32, u32),
    ) -> AttentionLaunch<R> {
        AttentionLaunch::new(
            heads as u32,
            self.key_query,
            self.context,
            self.key_query_gradient,
            self.value_query,
            self.weights,
            self.dropped,
            self.score_gradient,
            self.mass,
            self.heads_gradient,
            self.value_bias_gradient,
            stride,
            value_bias,
        )
    }
}

/// The gradient of one piece: `a[r] * b[r / segment, c]`.
#[derive(Clone, Copy, Debug)]
struct Outer {
    rows: usize,
    columns: usize,
    left: u32,
    right: u32,
    segment: usize,
}

/// What the gradients of the pieces that are neither `input_proj` nor `cand_proj` are made of.
pub struct Factors {
    /// Rows of [`BLOCK_FIELDS`] and [`FACTOR_FIELDS`] numbers.
    pub blocks: Vec<u32>,
    pub factors: Vec<u32>,
}

impl Factors {
    /// `pieces` are those of the member's row, side by side.
    pub fn new(layout: &Layout, places: &Places, pieces: &[Piece]) -> Self {
        let mut all = Self { blocks: Vec::new(), factors: Vec::new() };
        let mut start = 0;
        for piece in pieces {
            let outer = outer(layout, places, piece);
            all.add(&outer, start, piece.role);
            start += piece.size();
        }
        all
    }

    fn add(&mut self, outer: &Outer, start: usize, role: Role) {
        let size = outer.rows * outer.columns;
        for within in (0..size).step_by(BLOCK as usize) {
            let count = (size - within).min(BLOCK as usize);
            self.blocks.extend([(start + within) as u32, count as u32, within as u32, outer.columns as u32]);
            self.blocks.extend([outer.left, outer.right, outer.segment as u32]);
        }
        if role == Role::Trained {
            for (i, row) in (0..outer.rows).step_by(outer.segment).enumerate() {
                self.factors.extend([outer.left + row as u32, outer.segment as u32]);
                self.factors.extend([outer.right + (i * outer.columns) as u32, outer.columns as u32, 0]);
            }
        }
    }

    /// Number of rows of `blocks`, of `factors`.
    pub fn counts(&self) -> (u32, u32) {
        (self.blocks.len() as u32 / BLOCK_FIELDS, self.factors.len() as u32 / FACTOR_FIELDS)
    }
}

/// The factors of the gradient of `piece`.
fn outer(layout: &Layout, places: &Places, piece: &Piece) -> Outer {
    let h = layout.shape.hidden;
    let whole = |left, right| Outer { rows: h, columns: h, left, right, segment: h };
    let vector = |left| Outer { rows: h, columns: 1, left, right: places.one, segment: h };
    if piece.offset == layout.query_proj {
        return whole(places.query_gradient, places.dropped);
    }
    let layer = layout.layer.iter().rposition(|at| at.in_proj <= piece.offset).unwrap_or(0);
    let (at, own) = (&layout.layer[layer], &places.layers[layer]);
    let by_head = |left, right| Outer { segment: layout.shape.head_size(), ..whole(left, right) };
    let LayerOffsets { in_proj, in_bias, out_proj, out_bias, norm_weight, norm_bias } = *at;
    match piece.offset {
        offset if offset == in_proj => whole(own.query_gradient, own.input),
        offset if offset == in_proj + h * h => by_head(own.query, own.key_query_gradient),
        offset if offset == in_proj + 2 * h * h => by_head(own.heads_gradient, own.context),
        offset if offset == in_bias => vector(own.query_gradient),
        offset if offset == in_bias + 2 * h => vector(own.value_bias_gradient),
        offset if offset == out_proj => whole(own.residual_gradient, own.heads),
        offset if offset == out_bias => vector(own.residual_gradient),
        offset if offset == norm_weight => vector(own.norm_weight_gradient),
        offset if offset == norm_bias => vector(own.norm_bias_gradient),
        // The key bias shifts all scores of a head alike: its gradient is exactly zero.
        _ => vector(places.zeros),
    }
}
