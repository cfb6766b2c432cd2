//! Stages on disk: an epoch is finished when `stage.json` says so, and `stage.json` says so only after the
//! epoch's files are there.
#![expect(clippy::disallowed_methods, reason = "sets damaged stages aside by renaming")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::stage_file;
use super::{EpochMetrics, FORMAT, StoreError, SweepDir};
use crate::checkpoint::{self, Base, Facts, Weights};
use crate::disk::{self, fault, fault::Passage};
use crate::experiment::{self, Continuation};
use crate::plan::{INIT, StageKey, StageProgress, Traits};
use crate::spec::is_default;

/// `stage.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub format: u32,
    pub key: String,
    /// All that decided its result besides the stages that it started from, as its experiment wrote it.
    pub kind: serde_json::Value,
    /// `None` in records of older versions: see [`StageRecord::traits`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traits: Option<Traits>,
    pub parent: Option<String>,
    pub reference: Option<String>,
    /// Content hash of the initial weights (`Init` stages).
    pub init: Option<String>,
    /// Finished epochs in order.
    pub epochs: Vec<EpochRecord>,
    /// Early stopping ended it after the last epoch.
    pub stopped: bool,
    /// Why the epoch after the last one could not be finished.
    pub diverged: Option<String>,
    /// Epochs whose weights were let go: nothing refers to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<u32>,
    /// What the stage would go on from after its last epoch was let go: its weights are there, a longer run trains it from
    /// its beginning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ended: bool,
    /// What a later version of the program added: kept when the record is written again.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// One finished epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Content hash of its weights.
    pub content: String,
    pub metrics: EpochMetrics,
}

/// What somebody wants of a stage.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Epochs at which points end.
    pub stops: &'a [u32],
    /// Epochs in all.
    pub until: u32,
}

impl StageRecord {
    /// How far the stage has come.
    pub fn progress(&self) -> StageProgress {
        let epochs = self.epochs.len() as u32;
        match (&self.diverged, self.stopped) {
            (Some(_), _) => StageProgress::Diverged(epochs),
            (None, true) => StageProgress::Stopped(epochs),
            (None, false) => StageProgress::Epochs(epochs),
        }
    }

    /// What is done with its results.
    pub fn traits(&self) -> Cow<'_, Traits> {
        let older =
            || experiment::nameless().map_or_else(Traits::default, |first| first.older_traits(&self.kind));
        self.traits.as_ref().map_or_else(|| Cow::Owned(older()), Cow::Borrowed)
    }

    /// Whether the weights after `epoch` are kept.
    pub fn keeps(&self, epoch: u32) -> bool {
        !self.released.contains(&epoch)
    }

    /// The finished epochs whose weights are kept.
    pub fn kept(&self) -> impl Iterator<Item = u32> {
        let first = u32::from(self.init.is_none());
        (first..=self.epochs.len() as u32).filter(|epoch| self.keeps(*epoch))
    }

    /// Whether the stage has finished what is wanted of it and yet cannot give it, or cannot go on to it: it has to be
    /// trained from its beginning.
    pub fn lacks(&self, Wanted { stops, until }: Wanted) -> bool {
        let progress = self.progress();
        let lacking = |stop: &u32| progress.reached(*stop).is_some_and(|epoch| !self.keeps(epoch));
        let last = progress.epochs();
        let goes_on = matches!(progress, StageProgress::Epochs(_)) && last > 0 && last < until;
        stops.iter().any(lacking) || goes_on && (self.ended || !self.keeps(last))
    }

    /// Lets go the weights of those of `epochs` that are finished. Says whether that is anything new.
    pub fn release(&mut self, epochs: impl IntoIterator<Item = u32>) -> bool {
        let before = self.released.len();
        self.released.extend(epochs);
        self.released.sort_unstable();
        self.released.dedup();
        self.released.len() > before
    }

    /// Content hash of the weights after `epoch` (0: the initial ones).
    pub fn content(&self, epoch: u32) -> Option<&str> {
        match epoch {
            0 => self.init.as_deref(),
            _ => self.epochs.get(epoch as usize - 1).map(|record| record.content.as_str()),
        }
    }
}

/// The stages of one sweep directory.
#[derive(Clone, Debug)]
pub struct StageStore {
    dir: SweepDir,
}

impl StageStore {
    /// The stages below `dir`.
    pub fn new(dir: SweepDir) -> Self {
        Self { dir }
    }

    /// The sweep's directory.
    pub fn dir(&self) -> &SweepDir {
        &self.dir
    }

    /// The checkpoint of `key` after `epoch`, relative to the sweep's directory.
    pub fn checkpoint_path(key: &StageKey, phase: &str, epoch: u32) -> PathBuf {
        Path::new("stages").join(&key.0).join(stage_file::checkpoint(phase, epoch))
    }

    /// The same checkpoint as the files of another stage name it: relative to their directory.
    pub fn path_from_beside(key: &StageKey, phase: &str, epoch: u32) -> PathBuf {
        Path::new("..").join(&key.0).join(stage_file::checkpoint(phase, epoch))
    }

    /// The stage's record; `None` if it has not been started.
    ///
    /// # Errors
    /// A record that cannot be read, is another stage's, or is newer than this program.
    pub fn record(&self, key: &StageKey) -> Result<Option<StageRecord>, StoreError> {
        let path = self.dir.stage(key).join(stage_file::RECORD);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let corrupt = |cause: String| StoreError::Corrupt { path: path.clone(), cause };
        let record: StageRecord =
            serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if record.format > FORMAT {
            return Err(StoreError::NewerFormat { path, format: record.format });
        }
        if record.key != key.0 {
            return Err(corrupt(format!("it is the record of stage {}", record.key)));
        }
        Ok(Some(record))
    }

    /// Whether the stage has let go the weights of `checkpoint`, a path as [`StageStore::checkpoint_path`] makes it.
    pub fn has_released(&self, checkpoint: &Path) -> bool {
        let key = checkpoint.parent().and_then(Path::file_name).map(|key| key.to_string_lossy().into_owned());
        let record = key.and_then(|key| self.record(&StageKey(key)).ok().flatten());
        record.is_some_and(|record| {
            let name = |epoch: &u32| stage_file::checkpoint(&record.traits().phase, *epoch);
            record.released.iter().any(|epoch| checkpoint.ends_with(name(epoch)))
        })
    }

    /// Writes the initial weights and the record of an `Init` stage.
    ///
    /// # Errors
    /// I/O errors.
    pub fn commit_init(
        &self,
        key: &StageKey,
        record: &StageRecord,
        weights: &Weights,
        facts: &Facts,
    ) -> Result<(), StoreError> {
        let dir = self.dir.stage(key);
        checkpoint::write(&dir.join(stage_file::checkpoint(INIT, 0)), weights, facts)?;
        self.write_record(key, record)
    }

    /// Writes the files of the last epoch of `record`, then the record itself, then removes what is no longer needed.
    /// Parameters that are those of `start` are not written again. Without a `continuation` nobody goes on from there.
    ///
    /// # Errors
    /// I/O errors; the stage on disk is then what it was before.
    pub fn commit_epoch(
        &self,
        key: &StageKey,
        record: &StageRecord,
        weights: &Weights,
        facts: &Facts,
        start: Option<Base>,
        continuation: Option<&Continuation>,
    ) -> Result<(), StoreError> {
        let dir = self.dir.stage(key);
        let epoch = record.epochs.len() as u32;
        let path = dir.join(stage_file::checkpoint(&record.traits().phase, epoch));
        match start {
            Some(start) => checkpoint::write_onto(&path, weights, facts, start)?,
            None => checkpoint::write(&path, weights, facts)?,
        }
        if let Some(continuation) = continuation {
            write_continuation(&dir.join(stage_file::optimizer(epoch)), continuation)?;
        }
        fault::pass(Passage::BeforeRecord)?;
        self.write_record(key, record)?;
        fault::pass(Passage::AfterRecord)?;
        self.tidy(key, record)
    }

    /// What follows from the record: `metrics.csv` is brought up to date; weights that were let go and moments that
    /// nobody goes on from are removed. A run that was killed between the record and this does it when it goes on.
    ///
    /// # Errors
    /// I/O errors.
    pub fn tidy(&self, key: &StageKey, record: &StageRecord) -> Result<(), StoreError> {
        let dir = self.dir.stage(key);
        let last = record.epochs.len() as u32;
        if last > 0 {
            let metrics: Vec<EpochMetrics> =
                record.epochs.iter().map(|epoch| epoch.metrics.clone()).collect();
            let (path, text) = (dir.join(stage_file::METRICS), super::metrics_csv(&[], &metrics));
            if fs_err::read(&path).ok().as_ref() != Some(&text) {
                disk::write(&path, &text)?;
            }
        }
        let states = (1..last).chain(record.ended.then_some(last)).map(stage_file::optimizer);
        let phase = &record.traits().phase;
        let weights = record.released.iter().map(|epoch| stage_file::checkpoint(phase, *epoch));
        for path in states.chain(weights).map(|name| dir.join(name)) {
            disk::remove(&path)?;
        }
        Ok(())
    }

    /// Writes the record alone: a stage that ended without a further epoch.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_record(&self, key: &StageKey, record: &StageRecord) -> Result<(), StoreError> {
        let text = serde_json::to_vec_pretty(record).map_err(std::io::Error::from)?;
        Ok(disk::write(&self.dir.stage(key).join(stage_file::RECORD), &text)?)
    }

    /// Weights after `epoch` (0: initial), checked against the record.
    ///
    /// # Errors
    /// A missing or unreadable file, or one whose contents are not what the record says.
    pub fn weights(&self, key: &StageKey, record: &StageRecord, epoch: u32) -> Result<Weights, StoreError> {
        let path = self.dir.stage(key).join(stage_file::checkpoint(&record.traits().phase, epoch));
        let weights = checkpoint::read(&path)?.weights;
        let content = checkpoint::content_hash(&weights);
        if record.content(epoch) != Some(content.as_str()) {
            let cause = "its contents are not those that were recorded when it was written".to_owned();
            return Err(StoreError::Corrupt { path, cause });
        }
        Ok(weights)
    }

    /// Optimizer state after the last finished epoch of `record`.
    ///
    /// # Errors
    /// A missing or unreadable file.
    pub fn continuation(
        &self,
        key: &StageKey,
        record: &StageRecord,
    ) -> Result<Option<Continuation>, StoreError> {
        let epoch = record.epochs.len() as u32;
        if epoch == 0 || record.ended {
            return Ok(None);
        }
        read_continuation(&self.dir.stage(key).join(stage_file::optimizer(epoch)), epoch).map(Some)
    }

    /// Moves a damaged stage out of the way; returns where it went. Nothing is deleted.
    ///
    /// # Errors
    /// I/O errors.
    pub fn set_aside(&self, key: &StageKey) -> Result<PathBuf, StoreError> {
        set_aside(&self.dir, &self.dir.stage(key), "damaged")
    }

    /// Takes over a stage that another sweep below the same root has trained, if there is one that has come
    /// further than `epochs` and has kept what is `wanted` of it; returns that sweep's directory. Files are linked where possible, else copied: checkpoints are never changed in place.
    ///
    /// # Errors
    /// I/O errors.
    pub fn adopt(
        &self,
        key: &StageKey,
        epochs: Option<u32>,
        wanted: Wanted,
    ) -> Result<Option<PathBuf>, StoreError> {
        let Some(root) = self.dir.path().parent() else { return Ok(None) };
        let Ok(entries) = fs_err::read_dir(root) else { return Ok(None) };
        let mut siblings: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        siblings.sort();
        for sibling in siblings.iter().filter(|path| path.as_path() != self.dir.path()) {
            let other = StageStore::new(SweepDir::at(sibling));
            let Ok(Some(record)) = other.record(key) else { continue };
            let further = epochs.is_none_or(|epochs| record.epochs.len() as u32 > epochs);
            if further && !record.lacks(wanted) && self.copy_from(&other, key, &record).is_ok() {
                return Ok(Some(sibling.clone()));
            }
        }
        Ok(None)
    }

    fn copy_from(&self, other: &StageStore, key: &StageKey, record: &StageRecord) -> Result<(), StoreError> {
        let (from, to) = (other.dir.stage(key), self.dir.stage(key));
        fs_err::create_dir_all(&to)?;
        let last = record.epochs.len() as u32;
        let phase = &record.traits().phase;
        let mut names: Vec<String> =
            record.kept().map(|epoch| stage_file::checkpoint(phase, epoch)).collect();
        names.extend((last > 0 && !record.ended).then(|| stage_file::optimizer(last)));
        // A file that is missing ends the attempt: the other sweep is damaged, or is at work on the stage.
        for name in &names {
            let target = to.join(name);
            if !target.exists() && fs_err::hard_link(from.join(name), &target).is_err() {
                disk::write(&target, &fs_err::read(from.join(name))?)?;
            }
        }
        self.write_record(key, record)?;
        self.tidy(key, record)
    }
}

/// Moves `what` (a stage's or a point's directory) to `set_aside/<its name>.<why><n>` with the first free n: out of
/// reach of everything that reads stages and points.
pub(super) fn set_aside(dir: &SweepDir, what: &Path, why: &str) -> Result<PathBuf, StoreError> {
    let name = what.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let place = dir.set_aside();
    fs_err::create_dir_all(&place)?;
    let free = (1..)
        .map(|n| place.join(format!("{name}.{why}{n}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| place.join(name));
    std::fs::rename(what, &free)?;
    Ok(free)
}

fn write_continuation(path: &Path, continuation: &Continuation) -> Result<(), StoreError> {
    let Continuation { epoch, tensors, numbers } = continuation;
    let mut metadata: BTreeMap<String, String> =
        numbers.iter().map(|(name, number)| ((*name).to_owned(), number.to_string())).collect();
    metadata.insert("epoch".to_owned(), epoch.to_string());
    Ok(checkpoint::write_tensors(path, tensors, &metadata)?)
}

fn read_continuation(path: &Path, epoch: u32) -> Result<Continuation, StoreError> {
    let (tensors, metadata) = checkpoint::read_tensors(path)?;
    let corrupt = |cause: String| StoreError::Corrupt { path: path.to_owned(), cause };
    let mut numbers = BTreeMap::new();
    for (name, text) in metadata {
        // What a later version added in another form is not this one's.
        if let Ok(number) = text.parse::<u64>() {
            numbers.insert(name, number);
        }
    }
    match numbers.remove("epoch") {
        Some(of) if of == u64::from(epoch) => Ok(Continuation { epoch, tensors, numbers }),
        Some(_) => Err(corrupt(format!("it belongs to another epoch than {epoch}"))),
        None => Err(corrupt("`epoch` is missing".to_owned())),
    }
}
