//! The forward pass of one member on one group, with what the backward pass needs.
//!
//! With one query the attention's key and value projections are moved to the query side:
//! `score_k = (scale * W_k^T q) . c_k` and `output = W_v (sum_k a_k c_k) + b_v sum_k a_k`. That replaces two
//! `[K, h] x [h, h]` products by two matrix-vector products. The key bias shifts all scores of a head alike,
//! which softmax ignores: it takes no part.

use super::super::parameters::{LayerOffsets, Layout};
use super::frozen::Frozen;
use super::kernels::{dot, matvec, multiply, normalize_rows};

/// Dropout factors of one step; empty slices mean evaluation mode.
#[derive(Clone, Copy, Debug)]
pub struct Masks<'a> {
    /// `[layers * heads * K]`
    pub attention: &'a [f32],
    /// `[h]`
    pub query: &'a [f32],
}

impl Masks<'_> {
    /// Evaluation mode: no dropout.
    pub const NONE: Masks<'static> = Masks { attention: &[], query: &[] };
}

/// Where a member reads its parameters: its own buffer, or the one it shares when the group is frozen.
#[derive(Clone, Copy)]
pub struct Parameters<'a> {
    pub layout: &'a Layout,
    /// Trainable segments (others unused).
    pub own: &'a [f32],
    /// Frozen segments (others unused).
    pub shared: &'a [f32],
    pub frozen: &'a Frozen,
}

impl<'a> Parameters<'a> {
    fn pick(&self, frozen: bool, offset: usize, len: usize) -> &'a [f32] {
        let source = if frozen { self.shared } else { self.own };
        &source[offset..offset + len]
    }

    /// `[h, d]`, absent when d = h.
    pub fn input_proj(&self) -> Option<&'a [f32]> {
        let Layout { shape, input_proj, .. } = self.layout;
        input_proj.map(|offset| self.pick(self.frozen.input_proj, offset, shape.hidden * shape.dim))
    }

    /// `[h, h]`
    pub fn query_proj(&self) -> &'a [f32] {
        let h = self.layout.shape.hidden;
        self.pick(self.frozen.query_proj, self.layout.query_proj, h * h)
    }

    /// `[h, h]`
    pub fn cand_proj(&self) -> &'a [f32] {
        let h = self.layout.shape.hidden;
        self.pick(self.frozen.cand_proj, self.layout.cand_proj, h * h)
    }

    /// A piece of the attention's parameters.
    pub fn attention(&self, offset: usize, len: usize) -> &'a [f32] {
        self.pick(self.frozen.cross_attn, offset, len)
    }

    /// A piece of the norms' parameters.
    pub fn norm(&self, offset: usize) -> &'a [f32] {
        self.pick(self.frozen.attn_norms, offset, self.layout.shape.hidden)
    }
}

/// What one attention layer computed.
#[derive(Clone, Debug, Default)]
pub struct LayerTrace {
    /// Input `[h]`.
    pub input: Vec<f32>,
    /// Projected query with bias `[h]`.
    pub query: Vec<f32>,
    /// `scale * W_k^T q` per head `[heads * h]`.
    pub key_query: Vec<f32>,
    /// Attention weights before dropout `[heads * K]`.
    pub weights: Vec<f32>,
    /// After dropout `[heads * K]`.
    pub dropped: Vec<f32>,
    /// `sum_k dropped_k c_k` per head `[heads * h]`.
    pub context: Vec<f32>,
    /// `sum_k dropped_k` per head `[heads]`.
    pub mass: Vec<f32>,
    /// Concatenated head outputs `[h]`.
    pub heads: Vec<f32>,
    /// Normalised residual `[h]`.
    pub normed: Vec<f32>,
    /// `1 / sqrt(variance + eps)`
    pub inverse_std: f32,
}

/// What the forward pass of one group computed.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub layers: Vec<LayerTrace>,
    /// Output of the last layer `[h]`; before the first layer, the projected query.
    pub output: Vec<f32>,
    /// After dropout `[h]`.
    pub query_dropped: Vec<f32>,
    /// `l2norm(query_proj(query_dropped))` `[h]` and its divisor.
    pub query_unit: Vec<f32>,
    pub query_norm: f32,
    /// Cosines `[K]`; scores are cosines over the temperature.
    pub cosines: Vec<f32>,
    pub scores: Vec<f32>,
}

impl Trace {
    /// Buffers for a model of `layout`.
    pub fn new(layout: &Layout) -> Self {
        let h = layout.shape.hidden;
        let per_head = layout.shape.heads * h;
        let layer = LayerTrace {
            input: vec![0.0; h],
            query: vec![0.0; h],
            key_query: vec![0.0; per_head],
            context: vec![0.0; per_head],
            mass: vec![0.0; layout.shape.heads],
            heads: vec![0.0; h],
            normed: vec![0.0; h],
            ..LayerTrace::default()
        };
        Self {
            layers: vec![layer; layout.shape.layers],
            output: vec![0.0; h],
            query_dropped: vec![0.0; h],
            query_unit: vec![0.0; h],
            ..Self::default()
        }
    }
}

/// Runs the attention layers: `trace.output` (the projected query `[h]`) is refined against the projected
/// candidates `c` `[K, h]`.
pub fn attend(parameters: &Parameters, c: &[f32], masks: Masks, trace: &mut Trace) {
    let layout = parameters.layout;
    let per_layer = layout.shape.heads * c.len() / layout.shape.hidden;
    for (l, offsets) in layout.layer.iter().enumerate() {
        let mask = masks.attention.get(l * per_layer..(l + 1) * per_layer);
        let layer = &mut trace.layers[l];
        layer.input.copy_from_slice(&trace.output);
        attention_heads(parameters, offsets, c, mask, layer);
        finish_layer(parameters, offsets, layer, &mut trace.output);
    }
}

fn attention_heads(
    parameters: &Parameters,
    offsets: &LayerOffsets,
    c: &[f32],
    mask: Option<&[f32]>,
    layer: &mut LayerTrace,
) {
    let shape = parameters.layout.shape;
    let (h, e) = (shape.hidden, shape.head_size());
    let count = c.len() / h;
    let weight = |row: usize, rows: usize| parameters.attention(offsets.in_proj + row * h, rows * h);
    let bias = |row: usize, rows: usize| parameters.attention(offsets.in_bias + row, rows);
    matvec(weight(0, h), &layer.input, &mut layer.query);
    layer.query.iter_mut().zip(bias(0, h)).for_each(|(q, b)| *q += b);
    layer.weights.resize(shape.heads * count, 0.0);
    layer.dropped.resize(shape.heads * count, 0.0);
    layer.key_query.fill(0.0);
    layer.context.fill(0.0);
    let scale = 1.0 / (e as f32).sqrt();
    for head in 0..shape.heads {
        let (rows, wide, pool) =
            (head * e..(head + 1) * e, head * h..(head + 1) * h, head * count..(head + 1) * count);
        let scaled: Vec<f32> = layer.query[rows.clone()].iter().map(|q| q * scale).collect();
        let key_query = &mut layer.key_query[wide.clone()];
        super::kernels::add_matvec_transposed(weight(h + rows.start, e), &scaled, key_query);
        let weights = &mut layer.weights[pool.clone()];
        matvec(c, key_query, weights);
        softmax(weights);
        let dropped = &mut layer.dropped[pool.clone()];
        match mask {
            Some(mask) => multiply(weights, &mask[pool], dropped),
            None => dropped.copy_from_slice(weights),
        }
        let context = &mut layer.context[wide];
        super::kernels::add_matvec_transposed(c, dropped, context);
        let mass: f32 = dropped.iter().sum();
        layer.mass[head] = mass;
        let out = &mut layer.heads[rows.clone()];
        matvec(weight(2 * h + rows.start, e), context, out);
        out.iter_mut().zip(bias(2 * h + rows.start, e)).for_each(|(o, b)| *o = b.mul_add(mass, *o));
    }
}

/// Output projection, residual and layer norm (eps 1e-5).
fn finish_layer(parameters: &Parameters, offsets: &LayerOffsets, layer: &mut LayerTrace, output: &mut [f32]) {
    let h = output.len();
    matvec(parameters.attention(offsets.out_proj, h * h), &layer.heads, output);
    let bias = parameters.attention(offsets.out_bias, h);
    for ((out, bias), input) in output.iter_mut().zip(bias).zip(&layer.input) {
        *out += bias + input;
    }
    let mean = output.iter().sum::<f32>() / h as f32;
    output.iter_mut().for_each(|value| *value -= mean);
    layer.inverse_std = 1.0 / (dot(output, output) / h as f32 + 1e-5).sqrt();
    for (normed, value) in layer.normed.iter_mut().zip(output.iter()) {
        *normed = value * layer.inverse_std;
    }
    let (weight, bias) = (parameters.norm(offsets.norm_weight), parameters.norm(offsets.norm_bias));
    for (((out, normed), weight), bias) in output.iter_mut().zip(&layer.normed).zip(weight).zip(bias) {
        *out = normed.mul_add(*weight, *bias);
    }
}

fn softmax(values: &mut [f32]) {
    let peak = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - peak).exp());
    let inverse = 1.0 / values.iter().sum::<f32>();
    values.iter_mut().for_each(|value| *value *= inverse);
}

/// Scores of the normalised candidates `[K, h]` for the refined query in `trace.output`.
pub fn score(parameters: &Parameters, candidates: &[f32], masks: Masks, temperature: f32, trace: &mut Trace) {
    if masks.query.is_empty() {
        trace.query_dropped.copy_from_slice(&trace.output);
    } else {
        multiply(&trace.output, masks.query, &mut trace.query_dropped);
    }
    let h = trace.output.len();
    let count = candidates.len() / h;
    matvec(parameters.query_proj(), &trace.query_dropped, &mut trace.query_unit);
    let mut norm = [0.0];
    normalize_rows(&mut trace.query_unit, h, &mut norm);
    trace.query_norm = norm[0];
    trace.cosines.resize(count, 0.0);
    trace.scores.resize(count, 0.0);
    matvec(candidates, &trace.query_unit, &mut trace.cosines);
    for (score, cosine) in trace.scores.iter_mut().zip(&trace.cosines) {
        *score = cosine / temperature;
    }
}
