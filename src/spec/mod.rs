//! TOML text -> [`SweepSpec`]: defaults, validation, the grid's points and their names. Pure after reading.
//!
//! ```text
//! text -> document (every key checked alone) -> overrides (--set) -> grid (rows of values) -> points, names, baseline
//! ```
//! The tables of keys ([`keys::KEYS`] and the experiment's [`Schema`]) are what all of this is driven by.

mod axis;
mod baseline;
mod build;
mod check;
mod choice;
mod compose;
mod config;
mod document;
mod error;
mod evaluation;
mod files;
mod grid;
mod json_schema;
mod keep;
mod keys;
mod kind;
mod live;
mod names;
mod overrides;
mod range;
mod read;
mod registry;
mod schema;
mod set;
mod settings;
mod table;
mod value;
mod values;
mod whose;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use build::{BuildParams, BuildSpec};
pub(crate) use choice::{choice, is_default, named_enum};
pub use config::Config;
pub use error::{Diagnostic, Diagnostics, Place, SpecError};
pub use evaluation::endpoint_mistake;
pub use files::{Files, Group};
pub use grid::{HARD_POINT_LIMIT, POINT_LIMIT};
pub use json_schema::json_schema;
pub use keep::{KeepOptimizer, KeepParams, KeepWeights};
pub use keys::{Key, LabForm, LabName};
pub use kind::{Kind, Limits};
pub use live::{CommandParams, EndpointParams, JudgeApi};
pub use names::NAME_LIMIT;
pub use overrides::{condition, setting, split_conditions};
pub use registry::{
    columns_of, columns_with, figures_of, files, frozen_groups, frozen_key, group_of, groups, groups_of,
    is_path, is_set, key_called, know, known, nameless, phase_order, schema_of, signal_of,
};
pub use schema::{Clash, Columns, Schema, no_clash, nothing_idle};
pub use set::{Alias, Chosen, Names};
pub use table::{OwnTable, Table};
pub use value::{Field, Value, number_text};
pub use whose::of_other_programs;

/// A sweep file, read, checked and expanded.
#[derive(Clone, Debug)]
pub struct SweepSpec {
    /// `name` of the file; results go to `ROOT/<name>/`.
    pub name: String,
    /// What the file may say, by the experiment that it names.
    pub schema: &'static Schema,
    /// The file as given.
    pub path: PathBuf,
    /// Its text at launch.
    pub source: String,
    /// Keys of the axes that vary, dotted (`train.kl_beta`), in file order.
    pub axes: Vec<String>,
    /// The points, in grid order (the last axis of the file varies fastest), less those that `--where` left out.
    pub points: Vec<Point>,
    /// Indices into `points` of the baseline: one, or one per seed when `seed` is an axis that
    /// `[baseline]` leaves open. Empty without `[baseline]`.
    pub baseline: Vec<usize>,
    /// `[eval]`, if present.
    pub eval: Option<EvalParams>,
    /// `[data.build]`, if present.
    pub build: Option<BuildSpec>,
    /// `[export] formats`.
    pub export: Vec<ExportFormat>,
    /// `[keep]`.
    pub keep: KeepParams,
    /// `[slurm]`, if present.
    pub slurm: Option<SlurmParams>,
    /// What is allowed and probably not meant, one sentence each, for the user.
    pub warnings: Vec<String>,
}

/// One grid point: a fully resolved configuration with a name for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// For people and for paths: `kl0.15-lr5e-6-ep3-frozen-s0`; names only the axes that vary.
    pub name: String,
    /// Value of every axis that varies, in the order of [`SweepSpec::axes`], as JSON
    /// (sets as lists of names, paths as written).
    pub axes: Vec<(String, serde_json::Value)>,
    pub config: Config,
}

/// `[eval]`: how points are scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvalParams {
    /// File of sequences that a judge has already scored; empty where one is asked.
    pub logged: PathBuf,
    /// Shot counts, ascending.
    pub shots: Vec<usize>,
    /// How many queries (in file order) are used, one set of columns per entry; `None` = all.
    pub samples: Vec<Option<usize>>,
    /// Which score counts.
    pub score: ScoreField,
    /// Whom a live judge is asked about; empty = the validation queries.
    #[serde(skip_serializing_if = "is_default")]
    pub queries: PathBuf,
    /// Questions that are asked a second time.
    #[serde(skip_serializing_if = "is_default")]
    pub judge_noise: u32,
    /// A server that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointParams>,
    /// A program that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandParams>,
    /// What questions are made of; empty where a program has its own.
    #[serde(skip_serializing_if = "is_default")]
    pub items: PathBuf,
}

impl EvalParams {
    /// Whether a judge is asked while the sweep runs.
    pub fn is_live(&self) -> bool {
        self.endpoint.is_some() || self.command.is_some()
    }
}

/// No way of evaluating is given here.
impl Default for EvalParams {
    fn default() -> Self {
        Self {
            logged: PathBuf::new(),
            shots: vec![1, 2, 3, 4],
            samples: vec![None],
            score: ScoreField::Accuracy,
            queries: PathBuf::new(),
            judge_noise: 0,
            endpoint: None,
            command: None,
            items: PathBuf::new(),
        }
    }
}

choice! {
    /// The score that accuracy is the mean of.
    ScoreField {
        Accuracy = "vqa_acc_score",
        Correct = "vqa_correct",
        Probability = "vqa_gt_prob",
        TokenF1 = "token_f1",
    }
}

named_enum! {
    /// A format of other programs; `run` writes it beside every point's checkpoint.
    ExportFormat {
        /// Lightning-like `.ckpt`, what the lab's inference script reads.
        V2 = "v2",
        /// PyTorch training checkpoint.
        Pt = "pt",
        /// The weights alone.
        Safetensors = "safetensors",
    }
}

impl ExportFormat {
    /// What names of such files end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::V2 => "ckpt",
            Self::Pt => "pt",
            Self::Safetensors => "safetensors",
        }
    }
}

/// `[slurm]`: how jobs are submitted to a cluster. It changes no result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlurmParams {
    /// `None` = the cluster's default, for these three.
    pub partition: Option<String>,
    pub time: Option<String>,
    pub gres: Option<String>,
    /// Further arguments of `sbatch`.
    pub extra: Vec<String>,
}

/// What the command line adds to a sweep file.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// `--set key=value`: overrides the file; an axis then has this one value.
    pub set: Vec<String>,
    /// `--where key=value`: only the points that match all of them; `key=a,b` = either.
    pub filter: Vec<String>,
    /// `--yes`: more than [`POINT_LIMIT`] points are meant.
    pub allow_huge: bool,
}

/// Reads the sweep file at `path`, composes and checks all its points, and checks that every file it reads exists.
///
/// # Errors
/// The file cannot be read, or anything in it (or in `options`) is wrong; the error's `Display` is for the user.
pub fn load(path: &Path, options: &LoadOptions) -> Result<SweepSpec, SpecError> {
    let text = read_file(path)?;
    let (spec, inputs) = compose::compose(&text, path, options)?;
    let inputs = inputs.iter().filter(|input| !check::is_made(input, spec.build.as_ref()));
    let missing: Vec<Diagnostic> = inputs.filter_map(check::exists).collect();
    if missing.is_empty() { Ok(spec) } else { Err(compose::several(missing)) }
}

/// [`load`] without touching the file system: `text` is the contents of the file at `path`.
///
/// # Errors
/// Anything in `text` (or in `options`) is wrong, save for files that do not exist.
pub fn parse(text: &str, path: &Path, options: &LoadOptions) -> Result<SweepSpec, SpecError> {
    compose::compose(text, path, options).map(|(spec, _)| spec)
}

fn read_file(path: &Path) -> Result<String, SpecError> {
    let error =
        |reason: String, hint: Option<String>| SpecError::Read { path: path.to_owned(), reason, hint };
    let bytes = std::fs::read(path).map_err(|cause| {
        let hint = match cause.kind() {
            std::io::ErrorKind::NotFound => Some(what_is_there(path)),
            _ if path.is_dir() => Some("name the file itself, such as `sweeps/kl_grid.toml`".to_owned()),
            _ => None,
        };
        error(cause.to_string(), hint)
    })?;
    String::from_utf8(bytes).map_err(|cause| {
        let valid = cause.utf8_error().valid_up_to();
        let line = cause.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        error(format!("it is not UTF-8 text (line {line})"), Some("save it as UTF-8".to_owned()))
    })
}

/// Whether `path` is a `.toml` file that has what sweep files have; files that are no TOML may be meant.
fn is_sweep_file(path: &Path) -> bool {
    let toml = path.extension().is_some_and(|extension| extension == "toml");
    toml && std::fs::read_to_string(path).is_ok_and(|text| {
        let marks = ["data", "grid", "experiment"];
        let has = |table: toml::Table| marks.iter().any(|mark| table.contains_key(*mark));
        text.parse().map_or_else(|_| text.contains("[data]") || text.contains("[grid]"), has)
    })
}

/// What to do where `path` does not exist: the sweep file beside it or in `sweeps/` that has a name like it. What is no
/// sweep file, such as `Cargo.toml`, is never meant.
fn what_is_there(path: &Path) -> String {
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut there = 0;
    for place in [folder.to_owned(), folder.join("sweeps")] {
        let names = check::files_beside(&place.join("any"));
        let sweep_files: Vec<&str> =
            names.iter().filter(|name| is_sweep_file(&place.join(name))).map(String::as_str).collect();
        if let Some(meant) = keys::closest(&wanted, sweep_files.iter().copied()) {
            let place = place.strip_prefix(".").unwrap_or(&place);
            return format!("did you mean `{}`?", place.join(meant).display());
        }
        there += sweep_files.len();
    }
    match there {
        0 if !folder.is_dir() => format!("there is no directory `{}` either", folder.display()),
        0 => format!("`{}` has no sweep files; `sweep init` writes one to begin with", folder.display()),
        _ => "no sweep file there or in `sweeps/` has a name like it".to_owned(),
    }
}
