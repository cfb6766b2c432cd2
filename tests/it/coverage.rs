//! What the tests promise, over simulated sweeps: without a true difference a corrected call is rare, a true
//! one is found. Scores are those of correlated models: most answers are shared.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sweep::report::stats::{Bootstrap, crossed_test, holm, mean, sign_flip};

fn uniform(generator: &mut ChaCha8Rng) -> f64 {
    f64::from(generator.next_u32()) / 4_294_967_296.0
}

/// Mean scores over `shots` per query for `rows` models of which each keeps a query's common answer with
/// chance 0.7, and is right with the query's own chance (shifted by `gain` for rows after the first)
/// otherwise.
fn simulate(
    generator: &mut ChaCha8Rng,
    rows: usize,
    queries: usize,
    shots: usize,
    gain: f64,
) -> Vec<Vec<f64>> {
    let mut scores = vec![vec![0.0; queries]; rows];
    for query in 0..queries {
        let ease = 0.1 + 0.8 * uniform(generator);
        for _ in 0..shots {
            let common = uniform(generator) < ease;
            for (index, row) in scores.iter_mut().enumerate() {
                let answer = if uniform(generator) < 0.7 { common } else { uniform(generator) < ease };
                let helped = index > 0 && !answer && uniform(generator) < gain;
                row[query] += f64::from(answer || helped) / shots as f64;
            }
        }
    }
    scores
}

fn differences(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    rows[1..].iter().map(|row| row.iter().zip(&rows[0]).map(|(a, b)| a - b).collect()).collect()
}

/// Share of `sweeps` in which Holm's correction calls at least one of `rows - 1` differences.
fn called(seed: u64, sweeps: usize, rows: usize, queries: usize, shots: usize, gain: f64) -> f64 {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let calls = (0..sweeps).filter(|_| {
        let columns = differences(&simulate(&mut generator, rows, queries, shots, gain));
        let p_values: Vec<f64> = columns.iter().map(|column| sign_flip(column)).collect();
        holm(&p_values).iter().any(|p| *p <= 0.05)
    });
    calls.count() as f64 / sweeps as f64
}

#[test]
fn without_a_difference_a_call_is_rare() {
    let several = called(1, 1_000, 9, 115, 4, 0.0);
    let single = called(2, 1_000, 2, 115, 4, 0.0);
    println!("false calls: 8 rows {several}, 1 row {single}");
    assert!(several <= 0.055, "{several}");
    assert!((0.03..=0.065).contains(&single), "{single}");
}

#[test]
fn a_true_difference_of_five_points_on_800_queries_is_found() {
    // Half of the queries are wrong, so that a gain of 0.1 on the wrong ones is five points.
    let found = called(3, 200, 2, 800, 1, 0.1);
    println!("five points on 800 queries found: {found}");
    assert!(found >= 0.8, "{found}");
}

#[test]
fn a_difference_is_five_points_when_it_is_said_to_be() {
    let mut generator = ChaCha8Rng::seed_from_u64(4);
    let columns = differences(&simulate(&mut generator, 2, 50_000, 1, 0.1));
    let gain = mean(&columns[0]).expect("queries");
    assert!((gain - 0.05).abs() < 0.005, "{gain}");
}

#[test]
fn intervals_cover_the_truth() {
    let mut generator = ChaCha8Rng::seed_from_u64(5);
    let sweeps = 1_000;
    let missed = (0..sweeps).filter(|sweep| {
        let columns = differences(&simulate(&mut generator, 2, 115, 4, 0.0));
        let interval = Bootstrap::new(115, 1_000, *sweep).intervals(&columns)[0];
        interval.low > 0.0 || interval.high < 0.0
    });
    let missed = missed.count() as f64 / sweeps as f64;
    println!("95 % intervals that miss the truth: {missed}");
    assert!((0.03..=0.075).contains(&missed), "{missed}");
}

#[test]
fn three_seeds_that_scatter_do_not_make_a_difference() {
    let mut generator = ChaCha8Rng::seed_from_u64(6);
    let (sweeps, queries) = (1_000, 115);
    let mut called = 0;
    let mut missed = 0;
    for sweep in 0..sweeps {
        let seeds: Vec<Vec<f64>> = (0..3)
            .map(|_| {
                // A seed is good or bad luck for the whole model: up to four points either way.
                let luck = 0.08 * (uniform(&mut generator) - 0.5);
                let rows = differences(&simulate(&mut generator, 2, queries, 4, 0.0));
                rows[0].iter().map(|difference| difference + luck).collect()
            })
            .collect();
        let test = crossed_test(&seeds).expect("seeds");
        called += usize::from(test.p_value <= 0.05);
        let interval = Bootstrap::new(queries, 500, sweep).hierarchical(&seeds, test.stretch).expect("seeds");
        missed += usize::from(interval.low > 0.0 || interval.high < 0.0);
    }
    let (called, missed) = (called as f64 / sweeps as f64, missed as f64 / sweeps as f64);
    println!("three seeds: called {called}, intervals that miss {missed}");
    assert!(called <= 0.06, "{called}");
    assert!(missed <= 0.08, "{missed}");
}
