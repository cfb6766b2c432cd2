//! Which worker process trains which stage, and which stages failed in this run.

use std::path::PathBuf;

use super::{StoreError, SweepDir};
use crate::disk::{self, Claim};
use crate::plan::StageKey;

/// Claims `key`; `None` if another worker has it.
///
/// # Errors
/// I/O errors.
pub fn claim(dir: &SweepDir, key: &StageKey) -> Result<Option<Claim>, StoreError> {
    fs_err::create_dir_all(dir.claims())?;
    Ok(disk::claim(&dir.claims().join(&key.0))?)
}

/// Where a stage's failure is noted for the other workers of this run.
fn note_path(dir: &SweepDir, key: &StageKey) -> PathBuf {
    dir.claims().join(format!("{}.failed", key.0))
}

/// Notes for all workers of this run that `key` has failed.
///
/// # Errors
/// I/O errors.
pub fn note_failure(dir: &SweepDir, key: &StageKey, cause: &str) -> Result<(), StoreError> {
    Ok(disk::write(&note_path(dir, key), cause.as_bytes())?)
}

/// Why `key` failed in this run, if it did.
pub fn failure(dir: &SweepDir, key: &StageKey) -> Option<String> {
    fs_err::read_to_string(note_path(dir, key)).ok()
}

/// Forgets all claims and failures.
pub fn forget(dir: &SweepDir) {
    let _ = std::fs::remove_dir_all(dir.claims());
}
