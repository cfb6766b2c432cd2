//! Files by their contents.

use std::io;
use std::path::Path;

/// Content hash (blake3, hex) of a file.
///
/// # Errors
/// A file that cannot be read.
pub fn hash_file(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = fs_err::File::open(path)?;
    hasher.update_reader(&mut file)?;
    Ok(hasher.finalize().to_hex().to_string())
}
