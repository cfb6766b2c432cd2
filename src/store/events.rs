//! `events.jsonl` read back: by other processes, and while a run appends to it.

use serde::Deserialize;

use super::SweepDir;
use crate::event::Event;

/// A line of `events.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub struct LoggedEvent {
    /// Seconds since 1970.
    pub time: f64,
    pub data: Event,
}

/// All events of a directory in order. A line that is being written and events this version does not know are
/// left out; without a log there are none.
pub fn read_events(dir: &SweepDir) -> Vec<LoggedEvent> {
    let bytes = fs_err::read(dir.events()).unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// One cohort's training as the log tells it.
#[derive(Clone, Debug, Default)]
pub struct LoggedCohort {
    pub phase: String,
    pub members: usize,
    /// Member-steps that were planned, and how many member-epochs the log has of it.
    pub steps: u64,
    pub epochs_done: usize,
    pub first_epoch: u32,
    pub last_epoch: u32,
    /// Points that end in one of its stages, and how many of them have ended since.
    pub points: usize,
    pub points_ended: usize,
    /// Times of its beginning and of what came after it (`None`: it is the last thing in the log).
    pub began: f64,
    pub ended: Option<f64>,
    /// The key of a stage that it trained.
    pub stage: Option<String>,
}

impl LoggedCohort {
    /// Member-steps made so far, as far as finished epochs tell.
    pub fn steps_done(&self) -> f64 {
        let epochs = self.members * (self.last_epoch + 1).saturating_sub(self.first_epoch) as usize;
        match self.ended {
            Some(_) => self.steps as f64,
            None => self.steps as f64 * (self.epochs_done as f64 / epochs.max(1) as f64).min(1.0),
        }
    }
}

/// The cohorts since the last launch in `events`, oldest first.
pub fn cohorts(events: &[LoggedEvent]) -> Vec<LoggedCohort> {
    let mut cohorts: Vec<LoggedCohort> = Vec::new();
    for LoggedEvent { time, data } in events {
        let open = cohorts.last_mut().filter(|cohort| cohort.ended.is_none());
        match data {
            Event::PlanReady { .. } => cohorts.clear(),
            Event::CohortStarted { phase, members, first_epoch, last_epoch, steps, points } => {
                if let Some(before) = open {
                    before.ended = Some(*time);
                }
                cohorts.push(LoggedCohort {
                    phase: phase.clone(),
                    members: *members,
                    steps: *steps,
                    first_epoch: *first_epoch,
                    last_epoch: *last_epoch,
                    points: *points,
                    began: *time,
                    ..LoggedCohort::default()
                });
            }
            Event::EpochDone { stage, .. } => {
                if let Some(cohort) = open {
                    cohort.epochs_done += 1;
                    cohort.stage = Some(stage.clone());
                }
            }
            Event::PointDone { .. } | Event::PointFailed { .. } => {
                if let Some(cohort) = open {
                    cohort.points_ended += 1;
                }
            }
            Event::Finished { interrupted, .. } => match open {
                // An interrupted cohort did not make all its steps: it says nothing about speed.
                Some(_) if *interrupted => drop(cohorts.pop()),
                Some(cohort) => cohort.ended = Some(*time),
                None => {}
            },
            _ => {}
        }
    }
    cohorts
}
