//! A sweep as a cluster job: prepared here, trained by its tasks, closed by whoever is last.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::closing::close;
use super::error::RunError;
use super::log::logged;
use super::opening::{open_store, open_tables, plan_ready};
use super::options::{RunOptions, RunReport};
use super::points::{Failed, PointTable};
use super::runner::Runner;
use super::session::Session;
use super::site::{Company, Site};
use super::slurm::{self, Job, SlurmError};
use super::stages::StageTable;
use super::tail::Tail;
use crate::event::Event;
use crate::experiment::Cancel;
use crate::spec::{SlurmParams, SweepSpec};
use crate::store::{StageStore, SweepDir, read_job, write_job};

/// How often a waiting run looks at the queue.
const POLL: Duration = Duration::from_millis(500);

/// How long after its deadline a job may still be closing what it did.
const GRACE: Duration = Duration::from_secs(60);

/// Tasks of a job unless told otherwise; never more than there are stages to train.
const TASKS: usize = 4;

/// How a job is submitted.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Number of tasks; `None` = by the work there is.
    pub tasks: Option<usize>,
    /// `--device` of every task, as typed: `auto` is for the task's machine to resolve.
    pub device: String,
    /// Stay until the job has ended.
    pub wait: bool,
}

/// What became of a request to run on a cluster.
#[derive(Debug)]
pub enum Launched {
    /// The job `number` is in the queue; its results are in `dir`.
    Submitted { number: String, dir: PathBuf },
    /// The job has ended, or nothing was left to do.
    Ended(Box<RunReport>),
}

/// The script that [`launch`] would submit; nothing is written.
///
/// # Errors
/// Inputs that cannot be used.
pub fn preview(spec: SweepSpec, options: &RunOptions, cluster: &ClusterOptions) -> Result<String, RunError> {
    let params = spec.slurm.clone().unwrap_or_default();
    let session = Session::load(spec, options.share)?;
    let trained = session.plan.stages.iter().filter(|stage| stage.epochs > 0).count();
    let dir = SweepDir::new(&options.root, &session.spec.name);
    Ok(slurm::script(&job(&session, dir.path(), options, cluster, &params, trained, 0)?))
}

fn job<'a>(
    session: &'a Session,
    dir: &Path,
    options: &RunOptions,
    cluster: &ClusterOptions,
    params: &'a SlurmParams,
    outstanding: usize,
    lost: usize,
) -> Result<Job<'a>, RunError> {
    let tasks = cluster.tasks.unwrap_or(TASKS.min(outstanding)).max(1);
    Ok(Job {
        program: std::env::current_exe()?,
        dir: std::path::absolute(dir)?,
        start_in: std::env::current_dir()?,
        name: &session.spec.name,
        tasks,
        params,
        arguments: super::crew::arguments(options, &cluster.device, tasks, lost),
    })
}

/// Prepares the results directory, submits an array job and, on wish, waits for its end. A job that is still in
/// the queue is not submitted again.
///
/// # Errors
/// Inputs that cannot be used, a directory that is held or cannot be written, a cluster that refuses.
pub fn launch(
    spec: SweepSpec,
    options: &RunOptions,
    cluster: &ClusterOptions,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&Event),
) -> Result<Launched, RunError> {
    let params = spec.slurm.clone().unwrap_or_default();
    let session = Session::load(spec, options.share)?;
    let dir = SweepDir::new(&options.root, &session.spec.name);
    let (number, lost) = match read_job(&dir) {
        Some(number) if slurm::in_queue(&number)? => {
            if !cluster.wait {
                return Err(SlurmError::Queued(number).into());
            }
            (number, glance(&session, &dir, options, sink)?)
        }
        _ => match submit(&session, options, cluster, &params, cancel, sink)? {
            Submission::Job(number, lost) => (number, lost),
            Submission::NothingToDo(report) => return Ok(Launched::Ended(report)),
        },
    };
    if !cluster.wait {
        return Ok(Launched::Submitted { number, dir: dir.path().to_owned() });
    }
    let (began, steps) = (Instant::now(), session.steps());
    let mut tail = Tail::from_end(dir.events());
    while slurm::in_queue(&number)? {
        // The tasks know the deadline themselves; those that the cluster has not started yet are not waited for.
        let late = |deadline: Instant| Instant::now() > deadline + GRACE;
        if options.deadline.map_or_else(|| cancel.is_raised(), late) {
            return Ok(Launched::Submitted { number, dir: dir.path().to_owned() });
        }
        tail.relay(cancel, steps, sink);
        std::thread::sleep(POLL);
    }
    tail.relay(cancel, steps, sink);
    let (store, launch) = open_store(&session, options)?;
    let site = Site { session: &session, store: &store, options, cancel };
    let (stages, points) = open_tables(site, launch, Failed::Stay, &mut |_| {})?;
    let runner = Runner::new(site, stages, points, Company::Alone);
    let stopped = runner.stopped_by(lost);
    close(&store, runner, stopped, began, sink).map(|report| Launched::Ended(Box::new(report)))
}

/// Says how far a job is that others have submitted; returns how many points will not get results.
fn glance(
    session: &Session,
    dir: &SweepDir,
    options: &RunOptions,
    sink: &mut dyn FnMut(&Event),
) -> Result<usize, RunError> {
    let stages = StageTable::join(session, StageStore::new(dir.clone()), options.device.kind())?;
    let points = PointTable::glance(session, dir);
    sink(&plan_ready(session, &stages, &points, Vec::new()));
    Ok(points.lost(session, &stages))
}

enum Submission {
    /// Its number, and how many points will not get results whatever it does.
    Job(String, usize),
    NothingToDo(Box<RunReport>),
}

fn submit(
    session: &Session,
    options: &RunOptions,
    cluster: &ClusterOptions,
    params: &SlurmParams,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&Event),
) -> Result<Submission, RunError> {
    let began = Instant::now();
    let (store, launch) = open_store(session, options)?;
    let site = Site { session, store: &store, options, cancel };
    let (stages, points) = open_tables(site, launch, Failed::TryAgain, sink)?;
    let mut runner = Runner::new(site, stages, points, Company::Alone);
    runner.finish_ready(None, &mut |event| logged(&store, event, sink))?;
    let outstanding = runner.outstanding().len();
    if outstanding == 0 {
        let report = close(&store, runner, None, began, sink)?;
        return Ok(Submission::NothingToDo(Box::new(report)));
    }
    let dir = store.dir().clone();
    let lost = runner.lost();
    let job = job(session, dir.path(), options, cluster, params, outstanding, lost)?;
    store.write_job_script(&slurm::script(&job))?;
    // The tasks may start at once, and they do not start in a directory that is held.
    drop(runner);
    drop(store);
    let number = slurm::submit(&dir.job_script())?;
    write_job(&dir, &number)?;
    Ok(Submission::Job(number, lost))
}
