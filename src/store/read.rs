//! A results directory -> [`SweepResults`].

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rayon::prelude::*;
use serde::de::DeserializeOwned;

use super::selections::read_line;
use super::{
    EpochMetrics, FORMAT, JudgeRecord, PointRecord, PointResult, PointStatus, QueryScore, ReferencesRecord,
    ResolvedRecord, StoreError, SweepResults, Unanswered, read_metrics_csv,
};
use crate::spec::{Columns, Point, schema_of};

impl SweepResults {
    /// Reads the results in `dir`, finished or not: every point of `resolved.json` has a row, pending where
    /// nothing has been written yet.
    ///
    /// # Errors
    /// A directory without `resolved.json`, a file of a newer format, a file that cannot be read or parsed.
    pub fn read(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("resolved.json");
        if !path.is_file() {
            return Err(StoreError::not_results(dir));
        }
        let resolved: ResolvedRecord = read_record(&path)?;
        let evaluated = !resolved.columns().is_empty();
        let names = schema_of(&resolved.experiment).map(|schema| schema.columns);
        let points = resolved
            .points
            .into_par_iter()
            .map(|point| read_point(dir, point, evaluated, names))
            .collect::<Result<Vec<_>, _>>()?;
        let references = dir.join("references.json");
        let references = if references.is_file() {
            read_record::<ReferencesRecord>(&references)?.references
        } else {
            Vec::new()
        };
        Ok(Self {
            dir: dir.to_owned(),
            name: resolved.name,
            axes: resolved.axes,
            points,
            references,
            baseline: resolved.baseline,
            experiment: resolved.experiment,
            columns: resolved.columns,
            eval: resolved.eval,
            health: resolved.health,
            leaks: resolved.leaks,
            judge: read_judge(dir),
        })
    }
}

/// `resolved.json` of the results in `dir`: what was asked for, and with which inputs.
///
/// # Errors
/// As [`SweepResults::read`].
pub fn read_resolved(dir: &Path) -> Result<ResolvedRecord, StoreError> {
    let path = dir.join("resolved.json");
    if path.is_file() { read_record(&path) } else { Err(StoreError::not_results(dir)) }
}

/// `judge.json` of the results in `dir`, if there is one that can be read.
pub fn read_judge(dir: &Path) -> Option<JudgeRecord> {
    serde_json::from_slice(&fs_err::read(dir.join("judge.json")).ok()?).ok()
}

fn read_point(
    dir: &Path,
    point: Point,
    evaluated: bool,
    names: Option<Columns>,
) -> Result<PointResult, StoreError> {
    let place = dir.join("points").join(&point.name);
    let path = place.join("point.json");
    if !path.is_file() {
        return Ok(pending(point));
    }
    let mut record: PointRecord = read_record(&path)?;
    record.config.share(&point.config);
    let metrics = read_metrics(&place.join("metrics.csv"))?;
    let (scores, unanswered) = read_selections(&place.join("selections.jsonl"), names)?;
    if scores.is_empty() && evaluated && record.status == PointStatus::Done {
        let cause = "the point is done but its selections are missing".to_owned();
        return Err(StoreError::Corrupt { path: place, cause });
    }
    Ok(PointResult {
        name: record.name,
        axes: point.axes,
        config: record.config,
        status: record.status,
        error: record.error,
        scores,
        unanswered,
        trainable: record.trainable,
        total: record.total,
        metrics,
        movement: record.movement,
        checkpoint: record.checkpoint,
    })
}

/// What the files of a point are held against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Evaluation queries; 0 without evaluation.
    pub queries: usize,
    /// The identity of the evaluation.
    pub evaluation: Option<&'a str>,
    /// How the experiment calls the score columns.
    pub names: Columns,
}

/// The record of `point` in `dir` if it has ended, after a look at the files that belong to it. Of results of another
/// evaluation than the expected one it cannot be told whether they are whole.
///
/// # Errors
/// A file of the point that is damaged or of a newer format.
pub fn check_point(dir: &Path, name: &str, expected: &Expected) -> Result<Option<PointRecord>, StoreError> {
    let place = dir.join("points").join(name);
    let path = place.join("point.json");
    if !path.is_file() {
        return Ok(None);
    }
    let record: PointRecord = read_record(&path)?;
    let corrupt = |cause: String| StoreError::Corrupt { path: place.clone(), cause };
    if record.name != name {
        return Err(corrupt(format!("it is the record of point {}", record.name)));
    }
    read_metrics(&place.join("metrics.csv"))?;
    let (scores, unanswered) = read_selections(&place.join("selections.jsonl"), Some(expected.names))?;
    let lines = |column: usize, scored: usize| {
        scored + unanswered.iter().filter(|line| line.column == column).count()
    };
    let whole = scores.iter().all(|(column, scored)| lines(*column, scored.len()) == expected.queries)
        && (expected.queries == 0 || !scores.is_empty());
    let told = record.evaluation.as_deref() == expected.evaluation;
    if record.status == PointStatus::Done && told && !whole {
        return Err(corrupt("`selections.jsonl` is not complete".to_owned()));
    }
    Ok(Some(record))
}

fn pending(point: Point) -> PointResult {
    PointResult {
        name: point.name,
        axes: point.axes,
        config: point.config,
        status: PointStatus::Pending,
        error: None,
        scores: BTreeMap::new(),
        unanswered: Vec::new(),
        trainable: 0,
        total: 0,
        metrics: Vec::new(),
        movement: BTreeMap::new(),
        checkpoint: None,
    }
}

/// Reads a JSON record after having looked at its `format`, so that a newer one is refused by name and not
/// by the first field it renamed.
pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let text = fs_err::read_to_string(path)?;
    let corrupt =
        |cause: serde_json::Error| StoreError::Corrupt { path: path.to_owned(), cause: cause.to_string() };
    #[derive(serde::Deserialize)]
    struct Versioned {
        format: u32,
    }
    let Versioned { format } = serde_json::from_str(&text).map_err(corrupt)?;
    if format > FORMAT {
        return Err(StoreError::NewerFormat { path: path.to_owned(), format });
    }
    serde_json::from_str(&text).map_err(corrupt)
}

/// The text of a file that need not exist.
fn read_optional(path: &Path) -> Result<Option<String>, StoreError> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_metrics(path: &Path) -> Result<Vec<EpochMetrics>, StoreError> {
    let Some(text) = read_optional(path)? else { return Ok(Vec::new()) };
    read_metrics_csv(&text).map_err(|cause| StoreError::Corrupt { path: path.to_owned(), cause })
}

/// Lines with a score by column, and those without.
type Selections = (BTreeMap<usize, Vec<QueryScore>>, Vec<Unanswered>);

fn read_selections(path: &Path, names: Option<Columns>) -> Result<Selections, StoreError> {
    let Some(text) = read_optional(path)? else { return Ok(Selections::default()) };
    let mut scores: BTreeMap<usize, Vec<QueryScore>> = BTreeMap::new();
    let mut unanswered = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let corrupt = |cause: serde_json::Error| StoreError::Corrupt {
            path: path.to_owned(),
            cause: format!("line {}: {cause}", index + 1),
        };
        match read_line(line, names).map_err(corrupt)? {
            Ok(score) => scores.entry(score.column).or_default().push(score),
            Err(line) => unanswered.push(line),
        }
    }
    for line in &unanswered {
        scores.entry(line.column).or_default();
    }
    Ok((scores, unanswered))
}
