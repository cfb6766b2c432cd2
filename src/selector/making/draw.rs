//! Random numbers by purpose and query, and what is drawn with them.

use crate::selector::learn::{Purpose, Stream};

/// What is drawn. The numbers are part of every stream's key: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Split = 0,
    Limit = 1,
    PoolRandom = 2,
    PoolOrder = 3,
    Random = 4,
    Sample = 5,
    Policy = 6,
    Balance = 7,
}

/// The stream for `what`, the `index`-th of `query`.
pub fn stream(seed: u64, what: What, index: usize, query: u64) -> Stream {
    Stream::new(seed, Purpose::Making { what: what as u16, index: index as u16, query })
}

/// `count` of `0..n` in random order, without repeats.
pub fn subset(stream: &mut Stream, n: usize, count: usize) -> Vec<u32> {
    let mut order = stream.permutation(n);
    order.truncate(count);
    order
}

/// `count` positions of `scores`, drawn one after the other without repeats, each with a probability proportional to the
/// exponential of its score. A longer draw begins with the shorter one.
pub fn by_scores(stream: &mut Stream, scores: &[f64], count: usize) -> Vec<u32> {
    // Gumbel's trick: the largest of score + noise is such a draw, the next largest is the draw from what is left.
    let noisy: Vec<f64> = scores.iter().map(|score| score - (-(1.0 - stream.uniform()).ln()).ln()).collect();
    ranked(&noisy, count)
}

/// The `count` positions of the highest `scores`, of equal ones the lowest first.
pub fn ranked(scores: &[f64], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
    order.truncate(count);
    order
}
