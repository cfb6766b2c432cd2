//! How fast earlier runs were, from their logs.

use std::collections::HashMap;
use std::path::Path;

use super::events::{cohorts, read_events};
use super::{StageRecord, StageStore, SweepDir};
use crate::plan::{Phase, StageKey, StageKind};
use crate::spec::{FreezeSet, ModelParams};

/// Cohorts looked at per sweep, the latest ones: speed does not change much within a run.
const LATEST: usize = 32;

/// What the time of a step depends on besides the number of members.
#[derive(Clone, Debug, PartialEq)]
pub struct StepKind {
    pub phase: Phase,
    pub freeze: FreezeSet,
    pub model: ModelParams,
    pub dim: usize,
}

/// One cohort of an earlier run.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeedSample {
    pub kind: StepKind,
    pub members: usize,
    /// Wall time per member and step; checkpoints, validation and evaluation are counted in.
    pub seconds: f64,
}

/// The cohorts of all finished runs below `root` that ran on this `host` and `device`.
pub fn speed_samples(root: &Path, host: &str, device: &str) -> Vec<SpeedSample> {
    let entries = fs_err::read_dir(root).into_iter().flatten().flatten();
    let sweeps = entries.map(|entry| SweepDir::at(&entry.path())).filter(|dir| dir.events().is_file());
    sweeps.filter(|dir| ran_on(dir, host, device)).flat_map(|dir| samples_of(&dir)).collect()
}

fn ran_on(dir: &SweepDir, host: &str, device: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Launch {
        provenance: HashMap<String, String>,
    }
    let launch: Option<Launch> =
        fs_err::read(dir.resolved()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    launch.is_some_and(|launch| {
        let is = |key: &str, value: &str| launch.provenance.get(key).is_some_and(|known| known == value);
        is("host", host) && is("device", device)
    })
}

fn samples_of(dir: &SweepDir) -> Vec<SpeedSample> {
    let store = StageStore::new(dir.clone());
    let sample = |cohort: &super::events::LoggedCohort| {
        let seconds = cohort.ended? - cohort.began;
        let kind = step_kind(&store, cohort.stages.first()?)?;
        let seconds = seconds / cohort.steps.max(1) as f64;
        Some(SpeedSample { kind, members: cohort.members, seconds })
    };
    cohorts(&read_events(dir)).iter().rev().take(LATEST).filter_map(sample).collect()
}

/// The kind of a stage on disk, from its record and those it descends from.
fn step_kind(store: &StageStore, key: &str) -> Option<StepKind> {
    let record = |key: &str| -> Option<StageRecord> { store.record(&StageKey(key.to_owned())).ok()? };
    let stage = record(key)?;
    let phase = stage.kind.phase()?;
    let freeze = stage.kind.frozen();
    let mut at = stage;
    while let Some(parent) = at.parent {
        at = record(&parent)?;
    }
    match at.kind {
        StageKind::Init { model, dim, .. } => Some(StepKind { phase, freeze, model, dim }),
        StageKind::Rce { .. } | StageKind::Grpo { .. } => None,
    }
}
