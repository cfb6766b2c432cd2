//! From the projected query and candidates to the loss and back, in one kernel: norms, cosines, log-softmax of all
//! trajectories, loss, its gradient with respect to the scores, and back through both normalisations.

#![expect(clippy::too_many_lines, reason = "a kernel is one function")]

use cubecl::prelude::*;

use super::kernels::{
    LANES, LOWEST, Place, ROWS, UNITS, inverse_norm, lane_of, max_groups, squares, sum_groups, sum_units,
};
use super::update::{Books, CONSTANTS};

/// Score of a candidate already chosen.
const CHOSEN: f32 = -100.0;
/// Squared norms at or below the square of the normalisation's floor have no gradient through the norm.
const FAINT: f32 = 1e-24;

/// Where the head finds its inputs.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub struct HeadAt {
    /// In `work`: projected query `[h]` and its gradient.
    pub query: u32,
    pub query_gradient: u32,
    /// In the index: sizes of the pools, labels `[C, lanes, T * S]`.
    pub counts: u32,
    pub labels: u32,
    pub inverse_temperature: f32,
}

/// Loss, figures and gradients of a step. `facts` has per step and member weights, advantages and reference
/// log-probabilities `[T]` each; `sizes` are K, T and S. `by_lane`: the candidates' projections are those of the lane,
/// and need no gradient; else they are the member's, and get it. Cubes `(1, members)`.
#[cube(launch)]
pub fn head(
    keys: &Array<f32>,
    index: &Array<u32>,
    facts: &Array<f32>,
    constants: &Array<f32>,
    work: &mut Array<f32>,
    keys_gradient: &mut Array<f32>,
    beta: &mut Array<f32>,
    log: &mut Array<f32>,
    at: Place,
    books: Books,
    own: HeadAt,
    #[comptime] sizes: (usize, usize, usize),
    #[comptime] by_lane: bool,
    #[comptime] grpo: bool,
) {
    let (pool, trajectories, length) = sizes;
    let member = CUBE_POS_Y;
    let lane = lane_of(index, at, member);
    let count = index[(own.counts + lane) as usize];
    let base = member * at.width;
    let labels = own.labels + lane * comptime!((trajectories * length) as u32);
    let mut first = member * at.pool * at.hidden;
    if comptime!(by_lane) {
        first = lane * at.pool * at.hidden;
    }
    let mut cosines = SharedMemory::<f32>::new(pool);
    let mut inverse = SharedMemory::<f32>::new(pool);
    let mut slopes = SharedMemory::<f32>::new(pool);
    let mut sums = SharedMemory::<f32>::new(256usize);
    let mut logs = SharedMemory::<f32>::new(comptime!(trajectories * length));
    let mut parts = SharedMemory::<f32>::new(comptime!(4 * trajectories));
    let query = base + own.query;
    let query_square =
        compare(keys, work, first, query, at, &mut cosines, &mut inverse, &mut slopes, &mut sums);
    let query_inverse = inverse_norm(query_square);
    normalise(index, labels, count, own, &cosines, &mut logs, &mut sums, trajectories, length);
    let kl_beta = beta[member as usize];
    judge(
        index,
        facts,
        constants,
        labels,
        kl_beta,
        books,
        own,
        &cosines,
        &logs,
        &mut parts,
        trajectories,
        length,
        grpo,
    );
    if UNIT_POS == 0 {
        report(constants, beta, log, books, &parts, comptime!(trajectories as u32), grpo);
    }
    let mut radial = descend(
        index,
        labels,
        count,
        at,
        own,
        &mut cosines,
        &inverse,
        &mut slopes,
        &logs,
        &parts,
        &mut sums,
        trajectories,
        length,
    );
    if query_square <= FAINT {
        radial = 0.0f32;
    }
    let mut column = UNIT_POS;
    while column < at.hidden {
        let unit = work[(query + column) as usize] * query_inverse;
        let mut sum = 0.0f32;
        let mut k = 0u32;
        while k < at.pool {
            let place = (first + k * at.hidden + column) as usize;
            let key = keys[place];
            sum += slopes[k as usize] * key;
            if comptime!(!by_lane) {
                keys_gradient[place] = slopes[k as usize] * (unit - cosines[k as usize] * key);
            }
            k += 1;
        }
        work[(base + own.query_gradient + column) as usize] = (sum - radial * unit) * query_inverse;
        column += UNITS;
    }
}

/// Scores `[members, K]` of the members' candidates: cosines over the temperature. Cubes `(1, members)`.
#[cube(launch)]
pub fn scores(
    keys: &Array<f32>,
    work: &Array<f32>,
    out: &mut Array<f32>,
    at: Place,
    query: u32,
    inverse_temperature: f32,
    #[comptime] pool: usize,
) {
    let member = CUBE_POS_Y;
    let first = member * at.pool * at.hidden;
    let query = member * at.width + query;
    let mut cosines = SharedMemory::<f32>::new(pool);
    let mut inverse = SharedMemory::<f32>::new(pool);
    let mut norms = SharedMemory::<f32>::new(pool);
    let mut sums = SharedMemory::<f32>::new(256usize);
    compare(keys, work, first, query, at, &mut cosines, &mut inverse, &mut norms, &mut sums);
    let mut k = UNIT_POS;
    while k < at.pool {
        out[(member * at.pool + k) as usize] = cosines[k as usize] * inverse_temperature;
        k += UNITS;
    }
}

/// Cosines of the candidates with the query, the candidates' inverse norms and the squares of those norms. Returns the
/// square of the query's.
#[cube]
fn compare(
    keys: &Array<f32>,
    work: &Array<f32>,
    first: u32,
    query: u32,
    at: Place,
    cosines: &mut SharedMemory<f32>,
    inverse: &mut SharedMemory<f32>,
    norms: &mut SharedMemory<f32>,
    sums: &mut SharedMemory<f32>,
) -> f32 {
    let query_square = squares(work, query, at.hidden, sums);
    let query_inverse = inverse_norm(query_square);
    measure(keys, work, first, query, at, cosines, inverse, norms, sums);
    let mut k = UNIT_POS;
    while k < at.pool {
        cosines[k as usize] = cosines[k as usize] * query_inverse * inverse[k as usize];
        k += UNITS;
    }
    sync_cube();
    query_square
}

/// Products of the candidates with the query, their inverse norms and the squares of those norms.
#[cube]
fn measure(
    keys: &Array<f32>,
    work: &Array<f32>,
    first: u32,
    query: u32,
    at: Place,
    products: &mut SharedMemory<f32>,
    inverse: &mut SharedMemory<f32>,
    squares: &mut SharedMemory<f32>,
    sums: &mut SharedMemory<f32>,
) {
    let mut others = SharedMemory::<f32>::new(256usize);
    let unit_lane = UNIT_POS % LANES;
    let mut block = 0u32;
    while block < at.pool {
        let k = block + UNIT_POS / LANES;
        let mut dot = 0.0f32;
        let mut square = 0.0f32;
        if k < at.pool {
            let row = first + k * at.hidden;
            let mut column = unit_lane;
            while column < at.hidden {
                let value = keys[(row + column) as usize];
                dot += value * work[(query + column) as usize];
                square += value * value;
                column += LANES;
            }
        }
        sync_cube();
        sums[UNIT_POS as usize] = dot;
        others[UNIT_POS as usize] = square;
        sum_groups(sums, 32u32);
        sum_groups(&mut others, 32u32);
        if unit_lane == 0 && k < at.pool {
            let square = others[UNIT_POS as usize];
            squares[k as usize] = square;
            inverse[k as usize] = inverse_norm(square);
            products[k as usize] = sums[UNIT_POS as usize];
        }
        block += ROWS;
    }
    sync_cube();
}

/// Log of the sum of exponentials for every label.
#[cube]
fn normalise(
    index: &Array<u32>,
    labels: u32,
    count: u32,
    own: HeadAt,
    cosines: &SharedMemory<f32>,
    logs: &mut SharedMemory<f32>,
    sums: &mut SharedMemory<f32>,
    #[comptime] trajectories: usize,
    #[comptime] length: usize,
) {
    let unit_lane = UNIT_POS % LANES;
    let mut block = 0u32;
    while block < comptime!((trajectories * length) as u32) {
        let row = block + UNIT_POS / LANES;
        let inside = row < comptime!((trajectories * length) as u32);
        let mut peak = LOWEST.runtime();
        if inside {
            let mut k = unit_lane;
            while k < count {
                peak = max(peak, logit(index, cosines, labels, row, k, own.inverse_temperature, length));
                k += LANES;
            }
        }
        sync_cube();
        sums[UNIT_POS as usize] = peak;
        max_groups(sums, 32u32);
        let peak = sums[(UNIT_POS / LANES * LANES) as usize];
        let mut sum = 0.0f32;
        if inside {
            let mut k = unit_lane;
            while k < count {
                sum += (logit(index, cosines, labels, row, k, own.inverse_temperature, length) - peak).exp();
                k += LANES;
            }
        }
        sync_cube();
        sums[UNIT_POS as usize] = sum;
        sum_groups(sums, 32u32);
        if unit_lane == 0 && inside {
            logs[row as usize] = peak + sums[UNIT_POS as usize].ln();
        }
        block += ROWS;
    }
    sync_cube();
}

/// Every trajectory's d loss / d log-probability, and its part of loss, KL and mean ratio: `[4, T]`.
#[cube]
fn judge(
    index: &Array<u32>,
    facts: &Array<f32>,
    constants: &Array<f32>,
    labels: u32,
    kl_beta: f32,
    books: Books,
    own: HeadAt,
    cosines: &SharedMemory<f32>,
    logs: &SharedMemory<f32>,
    parts: &mut SharedMemory<f32>,
    #[comptime] trajectories: usize,
    #[comptime] length: usize,
    #[comptime] grpo: bool,
) {
    let member = CUBE_POS_Y;
    let fact = (books.step * books.members + member) * books.fact_width;
    let mut t = UNIT_POS;
    while t < comptime!(trajectories as u32) {
        let weight = facts[(fact + t) as usize];
        let mut slope = 0.0f32;
        let mut loss = 0.0f32;
        let mut kl = 0.0f32;
        let mut mean_ratio = 0.0f32;
        if weight != 0.0 {
            let mut log_prob = 0.0f32;
            let mut s = 0u32;
            while s < comptime!(length as u32) {
                let row = t * comptime!(length as u32) + s;
                let label = index[(labels + row) as usize];
                log_prob += logit(index, cosines, labels, row, label, own.inverse_temperature, length)
                    - logs[row as usize];
                s += 1;
            }
            if comptime!(grpo) {
                let advantage = facts[(fact + comptime!(trajectories as u32) + t) as usize];
                let reference = facts[(fact + comptime!(2 * trajectories as u32) + t) as usize];
                let log_ratio = log_prob - reference;
                let ratio = log_ratio.exp();
                let low = constants[(member * CONSTANTS) as usize];
                let high = constants[(member * CONSTANTS + 1) as usize];
                let free = ratio * advantage;
                let clipped = min(max(ratio, low), high) * advantage;
                // Where the clipped branch is the smaller one the ratio is outside the range: no gradient.
                let mut surrogate = free;
                let mut pull = 0.0f32 - free;
                if free > clipped {
                    surrogate = clipped;
                    pull = 0.0f32;
                }
                loss = 0.0f32 - surrogate * weight;
                kl = (ratio - 1.0f32 - log_ratio) * weight;
                mean_ratio = ratio * weight;
                slope = (pull + kl_beta * (ratio - 1.0f32)) * weight;
            } else {
                loss = 0.0f32 - log_prob * weight;
                slope = 0.0f32 - weight;
            }
        }
        parts[t as usize] = slope;
        parts[(comptime!(trajectories as u32) + t) as usize] = loss;
        parts[(comptime!(2 * trajectories as u32) + t) as usize] = kl;
        parts[(comptime!(3 * trajectories as u32) + t) as usize] = mean_ratio;
        t += UNITS;
    }
    sync_cube();
}

/// The step's figures, and KL_BETA for the next: `*= 1.5` above its range, `/= 1.5` below it, kept in [0.001, 10].
#[cube]
fn report(
    constants: &Array<f32>,
    beta: &mut Array<f32>,
    log: &mut Array<f32>,
    books: Books,
    parts: &SharedMemory<f32>,
    #[comptime] trajectories: u32,
    #[comptime] grpo: bool,
) {
    let member = CUBE_POS_Y;
    let place = ((member * books.steps + books.epoch_step) * books.figures) as usize;
    log[place] = total(parts, 1u32, trajectories);
    if comptime!(grpo) {
        let kl = total(parts, 2u32, trajectories);
        log[place + 1] = kl;
        log[place + 2] = total(parts, 3u32, trajectories);
        let own = beta[member as usize];
        if kl > constants[(member * CONSTANTS + 3) as usize] {
            beta[member as usize] = min(max(own * 1.5f32, 0.001f32), 10.0f32);
        } else if kl < constants[(member * CONSTANTS + 2) as usize] {
            beta[member as usize] = min(max(own / 1.5f32, 0.001f32), 10.0f32);
        }
    }
}

/// From the trajectories' slopes to those of the candidates: `slopes` become d loss / d cosine over the norm (before,
/// they are the norms' squares), `cosines` what of that a candidate's own norm takes back. Returns the sum of the
/// slopes times the cosines: what the query's norm takes back.
#[cube]
fn descend(
    index: &Array<u32>,
    labels: u32,
    count: u32,
    at: Place,
    own: HeadAt,
    cosines: &mut SharedMemory<f32>,
    inverse: &SharedMemory<f32>,
    slopes: &mut SharedMemory<f32>,
    logs: &SharedMemory<f32>,
    parts: &SharedMemory<f32>,
    sums: &mut SharedMemory<f32>,
    #[comptime] trajectories: usize,
    #[comptime] length: usize,
) -> f32 {
    let mut radial = 0.0f32;
    let mut k = UNIT_POS;
    while k < at.pool {
        let mut slope = 0.0f32;
        let mut row = 0u32;
        if k < count {
            while row < comptime!((trajectories * length) as u32) {
                let weight = parts[(row / comptime!(length as u32)) as usize];
                if weight != 0.0 && !is_chosen(index, labels, row, k, length) {
                    let score = cosines[k as usize] * own.inverse_temperature;
                    slope -= weight * (score - logs[row as usize]).exp();
                    if index[(labels + row) as usize] == k {
                        slope += weight;
                    }
                }
                row += 1;
            }
        }
        slope *= own.inverse_temperature;
        radial += slope * cosines[k as usize];
        let square = slopes[k as usize];
        slopes[k as usize] = slope * inverse[k as usize];
        // Nothing at the floor, where the divisor is a constant.
        if square > FAINT {
            cosines[k as usize] = cosines[k as usize] * inverse[k as usize];
        } else {
            cosines[k as usize] = 0.0f32;
        }
        k += UNITS;
    }
    sum_units(radial, sums)
}

/// Whether candidate `k` was chosen before label `row` of its trajectory.
#[cube]
fn is_chosen(index: &Array<u32>, labels: u32, row: u32, k: u32, #[comptime] length: usize) -> bool {
    let mut chosen = false;
    let start = row / comptime!(length as u32) * comptime!(length as u32);
    let mut earlier = start;
    while earlier < row {
        if index[(labels + earlier) as usize] == k {
            chosen = true;
        }
        earlier += 1;
    }
    chosen
}

/// The score of `k` that label `row` is chosen by.
#[cube]
fn logit(
    index: &Array<u32>,
    cosines: &SharedMemory<f32>,
    labels: u32,
    row: u32,
    k: u32,
    inverse_temperature: f32,
    #[comptime] length: usize,
) -> f32 {
    let mut score = cosines[k as usize] * inverse_temperature;
    if is_chosen(index, labels, row, k, length) {
        score = CHOSEN.runtime();
    }
    score
}

/// Sum of one kind of the trajectories' figures.
#[cube]
fn total(parts: &SharedMemory<f32>, kind: u32, #[comptime] trajectories: u32) -> f32 {
    let mut sum = 0.0f32;
    let mut t = 0u32;
    while t < trajectories {
        sum += parts[(kind * trajectories + t) as usize];
        t += 1;
    }
    sum
}
