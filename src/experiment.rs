//! The contract between the core and what is trained.
//!
//! The core knows keys, points, works, stages, files and figures; it decides what is trained when, on which device, and
//! what stays on the disk. It does not know what a stage trains: that is the experiment's.
//!
//! A program is `cli::main(&[&Mine])` with an [`Experiment`] of its own: it has all commands. What an experiment trains is
//! told as *works*, each a kind of training with all that decides its result; the training of a point is a *chain* of
//! works, the first of which trains nothing: it is the weights that the chain begins with. Chains with the same beginning
//! share it. Works are numbered in the order of [`Chains::works`].

use std::collections::{BTreeMap, HashMap};
use std::ops::Index;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::checkpoint::{Facts, Weights};
use crate::device::Device;
use crate::figure::EpochMetrics;
use crate::finite::Finite;
use crate::judge::{Answer, Judge, Pace, Question};
use crate::plan::{Link, Traits, Work};
use crate::record::{Leaks, QueryScore, ReferenceResult, SignalHealth, Unanswered};
use crate::spec::{Config, Schema, SweepSpec};
use crate::{disk, panics, spec};

/// A kind of training that a sweep can run.
pub trait Experiment: Sync {
    /// All that the core must know of it beforehand: its name, the tables and keys of its sweep files, what its epochs
    /// report, how its scores are called.
    fn schema(&self) -> &'static Schema;

    /// Reads and checks the inputs of a sweep, once.
    ///
    /// # Errors
    /// Whatever is wrong with an input, in words for the user: what, where, what to do. Nothing has been written then.
    fn open(&self, sweep: &SweepSpec) -> Result<Box<dyn Opened>, OpenError>;

    /// How a stage of the kind `work` trains, whose record is of a version that did not say it. Only the experiment that
    /// was there before there were others has such records.
    fn older_traits(&self, _work: &Value) -> Traits {
        Traits::default()
    }

    /// The lane of such a stage, in a chain that begins with a stage of the kind `first`.
    fn older_lane(&self, _work: &Value, _first: &Value) -> String {
        String::new()
    }

    /// What the configuration of a point says of the checkpoint with `facts` that it ends with; `done`: it has results.
    fn claims(&self, _config: &Config, _facts: &Facts, _done: bool) -> Claims {
        Claims::default()
    }
}

/// What is wrong with an input.
pub type OpenError = Box<dyn std::error::Error + Send + Sync>;

static KNOWN: OnceLock<&'static [&'static dyn Experiment]> = OnceLock::new();

/// Says once, as the program begins, which experiments it has; what came first stays. Of sweep files that name none the
/// first is meant.
pub fn know(experiments: &'static [&'static dyn Experiment]) {
    let known = KNOWN.get_or_init(|| experiments);
    spec::know(known.iter().map(|experiment| experiment.schema()).collect());
}

/// The experiment called `name`.
///
/// # Errors
/// This program does not have it.
pub fn named(name: &str) -> Result<&'static dyn Experiment, OpenError> {
    #[cfg(test)]
    tests::know_one();
    let known = KNOWN.get().copied().unwrap_or_default();
    let found = known.iter().find(|experiment| experiment.schema().name == name);
    found.copied().ok_or_else(|| format!("this program has no experiment `{name}`").into())
}

/// The one of this program that results of versions with a single experiment are of.
pub fn nameless() -> Option<&'static dyn Experiment> {
    named(spec::nameless()).ok()
}

/// The works of a sweep, and the chain of each of its points.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    /// All different.
    pub works: Vec<Work>,
    /// One per point, in the order of the points.
    pub chains: Vec<Vec<Link>>,
    /// Changes whenever the trainer's arithmetic changes results: old stages are then not reused.
    pub version: u32,
}

/// Works as the points of a sweep ask for them, each once, with what its experiment has to know of it.
#[derive(Clone, Debug)]
pub struct Works<T> {
    numbers: HashMap<String, usize>,
    works: Vec<Work>,
    known: Vec<T>,
}

impl<T> Default for Works<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), works: Vec::new(), known: Vec::new() }
    }
}

impl<T: Clone> Works<T> {
    /// The number of `work`: of the one that has its values already, with what was known of that, or a new one, of which
    /// `what` is known.
    pub fn add(&mut self, work: Work, what: &T) -> usize {
        if let Some(&known) = self.numbers.get(&work.values) {
            return known;
        }
        self.numbers.insert(work.values.clone(), self.works.len());
        self.works.push(work);
        self.known.push(what.clone());
        self.works.len() - 1
    }

    /// All of them, by their numbers.
    pub fn all(&self) -> &[Work] {
        &self.works
    }

    /// What is done with the results of work number `work`.
    pub fn traits(&self, work: usize) -> &Traits {
        &self.works[work].traits
    }
}

/// What is known of a work, by its number.
impl<T> Index<usize> for Works<T> {
    type Output = T;

    fn index(&self, work: usize) -> &T {
        &self.known[work]
    }
}

/// An experiment whose inputs have been read and checked.
///
/// Every call may come from any thread, several at a time: points are examined, and stages are written, beside training.
/// `initial` and `check` are called before training begins in a process, perhaps while another one trains.
pub trait Opened: Sync {
    /// What the points train. Works with equal values are the same work and must be there once.
    fn chains(&self) -> Chains;

    /// Content hashes of all inputs by key, for identities and provenance.
    fn inputs(&self) -> &BTreeMap<String, String>;

    /// Training steps of one epoch, the same for all works: what [`Cancel::count_steps`] has counted per job when its epoch
    /// is over. They are for progress and forecasts alone. Where batches differ in size, count examples.
    fn steps(&self) -> u64;

    /// The size of the model of `work`.
    fn parameters(&self, work: usize) -> Parameters;

    /// The weights that a chain begins with, of a work that trains nothing. Equal values of the work give equal bits.
    fn initial(&self, work: usize) -> Weights;

    /// Whether `work` could go on from `state`.
    ///
    /// # Errors
    /// What is missing or does not fit, in words.
    fn check(&self, work: usize, state: Continuation) -> Result<(), String>;

    /// Trains jobs side by side, whose works are of one lane and whose next epochs are the same, to the last epoch of each.
    /// A job's result is the same bits alone and in any company, begun or gone on with.
    ///
    /// `report` is called after every epoch, from the calling thread, for as many jobs at a time as the trainer likes: all
    /// of one job's epochs may come before another's first, but a job's epochs come in their order. Where it returns false,
    /// return [`CohortEnd::Cancelled`] at once; what was reported is on disk. Between steps the trainer looks at `cancel`,
    /// returns the same when it is raised, and counts the steps that were made there. A number that is not finite ends its
    /// job alone. A panic is caught by the caller, which tries the jobs again one by one.
    ///
    /// # Errors
    /// A start, a reference or a state that does not fit its work; nothing has been trained then.
    fn train(
        &self,
        jobs: &[Job],
        device: Device,
        cancel: &Cancel,
        report: &mut dyn FnMut(Vec<Report>) -> bool,
    ) -> Result<CohortEnd, Misfit>;

    /// Wall seconds of one step of one of these works (of one lane, each with the work that its chain begins with) when they
    /// train side by side on `device`, from a few steps in memory; `None` if it cannot be told.
    fn measure(&self, _works: &[(usize, usize)], _device: Device) -> Option<f64> {
        None
    }

    /// How many jobs like `work` the memory of `device` takes side by side, as far as its driver says; without a limit
    /// `usize::MAX`.
    fn room(&self, _work: usize, _device: Device) -> usize {
        usize::MAX
    }

    /// Bytes that stay in memory whatever is trained: an estimate.
    fn data_bytes(&self) -> u64 {
        0
    }

    /// Bytes that training `jobs` works like `work` from `starts` different weights adds to that, on a CPU: an estimate.
    /// Where nothing better is known, weights and two moments of each job.
    fn training_bytes(&self, work: usize, jobs: usize, _starts: usize) -> u64 {
        12 * (self.parameters(work).total * jobs) as u64
    }

    /// What a work is, for people: `grpo, backbone frozen`; of one that trains nothing where its weights come from.
    fn about(&self, work: usize) -> String;

    /// What a careful person wants to know before training starts, a sentence each.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }

    /// How much signal the training data carry, where the experiment can tell.
    fn health(&self) -> Option<SignalHealth> {
        None
    }

    /// What of the evaluation training has seen.
    fn leaks(&self) -> Leaks {
        Leaks::default()
    }

    /// Identity of the evaluation: any text that changes with what decides choices and scores besides the weights, such as a
    /// hash of the test data; points with another one are examined again. `None` where nothing is evaluated.
    fn evaluation(&self) -> Option<String>;

    /// The numbers of the score columns of a point, ascending, as [`Examined::Scored`] has them and [`spec::Columns`] names
    /// them; none where nothing is evaluated.
    fn columns(&self) -> Vec<usize> {
        self.evaluation().map_or_else(Vec::new, |_| vec![1])
    }

    /// Who is asked about what examining has found, where a judge is.
    fn asked(&self) -> Option<&dyn Asked> {
        None
    }

    /// How many inputs weights are examined on; a point has results for all of them, or says for which it has none.
    fn inputs_examined(&self) -> usize;

    /// Examines the weights of `work` on all inputs, without any randomness.
    ///
    /// # Errors
    /// Weights that are not the work's, or of which nothing can be said.
    fn examine(&self, work: usize, weights: &Weights, device: Device) -> Result<Examined, Flaw>;

    /// What policies without training score on the same inputs, where that is known.
    fn references(&self) -> Vec<ReferenceResult> {
        Vec::new()
    }

    /// What a checkpoint says about itself: what of it follows from the works of its chain (from the last one back to the
    /// beginning) and from the figures of its last epoch. Phase, figures, device and the like are added; without a
    /// configuration of its own it gets the values of its work.
    fn facts(&self, _chain: &[usize], _last: Option<&EpochMetrics>) -> Facts {
        Facts::default()
    }
}

/// What a configuration says of a checkpoint: names and what should stand there.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// About the tables of the configuration that the checkpoint states.
    pub tables: Vec<(&'static str, serde_json::Value)>,
    /// About the facts of its header.
    pub header: Vec<(&'static str, serde_json::Value)>,
}

/// A judge that is asked what the units of an examination are worth.
pub trait Asked: Sync {
    /// The judge, with the answers that are in `cache`; what a program says on stderr goes to `log`.
    ///
    /// # Errors
    /// A cache that cannot be read.
    fn judge(&self, cache: &Path, log: Option<&Path>) -> std::io::Result<Judge>;

    /// How hard the judge may be asked.
    fn pace(&self) -> Pace;

    /// Questions that evaluating one point asks.
    fn questions_per_point(&self) -> usize;

    /// The question about the query `query_id` where `selection` (local ids) was chosen for it; `None` for a query that is
    /// not evaluated.
    fn question(&self, query_id: u64, selection: &[u32]) -> Option<Question>;

    /// What `answer` to the question about `query_id` is worth; `None` where it has not what the score is made of.
    fn score(&self, query_id: u64, answer: &Answer) -> Option<Finite>;

    /// The line of `selections.jsonl` for `unit`, with the judge's answer or without.
    fn line(&self, unit: &Unit, answer: Option<&Answer>) -> Result<QueryScore, Unanswered> {
        let Unit { query_id, column, selection, log_prob, question: _ } = unit.clone();
        let scored = answer.and_then(|answer| Some((self.score(query_id, answer)?, answer.text.clone())));
        match scored {
            Some((score, text)) => {
                let (logged, answer) = (None, Some(text));
                Ok(QueryScore { query_id, column, selection, logged, score, log_prob, answer })
            }
            None => Err(Unanswered { query_id, column, selection, log_prob }),
        }
    }
}

/// The size of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Those that are trained.
    pub trainable: usize,
    pub total: usize,
}

/// One stage to train.
#[derive(Clone, Debug)]
pub struct Job {
    /// The caller's number for it.
    pub id: usize,
    pub work: usize,
    /// What it begins with: the last weights of the stage before it. Equal starts are one allocation.
    pub start: Arc<Weights>,
    /// What it is measured against, if the plan gives it a reference.
    pub reference: Option<Arc<Weights>>,
    /// Train up to and including this epoch (1-based).
    pub last_epoch: u32,
    /// Where an earlier run has stopped: the weights and the rest of the state after an epoch.
    pub resume: Option<(Arc<Weights>, Continuation)>,
}

impl Job {
    /// The first epoch to train (1-based).
    pub fn first_epoch(&self) -> u32 {
        self.resume.as_ref().map_or(1, |(_, state)| state.epoch + 1)
    }

    /// What it has when that epoch begins.
    pub fn weights(&self) -> &Weights {
        self.resume.as_ref().map_or(&self.start, |(weights, _)| weights)
    }

    /// That it cannot be trained, for something that it should begin with.
    pub fn misfit(&self, cause: String) -> Misfit {
        Misfit { id: self.id, cause }
    }
}

/// What a job has come to.
pub enum Report {
    /// A finished epoch.
    Epoch {
        id: usize,
        metrics: EpochMetrics,
        /// The job has stopped early: there will be no further epoch.
        stopped: bool,
        /// Weights and state after it.
        snapshot: Box<dyn Snapshot>,
    },
    /// A number was not finite in this epoch; the job has ended.
    Diverged { id: usize, epoch: u32, cause: String },
}

impl Report {
    /// A finished epoch after which the job goes on; or, where one of the figures called `needed` has no finite value, the
    /// job's end.
    pub fn epoch(
        id: usize,
        metrics: EpochMetrics,
        needed: &[&str],
        snapshot: impl FnOnce() -> Box<dyn Snapshot>,
    ) -> Self {
        match needed.iter().find(|name| metrics.get(name).is_none()) {
            Some(name) => Self::Diverged { id, epoch: metrics.epoch, cause: format!("{name} is not finite") },
            None => Self::Epoch { id, metrics, stopped: false, snapshot: snapshot() },
        }
    }

    /// Whether the job makes no further epoch.
    pub fn ends(&self) -> bool {
        !matches!(self, Self::Epoch { stopped: false, .. })
    }
}

/// Weights and state after an epoch, in the trainer's own form: turned into plain ones where they are written, beside
/// training.
pub trait Snapshot: Send {
    /// The weights by name.
    fn weights(&self) -> Weights;

    /// What the job goes on from besides the weights.
    fn state(self: Box<Self>) -> Continuation;
}

/// What a stage needs besides its weights to go on after an epoch, as its trainer names it: opaque here.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// 1-based.
    pub epoch: u32,
    /// Optimizer moments and the like.
    pub tensors: Weights,
    /// Counters, and floats by their bits: a resumed run must not differ in the last place.
    pub numbers: BTreeMap<String, u64>,
}

impl Continuation {
    /// Takes a tensor's values out.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn take(&mut self, name: &str) -> Result<Vec<f32>, String> {
        self.tensors.remove(name).map(|array| array.values).ok_or_else(|| format!("`{name}` is missing"))
    }

    /// A number.
    ///
    /// # Errors
    /// As [`Continuation::take`].
    pub fn number(&self, name: &str) -> Result<u64, String> {
        self.numbers.get(name).copied().ok_or_else(|| format!("`{name}` is missing"))
    }
}

/// How a cohort ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CohortEnd {
    Finished,
    /// `cancel` was raised or the caller declined; finished epochs were reported.
    Cancelled,
}

/// What examining weights has found.
pub enum Examined {
    /// What was chosen and what it scored, by score column.
    Scored(BTreeMap<usize, Vec<QueryScore>>),
    /// What a judge has to be asked first.
    ToAsk(Vec<Unit>),
}

/// What was chosen for one query, to be scored in one column: a question to the judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    pub query_id: u64,
    /// The number of the score column.
    pub column: usize,
    /// Local ids, best first.
    pub selection: Vec<u32>,
    pub log_prob: Finite,
    pub question: Question,
}

/// Why weights could not be examined, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// They are not weights of the work: their file is damaged.
    Misfit(String),
    /// Training has led to something that is no number.
    NotFinite(String),
}

/// Something that a job should begin with and that does not fit its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Of the job.
    pub id: usize,
    pub cause: String,
}

/// What the trainer and the world around it share while training runs: a request to end at the next step, and
/// how many member-steps have been made.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    raised: Arc<AtomicBool>,
    /// Of the whole of which this is a part.
    whole: Option<Arc<AtomicBool>>,
    steps: Arc<AtomicU64>,
}

impl Cancel {
    /// For a part of the work: it ends with the whole and can be ended alone; steps are counted together.
    pub fn part(&self) -> Self {
        let whole = Some(Arc::clone(&self.raised));
        Self { raised: Arc::default(), whole, steps: Arc::clone(&self.steps) }
    }

    /// Asks for the end.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_raised(&self) -> bool {
        let raised = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        raised(&self.raised) || self.whole.as_ref().is_some_and(raised)
    }

    /// Counts `members` that made a step.
    ///
    /// # Panics
    /// As [`panics::pass_on`].
    pub fn count_steps(&self, members: u64) {
        disk::fault::step(members);
        panics::pass_on();
        self.steps.fetch_add(members, Ordering::Relaxed);
    }

    /// Member-steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    /// Unit tests run in a program that has the first experiment.
    pub fn know_one() {
        super::know(&[&crate::selector::Selector]);
    }
}
