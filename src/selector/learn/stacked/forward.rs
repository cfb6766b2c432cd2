//! The model as a tensor program over members. The same code runs with and without gradients.
//!
//! Axes: G members (1 where everything so far is shared), L lanes of inputs (1 or G), W copies of a
//! parameter (1 or G), K candidates, h hidden, e = h / heads. As in the CPU engine the attention's key and
//! value projections are applied on the query's side, and the key bias takes no part.

use burn::tensor::activation::softmax;

use super::pieces::{LayerWeights, ModelTensors};
use super::{Quad, Stack};
use crate::selector::learn::Shape;

/// How far the candidates' path to the scores is computed already.
#[allow(clippy::large_enum_variant, reason = "tensor handles; their size depends on the backends built in")]
#[derive(Clone, Debug)]
pub enum Keys {
    /// After `cand_proj` `[L, K, h]`, with the inverse norms of its rows `[L, 1, K]`: both projections frozen.
    Ready { keys: Stack, inverse_norms: Stack },
    /// Projected by `input_proj`, after dropout `[L, K, h]`.
    Dropped(Stack),
    /// Nothing yet; dropout factors `[L, K, h]`, if any.
    Raw(Option<Stack>),
}

/// One group per lane.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// `[L, 1, d]`, or `[L, 1, h]` where the weights have no `input_proj`.
    pub queries: Stack,
    /// `[L, K, d]` or `[L, K, h]`.
    pub candidates: Stack,
    pub keys: Keys,
    /// Dropout factors `[L, 1, h]`.
    pub query_mask: Option<Stack>,
    /// Dropout factors `[L, layers * heads, K]`.
    pub attention_mask: Option<Stack>,
    /// Added to attention scores `[L, 1, K]`: hugely negative where a pool is shorter than K.
    pub padding: Option<Stack>,
}

/// Scores `[G, 1, K]`: cosines over the temperature.
pub fn scores(shape: Shape, weights: &ModelTensors, inputs: Inputs, temperature: f64) -> Stack {
    let Inputs { queries, candidates, keys, query_mask, attention_mask, padding } = inputs;
    let (mut x, c) = match &weights.input_proj {
        Some(weight) => (linear(queries, weight.clone()), linear(candidates, weight.clone())),
        None => (queries, candidates),
    };
    for (l, layer) in weights.layers.iter().enumerate() {
        let mask = attention_mask.as_ref().map(|all| all.clone().narrow(1, l * shape.heads, shape.heads));
        x = attend(shape, layer, x, &c, mask, padding.as_ref());
    }
    if let Some(mask) = query_mask {
        x = x * mask;
    }
    let (keys, inverse_norms) = match keys {
        Keys::Ready { keys, inverse_norms } => (keys, inverse_norms),
        Keys::Dropped(dropped) => with_norms(linear(dropped, weights.cand_proj.clone())),
        Keys::Raw(Some(mask)) => with_norms(linear(c * mask, weights.cand_proj.clone())),
        Keys::Raw(None) => with_norms(linear(c, weights.cand_proj.clone())),
    };
    let query = linear(x, weights.query_proj.clone());
    // The query is normalised before the product: dropout may have zeroed it and a candidate, and the gradient would
    // then pass through 1e12 times 1e12.
    let query = query.clone() * inverse_row_norms(query);
    linear(query, keys) * inverse_norms.mul_scalar(1.0 / temperature)
}

/// `x` `[G, n, a]` times the transpose of `w` `[W, b, a]`: `[G, n, b]`.
pub fn linear(x: Stack, w: Stack) -> Stack {
    product(x, w.swap_dims(1, 2))
}

/// `x` `[G, n, a]` times `y` `[W, a, b]`: `[G, n, b]`. A shared `y` is one large product, not G small ones.
fn product(x: Stack, y: Stack) -> Stack {
    let ([g, n, a], [w, _, b]) = (x.dims(), y.dims());
    if w == 1 && g > 1 { x.reshape([1, g * n, a]).matmul(y).reshape([g, n, b]) } else { x.matmul(y) }
}

/// The same per head: `x` `[G, H, 1, a]`, `y` `[W, H, a, b]`.
fn head_product(x: Quad, y: Quad) -> Quad {
    if y.dims()[0] == 1 && x.dims()[0] > 1 {
        x.swap_dims(0, 2).matmul(y).swap_dims(0, 2)
    } else {
        x.matmul(y)
    }
}

/// One attention layer with residual and layer norm: `x` `[G, 1, h]` against `c` `[L, K, h]`.
fn attend(
    shape: Shape,
    layer: &LayerWeights,
    x: Stack,
    c: &Stack,
    mask: Option<Stack>,
    padding: Option<&Stack>,
) -> Stack {
    let (h, heads, e) = (shape.hidden, shape.heads, shape.head_size());
    let by_head = |weight: &Stack| weight.clone().reshape([weight.dims()[0], heads, e, h]);
    let query = (linear(x.clone(), layer.query.clone()) + layer.query_bias.clone())
        .mul_scalar(1.0 / (e as f64).sqrt());
    let query = query.clone().reshape([query.dims()[0], heads, 1, e]);
    let key_query = head_product(query, by_head(&layer.key));
    let mut attention = linear(key_query.clone().reshape([key_query.dims()[0], heads, h]), c.clone());
    if let Some(padding) = padding {
        attention = attention + padding.clone();
    }
    attention = softmax(attention, 2);
    let mut bias = layer.value_bias.clone().reshape([layer.value_bias.dims()[0], heads, e]);
    if let Some(mask) = mask {
        attention = attention * mask;
        // Without dropout the weights of a head sum to 1.
        bias = bias * attention.clone().sum_dim(2);
    }
    let context = product(attention, c.clone());
    let context = context.clone().reshape([context.dims()[0], heads, 1, h]);
    let out = head_product(context, by_head(&layer.value).swap_dims(2, 3));
    let out = out.clone().reshape([out.dims()[0], heads, e]) + bias;
    let out = out.clone().reshape([out.dims()[0], 1, h]);
    layer_norm(linear(out, layer.output.clone()) + layer.output_bias.clone() + x, layer)
}

fn layer_norm(x: Stack, layer: &LayerWeights) -> Stack {
    let centered = x.clone() - x.mean_dim(2);
    let variance = (centered.clone() * centered.clone()).mean_dim(2);
    let normed = centered / variance.add_scalar(1e-5).sqrt();
    normed * layer.norm_weight.clone() + layer.norm_bias.clone()
}

/// Projected candidates and `1 / norm` of their rows `[L, 1, K]`.
pub fn with_norms(keys: Stack) -> (Stack, Stack) {
    let [lead, count, _] = keys.dims();
    let inverse_norms = inverse_row_norms(keys.clone()).reshape([lead, 1, count]);
    (keys, inverse_norms)
}

/// `1 / sqrt(sum x^2 + 1e-24)` per row of `[G, n, h]`: `[G, n, 1]`. The constant stands for the norm's lower
/// bound of 1e-12, without which a row of zeros would have no gradient.
fn inverse_row_norms(x: Stack) -> Stack {
    (x.clone() * x).sum_dim(2).add_scalar(1e-24).sqrt().recip()
}
