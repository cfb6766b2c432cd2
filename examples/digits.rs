//! A model of your own under `sweep`: handwritten digits, a multilayer perceptron and a small convolutional network, with
//! burn's modules, burn's gradients and burn's AdamW. `docs/your-own-model.md` walks through it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use burn::{Dispatch, DispatchDevice};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::json;
use sweep::checkpoint::{Facts, Weights};
use sweep::device::Device;
use sweep::experiment::{
    Cancel, Chains, CohortEnd, Continuation, Examined, Experiment, Flaw, Job, Misfit, OpenError, Opened,
    Parameters, Report,
};
use sweep::figure::{Better, Chart, EpochFigure, EpochMetrics};
use sweep::finite::Finite;
use sweep::modules::{self, AdamWFor, EpochEnd, burn_device};
use sweep::plan::{INIT, Link, Traits, Work};
use sweep::record::{QueryScore, ReferenceResult};
use sweep::spec::{
    Columns, Config, Key, Kind, Limits, Names, OwnTable, Schema, SweepSpec, Value, no_clash, nothing_idle,
};

// 1. The models: nothing in them knows of sweeps.

#[derive(Module, Debug)]
struct Mlp<B: Backend> {
    first: Linear<B>,
    last: Linear<B>,
}

#[derive(Module, Debug)]
struct Cnn<B: Backend> {
    first: Conv2d<B>,
    second: Conv2d<B>,
    pool: MaxPool2d,
    last: Linear<B>,
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
enum Model<B: Backend> {
    Mlp(Mlp<B>),
    Cnn(Cnn<B>),
}

type Net = Model<Dispatch>;

impl<B: Backend> Model<B> {
    fn new(kind: &str, hidden: usize, device: &B::Device) -> Self {
        let conv =
            |channels| Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same).init(device);
        match kind {
            "cnn" => Self::Cnn(Cnn {
                first: conv([1, hidden]),
                second: conv([hidden, hidden]),
                pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
                last: LinearConfig::new(4 * hidden, 10).init(device),
            }),
            _ => Self::Mlp(Mlp {
                first: LinearConfig::new(64, hidden).init(device),
                last: LinearConfig::new(hidden, 10).init(device),
            }),
        }
    }

    /// Images `[n, 64]` -> logits `[n, 10]`.
    fn forward(&self, images: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Mlp(net) => net.last.forward(relu(net.first.forward(images))),
            Self::Cnn(net) => {
                let x = net.pool.forward(relu(net.first.forward(images.reshape([-1, 1, 8, 8]))));
                let x = net.pool.forward(relu(net.second.forward(x)));
                net.last.forward(x.flatten(1, 3))
            }
        }
    }

    /// The first layer stays as it is.
    fn freeze_first(self) -> Self {
        match self {
            Self::Mlp(net) => Self::Mlp(Mlp { first: net.first.no_grad(), ..net }),
            Self::Cnn(net) => Self::Cnn(Cnn { first: net.first.no_grad(), ..net }),
        }
    }
}

// 2. The data: see `sweeps/data/digits/README.md`.

/// Images, 64 numbers from 0 to 1 each, and the digit that each shows.
#[derive(Default)]
struct Part {
    images: Vec<f32>,
    labels: Vec<i32>,
}

impl Part {
    fn tensors(&self, device: &DispatchDevice) -> (Tensor<Dispatch, 2>, Tensor<Dispatch, 1, Int>) {
        let (images, labels) = (self.images.clone(), self.labels.clone());
        let count = labels.len();
        let images = Tensor::from_data(TensorData::new(images, [count, 64]), device);
        (images, Tensor::from_data(TensorData::new(labels, [count]), device))
    }
}

/// Training, validation and test images of a gzip'ed CSV, and the hash of the file.
fn read_parts(path: &Path) -> anyhow::Result<([Part; 3], String)> {
    let bytes = fs_err::read(path)?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
    let mut parts = [Part::default(), Part::default(), Part::default()];
    let rows = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes()).into_deserialize();
    for (number, row) in rows.enumerate() {
        let row: Vec<u8> = row?;
        anyhow::ensure!(row.len() == 65, "{}: row {number} is not 64 pixels and a digit", path.display());
        // Cut between the forms that people filled in.
        let part = &mut parts[usize::from(number >= 1029) + usize::from(number >= 1157)];
        part.images.extend(row[..64].iter().map(|&ink| f32::from(ink) / 16.0));
        part.labels.push(i32::from(row[64]));
    }
    Ok((parts, blake3::hash(&bytes).to_hex().to_string()))
}

// 3. The keys of a sweep file, and what a point gives them.

static DATA: OwnTable = OwnTable { name: "data", doc: "the images", axes: false };
static MODEL: OwnTable = OwnTable { name: "model", doc: "which network, and how wide", axes: true };
static TRAIN: OwnTable = OwnTable { name: "train", doc: "how it learns", axes: true };

/// Layers that can be frozen.
static LAYERS: Names = Names {
    members: &["first"],
    aliases: &[],
    empty: "unfrozen",
    usage: "write `[\"first\"]` to freeze the first layer, `[]` to freeze nothing",
};

const NETWORKS: &[&str] = &["mlp", "cnn"];
const RATE: Kind = Kind::Number(Limits::Positive);
const DECAY: Kind = Kind::Number(Limits::NonNegative);
const COUNT: Kind = Kind::Count { min: 1, max: 65_536 };
const SEED: Kind = Kind::Count { min: 0, max: u64::MAX };

#[rustfmt::skip]
static SCHEMA: Schema = Schema {
    name: "digits",
    tables: &[&DATA, &MODEL, &TRAIN],
    keys: &[
        Key::new(&DATA, "images", Kind::Path, Value::no_path, "The images (gzip'ed CSV). Relative to the sweep file."),
        Key::new(&MODEL, "kind", Kind::Choice(NETWORKS), || Value::text("mlp"), "The network."),
        Key::new(&MODEL, "hidden", COUNT, || Value::Count(32), "Hidden units, or channels.").short("hid"),
        Key::new(&TRAIN, "lr", RATE, || Value::Number(1e-3), "Learning rate of AdamW.").short("lr"),
        Key::new(&TRAIN, "weight_decay", DECAY, || Value::Number(0.01), "Weight decay of AdamW.").short("wd"),
        Key::new(&TRAIN, "epochs", COUNT, || Value::Count(4), "Epochs.").short("ep"),
        Key::new(&TRAIN, "freeze", Kind::Set(&LAYERS), || Value::Set(LAYERS.none()), "Layers that stay as they are."),
        Key::new(&TRAIN, "batch", COUNT, || Value::Count(32), "Images a step.").short("batch"),
        Key::new(&TRAIN, "seed", SEED, || Value::Count(0), "Seed of weights and of the order of images.").short("s"),
    ],
    figures: FIGURES,
    columns: Columns { id: |_| "accuracy".to_owned(), title: |_| "Accuracy".to_owned(), unit: "" },
    shares: &[],
    clash: no_clash,
    clashing: &[],
    idle: nothing_idle,
};

#[rustfmt::skip]
static FIGURES: &[EpochFigure] = &[
    EpochFigure {
        told: Some(0), charts: &[Chart::new(0, "train-loss", "Training loss")],
        ..EpochFigure::new("train_loss", Better::Lower, "Cross-entropy, mean over the images.")
    },
    EpochFigure {
        told: Some(1), charts: &[Chart { first: true, ..Chart::new(1, "val-loss", "Validation loss") }],
        ..EpochFigure::new("val_loss", Better::Lower, "Cross-entropy on the validation images.")
    },
    EpochFigure {
        told: Some(2), charts: &[Chart { first: true, ..Chart::new(2, "val-accuracy", "Validation accuracy") }],
        ..EpochFigure::new("val_accuracy", Better::Higher, "Share of the validation images that are read right.")
    },
    EpochFigure { unit: "s", of_machine: true, ..EpochFigure::new("seconds", Better::Lower, "Wall time.") },
];

/// What a point gives the keys.
#[derive(Clone, Debug)]
struct Settings {
    kind: String,
    hidden: usize,
    lr: f64,
    weight_decay: f64,
    epochs: u32,
    /// Nothing, or `first`.
    freeze: Vec<String>,
    batch: usize,
    seed: u64,
}

impl Settings {
    fn of(point: &Config) -> Result<Self, String> {
        Ok(Self {
            kind: point.value("model.kind")?,
            hidden: point.value("model.hidden")?,
            lr: point.value("train.lr")?,
            weight_decay: point.value("train.weight_decay")?,
            epochs: point.value("train.epochs")?,
            freeze: point.value("train.freeze")?,
            batch: point.value("train.batch")?,
            seed: point.value("train.seed")?,
        })
    }

    fn model(&self, device: &DispatchDevice) -> Net {
        Model::new(&self.kind, self.hidden, device)
    }

    fn optimizer(&self) -> AdamWFor<Net> {
        AdamWConfig::new().with_weight_decay(self.weight_decay as f32).with_epsilon(1e-8).init()
    }
}

// 4. What points train.

/// The data, and the works that the points of a sweep consist of.
struct Prepared {
    train: Part,
    validation: Part,
    test: Part,
    inputs: BTreeMap<String, String>,
    /// Each with the settings of a point that asks for it; of those only what stands in the work's values is used.
    works: Vec<(Work, Settings)>,
    /// Of each point.
    chains: Vec<Vec<Link>>,
}

impl Prepared {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let ([train, validation, test], hash) = read_parts(path)?;
        let inputs = [("data.images".to_owned(), hash)].into();
        Ok(Self { train, validation, test, inputs, works: Vec::new(), chains: Vec::new() })
    }

    /// A point's training, from the beginning: draw a model, train it.
    fn chain(&mut self, point: &Settings) -> Vec<Link> {
        let Settings { kind, hidden, lr, weight_decay, epochs, freeze, batch, seed } = point;
        let model = json!({ "kind": kind, "hidden": hidden, "seed": seed });
        let train = json!({
            "model": model, "data": self.inputs["data.images"], "lr": lr, "weight_decay": weight_decay,
            "freeze": freeze, "batch": batch,
        });
        let init = self.work(point, INIT, &model);
        let train = self.work(point, "train", &train);
        vec![
            Link { work: init, epochs: 0, reference: None },
            Link { work: train, epochs: *epochs, reference: None },
        ]
    }

    /// The number of the work that has these values.
    fn work(&mut self, point: &Settings, phase: &str, values: &serde_json::Value) -> usize {
        let Settings { kind, hidden, freeze, batch, .. } = point;
        let traits = Traits {
            phase: phase.to_owned(),
            lane: format!("{kind} {hidden} {freeze:?} {batch}"),
            // A run of four epochs begins with the run of two.
            whole: None,
            frozen: if phase == INIT { Vec::new() } else { freeze.clone() },
        };
        let work = Work { values: values.to_string(), traits };
        let known = self.works.iter().position(|(known, _)| *known == work);
        known.unwrap_or_else(|| {
            self.works.push((work, point.clone()));
            self.works.len() - 1
        })
    }
}

// 5. Training.

/// A job's model and optimizer, as they are when its next epoch begins.
fn begin(point: &Settings, job: &Job, device: &DispatchDevice) -> Result<(Net, AdamWFor<Net>), String> {
    let weights = job.resume.as_ref().map_or(&job.start, |(weights, _)| weights);
    let mut model = modules::with_weights(point.model(device), weights)?;
    if !point.freeze.is_empty() {
        model = model.freeze_first();
    }
    let optimizer = match &job.resume {
        None => point.optimizer(),
        Some((_, state)) => modules::resume(&model, point.optimizer(), &mut state.clone())?,
    };
    Ok((model, optimizer))
}

/// The order of an epoch's images: it depends on seed and epoch alone, however the epoch was reached.
fn order(count: usize, seed: u64, epoch: u32) -> Vec<i32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(u64::from(epoch));
    let mut order: Vec<i32> = (0..count as i32).collect();
    for last in (1..count).rev() {
        order.swap(last, (generator.next_u64() % (last as u64 + 1)) as usize);
    }
    order
}

/// Per image, the logarithms of the ten probabilities.
fn log_probs(model: &Net, images: Tensor<Dispatch, 2>) -> Vec<Vec<f32>> {
    let values = log_softmax(model.forward(images), 1).into_data().into_vec::<f32>().unwrap_or_default();
    values.chunks(10).map(<[f32]>::to_vec).collect()
}

/// The digit that is most probable.
fn choice(log_probs: &[f32]) -> usize {
    (0..10).max_by(|&a, &b| log_probs[a].total_cmp(&log_probs[b])).unwrap_or(0)
}

impl Prepared {
    /// Trains one job to its end; false when it is told to stop before.
    fn train_one(
        &self,
        job: &Job,
        (mut model, mut optimizer): (Net, AdamWFor<Net>),
        device: &DispatchDevice,
        cancel: &Cancel,
        report: &mut dyn FnMut(Vec<Report>) -> bool,
    ) -> bool {
        let point = &self.works[job.work].1;
        let learning = DispatchDevice::autodiff(device.clone());
        let (images, labels) = self.train.tensors(&learning);
        let loss_of = CrossEntropyLossConfig::new().init(&learning);
        for epoch in job.first_epoch()..=job.last_epoch {
            let began = Instant::now();
            let mut losses = Tensor::<Dispatch, 1>::zeros([1], device);
            for batch in order(self.train.labels.len(), point.seed, epoch).chunks(point.batch) {
                if cancel.is_raised() {
                    return false;
                }
                let rows = Tensor::<Dispatch, 1, Int>::from_data(batch, device);
                let logits = model.forward(images.clone().select(0, rows.clone()));
                let loss = loss_of.forward(logits, labels.clone().select(0, rows));
                losses = losses + loss.clone().inner() * batch.len() as f64;
                let gradients = GradientsParams::from_grads(loss.backward(), &model);
                model = optimizer.step(point.lr, model, gradients);
                cancel.count_steps(batch.len() as u64);
            }
            let train_loss = f64::from(losses.into_scalar()) / self.train.labels.len() as f64;
            let mut metrics =
                EpochMetrics::new(FIGURES, "train", epoch).with("train_loss", Finite::new(train_loss));
            self.validate(&model, device, &mut metrics);
            metrics.set("seconds", Some(began.elapsed().into()));
            let unusable = ["train_loss", "val_loss"].into_iter().find(|name| metrics.get(name).is_none());
            let end = match unusable {
                Some(name) => Report::Diverged { id: job.id, epoch, cause: format!("{name} is not finite") },
                None => {
                    let snapshot = Box::new(EpochEnd::of(epoch, &model, &optimizer));
                    Report::Epoch { id: job.id, metrics, stopped: false, snapshot }
                }
            };
            if !report(vec![end]) {
                return false;
            }
            if unusable.is_some() {
                break;
            }
        }
        true
    }

    fn validate(&self, model: &Net, device: &DispatchDevice, metrics: &mut EpochMetrics) {
        let model = burn::module::AutodiffModule::valid(model);
        let found = log_probs(&model, self.validation.tensors(device).0);
        let pairs = || found.iter().zip(self.validation.labels.iter().map(|&label| label as usize));
        let loss = pairs().map(|(found, label)| -f64::from(found[label])).sum::<f64>();
        let right = pairs().filter(|(found, label)| choice(found) == *label).count();
        metrics.set("val_loss", Finite::new(loss / found.len() as f64));
        metrics.set("val_accuracy", Finite::new(right as f64 / found.len() as f64));
    }

    /// The nearest training image's digit.
    fn nearest(&self, image: &[f32]) -> i32 {
        let distance = |other: &[f32]| other.iter().zip(image).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let others = self.train.images.chunks(64).map(distance).zip(&self.train.labels);
        others.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(0, |(_, label)| *label)
    }

    /// What a policy scores that answers test image `n` with `answer(n)`.
    fn scores(&self, answer: impl Fn(usize) -> i32) -> BTreeMap<usize, Vec<Finite>> {
        let right = |(at, label): (usize, &i32)| Finite::new(f64::from(u8::from(answer(at) == *label)));
        [(1, self.test.labels.iter().enumerate().filter_map(right).collect())].into()
    }
}

// 6. The contract between `sweep` and what it trains.

struct Digits;

impl Experiment for Digits {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn open(&self, sweep: &SweepSpec) -> Result<Box<dyn Opened>, OpenError> {
        let images: PathBuf = match sweep.points.first() {
            Some(point) => point.config.value("data.images")?,
            None => return Err("the sweep has no points".into()),
        };
        let mut prepared = Prepared::open(&images)?;
        for point in &sweep.points {
            let chain = prepared.chain(&Settings::of(&point.config)?);
            prepared.chains.push(chain);
        }
        Ok(Box::new(prepared))
    }
}

impl Opened for Prepared {
    fn chains(&self) -> Chains {
        let works = self.works.iter().map(|(work, _)| work.clone()).collect();
        Chains { works, chains: self.chains.clone(), version: 1 }
    }

    fn about(&self, work: usize) -> String {
        let (Work { traits, .. }, Settings { kind, hidden, seed, .. }) = &self.works[work];
        match traits.trains() {
            false => format!("{kind} of width {hidden}, seed {seed}"),
            true if traits.frozen.is_empty() => format!("{kind} of width {hidden}"),
            true => format!("{kind} of width {hidden}, first layer frozen"),
        }
    }

    /// One: every test image counts.
    fn columns(&self) -> Vec<usize> {
        vec![1]
    }

    fn inputs(&self) -> &BTreeMap<String, String> {
        &self.inputs
    }

    /// An image is a step, so that an epoch has as many whatever the batch is.
    fn steps(&self) -> u64 {
        self.train.labels.len() as u64
    }

    fn parameters(&self, work: usize) -> Parameters {
        let (Work { traits, .. }, point) = &self.works[work];
        let sizes = modules::sizes(&point.model(&burn_device(Device::Cpu)));
        let trained = |name: &str| traits.trains() && !traits.freezes(name);
        Parameters {
            trainable: sizes.iter().filter(|(name, _)| trained(name)).map(|(_, size)| size).sum(),
            total: sizes.values().sum(),
        }
    }

    fn initial(&self, work: usize) -> Weights {
        let point = &self.works[work].1;
        modules::fresh(point.seed, |device| point.model(device))
    }

    fn check(&self, work: usize, mut state: Continuation) -> Result<(), String> {
        let point = &self.works[work].1;
        let model = point.model(&DispatchDevice::autodiff(burn_device(Device::Cpu)));
        modules::resume(&model, point.optimizer(), &mut state).map(drop)
    }

    /// One after the other: a job alone is the same as a job in company.
    fn train(
        &self,
        jobs: &[Job],
        device: Device,
        cancel: &Cancel,
        report: &mut dyn FnMut(Vec<Report>) -> bool,
    ) -> Result<CohortEnd, Misfit> {
        let device = burn_device(device);
        let learning = DispatchDevice::autodiff(device.clone());
        let ready = |job: &Job| begin(&self.works[job.work].1, job, &learning);
        for job in jobs {
            ready(job).map_err(|cause| Misfit { id: job.id, cause })?;
        }
        for job in jobs {
            let begun = ready(job).map_err(|cause| Misfit { id: job.id, cause })?;
            if !self.train_one(job, begun, &device, cancel, report) {
                return Ok(CohortEnd::Cancelled);
            }
        }
        Ok(CohortEnd::Finished)
    }

    fn data_bytes(&self) -> u64 {
        let parts = [&self.train, &self.validation, &self.test];
        parts.iter().map(|part| 4 * (part.images.len() + part.labels.len()) as u64).sum()
    }

    /// The weights that jobs start from, and one job's model with gradients, moments and what is written of it.
    fn training_bytes(&self, work: usize, _: usize, starts: usize) -> u64 {
        4 * (self.parameters(work).total * (starts + 8)) as u64
    }

    fn evaluation(&self) -> Option<String> {
        Some(format!("accuracy on {} rows of {}", self.test.labels.len(), self.inputs["data.images"]))
    }

    fn inputs_examined(&self) -> usize {
        self.test.labels.len()
    }

    fn examine(&self, work: usize, weights: &Weights, device: Device) -> Result<Examined, Flaw> {
        let device = burn_device(device);
        let model = self.works[work].1.model(&device);
        let model = modules::with_weights(model, weights).map_err(Flaw::Misfit)?;
        let found = log_probs(&model, self.test.tensors(&device).0);
        let score = |(at, (found, label)): (usize, (&Vec<f32>, &i32))| {
            let digit = choice(found);
            let log_prob = Finite::new(f64::from(found[digit]));
            Ok(QueryScore {
                query_id: at as u64,
                shot: 1,
                selection: vec![digit as u32],
                trajectory: None,
                score: Finite::new(f64::from(u8::from(digit as i32 == *label))).unwrap_or_default(),
                log_prob: log_prob.ok_or_else(|| Flaw::NotFinite(format!("probabilities of row {at}")))?,
                answer: None,
            })
        };
        let scores: Result<_, Flaw> = found.iter().zip(&self.test.labels).enumerate().map(score).collect();
        Ok(Examined::Scored([(1, scores?)].into()))
    }

    fn references(&self) -> Vec<ReferenceResult> {
        let often = |digit: &i32| self.train.labels.iter().filter(|label| *label == digit).count();
        let majority = (0..10).max_by_key(often).unwrap_or(0);
        let nearest = |at: usize| self.nearest(&self.test.images[64 * at..64 * (at + 1)]);
        vec![
            ReferenceResult { name: "majority".to_owned(), scores: self.scores(|_| majority) },
            ReferenceResult { name: "nearest".to_owned(), scores: self.scores(nearest) },
        ]
    }

    fn facts(&self, chain: &[usize], _: Option<&EpochMetrics>) -> Facts {
        let Some((work, point)) = chain.first().map(|&work| &self.works[work]) else {
            return Facts::default();
        };
        Facts {
            config: serde_json::from_str(&work.values).ok(),
            lr: work.traits.trains().then_some(point.lr),
            data: Some(self.inputs["data.images"].clone()),
            ..Facts::default()
        }
    }
}

// 7. The program.

fn main() -> ExitCode {
    sweep::cli::main(&[&Digits])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn point(kind: &str) -> Settings {
        Settings {
            kind: kind.to_owned(),
            hidden: if kind == "cnn" { 16 } else { 32 },
            lr: 0.005,
            weight_decay: 0.01,
            epochs: 3,
            freeze: Vec::new(),
            batch: 32,
            seed: 0,
        }
    }

    fn open() -> Prepared {
        Prepared::open(Path::new("sweeps/data/digits/digits.csv.gz")).unwrap()
    }

    struct Trained {
        metrics: EpochMetrics,
        weights: Weights,
        state: Continuation,
    }

    /// What the jobs had come to after each epoch, by their ids.
    fn train(digits: &Prepared, jobs: &[Job]) -> BTreeMap<(usize, u32), Trained> {
        let mut found = BTreeMap::new();
        let mut take = |reports: Vec<Report>| {
            for report in reports {
                let Report::Epoch { id, metrics, snapshot, .. } = report else { panic!("diverged") };
                let weights = snapshot.weights();
                found.insert((id, metrics.epoch), Trained { metrics, weights, state: snapshot.state() });
            }
            true
        };
        let end = digits.train(jobs, Device::Cpu, &Cancel::default(), &mut take).unwrap();
        assert_eq!(end, CohortEnd::Finished);
        found
    }

    /// The last work of the point as a job, from fresh weights.
    fn job(digits: &mut Prepared, id: usize, point: &Settings) -> Job {
        let chain = digits.chain(point);
        let start = Arc::new(digits.initial(chain[0].work));
        Job { id, work: chain[1].work, start, reference: None, last_epoch: point.epochs, resume: None }
    }

    #[test]
    fn stopped_and_gone_on_is_undisturbed_alone_and_in_company() {
        let mut digits = open();
        for kind in ["mlp", "cnn"] {
            let frozen = Settings { freeze: vec!["first".to_owned()], ..point(kind) };
            let jobs = [job(&mut digits, 0, &point(kind)), job(&mut digits, 1, &frozen)];
            let mut together = train(&digits, &jobs);
            for job in &jobs {
                let id = job.id;
                let whole = together.remove(&(id, 3)).unwrap();
                let half = train(&digits, &[Job { last_epoch: 2, ..job.clone() }]).remove(&(id, 2)).unwrap();
                digits.check(job.work, half.state.clone()).unwrap();
                let resume = Some((Arc::new(half.weights), half.state));
                let on = train(&digits, &[Job { resume, ..job.clone() }]).remove(&(id, 3)).unwrap();
                assert_eq!((on.weights, on.state), (whole.weights.clone(), whole.state), "{kind} {id}");
                assert!(on.metrics.results(FIGURES).eq(whole.metrics.results(FIGURES)), "{kind} {id}");
                assert_eq!(whole.weights["first.weight"] == job.start["first.weight"], id == 1);
            }
        }
    }

    #[test]
    fn both_models_read_digits() {
        let mut digits = open();
        for kind in ["mlp", "cnn"] {
            let job = job(&mut digits, 0, &point(kind));
            let trained = train(&digits, std::slice::from_ref(&job)).remove(&(0, 3)).unwrap();
            let Ok(Examined::Scored(scores)) = digits.examine(job.work, &trained.weights, Device::Cpu) else {
                panic!("no judge is asked")
            };
            let right: f64 = scores[&1].iter().map(|score| *score.score).sum();
            let accuracy = right / digits.inputs_examined() as f64;
            assert!(accuracy > 0.85, "{kind}: {accuracy}");
        }
        let references = digits.references();
        let right = |at: usize| references[at].scores[&1].iter().map(|score| score.get()).sum::<f64>();
        assert_eq!((references[0].name.as_str(), references[1].name.as_str()), ("majority", "nearest"));
        assert!(right(0) < 0.15 * 640.0 && right(1) > 0.9 * 640.0, "{} {}", right(0), right(1));
    }

    #[test]
    fn a_learning_rate_that_is_too_large_diverges() {
        let mut digits = open();
        let job = job(&mut digits, 5, &Settings { lr: 1e30, ..point("mlp") });
        let mut ends = Vec::new();
        let mut take = |reports: Vec<Report>| {
            ends.extend(reports.into_iter().map(|report| match report {
                Report::Diverged { id, epoch, cause } => format!("{id} {epoch} {cause}"),
                Report::Epoch { metrics, .. } => format!("finished {}", metrics.epoch),
            }));
            true
        };
        digits.train(&[job], Device::Cpu, &Cancel::default(), &mut take).unwrap();
        assert_eq!(ends, ["5 1 train_loss is not finite"]);
    }

    #[test]
    fn points_share_what_they_have_in_common() {
        let mut digits = open();
        let mut chain = |change: &dyn Fn(&mut Settings)| {
            let mut point = point("mlp");
            change(&mut point);
            digits.chain(&point).iter().map(|link| link.work).collect::<Vec<_>>()
        };
        let base = chain(&|_| {});
        assert_eq!(chain(&|point| point.epochs = 9), base);
        let other_rate = chain(&|point| point.lr = 0.1);
        assert!(other_rate[0] == base[0] && other_rate[1] != base[1]);
        let other_seed = chain(&|point| point.seed = 1);
        assert!(other_seed[0] != base[0] && other_seed[1] != base[1]);
    }
}
