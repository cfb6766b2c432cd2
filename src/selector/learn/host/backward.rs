//! Hand-derived gradients of one member on one group (checked against burn's autodiff in the tests).
//!
//! With one query nearly every weight gradient is an outer product `a b^T`; those are kept as the pair and
//! never stored as matrices. Only `input_proj` and `cand_proj`, which see all K candidates, have dense ones.

use super::super::parameters::Layout;
use super::forward::{LayerTrace, Parameters, Trace};
use super::frozen::Frozen;
use super::kernels::{
    Operand, add_matvec_transposed, add_outer_sum_squares, add_two_outer, axpy, dot, matmul, matvec,
    multiply, normalized_gradient, sum_squares,
};

/// Gradients of one attention layer, as factors.
#[derive(Clone, Debug, Default)]
pub struct LayerGradients {
    /// d loss / d projected query `[h]`: rows of W_q's gradient (columns: the layer's input) and of b_q's.
    pub query: Vec<f32>,
    /// d loss / d key query per head `[heads * h]`: columns of W_k's gradient.
    pub key_query: Vec<f32>,
    /// Scaled projected query `[h]`: rows of W_k's gradient.
    pub scaled_query: Vec<f32>,
    /// d loss / d head outputs `[h]`: rows of W_v's gradient (columns: the contexts).
    pub heads: Vec<f32>,
    /// Gradient of b_v `[h]`.
    pub value_bias: Vec<f32>,
    /// d loss / d attention output `[h]`: rows of W_o's gradient (columns: head outputs) and of b_o's.
    pub output: Vec<f32>,
    pub norm_weight: Vec<f32>,
    pub norm_bias: Vec<f32>,
}

/// Gradients of one step.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    pub layers: Vec<LayerGradients>,
    /// Rows of query_proj's gradient `[h]` (columns: the dropped query).
    pub query_proj: Vec<f32>,
    /// d loss / d projected query embedding `[h]`.
    pub input: Vec<f32>,
    /// Dense `[h, h]`, filled when `cand_proj` is trainable.
    pub cand_proj: Vec<f32>,
    /// Dense `[h, d]`, filled when `input_proj` is trainable.
    pub input_proj: Vec<f32>,
    /// d loss / d outputs of `cand_proj` before the normalisation `[h, K]`, work space.
    projected: Vec<f32>,
    /// d loss / d dropped candidates `[h, K]`, work space.
    dropped: Vec<f32>,
    /// d loss / d projected candidates `[h, K]`, work space.
    candidates: Vec<f32>,
    /// Work space `[K]`.
    slope: Vec<f32>,
    along: Vec<f32>,
    inverse: Vec<f32>,
    attention: Vec<f32>,
    /// Work space `[h]`.
    flow: Vec<f32>,
}

impl Gradients {
    /// Buffers for a model of `parameters`' layout with the `frozen` groups.
    pub fn new(layout: &Layout, frozen: &Frozen) -> Self {
        let h = layout.shape.hidden;
        let layer = LayerGradients {
            query: vec![0.0; h],
            key_query: vec![0.0; h * layout.shape.heads],
            scaled_query: vec![0.0; h],
            heads: vec![0.0; h],
            value_bias: vec![0.0; h],
            output: vec![0.0; h],
            norm_weight: vec![0.0; h],
            norm_bias: vec![0.0; h],
        };
        let dense = |wanted: bool, len: usize| vec![0.0; if wanted { len } else { 0 }];
        Self {
            layers: vec![layer; layout.shape.layers],
            query_proj: vec![0.0; h],
            input: vec![0.0; h],
            flow: vec![0.0; h],
            cand_proj: dense(!frozen.cand_proj, h * h),
            input_proj: dense(layout.input_proj.is_some() && !frozen.input_proj, h * layout.shape.dim),
            ..Self::default()
        }
    }
}

/// The candidates of one step as the forward pass saw them.
#[derive(Clone, Copy)]
pub struct Candidates<'a> {
    /// Embeddings `[K, d]`; needed only when `input_proj` is trainable.
    pub embeddings: &'a [f32],
    /// Projected `[K, h]`.
    pub projected: &'a [f32],
    /// After dropout, as columns `[h, K]`.
    pub dropped: &'a [f32],
    /// Normalised outputs of `cand_proj` `[K, h]`, their divisors `[K]`, and the columns `[h, K]` before they were
    /// divided (unused when both projections are frozen).
    pub unit: &'a [f32],
    pub norms: &'a [f32],
    pub columns: &'a [f32],
    /// Dropout factors `[h, K]`; empty when dropout is off.
    pub mask: &'a [f32],
}

/// Everything the backward pass reads besides the gradient of the scores.
pub struct Step<'a> {
    pub parameters: Parameters<'a>,
    pub candidates: Candidates<'a>,
    /// The query's embedding `[d]`.
    pub query: &'a [f32],
    /// Dropout factors `[h]`, `[layers * heads * K]`; empty when dropout is off.
    pub masks: super::forward::Masks<'a>,
    pub temperature: f32,
    pub threads: usize,
}

/// Fills `gradients` from `d loss / d scores` `[K]` and returns the squared norm over all trainable
/// parameters.
pub fn backward(step: &Step, trace: &Trace, score_gradient: &[f32], gradients: &mut Gradients) -> f64 {
    let mut squares = score_head(step, trace, score_gradient, gradients);
    for l in (0..trace.layers.len()).rev() {
        squares += attention_layer(step, trace, l, gradients);
    }
    squares + input_projection(step, gradients)
}

/// Back through cosine, normalisation and the two projections. Leaves d loss / d `trace.output` in
/// `gradients.flow` and, if `input_proj` learns, d loss / d projected candidates in `gradients.candidates`.
fn score_head(step: &Step, trace: &Trace, score_gradient: &[f32], gradients: &mut Gradients) -> f64 {
    let (h, count) = (trace.output.len(), score_gradient.len());
    let frozen = step.parameters.frozen;
    let Gradients { slope, along, inverse, projected, dropped, candidates, flow, query_proj, .. } = gradients;
    slope.clear();
    slope.extend(score_gradient.iter().map(|gradient| gradient / step.temperature));

    query_proj.fill(0.0);
    add_matvec_transposed(step.candidates.unit, slope, query_proj);
    let radial = dot(&trace.query_unit, query_proj);
    axpy(-radial, &trace.query_unit, query_proj);
    query_proj.iter_mut().for_each(|value| *value /= trace.query_norm);
    flow.fill(0.0);
    add_matvec_transposed(step.parameters.query_proj(), query_proj, flow);
    if !step.masks.query.is_empty() {
        flow.iter_mut().zip(step.masks.query).for_each(|(value, factor)| *value *= factor);
    }
    let mut squares = 0.0;
    if !frozen.query_proj {
        squares += sum_squares(query_proj) * sum_squares(&trace.query_dropped);
    }
    let input_learns = !gradients.input_proj.is_empty();
    if frozen.cand_proj && !input_learns {
        return squares;
    }
    slope.iter_mut().zip(step.candidates.norms).for_each(|(slope, norm)| *slope /= norm);
    projected.resize(count * h, 0.0);
    along.clear();
    along.extend(trace.cosines.iter().zip(slope.iter()).map(|(cos, slope)| -cos * slope));
    inverse.clear();
    inverse.extend(step.candidates.norms.iter().map(|norm| 1.0 / norm));
    normalized_gradient((step.candidates.columns, inverse), (&trace.query_unit, slope, along), projected);
    if !frozen.cand_proj {
        let rhs = Operand::transposed(step.candidates.dropped, count);
        matmul((h, h, count), Operand::plain(projected, count), rhs, &mut gradients.cand_proj, step.threads);
        squares += sum_squares(&gradients.cand_proj);
    }
    if input_learns {
        candidates.resize(count * h, 0.0);
        let dropout = !step.candidates.mask.is_empty();
        let out = if dropout { &mut *dropped } else { &mut *candidates };
        out.resize(count * h, 0.0);
        let weight = Operand::transposed(step.parameters.cand_proj(), h);
        matmul((h, count, h), weight, Operand::plain(projected, count), out, step.threads);
        if dropout {
            multiply(dropped, step.candidates.mask, candidates);
        }
    }
    squares
}

/// Back through layer norm, residual and attention of layer `l`; `gradients.flow` goes from the layer's
/// output to its input.
fn attention_layer(step: &Step, trace: &Trace, l: usize, gradients: &mut Gradients) -> f64 {
    let parameters = &step.parameters;
    let offsets = &parameters.layout.layer[l];
    let (layer, frozen) = (&trace.layers[l], parameters.frozen);
    let h = trace.output.len();
    norm_gradient(parameters.norm(offsets.norm_weight), layer, &mut gradients.layers[l], &mut gradients.flow);
    let own = &mut gradients.layers[l];
    own.heads.fill(0.0);
    add_matvec_transposed(parameters.attention(offsets.out_proj, h * h), &own.output, &mut own.heads);
    let mut squares = 0.0;
    for head in 0..parameters.layout.shape.heads {
        squares += attention_head(step, layer, (l, head), gradients);
    }
    let own = &gradients.layers[l];
    // Nothing below learns from the query path of a first layer whose input is frozen.
    if l > 0 || !gradients.input_proj.is_empty() {
        let weight = parameters.attention(offsets.in_proj, h * h);
        add_matvec_transposed(weight, &own.query, &mut gradients.flow);
    }
    if !frozen.cross_attn {
        let query = sum_squares(&own.query);
        let output = sum_squares(&own.output);
        squares += query * sum_squares(&layer.input) + query;
        squares += output * sum_squares(&layer.heads) + output;
        squares += sum_squares(&own.value_bias);
    } else {
        squares = 0.0;
    }
    if !frozen.attn_norms {
        squares += sum_squares(&own.norm_weight) + sum_squares(&own.norm_bias);
    }
    squares
}

/// Layer norm and residual: `flow` becomes the gradient of the residual branch, `own.output` that of the
/// attention's output.
fn norm_gradient(weight: &[f32], layer: &LayerTrace, own: &mut LayerGradients, flow: &mut [f32]) {
    own.norm_bias.copy_from_slice(flow);
    multiply(flow, &layer.normed, &mut own.norm_weight);
    multiply(&own.norm_bias, weight, flow);
    let h = flow.len() as f32;
    let mean = flow.iter().sum::<f32>() / h;
    let along = dot(flow, &layer.normed) / h;
    for (value, normed) in flow.iter_mut().zip(&layer.normed) {
        *value = (*value - mean - normed * along) * layer.inverse_std;
    }
    own.output.copy_from_slice(flow);
}

/// One head; returns the squared norms of its key and value gradients.
fn attention_head(
    step: &Step,
    layer: &LayerTrace,
    (l, head): (usize, usize),
    gradients: &mut Gradients,
) -> f64 {
    let parameters = &step.parameters;
    let (shape, offsets) = (parameters.layout.shape, &parameters.layout.layer[l]);
    let (h, e) = (shape.hidden, shape.head_size());
    let c = step.candidates.projected;
    let count = c.len() / h;
    let (rows, wide) = (head * e..(head + 1) * e, head * h..(head + 1) * h);
    let pool = head * count..(head + 1) * count;
    let weight = |row: usize| parameters.attention(offsets.in_proj + row * h, e * h);
    let value_bias = parameters.attention(offsets.in_bias + 2 * h + rows.start, e);

    let own = &mut gradients.layers[l];
    let out = &own.heads[rows.clone()];
    // d loss / d dropped_k = c_k . (W_v^T out) + b_v . out
    let mut value_query = vec![0.0; h];
    add_matvec_transposed(weight(2 * h + rows.start), out, &mut value_query);
    let ds = &mut gradients.attention;
    ds.resize(count, 0.0);
    matvec(c, &value_query, ds);
    let constant = dot(value_bias, out);
    ds.iter_mut().for_each(|value| *value += constant);
    if !step.masks.attention.is_empty() {
        let mask = &step.masks.attention[l * shape.heads * count..][pool.clone()];
        ds.iter_mut().zip(mask).for_each(|(value, factor)| *value *= factor);
    }
    // softmax
    let weights = &layer.weights[pool.clone()];
    let mean = dot(weights, ds);
    ds.iter_mut().zip(weights).for_each(|(value, weight)| *value = weight * (*value - mean));

    let du = &mut own.key_query[wide.clone()];
    du.fill(0.0);
    add_matvec_transposed(c, ds, du);
    let scale = 1.0 / (e as f32).sqrt();
    let dq = &mut own.query[rows.clone()];
    matvec(weight(h + rows.start), du, dq);
    dq.iter_mut().for_each(|value| *value *= scale);
    let scaled = own.scaled_query[rows.clone()].iter_mut();
    scaled.zip(&layer.query[rows.clone()]).for_each(|(scaled, query)| *scaled = query * scale);
    let bias = own.value_bias[rows.clone()].iter_mut();
    bias.zip(&own.heads[rows.clone()]).for_each(|(bias, out)| *bias = out * layer.mass[head]);
    if !gradients.input_proj.is_empty() {
        let dropped = &layer.dropped[pool];
        let key_query = &layer.key_query[wide.clone()];
        add_two_outer((key_query, ds), (&value_query, dropped), &mut gradients.candidates);
    }
    let own = &gradients.layers[l];
    sum_squares(&own.scaled_query[rows.clone()]) * sum_squares(&own.key_query[wide.clone()])
        + sum_squares(&own.heads[rows]) * sum_squares(&layer.context[wide])
}

/// `d input_proj = dC^T X + dq x^T`.
fn input_projection(step: &Step, gradients: &mut Gradients) -> f64 {
    gradients.input.copy_from_slice(&gradients.flow);
    if gradients.input_proj.is_empty() {
        return 0.0;
    }
    let (h, d) = (gradients.input.len(), step.query.len());
    let count = step.candidates.embeddings.len() / d;
    let lhs = Operand::plain(&gradients.candidates, count);
    let rhs = Operand::plain(step.candidates.embeddings, d);
    matmul((h, d, count), lhs, rhs, &mut gradients.input_proj, step.threads);
    add_outer_sum_squares(&mut gradients.input_proj, &gradients.input, step.query)
}
