//! What happens during a run, as values: the program's only way to say so. Sinks (progress, `events.jsonl`)
//! consume them; nothing in training prints.

use std::collections::BTreeMap;

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
        #[serde(flatten)]
        asking: Asking,
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

/// How the asking of a judge goes, or went: of one process, or of all processes of a run together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asking {
    /// Questions as they come, as if every point were evaluated on its own.
    pub naive: usize,
    /// The different ones among them. A question that several processes need counts for each of them, and is asked by one.
    pub distinct: usize,
    /// Those of them that had been answered before.
    pub cached: usize,
    /// Answers got by asking, questions without an answer, and questions left.
    pub asked: usize,
    pub failed: usize,
    pub left: usize,
    pub per_second: Option<Finite>,
    /// The first fault of each kind, in words.
    pub faults: Vec<String>,
}

/// What every process that asks has said last.
#[derive(Clone, Debug, Default)]
pub struct Askers(BTreeMap<String, Asking>);

impl Askers {
    /// Takes note of what a process says of its asking.
    pub fn hear(&mut self, event: &Event) {
        if let Event::Judge { asking, asker } = event {
            self.0.insert(asker.process.clone(), asking.clone());
        }
    }

    /// All of them together; `None` where nobody has asked. What has nothing left to ask has no speed.
    pub fn together(&self) -> Option<Asking> {
        let mut all = Asking::default();
        for one in self.0.values() {
            all.naive += one.naive;
            all.distinct += one.distinct;
            all.cached += one.cached;
            all.asked += one.asked;
            all.failed += one.failed;
            all.left += one.left;
            let speed = one.per_second.filter(|_| one.left > 0 || self.0.len() == 1);
            all.per_second = match (all.per_second, speed) {
                (Some(sum), Some(speed)) => Finite::new(*sum + *speed),
                (sum, speed) => sum.or(speed),
            };
            let new = one.faults.iter().filter(|fault| !all.faults.contains(fault));
            all.faults.extend(new.cloned().collect::<Vec<_>>());
        }
        (!self.0.is_empty()).then_some(all)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_ask_are_counted_together_by_their_last_words() {
        let word = |process: &str, asked, left, per_second: f64, fault: &str| Event::Judge {
            asking: Asking {
                naive: 10,
                distinct: 8,
                cached: 1,
                asked,
                failed: 1,
                left,
                per_second: Finite::new(per_second),
                faults: vec![fault.to_owned()],
            },
            asker: AskerNote { process: process.to_owned(), ..AskerNote::default() },
        };
        let mut askers = Askers::default();
        assert_eq!(askers.together(), None);
        for event in
            [word("a", 1, 7, 2.0, "slow"), word("b", 2, 6, 3.0, "slow"), word("a", 3, 5, 4.0, "slow")]
        {
            askers.hear(&event);
        }
        let together = Asking {
            naive: 20,
            distinct: 16,
            cached: 2,
            asked: 5,
            failed: 2,
            left: 11,
            per_second: Finite::new(7.0),
            faults: vec!["slow".to_owned()],
        };
        assert_eq!(askers.together(), Some(together));
        // Who is done slows nobody down.
        askers.hear(&word("b", 8, 0, 1.0, "slow"));
        assert_eq!(askers.together().and_then(|all| all.per_second), Finite::new(4.0));
    }
}
