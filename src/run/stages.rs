//! The stages of a plan with what is on disk of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::error::RunError;
use super::facts::facts;
use super::keep::Kept;
use super::pool::beside_training;
use super::session::Session;
use crate::checkpoint::{self, Base, CheckpointError, Weights};
use crate::event::Event;
use crate::experiment::{Job, Report};
use crate::plan::{Cohort, StageKey, StageProgress};
use crate::store::{EpochRecord, FORMAT, StageRecord, StageStore, StoreError, Wanted};

/// Records of all stages of a plan, in plan order.
pub struct StageTable {
    store: StageStore,
    records: Vec<StageRecord>,
    kept: Kept,
    /// Kind of device new checkpoints are computed on.
    device: &'static str,
    /// Weights that are start or reference of stages in training, by (stage, epoch), and what was written last: points are
    /// evaluated from them.
    starts: BTreeMap<(usize, u32), Arc<Weights>>,
    written: BTreeMap<(usize, u32), Arc<Weights>>,
    /// Why stages could not be trained in this run.
    failed: Vec<Option<String>>,
}

/// How stages are taken up.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Kind of device new checkpoints are computed on.
    pub device: &'static str,
    /// Take over what other sweeps below the same root have trained.
    pub adopt: bool,
    /// Train diverged stages again.
    pub retry_infeasible: bool,
}

impl StageTable {
    /// Reads what is there, takes over what sibling sweeps have, and writes initial weights.
    ///
    /// # Errors
    /// A store that cannot be read or written.
    pub fn open(
        session: &Session,
        store: StageStore,
        how: Opening,
        log: &mut dyn FnMut(&Event),
    ) -> Result<Self, RunError> {
        let count = session.plan.stages.len();
        let mut table = Self::new(session, store, Vec::new(), how.device);
        // Reading every checkpoint takes a second per gigabyte and finds what a night has damaged before
        // anything is built on it.
        let found: Vec<Result<Option<StageRecord>, RunError>> =
            (0..count).into_par_iter().map(|index| table.inspect(session, index, how)).collect();
        let mut set_aside = BTreeSet::new();
        for (index, found) in found.into_iter().enumerate() {
            let record = table.open_stage(session, index, found, how, &mut set_aside, log)?;
            table.records.push(record);
        }
        Ok(table)
    }

    /// For a worker process: reads what is there; [`StageTable::open`] has been called by whoever started it.
    ///
    /// # Errors
    /// A record that is missing where every stage begins, or cannot be read.
    pub fn join(session: &Session, store: StageStore, device: &'static str) -> Result<Self, RunError> {
        let records = (0..session.plan.stages.len()).map(|index| new_record(session, index)).collect();
        let mut table = Self::new(session, store, records, device);
        table.refresh(session)?;
        Ok(table)
    }

    fn new(session: &Session, store: StageStore, records: Vec<StageRecord>, device: &'static str) -> Self {
        let (starts, written) = (BTreeMap::new(), BTreeMap::new());
        let failed = vec![None; session.plan.stages.len()];
        let kept = Kept::of(session, store.dir());
        Self { store, records, kept, device, starts, written, failed }
    }

    /// Reads again what other processes may have written.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn refresh(&mut self, session: &Session) -> Result<(), RunError> {
        for (stage, record) in session.plan.stages.iter().zip(&mut self.records) {
            if let Some(found) = self.store.record(&stage.key)? {
                *record = found;
            }
        }
        Ok(())
    }

    /// The stage's record with every file it speaks of read and compared; `None` if it has not been started.
    fn inspect(
        &self,
        session: &Session,
        index: usize,
        how: Opening,
    ) -> Result<Option<StageRecord>, RunError> {
        let stage = &session.plan.stages[index];
        let Some(mut record) = self.store.record(&stage.key)? else { return Ok(None) };
        if how.retry_infeasible && record.diverged.take().is_some() {
            self.store.write_record(&stage.key, &record)?;
        }
        let last = record.epochs.len() as u32;
        for epoch in record.kept() {
            self.store.weights(&stage.key, &record, epoch)?;
        }
        if last < stage.epochs
            && can_go_on(&record)
            && let Some(continuation) = self.store.continuation(&stage.key, &record)?
        {
            // Wrong ones are found here, where the stage can still be set aside, and not when it is to go on.
            let fits = session.experiment().check(stage.work, continuation);
            fits.map_err(|cause| corrupt(&stage.key, cause))?;
        }
        self.store.tidy(&stage.key, &record)?;
        Ok(Some(record))
    }

    fn open_stage(
        &mut self,
        session: &Session,
        index: usize,
        found: Result<Option<StageRecord>, RunError>,
        how: Opening,
        set_aside: &mut BTreeSet<usize>,
        log: &mut dyn FnMut(&Event),
    ) -> Result<StageRecord, RunError> {
        let stage = &session.plan.stages[index];
        let found = match found {
            // What it shares comes back with the stage that it goes on from, which is trained again.
            Err(error)
                if shares_with_missing(&error) && stage.parent.is_some_and(|at| set_aside.contains(&at)) =>
            {
                Ok(self.store.record(&stage.key)?)
            }
            found => found,
        };
        let damaged = found.is_err();
        let mut found = self.usable(session, index, found, log)?;
        if damaged {
            set_aside.insert(index);
        }
        let have = found.as_ref().map(|record| record.epochs.len() as u32);
        let start = stage.parent.is_none_or(|parent| {
            self.records[parent].progress().reached(session.plan.stages[parent].epochs).is_some()
        });
        let wanted = Wanted { stops: &self.kept.stops[index], until: stage.epochs };
        let lacks = found.as_ref().is_some_and(|record| record.lacks(wanted));
        if how.adopt
            && start
            && (lacks || have.is_none_or(|have| have < stage.epochs && found.as_ref().is_some_and(can_go_on)))
            && let Some(from) = self.store.adopt(&stage.key, have.filter(|_| !lacks), wanted)?
        {
            let adopted = self.inspect(session, index, how);
            found = self.usable(session, index, adopted, log)?;
            if found.is_some() {
                log(&Event::StageAdopted { stage: stage.key.0.clone(), from: from.display().to_string() });
            }
        }
        if let Some(record) = found {
            return Ok(record);
        }
        let mut record = new_record(session, index);
        if stage.parent.is_none() {
            let weights = session.experiment().initial(stage.work);
            record.init = Some(checkpoint::content_hash(&weights));
            let facts = facts(session, index, &record, &self.records, self.device);
            self.store.commit_init(&stage.key, &record, &weights, &facts)?;
        }
        Ok(record)
    }

    /// Takes back the records of stages that have let go what a point or another stage still asks for: they are trained
    /// from their beginning. Their files stay where they are until the same epochs replace them. `open`: per stage, the
    /// epochs at which points end that have no results yet.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn begin_again(
        &mut self,
        session: &Session,
        open: &[Vec<u32>],
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        for (index, (stage, open)) in session.plan.stages.iter().zip(open).enumerate() {
            let until = open.iter().copied().max().unwrap_or(0);
            if self.records[index].lacks(Wanted { stops: open, until }) {
                let record = new_record(session, index);
                self.store.write_record(&stage.key, &record)?;
                self.records[index] = record;
                log(&Event::StageAgain { stage: stage.key.0.clone() });
            }
        }
        Ok(())
    }

    /// Lets go the weights of all finished stages but `best`, by (stage, epoch).
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn keep_only(&mut self, session: &Session, best: &BTreeSet<(usize, u32)>) -> Result<(), RunError> {
        for (index, stage) in session.plan.stages.iter().enumerate() {
            let record = &mut self.records[index];
            let beaten = self.kept.beaten(session, index, record, best);
            let last = record.epochs.len() as u32;
            record.ended |= beaten.contains(&last);
            if record.release(beaten) {
                self.store.write_record(&stage.key, record)?;
                self.store.tidy(&stage.key, record)?;
            }
        }
        Ok(())
    }

    /// What was found, or nothing after it was set aside as damaged.
    fn usable(
        &self,
        session: &Session,
        index: usize,
        found: Result<Option<StageRecord>, RunError>,
        log: &mut dyn FnMut(&Event),
    ) -> Result<Option<StageRecord>, RunError> {
        match found {
            Ok(found) => Ok(found),
            Err(error @ RunError::Store(StoreError::NewerFormat { .. })) => Err(error),
            Err(error) => {
                self.set_aside(session, index, &error.to_string(), log)?;
                Ok(None)
            }
        }
    }

    fn set_aside(
        &self,
        session: &Session,
        index: usize,
        cause: &str,
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        let key = &session.plan.stages[index].key;
        let moved_to = self.store.set_aside(key)?.display().to_string();
        log(&Event::StageDamaged { stage: key.0.clone(), cause: cause.to_owned(), moved_to });
        Ok(())
    }

    /// How far each stage has come.
    pub fn progress(&self) -> Vec<StageProgress> {
        self.records.iter().map(StageRecord::progress).collect()
    }

    /// Finished epochs of a stage.
    pub fn epochs(&self, stage: usize) -> u32 {
        self.records[stage].epochs.len() as u32
    }

    /// The record of a stage.
    pub fn record(&self, stage: usize) -> &StageRecord {
        &self.records[stage]
    }

    /// Notes that a stage could not be trained in this run.
    pub fn fail(&mut self, stage: usize, cause: String) {
        self.failed[stage] = Some(cause);
    }

    /// Why a stage could not be trained in this run.
    pub fn failure(&self, stage: usize) -> Option<&str> {
        self.failed[stage].as_deref()
    }

    /// Weights of a stage after `epoch`.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn weights(&self, session: &Session, stage: usize, epoch: u32) -> Result<Arc<Weights>, RunError> {
        let at = (stage, epoch);
        if let Some(known) = self.written.get(&at).or_else(|| self.starts.get(&at)) {
            return Ok(Arc::clone(known));
        }
        Ok(Arc::new(self.store.weights(&session.plan.stages[stage].key, &self.records[stage], epoch)?))
    }

    /// Where a stage starts: its parent's last epoch, or itself for `Init`.
    pub fn start_of(&self, session: &Session, stage: usize) -> (usize, u32) {
        match session.plan.stages[stage].parent {
            None => (stage, 0),
            Some(parent) => (parent, self.epochs(parent)),
        }
    }

    /// Weights of (stage, epoch) for training; equal coordinates share one allocation.
    fn start(&mut self, session: &Session, at: (usize, u32)) -> Result<Arc<Weights>, RunError> {
        if let Some(known) = self.starts.get(&at) {
            return Ok(Arc::clone(known));
        }
        let weights = self.weights(session, at.0, at.1)?;
        self.starts.insert(at, Arc::clone(&weights));
        Ok(weights)
    }

    /// What the trainer needs to train `cohort`: one job per stage (numbered like the stages of the plan).
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn jobs(&mut self, session: &Session, cohort: &Cohort) -> Result<Vec<Job>, RunError> {
        self.starts.clear();
        let mut jobs = Vec::with_capacity(cohort.stages.len());
        for &index in &cohort.stages {
            let stage = &session.plan.stages[index];
            let start = self.start(session, self.start_of(session, index))?;
            let policy = stage.reference.map(|policy| (policy, self.epochs(policy)));
            let reference = policy.map(|at| self.start(session, at)).transpose()?;
            let resume = match self.store.continuation(&stage.key, &self.records[index])? {
                Some(state) => Some((self.start(session, (index, state.epoch))?, state)),
                None => None,
            };
            let (work, last_epoch) = (stage.work, stage.epochs);
            jobs.push(Job { id: index, work, start, reference, last_epoch, resume });
        }
        Ok(jobs)
    }

    /// Puts what the trainer reported on disk, several members at a time: most of it is hashing, copying and waiting
    /// for syncs.
    ///
    /// # Errors
    /// A store that cannot be written; what could be written counts nevertheless.
    pub fn record_events(
        &mut self,
        session: &Session,
        events: Vec<Report>,
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        let this = &*self;
        let written: Vec<Result<Written, RunError>> = beside_training(|| {
            events.into_par_iter().map(|event| this.write_event(session, event)).collect()
        });
        let mut first_error = Ok(());
        self.written.clear();
        for written in written {
            match written {
                Ok(Written { index, record, weights }) => {
                    log(&event_of(&record));
                    let at = (index, record.epochs.len() as u32);
                    self.written.extend(weights.map(|weights| (at, Arc::new(weights))));
                    self.records[index] = record;
                }
                Err(error) => first_error = first_error.and(Err(error)),
            }
        }
        first_error
    }

    /// Writes one event's files.
    fn write_event(&self, session: &Session, event: Report) -> Result<Written, RunError> {
        match event {
            Report::Epoch { id: index, snapshot, metrics, stopped } => {
                let stage = &session.plan.stages[index];
                let weights = snapshot.weights();
                let content = checkpoint::content_hash(&weights);
                let mut record = self.records[index].clone();
                record.epochs.push(EpochRecord { content, metrics });
                record.stopped = stopped;
                record.ended = !self.kept.needs_state(session, index, &record);
                record.release(self.kept.passing(session, index, &record));
                let facts = facts(session, index, &record, &self.records, self.device);
                let freezes = !session.plan.traits(index).frozen.is_empty();
                let continuation = (!record.ended).then(|| snapshot.state());
                let start = self.start_of(session, index);
                let before = &session.plan.stages[start.0];
                let start_file =
                    StageStore::path_from_beside(&before.key, &session.plan.traits(start.0).phase, start.1);
                let shared = self.starts.get(&start).filter(|_| freezes);
                let base = shared.map(|weights| Base { file: &start_file, weights });
                self.store.commit_epoch(
                    &stage.key,
                    &record,
                    &weights,
                    &facts,
                    base,
                    continuation.as_ref(),
                )?;
                Ok(Written { index, record, weights: Some(weights) })
            }
            Report::Diverged { id: index, epoch, cause } => {
                let stage = &session.plan.stages[index];
                let phase = &session.plan.traits(index).phase;
                let mut record = self.records[index].clone();
                record.diverged = Some(format!("{phase} epoch {epoch}: {cause}"));
                self.store.write_record(&stage.key, &record)?;
                Ok(Written { index, record, weights: None })
            }
        }
    }
}

/// Whether a checkpoint could not be read for want of the file that it shares parameters with.
fn shares_with_missing(error: &RunError) -> bool {
    matches!(error, RunError::Store(StoreError::Checkpoint(CheckpointError::Incomplete { .. })))
}

/// Files of a stage that are whole and yet not what its plan needs.
pub fn corrupt(key: &StageKey, cause: String) -> StoreError {
    StoreError::Corrupt { path: key.0.clone().into(), cause }
}

/// A stage's new record and, after an epoch, the weights it speaks of.
struct Written {
    index: usize,
    record: StageRecord,
    weights: Option<Weights>,
}

/// The record of a stage that has not been started.
fn new_record(session: &Session, index: usize) -> StageRecord {
    let stage = &session.plan.stages[index];
    let key_of = |index: Option<usize>| index.map(|index| session.plan.stages[index].key.0.clone());
    let work = session.plan.work(index);
    StageRecord {
        format: FORMAT,
        key: stage.key.0.clone(),
        kind: serde_json::from_str(&work.values).unwrap_or_default(),
        traits: Some(work.traits.clone()),
        parent: key_of(stage.parent),
        reference: key_of(stage.reference),
        init: None,
        epochs: Vec::new(),
        stopped: false,
        diverged: None,
        released: Vec::new(),
        ended: false,
        unknown: serde_json::Map::new(),
    }
}

/// What has just happened to the stage of `record`: it diverged, or finished its last epoch.
fn event_of(record: &StageRecord) -> Event {
    let stage = record.key.clone();
    match (&record.diverged, record.epochs.last()) {
        (None, Some(EpochRecord { metrics, .. })) => Event::EpochDone {
            stage,
            phase: metrics.phase.clone(),
            epoch: metrics.epoch,
            train_loss: metrics.finite("train_loss").unwrap_or_default(),
            val_loss: metrics.finite("val_loss"),
            seconds: metrics.finite("seconds").unwrap_or_default(),
        },
        (cause, _) => Event::StageDiverged {
            stage,
            epoch: record.epochs.len() as u32 + 1,
            cause: cause.clone().unwrap_or_default(),
        },
    }
}

fn can_go_on(record: &StageRecord) -> bool {
    matches!(record.progress(), StageProgress::Epochs(_))
}
