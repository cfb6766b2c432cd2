//! A sweep on this machine, by this process or by workers that it starts.

use std::path::Path;
use std::time::Instant;

use super::closing::{close, close_after_workers};
use super::crew::supervise;
use super::error::RunError;
use super::log::logged;
use super::opening::{Launch, open_store, open_tables};
use super::options::{RunOptions, RunReport};
use super::points::Failed;
use super::runner::Runner;
use super::session::Session;
use super::site::{Company, Site};
use crate::disk::fault::{self, Passage};
use crate::event::Event;
use crate::experiment::Cancel;
use crate::spec::SweepSpec;

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
    let broken = |error| match error {
        // Nothing has been trained.
        RunError::NoSpace { .. } => error,
        error => RunError::Broken { cause: Box::new(error) },
    };
    let site = Site { session: &session, store: &store, options, cancel };
    train(site, launch, sink).map_err(broken)
}

/// The first free one of `name`, `name-2`, `name-3`, ... below `root`: where `--fresh` starts.
pub fn fresh_name(root: &Path, name: &str) -> String {
    let free = |name: &String| !root.join(name).exists();
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(free).unwrap_or_else(|| name.to_owned())
}

/// Everything between the request and the last matrix.
fn train(site: Site, launch: Launch, sink: &mut dyn FnMut(&Event)) -> Result<RunReport, RunError> {
    let began = Instant::now();
    let Site { store, options, .. } = site;
    let (stages, points) = open_tables(site, launch, Failed::TryAgain, sink)?;
    let mut runner = Runner::new(site, stages, points, Company::Alone);
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
    close_after_workers(site, stages, stopped, began, sink)
}
