//! Small results directories, written as a run writes them, with scores that a test chooses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sweep::disk;
use sweep::finite::Finite;
use sweep::selector::{
    DataParams, FIGURES, ModelParams, Params, RewardParams, SCHEMA, Selector, TrainParams,
};
use sweep::selector::{FreezeSet, ParamGroup};
use sweep::spec::{EvalParams, Point, ScoreField};
use sweep::store::{
    EpochMetrics, FORMAT, PointRecord, PointResult, PointStatus, QueryScore, ReferenceResult,
    ReferencesRecord, ResolvedRecord, SignalHealth, SweepResults, metrics_csv, selections_jsonl,
};

/// A sweep without points: `eval` with shots 1 to 4 on all queries, no axes.
pub fn sweep(name: &str) -> SweepResults {
    sweep::experiment::know(&[&Selector]);
    SweepResults {
        dir: PathBuf::from("results").join(name),
        name: name.to_owned(),
        experiment: "selector".to_owned(),
        columns: Vec::new(),
        axes: Vec::new(),
        points: Vec::new(),
        references: Vec::new(),
        baseline: Vec::new(),
        eval: Some(EvalParams {
            logged: PathBuf::from("eval.jsonl"),
            shots: vec![1, 2, 3, 4],
            samples: vec![None],
            score: ScoreField::Accuracy,
            ..EvalParams::default()
        }),
        health: Some(SignalHealth {
            groups: 300,
            flat_groups: 40,
            mean_range: finite(0.8),
            distinct: BTreeMap::from([(1, 40), (2, 200), (3, 60)]),
        }),
        leaks: sweep::store::Leaks::default(),
        judge: None,
    }
}

/// `value`, which is finite.
pub fn finite(value: f64) -> Finite {
    Finite::new(value).expect("a number")
}

/// A configuration with every default.
pub fn config() -> Params {
    Params {
        data: DataParams {
            trajectories: PathBuf::from("rl_data.json"),
            embeddings: PathBuf::from("embeddings.safetensors"),
            train_fraction: 0.8,
            keep_fallback: false,
            require_positive: false,
        },
        reward: RewardParams::default(),
        model: ModelParams::default(),
        train: TrainParams::default(),
    }
}

/// A finished point whose axes are set in its configuration too, as far as tables look at it.
pub fn point(name: &str, axes: &[(&str, Value)]) -> PointResult {
    let mut config = config();
    for (key, value) in axes {
        match *key {
            "train.kl_beta" => config.train.kl_beta = value.as_f64().expect("a number"),
            "train.grpo_lr" => config.train.grpo_lr = value.as_f64().expect("a number"),
            "train.grpo_epochs" => config.train.grpo_epochs = value.as_u64().expect("a count") as u32,
            "train.seed" => config.train.seed = value.as_u64().expect("a count"),
            "train.freeze" => {
                config.train.freeze =
                    serde_json::from_value::<FreezeSet>(value.clone()).expect("a list of groups");
            }
            other => panic!("the fixture has no axis {other}"),
        }
    }
    let frozen = !config.train.freeze.is_empty();
    PointResult {
        name: name.to_owned(),
        axes: axes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        metrics: epochs(&config, 2),
        config: (&config).into(),
        status: PointStatus::Done,
        error: None,
        scores: BTreeMap::new(),
        unanswered: Vec::new(),
        trainable: if frozen { 263_680 } else { 525_824 },
        total: 525_824,
        movement: movement(frozen, 0.02),
        checkpoint: Some(PathBuf::from("stages/0123abcd/grpo_epoch1.safetensors")),
    }
}

/// The backbone, as an axis value.
pub fn backbone() -> Value {
    json!(["input_proj", "query_proj", "cand_proj"])
}

/// Relative movement per group.
pub fn movement(frozen: bool, size: f64) -> BTreeMap<String, Finite> {
    let mut movement: BTreeMap<String, Finite> = ParamGroup::ALL
        .into_iter()
        .map(|group| {
            (group.name().to_owned(), finite(if frozen && group.is_backbone() { 0.0 } else { size }))
        })
        .collect();
    movement.insert("all".to_owned(), finite(size));
    movement
}

/// `rce` epochs of warm-up, then the configuration's GRPO epochs (at least one).
pub fn epochs(config: &Params, rce: u32) -> Vec<EpochMetrics> {
    let warm_up = (1..=rce).map(|epoch| {
        EpochMetrics::new(FIGURES, "rce", epoch)
            .with("train_loss", Finite::new(8.0 - 0.4 * f64::from(epoch)))
            .with("val_loss", Finite::new(7.9 - 0.2 * f64::from(epoch)))
            .with("temperature", Finite::new(2.0 - 0.5 * f64::from(epoch)))
            .with("grad_norm", Finite::new(1.5))
            .with("seconds", Finite::new(0.25))
    });
    let beta = config.train.kl_beta;
    let grpo = (1..=config.train.grpo_epochs.max(1)).map(|epoch| {
        let kl = 0.01 * f64::from(epoch) * (config.train.grpo_lr / 5e-6) * (0.15 / beta);
        EpochMetrics::new(FIGURES, "grpo", epoch)
            .with("train_loss", Finite::new(-0.02 * f64::from(epoch)))
            .with("ppo_loss", Finite::new(-0.03 * f64::from(epoch)))
            .with("kl", Finite::new(kl))
            .with("mean_ratio", Finite::new(1.0 + 0.01 * f64::from(epoch)))
            .with("advantage_mean", Finite::new(0.0))
            .with("advantage_std", Finite::new(0.9))
            .with("advantage_max", Finite::new(1.15))
            .with("beta", Finite::new(beta))
            .with("val_loss", Finite::new(7.4 + 0.03 * f64::from(epoch) * f64::from(epoch - 1)))
            .with("grad_norm", Finite::new(2.5))
            .with("seconds", Finite::new(0.25))
            .with("clipped_share", Finite::new(0.8))
    });
    warm_up.chain(grpo).collect()
}

/// Scores with exactly the given sums per shot on `queries` queries: the first queries are right.
/// `choice` names what was selected: points with equal choices (and scores) are identical.
pub fn score_sums(point: &mut PointResult, queries: u64, sums: &[(usize, f64)], choice: u32) {
    for &(shot, sum) in sums {
        let lines = (0..queries)
            .map(|query| {
                let left = sum - query as f64;
                line(query, shot, left.clamp(0.0, 1.0), choice)
            })
            .collect();
        point.scores.insert(shot, lines);
    }
}

/// One line of `selections.jsonl`.
pub fn line(query: u64, shot: usize, score: f64, choice: u32) -> QueryScore {
    let selection = (0..shot as u32).map(|step| (choice * 7 + step + query as u32 % 5) % 64).collect();
    let (score, log_prob) = (finite(score), finite(-3.5));
    QueryScore {
        query_id: 1000 + query,
        column: shot,
        selection,
        logged: Some(choice as usize),
        score,
        log_prob,
        answer: None,
    }
}

/// A reference policy with one score for all queries.
pub fn reference(name: &str, queries: usize, shots: &[usize], score: f64) -> ReferenceResult {
    let scores = shots.iter().map(|shot| (*shot, vec![finite(score); queries])).collect();
    ReferenceResult { name: name.to_owned(), scores }
}

/// A number in `0..1` from three counters: scores that look random and are the same everywhere.
pub fn chance(a: u64, b: u64, c: u64) -> f64 {
    let mut x = a.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ b.wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
        ^ (c << 17)
        ^ 0x5DEE_CE66;
    for _ in 0..3 {
        x ^= x >> 30;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^= x >> 27;
    }
    (x >> 11) as f64 / (1_u64 << 53) as f64
}

/// A grid of KL_BETA x learning rate x epochs x freeze x seeds with plausible scores: some points choose
/// alike, larger learning rates help a little.
pub fn grid(name: &str, seeds: u64, queries: u64) -> SweepResults {
    let mut results = sweep(name);
    let mut axes = vec!["train.kl_beta", "train.grpo_lr", "train.grpo_epochs", "train.freeze"];
    if seeds > 1 {
        axes.push("train.seed");
    }
    results.axes = axes.iter().map(|axis| (*axis).to_owned()).collect();
    for beta in [0.1, 0.12, 0.15, 0.18] {
        for rate in [5e-6, 1e-5, 2e-5] {
            for epochs in 1..=3_u32 {
                for freeze in [backbone(), json!([])] {
                    for seed in 0..seeds {
                        results.points.push(grid_point(beta, rate, epochs, &freeze, seed, seeds, queries));
                        if (beta, rate, epochs) == (0.15, 5e-6, 1) && freeze != json!([]) {
                            results.baseline.push(results.points.len() - 1);
                        }
                    }
                }
            }
        }
    }
    let shots = [1, 2, 3, 4];
    results.references = vec![
        reference("random", queries as usize, &shots, 0.27),
        reference("nearest", queries as usize, &shots, 0.39),
        reference("oracle", queries as usize, &shots, 0.56),
    ];
    results
}

fn grid_point(
    beta: f64,
    rate: f64,
    epochs: u32,
    freeze: &Value,
    seed: u64,
    seeds: u64,
    queries: u64,
) -> PointResult {
    let frozen = freeze != &json!([]);
    let word = if frozen { "frozen" } else { "unfrozen" };
    let mut name = format!("kl{beta}-lr{rate:e}-ep{epochs}-{word}");
    let mut axes = vec![
        ("train.kl_beta", json!(beta)),
        ("train.grpo_lr", json!(rate)),
        ("train.grpo_epochs", json!(epochs)),
        ("train.freeze", freeze.clone()),
    ];
    if seeds > 1 {
        name += &format!("-s{seed}");
        axes.push(("train.seed", json!(seed)));
    }
    let mut made = point(&name, &axes);
    // Small steps change few choices: the variant of the model that the point amounts to.
    let reach = rate / 5e-6 * f64::from(epochs) * (0.15 / beta);
    made.movement = movement(frozen, 0.0004 * reach);
    let variant = (reach / 2.0) as u64 * 2 + u64::from(!frozen && reach > 3.0);
    for shot in 1..=4_usize {
        let lines = (0..queries)
            .map(|query| {
                let moved = chance(query, shot as u64, 7 + seed) < 0.02 * variant as f64;
                let draw = if moved { 1 + variant } else { 0 };
                let luck = chance(query, shot as u64, 100 + draw * 31 + seed * u64::from(moved));
                let skill = 0.36 + 0.02 * shot as f64 + if moved { 0.08 } else { 0.0 };
                line(query, shot, f64::from(luck < skill), draw as u32)
            })
            .collect();
        made.scores.insert(shot, lines);
    }
    made
}

/// Writes `results` to `root/<name>` in the files of a run; returns that directory.
pub fn write(results: &SweepResults, root: &Path) -> PathBuf {
    let dir = root.join(&results.name);
    let points = results
        .points
        .iter()
        .map(|point| Point {
            name: point.name.clone(),
            axes: point.axes.clone(),
            config: point.config.clone(),
        })
        .collect();
    let resolved = ResolvedRecord {
        format: FORMAT,
        name: results.name.clone(),
        experiment: results.experiment.clone(),
        columns: Vec::new(),
        version: "0.1.0".to_owned(),
        axes: results.axes.clone(),
        points,
        baseline: results.baseline.clone(),
        eval: results.eval.clone(),
        export: Vec::new(),
        keep: sweep::spec::KeepParams::default(),
        inputs: BTreeMap::from([("data.trajectories".to_owned(), "ab12".to_owned())]),
        health: results.health.clone(),
        leaks: results.leaks.clone(),
        provenance: BTreeMap::from([("device".to_owned(), "cpu".to_owned())]),
    };
    json_file(&dir.join("resolved.json"), &resolved);
    if !results.references.is_empty() {
        let record = ReferencesRecord { format: FORMAT, references: results.references.clone() };
        json_file(&dir.join("references.json"), &record);
    }
    for point in results.points.iter().filter(|point| point.status != PointStatus::Pending) {
        write_point(&dir, point);
    }
    dir
}

/// Writes the files of one point.
pub fn write_point(dir: &Path, point: &PointResult) {
    let place = dir.join("points").join(&point.name);
    let lines = point.scores.values().flatten();
    disk::write(&place.join("selections.jsonl"), &selections_jsonl(lines, SCHEMA.columns)).expect("written");
    disk::write(&place.join("metrics.csv"), &metrics_csv(FIGURES, &point.metrics)).expect("written");
    let record = PointRecord {
        format: FORMAT,
        name: point.name.clone(),
        axes: point.axes.clone(),
        config: point.config.clone(),
        status: point.status,
        error: point.error.clone(),
        evaluation: None,
        stage: "0123abcd".to_owned(),
        trainable: point.trainable,
        total: point.total,
        movement: point.movement.clone(),
        checkpoint: point.checkpoint.clone(),
        judge: None,
        unanswered: 0,
        unknown: serde_json::Map::new(),
    };
    json_file(&place.join("point.json"), &record);
}

fn json_file(path: &Path, value: &impl serde::Serialize) {
    let bytes = serde_json::to_vec_pretty(value).expect("records serialize");
    disk::write(path, &bytes).expect("written");
}
