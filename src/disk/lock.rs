//! A locked file: held by one process or shared by several, released by the system when they end in whatever way.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock that somebody has is tried for, and how often.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(2);

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Writes who holds it, for people. A courtesy: the lock itself is what counts.
    pub fn describe(&mut self, holder: &str) {
        let file = &mut self.file;
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
    }

    /// Whether the lock file is still where it was: otherwise its directory was removed or moved.
    pub fn is_in_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let here = std::fs::metadata(&self.path).ok().map(identity);
        here.is_some() && here == self.file.metadata().ok().map(identity)
    }
}

/// Takes the lock at `path` (made where it is missing), for this process alone or `shared` with others. Tries for a
/// moment, for whoever [`look`]s has it meanwhile. `Err` in the result: another process has it, and how it described
/// itself.
///
/// # Errors
/// A file that cannot be made or locked.
pub fn take(path: &Path, shared: bool) -> io::Result<Result<Lock, String>> {
    let name_it = |error: io::Error| {
        let text = format!(
            "cannot lock `{}`: {error}\nhint: results need a directory that can be written; name another with `--out`",
            path.display()
        );
        io::Error::new(error.kind(), text)
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path).map_err(name_it)?;
    match patiently(|| if shared { file.try_lock_shared() } else { file.try_lock() }) {
        Ok(()) => Ok(Ok(Lock { file, path: path.to_owned() })),
        Err(TryLockError::WouldBlock) => {
            let mut other = String::new();
            let _ = file.read_to_string(&mut other);
            Ok(Err(other.trim().to_owned()))
        }
        Err(TryLockError::Error(error)) => Err(name_it(error)),
    }
}

/// Whether somebody holds the lock at `path` now, and how they described themselves; `alone` asks about a lock that
/// is always shared.
pub fn look(path: &Path, alone: bool) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let tried = if alone { file.try_lock() } else { file.try_lock_shared() };
    matches!(tried, Err(TryLockError::WouldBlock)).then(|| {
        let mut text = String::new();
        let _ = file.read_to_string(&mut text);
        text.trim().to_owned()
    })
}

fn patiently(attempt: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}
