//! Drives the plan: asks the store what is there, trains what is outstanding, evaluates, commits, and goes on
//! after failures. A run always does what is outstanding; there is no separate way to resume.

mod budget;
mod crew;
mod failures;
mod forecast;
mod launch;
mod measure;
mod notices;
mod points;
mod runner;
mod session;
mod slurm;
mod stages;
mod tail;
mod verify;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::evaluate::EvaluateError;
use crate::event::Event;
use crate::learn::{Cancel, Device, panics};
use crate::plan::{GPU_WIDTH, cpu_width, outstanding};
use crate::report;
use crate::spec::SweepSpec;
use crate::store::fault::{self, Passage};
use crate::store::{
    FORMAT, ReferencesRecord, ResolvedRecord, Store, StoreError, SweepDir, SweepResults, read_resolved,
};

pub use forecast::{CohortForecast, Forecast, Speed, forecast};
pub use launch::{ClusterOptions, Launched, launch, preview};
pub use session::{Session, phase_of};
pub use slurm::SlurmError;
pub use verify::{PointCheck, Verification, VerifyError, verify};
pub use worker::{WorkerOptions, WorkerReport, work};

use crew::supervise;
use launch::{close, close_after_workers};

use points::{Failed, PointTable};
use runner::Runner;
use stages::{Opening, StageTable};

/// Why a run could not begin or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the sweep has no points")]
    NoPoints,
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("`{}` does not fit the model of the sweep: {cause}\nhint: compare `[model]` and the embeddings with `sweep ckpt show`", path.display())]
    WarmStart { path: PathBuf, cause: String },
    #[error("`{}` cannot be trained from: {cause}\nhint: its training diverged; start from an earlier checkpoint (`sweep ckpt ls` lists them)", path.display())]
    NotFinite { path: PathBuf, cause: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Slurm(#[from] SlurmError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("`{0}` is not what it was when the run began\nhint: start the sweep again with `sweep run`")]
    InputChanged(String),
    #[error("evaluating `{point}` failed on the device: {cause}")]
    Device { point: String, cause: String },
    /// The run had begun; what it finished is kept.
    #[error("{cause}\nhint: {}", way_out(.cause))]
    Broken { cause: Box<RunError> },
}

impl RunError {
    /// What a panic with `payload` says about the device that was to evaluate `point`.
    fn device(point: &str, payload: &(dyn std::any::Any + Send)) -> Self {
        Self::Device { point: point.to_owned(), cause: panics::message_of(payload) }
    }
}

fn way_out(cause: &RunError) -> &'static str {
    match cause {
        RunError::Store(StoreError::Gone(_)) => {
            "if it was moved, move it back, or say where it is with `--out`; the same command then goes on"
        }
        _ => "every finished epoch is kept; once the cause is gone, the same command goes on",
    }
}

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
    /// Facts about this launch for `resolved.json`.
    pub provenance: std::collections::BTreeMap<String, String>,
}

impl RunOptions {
    /// Most stages that train together.
    pub fn widest_cohort(&self) -> usize {
        self.width.unwrap_or_else(|| match self.device.is_gpu() {
            true => GPU_WIDTH,
            false => cpu_width(rayon::current_num_threads()),
        })
    }
}

/// Threads that write and evaluate: they mostly wait for syncs, and syncs at the same time share a journal commit.
const WRITERS: usize = 8;

/// Does `work` with threads of its own: it waits for disks, and those that train must not.
fn beside_training<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static POOL: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    let name = |index| format!("writer {index}");
    let build = || rayon::ThreadPoolBuilder::new().num_threads(WRITERS).thread_name(name).build().ok();
    match POOL.get_or_init(build) {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub done: usize,
    pub failed: usize,
    /// Points without results because the run was stopped.
    pub pending: usize,
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

/// Runs `spec` to the end, or until `cancel` is raised.
///
/// # Errors
/// Inputs that cannot be used (nothing is written then), and a store that cannot be written.
pub fn run(
    spec: SweepSpec,
    options: &RunOptions,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&Event),
) -> Result<RunReport, RunError> {
    let session = Session::load(spec, options.share)?;
    fault::pass(Passage::DataLoaded)?;
    let (store, launch) = open_store(&session, options)?;
    let broken = |error| RunError::Broken { cause: Box::new(error) };
    train(&session, &store, (options, cancel), launch, sink).map_err(broken)
}

/// Takes the results directory and writes down what is asked for.
fn open_store(session: &Session, options: &RunOptions) -> Result<(Store, Launch), RunError> {
    let dir = SweepDir::new(&options.root, &session.spec.name);
    let holder = options.provenance.get("holder").map_or("sweep", String::as_str);
    let store = Store::open(dir, holder)?;
    let launch = write_request(session, &store, options)?;
    Ok((store, launch))
}

/// Appends `event` to the log and shows it.
fn logged(store: &Store, event: &Event, sink: &mut dyn FnMut(&Event)) {
    if let Ok(line) = serde_json::to_string(&Stamped { time: unix_time(), data: event.clone() }) {
        store.append_event(&line);
    }
    sink(event);
}

/// The first free one of `name`, `name-2`, `name-3`, ... below `root`: where `--fresh` starts.
pub fn fresh_name(root: &Path, name: &str) -> String {
    let free = |name: &String| !root.join(name).exists();
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(free).unwrap_or_else(|| name.to_owned())
}

/// What a launch finds in its directory.
struct Launch {
    /// Take over stages of other sweeps.
    adopt: bool,
    /// What has changed since the last launch.
    notices: Vec<String>,
}

/// Everything between the request and the last matrix.
fn train(
    session: &Session,
    store: &Store,
    (options, cancel): (&RunOptions, &Cancel),
    launch: Launch,
    sink: &mut dyn FnMut(&Event),
) -> Result<RunReport, RunError> {
    let began = Instant::now();
    let tables = open_tables(session, store, options, (launch, Failed::TryAgain), sink)?;
    let mut runner = Runner::new((session, store), (options, cancel), tables, None);
    runner.finish_ready(None, &mut |event| logged(store, event, sink))?;
    let stopped = if options.workers.is_empty() || runner.outstanding().is_empty() {
        runner.work(&mut |event| logged(store, event, sink))?
    } else {
        supervise(&mut runner, sink)?
    };
    if options.workers.is_empty() {
        return close(store, runner, stopped, began, sink);
    }
    let stages = runner.into_stages();
    close_after_workers((session, store), (options, cancel), stages, stopped, (began, sink))
}

/// What is there of stages and points; says so.
fn open_tables(
    session: &Session,
    store: &Store,
    options: &RunOptions,
    (launch, failed): (Launch, Failed),
    sink: &mut dyn FnMut(&Event),
) -> Result<(StageTable, PointTable), RunError> {
    let opening = Opening {
        device: options.device.kind(),
        adopt: launch.adopt,
        retry_infeasible: options.retry_infeasible,
    };
    let mut log = |event: &Event| logged(store, event, sink);
    let stages = StageTable::open(session, store.stages(), opening, &mut log)?;
    let points = PointTable::open(session, store, &stages, failed, &mut log)?;
    log(&plan_ready(session, &stages, &points, launch.notices));
    Ok((stages, points))
}

/// The last event of a run.
fn finished(outcome: &Outcome, began: Instant) -> Event {
    Event::Finished {
        done: outcome.done,
        failed: outcome.failed,
        pending: outcome.pending,
        interrupted: outcome.stopped.is_some(),
        seconds: began.elapsed().as_secs_f64(),
    }
}

fn plan_ready(session: &Session, stages: &StageTable, points: &PointTable, changes: Vec<String>) -> Event {
    let plan = &session.plan;
    let left: u64 = outstanding(plan, &stages.progress())
        .iter()
        .map(|&stage| u64::from(plan.stages[stage].epochs - stages.epochs(stage)))
        .sum();
    let mut notices = changes;
    notices.extend(session.notices());
    Event::PlanReady {
        points: plan.points.len(),
        points_done: points.ended(),
        stages: plan.stages.len(),
        steps: plan.steps,
        steps_naive: plan.steps_naive,
        steps_left: left * session.dataset.train.len() as u64,
        notices,
    }
}

/// A line of `events.jsonl`.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stamped {
    /// Seconds since 1970.
    time: f64,
    data: Event,
}

fn unix_time() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_secs_f64())
}

/// Key of `provenance` that marks a directory made by `--fresh`.
const FRESH: &str = "fresh";

fn write_request(session: &Session, store: &Store, options: &RunOptions) -> Result<Launch, RunError> {
    let spec = &session.spec;
    let old = read_resolved(store.dir().path()).ok();
    let fresh = options.fresh || old.as_ref().is_some_and(|old| old.provenance.contains_key(FRESH));
    let mut provenance = options.provenance.clone();
    if fresh {
        provenance.insert(FRESH.to_owned(), "true".to_owned());
    }
    let notices = old.map_or_else(Vec::new, |old| notices::compared(&old, session));
    let resolved = ResolvedRecord {
        format: FORMAT,
        name: spec.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        axes: spec.axes.clone(),
        points: spec.points.clone(),
        baseline: spec.baseline.clone(),
        eval: spec.eval.clone(),
        export: spec.export.clone(),
        inputs: session.inputs.clone(),
        health: session.health(),
        provenance,
    };
    store.write_request(&spec.source, &resolved)?;
    if let Some(logged) = &session.logged {
        let references = logged.references(&session.dataset.embeddings);
        store.write_references(&ReferencesRecord { format: FORMAT, references })?;
    }
    Ok(Launch { adopt: !fresh, notices })
}

/// Writes the matrix of what is done into `dir` and returns it.
///
/// # Errors
/// A directory that cannot be read or written.
pub fn write_matrix(store: &Store, dir: &Path) -> Result<report::Matrix, StoreError> {
    let results = SweepResults::read(dir)?;
    let matrix = report::matrix(&results, &report::MatrixOptions::default());
    let files = matrix.files();
    store.write_tables(&files)?;
    Ok(matrix)
}
