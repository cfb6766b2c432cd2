//! Attention of one query per member, its layer norm, and back through both.

use cubecl::prelude::*;

use super::kernels::{
    LANES, LOWEST, Place, ROWS, UNITS, candidates_of, lane_of, max_units, sum_groups, sum_units,
};

/// Vectors of a layer norm.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub struct NormAt {
    /// Parameters of a member; weight and bias therein.
    pub stride: u32,
    pub weight: u32,
    pub bias: u32,
    /// Forward: input, normed, 1 / std, output, output after dropout.
    pub input: u32,
    pub normed: u32,
    pub inverse_std: u32,
    pub output: u32,
    pub dropped: u32,
    /// Backward: gradients of the output, of weight and bias, of the input.
    pub flow: u32,
    pub weight_gradient: u32,
    pub bias_gradient: u32,
    pub input_gradient: u32,
}

/// Vectors of an attention layer, `[heads, ...]` each.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub struct Attention {
    pub heads: u32,
    /// `[heads, h]`: `scale * W_k^T q`; context; d loss / d key query; `W_v^T` of the outputs' gradient.
    pub key_query: u32,
    pub context: u32,
    pub key_query_gradient: u32,
    pub value_query: u32,
    /// `[heads, K]`: weights before and after dropout; d loss / d attention scores.
    pub weights: u32,
    pub dropped: u32,
    pub score_gradient: u32,
    /// `[heads]`: sum of the dropped weights.
    pub mass: u32,
    /// `[h]`: gradients of the heads' outputs and of the value bias.
    pub heads_gradient: u32,
    pub value_bias_gradient: u32,
    /// Parameters of a member, and the value bias therein.
    pub stride: u32,
    pub value_bias: u32,
}

/// Attention of one query: weights, dropout, context, per head. Cubes `(heads, members)`.
#[cube(launch)]
pub fn attend(
    candidates: &Array<f32>,
    masks: &Array<f32>,
    index: &Array<u32>,
    work: &mut Array<f32>,
    at: Place,
    own: Attention,
    counts: u32,
    #[comptime] pool: usize,
    #[comptime] by_lane: bool,
    #[comptime] masked: bool,
) {
    let head = CUBE_POS_X;
    let member = CUBE_POS_Y;
    let lane = lane_of(index, at, member);
    let count = index[(counts + lane) as usize];
    let first = candidates_of(lane, at, member, by_lane);
    let base = member * at.width;
    let mut scores = SharedMemory::<f32>::new(pool);
    let mut sums = SharedMemory::<f32>::new(256usize);
    let query = base + own.key_query + head * at.hidden;
    dot_rows(candidates, work, first, query, at, &mut scores, &mut sums);
    let mut peak = LOWEST.runtime();
    let mut k = UNIT_POS;
    while k < count {
        peak = max(peak, scores[k as usize]);
        k += UNITS;
    }
    let peak = max_units(peak, &mut sums);
    let mut total = 0.0f32;
    let mut k = UNIT_POS;
    while k < at.pool {
        let mut power = 0.0f32;
        if k < count {
            power = (scores[k as usize] - peak).exp();
        }
        scores[k as usize] = power;
        total += power;
        k += UNITS;
    }
    let total = sum_units(total, &mut sums);
    let mut mass = 0.0f32;
    let mut k = UNIT_POS;
    while k < at.pool {
        let weight = scores[k as usize] / total;
        let mut dropped = weight;
        if comptime!(masked) {
            dropped = weight * masks[(lane * at.masks + at.mask + head * at.pool + k) as usize];
        }
        work[(base + own.weights + head * at.pool + k) as usize] = weight;
        work[(base + own.dropped + head * at.pool + k) as usize] = dropped;
        scores[k as usize] = dropped;
        mass += dropped;
        k += UNITS;
    }
    let mass = sum_units(mass, &mut sums);
    if UNIT_POS == 0 {
        work[(base + own.mass + head) as usize] = mass;
    }
    sum_rows(candidates, work, first, base + own.context + head * at.hidden, at, &scores);
}

/// `out[k] = rows[k] . vector` for the K rows that begin at `first`, the vector in `work`.
#[cube]
pub fn dot_rows(
    rows: &Array<f32>,
    work: &Array<f32>,
    first: u32,
    vector: u32,
    at: Place,
    out: &mut SharedMemory<f32>,
    sums: &mut SharedMemory<f32>,
) {
    let lane = UNIT_POS % LANES;
    let mut block = 0u32;
    while block < at.pool {
        let k = block + UNIT_POS / LANES;
        let mut sum = 0.0f32;
        if k < at.pool {
            let row = first + k * at.hidden;
            let mut column = lane;
            while column < at.hidden {
                sum += rows[(row + column) as usize] * work[(vector + column) as usize];
                column += LANES;
            }
        }
        sync_cube();
        sums[UNIT_POS as usize] = sum;
        sum_groups(sums, 32u32);
        if lane == 0 && k < at.pool {
            out[k as usize] = sums[UNIT_POS as usize];
        }
        block += ROWS;
    }
    sync_cube();
}

/// `work[output + c] = sum_k factors[k] * rows[k, c]`.
#[cube]
fn sum_rows(
    rows: &Array<f32>,
    work: &mut Array<f32>,
    first: u32,
    output: u32,
    at: Place,
    factors: &SharedMemory<f32>,
) {
    let mut column = UNIT_POS;
    while column < at.hidden {
        let mut sum = 0.0f32;
        let mut k = 0u32;
        while k < at.pool {
            sum += factors[k as usize] * rows[(first + k * at.hidden + column) as usize];
            k += 1;
        }
        work[(output + column) as usize] = sum;
        column += UNITS;
    }
}

/// Back through [`attend`]: gradients of the key query, of the attention scores and of the value bias. Cubes
/// `(heads, members)`.
#[cube(launch)]
pub fn attend_backward(
    candidates: &Array<f32>,
    masks: &Array<f32>,
    index: &Array<u32>,
    weights: &Array<f32>,
    owner: &Array<u32>,
    work: &mut Array<f32>,
    at: Place,
    own: Attention,
    #[comptime] pool: usize,
    #[comptime] by_lane: bool,
    #[comptime] masked: bool,
) {
    let head = CUBE_POS_X;
    let member = CUBE_POS_Y;
    let lane = lane_of(index, at, member);
    let first = candidates_of(lane, at, member, by_lane);
    let base = member * at.width;
    let size = at.hidden / own.heads;
    let mut slopes = SharedMemory::<f32>::new(pool);
    let mut sums = SharedMemory::<f32>::new(256usize);
    // d loss / d dropped_k = c_k . (W_v^T out) + b_v . out
    dot_rows(candidates, work, first, base + own.value_query + head * at.hidden, at, &mut slopes, &mut sums);
    let mass = work[(base + own.mass + head) as usize];
    let bias = owner[member as usize] * own.stride + own.value_bias;
    let mut constant = 0.0f32;
    let mut i = UNIT_POS;
    while i < size {
        let row = head * size + i;
        let out = work[(base + own.heads_gradient + row) as usize];
        constant += weights[(bias + row) as usize] * out;
        work[(base + own.value_bias_gradient + row) as usize] = out * mass;
        i += UNITS;
    }
    let constant = sum_units(constant, &mut sums);
    let mut mean = 0.0f32;
    let mut k = UNIT_POS;
    while k < at.pool {
        let mut slope = slopes[k as usize] + constant;
        if comptime!(masked) {
            slope *= masks[(lane * at.masks + at.mask + head * at.pool + k) as usize];
        }
        slopes[k as usize] = slope;
        mean += slope * work[(base + own.weights + head * at.pool + k) as usize];
        k += UNITS;
    }
    let mean = sum_units(mean, &mut sums);
    let mut k = UNIT_POS;
    while k < at.pool {
        let place = head * at.pool + k;
        let slope = (slopes[k as usize] - mean) * work[(base + own.weights + place) as usize];
        slopes[k as usize] = slope;
        work[(base + own.score_gradient + place) as usize] = slope;
        k += UNITS;
    }
    sync_cube();
    sum_rows(candidates, work, first, base + own.key_query_gradient + head * at.hidden, at, &slopes);
}

/// Layer norm (eps 1e-5). `last`: and the query's dropout after it. Cubes `(1, members)`.
#[cube(launch)]
pub fn norm(
    weights: &Array<f32>,
    owner: &Array<u32>,
    masks: &Array<f32>,
    index: &Array<u32>,
    work: &mut Array<f32>,
    at: Place,
    own: NormAt,
    #[comptime] last: bool,
    #[comptime] masked: bool,
) {
    let member = CUBE_POS_Y;
    let base = member * at.width;
    let lane = lane_of(index, at, member);
    let parameters = owner[member as usize] * own.stride;
    let mut sums = SharedMemory::<f32>::new(256usize);
    let mut sum = 0.0f32;
    let mut i = UNIT_POS;
    while i < at.hidden {
        sum += work[(base + own.input + i) as usize];
        i += UNITS;
    }
    let mean = sum_units(sum, &mut sums) / f32::cast_from(at.hidden);
    let mut squares = 0.0f32;
    let mut i = UNIT_POS;
    while i < at.hidden {
        let centered = work[(base + own.input + i) as usize] - mean;
        squares += centered * centered;
        i += UNITS;
    }
    let variance = sum_units(squares, &mut sums) / f32::cast_from(at.hidden);
    let inverse_std = 1.0 / (variance + 1e-5f32).sqrt();
    if UNIT_POS == 0 {
        work[(base + own.inverse_std) as usize] = inverse_std;
    }
    let mut i = UNIT_POS;
    while i < at.hidden {
        let normed = (work[(base + own.input + i) as usize] - mean) * inverse_std;
        work[(base + own.normed + i) as usize] = normed;
        let scaled = normed * weights[(parameters + own.weight + i) as usize];
        let output = scaled + weights[(parameters + own.bias + i) as usize];
        work[(base + own.output + i) as usize] = output;
        if comptime!(last) {
            let mut dropped = output;
            if comptime!(masked) {
                dropped *= masks[(lane * at.masks + at.mask + i) as usize];
            }
            work[(base + own.dropped + i) as usize] = dropped;
        }
        i += UNITS;
    }
}

/// Back through [`norm`]. Cubes `(1, members)`.
#[cube(launch)]
pub fn norm_backward(
    weights: &Array<f32>,
    owner: &Array<u32>,
    masks: &Array<f32>,
    index: &Array<u32>,
    work: &mut Array<f32>,
    at: Place,
    own: NormAt,
    #[comptime] masked: bool,
) {
    let member = CUBE_POS_Y;
    let base = member * at.width;
    let lane = lane_of(index, at, member);
    let weight = owner[member as usize] * own.stride + own.weight;
    let mut sums = SharedMemory::<f32>::new(256usize);
    let mut sum = 0.0f32;
    let mut along = 0.0f32;
    let mut i = UNIT_POS;
    while i < at.hidden {
        let mut flow = work[(base + own.flow + i) as usize];
        if comptime!(masked) {
            flow *= masks[(lane * at.masks + at.mask + i) as usize];
        }
        let normed = work[(base + own.normed + i) as usize];
        work[(base + own.bias_gradient + i) as usize] = flow;
        work[(base + own.weight_gradient + i) as usize] = flow * normed;
        let scaled = flow * weights[(weight + i) as usize];
        work[(base + own.input_gradient + i) as usize] = scaled;
        sum += scaled;
        along += scaled * normed;
        i += UNITS;
    }
    let mean = sum_units(sum, &mut sums) / f32::cast_from(at.hidden);
    let along = sum_units(along, &mut sums) / f32::cast_from(at.hidden);
    let inverse_std = work[(base + own.inverse_std) as usize];
    let mut i = UNIT_POS;
    while i < at.hidden {
        let normed = work[(base + own.normed + i) as usize];
        let place = (base + own.input_gradient + i) as usize;
        work[place] = (work[place] - mean - normed * along) * inverse_std;
        i += UNITS;
    }
}

/// Gradient of the projected candidates `[members, K, h]`: `out` holds what comes back through `cand_proj`, times
/// dropout if `masked`; the layers' attention is added. Cubes `(K, members)`.
#[cube(launch)]
pub fn candidates_backward(
    masks: &Array<f32>,
    index: &Array<u32>,
    work: &Array<f32>,
    out: &mut Array<f32>,
    at: Place,
    own: Attention,
    layers: u32,
    layer_width: u32,
    #[comptime] masked: bool,
) {
    let member = CUBE_POS_Y;
    let base = member * at.width;
    let lane = lane_of(index, at, member);
    let k = CUBE_POS_X;
    let mut column = UNIT_POS;
    while column < at.hidden {
        let place = ((member * at.pool + k) * at.hidden + column) as usize;
        let mut sum = out[place];
        if comptime!(masked) {
            sum *= masks[(lane * at.masks + at.mask + k * at.hidden + column) as usize];
        }
        let mut layer = 0u32;
        while layer < layers {
            let first = base + layer * layer_width;
            let mut head = 0u32;
            while head < own.heads {
                let wide = head * at.hidden + column;
                let narrow = head * at.pool + k;
                sum += work[(first + own.score_gradient + narrow) as usize]
                    * work[(first + own.key_query + wide) as usize];
                sum += work[(first + own.dropped + narrow) as usize]
                    * work[(first + own.value_query + wide) as usize];
                head += 1;
            }
            layer += 1;
        }
        out[place] = sum;
        column += UNITS;
    }
}
