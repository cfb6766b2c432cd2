//! Makes the data of the race: synthetic, deterministic, of the size that the lab trains on.
//!
//! `cargo run --release --example make_race -- [DIR]` (default `sweeps/data/race`) writes
//! `DIR/rl_data.json` and `DIR/embeddings.safetensors`: 400 training and 100 validation queries
//! (`train_fraction` 0.8), pools of 64 out of 3000 embeddings of d = 512, 12 trajectories of 2 demonstrations.
//!
//! Embeddings lie around topics. An answer is the more likely right the more similar the demonstrations are to
//! the query, so that a selector has something to learn; the scores are plausible, and the same on every machine.

use std::io::Write;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use sweep::disk;

const SEED: u64 = 20_251_121;
const QUERIES: usize = 500;
const ROWS: usize = 3000;
const DIM: usize = 512;
const TOPICS: usize = 40;
const POOL: usize = 64;
const TRAJECTORIES: usize = 12;
/// Weight of the noise against the topic's centre: similar pairs then have a cosine around 0.5.
const SPREAD: f32 = 1.0;

fn main() -> std::io::Result<()> {
    let directory =
        std::env::args_os().nth(1).map_or_else(|| PathBuf::from("sweeps/data/race"), PathBuf::from);
    let mut random = Random(ChaCha8Rng::seed_from_u64(SEED));
    let embeddings = embeddings(&mut random);
    write_embeddings(&directory.join("embeddings.safetensors"), &embeddings)?;
    write_trajectories(&directory.join("rl_data.json"), &embeddings, &mut random)
}

/// Unit rows around the centres of topics, `[ROWS, DIM]`.
fn embeddings(random: &mut Random) -> Vec<Vec<f32>> {
    let centres: Vec<Vec<f32>> = (0..TOPICS).map(|_| random.direction()).collect();
    let row = |_| {
        let centre = &centres[random.below(TOPICS)];
        let noise = random.direction();
        unit(centre.iter().zip(noise).map(|(centre, noise)| centre + SPREAD * noise).collect())
    };
    (0..ROWS).map(row).collect()
}

fn write_embeddings(path: &Path, embeddings: &[Vec<f32>]) -> std::io::Result<()> {
    let bytes: Vec<u8> = embeddings.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![ROWS, DIM], &bytes).map_err(std::io::Error::other)?;
    let file = safetensors::serialize([("embeddings", view)], None).map_err(std::io::Error::other)?;
    disk::write(path, &file)
}

/// Query ids are spread over the matrix; candidates are all other rows.
fn write_trajectories(path: &Path, embeddings: &[Vec<f32>], random: &mut Random) -> std::io::Result<()> {
    let mut order: Vec<usize> = (0..ROWS).collect();
    random.shuffle(&mut order);
    let (queries, support) = order.split_at(QUERIES);
    disk::write_with(path, |file| {
        writeln!(file, "{{")?;
        for &query in queries {
            writeln!(file, "\"{query}\": {},", group(query, support, embeddings, random))?;
        }
        let about =
            json!({"dataset": "race", "seed": SEED, "queries": QUERIES, "pool_size": POOL, "shots": 2});
        writeln!(file, "\"_meta\": {about}\n}}")
    })
}

fn group(query: usize, support: &[usize], embeddings: &[Vec<f32>], random: &mut Random) -> serde_json::Value {
    let mut pool = support.to_vec();
    random.choose_first(&mut pool, POOL);
    pool.truncate(POOL);
    let similarity: Vec<f64> =
        pool.iter().map(|&candidate| dot(&embeddings[query], &embeddings[candidate])).collect();
    let mut nearest: Vec<usize> = (0..POOL).collect();
    nearest.sort_by(|&a, &b| similarity[b].total_cmp(&similarity[a]));
    let difficulty = 0.8 * random.normal();
    let mut taken = Vec::new();
    while taken.len() < TRAJECTORIES {
        let pair = match taken.len() {
            0 => [nearest[0], nearest[1]],
            1..6 => [nearest[random.below(12)], nearest[random.below(12)]],
            _ => [random.below(POOL), random.below(POOL)],
        };
        if pair[0] != pair[1] && !taken.contains(&pair) {
            taken.push(pair);
        }
    }
    let trajectories: Vec<serde_json::Value> = taken
        .iter()
        .enumerate()
        .map(|(index, &pair)| trajectory(index, pair, &pool, &similarity, difficulty, random))
        .collect();
    json!({"query": {"query_id": query}, "candidate_pool_ids": pool, "pointer_candidates": trajectories})
}

fn trajectory(
    index: usize,
    pair: [usize; 2],
    pool: &[usize],
    similarity: &[f64],
    difficulty: f64,
    random: &mut Random,
) -> serde_json::Value {
    let near = (similarity[pair[0]] + similarity[pair[1]]) / 2.0;
    // Right in about a fifth of the random pairs and most of the nearest ones; queries differ.
    let probability = 1.0 / (1.0 + (1.5 - 7.0 * near + difficulty + 0.3 * random.normal()).exp());
    let right = random.uniform() < probability;
    let accuracy = match (right, random.uniform() < 0.15) {
        (true, false) => 1.0,
        (true, true) => 0.6,
        (false, true) => 0.3,
        (false, false) => 0.0,
    };
    let method = match index {
        0 => "retrieval",
        1..6 => "sample",
        _ => "random",
    };
    json!({
        "pointer": pair,
        "pointer_global": [pool[pair[0]], pool[pair[1]]],
        "gen_method": method,
        "beam_score": rounded(near),
        "logprob_score": rounded(-1.0 - 3.0 * random.uniform()),
        "vqa_correct": u8::from(right),
        "vqa_acc_score": accuracy,
        "vqa_gt_prob": rounded(probability),
        "vqa_rel_score": rounded((0.7 * probability + 0.3 * random.uniform()).min(1.0)),
        "vqa_eval_mode": "vqa",
        "eval_failed": false,
    })
}

/// Five decimals, which also hides the last-digit differences of `exp` and `ln` between machines.
fn rounded(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn unit(values: Vec<f32>) -> Vec<f32> {
    let norm = dot(&values, &values).sqrt() as f32;
    values.into_iter().map(|value| value / norm).collect()
}

struct Random(ChaCha8Rng);

impl Random {
    /// In `[0, 1)`.
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        (self.uniform() * count as f64) as usize
    }

    /// Standard normal (Box-Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A unit vector of any direction, `[DIM]`.
    fn direction(&mut self) -> Vec<f32> {
        unit((0..DIM).map(|_| self.normal() as f32).collect())
    }

    fn shuffle(&mut self, values: &mut [usize]) {
        let count = values.len();
        self.choose_first(values, count);
    }

    /// Puts a random choice of `count` values, in random order, first (Fisher-Yates).
    fn choose_first(&mut self, values: &mut [usize], count: usize) {
        for at in 0..count {
            let other = at + self.below(values.len() - at);
            values.swap(at, other);
        }
    }
}
