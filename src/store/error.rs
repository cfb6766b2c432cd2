//! What can go wrong with a results directory.

use std::io;
use std::path::PathBuf;

use crate::checkpoint::CheckpointError;

/// Why a results directory cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Another process writes to the directory.
    #[error(
        "`{}` is in use by another run ({holder})\nhint: wait for it, look at it with `sweep status {}`, or use another `--out`",
        .dir.display(), .dir.display()
    )]
    Held { dir: PathBuf, holder: String },
    /// A file of a newer version of this program.
    #[error("`{}` was written by a newer version of sweep (format {format}, this one knows {})\nhint: update sweep, or use another `--out`", .path.display(), super::FORMAT)]
    NewerFormat { path: PathBuf, format: u32 },
    /// A file that cannot be what it should be.
    #[error("`{}` is damaged: {cause}", .path.display())]
    Corrupt { path: PathBuf, cause: String },
    /// Somebody removed or moved the directory during the run.
    #[error("`{}` was removed or moved while the run was writing to it; nothing more is written", .0.display())]
    Gone(PathBuf),
    /// Not a results directory at all.
    #[error("`{}` is not a results directory: it has no `resolved.json`\nhint: name the directory that `sweep run` wrote, such as `results/kl_grid`", .0.display())]
    NotResults(PathBuf),
}
