//! Paired tests of "this row answers as well as the baseline", and Holm's correction over the rows.

use super::{mean, normal_quantile, student_t_quantile, student_t_two_sided, ten_digits, variance};

/// Scores per unit that the exact test resolves: halves to sixths of a query averaged over up to four shots
/// are whole numbers of it.
const LATTICES: [f64; 10] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 24.0, 60.0, 240.0];
/// Work (cells times queries) above which the exact test rounds differences more coarsely.
const WORK: f64 = 5e7;

/// Two-sided p-value of the paired sign-flip (permutation) test for the mean of `differences`, one per query.
///
/// Under the null hypothesis a query's two scores could as well be swapped, so that every sign pattern of the
/// differences is equally likely. The distribution of their sum is computed exactly, by dynamic programming
/// on a lattice, instead of drawing patterns: the far tail, where Holm's correction over many rows looks, has
/// all its digits. For 0/1 scores this is McNemar's exact test. Unlike the bootstrap's own p-value it keeps
/// its level when only a few queries differ. Differences that fit no lattice are rounded to 1/240 (which
/// leaves the test valid: rounding is symmetric around zero).
pub fn sign_flip(differences: &[f64]) -> f64 {
    let fits = |lattice: f64| {
        differences.iter().all(|value| (value * lattice - (value * lattice).round()).abs() < 1e-7)
    };
    let finest = LATTICES[LATTICES.len() - 1];
    let mut lattice = LATTICES.into_iter().find(|&lattice| fits(lattice)).unwrap_or(finest);
    let moved = differences.iter().filter(|value| **value != 0.0).count() as f64;
    let total: f64 = differences.iter().map(|value| value.abs()).sum();
    while lattice > 4.0 && moved * total * lattice > WORK {
        lattice = (lattice / 2.0).floor();
    }
    let steps: Vec<i64> = differences.iter().map(|value| (value * lattice).round() as i64).collect();
    let observed = steps.iter().sum::<i64>().unsigned_abs() as usize;
    let sizes: Vec<usize> =
        steps.iter().map(|step| step.unsigned_abs() as usize).filter(|&step| step > 0).collect();
    let reach: usize = sizes.iter().sum();
    if observed == 0 {
        return 1.0;
    }
    // With X the sum of the sizes that come out negative, the flipped sum is reach - 2X: as far from zero as
    // observed when X <= (reach - observed) / 2, or in the mirror image of that.
    (2.0 * subset_sum_tail(&sizes, (reach - observed) / 2)).min(1.0)
}

/// `P(X <= cap)` for the sum `X` of a random subset of `sizes`, each taken with probability 1/2.
fn subset_sum_tail(sizes: &[usize], cap: usize) -> f64 {
    let mut chance = vec![0.0_f64; cap + 1];
    chance[0] = 1.0;
    let mut reached = 0;
    for &size in sizes {
        reached = (reached + size).min(cap);
        for sum in (0..=reached).rev() {
            let with = if sum >= size { chance[sum - size] } else { 0.0 };
            chance[sum] = 0.5 * (chance[sum] + with);
        }
    }
    chance.iter().sum()
}

/// McNemar's exact test: two-sided binomial p-value for `better` against `worse` discordant queries.
pub fn mcnemar(better: usize, worse: usize) -> f64 {
    let mut differences = vec![1.0; better];
    differences.resize(better + worse, -1.0);
    sign_flip(&differences)
}

/// What a table needs to know of differences over several seeds.
#[derive(Clone, Copy, Debug)]
pub struct CrossedTest {
    pub p_value: f64,
    /// Student's 97.5 % quantile over the normal one, at the test's degrees of freedom.
    pub stretch: f64,
    /// Standard error that the seeds, and that the queries contribute.
    pub seed_error: f64,
    pub query_error: f64,
}

/// Tests the mean of `differences` (`[seed][query]`, every seed answering the same queries) against zero, for
/// the population of seeds *and* of queries.
///
/// Variance of the mean of a two-way crossed design: `s_seed^2/K + s_query^2/N - s_rest^2/(K N)`, compared with
/// Student's t at Satterthwaite's degrees of freedom. Where only a few queries differ that approximation is
/// too bold, so the exact test over queries (on the differences averaged over seeds) must agree: the larger
/// p-value counts.
pub fn crossed_test(differences: &[Vec<f64>]) -> Option<CrossedTest> {
    let seeds = differences.len();
    let queries = differences.first()?.len();
    let by_seed: Vec<f64> = differences.iter().filter_map(|column| mean(column)).collect();
    let by_query: Vec<f64> = (0..queries)
        .map(|query| differences.iter().map(|column| column[query]).sum::<f64>() / seeds as f64)
        .collect();
    let center = mean(&by_seed)?;
    let (k, n) = (seeds as f64, queries as f64);
    let rest: f64 = differences
        .iter()
        .zip(&by_seed)
        .flat_map(|(column, seed)| {
            column.iter().zip(&by_query).map(move |(value, query)| (value, seed, query))
        })
        .map(|(value, seed, query)| (value - seed - query + center).powi(2))
        .sum();
    let rest_df = ((k - 1.0) * (n - 1.0)).max(1.0);
    let (a, b, c) = (variance(&by_seed) / k, variance(&by_query) / n, rest / rest_df / (k * n));
    let total = (a + b - c).max(a).max(b);
    let terms = a * a / (k - 1.0).max(1.0) + b * b / (n - 1.0).max(1.0) + c * c / rest_df;
    let df = if terms > 0.0 { (total * total / terms).max(1.0) } else { rest_df };
    let exact = sign_flip(&by_query);
    let p_value = if total > 0.0 { exact.max(student_t_two_sided(center / total.sqrt(), df)) } else { exact };
    Some(CrossedTest {
        p_value: ten_digits(p_value),
        stretch: ten_digits((student_t_quantile(0.95, df) / normal_quantile(0.975)).max(1.0)),
        seed_error: (a - c).max(0.0).sqrt(),
        query_error: b.sqrt(),
    })
}

/// Holm's step-down correction: the smallest family-wise level at which each hypothesis is rejected, in the
/// order of `p_values`.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut running = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        running = running.max((p_values.len() - rank) as f64 * p_values[index]).min(1.0);
        corrected[index] = running;
    }
    corrected
}

/// About how many more units (queries, or seeds) would be needed to tell a mean difference `effect` from zero
/// with 80 % power at level 0.05 over `comparisons` rows, when `error` is the standard error with `units` of
/// them: `units * ((z_{1-alpha/2} + z_0.8) * error / effect)^2 - units`. `None` without an effect.
pub fn more_units(effect: f64, error: f64, units: usize, comparisons: usize) -> Option<usize> {
    if effect == 0.0 || error <= 0.0 {
        return None;
    }
    let z = -normal_quantile(0.025 / comparisons.max(1) as f64) + normal_quantile(0.8);
    let needed = units as f64 * (z * error / effect).powi(2);
    // Below one more unit in a billion a machine's last bit could decide; nobody needs that digit.
    (needed < 1e12).then(|| (ten_digits(needed).ceil() as usize).saturating_sub(units))
}
