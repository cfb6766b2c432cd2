//! The loop that trains what is outstanding, alone or beside other worker processes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use super::error::RunError;
use super::failures::{Failures, Verdict};
use super::judging::Judging;
use super::options::Stop;
use super::points::PointTable;
use super::site::{Company, Site};
use super::stages::{StageTable, corrupt};
use super::stopwatch::Stopwatch;
use crate::device::Device;
use crate::disk::Claim;
use crate::event::Event;
use crate::experiment::{Cancel, CohortEnd, Job, Misfit, Report};
use crate::panics;
use crate::plan::{Cohort, PointPlan, StageProgress, next_cohort, outstanding};

/// How often a worker looks whether another one has finished what it waits for.
const POLL: Duration = Duration::from_millis(100);

/// Reports of the trainer that wait to be put on disk, besides the one that is being written.
const QUEUE: usize = 1;

/// Workers that may die at a stage before it counts as failed.
const DEATHS: u32 = 2;

/// Trains the outstanding stages of a session and finishes their points.
pub struct Runner<'a> {
    pub site: Site<'a>,
    pub stages: StageTable,
    pub points: PointTable,
    failures: Failures,
    stopwatch: Stopwatch,
    company: Company,
    /// The judge, once there is something to ask.
    pub judging: Option<Judging>,
}

/// A cohort and, beside other workers, the claims on its stages.
struct Work {
    cohort: Cohort,
    claims: Vec<Claim>,
}

impl<'a> Runner<'a> {
    /// Over what `stages` and `points` say.
    pub fn new(site: Site<'a>, stages: StageTable, points: PointTable, company: Company) -> Self {
        let failures = Failures::new(site.session.plan.stages.len(), site.options.retries);
        let stopwatch = Stopwatch::new(site.session, site.options.deadline);
        Self { site, stages, points, failures, stopwatch, company, judging: None }
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
            let Some(Work { cohort, claims }) = self.next(log)? else { return self.await_answers(log) };
            let cohort = self.fitting(cohort);
            if cohort.stages.is_empty() {
                return Ok(Some(Stop::Budget));
            }
            self.train(&cohort, log)?;
            drop(claims);
        }
    }

    /// [`Stopwatch::is_too_slow`] for whoever began at `start`.
    pub fn is_too_slow(&self, start: Instant) -> bool {
        self.stopwatch.is_too_slow(start)
    }

    /// Why to stop, if there is a reason.
    pub fn stop(&self) -> Option<Stop> {
        // A worker counts for all: its limit is that of the whole directory.
        let failures = || match self.company {
            Company::OneOf(_) => self.lost(),
            Company::Alone => self.points.new_failures(),
        };
        if self.site.options.max_failures.is_some_and(|most| failures() >= most) {
            return Some(Stop::Failures);
        }
        if self.stopwatch.is_over() {
            return Some(Stop::Budget);
        }
        self.site.cancel.is_raised().then_some(Stop::Interrupted)
    }

    /// Points that will not get results, as far as the stages tell.
    pub fn lost(&self) -> usize {
        self.points.lost(self.site.session, &self.stages)
    }

    /// Why worker processes that ended in order have left something undone; `lost_before`: [`Runner::lost`] when
    /// they started.
    pub fn stopped_by(&self, lost_before: usize) -> Option<Stop> {
        if self.site.options.max_failures.is_some_and(|most| self.lost() >= lost_before + most) {
            return Some(Stop::Failures);
        }
        let limited = self.site.options.deadline.is_some() && !self.outstanding().is_empty();
        limited.then_some(Stop::Budget)
    }

    /// The next cohort; waits for other workers where only they can make something ready.
    fn next(&mut self, log: &mut dyn FnMut(&Event)) -> Result<Option<Work>, RunError> {
        if self.company.is_alone() {
            return Ok(self.choose(&[]).map(|cohort| Work { cohort, claims: Vec::new() }));
        }
        loop {
            self.site.store.check_in_place()?;
            self.refresh()?;
            if self.stop().is_some() || self.outstanding().is_empty() {
                return Ok(None);
            }
            if let Some(work) = self.claim_next(log)? {
                return Ok(Some(work));
            }
            self.settle(log)?;
            std::thread::sleep(POLL);
        }
    }

    /// Claims a cohort of stages that no other worker has.
    fn claim_next(&mut self, log: &mut dyn FnMut(&Event)) -> Result<Option<Work>, RunError> {
        let mut taken = Vec::new();
        while let Some(cohort) = self.choose(&taken) {
            let before = self.stages.progress();
            let (mut stages, mut claims) = (Vec::new(), Vec::new());
            for &stage in &cohort.stages {
                match self.site.store.claim(&self.site.session.plan.stages[stage].key)? {
                    Some(claim) if claim.deaths >= DEATHS + self.site.options.retries => {
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
            self.stages.refresh(self.site.session)?;
            if self.stages.progress() != before {
                return Ok(None);
            }
            if !stages.is_empty() {
                return Ok(Some(Work { cohort: Cohort { stages }, claims }));
            }
        }
        Ok(None)
    }

    /// Reads again what other workers have finished and where they failed.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn refresh(&mut self) -> Result<(), RunError> {
        self.stages.refresh(self.site.session)?;
        for (index, stage) in self.site.session.plan.stages.iter().enumerate() {
            if self.stages.failure(index).is_none()
                && let Some(cause) = self.site.store.noted_failure(&stage.key)
            {
                self.stages.fail(index, cause);
            }
        }
        Ok(())
    }

    /// Stages with epochs to train, less those that failed and those that wait for one that failed.
    pub fn outstanding(&self) -> Vec<usize> {
        let plan = &self.site.session.plan;
        let mut failed = vec![false; plan.stages.len()];
        for (index, stage) in plan.stages.iter().enumerate() {
            let parent = stage.parent.is_some_and(|parent| failed[parent]);
            failed[index] = parent || self.stages.failure(index).is_some();
        }
        let list = outstanding(plan, &self.stages.progress());
        list.into_iter().filter(|&stage| !failed[stage]).collect()
    }

    /// The next cohort without the stages in `taken`.
    fn choose(&self, taken: &[usize]) -> Option<Cohort> {
        let plan = &self.site.session.plan;
        let progress: Vec<StageProgress> = self.stages.progress();
        let ready = |stage: usize| {
            let parent = plan.stages[stage].parent;
            parent.is_none_or(|parent| progress[parent].reached(plan.stages[parent].epochs).is_some())
        };
        let mut list = self.outstanding();
        let all_ready = list.iter().filter(|&&stage| ready(stage)).count();
        list.retain(|stage| !taken.contains(stage));
        let list = self.stopwatch.first(list, ready);
        // Beside other workers everyone takes a share of what is ready, so that nobody is left without.
        let share = match self.company.count() {
            1 => usize::MAX,
            workers => all_ready.div_ceil(workers).max(1),
        };
        let width = share.min(self.failures.width()).min(self.site.options.widest_cohort());
        next_cohort(plan, &progress, &list, width).map(|cohort| self.in_memory(self.failures.narrow(cohort)))
    }

    /// The part of `cohort` that the device has memory for.
    fn in_memory(&self, mut cohort: Cohort) -> Cohort {
        if let Some(&stage) = cohort.stages.first() {
            let work = self.site.session.plan.stages[stage].work;
            cohort.stages.truncate(self.site.session.experiment().room(work, self.site.options.device));
        }
        cohort
    }

    /// The part of `cohort` of which one epoch fits into the time that is left.
    fn fitting(&self, mut cohort: Cohort) -> Cohort {
        let steps = self.site.session.steps();
        cohort.stages.truncate(self.stopwatch.members_that_fit(cohort.stages.len(), steps));
        cohort
    }

    /// Trains one cohort. While an epoch trains, the ones before are put on disk and the points that end with them are
    /// finished. Three finished epochs at most are not on disk yet: one that is being written, one in the queue, and one
    /// for which there is no room in it.
    fn train(&mut self, cohort: &Cohort, log: &mut dyn FnMut(&Event)) -> Result<(), RunError> {
        self.stopwatch.start();
        let session = self.site.session;
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
        let (device, cancel) = (self.site.options.device, self.site.cancel.part());
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
            let error = self.record_all(&cohort.stages, &events_in, recorded_out, &cancel, log).err();
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
        events_in: &Receiver<Vec<Report>>,
        recorded_out: Sender<()>,
        cancel: &Cancel,
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        let steps = self.site.session.steps();
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
            self.stopwatch.add(events.len(), steps, began.elapsed());
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
        self.points.settle(self.site, &self.stages, judging, log)
    }

    /// Waits until the judge has answered everything, or until there is a reason to stop; says which.
    ///
    /// # Errors
    /// A store that cannot be read or written.
    pub fn await_answers(&mut self, log: &mut dyn FnMut(&Event)) -> Result<Option<Stop>, RunError> {
        loop {
            self.settle(log)?;
            let Some(judging) = self.judging.as_mut().filter(|judging| judging.is_busy()) else { break };
            if self.site.options.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(Some(Stop::Budget));
            }
            if self.site.cancel.is_raised() {
                return Ok(Some(Stop::Interrupted));
            }
            judging.wait(POLL);
            self.site.store.check_in_place()?;
        }
        Ok(self.stop())
    }

    /// The name of the last point that ends in a stage; empty if none does.
    fn last_point(&self, stage: usize) -> String {
        let points = self.site.session.plan.points.iter().zip(&self.site.session.spec.points);
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
        self.site.store.check_in_place()?;
        let only = (!self.company.is_alone()).then_some(cohort);
        let written = self.stages.record_events(self.site.session, events, log);
        // Whatever could not be written: that the directory is gone is the cause to name.
        let written = written.and_then(|()| self.finish_ready(only, log));
        if written.is_err() {
            self.site.store.check_in_place()?;
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
        let Site { session, store, options, .. } = self.site;
        if let (Some(live), None) = (session.asked(), &self.judging) {
            self.judging = Some(Judging::open(live, options, store.dir(), self.company.count())?);
        }
        self.points.finish_ready(self.site, &self.stages, only, self.judging.as_mut(), log)?;
        self.settle(log)
    }

    /// Says once, after the first epoch, what fits into the time that is left. Every worker speaks for all.
    fn estimate(&mut self, log: &mut dyn FnMut(&Event)) {
        let workers = self.company.count();
        if let Some(estimate) = self.stopwatch.estimate(self.site.session, &self.stages, workers) {
            log(&estimate);
        }
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
                if self.company.is_alone() {
                    self.finish_ready(None, log)?;
                }
            }
        }
        Ok(())
    }

    fn give_up(&mut self, stage: usize, cause: String, log: &mut dyn FnMut(&Event)) -> Result<(), RunError> {
        let key = &self.site.session.plan.stages[stage].key;
        if !self.company.is_alone() {
            self.site.store.note_failure(key, &cause)?;
        }
        log(&Event::StageFailed { stage: key.0.clone(), cause: cause.clone() });
        self.stages.fail(stage, cause);
        Ok(())
    }
}
