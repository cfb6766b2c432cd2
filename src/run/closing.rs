//! After training: points that nobody has finished, the matrix, the last event.

use std::path::Path;
use std::time::Instant;

use super::error::RunError;
use super::log::{finished, logged};
use super::options::{RunReport, Stop};
use super::points::{Failed, PointTable};
use super::runner::Runner;
use super::site::{Company, Site};
use super::stages::StageTable;
use crate::event::Event;
use crate::report;
use crate::spec::KeepWeights;
use crate::store::{Store, StoreError, SweepResults, read_events};

/// Finishes the points that nobody has finished and writes the matrix.
///
/// # Errors
/// A store that cannot be read or written.
pub fn close(
    store: &Store,
    mut runner: Runner,
    stopped: Option<Stop>,
    began: Instant,
    sink: &mut dyn FnMut(&Event),
) -> Result<RunReport, RunError> {
    runner.finish_ready(None, &mut |event| logged(store, event, sink))?;
    let mut stopped = stopped;
    if stopped.is_none() {
        stopped = runner.await_answers(&mut |event| logged(store, event, sink))?;
    }
    if let Some(judging) = &mut runner.judging {
        judging.stop(&mut |event| logged(store, event, sink));
    }
    let outcome = runner.points.outcome(stopped);
    store.check_in_place()?;
    // Whoever wants it to end does not wait for it: the next run does it.
    if stopped.is_none() {
        runner.points.export(runner.site.session, store, &runner.stages)?;
    }
    if let (Some(live), Some(judging)) = (runner.site.session.asked(), &runner.judging) {
        let again = runner.site.session.spec.eval.as_ref().map_or(0, |eval| eval.judge_noise);
        let results = SweepResults::read(store.dir().path())?;
        let stop = || runner.site.cancel.is_raised() || stopped.is_some();
        let events = read_events(store.dir());
        store.write_judge(&judging.record(live, &results, &events, again as usize, &stop))?;
    }
    if let (KeepWeights::Best(count), None) = (runner.site.session.spec.keep.weights, stopped) {
        keep_best(&mut runner, count)?;
    }
    let matrix = write_matrix(store, store.dir().path())?;
    logged(store, &finished(&outcome, began), sink);
    Ok(RunReport { outcome, matrix, dir: store.dir().clone() })
}

/// Lets go the weights of all points but the best `count`. Only here: while others train, every point may be one of them.
fn keep_best(runner: &mut Runner, count: u32) -> Result<(), RunError> {
    let session = runner.site.session;
    let results = SweepResults::read(runner.site.store.dir().path())?;
    let end = |at: usize| {
        let planned = session.plan.points[at];
        let epoch = runner.stages.record(planned.stage).progress().reached(planned.epoch)?;
        Some((planned.stage, epoch))
    };
    let best = results.best(count as usize).into_iter().filter_map(end).collect();
    runner.stages.keep_only(session, &best)
}

/// [`close`] after other processes trained: what they finished is read again.
///
/// # Errors
/// A store that cannot be read or written.
pub fn close_after_workers(
    site: Site,
    mut stages: StageTable,
    stopped: Option<Stop>,
    began: Instant,
    sink: &mut dyn FnMut(&Event),
) -> Result<RunReport, RunError> {
    let Site { session, store, .. } = site;
    stages.refresh(session)?;
    let points = PointTable::open(session, store, &stages, Failed::Stay, &mut |event| {
        logged(store, event, &mut *sink)
    })?;
    let runner = Runner::new(site, stages, points, Company::Alone);
    close(store, runner, stopped, began, sink)
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
