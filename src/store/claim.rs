//! Which worker process trains which stage: a locked file per stage. The system releases the lock of a worker that
//! dies, in whatever way, so that another one goes on with its stage.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

use super::{StoreError, SweepDir, atomic};
use crate::plan::StageKey;

/// A claimed stage; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    file: File,
    /// Workers that died while they trained it.
    pub deaths: u32,
}

impl Claim {
    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Claim {
    /// In order: whoever claims the stage next does not take this for a death.
    fn drop(&mut self) {
        let deaths = self.deaths.to_string();
        let _ = self.write(&deaths);
    }
}

/// Claims `key`; `None` if another worker has it.
///
/// # Errors
/// I/O errors.
pub fn claim(dir: &SweepDir, key: &StageKey) -> Result<Option<Claim>, StoreError> {
    fs_err::create_dir_all(dir.claims())?;
    let path = dir.claims().join(&key.0);
    let name_it = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("cannot claim `{}`: {error}", path.display()))
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).map_err(name_it)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(name_it(error).into()),
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(name_it)?;
    let deaths = text.trim().parse().unwrap_or(0);
    let mut claim = Claim { file, deaths };
    // If this process dies, the next one reads one death more.
    claim.write(&(deaths + 1).to_string()).map_err(name_it)?;
    Ok(Some(claim))
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
    Ok(atomic::write(&note_path(dir, key), cause.as_bytes())?)
}

/// Why `key` failed in this run, if it did.
pub fn failure(dir: &SweepDir, key: &StageKey) -> Option<String> {
    fs_err::read_to_string(note_path(dir, key)).ok()
}

/// Forgets claims and failures of earlier runs: failed stages are tried again.
pub fn forget(dir: &SweepDir) {
    let _ = std::fs::remove_dir_all(dir.claims());
}
