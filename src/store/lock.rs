//! One writer per results directory.

use super::{StoreError, SweepDir};
use crate::disk::{self, Lock};

/// Takes the lock of `dir` (which exists) for `holder`, a description for people.
///
/// # Errors
/// [`StoreError::Held`] with the other holder's description.
pub fn take(dir: &SweepDir, holder: &str) -> Result<Lock, StoreError> {
    let held = |holder: String| StoreError::Held { dir: dir.path().to_owned(), holder };
    let unnamed = |other: String| if other.is_empty() { "unknown".to_owned() } else { other };
    let mut lock = disk::take(&dir.lock(), false)?.map_err(|other| held(unnamed(other)))?;
    // Taken for a moment only: this run's own workers share it later.
    disk::take(&dir.workers_lock(), false)?
        .map_err(|_| held("workers of an earlier run that are still at work".to_owned()))?;
    lock.describe(holder);
    Ok(lock)
}

/// Joins the worker processes that write to `dir` together. Those that a run has started (`attached`) share a
/// lock beside that run's own; the tasks of a cluster share the run's lock itself and so exclude every run.
///
/// # Errors
/// [`StoreError::Held`] by a run that is not the worker's.
pub fn join(dir: &SweepDir, attached: bool) -> Result<Lock, StoreError> {
    let path = if attached { dir.workers_lock() } else { dir.lock() };
    let starting = "a run that is starting".to_owned();
    let mut lock = disk::take(&path, true)?
        .map_err(|_| StoreError::Held { dir: dir.path().to_owned(), holder: starting })?;
    if !attached {
        // For whoever asks who holds the directory; all tasks write the same.
        lock.describe("tasks of a cluster job");
    }
    Ok(lock)
}

/// Whether a run holds `dir` now, and its description.
pub fn holder(dir: &SweepDir) -> Option<String> {
    let worker = || disk::look(&dir.workers_lock(), true).map(|_| "worker processes".to_owned());
    disk::look(&dir.lock(), false).or_else(worker)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_looks_is_in_nobodys_way() {
        let room = tempfile::tempdir().unwrap();
        let dir = SweepDir::at(room.path());
        drop(take(&dir, "the first").unwrap());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        holder(&dir);
                        std::thread::sleep(Duration::from_micros(100));
                    }
                });
            }
            for turn in 0..300 {
                let lock = take(&dir, "me").map(drop);
                let workers = join(&dir, turn % 2 == 0).map(drop);
                let failed = lock.is_err() || workers.is_err();
                if failed {
                    done.store(true, Ordering::Relaxed);
                }
                assert!(!failed, "turn {turn}: {lock:?} {workers:?}");
            }
            done.store(true, Ordering::Relaxed);
        });
        let held = take(&dir, "somebody").unwrap();
        assert_eq!(holder(&dir).as_deref(), Some("somebody"));
        let refused = take(&dir, "me").unwrap_err().to_string();
        assert!(refused.contains("in use by another run (somebody)"), "{refused}");
        drop(held);
        assert_eq!(holder(&dir), None);
    }
}
