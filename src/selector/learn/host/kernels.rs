//! Element-wise and vector kernels on f32 slices, compiled for the vector unit at hand.
//!
//! Reductions run in a fixed number of lanes and multiply-adds are always fused, so that the same inputs
//! give the same bits on every x86-64 and aarch64 machine. (Rust never fuses on its own.)

use multiversion::multiversion;

use crate::selector::Optimizer;

/// Independent lanes of a reduction: enough to hide the latency of a fused multiply-add.
const LANES: usize = 64;

/// `sum_i a_i * b_i`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_lanes(a, b)
}

#[inline(always)]
fn dot_lanes(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_blocks.remainder(), b_blocks.remainder());
    for (x, y) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] = x[lane].mul_add(y[lane], lanes[lane]);
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane = x.mul_add(*y, *lane);
    }
    fold_lanes(&mut lanes)
}

#[inline(always)]
fn fold_lanes(lanes: &mut [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `y_o = sum_i w_oi * x_i` for a row-major `w` `[y.len(), x.len()]`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn matvec(w: &[f32], x: &[f32], y: &mut [f32]) {
    let mut rows = w.chunks_exact(ROWS * x.len());
    let mut outs = y.chunks_exact_mut(ROWS);
    for (rows, out) in (&mut rows).zip(&mut outs) {
        dot_rows(rows, x, out);
    }
    for (row, out) in rows.remainder().chunks_exact(x.len()).zip(outs.into_remainder()) {
        *out = dot_lanes(row, x);
    }
}

/// Rows that [`matvec`] takes at a time: x is loaded once for all of them, and they hide each other's latency.
const ROWS: usize = 4;

/// Products of [`ROWS`] rows with `x`. Written out row by row: in a loop over the rows the sums are kept in memory.
#[inline(always)]
fn dot_rows(rows: &[f32], x: &[f32], out: &mut [f32]) {
    let (a, rest) = rows.split_at(x.len());
    let (b, rest) = rest.split_at(x.len());
    let (c, d) = rest.split_at(x.len());
    let (a, b) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let (c, d) = (c.as_chunks::<LANES>(), d.as_chunks::<LANES>());
    let (x, x_rest) = x.as_chunks::<LANES>();
    let mut sums = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
    for ((((x, a), b), c), d) in x.iter().zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
        add_product(&mut sums.0, a, x);
        add_product(&mut sums.1, b, x);
        add_product(&mut sums.2, c, x);
        add_product(&mut sums.3, d, x);
    }
    add_product(&mut sums.0, a.1, x_rest);
    add_product(&mut sums.1, b.1, x_rest);
    add_product(&mut sums.2, c.1, x_rest);
    add_product(&mut sums.3, d.1, x_rest);
    let mut width = LANES / 2;
    while width >= 4 {
        for lane in 0..width {
            sums.0[lane] += sums.0[lane + width];
            sums.1[lane] += sums.1[lane + width];
            sums.2[lane] += sums.2[lane + width];
            sums.3[lane] += sums.3[lane + width];
        }
        width /= 2;
    }
    for (out, sum) in out.iter_mut().zip([&sums.0, &sums.1, &sums.2, &sums.3]) {
        *out = (sum[0] + sum[2]) + (sum[1] + sum[3]);
    }
}

#[inline(always)]
fn add_product(sums: &mut [f32; LANES], a: &[f32], b: &[f32]) {
    for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
        *sum = a.mul_add(*b, *sum);
    }
}

/// `y_i += sum_o x_o * w_oi` for a row-major `w` `[x.len(), y.len()]`: the transposed product.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn add_matvec_transposed(w: &[f32], x: &[f32], y: &mut [f32]) {
    let width = y.len();
    let mut rows = w.chunks_exact(4 * width);
    let mut factors = x.chunks_exact(4);
    // Four rows a pass: y is loaded and stored a quarter as often.
    for (block, f) in (&mut rows).zip(&mut factors) {
        let (r0, rest) = block.split_at(width);
        let (r1, rest) = rest.split_at(width);
        let (r2, r3) = rest.split_at(width);
        for i in 0..width {
            let sum = f[0].mul_add(r0[i], y[i]);
            let sum = f[1].mul_add(r1[i], sum);
            let sum = f[2].mul_add(r2[i], sum);
            y[i] = f[3].mul_add(r3[i], sum);
        }
    }
    for (row, factor) in rows.remainder().chunks_exact(width).zip(factors.remainder()) {
        for (out, value) in y.iter_mut().zip(row) {
            *out = factor.mul_add(*value, *out);
        }
    }
}

/// `y_i += factor * x_i`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn axpy(factor: f32, x: &[f32], y: &mut [f32]) {
    for (out, value) in y.iter_mut().zip(x) {
        *out = factor.mul_add(*value, *out);
    }
}

/// `out_i = a_i * b_i`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn multiply(a: &[f32], b: &[f32], out: &mut [f32]) {
    for (out, (x, y)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = x * y;
    }
}

/// Divides every row of `[rows, width]` by `max(norm, 1e-12)` and keeps the divisors `[rows]`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn normalize_rows(matrix: &mut [f32], width: usize, norms: &mut [f32]) {
    for (row, norm) in matrix.chunks_exact_mut(width).zip(norms.iter_mut()) {
        *norm = dot_lanes(row, row).sqrt().max(1e-12);
        let inverse = 1.0 / *norm;
        for value in row.iter_mut() {
            *value *= inverse;
        }
    }
}

/// Gradient of [`normalize_rows`], transposed: `out_ik = slope_k * q_i + along_k * (u_ik * inverse_k)` for the columns
/// `u` `[h, K]` before they were divided, `q` `[h]`, `slope`, `along` (`-slope * cos`) and `inverse` (of the norms) `[K]`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn normalized_gradient(
    (u, inverse): (&[f32], &[f32]),
    (q, slope, along): (&[f32], &[f32], &[f32]),
    out: &mut [f32],
) {
    let count = slope.len();
    for ((row, out), &q) in u.chunks_exact(count).zip(out.chunks_exact_mut(count)).zip(q) {
        let factors = inverse.iter().zip(slope.iter().zip(along));
        for ((out, u), (inverse, (slope, along))) in out.iter_mut().zip(row).zip(factors) {
            *out = along.mul_add(u * inverse, slope * q);
        }
    }
}

/// `y_ik += u_i * a_k + t_i * b_k` for `y` `[h, K]`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn add_two_outer((u, a): (&[f32], &[f32]), (t, b): (&[f32], &[f32]), y: &mut [f32]) {
    for ((row, &u), &t) in y.chunks_exact_mut(a.len()).zip(u).zip(t) {
        for ((out, a), b) in row.iter_mut().zip(a).zip(b) {
            *out = b.mul_add(t, a.mul_add(u, *out));
        }
    }
}

/// Adds the outer product to a dense gradient and returns the sum of squares of the result:
/// `g_oi += a_o * b_i`, `sum g_oi^2`. Row sums are accumulated in f64.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn add_outer_sum_squares(gradient: &mut [f32], a: &[f32], b: &[f32]) -> f64 {
    let mut total = 0.0f64;
    for (row, &a) in gradient.chunks_exact_mut(b.len()).zip(a) {
        for (value, b) in row.iter_mut().zip(b) {
            *value = a.mul_add(*b, *value);
        }
        total += f64::from(dot_lanes(row, row));
    }
    total
}

/// `sum x_i^2`, blocks accumulated in f64.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn sum_squares(x: &[f32]) -> f64 {
    let mut total = 0.0f64;
    for block in x.chunks(1024) {
        total += f64::from(dot_lanes(block, block));
    }
    if total.is_finite() { total } else { wide_sum_squares(x) }
}

/// [`sum_squares`] of numbers whose squares are too large for f32. The gradient of a direction whose vector dropout
/// has zeroed is divided by 1e-12, and what it is multiplied with afterwards is 0: infinity there would make it NaN.
fn wide_sum_squares(x: &[f32]) -> f64 {
    x.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

/// One AdamW step's constants (as in PyTorch): `p *= decay`, then
/// `p -= rate * m / (sqrt(v) * inv_sqrt_bias2 + eps)`.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// `1 - lr * weight_decay`
    pub decay: f32,
    /// `lr / (1 - beta1^t)`
    pub rate: f32,
    /// `1 / sqrt(1 - beta2^t)`
    pub inv_sqrt_bias2: f32,
    /// Factor of the gradient: `min(1, clip / (norm + 1e-6))`.
    pub clip: f32,
}

impl AdamW {
    const BETA1: f32 = 0.9;
    const BETA2: f32 = 0.999;
    const EPS: f32 = 1e-8;

    /// Constants of step `t` (1-based) of `optimizer` for a gradient of global norm `norm`.
    pub fn new(optimizer: &Optimizer, norm: f64, t: u64) -> Self {
        let power = |beta: f64| 1.0 - beta.powf(t as f64);
        Self {
            decay: optimizer.decay(t) as f32,
            rate: (optimizer.rate(t) / power(0.9)) as f32,
            inv_sqrt_bias2: (1.0 / power(0.999).sqrt()) as f32,
            clip: (optimizer.grad_clip / (norm + 1e-6)).min(1.0) as f32,
        }
    }

    #[inline(always)]
    fn update(&self, g: f32, p: &mut f32, m: &mut f32, v: &mut f32) {
        *m = (1.0 - Self::BETA1).mul_add(g - *m, *m);
        *v = ((1.0 - Self::BETA2) * g).mul_add(g, Self::BETA2 * *v);
        let denominator = v.sqrt().mul_add(self.inv_sqrt_bias2, Self::EPS);
        *p = (-self.rate).mul_add(*m / denominator, *p * self.decay);
    }
}

/// Updates parameters, first and second moments with a dense gradient.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn adamw_dense(adam: &AdamW, gradient: &[f32], p: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    for ((g, p), (m, v)) in gradient.iter().zip(p.iter_mut()).zip(m.iter_mut().zip(v.iter_mut())) {
        adam.update(g * adam.clip, p, m, v);
    }
}

/// The same for the gradient `a b^T`, which is never stored: rows `a`, columns `b`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn adamw_outer(adam: &AdamW, a: &[f32], b: &[f32], p: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    let rows = p.chunks_exact_mut(b.len()).zip(m.chunks_exact_mut(b.len()));
    for (((p, m), v), a) in rows.zip(v.chunks_exact_mut(b.len())).zip(a) {
        let factor = a * adam.clip;
        for ((b, p), (m, v)) in b.iter().zip(p.iter_mut()).zip(m.iter_mut().zip(v.iter_mut())) {
            adam.update(factor * b, p, m, v);
        }
    }
}

/// The same for a parameter whose gradient is zero: moments decay, weight decay acts.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn adamw_idle(adam: &AdamW, p: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    for (p, (m, v)) in p.iter_mut().zip(m.iter_mut().zip(v.iter_mut())) {
        adam.update(0.0, p, m, v);
    }
}

/// A row-major operand of [`matmul`], possibly read transposed.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    values: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Operand<'a> {
    /// `[rows, width]` as it is stored.
    pub fn plain(values: &'a [f32], width: usize) -> Self {
        Self { values, row_stride: width, column_stride: 1 }
    }

    /// `[width, rows]`: the transpose of what is stored.
    pub fn transposed(values: &'a [f32], width: usize) -> Self {
        Self { values, row_stride: 1, column_stride: width }
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        let last = (rows - 1) * self.row_stride + (columns - 1) * self.column_stride;
        last < self.values.len()
    }
}

/// `x w^T` for a few rows `x`, of which `columns` is the transpose `[d, rows]`, and a layer `w` `[h, d]`: the product
/// `[rows, h]` in `out`, its transpose in `transposed`.
///
/// The product is computed as `w x^T` and then transposed: packing `w` for only 64 rows would cost half as much as
/// multiplying, and `x^T` as it is stored need not be packed element by element.
pub fn project(
    (columns, rows): (Operand, usize),
    (w, d): (&[f32], usize),
    transposed: &mut Vec<f32>,
    out: &mut Vec<f32>,
    threads: usize,
) {
    let h = w.len() / d;
    transposed.resize(rows * h, 0.0);
    out.resize(rows * h, 0.0);
    matmul((h, rows, d), Operand::plain(w, d), columns, transposed, threads);
    transpose(transposed, rows, out);
}

/// `out = matrix^T` for `matrix` `[h, rows]`; nothing for no rows.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub fn transpose(matrix: &[f32], rows: usize, out: &mut [f32]) {
    const TILE: usize = 16;
    if rows == 0 {
        return;
    }
    let h = matrix.len() / rows;
    for (i, j) in (0..h).step_by(TILE).flat_map(|i| (0..rows).step_by(TILE).map(move |j| (i, j))) {
        let (height, width) = (TILE.min(h - i), TILE.min(rows - j));
        if (height, width) == (TILE, TILE) {
            let mut tile = [[0.0; TILE]; TILE];
            for (a, row) in matrix[i * rows + j..].chunks(rows).take(TILE).enumerate() {
                for (b, value) in row[..TILE].iter().enumerate() {
                    tile[b][a] = *value;
                }
            }
            for (row, tile) in out[j * h + i..].chunks_mut(h).zip(&tile) {
                row[..TILE].copy_from_slice(tile);
            }
        } else {
            for (a, b) in (0..height).flat_map(|a| (0..width).map(move |b| (a, b))) {
                out[(j + b) * h + i + a] = matrix[(i + a) * rows + j + b];
            }
        }
    }
}

/// Fewest multiply-adds per thread of a product: with the eight million of a step at the lab's size, two threads that
/// wake each other are slower than one.
const WORTH_A_THREAD: usize = 1 << 26;

/// `out = lhs rhs`, with `lhs` `[m, k]`, `rhs` `[k, n]`, `out` `[m, n]` row-major; on up to `threads` cores.
pub fn matmul((m, n, k): (usize, usize, usize), lhs: Operand, rhs: Operand, out: &mut [f32], threads: usize) {
    if m == 0 || n == 0 || k == 0 {
        out.fill(0.0);
        return;
    }
    assert!(lhs.covers(m, k) && rhs.covers(k, n) && out.len() >= m * n, "operand smaller than its shape");
    let threads = threads.min(m * n * k / WORTH_A_THREAD);
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    // SAFETY: the assertion above keeps every access within the three slices, `out` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            lhs.values.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole blocks of rows and lanes, and rests of both.
    #[test]
    fn matvec_is_the_product_written_out() {
        for (rows, width) in [(8, 128), (7, 100), (4, 64), (1, 3), (5, 65)] {
            let number = |i: usize| ((i * 37) % 19) as f32 - 9.0;
            let w: Vec<f32> = (0..rows * width).map(number).collect();
            let x: Vec<f32> = (0..width).map(|i| number(5 * i + 2)).collect();
            let mut y = vec![f32::NAN; rows];
            matvec(&w, &x, &mut y);
            for (row, got) in y.iter().enumerate() {
                let want: f32 = (0..width).map(|i| w[row * width + i] * x[i]).sum();
                assert_eq!(*got, want, "row {row} of {rows} x {width}");
            }
        }
    }

    /// Sizes that fill tiles and sizes that leave rests; against the sum written out.
    #[test]
    fn project_is_the_product_with_the_transpose() {
        for (rows, h, d) in [(64, 32, 48), (1, 16, 5), (17, 33, 7), (3, 1, 2), (0, 4, 4)] {
            let number = |i: usize| ((i * 37) % 19) as f32 - 9.0;
            let x: Vec<f32> = (0..rows * d).map(number).collect();
            let w: Vec<f32> = (0..h * d).map(|i| number(3 * i + 1)).collect();
            let (mut transposed, mut out) = (Vec::new(), Vec::new());
            project((Operand::transposed(&x, d), rows), (&w, d), &mut transposed, &mut out, 1);
            assert_eq!(out.len(), rows * h);
            for (place, got) in out.iter().enumerate() {
                let (row, column) = (place / h, place % h);
                // Small whole numbers: every order of summation gives the same bits.
                let want: f32 = (0..d).map(|k| x[row * d + k] * w[column * d + k]).sum();
                assert_eq!(*got, want, "{rows} x {h} x {d} at {row}, {column}");
                assert_eq!(transposed[column * rows + row], want, "transposed, {rows} x {h} x {d}");
            }
        }
    }
}
