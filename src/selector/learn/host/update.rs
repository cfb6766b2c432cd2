//! One fused AdamW pass over a member's trainable parameters.

use rayon::prelude::*;

use super::super::parameters::Layout;
use super::backward::Gradients;
use super::forward::Trace;
use super::frozen::Frozen;
use super::kernels::{AdamW, adamw_dense, adamw_idle, adamw_outer};
use super::slab::Slices;

/// A member's state, flat: parameters, first and second moments `[P]` each. Frozen parameters keep the values they
/// began with, their moments are zero.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub parameters: Vec<f32>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    /// Optimizer steps taken.
    pub steps: u64,
}

/// Fewest parameters worth a thread of their own.
const PART: usize = 1 << 20;

/// A member's state on its way through one step.
struct Updating<'a, 'b> {
    state: &'a mut Slices<'b>,
    adam: &'a AdamW,
    threads: usize,
}

impl Updating<'_, '_> {
    /// The gradient `a b^T`, which is never stored.
    fn outer(&mut self, offset: usize, a: &[f32], b: &[f32]) {
        let (adam, threads) = (self.adam, self.threads);
        let slices = self.state.part(offset, a.len() * b.len());
        split(slices, (threads, b.len()), &|at, part| {
            let rows = at / b.len()..(at + part.p.len()) / b.len();
            adamw_outer(adam, &a[rows], b, part.p, part.m, part.v);
        });
    }

    fn dense(&mut self, offset: usize, gradient: &[f32]) {
        let (adam, threads) = (self.adam, self.threads);
        split(self.state.part(offset, gradient.len()), (threads, 1), &|at, part| {
            adamw_dense(adam, &gradient[at..at + part.p.len()], part.p, part.m, part.v);
        });
    }
}

/// Calls `work` with the offset of every part: one, or one per thread of whole rows of `width`. Every element is
/// computed by itself, so that the split leaves no trace in the result.
fn split(slices: Slices, (threads, width): (usize, usize), work: &(dyn Fn(usize, Slices) + Sync)) {
    let len = slices.p.len();
    let parts = threads.min(len / PART).max(1);
    if parts == 1 {
        return work(0, slices);
    }
    let step = (len / width).div_ceil(parts) * width;
    let Slices { p, m, v } = slices;
    let chunks = p.par_chunks_mut(step).zip(m.par_chunks_mut(step)).zip(v.par_chunks_mut(step));
    chunks.enumerate().for_each(|(part, ((p, m), v))| work(part * step, Slices { p, m, v }));
}

/// Applies one AdamW step on `threads` cores.
pub fn update(
    (layout, frozen): (&Layout, &Frozen),
    (adam, threads): (&AdamW, usize),
    trace: &Trace,
    gradients: &Gradients,
    state: &mut Slices,
) {
    let mut updating = Updating { state, adam, threads };
    if let (Some(offset), false) = (layout.input_proj, frozen.input_proj) {
        updating.dense(offset, &gradients.input_proj);
    }
    if !frozen.query_proj {
        updating.outer(layout.query_proj, &gradients.query_proj, &trace.query_dropped);
    }
    if !frozen.cand_proj {
        updating.dense(layout.cand_proj, &gradients.cand_proj);
    }
    let (h, heads, e) = (layout.shape.hidden, layout.shape.heads, layout.shape.head_size());
    for ((at, layer), own) in layout.layer.iter().zip(&trace.layers).zip(&gradients.layers) {
        if !frozen.cross_attn {
            updating.outer(at.in_proj, &own.query, &layer.input);
            for head in 0..heads {
                let (rows, wide) = (head * e..(head + 1) * e, head * h..(head + 1) * h);
                let (key, value) = (at.in_proj + (h + rows.start) * h, at.in_proj + (2 * h + rows.start) * h);
                updating.outer(key, &own.scaled_query[rows.clone()], &own.key_query[wide.clone()]);
                updating.outer(value, &own.heads[rows], &layer.context[wide]);
            }
            updating.dense(at.in_bias, &own.query);
            // The key bias has no effect on the scores: its gradient is exactly zero.
            let Slices { p, m, v } = updating.state.part(at.in_bias + h, h);
            adamw_idle(adam, p, m, v);
            updating.dense(at.in_bias + 2 * h, &own.value_bias);
            updating.outer(at.out_proj, &own.output, &layer.heads);
            updating.dense(at.out_bias, &own.output);
        }
        if !frozen.attn_norms {
            updating.dense(at.norm_weight, &own.norm_weight);
            updating.dense(at.norm_bias, &own.norm_bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::GrpoParams;

    /// Whole rows, every element once, the same numbers as on one core.
    #[test]
    fn a_split_update_is_the_update() {
        let (rows, width) = (3 * PART / 1000 + 1, 1000);
        let row: Vec<f32> = (0..rows).map(|i| (i % 7) as f32 - 3.0).collect();
        let column: Vec<f32> = (0..width).map(|i| (i % 5) as f32 / 8.0).collect();
        let optimizer = GrpoParams::default().optimizer();
        let adam = AdamW::new(&optimizer, 2.0, 1);
        let update = |threads| {
            let mut values = [vec![0.5; rows * width], vec![0.1; rows * width], vec![0.2; rows * width]];
            let [p, m, v] = &mut values;
            let mut slices = Slices { p, m, v };
            let mut updating = Updating { state: &mut slices, adam: &adam, threads };
            updating.outer(0, &row, &column);
            values
        };
        let (alone, split) = (update(1), update(3));
        assert!(alone == split && alone[0].iter().all(|value| *value != 0.5));
    }
}
