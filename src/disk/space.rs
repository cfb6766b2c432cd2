//! What is free where a path lies.

use std::path::Path;

use super::fault;

/// Bytes that whoever runs the program may still write at `path`, which need not exist yet; `None` where the file system
/// does not say.
pub fn free(path: &Path) -> Option<u64> {
    if let Some(planted) = fault::free_space() {
        return Some(planted);
    }
    let absolute = std::path::absolute(path).ok()?;
    let found = absolute.ancestors().find_map(|place| rustix::fs::statvfs(place).ok())?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
