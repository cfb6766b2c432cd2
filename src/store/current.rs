//! `current`: the one symbolic link in a results directory that people's scripts follow, and its history.
//!
//! `current` points at a checkpoint with a path relative to the directory and is replaced by a rename, so it always
//! leads somewhere. `current.jsonl` is append-only: one line per change. Nothing is copied or deleted.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::read::{read_record, read_resolved};
use super::{PointRecord, ResolvedRecord, StoreError, SweepDir};
use crate::checkpoint;
use crate::disk;

const LINK: &str = "current";
const HISTORY: &str = "current.jsonl";

/// Which point is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUse {
    pub point: String,
    /// Relative to the results directory.
    pub checkpoint: PathBuf,
}

/// Why the point in use could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no point is called `{name}`\nhint: {hint}")]
    NoSuchPoint { name: String, hint: String },
    #[error("point `{0}` has no checkpoint (yet)\nhint: `sweep run` continues where it stopped")]
    NoCheckpoint(String),
    #[error("the checkpoint of point `{point}`, `{}`, is gone\nhint: `[keep]` in the sweep file says which weights stay; with them kept and `points/{point}` removed, `sweep run` makes it again", path.display())]
    Gone { point: String, path: PathBuf },
    #[error(
        "the sweep has no baseline\nhint: name one in the sweep file's [baseline], or use a point by its name"
    )]
    NoBaseline,
    #[error("nothing was in use before\nhint: `sweep use DIR POINT` names a point")]
    NothingBefore,
    #[error("`{}` exists and is not a symbolic link; it was left alone", .0.display())]
    NotALink(PathBuf),
}

/// One line of the history.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    action: Action,
    point: String,
    checkpoint: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Use,
    Back,
}

/// What `current` points at now.
///
/// # Errors
/// An unreadable history or link.
pub fn in_use(directory: &Path) -> Result<Option<InUse>, UseError> {
    Ok(stack(directory)?.pop())
}

/// Every checkpoint that `current` leads to or that [`back`] could lead to, relative to the directory.
///
/// # Errors
/// As [`in_use`].
pub fn in_use_ever(directory: &Path) -> Result<BTreeSet<PathBuf>, UseError> {
    Ok(stack(directory)?.into_iter().map(|step| step.checkpoint).collect())
}

/// Points `current` at the checkpoint of the point `name`.
///
/// # Errors
/// Unknown points, points without a checkpoint, I/O errors.
pub fn use_point(directory: &Path, name: &str) -> Result<InUse, UseError> {
    let resolved = read_resolved(directory)?;
    if !resolved.points.iter().any(|point| point.name == name) {
        return Err(UseError::NoSuchPoint { name: name.into(), hint: similar(&resolved, name) });
    }
    switch(directory, Action::Use, checkpoint_of(directory, name)?)
}

/// Points `current` at the baseline's checkpoint; with one baseline per seed, at the first.
///
/// # Errors
/// As [`use_point`], and sweeps without a baseline.
pub fn use_baseline(directory: &Path) -> Result<InUse, UseError> {
    let resolved = read_resolved(directory)?;
    let point = resolved.baseline.first().and_then(|index| resolved.points.get(*index));
    let name = &point.ok_or(UseError::NoBaseline)?.name;
    switch(directory, Action::Use, checkpoint_of(directory, name)?)
}

/// Points `current` at what it pointed at before the last change; again and again leads further back.
///
/// # Errors
/// [`UseError::NothingBefore`], I/O errors, and a checkpoint that is gone.
pub fn back(directory: &Path) -> Result<InUse, UseError> {
    read_resolved(directory)?;
    let mut stack = stack(directory)?;
    stack.pop();
    let before = stack.pop().ok_or(UseError::NothingBefore)?;
    if !directory.join(&before.checkpoint).is_file() {
        return Err(UseError::Gone { point: before.point, path: before.checkpoint });
    }
    switch(directory, Action::Back, before)
}

fn checkpoint_of(directory: &Path, name: &str) -> Result<InUse, UseError> {
    let path = SweepDir::at(directory).point_record(name);
    if !path.is_file() {
        return Err(UseError::NoCheckpoint(name.into()));
    }
    let record: PointRecord = read_record(&path)?;
    let checkpoint = record.checkpoint.ok_or_else(|| UseError::NoCheckpoint(name.into()))?;
    if !directory.join(&checkpoint).is_file() {
        return Err(UseError::Gone { point: name.into(), path: checkpoint });
    }
    Ok(InUse { point: name.into(), checkpoint })
}

/// Points that the person may have meant.
fn similar(resolved: &ResolvedRecord, name: &str) -> String {
    let mut names: Vec<&str> = resolved.points.iter().map(|point| point.name.as_str()).collect();
    names.sort_by_key(|candidate| {
        (!candidate.contains(name), strsim::damerau_levenshtein(candidate, name), *candidate)
    });
    names.truncate(3);
    format!("the nearest of {} points: {}", resolved.points.len(), names.join(", "))
}

/// The link first, then the history: a crash in between is mended by [`stack`].
fn switch(directory: &Path, action: Action, to: InUse) -> Result<InUse, UseError> {
    let link = directory.join(LINK);
    if link.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink()) {
        return Err(UseError::NotALink(link));
    }
    let before = stack(directory)?;
    if before.last() == Some(&to) && action == Action::Use {
        return Ok(to);
    }
    // A damaged checkpoint is never put in use; one that shares parameters with another is made whole, for programs that
    // know nothing of that.
    let path = directory.join(&to.checkpoint);
    let found = checkpoint::read(&path).map_err(StoreError::from)?;
    if found.facts.base.is_some() {
        checkpoint::write(&path, &found.weights, &found.facts).map_err(StoreError::from)?;
    }
    disk::symlink(&to.checkpoint, &link).map_err(StoreError::from)?;
    let step = Step { action, point: to.point.clone(), checkpoint: to.checkpoint.clone() };
    let mut line = serde_json::json!(step).to_string();
    line.push('\n');
    append(&directory.join(HISTORY), &line).map_err(StoreError::from)?;
    Ok(to)
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut history = OpenOptions::new().create(true).append(true).open(path)?;
    history.write_all(line.as_bytes())?;
    history.sync_all()
}

/// What was in use, oldest first; the last is what `current` points at. Lines that cannot be read (a crash while
/// writing) are left out; a link that the history does not know is the newest.
fn stack(directory: &Path) -> Result<Vec<InUse>, UseError> {
    let history = match fs_err::read_to_string(directory.join(HISTORY)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(StoreError::from(error).into()),
    };
    let mut stack: Vec<InUse> = Vec::new();
    for step in history.lines().filter_map(|line| serde_json::from_str::<Step>(line).ok()) {
        if step.action == Action::Back {
            stack.pop();
            stack.pop();
        }
        stack.push(InUse { point: step.point, checkpoint: step.checkpoint });
    }
    if let Ok(target) = std::fs::read_link(directory.join(LINK))
        && stack.last().is_none_or(|last| last.checkpoint != target)
    {
        stack.push(InUse { point: "?".into(), checkpoint: target });
    }
    Ok(stack)
}
