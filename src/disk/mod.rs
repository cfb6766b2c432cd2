//! Bytes that are whole or absent: files that appear by renaming, locks that end with their process, and the faults
//! that tests plant between the two. Knows nothing of what is in the files.

mod atomic;
mod claim;
pub mod fault;
mod hash;
mod lock;
mod space;

pub use atomic::{remove, replace, symlink, write, write_with};
pub use claim::{Claim, claim};
pub use hash::hash_file;
pub use lock::{Lock, look, take};
pub use space::free;
