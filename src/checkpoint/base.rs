//! Checkpoints that share parameters with another file: what training left as it was is stored once.
//!
//! Such a file names its base, relative to its own place, and holds only the parameters that differ. The stated content
//! hash is that of all parameters, so a base that is not the right one is found out.

use std::fs::File;
use std::io::BufReader;
use std::path::{Component, Path, PathBuf};

use super::error::{CheckpointError, Flaw};
use super::facts::Facts;
use super::{Array, Checkpoint, Summary, Weights, content_hash, safetensors_file};

/// The checkpoint that another one shares parameters with.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// Relative to the directory of the file that is written: a file beside it, or in a directory beside its own.
    pub file: &'a Path,
    pub weights: &'a Weights,
}

/// As [`super::write`], without the parameters that are bit for bit those of `base`. A file that shares nothing is whole
/// and names no base.
///
/// # Errors
/// As [`super::write`].
pub fn write_onto(path: &Path, weights: &Weights, facts: &Facts, base: Base) -> Result<(), CheckpointError> {
    let own: Weights = weights
        .iter()
        .filter(|(name, array)| base.weights.get(*name).is_none_or(|other| !same_bits(other, array)))
        .map(|(name, array)| (name.clone(), array.clone()))
        .collect();
    if own.len() == weights.len() {
        return super::write(path, weights, facts);
    }
    let facts = Facts { base: Some(base.file.to_owned()), ..facts.clone() };
    let mut header = facts.to_header();
    header.insert("content".into(), content_hash(weights));
    safetensors_file::write_tensors(path, &own, &header)
}

/// Whether two arrays are equal in every bit: a zero is not its negative.
fn same_bits(left: &Array, right: &Array) -> bool {
    let mut pairs = left.values.iter().zip(&right.values);
    left.shape == right.shape && pairs.all(|(left, right)| left.to_bits() == right.to_bits())
}

/// Adds what `checkpoint`, read from `path`, shares with another file.
pub(super) fn complete(checkpoint: &mut Checkpoint, path: &Path) -> Result<(), Flaw> {
    let Some(base) = &checkpoint.facts.base else { return Ok(()) };
    let shared = follow(base, path, |file, length| {
        safetensors_file::read_checkpoint(file, length).map(|found| (found.facts, found.weights))
    })?;
    for (name, array) in shared {
        checkpoint.weights.entry(name).or_insert(array);
    }
    Ok(())
}

/// [`complete`] for shapes.
pub(super) fn complete_shapes(summary: &mut Summary, path: &Path) -> Result<(), Flaw> {
    let Some(base) = &summary.facts.base else { return Ok(()) };
    let shared = follow(base, path, |file, length| {
        safetensors_file::read_summary(file, length).map(|found| (found.facts, found.shapes))
    })?;
    for (name, shape) in shared {
        summary.shapes.entry(name).or_insert(shape);
    }
    Ok(())
}

/// Reads what the base of the file `path` holds.
fn follow<T>(
    base: &Path,
    path: &Path,
    read: impl FnOnce(BufReader<File>, u64) -> Result<(Facts, T), Flaw>,
) -> Result<T, Flaw> {
    let place = place(base, path)?;
    let found = || -> Result<(Facts, T), Flaw> {
        let file = File::open(&place)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Flaw::damaged("it is not a file"));
        }
        read(BufReader::new(file), metadata.len())
    };
    match found() {
        Ok((Facts { base: None, .. }, found)) => Ok(found),
        Ok(_) => {
            let cause = "it shares parameters with a third file itself".to_owned();
            Err(Flaw::Incomplete { base: place, cause })
        }
        Err(flaw) => Err(Flaw::Incomplete { base: place, cause: flaw.cause() }),
    }
}

/// Where the base of the file `path` lies. Only what a sweep writes is followed: a file beside it, or in a directory
/// beside its own.
fn place(base: &Path, path: &Path) -> Result<PathBuf, Flaw> {
    let parts: Vec<Component> = base.components().collect();
    let names = match parts.split_first() {
        Some((Component::ParentDir, rest)) if rest.len() == 2 => rest,
        _ if parts.len() == 1 => &parts[..],
        _ => &[],
    };
    if names.is_empty() || !names.iter().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Flaw::damaged(format!("its header names `{}` as its base", base.display())));
    }
    // Links lead to checkpoints: what counts is where the file itself lies.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Ok(path.parent().unwrap_or(Path::new("")).join(base))
}
