//! Files that a user asks for by name (`-o`, `--write`, `--svg`, exports), written the way other programs write them.
//!
//! A regular file is replaced whole and keeps its mode; a link is followed; a device or FIFO is written into; `-` is
//! stdout. Results directories are written by the store, whose files nobody else may change.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::output;
use crate::disk;

/// Writes `bytes` to `target`.
///
/// # Errors
/// A directory, a missing folder, a place that cannot be written; the message names it.
pub fn deliver(target: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if is_stdout(target) {
        output::result_bytes(bytes);
        return Ok(());
    }
    match std::fs::metadata(target) {
        Ok(found) if found.is_dir() => {
            bail!("`{}` is a directory\nhint: name a file in it", target.display())
        }
        // Following the links first: the file is replaced where it lies, and the link stays.
        Ok(found) if found.is_file() => {
            let place = fs_err::canonicalize(target)?;
            Ok(disk::replace(&place, bytes, found.permissions())?)
        }
        Ok(_) => {
            let cannot = || format!("cannot write `{}`", target.display());
            let mut device = OpenOptions::new().write(true).open(target).with_context(cannot)?;
            device.write_all(bytes).with_context(cannot)
        }
        Err(_) => {
            let place = through_links(target);
            let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
            if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
                bail!(
                    "cannot write `{}`: there is no directory `{}`\nhint: create it, or name another place",
                    target.display(),
                    parent.display()
                );
            }
            Ok(disk::write(&place, bytes)?)
        }
    }
}

/// [`deliver`] for what writes a file of its own: it is given a temporary place first.
///
/// # Errors
/// As [`deliver`], and those of `write`.
pub fn deliver_file(target: &Path, write: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let room = tempfile::tempdir()?;
    let place = room.path().join("file");
    write(&place)?;
    deliver(target, &fs_err::read(&place)?)
}

/// `-`, and the names that systems give to a program's own stdout: replacing what they lead to would take the file
/// away from under the shell that has it open.
fn is_stdout(target: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| target == Path::new(name))
}

/// Where a link leads whose end does not exist yet; `target` itself if it is none.
fn through_links(target: &Path) -> PathBuf {
    const MOST: usize = 40;
    let mut place = target.to_owned();
    for _ in 0..MOST {
        let Ok(next) = std::fs::read_link(&place) else { break };
        place = place.parent().unwrap_or(Path::new("")).join(next);
    }
    place
}
