//! Before anything trains: the results directory is taken, the request is written down, what is there is read.

use super::error::RunError;
use super::log::logged;
use super::notices;
use super::options::{CACHE, RunOptions};
use super::points::{Failed, PointTable};
use super::session::Session;
use super::site::Site;
use super::space::space;
use super::stages::{Opening, StageTable};
use crate::event::Event;
use crate::plan::{StageProgress, outstanding};
use crate::store::{FORMAT, ReferencesRecord, ResolvedRecord, Store, SweepDir, read_resolved};
use crate::text::size;

/// What a launch finds in its directory.
pub(super) struct Launch {
    /// Take over stages of other sweeps.
    pub adopt: bool,
    /// What has changed since the last launch.
    pub notices: Vec<String>,
}

/// Takes the results directory and writes down what is asked for.
pub(super) fn open_store(session: &Session, options: &RunOptions) -> Result<(Store, Launch), RunError> {
    let dir = SweepDir::new(&options.root, &session.spec.name);
    let holder = options.provenance.get("holder").map_or("sweep", String::as_str);
    let store = Store::open(dir, holder)?;
    store.begin_anew();
    let launch = write_request(session, &store, options)?;
    Ok((store, launch))
}

/// What is there of stages and points; says so.
pub(super) fn open_tables(
    Site { session, store, options, .. }: Site,
    launch: Launch,
    failed: Failed,
    sink: &mut dyn FnMut(&Event),
) -> Result<(StageTable, PointTable), RunError> {
    let opening = Opening {
        device: options.device.kind(),
        adopt: launch.adopt,
        retry_infeasible: options.retry_infeasible,
    };
    let mut log = |event: &Event| logged(store, event, sink);
    let mut stages = StageTable::open(session, store.stages(), opening, &mut log)?;
    let points = PointTable::open(session, store, &stages, failed, &mut log)?;
    stages.begin_again(session, &points.open_epochs(session), &mut log)?;
    let mut notices = launch.notices;
    notices.extend(check_space(session, &stages, &points, options)?);
    log(&plan_ready(session, &stages, &points, notices));
    Ok((stages, points))
}

/// Compares what is still to be written with what is free; a warning where it may not do.
fn check_space(
    session: &Session,
    stages: &StageTable,
    points: &PointTable,
    options: &RunOptions,
) -> Result<Option<String>, RunError> {
    let come: Vec<Option<StageProgress>> = stages.progress().into_iter().map(Some).collect();
    let open = session.plan.points.len() - points.ended();
    let space = space(session, &options.root, &come, open);
    let (Some(free), needed) = (space.free, space.to_write) else { return Ok(None) };
    if space.is_short() && !options.ignore_space {
        return Err(RunError::NoSpace { root: options.root.clone(), free, needed });
    }
    let warning = || {
        let (free, needed) = (size(free), size(needed));
        format!(
            "warning: `{}` has {free} free, and about {needed} are still to be written",
            options.root.display()
        )
    };
    Ok(space.is_tight().then(warning))
}

/// The first event of a run.
pub(super) fn plan_ready(
    session: &Session,
    stages: &StageTable,
    points: &PointTable,
    changes: Vec<String>,
) -> Event {
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
        steps_left: left * session.steps(),
        notices,
    }
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
    if session.asked().is_some() {
        let cache = options.cache();
        let cache = std::path::absolute(&cache).unwrap_or(cache);
        provenance.insert(CACHE.to_owned(), cache.display().to_string());
    }
    let notices = old.map_or_else(Vec::new, |old| notices::compared(&old, session));
    let resolved = ResolvedRecord {
        format: FORMAT,
        name: spec.name.clone(),
        experiment: spec.schema.name.to_owned(),
        columns: if spec.eval.is_some() { Vec::new() } else { session.experiment().columns() },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        axes: spec.axes.clone(),
        points: spec.points.clone(),
        baseline: spec.baseline.clone(),
        eval: spec.eval.clone(),
        export: spec.export.clone(),
        keep: spec.keep,
        inputs: session.inputs().clone(),
        health: session.experiment().health(),
        leaks: session.experiment().leaks(),
        provenance,
    };
    store.write_request(&spec.source, &resolved)?;
    let references = session.experiment().references();
    store.write_references(&ReferencesRecord { format: FORMAT, references })?;
    Ok(Launch { adopt: !fresh, notices })
}
