//! Trains points of a finished sweep again, each alone and without sharing, and says how far the results are
//! apart: the proof that sharing and cohorts changed nothing.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::error::RunError;
use super::inputs::find_inputs;
use super::local::run;
use super::options::{CACHE, RunOptions};
use super::session::Session;
use super::stored::spec_of;
use crate::checkpoint;
use crate::device::Device;
use crate::disk::hash_file;
use crate::event::Event;
use crate::experiment::Cancel;
use crate::figure::EpochFigure;
use crate::plan::Plan;
use crate::spec::{KeepParams, is_path};
use crate::store::{
    EpochMetrics, PointResult, PointStatus, QueryScore, ResolvedRecord, StageStore, StoreError, SweepDir,
    SweepResults, read_resolved,
};
use crate::text::quoted;

/// Largest difference of a parameter that float32 explains: two correct programs end a training run up to 3e-5
/// apart.
const PARAMETERS: f64 = 1e-4;
/// Largest relative difference of a metric (absolute below 1) that float32 explains.
const METRICS: f64 = 1e-3;
/// A different choice is a tie when the two log-probabilities are no further apart.
const TIE: f64 = 1e-3;

/// Why a sweep cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("`{}` has no finished point\nhint: `sweep status {}` says how it stands", .0.display(), quoted(&.0.display().to_string()))]
    NothingDone(PathBuf),
    #[error(
        "input `{key}` (`{}`) is not what the sweep was trained on: its content hash is {found}, recorded is {recorded}\nhint: restore the file, or run the sweep again with the new one", .path.display()
    )]
    InputChanged { key: String, path: PathBuf, recorded: String, found: String },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::CheckpointError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One point trained again.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PointCheck {
    pub point: String,
    /// Largest absolute difference over all parameters.
    pub parameters: f64,
    /// Largest difference over all epochs' figures, relative where they are larger than 1.
    pub metrics: f64,
    /// Queries and shots for which the choice differs, of how many.
    pub selections: usize,
    pub selections_of: usize,
    /// Choices that differ and are no ties.
    pub selections_wrong: usize,
    /// The point ended the same way, with as many epochs.
    pub same_end: bool,
}

impl PointCheck {
    /// Not one bit differs.
    pub fn identical(&self) -> bool {
        self.same_end && self.parameters == 0.0 && self.metrics == 0.0 && self.selections == 0
    }

    /// Whatever differs is explained by float32.
    pub fn agrees(&self) -> bool {
        // Written so that a NaN does not agree.
        self.same_end
            && self.parameters <= PARAMETERS
            && self.metrics <= METRICS
            && self.selections_wrong == 0
    }
}

/// What was checked.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verification {
    pub points: Vec<PointCheck>,
    /// Kinds of stages that the points' chains go through, of those in the sweep.
    pub kinds: usize,
    pub kinds_of: usize,
}

/// Trains up to `count` finished points of `dir` again on `device`, in a temporary directory. `dir` is only read.
///
/// # Errors
/// No finished point, inputs that have changed or cannot be read, a directory that cannot be read.
pub fn verify(
    dir: &Path,
    count: usize,
    device: Device,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&Event),
) -> Result<Verification, VerifyError> {
    let mut resolved = read_resolved(dir)?;
    find_inputs(&mut resolved);
    if let Some(eval) = &mut resolved.eval {
        // What is checked is training: a second asking would say nothing of it.
        eval.judge_noise = 0;
    }
    check_files(&resolved)?;
    let session = Session::load(spec_of(resolved.clone(), dir)?, true)?;
    check_inputs(&resolved, session.inputs())?;
    let before = SweepResults::read(dir)?;
    let choice = choose(dir, &session.plan, &before.points, count);
    if choice.points.is_empty() {
        return Err(VerifyError::NothingDone(dir.to_owned()));
    }
    let room = tempfile::Builder::new().prefix("sweep-verify-").tempdir()?;
    resolved.points = choice.points.iter().map(|&at| resolved.points[at].clone()).collect();
    (resolved.baseline, resolved.export, resolved.keep) = (Vec::new(), Vec::new(), KeepParams::default());
    let cache = resolved.provenance.get(CACHE).map(PathBuf::from);
    let spec = spec_of(resolved, dir)?;
    let figures = spec.schema.figures;
    let options = RunOptions {
        root: room.path().to_owned(),
        device,
        workers: Vec::new(),
        share: false,
        width: Some(1),
        fresh: false,
        deadline: None,
        retries: 0,
        retry_infeasible: false,
        ignore_space: true,
        max_failures: None,
        cache,
        provenance: BTreeMap::new(),
    };
    let report = run(spec, &options, cancel, sink)?;
    let after = SweepResults::read(report.dir.path())?;
    let checks = choice
        .points
        .iter()
        .zip(&after.points)
        .map(|(&at, again)| compare(figures, dir, &before.points[at], report.dir.path(), again))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Verification { points: checks, kinds: choice.kinds, kinds_of: choice.kinds_of })
}

/// Whether the files are those of the launch.
fn check_files(resolved: &ResolvedRecord) -> Result<(), VerifyError> {
    let check = |key: &str, path: &Path, found: String| match resolved.inputs.get(key) {
        Some(recorded) if *recorded != found => Err(changed(key, path, recorded, &found)),
        _ => Ok(()),
    };
    let points = resolved.points.first().map(|first| first.config.paths(is_path)).unwrap_or_default();
    for (key, path) in points.iter().filter(|(key, _)| resolved.inputs.contains_key(key)) {
        check(key, path, hash_file(path)?)?;
    }
    if let Some(eval) = &resolved.eval {
        let files =
            [("eval.logged", &eval.logged), ("eval.queries", &eval.queries), ("eval.items", &eval.items)];
        for (key, path) in files.into_iter().filter(|(_, path)| !path.as_os_str().is_empty()) {
            check(key, path, hash_file(path)?)?;
        }
    }
    Ok(())
}

/// The same of what is told from the contents of files, such as the weights in a checkpoint: `now` are the inputs as they
/// are. Their keys name paths as they were written at launch.
fn check_inputs(resolved: &ResolvedRecord, now: &BTreeMap<String, String>) -> Result<(), VerifyError> {
    for (key, found) in now.iter().filter(|(key, _)| !resolved.inputs.contains_key(*key)) {
        let Some((kind, path)) = key.split_once(':') else { continue };
        let was = |(known, _): &(&String, &String)| {
            known
                .split_once(':')
                .is_some_and(|(of, written)| of == kind && Path::new(path).ends_with(written))
        };
        if let Some((_, recorded)) =
            resolved.inputs.iter().find(was).filter(|(_, recorded)| *recorded != found)
        {
            return Err(changed(key, Path::new(path), recorded, found));
        }
    }
    for (key, found) in now {
        if let Some(recorded) = resolved.inputs.get(key).filter(|recorded| *recorded != found) {
            let path = key.split_once(':').map_or(key.as_str(), |(_, path)| path);
            return Err(changed(key, Path::new(path), recorded, found));
        }
    }
    Ok(())
}

fn changed(key: &str, path: &Path, recorded: &str, found: &str) -> VerifyError {
    VerifyError::InputChanged {
        key: key.to_owned(),
        path: path.to_owned(),
        recorded: checkpoint::short(recorded).to_owned(),
        found: checkpoint::short(found).to_owned(),
    }
}

struct Choice {
    /// Indices of points.
    points: Vec<usize>,
    kinds: usize,
    kinds_of: usize,
}

/// Points that together go through as many kinds of stages (phase, freeze set, model) as possible, then those
/// that differ most in what else they are.
fn choose(dir: &Path, plan: &Plan, results: &[PointResult], count: usize) -> Choice {
    let chain = |at: usize| plan.chain(plan.points[at]).into_iter().map(|(stage, _)| stage);
    let all: HashSet<usize> = plan.stages.iter().map(|stage| stage.class).collect();
    // What was let go cannot be compared; what is missing otherwise is found out.
    let stages = StageStore::new(SweepDir::at(dir));
    let released = |at: usize| results[at].checkpoint.as_ref().is_some_and(|path| stages.has_released(path));
    let mut left: Vec<usize> =
        (0..results.len()).filter(|&at| results[at].status == PointStatus::Done && !released(at)).collect();
    let (mut kinds, mut stages) = (HashSet::new(), HashSet::new());
    let mut chosen = Vec::new();
    while chosen.len() < count && !left.is_empty() {
        let gain = |at: usize| {
            let new_kinds = chain(at).filter(|&stage| !kinds.contains(&plan.stages[stage].class)).count();
            let new_stages = chain(at).filter(|stage| !stages.contains(stage)).count();
            let phases = chain(at).filter(|&stage| plan.traits(stage).trains()).count();
            (new_kinds, new_stages, phases, plan.points[at].epoch)
        };
        // The first of the best: the choice must not depend on the machine.
        let best = (0..left.len()).rev().max_by_key(|&place| gain(left[place])).unwrap_or(0);
        let at = left.remove(best);
        kinds.extend(chain(at).map(|stage| plan.stages[stage].class));
        stages.extend(chain(at));
        chosen.push(at);
    }
    Choice { points: chosen, kinds: kinds.len(), kinds_of: all.len() }
}

fn compare(
    figures: &'static [EpochFigure],
    dir: &Path,
    one: &PointResult,
    room: &Path,
    again: &PointResult,
) -> Result<PointCheck, VerifyError> {
    let parameters = match (&one.checkpoint, &again.checkpoint) {
        (Some(old), Some(new)) => {
            let old = checkpoint::read(&dir.join(old))?.weights;
            let new = checkpoint::read(&room.join(new))?.weights;
            checkpoint::compare(&old, &new)?.all.max_abs
        }
        _ => 0.0,
    };
    let pairs = || one.metrics.iter().zip(&again.metrics);
    let metrics = pairs().map(|(old, new)| metrics_apart(figures, old, new)).fold(0.0, f64::max);
    let mut check = PointCheck {
        point: one.name.clone(),
        parameters,
        metrics,
        selections: 0,
        selections_of: 0,
        selections_wrong: 0,
        same_end: one.status == again.status && one.metrics.len() == again.metrics.len(),
    };
    for (column, old) in &one.scores {
        let none = Vec::new();
        let new = again.scores.get(column).unwrap_or(&none);
        check.same_end &= old.len() == new.len();
        check.selections_of += old.len();
        for (old, new) in old.iter().zip(new).filter(|(old, new)| differ(old, new)) {
            check.selections += 1;
            let tie = old.query_id == new.query_id && (*old.log_prob - *new.log_prob).abs() <= TIE;
            check.selections_wrong += usize::from(!tie);
        }
    }
    Ok(check)
}

fn differ(old: &QueryScore, new: &QueryScore) -> bool {
    old.query_id != new.query_id || old.selection != new.selection || old.score != new.score
}

/// Largest difference of an epoch's figures. Times differ anyway.
fn metrics_apart(figures: &'static [EpochFigure], old: &EpochMetrics, new: &EpochMetrics) -> f64 {
    // A figure that an older version did not know is not compared.
    let apart = |(name, old): (&str, Option<f64>)| match (old, new.get(name)) {
        (Some(old), Some(new)) => (old - new).abs() / old.abs().max(1.0),
        (None, None) => 0.0,
        _ => f64::INFINITY,
    };
    old.results(figures).map(apart).fold(0.0, f64::max)
}
