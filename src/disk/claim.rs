//! Who works on what: a locked file for each piece of work. The system releases the lock of a process that dies, in
//! whatever way, so that another one goes on with its piece.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// A claimed piece of work; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    file: File,
    /// Processes that died while they worked on it.
    pub deaths: u32,
}

impl Claim {
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Claim {
    /// In order: whoever claims it next does not take this for a death.
    fn drop(&mut self) {
        let deaths = self.deaths.to_string();
        let _ = self.write(&deaths);
    }
}

/// Claims the work that the file at `path` stands for; `None` if another process has it.
///
/// # Errors
/// I/O errors, with the path in the message.
pub fn claim(path: &Path) -> io::Result<Option<Claim>> {
    let name_it = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot claim `{}`: {error}", path.display()))
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path).map_err(name_it)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(name_it(error)),
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(name_it)?;
    let deaths = text.trim().parse().unwrap_or(0);
    let mut claim = Claim { file, deaths };
    // If this process dies, the next one reads one death more.
    claim.write(&deaths.saturating_add(1).to_string()).map_err(name_it)?;
    Ok(Some(claim))
}
