//! Time per member and training step against the width of the cohort, frozen and unfrozen, beside the machine's
//! matrix-multiplication peak measured in the same run.
//!
//! `cargo bench --bench step -- [--device cpu|flex|cuda:N|wgpu] [--widths 1,8,64] [--epochs N] [--groups N] [--save]`; data
//! of the race's size are made in memory. `--counts` instead counts on a GPU what a step costs with this program's kernels
//! and with burn's operators: launches, bytes, operations, time.

mod common;
#[path = "common/counts.rs"]
mod counts;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Distribution, Tensor};
use burn::{Dispatch, DispatchDevice};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sweep::device::{Device, DeviceRequest};
use sweep::experiment::Cancel;
use sweep::selector::GrpoParams;
use sweep::selector::data::{Embeddings, Group, Trajectory};
use sweep::selector::learn::{
    EngineParams, Layout, MemberEvent, MemberJob, MemberParams, RewardTable, Shape, fresh_weights,
    train_cohort,
};
use sweep::selector::{FreezeSet, ParamGroup};
use sweep::selector::{ModelParams, Params};

const WIDTHS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 256];
const ROWS: usize = 3000;
const DIM: usize = 512;
const POOL: usize = 64;
const TRAJECTORIES: usize = 12;
const LENGTH: usize = 2;
/// Training groups, which are the steps of an epoch; the best of so many epochs counts.
const GROUPS: usize = 32;
const EPOCHS: u32 = 4;
/// Numbers in the vector whose copy gives the memory's speed.
const COPIED: usize = 24 << 20;

/// Synthetic data in memory.
struct World {
    device: Device,
    epochs: u32,
    groups: usize,
    embeddings: Embeddings,
    train: Vec<Group>,
    labels: Vec<Vec<u32>>,
    rewards: Arc<RewardTable>,
    model: ModelParams,
    layout: Layout,
    start: Arc<Vec<f32>>,
}

impl World {
    /// `epochs` epochs of `groups` steps.
    fn new(device: Device, epochs: u32, groups: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut below = |count: usize| (random.next_u64() % count as u64) as usize;
        let values = (0..ROWS * DIM).map(|_| (below(2001) as f32 - 1000.0) / 13_000.0).collect();
        let train: Vec<Group> = (0..groups)
            .map(|query| Group {
                query_id: query as u64,
                pool: (0..POOL).map(|_| below(ROWS) as u32).collect(),
                trajectories: (0..TRAJECTORIES).map(|_| trajectory(below(POOL), below(POOL - 1))).collect(),
            })
            .collect();
        let table = |below: &mut dyn FnMut(usize) -> usize| -> Vec<Vec<f64>> {
            train.iter().map(|_| (0..TRAJECTORIES).map(|_| below(3) as f64).collect()).collect()
        };
        let (raw, normalized) = (table(&mut below), table(&mut below));
        let model = ModelParams::default();
        let layout = Layout::new(Shape::new(DIM, &model));
        let labels =
            train.iter().map(|group| group.trajectories.iter().flat_map(|t| t.pointer.clone()).collect());
        Self {
            device,
            epochs,
            groups,
            embeddings: Embeddings { rows: ROWS, dim: DIM, values },
            labels: labels.collect(),
            rewards: Arc::new(RewardTable { raw, normalized, validation: Vec::new() }),
            start: Arc::new(fresh_weights(&layout, 0)),
            train,
            model,
            layout,
        }
    }

    /// Seconds per member and step: the best epoch.
    fn time(&self, freeze: &FreezeSet, members: usize) -> f64 {
        let mut best = f64::INFINITY;
        self.train(freeze, members, &mut |seconds| best = best.min(seconds));
        best / (self.groups * members) as f64
    }

    /// Trains; `epoch` gets the seconds of every epoch.
    fn train(&self, freeze: &FreezeSet, members: usize, epoch: &mut dyn FnMut(f64)) {
        let params = EngineParams {
            shape: self.layout.shape,
            model: &self.model,
            freeze,
            embeddings: &self.embeddings,
            train: &self.train,
            validation: &[],
            labels: &self.labels,
            length: LENGTH,
        };
        let jobs: Vec<MemberJob> = (0..members).map(|member| self.job(freeze, member)).collect();
        // Members are reported a few at a time.
        train_cohort(params, self.device, &jobs, &Cancel::default(), &mut |events| {
            if let Some(MemberEvent::Epoch { id: 0, metrics, .. }) = events.first() {
                epoch(metrics.get("seconds").expect("a time"));
            }
            true
        });
    }

    /// Members of a grid: one seed, other KL_BETA and learning rate.
    fn job(&self, freeze: &FreezeSet, member: usize) -> MemberJob {
        let mut config = Params::default();
        config.train.freeze = freeze.clone();
        config.train.kl_beta = 0.1 + 0.01 * member as f64;
        config.train.grpo_lr = 5e-6 * (1 + member % 3) as f64;
        MemberJob {
            id: member,
            params: MemberParams::Grpo(GrpoParams::of(&config)),
            rewards: Arc::clone(&self.rewards),
            start: Arc::clone(&self.start),
            reference: Arc::clone(&self.start),
            last_epoch: self.epochs,
            progress: None,
        }
    }
}

fn trajectory(first: usize, other: usize) -> Trajectory {
    let second = if other >= first { other + 1 } else { other };
    Trajectory {
        pointer: vec![first as u32, second as u32],
        beam_score: None,
        logprob_score: None,
        correct: None,
        acc_score: None,
        gt_prob: None,
        rel_score: None,
    }
}

/// Floating-point operations of one member's step in a cohort of `members` that walk together: the table in
/// `benches/engine.md`.
fn operations(frozen: bool, members: usize, layout: &Layout) -> f64 {
    let (k, d, h) = (POOL as f64, DIM as f64, layout.shape.hidden as f64);
    let every = 24.0 * h * h + 10.0 * k * h;
    let projections = h * d + 2.0 * h * h;
    match frozen {
        true => every + 2.0 * k * h * h / members as f64 + 15.0 * (layout.total as f64 - projections),
        false => every + 4.0 * k * d * h + 6.0 * k * h * h + 15.0 * layout.total as f64,
    }
}

/// Bytes that the optimizer of one member's step has to move: p, m and v once in and once out, and for the projections of
/// the candidates a gradient that is stored, squared and read.
fn optimizer_bytes(frozen: bool, layout: &Layout) -> f64 {
    let h = layout.shape.hidden as f64;
    let (input, square) = (h * DIM as f64, h * h);
    match frozen {
        true => 24.0 * (layout.total as f64 - input - 2.0 * square),
        false => 24.0 * layout.total as f64 + 12.0 * (input + square),
    }
}

/// Bytes per second that the device's memory moves: a long vector plus one, the best of several.
fn memory_speed(device: Device) -> f64 {
    let Some(device) = device.burn_device() else { return f64::NAN };
    let len = if matches!(device, DispatchDevice::Flex(_)) { COPIED / 8 } else { COPIED };
    let vector = Tensor::<Dispatch, 1>::zeros([len], &device);
    let mut best = 0.0f64;
    for _ in 0..5 {
        let began = Instant::now();
        let mut last = vector.clone() + 1.0;
        for _ in 1..8 {
            last = std::hint::black_box(vector.clone() + 1.0);
        }
        std::hint::black_box(last.narrow(0, 0, 1).into_data());
        best = best.max((8 * 8 * len) as f64 / began.elapsed().as_secs_f64());
    }
    best
}

/// Operations per second of burn's matrix product, `[m, k] x [k, n]`: the best of several. On a CPU, where burn computes
/// one product on one core, every core computes its own at the same time.
fn matmul_peak(device: Device, m: usize, k: usize, n: usize) -> f64 {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if device.is_gpu() { 1 } else { cores() };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| matmul_speed(device, m, k, n))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

fn matmul_speed(device: Device, m: usize, k: usize, n: usize) -> f64 {
    // On the CPU, whose own engine is no backend of burn's, burn's CPU backend is what to compare with.
    let device = device.burn_device().unwrap_or(DispatchDevice::Flex(burn::backend::flex::FlexDevice));
    let random = |shape: [usize; 2]| -> Tensor<Dispatch, 2> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &device)
    };
    let (a, b) = (random([m, k]), random([k, n]));
    let operations = 2.0 * (m * k * n) as f64;
    let repeats = (4e9 / operations).ceil() as usize;
    let mut best = 0.0f64;
    for _ in 0..5 {
        let began = Instant::now();
        let mut last = a.clone().matmul(b.clone());
        for _ in 1..repeats {
            last = std::hint::black_box(a.clone().matmul(b.clone()));
        }
        // A GPU works behind the program's back: reading a value waits for it.
        std::hint::black_box(last.slice([0..1, 0..1]).into_data());
        best = best.max(operations * repeats as f64 / began.elapsed().as_secs_f64());
    }
    best
}

#[expect(clippy::print_stderr, reason = "a bench's message")]
fn main() {
    let wanted = common::option("--device").unwrap_or_else(|| "cpu".to_owned());
    match wanted.parse::<DeviceRequest>().and_then(DeviceRequest::resolve) {
        Ok(device) if common::flag("--epoch-lines") => counts::lines(device),
        Ok(device) if common::flag("--counts") => counts::bench(device),
        Ok(device) => bench(device),
        Err(error) => eprintln!("error: {error}"),
    }
}

/// The number after `--name`.
fn number<N: std::str::FromStr>(name: &str, usual: N) -> N {
    common::option(name).and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn backbone() -> FreezeSet {
    FreezeSet(ParamGroup::ALL.into_iter().filter(|group| group.is_backbone()).collect())
}

/// Widths to measure: `--widths`, or all; 256 members are for GPUs, on a CPU they only fill memory.
fn widths(device: Device) -> Vec<usize> {
    let given = common::option("--widths");
    let all = || WIDTHS.into_iter().filter(|&width| width <= 64 || device.is_gpu()).collect();
    given.map_or_else(all, |list| list.split(',').filter_map(|width| width.parse().ok()).collect())
}

fn bench(device: Device) {
    let (epochs, groups) = (number("--epochs", EPOCHS), number("--groups", GROUPS));
    let mut text = format!("# One training step on {device}\n\n{}", common::machine());
    let hidden = ModelParams::default().hidden;
    let peak = matmul_peak(device, 1024, 1024, 1024);
    let _ = writeln!(
        text,
        "- burn's matrix product on all cores: {:.1} GFLOP/s at 1024^3, {:.1} at [{POOL}, {DIM}] x [{DIM}, {hidden}], {:.1} at [{POOL}, {hidden}] x [{hidden}, {hidden}]\n",
        peak / 1e9,
        matmul_peak(device, POOL, DIM, hidden) / 1e9,
        matmul_peak(device, POOL, hidden, hidden) / 1e9,
    );
    if device.is_gpu() {
        let _ = writeln!(text, "- memory: {:.1} GB/s (a long vector plus one)\n", memory_speed(device) / 1e9);
    }
    let _ = writeln!(
        text,
        "GRPO, one seed, K = {POOL}, d = {DIM}, h = {hidden}, {TRAJECTORIES} trajectories of {LENGTH}; best of {epochs} epochs of {groups} steps.\n"
    );
    text += "| frozen | members | us per member and step | of G = 1 | MFLOP | GFLOP/s | of the peak at 1024^3 | optimizer, MB | GB/s if it were all | peak memory so far, MB |\n";
    text += "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    let world = World::new(device, epochs, groups);
    for (name, freeze) in [("backbone", backbone()), ("nothing", FreezeSet::default())] {
        let mut alone = None;
        for members in widths(device) {
            let seconds = world.time(&freeze, members);
            let alone = *alone.get_or_insert(seconds);
            let operations = operations(!freeze.is_empty(), members, &world.layout);
            let bytes = optimizer_bytes(!freeze.is_empty(), &world.layout);
            let _ = writeln!(
                text,
                "| {name} | {members} | {:.0} | {:.2} | {:.1} | {:.1} | {:.0} % | {:.1} | {:.1} | {:.0} |",
                seconds * 1e6,
                seconds / alone,
                operations / 1e6,
                operations / seconds / 1e9,
                100.0 * operations / seconds / peak,
                bytes / 1e6,
                bytes / seconds / 1e9,
                common::peak_memory("self").unwrap_or(f64::NAN),
            );
        }
    }
    let name = format!("step-{}", device.to_string().replace(':', ""));
    common::report(&name, &text);
}
