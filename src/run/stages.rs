//! The stages of a plan with what is on disk of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::error::RunError;
use super::pool::beside_training;
use super::session::Session;
use crate::checkpoint::{self, Array, Facts, Weights};
use crate::event::Event;
use crate::learn::{MemberEvent, MemberJob, MemberParams, Progress, State};
use crate::plan::{Cohort, StageKey, StageKind, StageProgress, model_of};
use crate::spec::{FreezeSet, ModelParams};
use crate::store::{Continuation, EpochRecord, FORMAT, StageRecord, StageStore, StoreError};

/// Records of all stages of a plan, in plan order.
pub struct StageTable {
    store: StageStore,
    records: Vec<StageRecord>,
    /// Kind of device new checkpoints are computed on.
    device: &'static str,
    /// Weights that are start or reference of stages in training, by (stage, epoch).
    cache: BTreeMap<(usize, u32), Arc<Vec<f32>>>,
    /// The same by name, and what was written last: points are evaluated from them.
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
        let failed = vec![None; count];
        let mut table = Self::new(store, Vec::new(), how.device, failed);
        // Reading every checkpoint takes a second per gigabyte and finds what a night has damaged before
        // anything is built on it.
        let found: Vec<Result<Option<StageRecord>, RunError>> =
            (0..count).into_par_iter().map(|index| table.inspect(session, index, how)).collect();
        for (index, found) in found.into_iter().enumerate() {
            let record = table.open_stage(session, index, found, how, log)?;
            table.records.push(record);
        }
        Ok(table)
    }

    /// For a worker process: reads what is there; [`StageTable::open`] has been called by whoever started it.
    ///
    /// # Errors
    /// A record that is missing where every stage begins, or cannot be read.
    pub fn join(session: &Session, store: StageStore, device: &'static str) -> Result<Self, RunError> {
        let count = session.plan.stages.len();
        let records = (0..count).map(|index| new_record(session, index)).collect();
        let failed = vec![None; count];
        let mut table = Self::new(store, records, device, failed);
        table.refresh(session)?;
        Ok(table)
    }

    fn new(
        store: StageStore,
        records: Vec<StageRecord>,
        device: &'static str,
        failed: Vec<Option<String>>,
    ) -> Self {
        let (cache, starts, written) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { store, records, device, cache, starts, written, failed }
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
        let first = u32::from(stage.parent.is_some());
        let mut parameters = 0;
        for epoch in first..=last {
            let weights = self.store.weights(&stage.key, &record, epoch)?;
            parameters = weights.values().map(|array| array.values.len()).sum();
        }
        if last < stage.epochs
            && can_go_on(&record)
            && let Some(continuation) = self.store.continuation(&stage.key, &record)?
        {
            // Wrong ones are found here, where the stage can still be set aside, and not when it is to go on.
            progress_of(continuation, vec![0.0; parameters]).map_err(|cause| corrupt(&stage.key, cause))?;
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
        log: &mut dyn FnMut(&Event),
    ) -> Result<StageRecord, RunError> {
        let stage = &session.plan.stages[index];
        let mut found = self.usable(session, index, found, log)?;
        let have = found.as_ref().map(|record| record.epochs.len() as u32);
        if how.adopt
            && have.is_none_or(|have| have < stage.epochs && found.as_ref().is_some_and(can_go_on))
            && let Some(from) = self.store.adopt(&stage.key, have)?
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
            let weights = session.initial_weights(&stage.kind);
            record.init = Some(checkpoint::content_hash(&weights));
            let facts = self.facts(session, index, 0, &record);
            self.store.commit_init(&stage.key, &record, &weights, &facts)?;
        }
        Ok(record)
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

    /// Flat weights of (stage, epoch); equal coordinates share one allocation.
    fn flat(&mut self, session: &Session, at: (usize, u32)) -> Result<Arc<Vec<f32>>, RunError> {
        if let Some(known) = self.cache.get(&at) {
            return Ok(Arc::clone(known));
        }
        let weights = self.weights(session, at.0, at.1)?;
        let layout = session.layout(model_of(&session.plan, at.0).1);
        let flat = layout.flatten(&weights);
        let flat = flat.map_err(|cause| corrupt(&session.plan.stages[at.0].key, cause))?;
        let flat = Arc::new(flat);
        self.cache.insert(at, Arc::clone(&flat));
        self.starts.insert(at, weights);
        Ok(flat)
    }

    /// What the trainer needs to train `cohort`: the common model and freeze set, and one job per stage
    /// (numbered like the stages of the plan).
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn jobs(
        &mut self,
        session: &Session,
        cohort: &Cohort,
    ) -> Result<(ModelParams, FreezeSet, Vec<MemberJob>), RunError> {
        self.cache.clear();
        self.starts.clear();
        let model = model_of(&session.plan, cohort.stages[0]).1.clone();
        let mut freeze = FreezeSet::default();
        let mut jobs = Vec::with_capacity(cohort.stages.len());
        for &index in &cohort.stages {
            let stage = &session.plan.stages[index];
            let start = self.flat(session, self.start_of(session, index))?;
            let (params, reward, reference) = match &stage.kind {
                StageKind::Init { .. } => continue,
                StageKind::Rce { reward, params, .. } => {
                    (MemberParams::Rce(params.clone()), reward, Arc::clone(&start))
                }
                StageKind::Grpo { reward, params, .. } => {
                    freeze = params.freeze.clone();
                    let policy = stage.reference.unwrap_or(index);
                    let reference = self.flat(session, (policy, self.epochs(policy)))?;
                    (MemberParams::Grpo(params.clone()), reward, reference)
                }
            };
            let progress = self.resume(session, index)?;
            let rewards = session.rewards(reward);
            let last_epoch = stage.epochs;
            jobs.push(MemberJob { id: index, params, rewards, start, reference, last_epoch, progress });
        }
        Ok((model, freeze, jobs))
    }

    fn resume(&mut self, session: &Session, index: usize) -> Result<Option<Progress>, RunError> {
        let key = &session.plan.stages[index].key;
        let Some(continuation) = self.store.continuation(key, &self.records[index])? else { return Ok(None) };
        let parameters = self.flat(session, (index, continuation.epoch))?.to_vec();
        Ok(Some(progress_of(continuation, parameters).map_err(|cause| corrupt(key, cause))?))
    }

    /// Puts what the trainer reported on disk, several members at a time: most of it is hashing, copying and waiting
    /// for syncs.
    ///
    /// # Errors
    /// A store that cannot be written; what could be written counts nevertheless.
    pub fn record_events(
        &mut self,
        session: &Session,
        events: Vec<MemberEvent>,
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
    fn write_event(&self, session: &Session, event: MemberEvent) -> Result<Written, RunError> {
        match event {
            MemberEvent::Epoch { id: index, progress, metrics, stopped, .. } => {
                let stage = &session.plan.stages[index];
                let layout = session.layout(model_of(&session.plan, index).1);
                let weights = layout.name_arrays(&progress.state.parameters);
                let content = checkpoint::content_hash(&weights);
                let mut record = self.records[index].clone();
                record.epochs.push(EpochRecord { content, metrics });
                record.stopped = stopped;
                let facts = self.facts(session, index, progress.epoch, &record);
                let continuation = continuation_of(progress);
                self.store.commit_epoch(&stage.key, &record, &weights, &facts, &continuation)?;
                Ok(Written { index, record, weights: Some(weights) })
            }
            MemberEvent::Diverged { id: index, epoch, cause } => {
                let stage = &session.plan.stages[index];
                let phase = stage.kind.name();
                let mut record = self.records[index].clone();
                record.diverged = Some(format!("{phase} epoch {epoch}: {cause}"));
                self.store.write_record(&stage.key, &record)?;
                Ok(Written { index, record, weights: None })
            }
        }
    }

    /// What a checkpoint of stage `index` after `epoch` says about itself: only what determined it.
    fn facts(&self, session: &Session, index: usize, epoch: u32, record: &StageRecord) -> Facts {
        let stage = &session.plan.stages[index];
        let content_of = |(stage, epoch): (usize, u32)| self.records[stage].content(epoch).map(str::to_owned);
        let mut facts = Facts {
            phase: Some(checkpoint::Phase::Init),
            epoch: Some(epoch),
            config: Some(config_of(session, index)),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            burn: Some(checkpoint::BURN_VERSION.to_owned()),
            device: Some(self.device.to_owned()),
            ..Facts::default()
        };
        match &stage.kind {
            StageKind::Init { .. } => return facts,
            StageKind::Rce { data, params, .. } => {
                facts.phase = Some(checkpoint::Phase::Rce);
                facts.data = Some(data.clone());
                facts.lr = Some(params.lr);
                facts.freeze = Some(FreezeSet::default());
            }
            StageKind::Grpo { data, params, .. } => {
                facts.phase = Some(checkpoint::Phase::Grpo);
                facts.data = Some(data.clone());
                facts.lr = Some(params.lr);
                facts.kl_beta = Some(params.kl_beta);
                facts.freeze = Some(params.freeze.clone());
                let policy = stage.reference.map(|policy| (policy, self.epochs(policy)));
                facts.reference = policy.and_then(content_of);
            }
        }
        facts.parent = content_of(self.start_of(session, index));
        if let Some(EpochRecord { metrics, .. }) = record.epochs.last() {
            facts.kl_beta_end = metrics.beta.map(f64::from);
            let known =
                metrics.figures().into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            facts.metrics = known.collect();
        }
        facts
    }
}

/// Files of a stage that are whole and yet not what its plan needs.
fn corrupt(key: &StageKey, cause: String) -> StoreError {
    StoreError::Corrupt { path: key.0.clone().into(), cause }
}

/// What the trainer goes on from, as it is kept on disk beside the weights.
fn continuation_of(progress: Progress) -> Continuation {
    let array = |values: Vec<f32>| Array { shape: vec![values.len()], values };
    let State { parameters: _, first, second, steps } = progress.state;
    Continuation {
        epoch: progress.epoch,
        tensors: BTreeMap::from([("first".to_owned(), array(first)), ("second".to_owned(), array(second))]),
        numbers: BTreeMap::from([
            ("steps".to_owned(), steps),
            ("beta".to_owned(), progress.beta.to_bits()),
            ("best_val_loss".to_owned(), progress.best_val_loss.to_bits()),
            ("stale_epochs".to_owned(), u64::from(progress.stale_epochs)),
        ]),
    }
}

/// [`continuation_of`] read back; `parameters` are those of the epoch's checkpoint.
fn progress_of(mut continuation: Continuation, parameters: Vec<f32>) -> Result<Progress, String> {
    let (first, second) = (continuation.take("first")?, continuation.take("second")?);
    if first.len() != parameters.len() || second.len() != parameters.len() {
        return Err("its moments are not those of the weights beside it".to_owned());
    }
    let steps = continuation.number("steps")?;
    Ok(Progress {
        epoch: continuation.epoch,
        state: State { parameters, first, second, steps },
        beta: f64::from_bits(continuation.number("beta")?),
        best_val_loss: f64::from_bits(continuation.number("best_val_loss")?),
        stale_epochs: continuation.number("stale_epochs")? as u32,
    })
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
    StageRecord {
        format: FORMAT,
        key: stage.key.0.clone(),
        kind: stage.kind.clone(),
        parent: key_of(stage.parent),
        reference: key_of(stage.reference),
        init: None,
        epochs: Vec::new(),
        stopped: false,
        diverged: None,
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
            train_loss: metrics.train_loss,
            val_loss: metrics.val_loss,
            seconds: metrics.seconds,
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

/// The configuration of a stage's whole chain, as JSON.
fn config_of(session: &Session, index: usize) -> serde_json::Value {
    let mut config = serde_json::Map::new();
    let mut at = Some(index);
    while let Some(stage) = at {
        let stage = &session.plan.stages[stage];
        match &stage.kind {
            StageKind::Init { model, origin, .. } => {
                config.insert("model".into(), to_json(model));
                config.insert("origin".into(), to_json(origin));
            }
            StageKind::Rce { reward, params, .. } => {
                config.insert("reward".into(), to_json(reward));
                config.insert("rce".into(), to_json(params));
            }
            StageKind::Grpo { reward, reference, params, .. } => {
                config.insert("reward".into(), to_json(reward));
                config.insert("reference".into(), to_json(reference));
                config.insert("grpo".into(), to_json(params));
            }
        }
        at = stage.parent;
    }
    config.into()
}

fn to_json<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}
