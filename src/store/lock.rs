//! One writer per results directory.
#![expect(
    clippy::disallowed_methods,
    reason = "the lock file is written in place: it is held, never replaced"
)]

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};

use super::{StoreError, SweepDir};

/// The held lock; released when dropped, or by the system when the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of `dir` (which exists) for `holder`, a description for people.
///
/// # Errors
/// [`StoreError::Held`] with the other holder's description.
pub fn take(dir: &SweepDir, holder: &str) -> Result<Lock, StoreError> {
    let path = dir.lock();
    let name_it = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("cannot lock `{}`: {error}", path.display()))
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).map_err(name_it)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut other = String::new();
            let _ = file.read_to_string(&mut other);
            let holder = if other.is_empty() { "unknown".to_owned() } else { other.trim().to_owned() };
            return Err(StoreError::Held { dir: dir.path().to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(name_it(error).into()),
    }
    // The description is a courtesy; the lock itself is what counts.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
    Ok(Lock { _file: file })
}

/// Whether a run holds `dir` now, and its description.
pub fn holder(dir: &SweepDir) -> Option<String> {
    let mut file = File::open(dir.lock()).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            Some(text.trim().to_owned())
        }
        _ => None,
    }
}
