//! Drives the plan: asks the store what is there, trains what is outstanding, evaluates, commits, and goes on
//! after failures. A run always does what is outstanding; there is no separate way to resume.

mod points;
mod session;
mod stages;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::evaluate::EvaluateError;
use crate::event::Event;
use crate::learn::{Cancel, CohortEnd, Device, MemberEvent, train_cohort};
use crate::plan::{CPU_WIDTH, Cohort, GPU_WIDTH, next_cohort, outstanding};
use crate::report;
use crate::spec::SweepSpec;
use crate::store::fault::{self, Passage};
use crate::store::{FORMAT, ReferencesRecord, ResolvedRecord, Store, StoreError, SweepDir, SweepResults};

pub use session::{Session, thousands};

use points::PointTable;
use stages::StageTable;

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
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// How a run is to be made; none of it changes a result.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Results go to `root/<name>/`.
    pub root: PathBuf,
    pub device: Device,
    /// Share stages between points.
    pub share: bool,
    /// Widest cohort; `None` = by device.
    pub width: Option<usize>,
    /// Facts about this launch for `resolved.json`.
    pub provenance: std::collections::BTreeMap<String, String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub done: usize,
    pub failed: usize,
    /// Points without results because the run was interrupted.
    pub pending: usize,
    pub interrupted: bool,
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
    let dir = SweepDir::new(&options.root, &session.spec.name);
    let holder = options.provenance.get("holder").map_or("sweep", String::as_str);
    let store = Store::open(dir, holder)?;
    write_request(&session, &store, options)?;
    let mut log = |event: &Event| {
        if let Ok(line) = serde_json::to_string(&Stamped { time: unix_time(), data: event }) {
            store.append_event(&line);
        }
        sink(event);
    };
    Runner { session: &session, store: &store, options, cancel, began: Instant::now() }.run(&mut log)
}

/// A line of `events.jsonl`.
#[derive(serde::Serialize)]
struct Stamped<'a> {
    /// Seconds since 1970.
    time: f64,
    data: &'a Event,
}

fn unix_time() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_secs_f64())
}

fn write_request(session: &Session, store: &Store, options: &RunOptions) -> Result<(), RunError> {
    let spec = &session.spec;
    let resolved = ResolvedRecord {
        format: FORMAT,
        name: spec.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        axes: spec.axes.clone(),
        points: spec.points.clone(),
        baseline: spec.baseline.clone(),
        eval: spec.eval.clone(),
        inputs: session.inputs.clone(),
        health: session.health(),
        provenance: options.provenance.clone(),
    };
    store.write_request(&spec.source, &resolved)?;
    if let Some(logged) = &session.logged {
        let references = logged.references(&session.dataset.embeddings);
        store.write_references(&ReferencesRecord { format: FORMAT, references })?;
    }
    Ok(())
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

struct Runner<'a> {
    session: &'a Session,
    store: &'a Store,
    options: &'a RunOptions,
    cancel: &'a Cancel,
    began: Instant,
}

impl Runner<'_> {
    fn run(&self, log: &mut dyn FnMut(&Event)) -> Result<RunReport, RunError> {
        let plan = &self.session.plan;
        let mut stages = StageTable::open(self.session, self.store.stages(), self.device_kind(), log)?;
        let mut points = PointTable::open(self.session, self.store);
        let left: u64 = outstanding(plan, &stages.progress())
            .iter()
            .map(|&stage| u64::from(plan.stages[stage].epochs - stages.epochs(stage)))
            .sum();
        log(&Event::PlanReady {
            points: plan.points.len(),
            points_done: points.ended(),
            stages: plan.stages.len(),
            steps: plan.steps,
            steps_naive: plan.steps_naive,
            steps_left: left * self.session.dataset.train.len() as u64,
            notices: self.session.notices(),
        });
        points.finish_ready(self.session, self.store, &mut stages, self.options.device, log)?;
        let width = self.options.width.unwrap_or(match self.options.device {
            Device::Cuda(_) => GPU_WIDTH,
            Device::Cpu | Device::Flex => CPU_WIDTH,
        });
        while !self.cancel.is_raised() {
            let progress = stages.progress();
            let list = outstanding(plan, &progress);
            let Some(cohort) = next_cohort(plan, &progress, &list, width) else { break };
            if self.train(&cohort, &mut stages, &mut points, log)? == CohortEnd::Cancelled {
                break;
            }
        }
        let outcome = points.outcome(self.cancel.is_raised());
        let matrix = write_matrix(self.store, self.store.dir().path())?;
        log(&Event::Finished {
            done: outcome.done,
            failed: outcome.failed,
            pending: outcome.pending,
            interrupted: outcome.interrupted,
            seconds: self.began.elapsed().as_secs_f64(),
        });
        Ok(RunReport { outcome, matrix, dir: self.store.dir().clone() })
    }

    fn device_kind(&self) -> &'static str {
        match self.options.device {
            Device::Cuda(_) => "cuda",
            Device::Cpu | Device::Flex => "cpu",
        }
    }

    /// Trains one cohort; every epoch is on disk before the next begins, and every point is finished as soon
    /// as its epoch is there.
    fn train(
        &self,
        cohort: &Cohort,
        stages: &mut StageTable,
        points: &mut PointTable,
        log: &mut dyn FnMut(&Event),
    ) -> Result<CohortEnd, RunError> {
        let plan = &self.session.plan;
        let (model, freeze, jobs) = stages.jobs(self.session, cohort)?;
        let first_epoch = jobs.iter().filter_map(|job| job.progress.as_ref()).map(|p| p.epoch + 1).max();
        let first_epoch = first_epoch.unwrap_or(1);
        let last_epoch = jobs.iter().map(|job| job.last_epoch).max().unwrap_or(first_epoch);
        let epochs: u64 = jobs.iter().map(|job| u64::from(job.last_epoch + 1 - first_epoch)).sum();
        log(&Event::CohortStarted {
            phase: session::phase_of(&plan.stages[cohort.stages[0]].kind).map_or("init", |p| p.name()).into(),
            members: jobs.len(),
            first_epoch,
            last_epoch,
            steps: epochs * self.session.dataset.train.len() as u64,
        });
        let mut failure = None;
        let mut report = |event: MemberEvent| {
            let handle = || -> Result<(), RunError> {
                stages.record_event(self.session, event, log)?;
                points.finish_ready(self.session, self.store, stages, self.options.device, log)
            };
            failure = handle().err();
            failure.is_none()
        };
        let end = train_cohort(self.session.engine(&model, &freeze), &jobs, self.cancel, &mut report);
        match failure {
            Some(error) => Err(error),
            None => Ok(end),
        }
    }
}
