//! Against the vectors of an independent PyTorch implementation (`tests/golden/README.md`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use sweep::device::*;
use sweep::experiment::*;
use sweep::selector::FreezeSet;
use sweep::selector::ParamGroup;
use sweep::selector::data::{Embeddings, Group, Trajectory};
use sweep::selector::learn::*;
use sweep::selector::{DataParams, ModelParams, Params, RewardForm, RewardParams, TrainParams};
use sweep::selector::{GrpoParams, RceParams};
use sweep::store::EpochMetrics;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn tensors(name: &str) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(golden(name)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .filter(|(_, view)| view.dtype() == safetensors::Dtype::F32)
        .map(|(name, view)| {
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            (name.to_owned(), values.collect())
        })
        .collect()
}

fn load_groups() -> (Vec<Group>, Vec<Group>) {
    let data = json("rl_data.json");
    let mut ids: Vec<u64> = data.as_object().unwrap().keys().filter_map(|key| key.parse().ok()).collect();
    ids.sort_unstable();
    let groups: Vec<Group> = ids
        .iter()
        .map(|id| {
            let entry = &data[id.to_string()];
            let keep = |t: &&Value| !t["eval_failed"].as_bool().unwrap() && t["vqa_eval_mode"] == "vqa";
            Group {
                query_id: *id,
                pool: serde_json::from_value(entry["candidate_pool_ids"].clone()).unwrap(),
                trajectories: entry["pointer_candidates"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(keep)
                    .map(|t| Trajectory {
                        pointer: serde_json::from_value(t["pointer"].clone()).unwrap(),
                        beam_score: t["beam_score"].as_f64(),
                        logprob_score: t["logprob_score"].as_f64(),
                        correct: t["vqa_correct"].as_f64(),
                        acc_score: t["vqa_acc_score"].as_f64(),
                        gt_prob: t["vqa_gt_prob"].as_f64(),
                        rel_score: t["vqa_rel_score"].as_f64(),
                    })
                    .collect(),
            }
        })
        .collect();
    let (train, validation) = groups.split_at(ids.len() * 8 / 10);
    (train.to_vec(), validation.to_vec())
}

/// hard_plus_soft and its clamped z-score.
fn reward_table(train: &[Group], validation: &[Group]) -> RewardTable {
    let raw = |groups: &[Group]| -> Vec<Vec<f64>> {
        let one = |group: &Group| {
            group.trajectories.iter().map(|t| t.correct.unwrap() + t.acc_score.unwrap()).collect()
        };
        groups.iter().map(one).collect()
    };
    let normalize = |rewards: &Vec<f64>| -> Vec<f64> {
        let n = rewards.len() as f64;
        let mean = rewards.iter().sum::<f64>() / n;
        let std = (rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        if std <= 1e-12 {
            return rewards.clone();
        }
        rewards.iter().map(|r| ((r - mean) / std).clamp(-3.0, 3.0)).collect()
    };
    let train = raw(train);
    RewardTable { normalized: train.iter().map(normalize).collect(), raw: train, validation: raw(validation) }
}

struct World {
    embeddings: Embeddings,
    train: Vec<Group>,
    validation: Vec<Group>,
    labels: Vec<Vec<u32>>,
    rewards: Arc<RewardTable>,
    model: ModelParams,
    layout: Layout,
    init: Arc<Vec<f32>>,
}

fn flat(layout: &Layout, named: &BTreeMap<String, Vec<f32>>) -> Vec<f32> {
    layout.segments.iter().flat_map(|segment| named[&segment.name].iter().copied()).collect()
}

impl World {
    fn load() -> Self {
        let (train, validation) = load_groups();
        let model = ModelParams { dropout: 0.0, attn_dropout: 0.0, ..ModelParams::default() };
        let layout = Layout::new(Shape::new(512, &model));
        let labels = train
            .iter()
            .map(|group| group.trajectories.iter().flat_map(|t| t.pointer.iter().copied()).collect())
            .collect();
        let values = tensors("embeddings.safetensors").remove("embeddings").unwrap();
        Self {
            embeddings: Embeddings { rows: values.len() / 512, dim: 512, values },
            rewards: Arc::new(reward_table(&train, &validation)),
            init: Arc::new(flat(&layout, &tensors("init.safetensors"))),
            train,
            validation,
            labels,
            model,
            layout,
        }
    }

    fn params<'a>(&'a self, freeze: &'a FreezeSet) -> EngineParams<'a> {
        EngineParams {
            shape: self.layout.shape,
            model: &self.model,
            freeze,
            embeddings: &self.embeddings,
            train: &self.train,
            validation: &self.validation,
            labels: &self.labels,
            length: 2,
        }
    }

    /// Trains one member alone; returns final parameters, epochs and steps.
    fn train(
        &self,
        device: Device,
        freeze: &FreezeSet,
        job: MemberJob,
    ) -> (Vec<f32>, Vec<EpochMetrics>, Vec<StepRecord>) {
        let (mut last, mut epochs, mut all) = (Vec::new(), Vec::new(), Vec::new());
        let end = train_cohort(self.params(freeze), device, &[job], &Cancel::default(), &mut |events| {
            events.into_iter().for_each(|event| match event {
                MemberEvent::Epoch { progress, metrics, steps, .. } => {
                    last = progress.state.parameters;
                    epochs.push(metrics);
                    all.extend(steps);
                }
                MemberEvent::Diverged { cause, .. } => panic!("{cause}"),
            });
            true
        });
        assert_eq!(end, CohortEnd::Finished);
        (last, epochs, all)
    }

    fn job(
        &self,
        params: MemberParams,
        start: &Arc<Vec<f32>>,
        reference: &Arc<Vec<f32>>,
        epochs: u32,
    ) -> MemberJob {
        MemberJob {
            id: 0,
            params,
            rewards: Arc::clone(&self.rewards),
            start: Arc::clone(start),
            reference: Arc::clone(reference),
            last_epoch: epochs,
            progress: None,
        }
    }
}

fn config() -> Params {
    Params {
        data: DataParams {
            trajectories: golden("rl_data.json"),
            embeddings: golden("embeddings.safetensors"),
            train_fraction: 0.8,
            keep_fallback: false,
            require_positive: false,
        },
        reward: RewardParams::default(),
        model: ModelParams::default(),
        train: TrainParams { shuffle: false, ..TrainParams::default() },
    }
}

fn rce(epochs: u32, reward: RewardForm) -> MemberParams {
    let mut config = config();
    config.train.rce_epochs = epochs;
    config.train.rce_reward = reward;
    MemberParams::Rce(RceParams::of(&config))
}

fn grpo(lr: f64, kl_beta: f64, adaptive: bool, freeze: &FreezeSet) -> MemberParams {
    let mut config = config();
    config.train.grpo_lr = lr;
    config.train.kl_beta = kl_beta;
    config.train.adaptive_kl = adaptive;
    config.train.freeze = freeze.clone();
    MemberParams::Grpo(GrpoParams::of(&config))
}

fn backbone() -> FreezeSet {
    FreezeSet([ParamGroup::InputProj, ParamGroup::QueryProj, ParamGroup::CandProj].into())
}

struct Limits {
    step_loss: f64,
    /// Relative to max(1, |value|) when true.
    relative: bool,
    epoch: f64,
    val_loss: f64,
    weights: f64,
    grad_norm: f64,
}

/// `got` may differ from `want` by `limit`, relative to values above 1 if `relative`.
fn close(what: &str, got: f64, want: f64, limit: f64, relative: bool) {
    let scale = if relative { want.abs().max(1.0) } else { 1.0 };
    assert!((got - want).abs() <= limit * scale, "{what}: {got} instead of {want} (limit {limit})");
}

fn compare_run(
    world: &World,
    (run, device): (&str, Device),
    (weights, epochs, steps): &(Vec<f32>, Vec<EpochMetrics>, Vec<StepRecord>),
    limits: &Limits,
) {
    let wanted = json("trajectory.json")["runs"][run].clone();
    let want_steps = wanted["steps"].as_array().unwrap();
    assert_eq!(steps.len(), want_steps.len());
    for (i, (step, want)) in steps.iter().zip(want_steps).enumerate() {
        let field = |name: &str| want[name].as_f64();
        let at = |name: &str| format!("run {run} on {device} step {i} {name}");
        close(&at("loss"), step.loss, field("loss").unwrap(), limits.step_loss, limits.relative);
        close(&at("grad_norm"), step.grad_norm, field("grad_norm").unwrap(), limits.grad_norm, true);
        for (name, got) in [("ppo_loss", step.ppo), ("kl", step.kl), ("mean_ratio", step.mean_ratio)] {
            if let Some(want) = field(name) {
                close(&at(name), got, want, limits.step_loss, limits.relative);
            }
        }
        if let Some(beta) = field("beta") {
            close(&at("beta"), step.beta, beta, 1e-9, true);
        }
    }
    let want_epochs = wanted["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), want_epochs.len());
    for (epoch, want) in epochs.iter().zip(want_epochs) {
        let at = |name: &str| format!("run {run} on {device} {} epoch {} {name}", epoch.phase, epoch.epoch);
        assert_eq!(epoch.phase, want["phase"].as_str().unwrap());
        assert_eq!(u64::from(epoch.epoch), want["epoch"].as_u64().unwrap() + 1);
        let loss = want.get("rce_loss").or(want.get("grpo_loss")).unwrap().as_f64().unwrap();
        close(&at("loss"), epoch.get("train_loss").unwrap(), loss, limits.epoch, limits.relative);
        close(
            &at("val"),
            epoch.get("val_loss").unwrap(),
            want["val_loss"].as_f64().unwrap(),
            limits.val_loss,
            false,
        );
        for name in
            ["ppo_loss", "kl", "mean_ratio", "advantage_mean", "advantage_std", "advantage_max", "beta"]
        {
            if let Some(want) = want.get(name).and_then(Value::as_f64) {
                close(&at(name), epoch.get(name).unwrap(), want, limits.epoch, limits.relative);
            }
        }
    }
    compare_parameters(world, &format!("{run} on {device}"), weights, &wanted["parameters"], limits.weights);
}

/// Final mean and distance from the start of every parameter; the key bias, whose true gradient is zero,
/// is left out.
fn compare_parameters(world: &World, run: &str, weights: &[f32], wanted: &Value, limit: f64) {
    for (name, want) in wanted.as_object().unwrap() {
        let (base, part) = match name.split_once('[') {
            Some((base, part)) => (base, Some(part.trim_end_matches(']'))),
            None => (name.as_str(), None),
        };
        if base.ends_with("in_proj_bias") && part == Some("k") {
            continue;
        }
        let segment = world.layout.segments.iter().find(|segment| segment.name == base).unwrap();
        let mut range = segment.offset..segment.offset + segment.len();
        if let Some(part) = part {
            let third = segment.len() / 3;
            let start = range.start + third * ["q", "k", "v"].iter().position(|p| *p == part).unwrap();
            range = start..start + third;
        }
        let (after, before) = (&weights[range.clone()], &world.init[range.clone()]);
        let n = after.len() as f64;
        let mean = after.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let distances: Vec<f64> = after.iter().zip(before).map(|(a, b)| f64::from((a - b).abs())).collect();
        let at = |what: &str| format!("run {run} {name} {what}");
        close(&at("mean"), mean, want["mean"].as_f64().unwrap(), limit, false);
        let mean_distance = distances.iter().sum::<f64>() / n;
        close(&at("mean distance"), mean_distance, want["mean_abs_diff"].as_f64().unwrap(), limit, false);
        let largest = distances.iter().fold(0.0f64, |a, b| a.max(*b));
        close(&at("largest distance"), largest, want["max_abs_diff"].as_f64().unwrap(), limit, false);
    }
}

fn compare_final(world: &World, (file, device): (&str, Device), weights: &[f32], limit: f32) {
    let wanted = flat(&world.layout, &tensors(file));
    for segment in &world.layout.segments {
        for i in segment.offset..segment.offset + segment.len() {
            let at = i - segment.offset;
            let key_bias = segment.name.ends_with("in_proj_bias") && (256..512).contains(&at);
            let difference = (weights[i] - wanted[i]).abs();
            assert!(
                key_bias || difference <= limit,
                "{file} on {device} {}[{at}]: {difference}",
                segment.name
            );
        }
    }
}

const TIGHT: Limits =
    Limits { step_loss: 1e-5, relative: false, epoch: 1e-5, val_loss: 1e-5, weights: 2e-5, grad_norm: 1e-4 };

/// Both engines: the CPU's own kernels, and the tensor program.
static ENGINES: LazyLock<[Device; 2]> = LazyLock::new(|| [Device::Cpu, *crate::engines::PROGRAM]);

#[test]
fn run_a_rce() {
    let world = World::load();
    let none = FreezeSet::default();
    for device in *ENGINES {
        let job = world.job(rce(2, RewardForm::Raw), &world.init, &world.init, 2);
        let outcome = world.train(device, &none, job);
        compare_run(&world, ("a", device), &outcome, &TIGHT);
        compare_final(&world, ("final_a.safetensors", device), &outcome.0, 2e-5);
    }
}

#[test]
fn run_b_grpo_with_a_frozen_backbone() {
    let world = World::load();
    let freeze = backbone();
    for device in *ENGINES {
        let job = world.job(grpo(5e-6, 0.15, false, &freeze), &world.init, &world.init, 3);
        compare_run(&world, ("b", device), &world.train(device, &freeze, job), &TIGHT);
    }
}

#[test]
fn run_c_grpo() {
    let world = World::load();
    let none = FreezeSet::default();
    for device in *ENGINES {
        let job = world.job(grpo(5e-6, 0.15, false, &none), &world.init, &world.init, 3);
        let outcome = world.train(device, &none, job);
        compare_run(&world, ("c", device), &outcome, &TIGHT);
        compare_final(&world, ("final_c.safetensors", device), &outcome.0, 2e-5);
    }
}

#[test]
fn run_d_grpo_far_outside_the_clip_range() {
    let world = World::load();
    let none = FreezeSet::default();
    let limits = Limits {
        step_loss: 2e-3,
        relative: true,
        epoch: 1e-3,
        val_loss: 5e-4,
        weights: 5e-4,
        grad_norm: 2e-3,
    };
    for device in *ENGINES {
        let job = world.job(grpo(1e-3, 0.05, false, &none), &world.init, &world.init, 3);
        compare_run(&world, ("d", device), &world.train(device, &none, job), &limits);
    }
}

#[test]
fn run_e_rce_then_grpo_with_adaptive_kl_against_the_initial_model() {
    let world = World::load();
    let none = FreezeSet::default();
    let limits = Limits {
        step_loss: 1e-3,
        relative: false,
        epoch: 1e-3,
        val_loss: 1e-5,
        weights: 2e-5,
        grad_norm: 1e-2,
    };
    for device in *ENGINES {
        let warm_up = world.job(rce(1, RewardForm::Normalized), &world.init, &world.init, 1);
        let mut outcome = world.train(device, &none, warm_up);
        let warm = Arc::new(std::mem::take(&mut outcome.0));
        let (weights, epochs, steps) =
            world.train(device, &none, world.job(grpo(5e-6, 0.15, true, &none), &warm, &world.init, 2));
        outcome.0 = weights;
        outcome.1.extend(epochs);
        outcome.2.extend(steps);
        compare_run(&world, ("e", device), &outcome, &limits);
    }
}

/// Teacher-forced logits of the golden groups, and the greedy choices of the validation groups.
#[test]
fn the_forward_pass_gives_the_golden_logits_and_greedy_choices() {
    let world = World::load();
    let bytes = std::fs::read(golden("forward.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let integers = |name: &str| -> Vec<usize> {
        let view = file.tensor(name).unwrap();
        view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize).collect()
    };
    let named = tensors("forward.safetensors");
    let groups = world.train[..4].iter().enumerate().map(|(i, group)| (format!("g{i}"), group));
    let validation = world.validation.iter().enumerate().map(|(i, group)| (format!("v{i}"), group));
    for (name, group) in groups.chain(validation) {
        let queries = [Query::of_group(group)];
        let temperature = world.model.temperature;
        let scores =
            scores_of(Device::Cpu, &world.layout, &world.init, &world.embeddings, &queries, temperature)
                .remove(0);
        assert_eq!(integers(&format!("{name}.query_id")), [group.query_id as usize]);
        for shots in 1..=4 {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            assert_eq!(integers(&format!("{name}.greedy{shots}")), order[..shots], "{name}");
        }
        let Some(logits) = named.get(&format!("{name}.logits")) else { continue };
        let labels = integers(&format!("{name}.labels"));
        for (row, logits) in logits.chunks_exact(64).enumerate() {
            for (k, want) in logits.iter().enumerate() {
                let chosen = row % 2 == 1 && labels[row - 1] == k;
                let got = if chosen { -100.0 } else { scores[k] };
                assert!((got - want).abs() <= 5e-6, "{name} row {row} candidate {k}: {got} not {want}");
            }
        }
    }
}
