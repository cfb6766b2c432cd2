//! Which stages are on disk below a results root: names of directories first, records only where they matter.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{StageStore, SweepDir, Wanted};
use crate::plan::{Plan, StageKey, StageProgress};

/// The stages of all sweeps below one root.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Directories of the sweeps that have a stage, sorted, by key.
    holders: HashMap<String, Vec<PathBuf>>,
    /// Stages that sweeps planned before this one will leave: where, and with how many epochs.
    planned: HashMap<String, (PathBuf, u32)>,
}

/// A stage that need not be trained from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub progress: StageProgress,
    /// The sibling sweep it would be taken over from; `None` when the sweep itself has it.
    pub from: Option<PathBuf>,
}

impl Inventory {
    /// Lists `root/*/stages/*`. What cannot be listed is not there.
    pub fn of(root: &Path) -> Self {
        let mut sweeps = list(root);
        sweeps.sort();
        let mut holders: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for sweep in sweeps {
            for stage in list(&SweepDir::at(&sweep).stages()) {
                if let Some(key) = stage.file_name().and_then(|name| name.to_str()) {
                    holders.entry(key.to_owned()).or_default().push(sweep.clone());
                }
            }
        }
        Self { holders, planned: HashMap::new() }
    }

    /// Counts on what a run of `plan` in `dir` will leave, for the sweeps that run after it.
    pub fn expect(&mut self, dir: &SweepDir, plan: &Plan) {
        for stage in &plan.stages {
            let place = (dir.path().to_owned(), stage.epochs);
            let known = self.planned.entry(stage.key.0.clone()).or_insert_with(|| place.clone());
            if known.1 < stage.epochs {
                *known = place;
            }
        }
    }

    /// Whether `dir` has the stage `key` and has let go something of what is `wanted`.
    pub fn lacks(&self, dir: &SweepDir, key: &StageKey, wanted: Wanted) -> bool {
        let here =
            self.holders.get(&key.0).is_some_and(|sweeps| sweeps.iter().any(|sweep| sweep == dir.path()));
        let record = || StageStore::new(dir.clone()).record(key).ok().flatten();
        here && record().is_some_and(|record| record.lacks(wanted))
    }

    /// What a run in `dir` would find of the stage `key`, of which it wants epochs: its own, unless a sibling has come further. What was let go is not there. Whether the files are sound is
    /// only found out when they are read.
    pub fn find(
        &self,
        dir: &SweepDir,
        key: &StageKey,
        Wanted { stops, until: epochs }: Wanted,
    ) -> Option<Held> {
        let holders = self.holders.get(&key.0).map_or(&[][..], Vec::as_slice);
        // Nothing is asked of a stage whose points all have their results.
        let until = if stops.is_empty() { 0 } else { epochs };
        let progress = |sweep: &Path| {
            let record = StageStore::new(SweepDir::at(sweep)).record(key).ok().flatten()?;
            (!record.lacks(Wanted { stops, until })).then(|| record.progress())
        };
        let own = holders.iter().find(|sweep| *sweep == dir.path()).and_then(|sweep| progress(sweep));
        match own {
            Some(StageProgress::Epochs(have)) if have < epochs => {}
            Some(have) => return Some(Held { progress: have, from: None }),
            None => {}
        }
        let siblings = holders.iter().filter(|sweep| *sweep != dir.path());
        let planned = self.planned.get(&key.0).filter(|(sweep, _)| sweep != dir.path());
        let planned = planned.map(|(sweep, epochs)| (sweep, StageProgress::Epochs(*epochs)));
        let further = |have: &StageProgress| own.is_none_or(|own| have.epochs() > own.epochs());
        let mut better = siblings
            .filter_map(|sweep| Some((sweep, progress(sweep)?)))
            .chain(planned)
            .filter(|(_, have)| further(have));
        match better.next() {
            Some((from, progress)) => Some(Held { progress, from: Some(from.clone()) }),
            None => own.map(|progress| Held { progress, from: None }),
        }
    }
}

fn list(dir: &Path) -> Vec<PathBuf> {
    fs_err::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
