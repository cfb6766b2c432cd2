//! One fused AdamW pass over a member's trainable parameters.

use super::super::layout::Layout;
use super::Frozen;
use super::backward::Gradients;
use super::forward::Trace;
use super::kernels::{AdamW, adamw_dense, adamw_idle, adamw_outer};

/// A member's trainable state, flat: parameters, first and second moments `[P]` each.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub parameters: Vec<f32>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    /// Optimizer steps taken.
    pub steps: u64,
}

impl State {
    fn slices(&mut self, offset: usize, len: usize) -> (&mut [f32], &mut [f32], &mut [f32]) {
        let range = offset..offset + len;
        (&mut self.parameters[range.clone()], &mut self.first[range.clone()], &mut self.second[range])
    }

    fn outer(&mut self, adam: &AdamW, offset: usize, a: &[f32], b: &[f32]) {
        let (p, m, v) = self.slices(offset, a.len() * b.len());
        adamw_outer(adam, a, b, p, m, v);
    }

    fn dense(&mut self, adam: &AdamW, offset: usize, gradient: &[f32]) {
        let (p, m, v) = self.slices(offset, gradient.len());
        adamw_dense(adam, gradient, p, m, v);
    }
}

/// Applies one AdamW step.
pub fn update(
    layout: &Layout,
    frozen: &Frozen,
    adam: &AdamW,
    trace: &Trace,
    gradients: &Gradients,
    state: &mut State,
) {
    if let (Some(offset), false) = (layout.input_proj, frozen.input_proj) {
        state.dense(adam, offset, &gradients.input_proj);
    }
    if !frozen.query_proj {
        state.outer(adam, layout.query_proj, &gradients.query_proj, &trace.query_dropped);
    }
    if !frozen.cand_proj {
        state.dense(adam, layout.cand_proj, &gradients.cand_proj);
    }
    let (h, heads, e) = (layout.shape.hidden, layout.shape.heads, layout.shape.head_size());
    for ((at, layer), own) in layout.layer.iter().zip(&trace.layers).zip(&gradients.layers) {
        if !frozen.cross_attn {
            state.outer(adam, at.in_proj, &own.query, &layer.input);
            for head in 0..heads {
                let (rows, wide) = (head * e..(head + 1) * e, head * h..(head + 1) * h);
                let (key, value) = (at.in_proj + (h + rows.start) * h, at.in_proj + (2 * h + rows.start) * h);
                state.outer(adam, key, &own.scaled_query[rows.clone()], &own.key_query[wide.clone()]);
                state.outer(adam, value, &own.heads[rows], &layer.context[wide]);
            }
            state.dense(adam, at.in_bias, &own.query);
            // The key bias has no effect on the scores: its gradient is exactly zero.
            let (p, m, v) = state.slices(at.in_bias + h, h);
            adamw_idle(adam, p, m, v);
            state.dense(adam, at.in_bias + 2 * h, &own.value_bias);
            state.outer(adam, at.out_proj, &own.output, &layer.heads);
            state.dense(adam, at.out_bias, &own.output);
        }
        if !frozen.attn_norms {
            state.dense(adam, at.norm_weight, &own.norm_weight);
            state.dense(adam, at.norm_bias, &own.norm_bias);
        }
    }
}
