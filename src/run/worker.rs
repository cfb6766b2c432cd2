//! One worker process: trains stages of a prepared results directory beside other workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::closing::close_after_workers;
use super::error::RunError;
use super::log::logged;
use super::options::{CACHE, RunOptions, Stop};
use super::points::PointTable;
use super::runner::Runner;
use super::session::Session;
use super::site::{Company, Site};
use super::stages::StageTable;
use super::stored::spec_of;
use crate::device::Device;
use crate::experiment::Cancel;
use crate::store::{Store, StoreError, SweepDir, read_resolved};

/// How long a starting worker waits for the directory.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a worker works; none of it changes a result.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The prepared results directory.
    pub dir: PathBuf,
    pub device: Device,
    pub share: bool,
    pub width: Option<usize>,
    pub retries: u32,
    /// Number of workers that share the work.
    pub crew: usize,
    /// End in time for this moment; every point's first seed comes before any second one.
    pub deadline: Option<Instant>,
    /// Stop when so many points are without results, those of earlier runs counted in.
    pub max_failures: Option<usize>,
    /// A run has started it and finishes what it leaves.
    pub attached: bool,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug)]
pub struct WorkerReport {
    /// Why it ended before everything was done.
    pub stopped: Option<Stop>,
    /// It had no time to finish a single epoch, and would not have another time.
    pub too_slow: bool,
}

/// Works until nothing is left to do, or until `cancel` is raised. The last task of a cluster job to end writes
/// the matrix.
///
/// # Errors
/// A directory that was not prepared or that another run holds, inputs that have changed since, a store that
/// cannot be read or written.
pub fn work(options: &WorkerOptions, cancel: &Cancel) -> Result<WorkerReport, RunError> {
    let began = Instant::now();
    let resolved = read_resolved(&options.dir)?;
    let inputs = resolved.inputs.clone();
    let cache = resolved.provenance.get(CACHE).map(PathBuf::from);
    let session = Session::load(spec_of(resolved, &options.dir)?, options.share)?;
    if let Some(changed) = changed_input(&inputs, session.inputs()) {
        return Err(RunError::InputChanged(changed));
    }
    let dir = SweepDir::at(&options.dir);
    let store = join(&dir, options.attached)?;
    let run_options = RunOptions { cache, ..run_options(options) };
    let stages = StageTable::join(&session, store.stages(), options.device.kind())?;
    let site = Site { session: &session, store: &store, options: &run_options, cancel };
    let mut runner = Runner::new(site, stages, PointTable::join(&session), Company::OneOf(options.crew));
    let stopped = runner.work(&mut |event| logged(&store, event, &mut |_| {}))?;
    if let Some(judging) = &mut runner.judging {
        judging.stop(&mut |event| logged(&store, event, &mut |_| {}));
    }
    let report = WorkerReport { stopped, too_slow: runner.is_too_slow(began) };
    if options.attached {
        return Ok(report);
    }
    // What the others have noted since; it stays noted, for a job that goes back into the queue.
    runner.refresh()?;
    let stages = runner.into_stages();
    drop(store);
    match Store::open(dir, "the last task of a cluster job") {
        Ok(store) => {
            let site = Site { session: &session, store: &store, options: &run_options, cancel };
            close_after_workers(site, stages, stopped, began, &mut |_| {})?;
            Ok(report)
        }
        // Others are still at work.
        Err(StoreError::Held { .. }) => Ok(report),
        Err(error) => Err(error.into()),
    }
}

/// Joins the others. A task that ends holds the directory for a moment: the others wait for it.
fn join(dir: &SweepDir, attached: bool) -> Result<Store, RunError> {
    let began = Instant::now();
    loop {
        match Store::join(dir.clone(), attached) {
            Err(StoreError::Held { .. }) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(200));
            }
            joined => return Ok(joined?),
        }
    }
}

fn run_options(options: &WorkerOptions) -> RunOptions {
    RunOptions {
        root: options.dir.parent().unwrap_or(Path::new(".")).to_owned(),
        device: options.device,
        workers: Vec::new(),
        share: options.share,
        width: options.width,
        fresh: false,
        deadline: options.deadline,
        retries: options.retries,
        retry_infeasible: false,
        ignore_space: true,
        max_failures: options.max_failures,
        cache: None,
        provenance: BTreeMap::new(),
    }
}

/// The first input whose contents are not those of the launch.
fn changed_input(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    before.iter().find(|(name, hash)| now.get(*name) != Some(hash)).map(|(name, _)| name.clone())
}
