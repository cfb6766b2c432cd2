//! A results directory against itself: do the checkpoints contain what names, headers and records say?

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use walkdir::WalkDir;

use super::layout::stage_file;
use super::read::{read_record, read_resolved};
use super::{PointRecord, PointStatus, StageRecord, StoreError, SweepDir};
use crate::checkpoint::{self, Facts, Verdict, plain, short};
use crate::experiment::{self, Claims, Experiment};

/// The checkpoints of a directory that could be read, by their paths relative to it.
type Checkpoints = BTreeMap<PathBuf, Facts>;

/// The checkpoints that stages have let go, likewise.
type Released = BTreeSet<PathBuf>;

/// Checks every checkpoint below `stages/` (content hash, name, the stage's record, parent) and every finished point
/// (its checkpoint, and that the checkpoint's configuration is the point's). Paths in the verdict are relative to
/// `directory`.
///
/// # Errors
/// A directory that holds no results, or a `resolved.json` that cannot be read.
pub fn audit(directory: &Path) -> Result<Verdict, StoreError> {
    let resolved = read_resolved(directory)?;
    // Of an experiment that this program does not have nothing more can be told.
    let experiment = experiment::named(&resolved.experiment).ok();
    let sweep = SweepDir::at(directory);
    let mut verdict = Verdict::default();
    let checkpoints = read_checkpoints(&sweep, &mut verdict)?;
    let released = check_records(&sweep, &checkpoints, &mut verdict)?;
    check_parents(&checkpoints, &mut verdict);
    for point in &resolved.points {
        let path = sweep.point_record(&point.name);
        if !path.is_file() {
            continue;
        }
        let shown = relative(&path, directory);
        verdict.checked += 1;
        match read_record::<PointRecord>(&path) {
            Ok(record) => {
                if record.config.contradicts(&point.config) {
                    verdict.disagree(&shown, "config", "as in resolved.json", "another configuration");
                }
                check_point(&shown, &record, &checkpoints, &released, experiment, &mut verdict);
            }
            Err(error) => verdict.disagree(&shown, "file", "a point's record", &first_line(&error)),
        }
    }
    Ok(verdict)
}

fn first_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}

fn relative(path: &Path, directory: &Path) -> PathBuf {
    path.strip_prefix(directory).unwrap_or(path).to_path_buf()
}

/// Reads every checkpoint of the stages. Stages that were set aside as damaged (`<key>.damagedN`) belong to nobody.
fn read_checkpoints(sweep: &SweepDir, verdict: &mut Verdict) -> Result<Checkpoints, StoreError> {
    let mut checkpoints = Checkpoints::new();
    if !sweep.stages().is_dir() {
        return Ok(checkpoints);
    }
    let in_use = |entry: &walkdir::DirEntry| entry.depth() != 1 || entry.path().extension().is_none();
    for entry in WalkDir::new(sweep.stages()).sort_by_file_name().into_iter().filter_entry(in_use) {
        let entry = entry.map_err(std::io::Error::from)?;
        let path = entry.path();
        let is_checkpoint = entry.file_name().to_str().is_some_and(stage_file::is_checkpoint);
        if !is_checkpoint || !entry.file_type().is_file() {
            continue;
        }
        let shown = relative(path, sweep.path());
        verdict.checked += 1;
        match checkpoint::read(path) {
            Ok(checkpoint) => {
                verdict.check_name(&shown, &checkpoint.facts);
                if checkpoint.facts.config.is_none() {
                    verdict.disagree(&shown, "config", "a configuration", "none stated");
                }
                checkpoints.insert(shown, checkpoint.facts);
            }
            Err(error) => verdict.disagree(&shown, "content", "a whole checkpoint", &first_line(&error)),
        }
    }
    Ok(checkpoints)
}

/// Every epoch that a stage's record calls finished must be there, with the weights that were recorded, unless they were
/// let go.
fn check_records(
    sweep: &SweepDir,
    checkpoints: &Checkpoints,
    verdict: &mut Verdict,
) -> Result<Released, StoreError> {
    let mut released = Released::new();
    if !sweep.stages().is_dir() {
        return Ok(released);
    }
    let mut stages: Vec<PathBuf> = fs_err::read_dir(sweep.stages())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    stages.sort();
    for stage in stages.iter().filter(|stage| stage.extension().is_none()) {
        let path = stage.join(stage_file::RECORD);
        if !path.is_file() {
            continue;
        }
        let shown = relative(&path, sweep.path());
        let record = match read_record::<StageRecord>(&path) {
            Ok(record) => record,
            Err(error) => {
                verdict.disagree(&shown, "file", "a stage's record", &first_line(&error));
                continue;
            }
        };
        let first = u32::from(record.init.is_none());
        for epoch in first..=record.epochs.len() as u32 {
            let Some(recorded) = record.content(epoch) else { continue };
            let file = stage.join(stage_file::checkpoint(&record.traits().phase, epoch));
            verdict.checked += 1;
            if !record.keeps(epoch) {
                released.insert(relative(&file, sweep.path()));
                continue;
            }
            match checkpoints.get(&relative(&file, sweep.path())).map(|facts| facts.content.as_deref()) {
                Some(content) if content == Some(recorded) => {}
                Some(content) => {
                    let content = short(content.unwrap_or("none"));
                    verdict.disagree(&relative(&file, sweep.path()), "content", short(recorded), content);
                }
                // A file that is there and cannot be read has its own row.
                None if file.exists() => {}
                None => verdict.disagree(&shown, "epoch", &epoch.to_string(), "no such checkpoint"),
            }
        }
    }
    Ok(released)
}

/// Every stated parent and reference policy must be at hand.
fn check_parents(checkpoints: &Checkpoints, verdict: &mut Verdict) {
    let contents: BTreeSet<&String> =
        checkpoints.values().filter_map(|facts| facts.content.as_ref()).collect();
    for (path, facts) in checkpoints {
        for (key, stated) in [("parent", &facts.parent), ("reference", &facts.reference)] {
            let Some(stated) = stated else { continue };
            verdict.checked += 1;
            if !contents.contains(stated) {
                verdict.disagree(path, key, short(stated), "no such checkpoint");
            }
        }
    }
}

fn check_point(
    path: &Path,
    record: &PointRecord,
    checkpoints: &Checkpoints,
    released: &Released,
    experiment: Option<&'static dyn Experiment>,
    verdict: &mut Verdict,
) {
    let Some(checkpoint) = &record.checkpoint else {
        if record.status == PointStatus::Done {
            verdict.disagree(path, "checkpoint", "one", "none");
        }
        return;
    };
    verdict.checked += 2;
    if checkpoint.parent().and_then(Path::file_name).is_none_or(|stage| stage != record.stage.as_str()) {
        verdict.disagree(path, "stage", &record.stage, &checkpoint.display().to_string());
    }
    if released.contains(checkpoint) {
        return;
    }
    let Some(facts) = checkpoints.get(checkpoint) else {
        verdict.disagree(path, "checkpoint", &checkpoint.display().to_string(), "no such checkpoint");
        return;
    };
    let stated_config = facts.config.clone().unwrap_or_default();
    let done = record.status == PointStatus::Done;
    let Claims { tables, header } =
        experiment.map_or_else(Claims::default, |experiment| experiment.claims(&record.config, facts, done));
    for (table, claimed) in tables {
        let Some(stated) = stated_config.get(table) else { continue };
        for (key, claimed) in claimed.as_object().into_iter().flatten() {
            let stated = stated.get(key).cloned().unwrap_or_default();
            check_value(path, &format!("{table}.{key}"), claimed, &stated, verdict);
        }
    }
    for (key, claimed) in header {
        if let Some(stated) = facts.value(key) {
            check_value(path, key, &claimed, &stated, verdict);
        }
    }
}

fn check_value(path: &Path, key: &str, claimed: &Value, stated: &Value, verdict: &mut Verdict) {
    verdict.checked += 1;
    if stated != claimed {
        verdict.disagree(path, key, &plain(claimed), &plain(stated));
    }
}
