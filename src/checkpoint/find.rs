//! Finding checkpoints on disk.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::error::CheckpointError;
use super::facts::Phase;
use super::{Summary, read, read_summary};
use crate::spec::{Files, files};

/// What [`find`] came across.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of their paths.
    pub checkpoints: Vec<(PathBuf, Summary)>,
    /// Files that look like checkpoints and cannot be read.
    pub broken: Vec<CheckpointError>,
    /// Files with other tensors (embeddings, optimizer states).
    pub others: usize,
}

/// Every checkpoint at or below `roots`, headers only. Symbolic links below a root are not followed: what they
/// point to is found where it is.
///
/// # Errors
/// Directories that cannot be read.
pub fn find(roots: &[PathBuf]) -> Result<Found, CheckpointError> {
    let mut found = Found::default();
    for root in roots {
        for entry in WalkDir::new(root).sort_by_file_name() {
            let entry = entry.map_err(|error| CheckpointError::Io(error.into()))?;
            let is_file = entry.file_type().is_file() || entry.depth() == 0 && entry.path().is_file();
            if is_file && has_extension(entry.path()) {
                found.look_at(entry.into_path());
            }
        }
    }
    Ok(found)
}

impl Found {
    fn look_at(&mut self, path: PathBuf) {
        match read_summary(&path) {
            Ok(summary) if is_known(&summary) || is_ours(&summary) => self.checkpoints.push((path, summary)),
            Ok(_) | Err(CheckpointError::Foreign { .. }) => self.others += 1,
            Err(error) => self.broken.push(error),
        }
    }
}

/// This program has written it, of whatever experiment.
fn is_ours(summary: &Summary) -> bool {
    summary.facts.version.is_some() && summary.facts.content.is_some()
}

/// It has what all models of an experiment have.
fn is_known(summary: &Summary) -> bool {
    let has = |files: &Files| files.always.iter().all(|name| summary.shapes.contains_key(*name));
    files().any(|files| !files.always.is_empty() && has(files))
}

fn has_extension(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["safetensors", "pt", "ckpt", "pth"].iter().any(|e| extension == *e))
}

/// What a file's name promises: `grpo_epoch3.safetensors`, `rce_epoch5_v2format.ckpt` -> phase and epoch
/// (1-based).
pub fn named(path: &Path) -> Option<(Phase, u32)> {
    let stem = path.file_stem()?.to_str()?;
    let mut phases = files().flat_map(|files| files.phases);
    let (phase, rest) = phases.find_map(|phase| {
        let rest = stem.strip_prefix(phase)?.strip_prefix("_epoch")?;
        Some((Phase::called(phase), rest))
    })?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, suffix) = rest.split_at(digits);
    // `grpo_epoch3.optimizer.safetensors` is something else.
    (suffix.is_empty() || suffix.starts_with(['_', '-'])).then_some(())?;
    Some((phase, digits.parse().ok()?))
}

/// What the files of an epoch are called: `rce_epochN or grpo_epochN`.
pub fn epoch_files() -> String {
    let names = files().flat_map(|files| files.phases).map(|phase| format!("{phase}_epochN"));
    names.collect::<Vec<_>>().join(" or ")
}

/// What [`latest`] found.
#[derive(Debug, Default)]
pub struct Latest {
    pub path: Option<PathBuf>,
    /// Newer files that cannot be read.
    pub passed_over: Vec<CheckpointError>,
}

/// The lab's rule for a directory: the highest epoch of the last phase, else of the one before it. Among formats of the
/// same epoch safetensors comes first, then `.pt`, then `.ckpt`. Files that cannot be read are passed over.
///
/// # Errors
/// A directory that cannot be read.
pub fn latest(directory: &Path) -> Result<Latest, CheckpointError> {
    let mut candidates = Vec::new();
    for entry in fs_err::read_dir(directory).map_err(CheckpointError::Io)? {
        let path = entry.map_err(CheckpointError::Io)?.path();
        let rank = match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => 3,
            Some("pt" | "pth") => 2,
            Some("ckpt") => 1,
            _ => continue,
        };
        if let Some((phase, epoch)) = named(&path).filter(|_| path.is_file()) {
            candidates.push((phase, epoch, rank, std::cmp::Reverse(path)));
        }
    }
    candidates.sort();
    let mut latest = Latest::default();
    for (.., std::cmp::Reverse(path)) in candidates.into_iter().rev() {
        match read(&path) {
            Ok(_) => {
                latest.path = Some(path);
                break;
            }
            Err(error) => latest.passed_over.push(error),
        }
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Array, Facts, write};

    #[test]
    fn names_promise_phase_and_epoch() {
        for (name, expected) in [
            ("grpo_epoch3.safetensors", Some((Phase::called("grpo"), 3))),
            ("a/rce_epoch12.pt", Some((Phase::called("rce"), 12))),
            ("rce_epoch5_v2format.ckpt", Some((Phase::called("rce"), 5))),
            ("grpo_epoch3.optimizer.safetensors", None),
            ("grpo_epoch.pt", None),
            ("grpo_epoch99999999999.pt", None),
            ("init.pt", None),
        ] {
            assert_eq!(named(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn latest_counts_numbers_and_prefers_grpo() {
        let directory = tempfile::tempdir().unwrap();
        let weights = [("w".to_string(), Array { shape: vec![1], values: vec![1.0] })].into();
        let touch = |name: &str| write(&directory.path().join(name), &weights, &Facts::default()).unwrap();
        let latest = || {
            let path = latest(directory.path()).unwrap().path;
            path.map(|path| path.file_name().unwrap().to_str().unwrap().to_string())
        };
        assert_eq!(latest(), None);
        for name in ["rce_epoch2.pt", "rce_epoch10.pt", "rce_epoch9.pt", "notes.txt", "init.pt"] {
            touch(name);
        }
        assert_eq!(latest().as_deref(), Some("rce_epoch10.pt"));
        touch("grpo_epoch1.ckpt");
        assert_eq!(latest().as_deref(), Some("grpo_epoch1.ckpt"));
        touch("grpo_epoch1.safetensors");
        assert_eq!(latest().as_deref(), Some("grpo_epoch1.safetensors"));
        crate::disk::write(&directory.path().join("grpo_epoch2.pt"), b"PK").unwrap();
        assert_eq!(latest().as_deref(), Some("grpo_epoch1.safetensors"));
        assert_eq!(super::latest(directory.path()).unwrap().passed_over.len(), 1);
    }
}
