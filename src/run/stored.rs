//! The sweep of finished results, as it was resolved at launch: whatever has become of its file since.

use std::path::Path;

use super::error::RunError;
use super::inputs::find_inputs;
use super::session::Session;
use crate::spec::{self, Config, SweepSpec};
use crate::store::ResolvedRecord;

/// The sweep that `resolved` in `dir` describes.
///
/// # Errors
/// It is of an experiment that this program does not have.
pub fn spec_of(mut resolved: ResolvedRecord, dir: &Path) -> Result<SweepSpec, RunError> {
    let schema = spec::schema_of(&resolved.experiment).ok_or_else(|| {
        let name = match &*resolved.experiment {
            "" => "another experiment".to_owned(),
            name => format!("the experiment `{name}`"),
        };
        let known: Vec<&str> = spec::known().iter().map(|schema| schema.name).collect();
        let cause = format!(
            "`{}` holds results of {name}, and this program has {}\nhint: use the program that trained them",
            dir.display(),
            known.join(", ")
        );
        RunError::Experiment(cause.into())
    })?;
    Config::complete(resolved.points.iter_mut().map(|point| &mut point.config), schema.keys);
    Ok(SweepSpec {
        build: None,
        name: resolved.name,
        schema,
        path: dir.join("sweep.toml"),
        source: String::new(),
        axes: resolved.axes,
        points: resolved.points,
        baseline: resolved.baseline,
        eval: resolved.eval,
        export: resolved.export,
        keep: resolved.keep,
        slurm: None,
        warnings: Vec::new(),
    })
}

/// The same, with its inputs read from where they lay at launch.
///
/// # Errors
/// As [`spec_of`], and inputs that are not there any more.
pub fn stored_session(dir: &Path, mut resolved: ResolvedRecord) -> Result<Session, RunError> {
    find_inputs(&mut resolved);
    Session::load(spec_of(resolved, dir)?, true)
}
