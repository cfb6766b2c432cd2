//! What can be wrong with a results directory.

use std::io;
use std::path::PathBuf;

use super::FORMAT;

/// Errors of reading and writing results.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("`{}` is not a results directory: it has no `resolved.json`\nhint: name the directory that `sweep run` wrote, such as `results/kl_grid`", .0.display())]
    NotResults(PathBuf),
    #[error("`{}` has format {format}, newer than {FORMAT}, the newest this version of sweep reads\nhint: update sweep", path.display())]
    NewerFormat { path: PathBuf, format: u32 },
    /// The message of the I/O error names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("`{}` is damaged: {cause}\nhint: delete it and run the sweep again; what is finished is not repeated", path.display())]
    Corrupt { path: PathBuf, cause: String },
}
