//! How a run is asked for and how it ends, as plain values.

use std::path::PathBuf;
use std::time::Instant;

use crate::device::Device;
use crate::plan::{GPU_WIDTH, cpu_width};
use crate::report;
use crate::store::SweepDir;

/// The directory of a results root that all its sweeps keep a judge's answers in.
pub const CACHE: &str = "judge-cache";

/// How a run is to be made; none of it changes a result.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Results go to `root/<name>/`.
    pub root: PathBuf,
    /// Of this process, or of every worker.
    pub device: Device,
    /// Devices of worker processes; empty = this process trains.
    pub workers: Vec<Device>,
    /// Share stages between points.
    pub share: bool,
    /// Widest cohort; `None` = by device.
    pub width: Option<usize>,
    /// Start in a directory of its own, and take nothing over from other sweeps.
    pub fresh: bool,
    /// End in time for this moment.
    pub deadline: Option<Instant>,
    /// Further attempts at a stage that failed.
    pub retries: u32,
    /// Train diverged stages again.
    pub retry_infeasible: bool,
    /// Stop after so many points have failed.
    pub max_failures: Option<usize>,
    /// Where a judge's answers are kept; `None` = beside the results of all sweeps of `root`.
    pub cache: Option<PathBuf>,
    /// Begin although the disk is too full for what is estimated.
    pub ignore_space: bool,
    /// Facts about this launch for `resolved.json`.
    pub provenance: std::collections::BTreeMap<String, String>,
}

impl RunOptions {
    /// Where a judge's answers are kept.
    pub fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| self.root.join(CACHE))
    }

    /// Most stages that train together.
    pub fn widest_cohort(&self) -> usize {
        self.width.unwrap_or_else(|| match self.device.is_gpu() {
            true => GPU_WIDTH,
            false => cpu_width(rayon::current_num_threads()),
        })
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub done: usize,
    pub failed: usize,
    /// Points without results because the run was stopped.
    pub pending: usize,
    /// Finished points that lack some of the judge's answers.
    pub incomplete: usize,
    /// Why it ended before everything was done.
    pub stopped: Option<Stop>,
}

/// Why a run ended before everything was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// By a signal.
    Interrupted,
    /// The time was up.
    Budget,
    /// Too many points had failed.
    Failures,
}

/// What a run leaves: the counts, the matrix as it was written, and where.
#[derive(Clone, Debug)]
pub struct RunReport {
    pub outcome: Outcome,
    pub matrix: report::Matrix,
    pub dir: SweepDir,
}
