//! What a sweep is doing, from its directory alone: how far it is, how long it will take, what somebody should look at.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::event::{Askers, Asking, Event};
use crate::finite::Finite;
use crate::store::{
    LoggedCohort, LoggedEvent, PointStatus, Standing, StoreError, Usage, cohorts, standing, usage,
};

/// How a sweep stands.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub name: String,
    pub dir: PathBuf,
    pub points: usize,
    pub done: usize,
    pub failed: usize,
    /// Points whose last stage is in training.
    pub running: usize,
    /// The rest: waiting, or in a sweep that no run holds.
    pub pending: usize,
    /// Who writes to the directory now.
    pub holder: Option<String>,
    /// Seconds until the run ends at its pace so far; `None` without a run, or before its first epoch.
    pub eta_seconds: Option<f64>,
    /// How the asking of a judge goes, where one is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<Asking>,
    /// What trains now, a cohort per worker, and the last figures of each stage of it.
    pub training: Vec<Training>,
    /// What the directory takes on the disk.
    pub usage: Usage,
    /// What somebody should look at.
    pub warnings: Vec<String>,
    /// Seconds since 1970 of the last event.
    pub last_event: Option<f64>,
}

/// The last words on it since the last launch.
fn asking(events: &[LoggedEvent]) -> Option<Asking> {
    let since = events.iter().rposition(|event| matches!(event.data, Event::PlanReady { .. }))?;
    let mut askers = Askers::default();
    events[since..].iter().for_each(|event| askers.hear(&event.data));
    askers.together()
}

/// A cohort in training.
#[derive(Clone, Debug, Serialize)]
pub struct Training {
    pub phase: String,
    pub members: usize,
    pub first_epoch: u32,
    pub last_epoch: u32,
    pub stages: Vec<RunningStage>,
}

/// A stage in training with its last finished epoch.
#[derive(Clone, Debug, Serialize)]
pub struct RunningStage {
    pub stage: String,
    /// The last of the points that end in it, if any does.
    pub point: Option<String>,
    pub epoch: u32,
    pub train_loss: Finite,
    pub val_loss: Option<Finite>,
}

/// Warnings of one kind that are spelled out; the others are counted.
const SPELLED_OUT: usize = 3;

/// Reads how the sweep in `dir` stands, as of `now` (seconds since 1970). No selections are read.
///
/// # Errors
/// Not a results directory, or one of a newer version.
pub fn status(dir: &Path, now: f64) -> Result<Status, StoreError> {
    let Standing { name, holder, points, events } = standing(dir)?;
    let ended = || points.iter().filter_map(|point| point.ended.as_ref());
    let count = |is: fn(PointStatus) -> bool| ended().filter(|end| is(end.status)).count();
    let done = count(|status| status == PointStatus::Done);
    let failed = count(|status| matches!(status, PointStatus::Failed | PointStatus::Infeasible));
    let left = points.len() - done - failed;
    let mut names = HashMap::new();
    for point in &points {
        if let Some(end) = &point.ended {
            names.entry(end.stage.as_str()).or_insert(point.name.as_str());
        }
    }
    let cohorts = cohorts(&events);
    // A stage that several points come from is called after the last of them, which is where it leads.
    for (cohort, stage) in
        cohorts.iter().flat_map(|cohort| cohort.stages.iter().map(move |stage| (cohort, stage)))
    {
        if let Some(point) = cohort.point(stage) {
            names.insert(stage, point);
        }
    }
    let open = || cohorts.iter().filter(|cohort| holder.is_some() && cohort.open);
    let running = open().map(LoggedCohort::points_running).sum::<usize>().min(left);
    let training = open().map(|cohort| Training {
        phase: cohort.phase.clone(),
        members: cohort.members,
        first_epoch: cohort.first_epoch,
        last_epoch: cohort.last_epoch,
        stages: running_stages(&events, cohort, &names),
    });
    let training = training.collect();
    Ok(Status {
        name,
        dir: dir.to_owned(),
        points: points.len(),
        done,
        failed,
        running,
        pending: left - running,
        eta_seconds: holder.is_some().then(|| eta(&events, now)).flatten(),
        judge: asking(&events),
        training,
        usage: usage(dir),
        warnings: warnings(&events, &names),
        last_event: events.last().map(|event| event.time),
        holder,
    })
}

fn running_stages(
    events: &[LoggedEvent],
    cohort: &LoggedCohort,
    names: &HashMap<&str, &str>,
) -> Vec<RunningStage> {
    let mut stages: BTreeMap<&str, RunningStage> = BTreeMap::new();
    for event in events.iter().filter(|event| event.time >= cohort.began) {
        if let Event::EpochDone { stage, epoch, train_loss, val_loss, .. } = &event.data
            && cohort.stages.contains(stage)
        {
            let last = RunningStage {
                stage: stage.clone(),
                point: cohort.point(stage).or_else(|| names.get(stage.as_str()).copied()).map(str::to_owned),
                epoch: *epoch,
                train_loss: *train_loss,
                val_loss: *val_loss,
            };
            stages.insert(stage, last);
        }
    }
    stages.into_values().collect()
}

/// Steps left over steps per second since the launch.
fn eta(events: &[LoggedEvent], now: f64) -> Option<f64> {
    let launch = events.iter().rev().find_map(|event| match event.data {
        Event::PlanReady { steps_left, .. } => Some((event.time, steps_left)),
        _ => None,
    });
    let (began, steps_left) = launch?;
    let done: f64 = cohorts(events).iter().map(|cohort| cohort.steps_done()).sum();
    // The clock runs on between epochs, the count does not: time is measured up to the last finished epoch.
    let is_epoch = |event: &&LoggedEvent| matches!(event.data, Event::EpochDone { .. });
    let measured = events.iter().rev().find(is_epoch)?.time;
    let pace = (measured - began) / done;
    let total = pace * steps_left as f64;
    (done > 0.0 && total.is_finite()).then(|| (total - (now - began)).max(0.0))
}

/// Stages whose val_loss rose in each of its last two epochs, and those that diverged.
fn warnings(events: &[LoggedEvent], names: &HashMap<&str, &str>) -> Vec<String> {
    let mut losses: BTreeMap<&str, BTreeMap<u32, f64>> = BTreeMap::new();
    let mut diverged: BTreeMap<&str, &str> = BTreeMap::new();
    for event in events {
        match &event.data {
            Event::EpochDone { stage, epoch, val_loss: Some(loss), .. } => {
                losses.entry(stage).or_default().insert(*epoch, loss.get());
                diverged.remove(stage.as_str());
            }
            Event::StageDiverged { stage, cause, .. } => drop(diverged.insert(stage, cause)),
            _ => {}
        }
    }
    let called = |stage: &str| match names.get(stage) {
        Some(point) => format!("`{point}`"),
        None => format!("stage {}", stage.get(..12).unwrap_or(stage)),
    };
    let rising = losses.iter().filter_map(|(stage, losses)| {
        let mut last = losses.values().rev();
        let (c, b, a) = (last.next()?, last.next()?, last.next()?);
        (a < b && b < c)
            .then(|| format!("val_loss rose over the last 2 epochs: {} ({a:.4} -> {c:.4})", called(stage)))
    });
    let diverged = diverged.iter().map(|(stage, cause)| format!("diverged: {} ({cause})", called(stage)));
    let mut all = shorten(diverged.collect(), "stages that diverged");
    all.extend(shorten(rising.collect(), "stages whose val_loss rose over the last 2 epochs"));
    all
}

fn shorten(mut warnings: Vec<String>, what: &str) -> Vec<String> {
    if warnings.len() > SPELLED_OUT + 1 {
        let rest = warnings.len() - SPELLED_OUT;
        warnings.truncate(SPELLED_OUT);
        warnings.push(format!("... and {rest} more {what}"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(time: f64, data: Event) -> LoggedEvent {
        LoggedEvent { time, data }
    }

    fn epoch(time: f64, stage: &str, epoch: u32, val_loss: f64) -> LoggedEvent {
        let (stage, phase) = (stage.to_owned(), "grpo".to_owned());
        let one = Duration::from_secs(1).into();
        let data = Event::EpochDone {
            stage,
            phase,
            epoch,
            train_loss: one,
            val_loss: Finite::new(val_loss),
            seconds: one,
        };
        at(time, data)
    }

    /// 400 steps to go; one cohort of 100 was done in 10 s, another is at its first of two epochs.
    fn log() -> Vec<LoggedEvent> {
        let ready = Event::PlanReady {
            points: 4,
            points_done: 0,
            stages: 4,
            steps: 400,
            steps_naive: 400,
            steps_left: 400,
            notices: Vec::new(),
        };
        let cohort = |last_epoch: u32, steps: u64| Event::CohortStarted {
            phase: "grpo".to_owned(),
            members: 1,
            first_epoch: 1,
            last_epoch,
            steps,
            points: 2,
            stages: Vec::new(),
            names: Vec::new(),
        };
        vec![
            at(100.0, ready),
            at(100.0, cohort(1, 100)),
            epoch(110.0, "a", 1, 3.0),
            at(110.0, cohort(2, 200)),
            epoch(120.0, "b", 1, 1.0),
        ]
    }

    #[test]
    fn the_remaining_time_is_the_pace_times_what_is_left() {
        // 200 of 400 steps in 20 s.
        assert_eq!(eta(&log(), 120.0), Some(20.0));
        assert_eq!(eta(&log(), 125.0), Some(15.0));
        assert_eq!(eta(&log(), 500.0), Some(0.0));
        assert_eq!(eta(&log()[..2], 120.0), None);
    }

    /// Two workers whose cohorts overlap: one has made two of its four epochs, the other all of its two.
    #[test]
    fn cohorts_of_several_workers_are_told_apart_by_their_stages() {
        let started = |steps: u64, last_epoch: u32, stages: &[&str], points: usize| Event::CohortStarted {
            phase: "grpo".to_owned(),
            members: stages.len(),
            first_epoch: 1,
            last_epoch,
            steps,
            points,
            stages: stages.iter().map(|stage| (*stage).to_owned()).collect(),
            names: stages.iter().map(|stage| format!("last of {stage}")).collect(),
        };
        let done = |stage: &str| Event::PointDone {
            point: format!("point of {stage}"),
            stage: stage.to_owned(),
            average: None,
            val_loss: None,
        };
        let mut log = vec![log()[0].clone()];
        log.push(at(100.0, started(200, 2, &["a", "b"], 3)));
        log.push(at(100.5, started(100, 2, &["c"], 2)));
        log.extend([epoch(105.0, "a", 1, 1.0), epoch(105.0, "b", 1, 1.0), at(105.1, done("b"))]);
        log.extend([epoch(108.0, "c", 1, 1.0), at(108.1, done("c")), epoch(110.0, "c", 2, 1.0)]);
        let list = cohorts(&log);
        let seen = |list: &[LoggedCohort]| -> Vec<(bool, usize, f64)> {
            list.iter().map(|one| (one.open, one.points_running(), one.steps_done())).collect()
        };
        assert_eq!(seen(&list), [(true, 2, 100.0), (true, 1, 100.0)]);
        // 200 of 400 steps in 10 s, as both go on.
        assert_eq!(eta(&log, 110.0), Some(10.0));
        let names = HashMap::from([("b", "point of b")]);
        let stages = |index: usize| -> Vec<String> {
            running_stages(&log, &list[index], &names).into_iter().map(|stage| stage.stage).collect()
        };
        assert_eq!((stages(0), stages(1)), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
        assert_eq!(list[0].point("b"), Some("last of b"));
        let finished = |stages: &[&str], complete| Event::CohortFinished {
            stages: stages.iter().map(|stage| (*stage).to_owned()).collect(),
            complete,
        };
        log.push(at(111.0, finished(&["c"], true)));
        assert_eq!(seen(&cohorts(&log)), [(true, 2, 100.0), (false, 1, 100.0)]);
        assert_eq!(cohorts(&log)[1].ended, Some(111.0));
        // The first one's worker dies, and another one goes on with one of its stages.
        log.push(at(112.0, started(100, 2, &["a"], 1)));
        assert_eq!(seen(&cohorts(&log)), [(false, 2, 100.0), (false, 1, 100.0), (true, 1, 0.0)]);
        assert_eq!(cohorts(&log)[0].ended, None, "it says nothing about speed");
        log.push(at(113.0, finished(&["a"], false)));
        assert!(!cohorts(&log)[2].open && cohorts(&log)[2].ended.is_none());
    }

    #[test]
    fn logs_that_name_no_stages_are_read() {
        let old = r#"{"time":1.0,"data":{"event":"cohort_started","phase":"grpo","members":2,"first_epoch":1,"last_epoch":2,"steps":40,"points":2}}
{"time":2.0,"data":{"event":"epoch_done","stage":"a","phase":"grpo","epoch":1,"train_loss":1.0,"val_loss":null,"seconds":1.0}}
{"time":2.1,"data":{"event":"point_done","point":"x","average":null,"val_loss":null}}
{"time":2.2,"data":{"event":"point_failed","point":"y","error":"z"}}"#;
        let log: Vec<LoggedEvent> = old.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let list = cohorts(&log);
        assert_eq!((list[0].open, list[0].points_running(), list[0].steps_done()), (true, 0, 10.0));
        assert_eq!(list[0].stages, ["a"]);
    }

    #[test]
    fn two_rises_in_a_row_are_a_warning() {
        let names = HashMap::from([("b", "kl0.1")]);
        let mut log = log();
        log.push(epoch(130.0, "b", 2, 1.5));
        assert!(warnings(&log, &names).is_empty());
        log.push(epoch(140.0, "b", 3, 1.75));
        assert_eq!(
            warnings(&log, &names),
            ["val_loss rose over the last 2 epochs: `kl0.1` (1.0000 -> 1.7500)"]
        );
        let cause = "grpo epoch 4: loss is not finite".to_owned();
        log.push(at(150.0, Event::StageDiverged { stage: "c".to_owned(), epoch: 4, cause }));
        assert_eq!(warnings(&log, &names)[0], "diverged: stage c (grpo epoch 4: loss is not finite)");
    }
}
