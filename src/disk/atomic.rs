//! Files appear whole or not at all: temporary name in the same directory, sync, rename.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::fault::{self, Passage};

/// Writes `path` through `fill`, so that a reader (or a crash) sees the old file or the new one, never a part.
///
/// Creates missing parent directories.
///
/// # Errors
/// Any I/O error, with the path in its message; the temporary file is then removed.
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut std::fs::File>) -> io::Result<()>,
) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent)?;
    put(path, parent, None, fill)
}

/// Writes `bytes` in the place of the file at `path`, which exists; the new one has `permissions`.
///
/// # Errors
/// As [`write_with`].
pub fn replace(path: &Path, bytes: &[u8], permissions: std::fs::Permissions) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    put(path, parent, Some(permissions), |writer| writer.write_all(bytes))
}

/// The steps of [`write_with`]; `exact` permissions are not subject to the umask.
fn put(
    path: &Path,
    parent: &Path,
    exact: Option<std::fs::Permissions>,
    fill: impl FnOnce(&mut BufWriter<&mut std::fs::File>) -> io::Result<()>,
) -> io::Result<()> {
    let name_it = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
    };
    let mut temporary = tempfile::Builder::new()
        .prefix(".sweep-")
        .suffix(".tmp")
        .permissions(permissions())
        .tempfile_in(parent)
        .map_err(name_it)?;
    fault::pass(Passage::Write).map_err(name_it)?;
    let mut writer = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
    fill(&mut writer).and_then(|()| writer.flush()).map_err(name_it)?;
    drop(writer);
    if let Some(permissions) = exact {
        temporary.as_file().set_permissions(permissions).map_err(name_it)?;
    }
    fault::pass(Passage::TemporaryWritten)?;
    temporary.as_file().sync_all().map_err(name_it)?;
    fault::pass(Passage::BeforeRename)?;
    temporary.persist(path).map_err(|error| name_it(error.error))?;
    fault::pass(Passage::AfterRename)?;
    sync_directory(parent);
    Ok(())
}

/// [`write_with`] for bytes that are at hand.
///
/// # Errors
/// As [`write_with`].
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, |writer| writer.write_all(bytes))
}

/// Removes the file at `path`; one that is not there is removed already.
///
/// # Errors
/// Any other I/O error, with the path in its message.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes `link` a symbolic link to `target` (as it is written), replacing an older link in one step.
///
/// # Errors
/// Any I/O error, with the path in its message.
pub fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    let parent = link.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name_it =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot link `{}`: {error}", link.display()));
    let temporary = tempfile::Builder::new()
        .prefix(".sweep-")
        .suffix(".tmp")
        .make_in(parent, |path| std::os::unix::fs::symlink(target, path))
        .map_err(name_it)?;
    temporary.persist(link).map_err(|error| name_it(error.error))?;
    sync_directory(parent);
    Ok(())
}

/// Results are for the group to read: the usual mode of new files (less the umask) rather than tempfile's 0600.
fn permissions() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o666)
}

/// Makes the rename itself durable. Not every file system can sync a directory; that is no reason to fail.
fn sync_directory(directory: &Path) {
    if let Ok(handle) = std::fs::File::open(directory) {
        let _ = handle.sync_all();
    }
}
