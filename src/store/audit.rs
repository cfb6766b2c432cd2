//! A results directory against itself: do the checkpoints contain what names, headers and records say?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::results::{FORMAT, PointRecord, PointStatus, ResolvedRecord};
use crate::checkpoint::{self, Facts, Phase, Verdict, plain, short};
use crate::spec::PointConfig;

/// Why a results directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("`{}` is not a results directory: it has no resolved.json\nhint: name the directory of one sweep, ROOT/<name>", .0.display())]
    NotResults(PathBuf),
    #[error("{0}")]
    Io(std::io::Error),
    #[error("`{}` is damaged: {error}", path.display())]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("`{}` has format {format}, this program knows {FORMAT}\nhint: use the version of sweep that wrote it, or a newer one", path.display())]
    Newer { path: PathBuf, format: u64 },
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::CheckpointError),
}

/// Reads a record of a results directory; a newer format is refused before anything else is looked at.
///
/// # Errors
/// Unreadable or damaged files, and newer formats.
pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let text = fs_err::read(path).map_err(RecordError::Io)?;
    let json = |error| RecordError::Json { path: path.to_path_buf(), error };
    let value: Value = serde_json::from_slice(&text).map_err(json)?;
    match value.get("format").and_then(Value::as_u64) {
        Some(format) if format > u64::from(FORMAT) => {
            Err(RecordError::Newer { path: path.to_path_buf(), format })
        }
        _ => serde_json::from_value(value).map_err(json),
    }
}

/// Checks every checkpoint below `stages/` (content hash, name, parent) and every finished point (its checkpoint,
/// and that the checkpoint's configuration is the point's). Paths in the verdict are relative to `directory`.
///
/// # Errors
/// A directory that holds no results, or records that cannot be read at all.
pub fn audit(directory: &Path) -> Result<Verdict, RecordError> {
    let resolved_path = directory.join("resolved.json");
    if !resolved_path.is_file() {
        return Err(RecordError::NotResults(directory.to_path_buf()));
    }
    let resolved: ResolvedRecord = read_record(&resolved_path)?;
    let mut verdict = Verdict::default();
    let stages = read_stages(directory, &mut verdict)?;
    check_parents(directory, &stages, &mut verdict)?;
    for point in &resolved.points {
        let path = directory.join("points").join(&point.name).join("point.json");
        if !path.is_file() {
            continue;
        }
        let shown = path.strip_prefix(directory).unwrap_or(&path);
        verdict.checked += 1;
        match read_record::<PointRecord>(&path) {
            Ok(record) => {
                if record.config != point.config {
                    verdict.disagree(shown, "config", "as in resolved.json", "another configuration");
                }
                check_point(shown, &record, &stages, &mut verdict);
            }
            Err(error) => verdict.disagree(shown, "file", "a point's record", &first_line(&error)),
        }
    }
    Ok(verdict)
}

fn first_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}

/// Reads every `stages/*/{rce,grpo}_epochN.safetensors`, keyed by its path relative to `directory`.
fn read_stages(directory: &Path, verdict: &mut Verdict) -> Result<BTreeMap<PathBuf, Facts>, RecordError> {
    let mut stages = BTreeMap::new();
    let root = directory.join("stages");
    for entry in walkdir::WalkDir::new(&root).min_depth(1).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(_) if !root.exists() => break,
            Err(error) => return Err(RecordError::Io(error.into())),
        };
        let path = entry.path();
        let ours = path.extension().is_some_and(|extension| extension == "safetensors");
        if !ours || !entry.file_type().is_file() || checkpoint::named(path).is_none() {
            continue;
        }
        let shown = path.strip_prefix(directory).unwrap_or(path);
        verdict.checked += 1;
        match checkpoint::read(path) {
            Ok(checkpoint) => {
                verdict.check_name(shown, &checkpoint.facts);
                if checkpoint.facts.config.is_none() {
                    verdict.disagree(shown, "config", "a configuration", "none stated");
                }
                stages.insert(shown.to_path_buf(), checkpoint.facts);
            }
            Err(error) => verdict.disagree(shown, "content", "a whole checkpoint", &first_line(&error)),
        }
    }
    Ok(stages)
}

/// Every stated parent must be at hand: another checkpoint here, or the file that training started from. Fresh weights
/// are not kept, so the first phase of a run without `train.init` may name a parent that is no file.
fn check_parents(
    directory: &Path,
    stages: &BTreeMap<PathBuf, Facts>,
    verdict: &mut Verdict,
) -> Result<(), RecordError> {
    let mut inits: BTreeMap<PathBuf, Option<String>> = BTreeMap::new();
    for (path, facts) in stages {
        let Some(parent) = &facts.parent else { continue };
        verdict.checked += 1;
        if stages.values().any(|other| other.content.as_ref() == Some(parent)) {
            continue;
        }
        let found = match facts.value("train.init").as_ref().and_then(Value::as_str).map(PathBuf::from) {
            None if in_first_phase(facts) => continue,
            None => "no such checkpoint".to_string(),
            Some(init) => {
                let at = if init.exists() { init.clone() } else { directory.join(&init) };
                if !inits.contains_key(&init) {
                    let content = if at.is_file() { checkpoint::read(&at)?.facts.content } else { None };
                    inits.insert(init.clone(), content);
                }
                match &inits[&init] {
                    Some(content) if content == parent => continue,
                    Some(content) => format!("`{}` has {}", init.display(), short(content)),
                    None => format!("`{}` is gone", init.display()),
                }
            }
        };
        verdict.disagree(path, "parent", short(parent), &found);
    }
    Ok(())
}

fn in_first_phase(facts: &Facts) -> bool {
    let no_rce = || facts.value("train.rce_epochs").is_none_or(|epochs| epochs == 0);
    facts.phase == Some(Phase::Rce) || facts.phase == Some(Phase::Grpo) && no_rce()
}

fn check_point(path: &Path, record: &PointRecord, stages: &BTreeMap<PathBuf, Facts>, verdict: &mut Verdict) {
    let Some(checkpoint) = &record.checkpoint else {
        if record.status == PointStatus::Done {
            verdict.disagree(path, "checkpoint", "one", "none");
        }
        return;
    };
    verdict.checked += 1;
    let Some(facts) = stages.get(checkpoint) else {
        verdict.disagree(path, "checkpoint", &checkpoint.display().to_string(), "no such checkpoint");
        return;
    };
    verdict.checked += 1;
    if checkpoint.parent().and_then(Path::file_name).is_none_or(|stage| stage != record.stage.as_str()) {
        verdict.disagree(path, "stage", &record.stage, &checkpoint.display().to_string());
    }
    let Ok(config) = serde_json::to_value(&record.config) else { return };
    for (key, claimed) in expected(&record.config, &config, facts) {
        let Some(stated) = facts.value(&key) else { continue };
        verdict.checked += 1;
        if !equal(&stated, &claimed) {
            verdict.disagree(path, &key, &plain(&claimed), &plain(&stated));
        }
    }
}

/// What a point's checkpoint must state: everything that entered its stage. Paths stand for contents and may differ,
/// and a checkpoint after RCE knows nothing of GRPO's settings, nor one after GRPO of how many epochs follow.
fn expected(point: &PointConfig, config: &Value, facts: &Facts) -> Vec<(String, Value)> {
    const RCE: [&str; 9] = [
        "seed",
        "rce_epochs",
        "rce_lr",
        "rce_reward",
        "rce_temperature",
        "rce_top1_only",
        "weight_decay",
        "grad_clip",
        "shuffle",
    ];
    const GRPO: [&str; 8] =
        ["grpo_lr", "kl_beta", "clip_epsilon", "reference", "adaptive_kl", "kl_target", "top_k", "freeze"];
    let grpo = facts.phase == Some(Phase::Grpo);
    let train = RCE.iter().chain(if grpo { GRPO.iter() } else { [].iter() });
    let mut keys: Vec<String> = train.map(|key| format!("train.{key}")).collect();
    for table in ["reward", "model"] {
        let entries = config.get(table).and_then(Value::as_object).into_iter().flatten();
        keys.extend(entries.map(|(key, _)| format!("{table}.{key}")));
    }
    keys.extend(["train_fraction", "keep_fallback", "require_positive"].map(|key| format!("data.{key}")));
    let mut expected: Vec<(String, Value)> = keys
        .into_iter()
        .filter_map(|key| {
            let (table, name) = key.split_once('.')?;
            let value = config.get(table)?.get(name)?.clone();
            Some((key, value))
        })
        .collect();
    let train = &point.train;
    let lr = if grpo { train.grpo_lr } else { train.rce_lr };
    expected.push(("lr".into(), lr.into()));
    if grpo {
        expected.push(("kl_beta".into(), train.kl_beta.into()));
        expected.push(("freeze".into(), train.freeze.to_string().into()));
    }
    if train.early_stop.is_none() {
        let epochs = if grpo { train.grpo_epochs } else { train.rce_epochs };
        expected.push(("epoch".into(), epochs.into()));
    }
    expected
}

/// Equal values; 1 and 1.0 are the same number.
fn equal(stated: &Value, claimed: &Value) -> bool {
    match (stated.as_f64(), claimed.as_f64()) {
        (Some(stated), Some(claimed)) => stated == claimed,
        _ => stated == claimed,
    }
}
