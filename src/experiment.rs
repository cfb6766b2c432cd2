//! The contract between the core and what is trained.
//!
//! The core knows points, works, stages, files and figures; it decides what is trained when, on which device, and what
//! stays on the disk. It does not know what a stage trains: that is the experiment's. Works are numbered as the plan numbers
//! them ([`crate::plan::Plan::works`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::checkpoint::{Facts, Weights};
use crate::device::Device;
use crate::figure::EpochMetrics;
use crate::finite::Finite;
use crate::judge::Question;
use crate::record::{QueryScore, ReferenceResult};
use crate::{disk, panics};

/// An experiment whose inputs have been read and checked. Every call may come from any thread, several at a time.
pub trait Opened: Sync {
    /// Content hashes of all inputs by key, for identities and provenance.
    fn inputs(&self) -> &BTreeMap<String, String>;

    /// Training steps of one epoch of any work.
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
    /// `report` is called after every epoch, from the calling thread, for a part of the members at a time, and returns
    /// whether to go on. Between steps the trainer looks at `cancel` and counts the steps that were made there. A number that
    /// is not finite ends its job alone. A panic is caught by the caller, which tries the jobs again one by one.
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
    fn measure(&self, works: &[(usize, usize)], device: Device) -> Option<f64>;

    /// How many jobs like `work` the memory of `device` takes side by side, as far as its driver says.
    fn room(&self, work: usize, device: Device) -> usize;

    /// Bytes that stay in memory whatever is trained.
    fn data_bytes(&self) -> u64;

    /// Bytes that training `jobs` works like `work` from `starts` different weights adds to that, on a CPU: an estimate.
    fn training_bytes(&self, work: usize, jobs: usize, starts: usize) -> u64;

    /// Identity of the evaluation: what decides choices and scores besides the weights. `None` where nothing is evaluated.
    fn evaluation(&self) -> Option<String>;

    /// How many inputs weights are examined on; a point has results for all of them, or says for which it has none.
    fn inputs_examined(&self) -> usize;

    /// Examines the weights of `work` on all inputs, without any randomness.
    ///
    /// # Errors
    /// Weights that are not the work's, or of which nothing can be said.
    fn examine(&self, work: usize, weights: &Weights, device: Device) -> Result<Examined, Flaw>;

    /// What policies without training score on the same inputs, where that is known.
    fn references(&self) -> Vec<ReferenceResult>;

    /// What a checkpoint says about itself: what of it follows from the works of its chain (from the last one back to the
    /// beginning) and from the figures of its last epoch.
    fn facts(&self, chain: &[usize], last: Option<&EpochMetrics>) -> Facts;
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
    /// What was chosen and what it scored, by shot count.
    Scored(BTreeMap<usize, Vec<QueryScore>>),
    /// What a judge has to be asked first.
    ToAsk(Vec<Unit>),
}

/// What was chosen for one query at one shot count: a question to the judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    pub query_id: u64,
    pub shot: usize,
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
