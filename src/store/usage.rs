//! What a results directory takes on the disk.

use std::path::Path;

use serde::Serialize;
use walkdir::WalkDir;

use super::SweepDir;
use super::layout::stage_file;

/// Bytes by what they are for. Files that several sweeps share by links count in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub weights: u64,
    pub optimizer: u64,
    pub points: u64,
    /// Damaged and replaced things that were moved away.
    pub set_aside: u64,
    /// Records, logs, tables.
    pub other: u64,
}

impl Usage {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.optimizer + self.points + self.set_aside + self.other
    }
}

/// Adds up the files below `dir`. What cannot be read counts nothing.
pub fn usage(dir: &Path) -> Usage {
    let sweep = SweepDir::at(dir);
    let mut usage = Usage::default();
    for entry in
        WalkDir::new(dir).into_iter().filter_map(Result::ok).filter(|entry| entry.file_type().is_file())
    {
        let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy());
        let part = if path.starts_with(sweep.set_aside()) {
            &mut usage.set_aside
        } else if path.starts_with(sweep.points()) {
            &mut usage.points
        } else if !path.starts_with(sweep.stages())
            || [stage_file::RECORD, stage_file::METRICS].contains(&&*name)
        {
            &mut usage.other
        } else if stage_file::is_optimizer(&name) {
            &mut usage.optimizer
        } else {
            &mut usage.weights
        };
        *part += bytes;
    }
    usage
}
