//! What stays on disk while a run goes on and after it: `[keep]`, put into numbers of epochs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::session::Session;
use crate::plan::StageKey;
use crate::spec::{KeepOptimizer, KeepWeights};
use crate::store::{StageRecord, StageStore, SweepDir, in_use_ever};

/// Which weights and optimizer states a sweep keeps.
pub struct Kept {
    /// Per stage, the epochs at which points end.
    pub stops: Vec<Vec<u32>>,
    /// Per stage, whether another one starts from it or is measured against it.
    carries: Vec<bool>,
    /// Checkpoints that `current` leads to or has led to.
    in_use: BTreeSet<PathBuf>,
}

impl Kept {
    /// What `session` keeps in `dir`.
    pub fn of(session: &Session, dir: &SweepDir) -> Self {
        let plan = &session.plan;
        // An unreadable history protects nothing, and is shown by the commands that it belongs to.
        let in_use = in_use_ever(dir.path()).unwrap_or_default();
        Self { stops: plan.stops(), carries: plan.carries(), in_use }
    }

    /// Whether `stage`, which has just finished the last epoch of `record`, needs what it would go on from.
    pub fn needs_state(&self, session: &Session, stage: usize, record: &StageRecord) -> bool {
        let planned = &session.plan.stages[stage];
        let grows = session.plan.traits(stage).can_grow();
        let longer = session.spec.keep.optimizer == KeepOptimizer::All && grows;
        !record.stopped && (longer || (record.epochs.len() as u32) < planned.epochs)
    }

    /// The epochs of `record` whose weights nobody needs while its stage goes on: never the last one.
    pub fn passing(&self, session: &Session, stage: usize, record: &StageRecord) -> Vec<u32> {
        if session.spec.keep.weights == KeepWeights::All {
            return Vec::new();
        }
        let progress = record.progress();
        let wanted: Vec<u32> = self.stops[stage].iter().filter_map(|stop| progress.reached(*stop)).collect();
        (1..record.epochs.len() as u32)
            .filter(|epoch| {
                !wanted.contains(epoch) && !self.is_in_use(&session.plan.stages[stage].key, record, *epoch)
            })
            .collect()
    }

    /// Under `weights = "best N"`, the epochs of the finished `record` that are none of `best`.
    pub fn beaten(
        &self,
        session: &Session,
        stage: usize,
        record: &StageRecord,
        best: &BTreeSet<(usize, u32)>,
    ) -> Vec<u32> {
        let last = record.epochs.len() as u32;
        let done = record.progress().reached(session.plan.stages[stage].epochs).is_some();
        if self.carries[stage] || !done {
            return Vec::new();
        }
        (1..=last)
            .filter(|epoch| !best.contains(&(stage, *epoch)))
            .filter(|epoch| !self.is_in_use(&session.plan.stages[stage].key, record, *epoch))
            .collect()
    }

    fn is_in_use(&self, key: &StageKey, record: &StageRecord, epoch: u32) -> bool {
        self.in_use.contains(&StageStore::checkpoint_path(key, &record.traits().phase, epoch))
    }
}
