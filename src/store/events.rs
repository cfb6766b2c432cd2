//! `events.jsonl` read back: by other processes, and while a run appends to it.

use std::collections::BTreeMap;

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

/// What the processes of all runs of a directory have asked the judge `judge`: answers got, and seconds of asking. Each
/// process counts with its last word, also one that was killed.
pub fn asked(events: &[LoggedEvent], judge: &str) -> (usize, f64) {
    let mut last = BTreeMap::new();
    for event in events {
        if let Event::Judge { asking, asker } = &event.data
            && asker.judge == judge
            && !asker.process.is_empty()
        {
            last.insert(asker.process.as_str(), (asking.asked, asker.seconds.get()));
        }
    }
    last.values().fold((0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// One cohort's training as the log tells it.
#[derive(Clone, Debug)]
pub struct LoggedCohort {
    pub phase: String,
    pub members: usize,
    /// Member-steps that were planned, and how many member-epochs the log has of it.
    pub steps: u64,
    pub epochs_done: usize,
    pub first_epoch: u32,
    pub last_epoch: u32,
    /// Points that were to end in one of its stages, and how many of them have ended since.
    pub points: usize,
    pub points_ended: usize,
    /// When it began, and when it had made all its steps.
    pub began: f64,
    pub ended: Option<f64>,
    /// It is in training as far as the log tells.
    pub open: bool,
    /// The keys of its stages; of a log that does not name them, of those that have finished an epoch.
    pub stages: Vec<String>,
    /// For each of them, the last point that ends in it; empty where none does or the log does not say.
    names: Vec<String>,
    /// The log names its stages.
    named: bool,
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

    /// Points whose last stage it trains and that have not ended.
    pub fn points_running(&self) -> usize {
        self.points.saturating_sub(self.points_ended)
    }

    /// The last point that ends in the stage `key`, if one does.
    pub fn point(&self, key: &str) -> Option<&str> {
        let index = self.stages.iter().position(|stage| stage == key)?;
        self.names.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn has(&self, key: &str) -> bool {
        self.stages.iter().any(|stage| stage == key)
    }

    fn end(&mut self, time: f64) {
        self.open = false;
        self.ended = Some(time);
    }
}

/// The cohorts since the last launch in `events`, in the order in which they began. Several workers log at once:
/// what belongs to which cohort is told by the stage. Logs that name no stages are of one process, which trains one
/// cohort after the other.
pub fn cohorts(events: &[LoggedEvent]) -> Vec<LoggedCohort> {
    let mut cohorts: Vec<LoggedCohort> = Vec::new();
    for LoggedEvent { time, data } in events {
        match data {
            Event::PlanReady { .. } => cohorts.clear(),
            Event::CohortStarted { stages, .. } => {
                for before in cohorts.iter_mut().filter(|cohort| cohort.open) {
                    match before.named {
                        // Its worker has died: another one goes on with the stage.
                        true => before.open &= !stages.iter().any(|stage| before.has(stage)),
                        false => before.end(*time),
                    }
                }
                cohorts.extend(begun(*time, data));
            }
            Event::CohortFinished { stages, complete } => {
                let open = cohorts.iter_mut().rev().find(|cohort| cohort.open && cohort.stages == *stages);
                match open {
                    Some(cohort) if *complete => cohort.end(*time),
                    Some(cohort) => cohort.open = false,
                    None => {}
                }
            }
            Event::EpochDone { stage, .. } => {
                if let Some(cohort) = open_with(&mut cohorts, stage) {
                    cohort.epochs_done += 1;
                    if !cohort.has(stage) {
                        cohort.stages.push(stage.clone());
                    }
                }
            }
            Event::PointDone { stage, .. } | Event::PointFailed { stage, .. } => {
                if let Some(cohort) = open_with(&mut cohorts, stage) {
                    cohort.points_ended += 1;
                }
            }
            Event::Finished { interrupted, .. } => {
                for cohort in cohorts.iter_mut().filter(|cohort| cohort.open) {
                    // An interrupted cohort did not make all its steps: it says nothing about speed.
                    match cohort.named || *interrupted {
                        true => cohort.open = false,
                        false => cohort.end(*time),
                    }
                }
            }
            _ => {}
        }
    }
    cohorts
}

/// The cohort that `event` begins, if it does.
fn begun(time: f64, event: &Event) -> Option<LoggedCohort> {
    let Event::CohortStarted { phase, members, first_epoch, last_epoch, steps, points, stages, names } =
        event
    else {
        return None;
    };
    Some(LoggedCohort {
        phase: phase.clone(),
        members: *members,
        steps: *steps,
        epochs_done: 0,
        first_epoch: *first_epoch,
        last_epoch: *last_epoch,
        points: *points,
        points_ended: 0,
        began: time,
        ended: None,
        open: true,
        stages: stages.clone(),
        names: names.clone(),
        named: !stages.is_empty(),
    })
}

/// The cohort in training that has the stage `key`.
fn open_with<'a>(cohorts: &'a mut [LoggedCohort], key: &str) -> Option<&'a mut LoggedCohort> {
    cohorts.iter_mut().rev().find(|cohort| cohort.open && (!cohort.named || cohort.has(key)))
}
