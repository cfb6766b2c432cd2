//! The two engines against each other: hand-derived gradients on the CPU, and the tensor program whose
//! gradients come from autodiff. Small models, dropout on, uneven groups.
//!
//! Seeds are chosen so that no step's dropout leaves a single unit of the query: the cosine does not depend
//! on that unit's size, every gradient behind it is rounding noise, and Adam makes full steps of noise.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use sweep::device::*;
use sweep::experiment::*;
use sweep::selector::FreezeSet;
use sweep::selector::ParamGroup;
use sweep::selector::data::{Embeddings, Group, Trajectory};
use sweep::selector::learn::*;
use sweep::selector::{GrpoParams, RceParams};
use sweep::selector::{ModelParams, RewardForm};
use sweep::store::EpochMetrics;

/// Where the GPU's program runs: burn's CPU backend, or the GPU (a GPU in software is enough) where the tests are built
/// for one; `SWEEP_TEST_DEVICE` names another. With `SWEEP_KERNELS=off` burn's operators run there, not the kernels.
pub static PROGRAM: LazyLock<Device> = LazyLock::new(|| {
    let usual = if cfg!(feature = "wgpu") { Device::Wgpu } else { Device::Flex };
    let wanted = std::env::var("SWEEP_TEST_DEVICE").ok();
    let resolve = |name: String| name.parse::<DeviceRequest>().and_then(DeviceRequest::resolve);
    wanted.map_or(usual, |name| resolve(name).expect("SWEEP_TEST_DEVICE names a device of this machine"))
});

/// Length of a trajectory.
const LENGTH: usize = 3;

/// Numbers in [0, 1) that repeat from run to run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() * n as f64) as usize
    }

    /// `count` distinct numbers below `n`.
    pub fn distinct(&mut self, count: usize, n: usize) -> Vec<u32> {
        let mut all: Vec<u32> = (0..n as u32).collect();
        (0..count).map(|_| all.swap_remove(self.below(all.len()))).collect()
    }
}

/// A model, a data set and what is frozen.
struct World {
    model: ModelParams,
    freeze: FreezeSet,
    layout: Layout,
    embeddings: Embeddings,
    train: Vec<Group>,
    validation: Vec<Group>,
    labels: Vec<Vec<u32>>,
    rewards: Arc<RewardTable>,
}

fn group(numbers: &mut Numbers, query_id: u64) -> Group {
    let count = 5 + numbers.below(4);
    let trajectories = (0..2 + numbers.below(5))
        .map(|_| Trajectory {
            pointer: numbers.distinct(LENGTH, count),
            beam_score: None,
            logprob_score: None,
            correct: Some(numbers.below(2) as f64),
            acc_score: Some(numbers.next()),
            gt_prob: None,
            rel_score: None,
        })
        .collect();
    Group { query_id, pool: numbers.distinct(count, 30), trajectories }
}

impl World {
    fn new(dim: usize, model: ModelParams, freeze: &[ParamGroup], groups: usize) -> Self {
        let mut numbers = Numbers(7);
        let values = (0..30 * dim).map(|_| (numbers.next() - 0.5) as f32).collect();
        let train: Vec<Group> = (0..groups as u64).map(|id| group(&mut numbers, id)).collect();
        let validation: Vec<Group> = (20..23).map(|id| group(&mut numbers, id)).collect();
        let raw = |groups: &[Group]| -> Vec<Vec<f64>> {
            let one = |t: &Trajectory| t.correct.unwrap() + t.acc_score.unwrap();
            groups.iter().map(|group| group.trajectories.iter().map(one).collect()).collect()
        };
        let labels =
            train.iter().map(|g| g.trajectories.iter().flat_map(|t| t.pointer.clone()).collect()).collect();
        let rewards = RewardTable { raw: raw(&train), normalized: raw(&train), validation: raw(&validation) };
        Self {
            layout: Layout::new(Shape::new(dim, &model)),
            model,
            freeze: FreezeSet(freeze.iter().copied().collect()),
            embeddings: Embeddings { rows: 30, dim, values },
            train,
            validation,
            labels,
            rewards: Arc::new(rewards),
        }
    }

    /// d 12 (projected), h 8, two layers of two heads, dropout on; biases away from zero.
    fn usual(freeze: &[ParamGroup], groups: usize) -> Self {
        Self::new(12, model(2, 2), freeze, groups)
    }

    fn params(&self) -> EngineParams<'_> {
        EngineParams {
            shape: self.layout.shape,
            model: &self.model,
            freeze: &self.freeze,
            embeddings: &self.embeddings,
            train: &self.train,
            validation: &self.validation,
            labels: &self.labels,
            length: LENGTH,
        }
    }

    fn weights(&self, seed: u64) -> Arc<Vec<f32>> {
        let mut numbers = Numbers(seed);
        let noise = |value: &f32| value + 0.2 * (numbers.next() - 0.5) as f32;
        Arc::new(fresh_weights(&self.layout, seed).iter().map(noise).collect())
    }

    fn grpo(&self, id: usize, start: &Arc<Vec<f32>>, change: impl Fn(&mut GrpoParams)) -> MemberJob {
        let mut params = GrpoParams {
            seed: 0,
            lr: 1e-3,
            kl_beta: 0.15,
            clip_epsilon: 0.2,
            kl_target: None,
            top_k: [3, 5],
            freeze: self.freeze.clone(),
            weight_decay: 0.01,
            warmup_steps: 0,
            grad_clip: 1.0,
            shuffle: true,
            early_stop: None,
        };
        change(&mut params);
        self.job(id, MemberParams::Grpo(params), start)
    }

    fn rce(&self, id: usize, start: &Arc<Vec<f32>>, change: impl Fn(&mut RceParams)) -> MemberJob {
        let mut params = RceParams {
            seed: 0,
            epochs: 2,
            lr: 1e-3,
            reward: RewardForm::Raw,
            temperature: [2.0, 0.5],
            top1_only: false,
            weight_decay: 0.01,
            warmup_steps: 0,
            grad_clip: 1.0,
            shuffle: true,
            early_stop: None,
        };
        change(&mut params);
        self.job(id, MemberParams::Rce(params), start)
    }

    fn job(&self, id: usize, params: MemberParams, start: &Arc<Vec<f32>>) -> MemberJob {
        MemberJob {
            id,
            params,
            rewards: Arc::clone(&self.rewards),
            start: Arc::clone(start),
            reference: Arc::clone(start),
            last_epoch: 2,
            progress: None,
        }
    }

    fn run(&self, device: Device, jobs: &[MemberJob]) -> BTreeMap<usize, Outcome> {
        let mut all: BTreeMap<usize, Outcome> = BTreeMap::new();
        let end = train_cohort(self.params(), device, jobs, &Cancel::default(), &mut |events| {
            events.into_iter().for_each(|event| match event {
                MemberEvent::Epoch { id, progress, metrics, steps, .. } => {
                    let own = all.entry(id).or_default();
                    own.parameters.clone_from(&progress.state.parameters);
                    own.progress = Some(progress);
                    own.metrics.push(metrics);
                    own.steps.extend(steps);
                }
                MemberEvent::Diverged { id, epoch, cause } => {
                    all.entry(id).or_default().diverged = Some((epoch, cause));
                }
            });
            true
        });
        assert_eq!(end, CohortEnd::Finished);
        all
    }

    /// Runs `jobs` on both engines and compares everything they report.
    fn both(&self, jobs: &[MemberJob]) -> BTreeMap<usize, Outcome> {
        let (host, stacked) = (self.run(Device::Cpu, jobs), self.run(*PROGRAM, jobs));
        assert_eq!(host.keys().collect::<Vec<_>>(), stacked.keys().collect::<Vec<_>>());
        for (id, want) in &host {
            self.compare(*id, want, &stacked[id]);
        }
        stacked
    }

    fn compare(&self, id: usize, want: &Outcome, got: &Outcome) {
        assert_eq!(want.diverged, got.diverged, "member {id}");
        assert_eq!(want.steps.len(), got.steps.len(), "member {id}");
        for (i, (want, got)) in want.steps.iter().zip(&got.steps).enumerate() {
            for (name, field, limit) in FIGURES {
                near(&format!("member {id} step {i} {name}"), field(got), field(want), limit);
            }
        }
        for (want, got) in want.metrics.iter().zip(&got.metrics) {
            let at = format!("member {id} epoch {} val_loss", want.epoch);
            near(&at, got.get("val_loss").unwrap(), want.get("val_loss").unwrap(), 2e-5);
        }
        let (Some(want_end), Some(got_end)) = (&want.progress, &got.progress) else { return };
        assert_eq!(want_end.state.steps, got_end.state.steps);
        assert_eq!(want_end.epoch, got_end.epoch);
        near("beta", got_end.beta, want_end.beta, 1e-12);
        self.compare_flat(&format!("member {id} parameters"), &got.parameters, &want.parameters, 2e-4);
        self.compare_flat("first moments", &got_end.state.first, &want_end.state.first, 1e-4);
        self.compare_flat("second moments", &got_end.state.second, &want_end.state.second, 1e-4);
    }

    /// Segment by segment, relative to the segment's largest value.
    fn compare_flat(&self, what: &str, got: &[f32], want: &[f32], limit: f32) {
        assert_eq!(got.len(), want.len());
        for segment in &self.layout.segments {
            let range = segment.offset..segment.offset + segment.len();
            let scale = want[range.clone()].iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for i in range {
                let difference = (got[i] - want[i]).abs();
                let at = i - segment.offset;
                assert!(
                    difference <= limit * scale,
                    "{what} {}[{at}]: {} instead of {}",
                    segment.name,
                    got[i],
                    want[i]
                );
            }
        }
    }
}

/// A step's figures, and how far the engines may be apart. Of the norm a rounding error in the reference's scores makes
/// 1e-5 after ten steps, on one engine alone.
type Figure = (&'static str, fn(&StepRecord) -> f64, f64);
const FIGURES: [Figure; 6] = [
    ("loss", |s| s.loss, 2e-5),
    ("ppo", |s| s.ppo, 2e-5),
    ("kl", |s| s.kl, 2e-5),
    ("mean_ratio", |s| s.mean_ratio, 2e-5),
    ("beta", |s| s.beta, 2e-5),
    ("grad_norm", |s| s.grad_norm, 5e-5),
];

/// What one member reported.
#[derive(Debug, Default)]
struct Outcome {
    parameters: Vec<f32>,
    progress: Option<Progress>,
    metrics: Vec<EpochMetrics>,
    steps: Vec<StepRecord>,
    diverged: Option<(u32, Diverged)>,
}

fn near(what: &str, got: f64, want: f64, limit: f64) {
    assert!((got - want).abs() <= limit * want.abs().max(1.0), "{what}: {got} instead of {want}");
}

fn model(layers: usize, heads: usize) -> ModelParams {
    ModelParams { hidden: 8, layers, heads, ..ModelParams::default() }
}

const BACKBONE: [ParamGroup; 3] = [ParamGroup::InputProj, ParamGroup::QueryProj, ParamGroup::CandProj];
const HEAD: [ParamGroup; 2] = [ParamGroup::CrossAttn, ParamGroup::AttnNorms];

/// After one step from zero moments the first moment is a tenth of the clipped gradient.
#[test]
fn hand_derived_gradients_equal_autodiff() {
    let frozen: [&[ParamGroup]; 7] = [
        &[],
        &BACKBONE,
        &HEAD,
        &[ParamGroup::InputProj],
        &[ParamGroup::CandProj],
        &[ParamGroup::CrossAttn],
        &[ParamGroup::AttnNorms, ParamGroup::QueryProj],
    ];
    for (dim, layers, heads) in [(12, 2, 2), (8, 1, 1), (12, 1, 4), (8, 3, 2)] {
        for freeze in frozen {
            let world = World::new(dim, model(layers, heads), freeze, 1);
            let start = world.weights(1);
            let unclipped = 1e9;
            let jobs = [world.grpo(0, &start, |p| p.grad_clip = unclipped)];
            let outcome = world.both(&jobs.map(|job| MemberJob { last_epoch: 1, ..job })).remove(&0).unwrap();
            let state = outcome.progress.unwrap().state;
            let total = state.first.iter().map(|x| f64::from(x / 0.1).powi(2)).sum::<f64>().sqrt();
            near("norm of the gradient", total, outcome.steps[0].grad_norm, 1e-5);
            for segment in &world.layout.segments {
                let range = segment.offset..segment.offset + segment.len();
                let still = state.first[range.clone()].iter().all(|&x| x == 0.0);
                let frozen = world.freeze.contains(segment.group);
                assert_eq!(still, frozen, "{}", segment.name);
                if frozen {
                    assert_eq!(outcome.parameters[range.clone()], start[range], "{}", segment.name);
                }
            }
            world.both(
                &[world.rce(0, &start, |p| (p.epochs, p.grad_clip) = (1, unclipped))]
                    .map(|job| MemberJob { last_epoch: 1, ..job }),
            );
        }
    }
}

#[test]
fn grpo_members_with_different_settings_agree() {
    for freeze in [&[] as &[ParamGroup], &BACKBONE, &HEAD] {
        let world = World::usual(freeze, 7);
        let start = world.weights(1);
        let mut jobs = vec![
            world.grpo(0, &start, |_| ()),
            world.grpo(1, &start, |p| (p.lr, p.kl_beta) = (1e-4, 2.0)),
            world.grpo(2, &start, |p| p.seed = 5),
            world.grpo(3, &start, |p| (p.seed, p.clip_epsilon, p.weight_decay) = (5, 0.05, 0.1)),
            world.grpo(4, &start, |p| (p.kl_target, p.grad_clip) = (Some([0.01, 0.1]), 0.3)),
            world.grpo(5, &start, |p| (p.top_k, p.shuffle) = ([2, 2], false)),
            world.grpo(6, &start, |p| p.warmup_steps = 9),
        ];
        // Stops earlier than the others: the second epoch trains a part of the rows.
        jobs[1].last_epoch = 1;
        let outcome = world.both(&jobs);
        assert_eq!(outcome[&1].metrics.len(), 1);
        let betas: Vec<f64> = outcome[&4].steps.iter().map(|step| step.beta).collect();
        assert!(betas.iter().any(|beta| *beta != 0.15), "the adaptive KL never moved: {betas:?}");
    }
}

/// The first of four warm-up steps is one at a quarter of the learning rate, decay included; the fourth is one like all
/// others.
#[test]
fn a_warm_up_step_is_a_step_at_its_share_of_the_learning_rate() {
    let end = |groups: usize, lr: f64, warmup_steps: u32| {
        let world = World::usual(&[], groups);
        let start = world.weights(1);
        let jobs =
            [world.grpo(0, &start, |p| (p.lr, p.warmup_steps, p.weight_decay) = (lr, warmup_steps, 0.3))];
        world.both(&jobs.map(|job| MemberJob { last_epoch: 1, ..job }))[&0].parameters.clone()
    };
    assert_eq!(end(1, 1e-3, 4), end(1, 0.25e-3, 0));
    assert_ne!(end(2, 1e-3, 4), end(2, 0.25e-3, 0));
    assert_eq!(end(3, 1e-3, 1), end(3, 1e-3, 0));
}

#[test]
fn rce_members_with_different_settings_agree() {
    let world = World::usual(&[], 7);
    let (start, other) = (world.weights(1), world.weights(2));
    world.both(&[
        world.rce(0, &start, |_| ()),
        world.rce(1, &start, |p| (p.temperature, p.lr) = ([1.0, 1.0], 1e-4)),
        world.rce(4, &start, |p| (p.warmup_steps, p.weight_decay) = (3, 0.5)),
        world.rce(2, &other, |p| (p.seed, p.top1_only) = (4, true)),
        world.rce(3, &other, |_| ()),
    ]);
}

#[test]
fn members_whose_frozen_parameters_differ_agree() {
    for freeze in [&BACKBONE as &[ParamGroup], &HEAD, &[ParamGroup::InputProj]] {
        let world = World::usual(freeze, 5);
        let (one, two) = (world.weights(1), world.weights(2));
        world.both(&[
            world.grpo(0, &one, |_| ()),
            world.grpo(1, &two, |_| ()),
            world.grpo(2, &one, |p| p.seed = 9),
            world.grpo(3, &one, |p| p.lr = 2e-3),
        ]);
    }
}

#[test]
fn a_model_without_dropout_and_input_projection_agrees() {
    let model = ModelParams { dropout: 0.0, attn_dropout: 0.0, ..model(1, 2) };
    for freeze in [&[] as &[ParamGroup], &BACKBONE] {
        let world = World::new(8, model.clone(), freeze, 6);
        let start = world.weights(4);
        world.both(&[world.grpo(0, &start, |_| ()), world.grpo(1, &start, |p| p.seed = 1)]);
    }
}

#[test]
fn a_diverging_member_leaves_the_others_as_they_are() {
    let world = World::usual(&[], 6);
    let start = world.weights(1);
    let broken = Arc::new(vec![f32::NAN; world.layout.total]);
    for device in [Device::Cpu, *PROGRAM] {
        let good = || vec![world.grpo(0, &start, |_| ()), world.grpo(1, &start, |p| p.seed = 2)];
        let alone = world.run(device, &good());
        let mut jobs = good();
        jobs.insert(1, world.grpo(7, &start, |p| p.lr = 1e30));
        jobs.push(world.grpo(8, &broken, |_| ()));
        let together = world.run(device, &jobs);
        for id in [0, 1] {
            assert_eq!(together[&id].parameters, alone[&id].parameters, "{device}");
            assert_eq!(together[&id].steps, alone[&id].steps, "{device}");
        }
        assert_eq!(together[&8].diverged.as_ref().unwrap().1.step, 1);
        let (epoch, cause) = together[&7].diverged.clone().unwrap();
        assert!(epoch == 1 && cause.step > 1, "{device}: {cause}");
    }
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let world = World::usual(&[], 6);
    let start = world.weights(1);
    let whole = world.run(*PROGRAM, &[world.grpo(0, &start, |p| p.kl_target = Some([0.01, 0.1]))]);
    let first = MemberJob { last_epoch: 1, ..world.grpo(0, &start, |p| p.kl_target = Some([0.01, 0.1])) };
    let progress = world.run(*PROGRAM, std::slice::from_ref(&first)).remove(&0).unwrap().progress;
    let rest = world.run(*PROGRAM, &[MemberJob { last_epoch: 2, progress, ..first }]);
    assert_eq!(rest[&0].parameters, whole[&0].parameters);
    assert_eq!(rest[&0].metrics[0].get("beta"), whole[&0].metrics[1].get("beta"));
}

#[test]
fn a_member_alone_equals_the_same_member_in_a_cohort() {
    let world = World::usual(&BACKBONE, 6);
    let start = world.weights(1);
    let jobs: Vec<MemberJob> = (0..4).map(|id| world.grpo(id, &start, |p| p.seed = id as u64 % 3)).collect();
    let together = world.run(*PROGRAM, &jobs);
    for (id, job) in jobs.into_iter().enumerate() {
        let alone = world.run(*PROGRAM, &[job]);
        world.compare(id, &alone[&id], &together[&id]);
    }
}

#[test]
fn a_cancelled_epoch_reports_nothing() {
    let world = World::usual(&[], 4);
    let jobs = [world.grpo(0, &world.weights(1), |_| ())];
    for device in [Device::Cpu, *PROGRAM] {
        let cancel = Cancel::default();
        cancel.raise();
        let mut events = 0;
        let end = train_cohort(world.params(), device, &jobs, &cancel, &mut |_| {
            events += 1;
            true
        });
        assert_eq!((end, events), (CohortEnd::Cancelled, 0), "{device}");
    }
}

#[test]
fn evaluation_agrees_over_pools_of_different_sizes() {
    for (dim, layers, heads) in [(12, 2, 2), (8, 1, 1)] {
        let world = World::new(dim, model(layers, heads), &[], 9);
        let queries: Vec<Query> = world.train.iter().map(Query::of_group).collect();
        let flat = world.weights(3);
        let on = |device| scores_of(device, &world.layout, &flat, &world.embeddings, &queries, 0.1);
        let (host, stacked) = (on(Device::Cpu), on(*PROGRAM));
        assert_eq!(host.len(), 9);
        for (query, (want, got)) in queries.iter().zip(host.iter().zip(&stacked)) {
            assert_eq!((want.len(), got.len()), (query.pool.len(), query.pool.len()));
            for (want, got) in want.iter().zip(got) {
                near("score", f64::from(*got), f64::from(*want), 1e-5);
            }
        }
        assert!(on(*PROGRAM) == stacked, "the same scores twice");
    }
}

/// Numbers of one magnitude that differ beyond the 11 bits that TF32 keeps, so that rounded embeddings are all alike.
fn fine_world() -> World {
    let model = ModelParams { dropout: 0.0, attn_dropout: 0.0, ..model(1, 2) };
    let mut world = World::new(12, model, &[], 3);
    let mut numbers = Numbers(11);
    for (i, value) in world.embeddings.values.iter_mut().enumerate() {
        let sign = if (i % 12).is_multiple_of(3) { -1.0 } else { 1.0 };
        *value = sign * (1.0 + numbers.below(32) as f32 / 131_072.0);
    }
    world
}

/// The same with embeddings as a matrix product in TF32 reads them.
fn rounded(mut world: World) -> World {
    for value in &mut world.embeddings.values {
        // 10 bits of the fraction are kept, to the nearest.
        *value = f32::from_bits((value.to_bits() + 0x1000) & !0x1fff);
    }
    world
}

fn spread(values: &[f32]) -> f32 {
    let (least, most) =
        values.iter().fold((f32::MAX, f32::MIN), |(a, b), &value| (a.min(value), b.max(value)));
    most - least
}

/// With products that lose bits of f32 all candidates would be alike: neither their scores would differ, nor would there
/// be a gradient with respect to what projects them.
#[test]
fn products_keep_the_bits_of_f32() {
    let (fine, rough) = (fine_world(), rounded(fine_world()));
    let flat = fine.weights(3);
    let queries: Vec<Query> = fine.train.iter().map(Query::of_group).collect();
    let scores =
        |world: &World, device| scores_of(device, &world.layout, &flat, &world.embeddings, &queries, 0.1);
    let want = scores(&fine, Device::Cpu);
    for device in [Device::Flex, *PROGRAM] {
        for (want, got) in want.iter().zip(scores(&fine, device)) {
            let difference = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference < 0.1 * spread(want), "{device}: {got:?} instead of {want:?}");
        }
        for (want, got) in want.iter().zip(scores(&rough, device)) {
            assert!(spread(&got) < 0.1 * spread(want), "rounding cannot be seen: {got:?} and {want:?}");
        }
    }
    let gradients = |world: &World, device| {
        let jobs = [world.grpo(0, &flat, |_| ())].map(|job| MemberJob { last_epoch: 1, ..job });
        let outcome = world.run(device, &jobs).remove(&0).unwrap();
        let own = world.layout.segments.iter().filter(|one| one.name == "cand_proj.weight");
        let own: Vec<_> = own.map(|one| one.offset..one.offset + one.len()).collect();
        outcome.progress.unwrap().state.first[own[0].clone()].to_vec()
    };
    let (want, none) = (gradients(&fine, Device::Cpu), gradients(&rough, Device::Cpu));
    assert!(spread(&none) < 0.1 * spread(&want), "rounding cannot be seen: {none:?} and {want:?}");
    for device in [Device::Flex, *PROGRAM] {
        let got = gradients(&fine, device);
        let difference = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 0.1 * spread(&want), "{device}: {got:?} instead of {want:?}");
    }
}

#[test]
fn everything_frozen_leaves_every_parameter() {
    let world = World::usual(&[&BACKBONE as &[ParamGroup], &HEAD].concat(), 4);
    let start = world.weights(1);
    for device in [Device::Cpu, *PROGRAM] {
        let outcome = world.run(device, &[world.grpo(0, &start, |_| ())]);
        assert_eq!(outcome[&0].parameters, *start);
    }
}
