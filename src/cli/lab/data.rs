//! `sweep data`: data sets are made and checked. `check` says what is in one, what the filters leave of it, and whether
//! its rewards teach anything.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::data_build::{self, BuildArgs};
use super::data_embed::{self, EmbedArgs};
use super::data_report::Report;
use crate::checkpoint::CheckpointError;
use crate::cli::output;
use crate::cli::sweep_file::SpecArgs;
use crate::selector::data::{self, DataError};
use crate::selector::evaluate::{EvaluateError, Live, Logged, leaks};
use crate::selector::{DataParams, Params, RewardMode, RewardParams};
use crate::spec::{EvalParams, Point, SweepSpec};

/// Make data, and check them before anything is trained on them
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DataCommand {
    Build(BuildArgs),
    Embed(EmbedArgs),
    /// Check a data set: counts, what is dropped and why, sizes, health of the reward signal
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Sweep file (.toml), or trajectory JSON
    file: PathBuf,
    /// Embedding matrix (.safetensors or .pt) of a trajectory JSON; without it, ids are not compared with a matrix
    #[arg(long, value_name = "PATH")]
    embeddings: Option<PathBuf>,
    /// Keep trajectories whose `vqa_eval_mode` is "fallback"
    #[arg(long)]
    keep_fallback: bool,
    /// Keep only queries with at least one correct trajectory
    #[arg(long)]
    require_positive: bool,
    /// Share of the queries, in numeric order, that are for training (default 0.8)
    #[arg(long, value_name = "SHARE")]
    train_fraction: Option<f64>,
    /// Reward formula: hard_plus_soft (default), hard01_plus_gtprob, legacy, ...
    #[arg(long, value_name = "MODE", value_parser = reward_mode)]
    reward_mode: Option<RewardMode>,
    /// Weight of the quality (`beam_score`) in mode legacy (default 0)
    #[arg(long)]
    alpha: Option<f64>,
    /// Weight of the correctness in mode legacy (default 0)
    #[arg(long)]
    beta: Option<f64>,
    #[command(flatten)]
    sweep: SpecArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads a mode by its name in sweep files; the message of a mistake lists all names.
fn reward_mode(text: &str) -> Result<RewardMode, serde::de::value::Error> {
    RewardMode::deserialize(serde::de::value::StrDeserializer::new(text))
}

/// What is to be checked, wherever it was written.
struct Request {
    data: DataParams,
    /// Whether `data.embeddings` is given.
    with_embeddings: bool,
    rewards: Vec<RewardParams>,
    eval: Option<EvalParams>,
}

/// Runs `sweep data ...`. The exit code is 1 if the data are unusable.
///
/// # Errors
/// A file that cannot be read, a sweep file that is wrong, options that do not belong together.
pub fn run(args: &DataArgs) -> anyhow::Result<u8> {
    let args = match &args.command {
        DataCommand::Check(args) => args,
        DataCommand::Embed(args) => return data_embed::run(args),
        DataCommand::Build(args) => {
            let ended = data_build::run(args)?;
            let made = ended.made.as_ref().map(request_of).transpose()?;
            let checked = made.map(|made| check(&made, false)).transpose()?;
            return Ok(ended.code.max(checked.unwrap_or(0)));
        }
    };
    let request = if args.file.extension() == Some(OsStr::new("toml")) {
        request_of_sweep(args)?
    } else {
        request_of_json(args)?
    };
    check(&request, args.json)
}

fn request_of_sweep(args: &CheckArgs) -> anyhow::Result<Request> {
    let given = [
        ("--embeddings", "data.embeddings", args.embeddings.is_some()),
        ("--keep-fallback", "data.keep_fallback", args.keep_fallback),
        ("--require-positive", "data.require_positive", args.require_positive),
        ("--train-fraction", "data.train_fraction", args.train_fraction.is_some()),
        ("--reward-mode", "reward.mode", args.reward_mode.is_some()),
        ("--alpha", "reward.alpha", args.alpha.is_some()),
        ("--beta", "reward.beta", args.beta.is_some()),
    ];
    if let Some((option, key, _)) = given.iter().find(|(_, _, given)| *given) {
        bail!(
            "`{option}` is for a trajectory JSON; a sweep file says it itself\nhint: --set {key}=... overrides the file"
        );
    }
    request_of(&args.sweep.load(&args.file)?)
}

fn params(point: &Point) -> anyhow::Result<Params> {
    Params::of(&point.config).map_err(anyhow::Error::msg)
}

fn request_of(sweep: &SweepSpec) -> anyhow::Result<Request> {
    let first = sweep.points.first().context("the sweep has no point")?;
    let mut rewards: Vec<RewardParams> = Vec::new();
    for point in &sweep.points {
        let reward = params(point)?.reward;
        if !rewards.contains(&reward) {
            rewards.push(reward);
        }
    }
    Ok(Request { data: params(first)?.data, with_embeddings: true, rewards, eval: sweep.eval.clone() })
}

fn request_of_json(args: &CheckArgs) -> anyhow::Result<Request> {
    if let Some(given) = args.sweep.given().next() {
        bail!("`{given}` is meant for a sweep file, but `{}` is not one (.toml)", args.file.display());
    }
    let defaults = RewardParams::default();
    let data = DataParams {
        trajectories: args.file.clone(),
        embeddings: args.embeddings.clone().unwrap_or_default(),
        train_fraction: args.train_fraction.unwrap_or(DataParams::default().train_fraction),
        keep_fallback: args.keep_fallback,
        require_positive: args.require_positive,
    };
    let reward = RewardParams {
        mode: args.reward_mode.unwrap_or(defaults.mode),
        alpha: args.alpha.unwrap_or(defaults.alpha),
        beta: args.beta.unwrap_or(defaults.beta),
        ..defaults
    };
    Ok(Request { data, with_embeddings: args.embeddings.is_some(), rewards: vec![reward], eval: None })
}

fn check(request: &Request, json: bool) -> anyhow::Result<u8> {
    let inspected = match request.with_embeddings {
        true => data::inspect(&request.data),
        false => data::inspect_trajectories(&request.data),
    };
    let inspection = match inspected {
        Ok(inspection) => inspection,
        Err(
            error @ (DataError::Io(_)
            | DataError::Embeddings(CheckpointError::Io(_))
            | DataError::TrainFraction(_)),
        ) => return Err(error.into()),
        Err(error) => {
            output::note(&format!("error: {error}"));
            return Ok(1);
        }
    };
    let mut report = Report::new(&request.data, &inspection, &request.rewards);
    let mut evaluated = Vec::new();
    if let Some(params) = request.eval.as_ref().filter(|params| params.is_live()) {
        match Live::load(params, &inspection.dataset) {
            Ok(live) => evaluated = live.queries().to_vec(),
            Err(error @ EvaluateError::Io(_)) => return Err(error.into()),
            Err(error) => report.errors.push(error.to_string()),
        }
    } else if let Some(params) = &request.eval {
        match Logged::load(params, &inspection.dataset.embeddings) {
            Ok(logged) => {
                report.add_evaluation(params, &logged, &inspection.dataset.embeddings);
                evaluated = logged.queries().to_vec();
            }
            Err(error @ EvaluateError::Io(_)) => return Err(error.into()),
            Err(error) => report.errors.push(error.to_string()),
        }
    }
    report.add_leaks(leaks(&inspection.dataset, &evaluated));
    let text = if json { serde_json::to_string_pretty(&report)? + "\n" } else { report.text() };
    output::result(&text);
    for warning in &report.warnings {
        output::note(&format!("warning: {warning}"));
    }
    for error in &report.errors {
        output::note(&format!("error: {error}"));
    }
    Ok(u8::from(!report.errors.is_empty()))
}
