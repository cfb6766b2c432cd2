//! Why a run could not begin or had to end.

use std::path::PathBuf;

use super::slurm::SlurmError;
use crate::checkpoint::CheckpointError;
use crate::experiment::OpenError;
use crate::store::StoreError;
use crate::text::size;

/// Why a run could not begin or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Experiment(OpenError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Slurm(#[from] SlurmError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("`{}` has {} free, and the sweep still has about {} to write\nhint: make room (`sweep clean` says what could go), keep less (`[keep]` in the sweep file), use another `--out`, or start with --ignore-space", .root.display(), size(*.free), size(*.needed))]
    NoSpace { root: PathBuf, free: u64, needed: u64 },
    #[error("`{0}` is not what it was when the run began\nhint: start the sweep again with `sweep run`")]
    InputChanged(String),
    /// The run had begun; what it finished is kept.
    #[error("{cause}\nhint: {}", way_out(.cause))]
    Broken { cause: Box<RunError> },
}

fn way_out(cause: &RunError) -> &'static str {
    match cause {
        RunError::Store(StoreError::Gone(_)) => {
            "if it was moved, move it back, or say where it is with `--out`; the same command then goes on"
        }
        _ => "every finished epoch is kept; once the cause is gone, the same command goes on",
    }
}
