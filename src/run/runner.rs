//! The loop that trains what is outstanding, alone or beside other worker processes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use super::budget::{Budget, Pace};
use super::error::RunError;
use super::failures::{Failures, Verdict};
use super::judging::Judging;
use super::options::{RunOptions, Stop};
use super::points::PointTable;
use super::session::Session;
use super::stages::{StageTable, corrupt};
use crate::device::Device;
use crate::disk::Claim;
use crate::event::Event;
use crate::experiment::{Cancel, CohortEnd, Job, Misfit, Report};
use crate::finite::Finite;
use crate::panics;
use crate::plan::{Cohort, PointPlan, StageProgress, next_cohort, outstanding};
use crate::store::Store;

/// How often a worker looks whether another one has finished what it waits for.
const POLL: Duration = Duration::from_millis(100);

/// Reports of the trainer that wait to be put on disk, besides the one that is being written.
const QUEUE: usize = 1;

/// Workers that may die at a stage before it counts as failed.
const DEATHS: u32 = 2;

/// Trains the outstanding stages of a session and finishes their points.
pub struct Runner<'a> {
    pub session: &'a Session,
    pub store: &'a Store,
    pub options: &'a RunOptions,
    pub cancel: &'a Cancel,
    pub stages: StageTable,
    pub points: PointTable,
    failures: Failures,
    budget: Option<Budget>,
    pace: Pace,
    estimated: bool,
    /// When this process began to train, and how many epochs of its stages it has finished.
    began: Option<Instant>,
    epochs: u64,
    /// Number of worker processes that share the stages; `None` = this process works alone.
    crew: Option<usize>,
    /// The judge, once there is something to ask.
    pub judging: Option<Judging>,
}

/// A cohort and, beside other workers, the claims on its stages.
type Work = (Cohort, Vec<Claim>);

impl<'a> Runner<'a> {
    /// Over what `stages` and `points` say. `crew`: the number of worker processes that share the stages; `None` =
    /// this process works alone.
    pub fn new(
        (session, store): (&'a Session, &'a Store),
        (options, cancel): (&'a RunOptions, &'a Cancel),
        (stages, points): (StageTable, PointTable),
        crew: Option<usize>,
    ) -> Self {
        let failures = Failures::new(session.plan.stages.len(), options.retries);
        let budget = options.deadline.map(|deadline| Budget::new(session, deadline));
        let pace = Pace::default();
        Self {
            session,
            store,
            options,
            cancel,
            stages,
            points,
            failures,
            budget,
            pace,
            estimated: false,
            began: None,
            epochs: 0,
            crew,
            judging: None,
        }
    }

    /// What is known of the stages, without the rest.
    pub fn into_stages(self) -> StageTable {
        self.stages
    }

    /// Trains until nothing is outstanding or there is a reason to stop.
    ///
    /// # Errors
    /// A store that cannot be read or written.
    pub fn work(&mut self, log: &mut dyn FnMut(&Event)) -> Result<Option<Stop>, RunError> {
        loop {
            if let Some(stop) = self.stop() {
                return Ok(Some(stop));
            }
            let Some((cohort, claims)) = self.next(log)? else { return self.await_answers(log) };
            let cohort = self.fitting(cohort);
            if cohort.stages.is_empty() {
                return Ok(Some(Stop::Budget));
            }
            self.train(&cohort, log)?;
            drop(claims);
        }
    }

    /// Whether half of the time since `start` was not enough for one epoch: whoever has as much time again will not
    /// finish it either.
    pub fn is_too_slow(&self, start: Instant) -> bool {
        self.epochs == 0 && self.began.is_some_and(|began| 2 * began.elapsed() >= start.elapsed())
    }

    /// Why to stop, if there is a reason.
    pub fn stop(&self) -> Option<Stop> {
        // A worker counts for all: its limit is that of the whole directory.
        let failures = || match self.crew {
            Some(_) => self.lost(),
            None => self.points.new_failures(),
        };
        if self.options.max_failures.is_some_and(|most| failures() >= most) {
            return Some(Stop::Failures);
        }
        if self.budget.as_ref().is_some_and(|budget| budget.left().is_zero()) {
            return Some(Stop::Budget);
        }
        self.cancel.is_raised().then_some(Stop::Interrupted)
    }

    /// Points that will not get results, as far as the stages tell.
    pub fn lost(&self) -> usize {
        self.points.lost(self.session, &self.stages)
    }

    /// Why worker processes that ended in order have left something undone; `lost_before`: [`Runner::lost`] when
    /// they started.
    pub fn stopped_by(&self, lost_before: usize) -> Option<Stop> {
        if self.options.max_failures.is_some_and(|most| self.lost() >= lost_before + most) {
            return Some(Stop::Failures);
        }
        let limited = self.options.deadline.is_some() && !self.outstanding().is_empty();
        limited.then_some(Stop::Budget)
    }

    /// The next cohort; waits for other workers where only they can make something ready.
    fn next(&mut self, log: &mut dyn FnMut(&Event)) -> Result<Option<Work>, RunError> {
        let Some(crew) = self.crew else {
            return Ok(self.choose(&[], 1).map(|cohort| (cohort, Vec::new())));
        };
        loop {
            self.store.check_in_place()?;
            self.refresh()?;
            if self.stop().is_some() || self.outstanding().is_empty() {
                return Ok(None);
            }
            if let Some(work) = self.claim_next(crew, log)? {
                return Ok(Some(work));
            }
            self.settle(log)?;
            std::thread::sleep(POLL);
        }
    }

    /// Claims a cohort of stages that no other worker has.
    fn claim_next(&mut self, crew: usize, log: &mut dyn FnMut(&Event)) -> Result<Option<Work>, RunError> {
        let mut taken = Vec::new();
        while let Some(cohort) = self.choose(&taken, crew) {
            let before = self.stages.progress();
            let (mut stages, mut claims) = (Vec::new(), Vec::new());
            for &stage in &cohort.stages {
                match self.store.claim(&self.session.plan.stages[stage].key)? {
                    Some(claim) if claim.deaths >= DEATHS + self.options.retries => {
                        let cause = format!("{} worker processes died while they trained it", claim.deaths);
                        self.give_up(stage, cause, log)?;
                        taken.push(stage);
                    }
                    Some(claim) => {
                        stages.push(stage);
                        claims.push(claim);
                    }
                    None => taken.push(stage),
                }
            }
            // Between the look and the claim another worker may have trained and given back a stage.
            self.stages.refresh(self.session)?;
            if self.stages.progress() != before {
                return Ok(None);
            }
            if !stages.is_empty() {
                return Ok(Some((Cohort { stages }, claims)));
            }
        }
        Ok(None)
    }

    /// Reads again what other workers have finished and where they failed.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn refresh(&mut self) -> Result<(), RunError> {
        self.stages.refresh(self.session)?;
        for (index, stage) in self.session.plan.stages.iter().enumerate() {
            if self.stages.failure(index).is_none()
                && let Some(cause) = self.store.noted_failure(&stage.key)
            {
                self.stages.fail(index, cause);
            }
        }
        Ok(())
    }

    /// Stages with epochs to train, less those that failed and those that wait for one that failed.
    pub fn outstanding(&self) -> Vec<usize> {
        let plan = &self.session.plan;
        let mut failed = vec![false; plan.stages.len()];
        for (index, stage) in plan.stages.iter().enumerate() {
            let parent = stage.parent.is_some_and(|parent| failed[parent]);
            failed[index] = parent || self.stages.failure(index).is_some();
        }
        let list = outstanding(plan, &self.stages.progress());
        list.into_iter().filter(|&stage| !failed[stage]).collect()
    }

    /// The next cohort without the stages in `taken`, for one of `crew` workers.
    fn choose(&self, taken: &[usize], crew: usize) -> Option<Cohort> {
        let plan = &self.session.plan;
        let progress: Vec<StageProgress> = self.stages.progress();
        let ready = |stage: usize| {
            let parent = plan.stages[stage].parent;
            parent.is_none_or(|parent| progress[parent].reached(plan.stages[parent].epochs).is_some())
        };
        let mut list = self.outstanding();
        let all_ready = list.iter().filter(|&&stage| ready(stage)).count();
        list.retain(|stage| !taken.contains(stage));
        if let Some(budget) = &self.budget {
            list = budget.first(&list, ready);
        }
        // Beside other workers everyone takes a share of what is ready, so that nobody is left without.
        let share = if crew == 1 { usize::MAX } else { all_ready.div_ceil(crew).max(1) };
        let width = share.min(self.failures.width()).min(self.options.widest_cohort());
        next_cohort(plan, &progress, &list, width).map(|cohort| self.in_memory(self.failures.narrow(cohort)))
    }

    /// The part of `cohort` that the device has memory for.
    fn in_memory(&self, mut cohort: Cohort) -> Cohort {
        if let Some(&stage) = cohort.stages.first() {
            let work = self.session.plan.stages[stage].work;
            cohort.stages.truncate(self.session.experiment().room(work, self.options.device));
        }
        cohort
    }

    /// The part of `cohort` of which one epoch fits into the time that is left.
    fn fitting(&self, mut cohort: Cohort) -> Cohort {
        if let Some(budget) = &self.budget {
            let steps = self.session.steps();
            let fit = budget.members_that_fit(cohort.stages.len(), steps, self.pace.speed());
            cohort.stages.truncate(fit);
        }
        cohort
    }

    /// Trains one cohort. While an epoch trains, the ones before are put on disk and the points that end with them are
    /// finished. Three finished epochs at most are not on disk yet: one that is being written, one in the queue, and one
    /// for which there is no room in it.
    fn train(&mut self, cohort: &Cohort, log: &mut dyn FnMut(&Event)) -> Result<(), RunError> {
        self.began.get_or_insert_with(Instant::now);
        let session = self.session;
        let plan = &session.plan;
        let jobs = self.stages.jobs(session, cohort)?;
        let first_epoch = jobs.iter().map(Job::first_epoch).max().unwrap_or(1);
        let last_epoch = jobs.iter().map(|job| job.last_epoch).max().unwrap_or(first_epoch);
        let epochs: u64 = jobs.iter().map(|job| u64::from(job.last_epoch + 1 - first_epoch)).sum();
        let keys: Vec<String> = cohort.stages.iter().map(|&stage| plan.stages[stage].key.0.clone()).collect();
        let to_end = |point: &&PointPlan| {
            cohort.stages.contains(&point.stage) && point.epoch > self.stages.epochs(point.stage)
        };
        log(&Event::CohortStarted {
            phase: plan.traits(cohort.stages[0]).phase.clone(),
            members: jobs.len(),
            first_epoch,
            last_epoch,
            steps: epochs * session.steps(),
            points: plan.points.iter().filter(to_end).count(),
            stages: keys.clone(),
            names: cohort.stages.iter().map(|&stage| self.last_point(stage)).collect(),
        });
        let listening = panics::listen();
        let experiment = session.experiment();
        let (device, cancel) = (self.options.device, self.cancel.part());
        let (events_out, events_in) = sync_channel(QUEUE);
        let (recorded_out, recorded_in) = channel();
        // A GPU evaluates points between epochs: training and evaluation would compete for its memory.
        let overlap = device == Device::Cpu;
        let (error, end) = std::thread::scope(|scope| {
            let (jobs, cancel_part) = (&jobs, cancel.clone());
            let trainer = scope.spawn(move || {
                let mut report = |events: Vec<Report>| {
                    events_out.send(events).is_ok() && (overlap || recorded_in.recv().is_ok())
                };
                experiment.train(jobs, device, &cancel_part, &mut report)
            });
            let error = self.record_all(&cohort.stages, (events_in, recorded_out), &cancel, log).err();
            (error, trainer.join())
        });
        log(&Event::CohortFinished { stages: keys, complete: matches!(end, Ok(Ok(CohortEnd::Finished))) });
        match (error, end) {
            (Some(error), _) => Err(error),
            (None, Ok(Ok(CohortEnd::Finished | CohortEnd::Cancelled))) => Ok(()),
            (None, Ok(Err(Misfit { id, cause }))) => Err(corrupt(&plan.stages[id].key, cause).into()),
            (None, Err(payload)) => {
                device.drain();
                self.failed(cohort, &listening.cause_of(payload.as_ref()), log)
            }
        }
    }

    /// Records what the trainer reports until it ends; asks it to end where there is a reason to stop. What it has
    /// finished until then is recorded.
    fn record_all(
        &mut self,
        cohort: &[usize],
        (events_in, recorded_out): (Receiver<Vec<Report>>, Sender<()>),
        cancel: &Cancel,
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        let steps = self.session.steps();
        let (mut began, mut reported) = (Instant::now(), 0);
        let mut recorded_out = Some(recorded_out);
        loop {
            let events = match events_in.recv_timeout(POLL) {
                Ok(events) => events,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.settle(log) {
                        cancel.raise();
                        return Err(error);
                    }
                    continue;
                }
            };
            self.pace.add(steps * events.len() as u64, began.elapsed());
            began = Instant::now();
            reported += events.len();
            if let Err(error) = self.record(cohort, events, log) {
                cancel.raise();
                return Err(error);
            }
            if reported >= cohort.len() {
                self.estimate(log);
            }
            if self.stop().is_some() {
                cancel.raise();
                recorded_out = None;
            }
            if let Some(recorded_out) = &recorded_out {
                // Nobody listens where training goes on meanwhile.
                let _ = recorded_out.send(());
            }
        }
    }

    /// Finishes the points whose answers have come, while training goes on.
    fn settle(&mut self, log: &mut dyn FnMut(&Event)) -> Result<(), RunError> {
        let Some(judging) = &mut self.judging else { return Ok(()) };
        self.points.settle((self.session, self.store), &mut self.stages, judging, log)
    }

    /// Waits until the judge has answered everything, or until there is a reason to stop; says which.
    ///
    /// # Errors
    /// A store that cannot be read or written.
    pub fn await_answers(&mut self, log: &mut dyn FnMut(&Event)) -> Result<Option<Stop>, RunError> {
        loop {
            self.settle(log)?;
            let Some(judging) = self.judging.as_mut().filter(|judging| judging.is_busy()) else { break };
            if self.options.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(Some(Stop::Budget));
            }
            if self.cancel.is_raised() {
                return Ok(Some(Stop::Interrupted));
            }
            judging.wait(POLL);
            self.store.check_in_place()?;
        }
        Ok(self.stop())
    }

    /// The name of the last point that ends in a stage; empty if none does.
    fn last_point(&self, stage: usize) -> String {
        let points = self.session.plan.points.iter().zip(&self.session.spec.points);
        let last =
            points.filter(|(planned, _)| planned.stage == stage).max_by_key(|(planned, _)| planned.epoch);
        last.map(|(_, point)| point.name.clone()).unwrap_or_default()
    }

    /// Puts members' epochs on disk and finishes the points that waited for them.
    fn record(
        &mut self,
        cohort: &[usize],
        events: Vec<Report>,
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        self.store.check_in_place()?;
        self.epochs += events.len() as u64;
        let only = self.crew.is_some().then_some(cohort);
        let written = self.stages.record_events(self.session, events, log);
        // Whatever could not be written: that the directory is gone is the cause to name.
        let written = written.and_then(|()| self.finish_ready(only, log));
        if written.is_err() {
            self.store.check_in_place()?;
        }
        written
    }

    /// Finishes every point (of the stages in `only`) that can be finished.
    ///
    /// # Errors
    /// A store that cannot be read or written.
    pub fn finish_ready(
        &mut self,
        only: Option<&[usize]>,
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        let device = self.options.device;
        if let (Some(live), None) = (self.session.asked(), &self.judging) {
            let judging = Judging::open(live, self.options, self.store.dir(), self.crew.unwrap_or(1))?;
            self.judging = Some(judging);
        }
        let how = (device, only, self.judging.as_mut());
        self.points.finish_ready((self.session, self.store), &mut self.stages, how, log)?;
        self.settle(log)
    }

    /// Says once, after the first epoch, what fits into the time that is left.
    fn estimate(&mut self, log: &mut dyn FnMut(&Event)) {
        let (Some(budget), Some(speed), false) = (&self.budget, self.pace.speed(), self.estimated) else {
            return;
        };
        // Every worker speaks for all, as if all were as fast.
        let Some(speed) = Finite::new(speed * self.crew.unwrap_or(1) as f64) else { return };
        self.estimated = true;
        let estimate = budget.estimate(self.session, &self.stages, speed);
        log(&Event::BudgetEstimate {
            steps_per_second: estimate.speed,
            seconds_left: estimate.seconds,
            steps: estimate.steps,
            steps_left: estimate.steps_left,
            points: estimate.points,
            points_left: estimate.points_left,
        });
    }

    fn failed(&mut self, cohort: &Cohort, cause: &str, log: &mut dyn FnMut(&Event)) -> Result<(), RunError> {
        let verdict = self.failures.note(&cohort.stages, cause);
        let members = cohort.stages.len();
        match verdict {
            Verdict::Narrower(next) => {
                log(&Event::CohortFailed { members, cause: cause.to_owned(), next });
            }
            Verdict::Again => log(&Event::CohortFailed { members, cause: cause.to_owned(), next: 1 }),
            Verdict::GiveUp => {
                for &stage in &cohort.stages {
                    self.give_up(stage, cause.to_owned(), log)?;
                }
                // Beside other workers their points are left to whoever closes the run: each is told once.
                if self.crew.is_none() {
                    self.finish_ready(None, log)?;
                }
            }
        }
        Ok(())
    }

    fn give_up(&mut self, stage: usize, cause: String, log: &mut dyn FnMut(&Event)) -> Result<(), RunError> {
        let key = &self.session.plan.stages[stage].key;
        if self.crew.is_some() {
            self.store.note_failure(key, &cause)?;
        }
        log(&Event::StageFailed { stage: key.0.clone(), cause: cause.clone() });
        self.stages.fail(stage, cause);
        Ok(())
    }
}
