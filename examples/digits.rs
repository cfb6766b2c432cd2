//! A model of your own under `sweep`: handwritten digits, a multilayer perceptron and a small convolutional network, with
//! burn's modules, burn's gradients and burn's AdamW. `docs/your-own-model.md` walks through it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::AdamWConfig;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use burn::{Dispatch, DispatchDevice};
use serde::{Deserialize, Serialize};
use sweep::experiment::{Experiment, OpenError, Opened};
use sweep::figure::{Better, Chart, EpochFigure};
use sweep::finite::Finite;
use sweep::modules::{Answer, Recipe, SECONDS, TRAIN_LOSS, Task, Trainer, classified, mean_score};
use sweep::spec::{Columns, Config, Key, Kind, Limits, Names, OwnTable, Schema, SweepSpec, Value};

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

/// What decides a model.
#[derive(Clone, Serialize, Deserialize)]
struct Shape {
    kind: String,
    hidden: usize,
}

impl<B: Backend> Model<B> {
    fn new(Shape { kind, hidden }: &Shape, device: &B::Device) -> Self {
        let conv =
            |channels| Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same).init(device);
        match kind.as_str() {
            "cnn" => Self::Cnn(Cnn {
                first: conv([1, *hidden]),
                second: conv([*hidden, *hidden]),
                pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
                last: LinearConfig::new(4 * hidden, 10).init(device),
            }),
            _ => Self::Mlp(Mlp {
                first: LinearConfig::new(64, *hidden).init(device),
                last: LinearConfig::new(*hidden, 10).init(device),
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
}

// 2. The data: see `sweeps/data/digits/README.md`.

struct Digits {
    /// 64 numbers from 0 to 1 each.
    images: Vec<[f32; 64]>,
    /// What each of them shows.
    digits: Vec<i32>,
    /// Of the file.
    hash: String,
}

/// Cut between the forms that people filled in.
const TRAIN: Range<usize> = 0..1029;
const VALIDATION: Range<usize> = 1029..1157;
const TEST: Range<usize> = 1157..1797;

/// Images `[n, 64]` and their digits `[n]`.
type Batch = (Tensor<Dispatch, 2>, Tensor<Dispatch, 1, Int>);

impl Digits {
    /// Reads a gzip'ed CSV: 64 pixels from 0 to 16 and a digit in a row.
    fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs_err::read(path)?;
        let rows = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(flate2::read::GzDecoder::new(&bytes[..]));
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let mut read = Self { images: Vec::new(), digits: Vec::new(), hash };
        for row in rows.into_deserialize() {
            let row: Vec<u8> = row?;
            let (ink, digit) =
                row.split_first_chunk::<64>().filter(|(_, rest)| rest.len() == 1).ok_or_else(|| {
                    anyhow::anyhow!(
                        "{}: row {} is not 64 pixels and a digit",
                        path.display(),
                        read.digits.len() + 1
                    )
                })?;
            read.images.push(ink.map(|ink| f32::from(ink) / 16.0));
            read.digits.push(i32::from(digit[0]));
        }
        anyhow::ensure!(read.digits.len() == TEST.end, "{} has not {} images", path.display(), TEST.end);
        Ok(read)
    }

    fn tensors(&self, images: impl Iterator<Item = usize>, device: &DispatchDevice) -> Batch {
        let (images, digits): (Vec<_>, Vec<_>) = images.map(|at| (self.images[at], self.digits[at])).unzip();
        let images = TensorData::new(images.concat(), [digits.len(), 64]);
        (Tensor::from_data(images, device), Tensor::from_data(digits.as_slice(), device))
    }

    /// The digit of the training image that is nearest to `image`.
    fn nearest(&self, image: usize) -> i32 {
        let pairs = |other: usize| self.images[other].iter().zip(&self.images[image]);
        let distance = |other: &usize| pairs(*other).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let nearest = TRAIN.min_by(|a, b| distance(a).total_cmp(&distance(b)));
        self.digits[nearest.unwrap_or(0)]
    }
}

fn cross_entropy(logits: Tensor<Dispatch, 2>, digits: Tensor<Dispatch, 1, Int>) -> Tensor<Dispatch, 1> {
    CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, digits)
}

// 3. What a sweep file may say, and what comes out.

static DATA: OwnTable = OwnTable { name: "data", doc: "the images", axes: false };
static MODEL: OwnTable = OwnTable { name: "model", doc: "which network, and how wide", axes: true };
static TRAINING: OwnTable = OwnTable { name: "train", doc: "how it learns", axes: true };

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
    Key::new(&TRAINING, "lr", RATE, || Value::Number(1e-3), "Learning rate of AdamW.").short("lr"),
    Key::new(&TRAINING, "weight_decay", DECAY, || Value::Number(0.01), "Weight decay of AdamW.").short("wd"),
    Key::new(&TRAINING, "epochs", COUNT, || Value::Count(4), "Epochs.").short("ep"),
    Key::new(&TRAINING, "freeze", Kind::Set(&LAYERS), || Value::Set(LAYERS.none()), "Layers that stay as they are."),
    Key::new(&TRAINING, "batch", COUNT, || Value::Count(32), "Images a step.").short("batch"),
    Key::new(&TRAINING, "seed", SEED, || Value::Count(0), "Seed of weights and of the order of images.").short("s"),
];

static FIGURES: &[EpochFigure] = &[
    TRAIN_LOSS,
    EpochFigure::new("val_loss", Better::Lower, "Cross-entropy on the validation images.")
        .told(1, &[Chart { first: true, ..Chart::new(1, "val-loss", "Validation loss") }]),
    EpochFigure::new("val_accuracy", Better::Higher, "Share of the validation images that are read right.")
        .told(2, &[Chart { first: true, ..Chart::new(2, "val-accuracy", "Validation accuracy") }]),
    SECONDS,
];

static SCHEMA: Schema = Schema::new("digits", &[&DATA, &MODEL, &TRAINING], KEYS, FIGURES, ACCURACY);
const ACCURACY: Columns = Columns {
    id: |_| "accuracy".to_owned(),
    title: |_| "Accuracy".to_owned(),
    inputs: ["image", "images"],
    ..Columns::NUMBERED
};

// 4. What is trained, and how it is scored.

impl Task for Digits {
    type Model = Model<Dispatch>;
    type Shape = Shape;
    type Rule = ();
    type Batch = Batch;

    fn inputs(&self) -> BTreeMap<String, String> {
        [("data.images".to_owned(), self.hash.clone())].into()
    }

    fn recipe(&self, point: &Config) -> Result<Recipe<Shape>, String> {
        let decay = point.value("train.weight_decay")?;
        Ok(Recipe {
            shape: Shape { kind: point.value("model.kind")?, hidden: point.value("model.hidden")? },
            seed: point.value("train.seed")?,
            epochs: point.value("train.epochs")?,
            batch: point.value("train.batch")?,
            lr: point.value("train.lr")?,
            optimizer: AdamWConfig::new().with_weight_decay(decay).with_epsilon(1e-8),
            frozen: point.value("train.freeze")?,
            rule: (),
        })
    }

    fn model(&self, shape: &Shape, device: &DispatchDevice) -> Self::Model {
        Model::new(shape, device)
    }

    fn about(&self, Shape { kind, hidden }: &Shape) -> String {
        format!("{kind} of width {hidden}")
    }

    fn examples(&self) -> usize {
        TRAIN.len()
    }

    fn batch(&self, examples: &[usize], device: &DispatchDevice) -> Batch {
        self.tensors(examples.iter().copied(), device)
    }

    fn loss(&self, model: &Self::Model, (images, digits): Batch, (): &()) -> Tensor<Dispatch, 1> {
        cross_entropy(model.forward(images), digits)
    }

    fn validate(&self, model: &Self::Model, device: &DispatchDevice) -> Vec<(&'static str, f64)> {
        let (images, digits) = self.tensors(VALIDATION, device);
        let logits = model.forward(images);
        let accuracy = mean_score(&classified(logits.clone(), &self.digits[VALIDATION]));
        let loss = f64::from(cross_entropy(logits, digits).into_scalar());
        vec![("val_loss", loss), ("val_accuracy", accuracy)]
    }

    fn units(&self) -> usize {
        TEST.len()
    }

    fn examine(&self, model: &Self::Model, device: &DispatchDevice) -> Vec<Answer> {
        classified(model.forward(self.tensors(TEST, device).0), &self.digits[TEST])
    }

    fn references(&self) -> Vec<(&'static str, Vec<Finite>)> {
        let often = |digit: &i32| self.digits[TRAIN].iter().filter(|other| *other == digit).count();
        let majority = (0..10).max_by_key(often).unwrap_or(0);
        let scores =
            |read: &dyn Fn(usize) -> i32| TEST.map(|at| (read(at) == self.digits[at]).into()).collect();
        vec![("majority", scores(&|_| majority)), ("nearest", scores(&|image| self.nearest(image)))]
    }
}

// 5. The experiment, and the program.

struct ReadDigits;

impl Experiment for ReadDigits {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn open(&self, sweep: &SweepSpec) -> Result<Box<dyn Opened>, OpenError> {
        let images: PathBuf =
            sweep.points.first().ok_or("the sweep has no points")?.config.value("data.images")?;
        Trainer::open(&SCHEMA, Digits::read(&images)?, sweep)
    }
}

fn main() -> ExitCode {
    sweep::cli::main(&[&ReadDigits])
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use sweep::device::Device;
    use sweep::experiment::{Cancel, CohortEnd, Examined, Job, Report};

    fn recipe(kind: &str, frozen: &[&str]) -> Recipe<Shape> {
        Recipe {
            shape: Shape { kind: kind.to_owned(), hidden: if kind == "cnn" { 16 } else { 32 } },
            seed: 0,
            epochs: 3,
            batch: 32,
            lr: 0.005,
            optimizer: AdamWConfig::new().with_weight_decay(0.01),
            frozen: frozen.iter().map(|&name| name.to_owned()).collect(),
            rule: (),
        }
    }

    fn open() -> Trainer<Digits> {
        Trainer::new(FIGURES, Digits::read(Path::new("sweeps/data/digits/digits.csv.gz")).unwrap())
    }

    #[test]
    fn both_models_read_digits_and_their_first_layers_can_be_frozen() {
        let mut digits = open();
        for (kind, frozen, least) in [
            ("mlp", vec![], 0.85),
            ("cnn", vec![], 0.85),
            ("mlp", vec!["first"], 0.5),
            ("cnn", vec!["first"], 0.5),
        ] {
            let recipe = recipe(kind, &frozen);
            let chain = digits.add(&recipe).unwrap().to_vec();
            let (start, work) = (Arc::new(digits.initial(chain[0].work)), chain[1].work);
            let job = Job { id: 0, work, start, reference: None, last_epoch: recipe.epochs, resume: None };
            let mut weights = BTreeMap::new();
            let mut take = |reports: Vec<Report>| {
                for report in reports {
                    let Report::Epoch { snapshot, .. } = report else { panic!("diverged") };
                    weights = snapshot.weights();
                }
                true
            };
            let jobs = std::slice::from_ref(&job);
            let end = digits.train(jobs, Device::Cpu, &Cancel::default(), &mut take).unwrap();
            assert_eq!(end, CohortEnd::Finished);
            for layer in ["first", "last"] {
                let name = format!("{layer}.weight");
                assert_eq!(weights[&name] == job.start[&name], frozen == [layer], "{kind}: {name}");
            }
            let Ok(Examined::Scored(scores)) = digits.examine(work, &weights, Device::Cpu) else {
                panic!("no judge is asked")
            };
            let right: f64 = scores[&1].iter().map(|score| score.score.get()).sum();
            let accuracy = right / digits.inputs_examined() as f64;
            assert!(accuracy > least, "{kind} {frozen:?}: {accuracy}");
        }
    }

    #[test]
    fn references_are_scored_on_every_test_image() {
        let references = open().references();
        let right = |at: usize| references[at].scores[&1].iter().map(|score| score.get()).sum::<f64>();
        assert_eq!((references[0].name.as_str(), references[1].name.as_str()), ("majority", "nearest"));
        assert!(right(0) < 0.15 * 640.0 && right(1) > 0.9 * 640.0, "{} {}", right(0), right(1));
    }
}
