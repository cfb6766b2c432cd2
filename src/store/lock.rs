//! One writer per results directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{StoreError, SweepDir};

/// How long a lock that somebody has is tried for, and how often.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(2);

/// The held lock; released when dropped, or by the system when the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Whether the lock file is still where it was: otherwise the directory was removed or moved.
    pub fn is_in_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let here = std::fs::metadata(&self.path).ok().map(identity);
        here.is_some() && here == self.file.metadata().ok().map(identity)
    }
}

/// Takes the lock of `dir` (which exists) for `holder`, a description for people.
///
/// # Errors
/// [`StoreError::Held`] with the other holder's description.
pub fn take(dir: &SweepDir, holder: &str) -> Result<Lock, StoreError> {
    let path = dir.lock();
    let mut file = open(&path)?;
    match patiently(|| file.try_lock()) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut other = String::new();
            let _ = file.read_to_string(&mut other);
            let holder = if other.is_empty() { "unknown".to_owned() } else { other.trim().to_owned() };
            return Err(StoreError::Held { dir: dir.path().to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(name_lock(&path)(error).into()),
    }
    let workers = open(&dir.workers_lock())?;
    if let Err(TryLockError::WouldBlock) = patiently(|| workers.try_lock()) {
        let holder = "workers of an earlier run that are still at work".to_owned();
        return Err(StoreError::Held { dir: dir.path().to_owned(), holder });
    }
    // The description is a courtesy; the lock itself is what counts.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
    Ok(Lock { file, path })
}

/// Joins the worker processes that write to `dir` together. Those that a run has started (`attached`) share a
/// lock beside that run's own; the tasks of a cluster share the run's lock itself and so exclude every run.
///
/// # Errors
/// [`StoreError::Held`] by a run that is not the worker's.
pub fn join(dir: &SweepDir, attached: bool) -> Result<Lock, StoreError> {
    let path = if attached { dir.workers_lock() } else { dir.lock() };
    let mut file = open(&path)?;
    match patiently(|| file.try_lock_shared()) {
        Ok(()) => {
            if !attached {
                // For whoever asks who holds the directory; all tasks write the same.
                let _ = file.set_len(0).and_then(|()| file.write_all(b"tasks of a cluster job"));
            }
            Ok(Lock { file, path })
        }
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::Held { dir: dir.path().to_owned(), holder: "a run that is starting".to_owned() })
        }
        Err(TryLockError::Error(error)) => Err(name_lock(&path)(error).into()),
    }
}

/// Tries for a moment: [`holder`] has the lock while it looks, and so has the last task of a job before it ends.
fn patiently(attempt: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    Ok(options.open(path).map_err(name_lock(path))?)
}

fn name_lock(path: &Path) -> impl Fn(std::io::Error) -> std::io::Error {
    move |error| {
        let text = format!(
            "cannot lock `{}`: {error}\nhint: results need a directory that can be written; name another with `--out`",
            path.display()
        );
        std::io::Error::new(error.kind(), text)
    }
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
        _ => {
            // Whoever wants to take it waits no longer than a look takes.
            drop(file);
            let workers = File::open(dir.workers_lock()).ok()?;
            let busy = matches!(workers.try_lock(), Err(TryLockError::WouldBlock));
            busy.then(|| "worker processes".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

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
