//! The kernels. All of a member's vectors live in its row of one buffer, `work`; the kernels are told where.
//!
//! Every kernel has [`UNITS`] units per cube, one cube row per member (`CUBE_POS_Y`), and sums in a fixed order: a
//! result does not depend on who else is in the cohort. No subgroup operations, which software devices lack.

use cubecl::prelude::*;

/// Units of a cube.
pub const UNITS: u32 = 256;
/// Units that share a row of a matrix, or columns that a transposed product has per cube.
pub const LANES: u32 = 32;
/// Rows of a matrix per cube.
pub const ROWS: u32 = UNITS / LANES;
/// Elements that one cube of the update has.
pub const BLOCK: u32 = 1024;

/// A member's norms of vectors at and below this are treated as `F.normalize` does: as the divisor 1e-12.
const FLOOR: f32 = 1e-12;
/// Stands for minus infinity, which WGSL does not have.
const LOWEST: f32 = -3.0e38;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;

/// A matrix `[rows, columns]` inside the parameters of every member, and the vectors it is applied to.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub struct ProductAt {
    /// Parameters of a member, and where the matrix and its bias begin.
    pub stride: u32,
    pub offset: u32,
    pub bias: u32,
    pub rows: u32,
    pub columns: u32,
    /// Consecutive rows that belong to one input (or, transposed, to one output): those of a head, or all.
    pub segment: u32,
    /// Length of a member's row of `work`; input, output and a further vector therein.
    pub width: u32,
    pub input: u32,
    pub output: u32,
    pub extra: u32,
    pub scale: f32,
}

/// What [`product`] does with a row's sum.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Finish {
    /// Times `scale`.
    Scale,
    /// Plus the bias, times `scale`.
    BiasScale,
    /// Plus the bias times the head's mass, found at `extra`.
    BiasMass,
    /// Plus the bias and the vector at `extra`.
    BiasResidual,
}

/// Where a step's inputs are: those of a lane, or of a member.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub struct Place {
    /// Step within the chunk, number of lanes and members.
    pub step: u32,
    pub lanes: u32,
    pub members: u32,
    /// Length of a member's row of `work`.
    pub width: u32,
    /// Hidden size h, candidates K.
    pub hidden: u32,
    pub pool: u32,
    /// Dropout factors of a lane and step, and where a kernel's own begin.
    pub masks: u32,
    pub mask: u32,
}

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

/// Sums `values` over groups of `group` neighbouring units (a power of 2); every group's first has the result.
#[cube]
pub fn sum_groups(values: &mut SharedMemory<f32>, #[comptime] group: u32) {
    let unit = UNIT_POS as usize;
    let place = UNIT_POS % group;
    let mut half = comptime!(group / 2).runtime();
    sync_cube();
    while half > 0 {
        if place < half {
            values[unit] = values[unit] + values[unit + half as usize];
        }
        sync_cube();
        half /= 2;
    }
}

/// The sum of `value` over all units, for each of them.
#[cube]
pub fn sum_units(value: f32, values: &mut SharedMemory<f32>) -> f32 {
    sync_cube();
    values[UNIT_POS as usize] = value;
    sum_groups(values, 256u32);
    values[0]
}

/// The largest `value` of all units, for each of them.
#[cube]
fn max_units(value: f32, values: &mut SharedMemory<f32>) -> f32 {
    let unit = UNIT_POS as usize;
    sync_cube();
    values[unit] = value;
    sync_cube();
    let mut half = 128u32;
    while half > 0 {
        if UNIT_POS < half {
            values[unit] = max(values[unit], values[unit + half as usize]);
        }
        sync_cube();
        half /= 2;
    }
    values[0]
}

/// Index of a lane's step in the chunk.
#[cube]
pub fn lane_of(index: &Array<u32>, at: Place, member: u32) -> u32 {
    at.step * at.lanes + index[member as usize]
}

/// First row of the candidates that `member` sees.
#[cube]
pub fn candidates_of(lane: u32, at: Place, member: u32, #[comptime] by_lane: bool) -> u32 {
    if comptime!(by_lane) { lane * at.pool * at.hidden } else { member * at.pool * at.hidden }
}

/// `y = W x`, finished as `finish` says. Cubes `(rows / ROWS, members)`.
#[cube(launch)]
pub fn product(
    weights: &Array<f32>,
    owner: &Array<u32>,
    work: &mut Array<f32>,
    at: ProductAt,
    #[comptime] finish: Finish,
) {
    let member = CUBE_POS_Y;
    let lane = UNIT_POS % LANES;
    let row = CUBE_POS_X * ROWS + UNIT_POS / LANES;
    let own = owner[member as usize] * at.stride;
    let base = member * at.width;
    let mut sums = SharedMemory::<f32>::new(256usize);
    let mut sum = 0.0f32;
    if row < at.rows {
        let first = own + at.offset + row * at.columns;
        let input = base + at.input + row / at.segment * at.columns;
        let mut column = lane;
        while column < at.columns {
            sum += weights[(first + column) as usize] * work[(input + column) as usize];
            column += LANES;
        }
    }
    sums[UNIT_POS as usize] = sum;
    sum_groups(&mut sums, 32u32);
    if lane == 0 && row < at.rows {
        let sum = sums[UNIT_POS as usize];
        let place = (base + at.output + row) as usize;
        if comptime!(finish == Finish::Scale) {
            work[place] = sum * at.scale;
        } else {
            let bias = weights[(own + at.bias + row) as usize];
            if comptime!(finish == Finish::BiasScale) {
                work[place] = (sum + bias) * at.scale;
            } else if comptime!(finish == Finish::BiasMass) {
                work[place] = sum + bias * work[(base + at.extra + row / at.segment) as usize];
            } else {
                work[place] = sum + bias + work[(base + at.extra + row) as usize];
            }
        }
    }
}

/// `y = W^T x` for each segment of rows; `add`: plus the vector at `extra`. Cubes `(columns / LANES, members, segments)`.
#[cube(launch)]
pub fn product_transposed(
    weights: &Array<f32>,
    owner: &Array<u32>,
    work: &mut Array<f32>,
    at: ProductAt,
    #[comptime] add: bool,
) {
    let member = CUBE_POS_Y;
    let segment = CUBE_POS_Z;
    let column = CUBE_POS_X * LANES + UNIT_POS % LANES;
    let part = UNIT_POS / LANES;
    let base = member * at.width;
    let mut sums = SharedMemory::<f32>::new(256usize);
    let mut sum = 0.0f32;
    if column < at.columns {
        let first = owner[member as usize] * at.stride + at.offset + column;
        let end = (segment + 1) * at.segment;
        let mut row = segment * at.segment + part;
        while row < end {
            sum += weights[(first + row * at.columns) as usize] * work[(base + at.input + row) as usize];
            row += ROWS;
        }
    }
    let unit = UNIT_POS as usize;
    sums[unit] = sum;
    sync_cube();
    if part == 0 && column < at.columns {
        let mut total = 0.0f32;
        let mut i = 0u32;
        while i < ROWS {
            total += sums[(UNIT_POS + i * LANES) as usize];
            i += 1;
        }
        if comptime!(add) {
            total += work[(base + at.extra + column) as usize];
        }
        work[(base + at.output + segment * at.columns + column) as usize] = total;
    }
}

/// Copies a row of `table` `[N, columns]` per member to `work`: the query's. Cubes `(1, members)`.
#[cube(launch)]
pub fn load_query(
    table: &Array<f32>,
    index: &Array<u32>,
    work: &mut Array<f32>,
    at: Place,
    queries: u32,
    columns: u32,
    output: u32,
) {
    let member = CUBE_POS_Y;
    let lane = lane_of(index, at, member);
    let row = index[(queries + lane) as usize] * columns;
    let mut column = UNIT_POS;
    while column < columns {
        work[(member * at.width + output + column) as usize] = table[(row + column) as usize];
        column += UNITS;
    }
}

/// Rows of `table` `[N, columns]` for `count` places from `first` of the index on. Cubes `(places, 1)`.
#[cube(launch)]
pub fn gather(table: &Array<f32>, index: &Array<u32>, out: &mut Array<f32>, first: u32, columns: u32) {
    let place = CUBE_POS_X + CUBE_POS_Y * CUBE_COUNT_X;
    if ((place * columns) as usize) < out.len() {
        let row = index[(first + place) as usize] * columns;
        let mut column = UNIT_POS;
        while column < columns {
            out[(place * columns + column) as usize] = table[(row + column) as usize];
            column += UNITS;
        }
    }
}

/// Candidates of a step `[members, K, columns]`, from a table or from those gathered for the chunk. Cubes `(K, members)`.
#[cube(launch)]
pub fn gather_step(
    table: &Array<f32>,
    index: &Array<u32>,
    out: &mut Array<f32>,
    at: Place,
    pools: u32,
    columns: u32,
) {
    let member = CUBE_POS_Y;
    let lane = lane_of(index, at, member);
    let row = index[(pools + lane * at.pool + CUBE_POS_X) as usize] * columns;
    let place = (member * at.pool + CUBE_POS_X) * columns;
    let mut column = UNIT_POS;
    while column < columns {
        out[(place + column) as usize] = table[(row + column) as usize];
        column += UNITS;
    }
}

/// Candidates after dropout: those of a member (`by_lane` false) or of its lane. Cubes `(K, members)`.
#[cube(launch)]
pub fn drop_candidates(
    candidates: &Array<f32>,
    masks: &Array<f32>,
    index: &Array<u32>,
    out: &mut Array<f32>,
    at: Place,
    #[comptime] by_lane: bool,
    #[comptime] masked: bool,
) {
    let member = CUBE_POS_Y;
    let lane = lane_of(index, at, member);
    let row = CUBE_POS_X * at.hidden;
    let first = candidates_of(lane, at, member, by_lane) + row;
    let mut column = UNIT_POS;
    while column < at.hidden {
        let mut value = candidates[(first + column) as usize];
        if comptime!(masked) {
            value *= masks[(lane * at.masks + at.mask + row + column) as usize];
        }
        out[(member * at.pool * at.hidden + row + column) as usize] = value;
        column += UNITS;
    }
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

/// Fields of a row of a table of factors: a piece's gradient is `a[r] * b[r / segment, c]`.
pub const FACTOR_FIELDS: u32 = 5;

/// Squared norms of outer products, one per row `(a, a length, b, b length, -)` of `factors`. Cubes
/// `(factors, members)`.
#[cube(launch)]
pub fn outer_squares(
    work: &Array<f32>,
    factors: &Array<u32>,
    partial: &mut Array<f32>,
    width: u32,
    partials: u32,
) {
    let member = CUBE_POS_Y;
    let base = member * width;
    let row = CUBE_POS_X * FACTOR_FIELDS;
    let mut sums = SharedMemory::<f32>::new(256usize);
    let left = squares(work, base + factors[row as usize], factors[(row + 1) as usize], &mut sums);
    let right = squares(work, base + factors[(row + 2) as usize], factors[(row + 3) as usize], &mut sums);
    if UNIT_POS == 0 {
        partial[(member * partials + CUBE_POS_X) as usize] = left * right;
    }
}

#[cube]
fn squares(work: &Array<f32>, first: u32, len: u32, sums: &mut SharedMemory<f32>) -> f32 {
    let mut sum = 0.0f32;
    let mut i = UNIT_POS;
    while i < len {
        let value = work[(first + i) as usize];
        sum += value * value;
        i += UNITS;
    }
    sum_units(sum, sums)
}

/// A matrix whose gradient is stored, plus an outer product if `outer`.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub struct Dense {
    /// Elements per member, and columns of a row.
    pub size: u32,
    pub columns: u32,
    /// Length of a member's row of `work`; the outer product's factors therein.
    pub width: u32,
    pub left: u32,
    pub right: u32,
    /// Where the sums go, and how many a member has.
    pub partial: u32,
    pub partials: u32,
}

#[cube]
fn dense_gradient(
    work: &Array<f32>,
    dense: &Array<f32>,
    at: Dense,
    member: u32,
    element: u32,
    #[comptime] outer: bool,
) -> f32 {
    let mut gradient = dense[(member * at.size + element) as usize];
    if comptime!(outer) {
        let base = member * at.width;
        gradient += work[(base + at.left + element / at.columns) as usize]
            * work[(base + at.right + element % at.columns) as usize];
    }
    gradient
}

/// Squared norms of blocks of a stored gradient. Cubes `(blocks, members)`.
#[cube(launch)]
pub fn dense_squares(
    work: &Array<f32>,
    dense: &Array<f32>,
    partial: &mut Array<f32>,
    at: Dense,
    #[comptime] outer: bool,
) {
    let member = CUBE_POS_Y;
    let mut sums = SharedMemory::<f32>::new(256usize);
    let mut sum = 0.0f32;
    let mut i = 0u32;
    while i < BLOCK {
        let element = CUBE_POS_X * BLOCK + i + UNIT_POS;
        if element < at.size {
            let gradient = dense_gradient(work, dense, at, member, element, outer);
            sum += gradient * gradient;
        }
        i += UNITS;
    }
    let total = sum_units(sum, &mut sums);
    if UNIT_POS == 0 {
        partial[(member * at.partials + at.partial + CUBE_POS_X) as usize] = total;
    }
}

/// A step's place among the members' constants and figures.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub struct Books {
    pub members: u32,
    /// Step within the chunk, and floats that a member has per step in `facts`; rate and bias correction therein.
    pub step: u32,
    pub fact_width: u32,
    pub rates: u32,
    /// Step within the epoch, steps of the epoch, figures per step.
    pub epoch_step: u32,
    pub steps: u32,
    pub figures: u32,
}

/// Floats per member in `constants`: clip range, KL bounds, decay, largest norm.
pub const CONSTANTS: u32 = 6;

/// The gradient's norm per member, into the log, and the factor that clips it. Cubes `(1, members)`.
#[cube(launch)]
pub fn finish_norm(
    partial: &Array<f32>,
    constants: &Array<f32>,
    work: &mut Array<f32>,
    log: &mut Array<f32>,
    at: Books,
    width: u32,
    clip: u32,
    partials: u32,
) {
    let member = CUBE_POS_Y;
    let mut sums = SharedMemory::<f32>::new(256usize);
    let mut sum = 0.0f32;
    let mut i = UNIT_POS;
    while i < partials {
        sum += partial[(member * partials + i) as usize];
        i += UNITS;
    }
    let total = sum_units(sum, &mut sums);
    if UNIT_POS == 0 {
        let norm = total.sqrt();
        let place = (member * at.steps + at.epoch_step) * at.figures + at.figures - 1;
        log[place as usize] = norm;
        let factor = constants[(member * CONSTANTS + 5) as usize] / (norm + 1e-6f32);
        work[(member * width + clip) as usize] = min(factor, 1.0f32);
    }
}

/// One parameter's AdamW step.
#[cube]
fn adamw(
    parameters: &mut Array<f32>,
    first: &mut Array<f32>,
    second: &mut Array<f32>,
    place: usize,
    gradient: f32,
    rate: f32,
    inverse_bias: f32,
    decay: f32,
) {
    let m = first[place] * BETA1 + gradient * (1.0f32 - BETA1);
    let v = second[place] * BETA2 + gradient * gradient * (1.0f32 - BETA2);
    first[place] = m;
    second[place] = v;
    parameters[place] = parameters[place] * decay - m / (v.sqrt() * inverse_bias + 1e-8f32) * rate;
}

/// Fields of a row of the table of blocks: first element of the member's row, elements, first element within its
/// piece, columns, a, b, segment.
pub const BLOCK_FIELDS: u32 = 7;

/// Clip, AdamW and decay of all parameters whose gradient is an outer product, which is never stored. Cubes
/// `(blocks, members)`.
#[cube(launch)]
pub fn update_outer(
    parameters: &mut Array<f32>,
    first: &mut Array<f32>,
    second: &mut Array<f32>,
    work: &Array<f32>,
    blocks: &Array<u32>,
    facts: &Array<f32>,
    constants: &Array<f32>,
    at: Books,
    size: u32,
    width: u32,
    clip: u32,
) {
    let member = CUBE_POS_Y;
    let base = member * width;
    let row = (CUBE_POS_X * BLOCK_FIELDS) as usize;
    let (start, count, within) = (blocks[row], blocks[row + 1], blocks[row + 2]);
    let (columns, left, right) = (blocks[row + 3], blocks[row + 4], blocks[row + 5]);
    let segment = blocks[row + 6];
    let fact = ((at.step * at.members + member) * at.fact_width + at.rates) as usize;
    let (rate, inverse_bias) = (facts[fact], facts[fact + 1]);
    let decay = constants[(member * CONSTANTS + 4) as usize];
    let clip = work[(base + clip) as usize];
    let mut i = UNIT_POS;
    while i < count {
        let element = within + i;
        let r = element / columns;
        let b = right + r / segment * columns + element % columns;
        let gradient = work[(base + left + r) as usize] * work[(base + b) as usize] * clip;
        let place = (member * size + start + i) as usize;
        adamw(parameters, first, second, place, gradient, rate, inverse_bias, decay);
        i += UNITS;
    }
}

/// The same for a matrix with a stored gradient. Cubes `(blocks, members)`.
#[cube(launch)]
pub fn update_dense(
    parameters: &mut Array<f32>,
    first: &mut Array<f32>,
    second: &mut Array<f32>,
    work: &Array<f32>,
    dense: &Array<f32>,
    facts: &Array<f32>,
    constants: &Array<f32>,
    at: Books,
    own: Dense,
    clip: u32,
    #[comptime] outer: bool,
) {
    let member = CUBE_POS_Y;
    let fact = ((at.step * at.members + member) * at.fact_width + at.rates) as usize;
    let (rate, inverse_bias) = (facts[fact], facts[fact + 1]);
    let decay = constants[(member * CONSTANTS + 4) as usize];
    let clip = work[(member * own.width + clip) as usize];
    let mut i = 0u32;
    while i < BLOCK {
        let element = CUBE_POS_X * BLOCK + i + UNIT_POS;
        if element < own.size {
            let gradient = dense_gradient(work, dense, own, member, element, outer) * clip;
            let place = (member * own.size + element) as usize;
            adamw(parameters, first, second, place, gradient, rate, inverse_bias, decay);
        }
        i += UNITS;
    }
}

/// `1 / max(norm, 1e-12)` of a vector with these squares.
#[cube]
pub fn inverse_norm(squares: f32) -> f32 {
    1.0f32 / max(squares.sqrt(), FLOOR.runtime())
}
