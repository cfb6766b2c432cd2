//! What can be wrong with a request for a table or a report.

use std::path::PathBuf;

use super::matrix_csv::MatrixFileError;
use crate::store::{StoreError, SweepResults};

/// Errors of the report module; every one is about what was asked for or what lies on disk.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{}`: {cause}\nhint: `sweep run` writes the file anew", path.display())]
    MatrixFile { path: PathBuf, cause: MatrixFileError },
    #[error("`{0}` is not of the form key=value\nhint: for example `kl_beta=0.15`")]
    NotCondition(String),
    #[error("`{key}` is not an axis of `{sweep}`, whose axes are {axes}{hint}")]
    UnknownAxis { key: String, sweep: String, axes: String, hint: String },
    #[error("no row of `{sweep}` has {key} = {value}\nhint: its values are {values}")]
    UnknownValue { sweep: String, key: String, value: String, values: String },
    #[error("no row of `{0}` satisfies all conditions at once")]
    NothingSelected(String),
    #[error("`{name}` is not a figure of this table\nhint: choose one of {known}")]
    UnknownMetric { name: String, known: String },
    #[error("a pivot table needs two different axes, and both are `{0}`")]
    SameAxis(String),
    #[error("`{text}` matches {count} points of `{sweep}`\nhint: also give {missing}")]
    AmbiguousBaseline { text: String, sweep: String, count: usize, missing: String },
    #[error("`{text}` is several points: {points}\nhint: name one of them, or add seed=N")]
    AmbiguousPoint { text: String, points: String },
    #[error("`{sweep}` has no point `{name}`{hint}")]
    UnknownPoint { sweep: String, name: String, hint: String },
    #[error("`{sweep}` was not evaluated at {column} {field}s\nhint: its {noun}s are {known}")]
    UnknownColumn { sweep: String, column: usize, field: &'static str, noun: &'static str, known: String },
    #[error("point `{point}` is {status}: it has no answers to look at")]
    NoAnswers { point: String, status: &'static str },
    #[error(
        "line {line}: `<!-- sweep: ... -->` is never closed\nhint: end the table with a line `<!-- /sweep -->`"
    )]
    Unclosed { line: usize },
    #[error(
        "line {line}: `{found}` is not quite a marker\nhint: a table stands between `<!-- sweep: table DIR ... -->` and `<!-- /sweep -->`"
    )]
    AlmostMarker { line: usize, found: String },
    #[error("line {line}: only `sweep: table ...` can be regenerated, found `{found}`")]
    NotTable { line: usize, found: String },
    #[error("line {line}: a quote is never closed in `{found}`")]
    OpenQuote { line: usize, found: String },
}

impl ReportError {
    /// `results` have no point called `name`; one may be meant.
    pub(super) fn unknown_point(results: &SweepResults, name: &str) -> Self {
        Self::UnknownPoint {
            sweep: results.name.clone(),
            name: name.to_owned(),
            hint: did_you_mean(name, results.points.iter().map(|point| point.name.as_str())),
        }
    }
}

/// "\nhint: did you mean `x`?" for the closest of `known`, or nothing.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.75)
        .map(|(_, name)| format!("\nhint: did you mean `{name}`?"))
        .unwrap_or_default()
}
