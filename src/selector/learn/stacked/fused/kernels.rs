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

/// Stands for minus infinity, which WGSL does not have.
pub const LOWEST: f32 = -3.0e38;
/// A member's norms of vectors at and below this are treated as `F.normalize` does: as the divisor 1e-12.
const FLOOR: f32 = 1e-12;

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

/// Sums `values`, or finds the largest, over groups of `group` neighbouring units (a power of 2); every group's first
/// has the result.
#[cube]
fn fold_groups(values: &mut SharedMemory<f32>, #[comptime] group: u32, #[comptime] largest: bool) {
    let unit = UNIT_POS as usize;
    let place = UNIT_POS % group;
    let mut half = comptime!(group / 2).runtime();
    sync_cube();
    while half > 0 {
        if place < half {
            let other = values[unit + half as usize];
            if comptime!(largest) {
                values[unit] = max(values[unit], other);
            } else {
                values[unit] = values[unit] + other;
            }
        }
        sync_cube();
        half /= 2;
    }
}

/// Sums over groups of `group` neighbouring units; every group's first has the result.
#[cube]
pub fn sum_groups(values: &mut SharedMemory<f32>, #[comptime] group: u32) {
    fold_groups(values, group, false);
}

/// The largest of every group of `group` neighbouring units, for the first of it.
#[cube]
pub fn max_groups(values: &mut SharedMemory<f32>, #[comptime] group: u32) {
    fold_groups(values, group, true);
}

#[cube]
fn fold_units(value: f32, values: &mut SharedMemory<f32>, #[comptime] largest: bool) -> f32 {
    sync_cube();
    values[UNIT_POS as usize] = value;
    fold_groups(values, 256u32, largest);
    values[0]
}

/// The sum of `value` over all units, for each of them.
#[cube]
pub fn sum_units(value: f32, values: &mut SharedMemory<f32>) -> f32 {
    fold_units(value, values, false)
}

/// The largest `value` of all units, for each of them.
#[cube]
pub fn max_units(value: f32, values: &mut SharedMemory<f32>) -> f32 {
    fold_units(value, values, true)
}

/// The square of the norm of `len` numbers of `work` from `first` on, for each unit.
#[cube]
pub fn squares(work: &Array<f32>, first: u32, len: u32, sums: &mut SharedMemory<f32>) -> f32 {
    let mut sum = 0.0f32;
    let mut i = UNIT_POS;
    while i < len {
        let value = work[(first + i) as usize];
        sum += value * value;
        i += UNITS;
    }
    sum_units(sum, sums)
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

/// `1 / max(norm, 1e-12)` of a vector with these squares.
#[cube]
pub fn inverse_norm(squares: f32) -> f32 {
    1.0f32 / max(squares.sqrt(), FLOOR.runtime())
}
