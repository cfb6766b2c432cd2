//! `sweep data check`: what is in a data set, what the filters leave of it, and whether its rewards teach anything.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::output;
use crate::checkpoint::CheckpointError;
use crate::data::{self, DataError, Dataset, Dropped, Facts, Inspection, MethodShare};
use crate::spec::{DataParams, RewardMode, RewardParams};
use crate::store::SignalHealth;

/// Looks at data before anything is trained on them.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DataCommand {
    /// Checks a data set: counts, what is dropped and why, sizes, health of the reward signal
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Trajectory JSON
    file: PathBuf,
    /// Embedding matrix (.safetensors or .pt); without it, ids are not compared with a matrix
    #[arg(long, value_name = "PATH")]
    embeddings: Option<PathBuf>,
    /// Keep trajectories whose `vqa_eval_mode` is "fallback"
    #[arg(long)]
    keep_fallback: bool,
    /// Keep only queries with at least one correct trajectory
    #[arg(long)]
    require_positive: bool,
    /// Share of the queries, in numeric order, that are for training
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    train_fraction: f64,
    /// Reward formula: hard_plus_soft, hard01_plus_gtprob, legacy, ...
    #[arg(long, value_name = "MODE", value_parser = reward_mode, default_value = "hard_plus_soft")]
    reward_mode: RewardMode,
    /// Weight of the quality (`beam_score`) in mode legacy
    #[arg(long, default_value_t = 0.0)]
    alpha: f64,
    /// Weight of the correctness in mode legacy
    #[arg(long, default_value_t = 0.0)]
    beta: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads a mode by its name in sweep files; the message of a mistake lists all names.
fn reward_mode(text: &str) -> Result<RewardMode, serde::de::value::Error> {
    RewardMode::deserialize(serde::de::value::StrDeserializer::new(text))
}

/// Runs `sweep data ...`. The exit code is 1 if the data are unusable.
///
/// # Errors
/// A file that cannot be read.
pub fn run(args: &DataArgs) -> anyhow::Result<u8> {
    let DataCommand::Check(args) = &args.command;
    let data = DataParams {
        trajectories: args.file.clone(),
        embeddings: args.embeddings.clone().unwrap_or_default(),
        train_fraction: args.train_fraction,
        keep_fallback: args.keep_fallback,
        require_positive: args.require_positive,
    };
    let reward = RewardParams {
        mode: args.reward_mode,
        alpha: args.alpha,
        beta: args.beta,
        ..RewardParams::default()
    };
    let inspected = match args.embeddings {
        Some(_) => data::inspect(&data),
        None => data::inspect_trajectories(&data),
    };
    show(&data, inspected, &[reward], args.json)
}

/// Prints the outcome of the check for one data set under one or several reward settings.
fn show(
    data: &DataParams,
    inspected: Result<Inspection, DataError>,
    rewards: &[RewardParams],
    json: bool,
) -> anyhow::Result<u8> {
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
    let report = Report::new(data, &inspection, rewards);
    if json {
        output::result(&(serde_json::to_string_pretty(&report).context("cannot write JSON")? + "\n"));
    } else {
        output::result(&report.text());
    }
    for warning in &report.warnings {
        output::note(&format!("warning: {warning}"));
    }
    for error in &report.errors {
        output::note(&format!("error: {error}"));
    }
    Ok(u8::from(!report.errors.is_empty()))
}

/// What is printed, as a value.
#[derive(Debug, Serialize)]
struct Report {
    trajectories: PathBuf,
    /// `null` where none was given.
    embeddings: Option<PathBuf>,
    /// Queries by age of the format: `newest`, `older`, `oldest`.
    ages: BTreeMap<data::Age, usize>,
    queries: Split,
    /// After the filters.
    kept_queries: Split,
    read_trajectories: usize,
    kept_trajectories: usize,
    dropped: Dropped,
    /// K, smallest and largest.
    candidates: [usize; 2],
    /// S
    demonstrations: usize,
    /// Rows and columns of the matrix.
    matrix: Option<[usize; 2]>,
    /// Kept trajectories with known correctness, all and by `gen_method`.
    right: MethodShare,
    methods: BTreeMap<String, MethodShare>,
    rewards: Vec<RewardReport>,
    /// Identity of the data set.
    digest: String,
    warnings: Vec<String>,
    errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Split {
    train: usize,
    validation: usize,
}

#[derive(Debug, Serialize)]
struct RewardReport {
    params: RewardParams,
    /// `null` where a score that the mode needs is missing.
    health: Option<SignalHealth>,
}

impl Report {
    fn new(data: &DataParams, inspection: &Inspection, rewards: &[RewardParams]) -> Self {
        let Inspection { dataset, facts } = inspection;
        let has_matrix = dataset.embeddings.rows > 0;
        let pools = || dataset.groups().map(|group| group.pool.len());
        let mut report = Report {
            trajectories: data.trajectories.clone(),
            embeddings: has_matrix.then(|| data.embeddings.clone()),
            ages: facts.ages.clone(),
            queries: Split { train: facts.train_queries, validation: facts.queries - facts.train_queries },
            kept_queries: Split { train: dataset.train.len(), validation: dataset.validation.len() },
            read_trajectories: facts.trajectories,
            kept_trajectories: dataset.groups().map(|group| group.trajectories.len()).sum(),
            dropped: dataset.dropped.clone(),
            candidates: [pools().min().unwrap_or(0), pools().max().unwrap_or(0)],
            demonstrations: dataset.steps(),
            matrix: has_matrix.then_some([dataset.embeddings.rows, dataset.embeddings.dim]),
            right: right(dataset),
            methods: facts.methods.clone(),
            rewards: Vec::new(),
            digest: dataset.digest.clone(),
            warnings: general_warnings(dataset, facts),
            errors: Vec::new(),
        };
        for params in rewards {
            report.add_reward(dataset, params);
        }
        report
    }

    fn add_reward(&mut self, dataset: &Dataset, params: &RewardParams) {
        let health = match data::check_rewards(dataset, params) {
            Ok(()) => Some(data::signal_health(dataset, params)),
            Err(error) => {
                self.errors.push(error.to_string());
                None
            }
        };
        if let Some(health) = &health
            && 2 * health.flat_groups > health.groups
        {
            self.warnings.push(flat_warning(dataset, params, health));
        }
        self.rewards.push(RewardReport { params: params.clone(), health });
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.trajectories.display());
        let mut line = |label: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {label:<14} {value}");
        };
        let ages: Vec<String> = self.ages.iter().map(|(age, count)| age_text(*age, *count)).collect();
        line("format", ages.join("; "));
        let Split { train, validation } = self.queries;
        line("queries", format!("{}: {train} for training, {validation} for validation", train + validation));
        line("trajectories", format!("{} read, {} kept", self.read_trajectories, self.kept_trajectories));
        let reasons = self.dropped.reasons();
        if reasons.is_empty() {
            line("dropped", "nothing".into());
        }
        for (position, (reason, count)) in reasons.iter().enumerate() {
            line(if position == 0 { "dropped" } else { "" }, format!("{count} {reason}"));
        }
        if !reasons.is_empty() {
            let Split { train, validation } = self.kept_queries;
            line("left", format!("{train} queries for training, {validation} for validation"));
        }
        if self.dropped.non_integer_keys > 0 {
            line("other keys", format!("{} (not an integer, ignored)", self.dropped.non_integer_keys));
        }
        line("sizes", self.sizes());
        if self.right.judged > 0 {
            line("right answers", share(&self.right));
            for (method, one) in &self.methods {
                line(&format!("  {method}"), share(one));
            }
        }
        line("digest", self.digest.chars().take(16).collect());
        for reward in &self.rewards {
            text.push_str(&reward.text());
        }
        text
    }

    fn sizes(&self) -> String {
        let [fewest, most] = self.candidates;
        let candidates = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
        let matrix = match self.matrix {
            Some([rows, dim]) => format!(", N = {rows} embeddings of d = {dim}"),
            None => "; ids not compared with a matrix (--embeddings PATH)".to_string(),
        };
        format!("K = {candidates} candidates, S = {} demonstrations{matrix}", self.demonstrations)
    }
}

impl RewardReport {
    fn text(&self) -> String {
        let mode = data::reward_mode_name(self.params.mode);
        let Some(health) = &self.health else {
            return format!("reward {mode}: cannot be computed\n");
        };
        let percent = 100.0 * health.flat_groups as f64 / health.groups.max(1) as f64;
        let mut text = format!("reward {mode} in the {} training groups\n", health.groups);
        let flat = format!(
            "{} groups ({percent:.1}%): all rewards equal, nothing to tell apart",
            health.flat_groups
        );
        let _ = writeln!(text, "  {:<14} {flat}", "no signal");
        let _ = writeln!(text, "  {:<14} {:.3} (mean of largest - smallest)", "range", health.mean_range);
        let _ = writeln!(text, "  distinct rewards in a group, and how many groups have as many:");
        let most = health.distinct.values().copied().max().unwrap_or(1).max(1);
        for (distinct, groups) in &health.distinct {
            let bar = "#".repeat((40 * groups).div_ceil(most));
            let _ = writeln!(text, "  {distinct:>4} {groups:>6} {bar}");
        }
        text
    }
}

fn age_text(age: data::Age, count: usize) -> String {
    let what = match age {
        data::Age::Newest => "newest (candidate_pool_ids, local ids)",
        data::Age::Older => "older (global ids, pool = ids used)",
        data::Age::Oldest => "oldest (id_list and score_list)",
    };
    format!("{what} in {count}")
}

fn share(one: &MethodShare) -> String {
    format!("{:.3} of {}", one.right as f64 / one.judged.max(1) as f64, one.judged)
}

fn right(dataset: &Dataset) -> MethodShare {
    let mut share = MethodShare::default();
    for correct in dataset.groups().flat_map(|group| &group.trajectories).filter_map(|one| one.correct) {
        share.judged += 1;
        share.right += usize::from(correct == 1.0);
    }
    share
}

fn general_warnings(dataset: &Dataset, facts: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    if dataset.validation.is_empty() {
        warnings.push("no query is left for validation: there will be no val_loss".to_string());
    }
    if facts.own_candidates > 0 {
        let count = facts.own_candidates;
        warnings.push(format!("{count} queries are among their own candidates: the answer may leak"));
    }
    warnings
}

fn flat_warning(dataset: &Dataset, params: &RewardParams, health: &SignalHealth) -> String {
    let graded = dataset.train.iter().flat_map(|group| &group.trajectories).all(|one| one.gt_prob.is_some());
    let hint = match params.mode {
        RewardMode::Legacy if params.alpha == 0.0 && params.beta == 0.0 => {
            "legacy rewards are 0 unless alpha or beta is given"
        }
        RewardMode::Hard01PlusGtprob
        | RewardMode::Hard01PlusGtprobSeparated
        | RewardMode::HardPlusGtprobPlusRel
        | RewardMode::Legacy => "require_positive leaves out the queries without a right answer",
        _ if graded => {
            "a reward with `vqa_gt_prob` is graded (mode hard01_plus_gtprob), or leave flat queries out (require_positive)"
        }
        _ => "require_positive leaves out the queries without a right answer",
    };
    format!(
        "{} of {} training groups carry no signal under `{}`\nhint: {hint}",
        health.flat_groups,
        health.groups,
        data::reward_mode_name(params.mode)
    )
}
