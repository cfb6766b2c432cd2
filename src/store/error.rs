//! What can go wrong with a results directory.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::text::quoted;

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
        .dir.display(), quoted(&.dir.display().to_string())
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
    #[error("`{}` {what}\nhint: {hint}", .dir.display())]
    NotResults { dir: PathBuf, what: &'static str, hint: String },
}

impl StoreError {
    /// What `dir` is instead of a results directory, and which one may have been meant.
    pub(super) fn not_results(dir: &Path) -> Self {
        let plain = || "name the directory that `sweep run` wrote, such as `results/kl_grid`".to_owned();
        let (what, hint) = match () {
            () if dir.is_file() => ("is a file, not a results directory", plain()),
            () if !dir.is_dir() => ("does not exist", plain()),
            () if dir.join("matrix.csv").is_file() => (
                "keeps only the matrix, not the points behind it",
                "`sweep run` makes them; `sweep table` needs the matrix alone unless `--baseline` asks for another"
                    .to_owned(),
            ),
            () => {
                let inside = results_inside(dir);
                let hint = if inside.is_empty() { plain() } else { format!("results inside: {}", inside.join(", ")) };
                ("is not a results directory: it has no `resolved.json`", hint)
            }
        };
        Self::NotResults { dir: dir.to_owned(), what, hint }
    }
}

/// Results directories that a hint names.
const LISTED: usize = 5;

/// The results directories in `root`, as far as they fit into a hint.
fn results_inside(root: &Path) -> Vec<String> {
    let is_results =
        |dir: &PathBuf| ["resolved.json", "matrix.csv"].iter().any(|name| dir.join(name).is_file());
    let mut found: Vec<PathBuf> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(is_results)
        .collect();
    found.sort();
    found.iter().take(LISTED).map(|dir| format!("`{}`", dir.display())).collect()
}
