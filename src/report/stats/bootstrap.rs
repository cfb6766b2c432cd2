//! Percentile bootstrap over evaluation queries, with one set of resamples shared by every column.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Resamples of `queries` evaluation queries. Every column (a point's scores, its differences to the
/// baseline, ...) sees the same resamples, so that drawing is paid once and differences are paired.
pub struct Bootstrap {
    queries: usize,
    resamples: usize,
    seed: u64,
    /// `[resamples, queries]`: how often each query was drawn.
    counts: Vec<u16>,
}

/// Columns that are accumulated together: their running sums stay in the first-level cache.
const BLOCK: usize = 256;

impl Bootstrap {
    /// Draws `resamples` times `queries` of `queries` queries.
    pub fn new(queries: usize, resamples: usize, seed: u64) -> Self {
        let mut counts = vec![0_u16; queries * resamples];
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        for row in counts.chunks_exact_mut(queries.max(1)) {
            for _ in 0..queries {
                let drawn = draw(&mut generator, queries);
                row[drawn] = row[drawn].saturating_add(1);
            }
        }
        Self { queries, resamples, seed, counts }
    }

    /// The mean of every column in every resample: `columns` is `[column][query]`, the result
    /// `[column][resample]`.
    ///
    /// Sums run over the queries in order for each column separately, so a column's result depends neither
    /// on its neighbours nor on how many lanes the CPU has.
    pub fn means(&self, columns: &[&[f64]]) -> Vec<Vec<f64>> {
        let mut results: Vec<Vec<f64>> = Vec::with_capacity(columns.len());
        for block in columns.chunks(BLOCK) {
            results.extend(self.block_means(block));
        }
        results
    }

    fn block_means(&self, block: &[&[f64]]) -> Vec<Vec<f64>> {
        let width = block.len();
        let transposed: Vec<f64> =
            (0..self.queries).flat_map(|query| block.iter().map(move |column| column[query])).collect();
        let mut sums = vec![0.0_f64; self.resamples * width];
        sums.par_chunks_mut(width.max(1)).zip(self.counts.par_chunks(self.queries.max(1))).for_each(
            |(sums, counts)| {
                weighted_sums(sums, counts, &transposed);
            },
        );
        let scale = self.queries as f64;
        (0..width)
            .map(|column| sums.iter().skip(column).step_by(width).map(|sum| sum / scale).collect())
            .collect()
    }

    /// The percentile interval of every column's mean; equal columns (points that choose alike) are computed
    /// once.
    pub fn intervals(&self, columns: &[Vec<f64>]) -> Vec<Interval> {
        let mut first_of: HashMap<Vec<u64>, usize> = HashMap::new();
        let mut distinct: Vec<&[f64]> = Vec::new();
        let places: Vec<usize> = columns
            .iter()
            .map(|column| {
                let bits = column.iter().map(|value| value.to_bits()).collect();
                *first_of.entry(bits).or_insert_with(|| {
                    distinct.push(column);
                    distinct.len() - 1
                })
            })
            .collect();
        let mut found = Vec::with_capacity(distinct.len());
        for block in distinct.chunks(BLOCK) {
            found.par_extend(self.block_means(block).into_par_iter().map(interval_of));
        }
        places.into_iter().map(|place| found[place]).collect()
    }

    /// The interval of the mean over seeds and queries, `values` being `[seed][query]`: seeds are resampled,
    /// then queries, both with replacement (Owen's pigeonhole bootstrap, since every seed answers the same
    /// queries).
    ///
    /// Resampling `K` seeds shows only `(K-1)/K` of their variance, and a few seeds say little about it:
    /// seed effects are stretched by `sqrt(K/(K-1))` first, and the interval around the mean is then stretched
    /// by `stretch`, the ratio of Student's quantile to the normal one (see [`super::crossed_test`]).
    pub fn hierarchical(&self, values: &[Vec<f64>], stretch: f64) -> Option<Interval> {
        let seeds = values.len();
        let columns: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let by_seed = self.means(&columns);
        let plain: Vec<f64> = columns.iter().filter_map(|column| super::mean(column)).collect();
        let center = super::mean(&plain)?;
        let inflate = if seeds > 1 { (seeds as f64 / (seeds - 1) as f64).sqrt() } else { 1.0 };
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        generator.set_stream(1);
        let means: Vec<f64> = (0..self.resamples)
            .map(|resample| {
                let over_all = by_seed.iter().map(|means| means[resample]).sum::<f64>() / seeds as f64;
                let drawn = (0..seeds).map(|_| by_seed[draw(&mut generator, seeds)][resample]).sum::<f64>()
                    / seeds as f64;
                over_all + inflate * (drawn - over_all)
            })
            .collect();
        let Interval { low, high } = interval_of(means);
        Some(Interval {
            low: super::ten_digits(center + stretch * (low - center)),
            high: super::ten_digits(center + stretch * (high - center)),
        })
    }
}

/// `sums[column] += counts[query] * values[query][column]`, queries in order. Multiplication and addition
/// stay separate (no fused operation), which is what makes the sums the same on every CPU.
#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
fn weighted_sums(sums: &mut [f64], counts: &[u16], values: &[f64]) {
    let width = sums.len();
    for (&count, row) in counts.iter().zip(values.chunks_exact(width)) {
        if count == 0 {
            continue;
        }
        let weight = f64::from(count);
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += weight * value;
        }
    }
}

/// A number in `0..bound` (multiply and shift; the bias is below `bound / 2^32`).
fn draw(generator: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u64::from(generator.next_u32()) * bound as u64) >> 32) as usize
}

/// The 2.5 % and 97.5 % quantiles of `values`, interpolated linearly (numpy's default).
pub fn interval_of(mut values: Vec<f64>) -> Interval {
    if values.is_empty() {
        return Interval { low: f64::NAN, high: f64::NAN };
    }
    Interval { low: quantile(&mut values, 0.025), high: quantile(&mut values, 0.975) }
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    let position = share * (values.len() - 1) as f64;
    let below = position.floor() as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    low + (position - below as f64) * (high - low)
}
