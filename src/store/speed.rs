//! How fast earlier runs were, from their logs.

use std::collections::HashMap;
use std::path::Path;

use super::events::{cohorts, read_events};
use super::{StageRecord, StageStore, SweepDir};
use crate::experiment;
use crate::plan::StageKey;

/// Cohorts looked at per sweep, the latest ones: speed does not change much within a run.
const LATEST: usize = 32;

/// One cohort of an earlier run.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeedSample {
    /// Of its stages: what the time of a step depends on besides the number of members.
    pub lane: String,
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
        let lane = lane_of(&store, cohort.stages.first()?)?;
        let seconds = seconds / cohort.steps.max(1) as f64;
        Some(SpeedSample { lane, members: cohort.members, seconds })
    };
    cohorts(&read_events(dir)).iter().rev().take(LATEST).filter_map(sample).collect()
}

/// The lane of a stage on disk, from its record or, of an older version, from those that it descends from.
fn lane_of(store: &StageStore, key: &str) -> Option<String> {
    let record = |key: &str| -> Option<StageRecord> { store.record(&StageKey(key.to_owned())).ok()? };
    let stage = record(key)?;
    if let Some(traits) = stage.traits {
        return Some(traits.lane);
    }
    let (kind, mut parent) = (stage.kind, stage.parent);
    let mut root = kind.clone();
    while let Some(key) = parent {
        let before = record(&key)?;
        (root, parent) = (before.kind, before.parent);
    }
    Some(experiment::nameless()?.older_lane(&kind, &root))
}
