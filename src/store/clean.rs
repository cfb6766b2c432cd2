//! What of a results directory could go, and letting it go.
//!
//! Nothing is ever let go that a point, `current` (or what it could go back to) or another sweep refers to, unless that
//! very thing is asked for by name. A stage's record says that its files are let go before they are removed, so that a
//! crash in between leaves nothing that looks damaged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::current::in_use_ever;
use super::layout::stage_file;
use super::read::{read_record, read_resolved};
use super::{
    PointRecord, ResolvedRecord, StageRecord, StageStore, Store, StoreError, SweepDir, SweepResults,
};
use crate::checkpoint::{self, Base};
use crate::plan::StageKey;
use crate::spec::{KeepOptimizer, KeepWeights, is_path};

/// What to let go beyond what no command needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct CleanOptions {
    /// Instead of what the sweep file's `[keep]` said.
    pub weights: Option<KeepWeights>,
    pub optimizer: Option<KeepOptimizer>,
    /// Stages and points that the sweep file no longer asks for.
    pub unused: bool,
    /// What was damaged or replaced.
    pub set_aside: bool,
}

/// A kind of thing that could go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dispensable {
    /// States of stages that no run goes on from.
    SpentStates,
    /// Parameters that are in another file too.
    SharedParameters,
    /// Weights of epochs that no point refers to.
    PassedEpochs,
    /// States of finished stages that a longer run would go on from.
    FinishedStates,
    /// Weights of points that are not among the best.
    BeatenPoints,
    /// Stages and points of an earlier form of the sweep file.
    Unused,
    SetAside,
}

/// All that is there of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    pub what: Dispensable,
    /// Files, or stages and points.
    pub count: usize,
    pub bytes: u64,
    /// Whether it goes.
    pub goes: bool,
}

/// What could go.
#[derive(Clone, Debug, Default)]
pub struct Cleaning {
    /// In the order of [`Dispensable`]; only what is there.
    pub groups: Vec<Group>,
    /// Some points have no results yet, so that it is not known what the sweep still needs.
    pub unfinished: bool,
    stages: BTreeMap<String, StageCleaning>,
    directories: Vec<PathBuf>,
}

/// What goes of one stage.
#[derive(Clone, Debug, Default)]
struct StageCleaning {
    released: BTreeSet<u32>,
    ended: bool,
    shared: BTreeSet<u32>,
}

impl Cleaning {
    /// Bytes that go.
    pub fn freed(&self) -> u64 {
        self.groups.iter().filter(|group| group.goes).map(|group| group.bytes).sum()
    }

    fn note(&mut self, what: Dispensable, bytes: u64, goes: bool) {
        match self.groups.iter_mut().find(|group| group.what == what) {
            Some(group) => (group.count, group.bytes) = (group.count + 1, group.bytes + bytes),
            None => self.groups.push(Group { what, count: 1, bytes, goes }),
        }
    }
}

/// Looks at what could go of `dir`. Writes nothing.
///
/// # Errors
/// A directory that holds no results, or records that cannot be read.
pub fn survey(dir: &Path, options: CleanOptions) -> Result<Cleaning, StoreError> {
    let survey = Survey::of(dir, options)?;
    let mut cleaning = Cleaning { unfinished: !survey.finished, ..Cleaning::default() };
    for (key, record) in &survey.records {
        survey.stage(key, record, &mut cleaning)?;
    }
    survey.directories(&mut cleaning)?;
    cleaning.groups.sort_by_key(|group| group.what);
    Ok(cleaning)
}

/// Lets go what [`survey`] finds. The directory is held meanwhile.
///
/// # Errors
/// [`StoreError::Held`] by a run, I/O errors. What has gone until then is in no record any more.
pub fn clean(dir: &Path, options: CleanOptions) -> Result<Cleaning, StoreError> {
    super::read::read_resolved(dir)?;
    let store = Store::open(SweepDir::at(dir), "sweep clean")?;
    let cleaning = survey(dir, options)?;
    let stages = store.stages();
    for (key, what) in &cleaning.stages {
        let key = StageKey(key.clone());
        let Some(mut record) = stages.record(&key)? else { continue };
        for epoch in &what.shared {
            share(&stages, &key, &record, *epoch)?;
        }
        record.ended |= what.ended;
        if record.release(what.released.iter().copied()) || what.ended {
            stages.write_record(&key, &record)?;
            stages.tidy(&key, &record)?;
        }
    }
    for place in &cleaning.directories {
        // What makes it a stage or a point goes first: what is left of an interrupted removal is neither.
        for record in [stage_file::RECORD, "point.json"] {
            crate::disk::remove(&place.join(record))?;
        }
        fs_err::remove_dir_all(place)?;
    }
    Ok(cleaning)
}

/// Writes the weights after `epoch` again, without what they share with the stage they went on from.
fn share(stages: &StageStore, key: &StageKey, record: &StageRecord, epoch: u32) -> Result<(), StoreError> {
    let Some(start) = start_file(stages, record) else { return Ok(()) };
    let place = stages.dir().stage(key);
    let path = place.join(stage_file::checkpoint(&record.traits().phase, epoch));
    let checkpoint = checkpoint::read(&path)?;
    let weights = checkpoint::read(&place.join(&start))?.weights;
    let base = Base { file: &start, weights: &weights };
    Ok(checkpoint::write_onto(&path, &checkpoint.weights, &checkpoint.facts, base)?)
}

/// The checkpoint that the stage of `record` went on from, relative to its directory.
fn start_file(stages: &StageStore, record: &StageRecord) -> Option<PathBuf> {
    let parent = StageKey(record.parent.clone()?);
    let before = stages.record(&parent).ok()??;
    let file = StageStore::path_from_beside(&parent, &before.traits().phase, before.epochs.len() as u32);
    stages.dir().stage(&StageKey(record.key.clone())).join(&file).is_file().then_some(file)
}

/// What a directory refers to.
struct Survey {
    dir: SweepDir,
    options: CleanOptions,
    resolved: ResolvedRecord,
    records: BTreeMap<String, StageRecord>,
    /// Stages that another one starts from or is measured against.
    carries: HashSet<String>,
    /// Stages that the points of the sweep file go through, if all have ended.
    live: HashSet<String>,
    finished: bool,
    /// Checkpoints that points refer to, relative to the directory.
    referred: BTreeSet<PathBuf>,
    /// Those that `current` or another sweep refers to.
    in_use: BTreeSet<PathBuf>,
    /// Those of the best points, where only they stay.
    best: Option<BTreeSet<PathBuf>>,
    /// Points that the sweep file no longer asks for.
    leftover: Vec<PathBuf>,
}

impl Survey {
    fn of(dir: &Path, options: CleanOptions) -> Result<Self, StoreError> {
        let (sweep, resolved) = (SweepDir::at(dir), read_resolved(dir)?);
        let stages = StageStore::new(sweep.clone());
        let mut records = BTreeMap::new();
        for key in names(&sweep.stages()) {
            // One that cannot be read is the next run's business.
            if let Ok(Some(record)) = stages.record(&StageKey(key.clone())) {
                records.insert(key, record);
            }
        }
        let carries = records.values().flat_map(|record| [&record.parent, &record.reference]).flatten();
        let carries = carries.cloned().collect();
        let asked: HashSet<&str> = resolved.points.iter().map(|point| point.name.as_str()).collect();
        let (mut referred, mut ends, mut leftover) = (BTreeSet::new(), Vec::new(), Vec::new());
        for name in names(&sweep.points()) {
            let Ok(record) = read_record::<PointRecord>(&sweep.point_record(&name)) else { continue };
            referred.extend(record.checkpoint);
            match asked.contains(name.as_str()) {
                true => ends.push(record.stage),
                false => leftover.push(sweep.point(&name)),
            }
        }
        let finished = ends.len() == resolved.points.len();
        let weights = options.weights.unwrap_or(resolved.keep.weights);
        let best = match weights {
            KeepWeights::Best(count) => Some(best_checkpoints(dir, count)?),
            KeepWeights::All | KeepWeights::Points => None,
        };
        let mut in_use = in_use_ever(dir).unwrap_or_default();
        in_use.extend(starts_of_others(dir));
        let held = records
            .iter()
            .filter(|(key, record)| record.kept().any(|epoch| in_use.contains(&path_of(key, record, epoch))));
        // What a stage in use went on from stays as well: it may hold a part of its parameters.
        ends.extend(held.map(|(key, _)| key.clone()));
        let live = ancestors(&records, ends);
        Ok(Self {
            dir: sweep,
            options,
            resolved,
            records,
            carries,
            live,
            finished,
            referred,
            in_use,
            best,
            leftover,
        })
    }

    fn stage(&self, key: &str, record: &StageRecord, cleaning: &mut Cleaning) -> Result<(), StoreError> {
        let place = self.dir.stage(&StageKey(key.to_owned()));
        if self.is_unused(key) {
            return Ok(());
        }
        let last = record.epochs.len() as u32;
        let name = |epoch: u32| stage_file::checkpoint(&record.traits().phase, epoch);
        let path = |epoch: u32| path_of(key, record, epoch);
        let keep = self.resolved.keep;
        let mut what = StageCleaning::default();
        for epoch in record.kept().filter(|epoch| *epoch > 0 && !self.in_use.contains(&path(*epoch))) {
            let bytes = size_of(&place.join(name(epoch)));
            let beaten = self.best.as_ref().is_some_and(|best| !best.contains(&path(epoch)));
            let passed = epoch < last && !self.referred.contains(&path(epoch));
            if passed {
                let goes = self.options.weights.unwrap_or(keep.weights) != KeepWeights::All;
                cleaning.note(Dispensable::PassedEpochs, bytes, goes);
                what.released.extend(goes.then_some(epoch));
            } else if beaten && self.finished && !self.carries.contains(key) {
                cleaning.note(Dispensable::BeatenPoints, bytes, true);
                what.released.insert(epoch);
            } else if let Some(bytes) = self.shareable(&place.join(name(epoch)), record)? {
                cleaning.note(Dispensable::SharedParameters, bytes, true);
                what.shared.insert(epoch);
            }
        }
        let state = size_of(&place.join(stage_file::optimizer(last)));
        if state > 0 && !record.ended {
            let unfinished = self.options.optimizer.unwrap_or(keep.optimizer) == KeepOptimizer::Unfinished;
            let (kind, goes) = match is_spent(record) {
                true => (Dispensable::SpentStates, true),
                // Without the weights beside it a state is of no use.
                false if what.released.contains(&last) => (Dispensable::BeatenPoints, true),
                false => (Dispensable::FinishedStates, unfinished),
            };
            if self.finished || kind == Dispensable::SpentStates {
                cleaning.note(kind, state, goes);
                what.ended = goes;
            }
        }
        if what.ended || !what.released.is_empty() || !what.shared.is_empty() {
            cleaning.stages.insert(key.to_owned(), what);
        }
        Ok(())
    }

    /// The bytes of `path` that are in the file that its stage went on from as well; `None` where it holds none of them.
    fn shareable(&self, path: &Path, record: &StageRecord) -> Result<Option<u64>, StoreError> {
        let traits = record.traits();
        let stages = StageStore::new(self.dir.clone());
        if traits.frozen.is_empty() || !path.is_file() || start_file(&stages, record).is_none() {
            return Ok(None);
        }
        let Ok(summary) = checkpoint::read_summary(path) else { return Ok(None) };
        if summary.facts.base.is_some() {
            return Ok(None);
        }
        let values = summary.shapes.iter().filter(|(name, _)| traits.freezes(name));
        let bytes = values.map(|(_, shape)| 4 * shape.iter().product::<usize>() as u64).sum();
        Ok(Some(bytes).filter(|bytes| *bytes > 0))
    }

    fn is_unused(&self, key: &str) -> bool {
        self.finished && !self.live.contains(key)
    }

    /// Whole directories that could go.
    fn directories(&self, cleaning: &mut Cleaning) -> Result<(), StoreError> {
        let unused = self.records.keys().filter(|key| self.is_unused(key));
        let stages = unused.map(|key| self.dir.stage(&StageKey(key.clone())));
        // A point refers to its stage and goes with it.
        let points = self.leftover.iter().filter(|_| self.finished).cloned();
        for place in points.chain(stages) {
            cleaning.note(Dispensable::Unused, bytes_below(&place), self.options.unused);
            cleaning.directories.extend(self.options.unused.then_some(place));
        }
        for name in names(&self.dir.set_aside()) {
            let place = self.dir.set_aside().join(name);
            cleaning.note(Dispensable::SetAside, bytes_below(&place), self.options.set_aside);
            cleaning.directories.extend(self.options.set_aside.then_some(place));
        }
        Ok(())
    }
}

/// The checkpoint of the stage `key` after `epoch`, relative to the directory.
fn path_of(key: &str, record: &StageRecord, epoch: u32) -> PathBuf {
    StageStore::checkpoint_path(&StageKey(key.to_owned()), &record.traits().phase, epoch)
}

/// Whether no run goes on from the last epoch of `record`.
fn is_spent(record: &StageRecord) -> bool {
    let traits = record.traits();
    let whole = traits.whole.is_some_and(|whole| traits.trains() && record.epochs.len() as u32 >= whole);
    whole || record.stopped
}

/// `keys` and every stage that they go on from or are measured against.
fn ancestors(records: &BTreeMap<String, StageRecord>, keys: Vec<String>) -> HashSet<String> {
    let (mut found, mut open) = (HashSet::new(), keys);
    while let Some(key) = open.pop() {
        if let Some(record) = records.get(&key).filter(|_| found.insert(key)) {
            open.extend([&record.parent, &record.reference].into_iter().flatten().cloned());
        }
    }
    found
}

/// The checkpoints of the best `count` points and of the baseline.
fn best_checkpoints(dir: &Path, count: u32) -> Result<BTreeSet<PathBuf>, StoreError> {
    let results = SweepResults::read(dir)?;
    let best = results.best(count as usize).into_iter();
    Ok(best.filter_map(|at| results.points[at].checkpoint.clone()).collect())
}

/// Checkpoints in `dir` that sweeps below the same root start from, relative to it.
fn starts_of_others(dir: &Path) -> Vec<PathBuf> {
    let Ok(place) = fs_err::canonicalize(dir) else { return Vec::new() };
    let root = place.parent().unwrap_or(&place);
    let mut found = Vec::new();
    for sweep in names(root).into_iter().filter_map(|name| read_resolved(&root.join(name)).ok()) {
        let started = sweep.provenance.get("directory").map(PathBuf::from).unwrap_or_default();
        let inits: BTreeSet<PathBuf> =
            sweep.points.iter().flat_map(|point| point.config.paths(is_path)).map(|(_, path)| path).collect();
        let files = inits.into_iter().filter_map(|init| std::fs::canonicalize(started.join(init)).ok());
        found.extend(files.filter_map(|file| Some(file.strip_prefix(&place).ok()?.to_owned())));
    }
    found
}

/// The names in a directory, sorted; none where it cannot be listed.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn bytes_below(place: &Path) -> u64 {
    let files = walkdir::WalkDir::new(place).into_iter().filter_map(Result::ok);
    files.filter(|entry| entry.file_type().is_file()).map(|entry| size_of(entry.path())).sum()
}
