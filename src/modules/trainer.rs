//! What every experiment over burn's modules would write again: works, mini-batches, epochs that can be stopped and gone
//! on with, AdamW and its state, frozen layers, scores. What is left to say is a [`Task`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use burn::{Dispatch, DispatchDevice};
use serde::Serialize;
use serde_json::json;

use super::{AdamWFor, EpochEnd, Path, burn_device, fresh, generator, resume, shuffled, sizes, with_weights};
use crate::checkpoint::Weights;
use crate::device::Device;
use crate::experiment::{
    Cancel, Chains, CohortEnd, Continuation, Examined, Flaw, Job, Misfit, OpenError, Opened, Parameters,
    Report, Works,
};
use crate::figure::{Better, Chart, EpochFigure, EpochMetrics};
use crate::finite::Finite;
use crate::plan::{INIT, Link, Traits, Work};
use crate::record::{QueryScore, ReferenceResult};
use crate::spec::{Config, Schema, SweepSpec};

/// The phase of what a [`Trainer`] trains: in names of files and in `metrics.csv`.
pub const PHASE: &str = "train";

/// A figure that every [`Trainer`] reports. For the table of figures of the [`Schema`].
pub const TRAIN_LOSS: EpochFigure =
    EpochFigure::new("train_loss", Better::Lower, "The loss, mean over the examples.")
        .told(0, &[Chart::new(0, "train-loss", "Training loss")]);

/// The other one.
pub const SECONDS: EpochFigure = EpochFigure::new("seconds", Better::Lower, "Wall time.").of_machine("s");

/// What is trained, written with burn as if there were no sweeps: data, models, a loss.
///
/// A [`Trainer`] makes an experiment of it. Every method may be called from any thread, several at a time. Results depend
/// on nothing but the arguments and the inputs, whose hashes are told: what is remembered between calls must not show.
///
/// Devices: on one with [`DispatchDevice::autodiff`] models are trained, on one without it they are examined. Tensors of
/// the two do not meet in one operation; make yours on the device that you are given.
pub trait Task: Sync + 'static {
    /// The model, all of its kinds (an enum of modules is a module). What is frozen is a field of it.
    type Model: AutodiffModule<Dispatch, InnerModule = Self::Model>;

    /// All that decides a fresh model besides its seed. It is part of a work's identity as serde writes it: leave a field
    /// that you add later out at its default (`skip_serializing_if`), and what was trained before remains what it was.
    type Shape: Clone + Serialize + Send + Sync;

    /// What else decides a training, such as settings of the loss, in the same way; `()` for nothing.
    type Rule: Clone + Serialize + Send + Sync;

    /// What [`Task::loss`] is computed from, in tensors.
    type Batch;

    /// Add one when a change of the code changes results: what was trained before is trained again.
    const VERSION: u32 = 1;

    /// Content hashes of the inputs by key, such as `data.images`. With others it is another training and another
    /// evaluation.
    fn inputs(&self) -> BTreeMap<String, String>;

    /// What a point trains.
    ///
    /// # Errors
    /// What is wrong with its values, in words for the user.
    fn recipe(&self, point: &Config) -> Result<Recipe<Self::Shape, Self::Rule>, String>;

    /// A model on `device`, as burn's `init` makes it: do not look at its values.
    fn model(&self, shape: &Self::Shape, device: &DispatchDevice) -> Self::Model;

    /// The model for people, in a few words: `mlp of width 32`.
    fn about(&self, shape: &Self::Shape) -> String;

    /// Number of examples to train on: every epoch takes each of them once.
    fn examples(&self) -> usize;

    /// The training examples with these numbers (from 0, at least one), on a device that differentiates.
    fn batch(&self, examples: &[usize], device: &DispatchDevice) -> Self::Batch;

    /// Mean loss of the examples of a batch, `[1]`. Dropout and other random tensors are as repeatable as the rest: burn's
    /// generator is seeded before every epoch.
    fn loss(&self, model: &Self::Model, batch: Self::Batch, rule: &Self::Rule) -> Tensor<Dispatch, 1>;

    /// Figures after an epoch besides [`TRAIN_LOSS`] and [`SECONDS`], by their names in the [`Schema`], of a model that
    /// does not differentiate, on `device`. One that is not finite ends the training: the point is infeasible.
    fn validate(&self, _model: &Self::Model, _device: &DispatchDevice) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Number of units that a trained model is scored on; 0 = none.
    fn units(&self) -> usize;

    /// What the model answers to each of them, in their order, without any randomness. It does not differentiate, on
    /// `device`.
    fn examine(&self, model: &Self::Model, device: &DispatchDevice) -> Vec<Answer>;

    /// What answers without training score, by the name of who gives them: one number per unit.
    fn references(&self) -> Vec<(&'static str, Vec<Finite>)> {
        Vec::new()
    }
}

/// What a point trains: a fresh model, by AdamW, in mini-batches.
#[derive(Clone, Debug)]
pub struct Recipe<S, R = ()> {
    pub shape: S,
    /// Decides the fresh weights and, with the number of an epoch, the order of its examples and its random tensors.
    pub seed: u64,
    /// A training of more epochs begins with one of fewer.
    pub epochs: u32,
    /// Examples a step; the last batch of an epoch may have fewer.
    pub batch: usize,
    /// Learning rate.
    pub lr: f64,
    pub optimizer: AdamWConfig,
    /// Fields of the model that stay as they are.
    pub frozen: Vec<String>,
    pub rule: R,
}

type RecipeOf<T> = Recipe<<T as Task>::Shape, <T as Task>::Rule>;

/// What a model answers to one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Which answer it is: points that answer alike are told to.
    pub answer: u32,
    pub score: Finite,
    /// How sure the model is, as a log-probability. No number at all says that training has led nowhere.
    pub log_prob: f64,
}

/// Answers of a classifier: to each row of `logits` `[n, classes]` its largest one, which scores 1 where it is what `right`
/// (`n` of them) says, else 0. Waits for the device.
///
/// # Panics
/// Where there are not `n`.
pub fn classified(logits: Tensor<Dispatch, 2>, right: &[i32]) -> Vec<Answer> {
    assert_eq!(logits.dims()[0], right.len(), "a row of logits for every answer");
    let (log_probs, answers) = log_softmax(logits, 1).max_dim_with_indices(1);
    let (log_probs, answers) = (log_probs.into_data(), answers.into_data());
    let rows = log_probs.iter::<f64>().zip(answers.iter::<i64>()).zip(right);
    rows.map(|((log_prob, answer), &right)| Answer {
        answer: answer as u32,
        score: (answer == i64::from(right)).into(),
        log_prob,
    })
    .collect()
}

/// Mean score of some answers; of none it is no number.
pub fn mean_score(answers: &[Answer]) -> f64 {
    answers.iter().map(|answer| answer.score.get()).sum::<f64>() / answers.len() as f64
}

/// A [`Task`] as an experiment that has been opened.
///
/// It trains jobs one after the other: a job alone is the same as a job in company.
pub struct Trainer<T: Task> {
    task: T,
    figures: &'static [EpochFigure],
    inputs: BTreeMap<String, String>,
    works: Works<RecipeOf<T>>,
    chains: Vec<Vec<Link>>,
}

impl<T: Task> Trainer<T> {
    /// The points of `sweep`: what [`Experiment::open`](crate::experiment::Experiment::open) answers.
    ///
    /// # Errors
    /// As [`Trainer::add`]; no examples.
    pub fn open(schema: &'static Schema, task: T, sweep: &SweepSpec) -> Result<Box<dyn Opened>, OpenError> {
        if task.examples() == 0 {
            return Err("there are no examples to train on".into());
        }
        let mut trainer = Self::new(schema.figures, task);
        for point in &sweep.points {
            trainer.add(&trainer.task.recipe(&point.config)?)?;
        }
        Ok(Box::new(trainer))
    }

    /// Without points, with the experiment's table of figures.
    pub fn new(figures: &'static [EpochFigure], task: T) -> Self {
        let inputs = task.inputs();
        Self { task, figures, inputs, works: Works::default(), chains: Vec::new() }
    }

    /// Adds a point. Its chain: the work that draws its weights, the work that trains them.
    ///
    /// # Errors
    /// A frozen field that the model does not have; a shape or a rule that is no JSON.
    pub fn add(&mut self, recipe: &RecipeOf<T>) -> Result<&[Link], String> {
        // All that decides the result: a field that were forgotten here would be trained once for all its values.
        let Recipe { shape, seed, epochs, batch, lr, optimizer, frozen, rule } = recipe;
        let (shape_json, rule) = (json_of(shape)?, json_of(rule)?);
        let fresh = json!({ "model": shape_json, "seed": seed });
        let trained = json!({
            "model": shape_json, "seed": seed, "inputs": self.inputs, "batch": batch, "lr": lr,
            "optimizer": json_of(optimizer)?, "frozen": frozen, "rule": rule,
        });
        let lane = format!("{shape_json} {batch} {frozen:?}");
        let fresh = Work::new(INIT, &fresh, lane.clone());
        let trained = Work::new(PHASE, &trained, lane).freezing(frozen);
        self.has_fields(shape, &trained.traits)?;
        let (fresh, trained) = (self.works.add(fresh, recipe), self.works.add(trained, recipe));
        self.chains.push(vec![Link::to(fresh, 0), Link::to(trained, *epochs)]);
        Ok(self.chains.last().expect("it has just been pushed"))
    }

    fn has_fields(&self, shape: &T::Shape, traits: &Traits) -> Result<(), String> {
        if traits.frozen.is_empty() {
            return Ok(());
        }
        let sizes = sizes(&self.task.model(shape, &burn_device(Device::Cpu)));
        let fields: BTreeSet<&str> = sizes.keys().filter_map(|name| name.split('.').next()).collect();
        match traits.frozen.iter().find(|frozen| !fields.contains(frozen.as_str())) {
            Some(strange) => {
                let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
                Err(format!(
                    "the model has no layer `{strange}` to keep as it is; it has {}",
                    fields.join(", ")
                ))
            }
            None => Ok(()),
        }
    }

    /// A job's model and optimizer, as they are when its next epoch begins.
    fn begin(&self, job: &Job, device: &DispatchDevice) -> Result<(T::Model, AdamWFor<T::Model>), String> {
        let Recipe { shape, optimizer, .. } = &self.works[job.work];
        let model = with_weights(self.task.model(shape, device), job.weights())?;
        let mut keep = Freezer { path: Path::default(), traits: self.works.traits(job.work) };
        let model = model.map(&mut keep);
        let optimizer = match &job.resume {
            None => optimizer.init(),
            Some((_, state)) => resume(&model, optimizer.init(), &mut state.clone())?,
        };
        Ok((model, optimizer))
    }

    /// One epoch: the model and optimizer after it, and the mean loss; `None` where it was cancelled.
    fn epoch(
        &self,
        (mut model, mut optimizer): (T::Model, AdamWFor<T::Model>),
        recipe: &RecipeOf<T>,
        epoch: u32,
        device: &DispatchDevice,
        cancel: &Cancel,
    ) -> Option<(T::Model, AdamWFor<T::Model>, f64)> {
        let order = shuffled(self.task.examples(), recipe.seed, epoch);
        let _alone = generator(device, recipe.seed, epoch);
        let learning = DispatchDevice::autodiff(device.clone());
        let mut loss_sum = Tensor::<Dispatch, 1>::zeros([1], device);
        for examples in order.chunks(recipe.batch.max(1)) {
            if cancel.is_raised() {
                return None;
            }
            let loss = self.task.loss(&model, self.task.batch(examples, &learning), &recipe.rule);
            loss_sum = loss_sum + loss.clone().inner() * examples.len() as f64;
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(recipe.lr, model, gradients);
            cancel.count_steps(examples.len() as u64);
        }
        Some((model, optimizer, f64::from(loss_sum.into_scalar()) / order.len() as f64))
    }

    /// Trains one job to its end.
    fn train_one(
        &self,
        job: &Job,
        mut begun: (T::Model, AdamWFor<T::Model>),
        device: &DispatchDevice,
        cancel: &Cancel,
        report: &mut dyn FnMut(Vec<Report>) -> bool,
    ) -> CohortEnd {
        let recipe = &self.works[job.work];
        for epoch in job.first_epoch()..=job.last_epoch {
            let began = Instant::now();
            let Some((model, optimizer, loss)) = self.epoch(begun, recipe, epoch, device, cancel) else {
                return CohortEnd::Cancelled;
            };
            let mut figures = vec![(TRAIN_LOSS.name, loss)];
            figures.extend(self.task.validate(&model.valid(), device));
            let names: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
            let mut metrics = EpochMetrics::new(self.figures, PHASE, epoch);
            for &(name, value) in &figures {
                metrics.set(name, Finite::new(value));
            }
            metrics.set(SECONDS.name, Some(began.elapsed().into()));
            let done =
                Report::epoch(job.id, metrics, &names, || Box::new(EpochEnd::of(epoch, &model, &optimizer)));
            let ends = done.ends();
            if !report(vec![done]) {
                return CohortEnd::Cancelled;
            }
            if ends {
                break;
            }
            begun = (model, optimizer);
        }
        CohortEnd::Finished
    }
}

impl<T: Task> Opened for Trainer<T> {
    fn chains(&self) -> Chains {
        Chains { works: self.works.all().to_vec(), chains: self.chains.clone(), version: T::VERSION }
    }

    fn inputs(&self) -> &BTreeMap<String, String> {
        &self.inputs
    }

    fn about(&self, work: usize) -> String {
        let (recipe, traits) = (&self.works[work], self.works.traits(work));
        let model = self.task.about(&recipe.shape);
        match traits.trains() {
            false => format!("{model}, seed {}", recipe.seed),
            true if traits.frozen.is_empty() => model,
            true => format!("{model}, {} frozen", traits.frozen.join(" and ")),
        }
    }

    /// An example is a step, so that an epoch has as many whatever the batch is.
    fn steps(&self) -> u64 {
        self.task.examples() as u64
    }

    fn parameters(&self, work: usize) -> Parameters {
        let model = self.task.model(&self.works[work].shape, &burn_device(Device::Cpu));
        let traits = self.works.traits(work);
        super::parameters(&model, |name| traits.trains() && !traits.freezes(name))
    }

    fn initial(&self, work: usize) -> Weights {
        let Recipe { shape, seed, .. } = &self.works[work];
        fresh(*seed, |device| self.task.model(shape, device))
    }

    fn check(&self, work: usize, mut state: Continuation) -> Result<(), String> {
        let Recipe { shape, optimizer, .. } = &self.works[work];
        let model = self.task.model(shape, &DispatchDevice::autodiff(burn_device(Device::Cpu)));
        resume(&model, optimizer.init(), &mut state).map(drop)
    }

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
        let units = self.task.units();
        (units > 0).then(|| json!([T::VERSION, units, self.inputs]).to_string())
    }

    fn inputs_examined(&self) -> usize {
        self.task.units()
    }

    fn examine(&self, work: usize, weights: &Weights, device: Device) -> Result<Examined, Flaw> {
        let device = burn_device(device);
        let model = self.task.model(&self.works[work].shape, &device);
        let model = with_weights(model, weights).map_err(Flaw::Misfit)?;
        let line = |(unit, answer): (usize, Answer)| {
            let Answer { answer, score, log_prob } = answer;
            let log_prob = Finite::new(log_prob).ok_or_else(|| Flaw::NotFinite(format!("unit {unit}")))?;
            Ok(QueryScore::new(unit as u64, 1, vec![answer], score, log_prob))
        };
        let answers = self.task.examine(&model, &device).into_iter().enumerate();
        Ok(Examined::Scored([(1, answers.map(line).collect::<Result<_, Flaw>>()?)].into()))
    }

    fn references(&self) -> Vec<ReferenceResult> {
        let of = |(name, scores): (&str, Vec<Finite>)| ReferenceResult {
            name: name.to_owned(),
            scores: [(1, scores)].into(),
        };
        self.task.references().into_iter().map(of).collect()
    }
}

/// As people would write it: of an f32 the shortest decimals that mean it.
fn json_of(part: &impl Serialize) -> Result<serde_json::Value, String> {
    let text = serde_json::to_string(part).map_err(|cause| cause.to_string())?;
    serde_json::from_str(&text).map_err(|cause| cause.to_string())
}

/// Parameters that their work freezes want no gradient.
struct Freezer<'a> {
    path: Path,
    traits: &'a Traits,
}

impl ModuleMapper<Dispatch> for Freezer<'_> {
    keep_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<Dispatch, D>>) -> Param<Tensor<Dispatch, D>> {
        match self.traits.freezes(&self.path.name()) {
            true => param.map(|values| values.set_require_grad(false)),
            false => param,
        }
    }
}

#[cfg(test)]
mod tests;
