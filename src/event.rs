//! What happens during a run, as values: the program's only way to say so. Sinks (progress, `events.jsonl`)
//! consume them; nothing in training prints.

use serde::{Deserialize, Serialize};

use crate::finite::Finite;

/// One event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The plan is made, nothing has been trained yet.
    PlanReady {
        points: usize,
        points_done: usize,
        stages: usize,
        /// Training steps with sharing, without, and those still to make.
        steps: u64,
        steps_naive: u64,
        steps_left: u64,
        /// What a careful person wants to read before training starts.
        notices: Vec<String>,
    },
    /// A stage was taken over from another sweep.
    StageAdopted { stage: String, from: String },
    /// A stage's files were damaged; they were moved away and the stage is trained again.
    StageDamaged { stage: String, cause: String, moved_to: String },
    /// A stage has let go weights that are asked for again; it is trained from its beginning.
    StageAgain { stage: String },
    /// A point's files were damaged; they were moved away and the point is made again.
    PointDamaged { point: String, cause: String, moved_to: String },
    /// What fits into the time that is left, once the speed is known.
    BudgetEstimate {
        steps_per_second: Finite,
        seconds_left: Finite,
        steps: u64,
        steps_left: u64,
        points: usize,
        points_left: usize,
    },
    /// Training a cohort failed; it is tried again, at most `next` stages together.
    CohortFailed { members: usize, cause: String, next: usize },
    /// A stage could not be trained; a later run tries again.
    StageFailed { stage: String, cause: String },
    /// A worker process ended before its work was done.
    WorkerEnded { device: String, cause: String, restarted: bool },
    /// A cohort begins.
    CohortStarted {
        phase: String,
        members: usize,
        first_epoch: u32,
        last_epoch: u32,
        /// Member-steps to make.
        steps: u64,
        /// Points that are still to end in one of its stages.
        #[serde(default)]
        points: usize,
        /// The keys of its stages: what tells it from the cohorts of other workers. Empty in old logs.
        #[serde(default)]
        stages: Vec<String>,
        /// For each of them, the last point that ends in it; empty where none does.
        #[serde(default)]
        names: Vec<String>,
    },
    /// A cohort has ended; `complete`: each of its stages made the steps it was to make, or ended earlier by itself.
    CohortFinished { stages: Vec<String>, complete: bool },
    /// An epoch of one stage is on disk.
    EpochDone {
        stage: String,
        phase: String,
        epoch: u32,
        train_loss: Finite,
        val_loss: Option<Finite>,
        seconds: Finite,
    },
    /// A stage ended by a number that is not finite.
    StageDiverged { stage: String, epoch: u32, cause: String },
    /// How the asking of a judge goes: before anything is asked, now and then, and at the end.
    Judge {
        /// What evaluating the points so far on their own asks, how many questions of it are distinct, and how many of
        /// those had been answered before.
        naive: usize,
        distinct: usize,
        cached: usize,
        /// Answers got by asking, questions without an answer, and questions left.
        asked: usize,
        failed: usize,
        left: usize,
        per_second: Option<Finite>,
        /// The first fault of each kind.
        faults: Vec<String>,
        /// Who asks whom, for sums over the processes of a run; empty in old logs.
        #[serde(default, flatten)]
        asker: AskerNote,
    },
    /// A point has its results.
    PointDone {
        point: String,
        /// The key of its last stage; empty in old logs, here and below.
        #[serde(default)]
        stage: String,
        average: Option<Finite>,
        val_loss: Option<Finite>,
    },
    /// A point will not get results.
    PointFailed {
        point: String,
        #[serde(default)]
        stage: String,
        error: String,
    },
    /// The end: everything that could be done is done, or the run was stopped.
    Finished { done: usize, failed: usize, pending: usize, interrupted: bool, seconds: Finite },
}

/// Of one process that asks a judge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AskerNote {
    /// The process, by its number and the moment it began to ask.
    #[serde(default)]
    pub process: String,
    /// Short hash of the judge's identity.
    #[serde(default)]
    pub judge: String,
    /// Seconds of asking so far; of one of several processes that ask at once its share of them.
    #[serde(default)]
    pub seconds: Finite,
}
