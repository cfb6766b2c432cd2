//! Norm, clip, AdamW and decay.

use cubecl::prelude::*;

use super::kernels::{UNITS, squares, sum_units};

/// Elements that one cube of the update has.
pub const BLOCK: u32 = 1024;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;

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
        // Where dropout has zeroed a whole vector the other factor was divided by 1e-12, and its squares may be infinite:
        // the product is nothing all the same.
        let mut product = left * right;
        if left == 0.0f32 || right == 0.0f32 {
            product = 0.0f32;
        }
        partial[(member * partials + CUBE_POS_X) as usize] = product;
    }
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

/// Floats per member in `constants`: clip range, KL bounds, largest norm.
pub const CONSTANTS: u32 = 5;

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
        let factor = constants[(member * CONSTANTS + 4) as usize] / (norm + 1e-6f32);
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
    let (rate, inverse_bias, decay) = (facts[fact], facts[fact + 1], facts[fact + 2]);
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
    at: Books,
    own: Dense,
    clip: u32,
    #[comptime] outer: bool,
) {
    let member = CUBE_POS_Y;
    let fact = ((at.step * at.members + member) * at.fact_width + at.rates) as usize;
    let (rate, inverse_bias, decay) = (facts[fact], facts[fact + 1], facts[fact + 2]);
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
