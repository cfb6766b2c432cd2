//! A model of your own under `sweep`: handwritten digits, a multilayer perceptron and a small convolutional network, with
//! burn's modules, burn's gradients and burn's AdamW. `docs/your-own-model.md` walks through it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn::module::{AutodiffModule, Module};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use burn::{Dispatch, DispatchDevice};
use serde::Deserialize;
use serde_json::json;
use sweep::checkpoint::Weights;
use sweep::device::Device;
use sweep::experiment::{
    Cancel, Chains, CohortEnd, Continuation, Examined, Experiment, Flaw, Job, Misfit, OpenError, Opened,
    Parameters, Report, Works,
};
use sweep::figure::{Better, Chart, EpochFigure, EpochMetrics};
use sweep::finite::Finite;
use sweep::modules::{self, AdamWFor, EpochEnd, burn_device};
use sweep::plan::{INIT, Link, Work};
use sweep::record::{QueryScore, ReferenceResult};
use sweep::spec::{Columns, Key, Kind, Limits, Names, OwnTable, Schema, SweepSpec, Value};

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

/// On a device that is chosen when the program runs.
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
    digits: Vec<i32>,
}

impl Part {
    fn tensors(&self, device: &DispatchDevice) -> (Tensor<Dispatch, 2>, Tensor<Dispatch, 1, Int>) {
        let images = TensorData::new(self.images.clone(), [self.digits.len(), 64]);
        (Tensor::from_data(images, device), Tensor::from_data(self.digits.as_slice(), device))
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
        part.digits.push(i32::from(row[64]));
    }
    Ok((parts, blake3::hash(&bytes).to_hex().to_string()))
}

// 3. What a sweep file may say, and what a point says.

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
static KEYS: &[Key] = &[
    Key::new(&DATA, "images", Kind::Path, Value::no_path, "The images (gzip'ed CSV). Relative to the sweep file."),
    Key::new(&MODEL, "kind", Kind::Choice(NETWORKS), || Value::text("mlp"), "The network."),
    Key::new(&MODEL, "hidden", COUNT, || Value::Count(32), "Hidden units, or channels.").short("hid"),
    Key::new(&TRAIN, "lr", RATE, || Value::Number(1e-3), "Learning rate of AdamW.").short("lr"),
    Key::new(&TRAIN, "weight_decay", DECAY, || Value::Number(0.01), "Weight decay of AdamW.").short("wd"),
    Key::new(&TRAIN, "epochs", COUNT, || Value::Count(4), "Epochs.").short("ep"),
    Key::new(&TRAIN, "freeze", Kind::Set(&LAYERS), || Value::Set(LAYERS.none()), "Layers that stay as they are."),
    Key::new(&TRAIN, "batch", COUNT, || Value::Count(32), "Images a step.").short("batch"),
    Key::new(&TRAIN, "seed", SEED, || Value::Count(0), "Seed of weights and of the order of images.").short("s"),
];

#[rustfmt::skip]
static FIGURES: &[EpochFigure] = &[
    EpochFigure::new("train_loss", Better::Lower, "Cross-entropy, mean over the images.")
        .told(0, &[Chart::new(0, "train-loss", "Training loss")]),
    EpochFigure::new("val_loss", Better::Lower, "Cross-entropy on the validation images.")
        .told(1, &[Chart { first: true, ..Chart::new(1, "val-loss", "Validation loss") }]),
    EpochFigure::new("val_accuracy", Better::Higher, "Share of the validation images that are read right.")
        .told(2, &[Chart { first: true, ..Chart::new(2, "val-accuracy", "Validation accuracy") }]),
    EpochFigure::new("seconds", Better::Lower, "Wall time.").of_machine("s"),
];

static SCHEMA: Schema = Schema::new("digits", &[&DATA, &MODEL, &TRAIN], KEYS, FIGURES, ACCURACY);
const ACCURACY: Columns = Columns {
    id: |_| "accuracy".to_owned(),
    title: |_| "Accuracy".to_owned(),
    unit: "",
    ..Columns::NUMBERED
};

/// What a point says.
#[derive(Clone, Deserialize)]
struct Point {
    model: Shape,
    train: Train,
}

#[derive(Clone, Deserialize)]
struct Shape {
    kind: String,
    hidden: usize,
}

#[derive(Clone, Deserialize)]
struct Train {
    lr: f64,
    weight_decay: f64,
    epochs: u32,
    freeze: Vec<String>,
    batch: usize,
    seed: u64,
}

impl Point {
    fn model(&self, device: &DispatchDevice) -> Net {
        Model::new(&self.model.kind, self.model.hidden, device)
    }

    fn optimizer(&self) -> AdamWFor<Net> {
        AdamWConfig::new().with_weight_decay(self.train.weight_decay as f32).with_epsilon(1e-8).init()
    }
}

// 4. What points train.

/// The data, and what the points of a sweep train on them.
struct Prepared {
    train: Part,
    validation: Part,
    test: Part,
    /// The hash of the images.
    inputs: BTreeMap<String, String>,
    /// With a point that asks for it; of that point only what stands in the work's values is used.
    works: Works<Point>,
    chains: Vec<Vec<Link>>,
}

impl Prepared {
    fn open(images: &Path) -> anyhow::Result<Self> {
        let ([train, validation, test], hash) = read_parts(images)?;
        let inputs = [("data.images".to_owned(), hash)].into();
        Ok(Self { train, validation, test, inputs, works: Works::default(), chains: Vec::new() })
    }

    /// A point's training: draw a model, train it. A longer training begins with the shorter one.
    fn chain(&mut self, point: &Point) -> Vec<Link> {
        let Point { model: Shape { kind, hidden }, train } = point;
        let Train { lr, weight_decay, epochs, freeze, batch, seed } = train;
        let fresh = json!({ "kind": kind, "hidden": hidden, "seed": seed });
        let trained = json!({
            "model": fresh, "data": self.inputs["data.images"], "lr": lr, "weight_decay": weight_decay,
            "freeze": freeze, "batch": batch,
        });
        let lane = format!("{kind} {hidden} {freeze:?} {batch}");
        let fresh = self.works.add(Work::new(INIT, &fresh, lane.clone()), point);
        let trained = self.works.add(Work::new("train", &trained, lane).freezing(freeze), point);
        vec![Link::to(fresh, 0), Link::to(trained, *epochs)]
    }
}

// 5. Training.

impl Prepared {
    /// A job's model and optimizer, as they are when its next epoch begins.
    fn begin(&self, job: &Job, device: &DispatchDevice) -> Result<(Net, AdamWFor<Net>), String> {
        let point = &self.works[job.work];
        let mut model = modules::with_weights(point.model(device), job.weights())?;
        if !point.train.freeze.is_empty() {
            model = model.freeze_first();
        }
        let optimizer = match &job.resume {
            None => point.optimizer(),
            Some((_, state)) => modules::resume(&model, point.optimizer(), &mut state.clone())?,
        };
        Ok((model, optimizer))
    }

    /// Trains one job to its end.
    fn train_one(
        &self,
        job: &Job,
        (mut model, mut optimizer): (Net, AdamWFor<Net>),
        device: &DispatchDevice,
        cancel: &Cancel,
        report: &mut dyn FnMut(Vec<Report>) -> bool,
    ) -> CohortEnd {
        let Train { lr, batch, seed, .. } = self.works[job.work].train;
        let (images, digits) = self.train.tensors(&DispatchDevice::autodiff(device.clone()));
        let count = self.train.digits.len();
        for epoch in job.first_epoch()..=job.last_epoch {
            let began = Instant::now();
            let mut loss_sum = Tensor::<Dispatch, 1>::zeros([1], device);
            for batch in modules::shuffled(count, seed, epoch).chunks(batch) {
                if cancel.is_raised() {
                    return CohortEnd::Cancelled;
                }
                let rows = Tensor::<Dispatch, 1, Int>::from_data(batch, &images.device());
                let logits = model.forward(images.clone().select(0, rows.clone()));
                let loss = cross_entropy(logits, digits.clone().select(0, rows));
                loss_sum = loss_sum + loss.clone().inner() * batch.len() as f64;
                let gradients = GradientsParams::from_grads(loss.backward(), &model);
                model = optimizer.step(lr, model, gradients);
                cancel.count_steps(batch.len() as u64);
            }
            let (val_loss, val_accuracy) = self.validate(&model.valid(), device);
            let metrics = EpochMetrics::new(FIGURES, "train", epoch)
                .with("train_loss", Finite::new(f64::from(loss_sum.into_scalar()) / count as f64))
                .with("val_loss", Finite::new(val_loss))
                .with("val_accuracy", Finite::new(val_accuracy))
                .with("seconds", Some(began.elapsed().into()));
            let done = Report::epoch(job.id, metrics, &["train_loss", "val_loss"], || {
                Box::new(EpochEnd::of(epoch, &model, &optimizer))
            });
            let ends = done.ends();
            if !report(vec![done]) {
                return CohortEnd::Cancelled;
            }
            if ends {
                break;
            }
        }
        CohortEnd::Finished
    }

    /// Loss and accuracy on the validation images.
    fn validate(&self, model: &Net, device: &DispatchDevice) -> (f64, f64) {
        let (images, digits) = self.validation.tensors(device);
        let logits = model.forward(images);
        let right = logits.clone().argmax(1).squeeze::<1>().equal(digits.clone()).int().sum();
        let right: f64 = right.into_data().iter::<i64>().sum::<i64>() as f64;
        (f64::from(cross_entropy(logits, digits).into_scalar()), right / self.validation.digits.len() as f64)
    }

    /// The digit of the training image that is nearest to `image`.
    fn nearest(&self, image: &[f32]) -> i32 {
        let distance = |other: &[f32]| other.iter().zip(image).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let others = self.train.images.chunks(64).map(distance).zip(&self.train.digits);
        others.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(0, |(_, digit)| *digit)
    }

    /// What somebody scores who reads the test image `image` as `answer(image)`.
    fn reference(&self, name: &str, answer: impl Fn(&[f32]) -> i32) -> ReferenceResult {
        let images = self.test.images.chunks(64).zip(&self.test.digits);
        let scores = images.map(|(image, digit)| Finite::from(answer(image) == *digit)).collect();
        ReferenceResult { name: name.to_owned(), scores: [(1, scores)].into() }
    }
}

fn cross_entropy(logits: Tensor<Dispatch, 2>, digits: Tensor<Dispatch, 1, Int>) -> Tensor<Dispatch, 1> {
    CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, digits)
}

// 6. The contract between `sweep` and what it trains.

struct Digits;

impl Experiment for Digits {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn open(&self, sweep: &SweepSpec) -> Result<Box<dyn Opened>, OpenError> {
        let images: PathBuf =
            sweep.points.first().ok_or("the sweep has no points")?.config.value("data.images")?;
        let mut prepared = Prepared::open(&images)?;
        for point in &sweep.points {
            let chain = prepared.chain(&point.config.read()?);
            prepared.chains.push(chain);
        }
        Ok(Box::new(prepared))
    }
}

impl Opened for Prepared {
    fn chains(&self) -> Chains {
        Chains { works: self.works.all().to_vec(), chains: self.chains.clone(), version: 1 }
    }

    fn inputs(&self) -> &BTreeMap<String, String> {
        &self.inputs
    }

    fn about(&self, work: usize) -> String {
        let Point { model: Shape { kind, hidden }, train } = &self.works[work];
        let traits = self.works.traits(work);
        match traits.trains() {
            false => format!("{kind} of width {hidden}, seed {}", train.seed),
            true if traits.frozen.is_empty() => format!("{kind} of width {hidden}"),
            true => format!("{kind} of width {hidden}, first layer frozen"),
        }
    }

    /// An image is a step, so that an epoch has as many whatever the batch is.
    fn steps(&self) -> u64 {
        self.train.digits.len() as u64
    }

    fn parameters(&self, work: usize) -> Parameters {
        let (model, traits) = (self.works[work].model(&burn_device(Device::Cpu)), self.works.traits(work));
        modules::parameters(&model, |name| traits.trains() && !traits.freezes(name))
    }

    fn initial(&self, work: usize) -> Weights {
        let point = &self.works[work];
        modules::fresh(point.train.seed, |device| point.model(device))
    }

    fn check(&self, work: usize, mut state: Continuation) -> Result<(), String> {
        let point = &self.works[work];
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
        let begin = |job: &Job| self.begin(job, &learning).map_err(|cause| job.misfit(cause));
        for (job, begun) in jobs.iter().zip(jobs.iter().map(begin).collect::<Result<Vec<_>, _>>()?) {
            if self.train_one(job, begun, &device, cancel, report) == CohortEnd::Cancelled {
                return Ok(CohortEnd::Cancelled);
            }
        }
        Ok(CohortEnd::Finished)
    }

    fn evaluation(&self) -> Option<String> {
        Some(format!("accuracy on {} rows of {}", self.test.digits.len(), self.inputs["data.images"]))
    }

    fn inputs_examined(&self) -> usize {
        self.test.digits.len()
    }

    fn examine(&self, work: usize, weights: &Weights, device: Device) -> Result<Examined, Flaw> {
        let device = burn_device(device);
        let model = modules::with_weights(self.works[work].model(&device), weights).map_err(Flaw::Misfit)?;
        let log_probs = log_softmax(model.forward(self.test.tensors(&device).0), 1);
        let (best, read) = log_probs.max_dim_with_indices(1);
        let (best, read) = (best.into_data(), read.into_data());
        let found = best.iter::<f64>().zip(read.iter::<i64>()).zip(&self.test.digits).enumerate();
        let score = |(image, ((log_prob, read), digit)): (usize, ((f64, i64), &i32))| {
            let log_prob = Finite::new(log_prob).ok_or_else(|| Flaw::NotFinite(format!("image {image}")))?;
            let right = read == i64::from(*digit);
            Ok(QueryScore::new(image as u64, 1, vec![read as u32], right.into(), log_prob))
        };
        Ok(Examined::Scored([(1, found.map(score).collect::<Result<_, Flaw>>()?)].into()))
    }

    fn references(&self) -> Vec<ReferenceResult> {
        let often = |digit: &i32| self.train.digits.iter().filter(|other| *other == digit).count();
        let majority = (0..10).max_by_key(often).unwrap_or(0);
        vec![self.reference("majority", |_| majority), self.reference("nearest", |image| self.nearest(image))]
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

    fn point(kind: &str) -> Point {
        let hidden = if kind == "cnn" { 16 } else { 32 };
        let point = json!({
            "model": { "kind": kind, "hidden": hidden },
            "train": {
                "lr": 0.005, "weight_decay": 0.01, "epochs": 3, "freeze": [], "batch": 32, "seed": 0,
            },
        });
        serde_json::from_value(point).unwrap()
    }

    /// With its training changed.
    fn but(mut point: Point, change: impl FnOnce(&mut Train)) -> Point {
        change(&mut point.train);
        point
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
    fn job(digits: &mut Prepared, id: usize, point: &Point) -> Job {
        let chain = digits.chain(point);
        let start = Arc::new(digits.initial(chain[0].work));
        Job { id, work: chain[1].work, start, reference: None, last_epoch: point.train.epochs, resume: None }
    }

    #[test]
    fn stopped_and_gone_on_is_undisturbed_alone_and_in_company() {
        let mut digits = open();
        for kind in ["mlp", "cnn"] {
            let frozen = but(point(kind), |train| train.freeze = vec!["first".to_owned()]);
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
        let job = job(&mut digits, 5, &but(point("mlp"), |train| train.lr = 1e30));
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
        let mut chain = |change: &dyn Fn(&mut Train)| {
            digits.chain(&but(point("mlp"), change)).iter().map(|link| link.work).collect::<Vec<_>>()
        };
        let base = chain(&|_| {});
        assert_eq!(chain(&|train| train.epochs = 9), base);
        let other_rate = chain(&|train| train.lr = 0.1);
        assert!(other_rate[0] == base[0] && other_rate[1] != base[1]);
        let other_seed = chain(&|train| train.seed = 1);
        assert!(other_seed[0] != base[0] && other_seed[1] != base[1]);
        // The weights that they begin with are the same.
        let frozen = chain(&|train| train.freeze = vec!["first".to_owned()]);
        assert!(frozen[0] == base[0] && frozen[1] != base[1]);
    }
}
