//! `sweep data build`: items, embeddings and a judge in, a data set out.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::limits::{end_at, parse_time};
use super::output;
use super::progress::Progress;
use super::run::{listen, signal_code};
use super::sweep_file::SpecArgs;
use crate::judge::Counts;
use crate::learn::Cancel;
use crate::making::{Built, Making, Recipe};
use crate::run::CACHE;
use crate::spec::{EvalParams, SweepSpec};
use crate::text::{plural, thousands};

/// Make a data set: pools, sequences, and a judge's scores of them
///
/// [data.build] says what is made of [eval.items] and `data.embeddings`; [eval.endpoint] or [eval.command] is asked, each
/// question once. `data.trajectories` is written when every answer is there. The same command after an interruption goes
/// on, and the same inputs, settings and answers give the same bytes.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Sweep file with a table [data.build]
    file: PathBuf,
    /// Instead of `data.trajectories`
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also score the evaluation queries, for `eval.logged`; instead of `data.build.eval_file`
    #[arg(long, value_name = "FILE")]
    also_eval: Option<PathBuf>,
    /// Instead of `data.build.eval_shots`, such as 1,2,3,4
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    eval_shots: Vec<usize>,
    /// At most N training queries and N evaluation queries, drawn by the seed: a trial
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Keep only queries with both right and wrong sequences
    #[arg(long)]
    require_mixed: bool,
    /// Of a query with both keep as many wrong sequences as right ones
    #[arg(long)]
    balance: bool,
    /// Say how many questions there are, and ask none
    #[arg(long)]
    dry_run: bool,
    /// Stop in time: 90s, 30m, 8h, 1h30m
    #[arg(long, value_name = "TIME", env = "SWEEP_BUDGET", value_parser = parse_time)]
    budget: Option<Duration>,
    /// Write also where answers are missing; their sequences are marked `eval_failed`
    #[arg(long)]
    allow_missing: bool,
    /// Replace files that were made otherwise
    #[arg(long)]
    force: bool,
    /// Where answers of the judge are kept [default: results/judge-cache]
    #[arg(long, value_name = "DIR", env = "SWEEP_CACHE")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    sweep: SpecArgs,
}

/// How a build ended: its exit code, and the sweep with the files that are there to be checked, if they are.
pub struct Ended {
    pub code: u8,
    pub made: Option<SweepSpec>,
}

/// Runs `sweep data build`, all but the report of what it made.
///
/// # Errors
/// Inputs that cannot be used, files that are there and were made otherwise.
pub fn run(args: &BuildArgs) -> anyhow::Result<Ended> {
    let mut sweep = args.sweep.load(&args.file)?;
    let recipe = recipe(args, &sweep)?;
    let cache = args.cache.clone().unwrap_or_else(|| Path::new("results").join(CACHE));
    let making = Making::open(recipe)?;
    let judge = making.judge(&cache)?;
    if args.dry_run {
        output::result(&forecast(&making, making.gathering(&judge).counts(), &judge.id().to_string()));
        return Ok(Ended { code: 0, made: None });
    }
    let is_made = if args.force { making.is_made().unwrap_or(false) } else { making.is_made()? };
    if is_made {
        output::note(&format!("`{}` is there already", making.recipe().trajectories.display()));
        return Ok(Ended { code: 0, made: Some(checked(&mut sweep, &making)) });
    }
    let cancel = Cancel::default();
    let signal = listen(&cancel)?;
    let deadline = args.budget.and_then(|budget| Instant::now().checked_add(budget));
    end_at(deadline, &cancel);
    let mut progress = Progress::new(&cancel);
    let [train, eval, support] = making.sizes().map(thousands);
    output::note(&format!("{train} training queries, {eval} evaluation queries, {support} demonstrations"));
    let ways = (args.allow_missing, args.force);
    let built = making.build(&judge, ways, &|| cancel.is_raised(), &mut |event| progress.show(event))?;
    if built.counts.left > 0 {
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        output::note(if is_late {
            "the time is up; the same command goes on"
        } else {
            "interrupted; the same command goes on"
        });
        return Ok(Ended { code: if is_late { 5 } else { signal_code(&signal) }, made: None });
    }
    for fault in &built.counts.faults {
        output::note(&format!("warning: the judge: {fault}"));
    }
    if !built.written {
        output::note(&format!(
            "error: {} without an answer, so nothing was written\nhint: the same command asks them again; `--allow-missing` does without them",
            plural(built.counts.failed, "question")
        ));
        return Ok(Ended { code: 1, made: None });
    }
    output::note(&summary(&making, &built));
    let code = u8::from(built.counts.failed > 0);
    Ok(Ended { code, made: Some(checked(&mut sweep, &making)) })
}

fn recipe(args: &BuildArgs, sweep: &SweepSpec) -> anyhow::Result<Recipe> {
    let mut recipe = Recipe::of(sweep).with_context(|| {
        format!(
            "`{}` has no table [data.build]\nhint: add one; without keys it takes 8 sequences of 2 a query from pools of 64",
            args.file.display()
        )
    })?;
    recipe.limit = args.limit.map(|limit| limit as usize);
    let params = &mut recipe.params;
    params.require_mixed |= args.require_mixed;
    params.balance |= args.balance;
    if let Some(file) = &args.also_eval {
        params.eval_file = Some(file.clone());
    }
    if !args.eval_shots.is_empty() {
        anyhow::ensure!(!args.eval_shots.contains(&0), "`--eval-shots`: 1 or more each");
        params.eval_shots.clone_from(&args.eval_shots);
        params.eval_shots.sort_unstable();
        params.eval_shots.dedup();
    }
    if let Some(output) = &args.output {
        recipe.trajectories.clone_from(output);
    }
    Ok(recipe)
}

/// The sweep as `data check` is to see it: with what was made.
fn checked(sweep: &mut SweepSpec, making: &Making) -> SweepSpec {
    let recipe = making.recipe();
    for point in &mut sweep.points {
        point.config.data.trajectories.clone_from(&recipe.trajectories);
    }
    sweep.eval = recipe.params.eval_file.as_ref().map(|file| EvalParams {
        logged: file.clone(),
        shots: recipe.params.eval_shots.clone(),
        ..EvalParams::default()
    });
    sweep.clone()
}

fn forecast(making: &Making, counts: &Counts, judge: &str) -> String {
    let [train, eval, support] = making.sizes().map(thousands);
    let [naive, distinct, cached, left] =
        [counts.naive, counts.distinct, counts.cached, counts.left].map(thousands);
    let mut text = format!(
        "{train} training queries, {eval} evaluation queries, {support} demonstrations\n{naive} questions, {distinct} of them distinct, {cached} answered before, {left} to ask (judge {judge})\n"
    );
    for fault in &counts.faults {
        let _ = writeln!(text, "{fault}");
    }
    text
}

fn summary(making: &Making, built: &Built) -> String {
    let recipe = making.recipe();
    let mut text = format!(
        "{}: {}, {} (judge {}: {} distinct questions, {} answered before, {} asked now)",
        recipe.trajectories.display(),
        match built.queries {
            1 => "1 query".to_owned(),
            queries => format!("{} queries", thousands(queries)),
        },
        match built.trajectories {
            1 => "1 trajectory".to_owned(),
            trajectories => format!("{} trajectories", thousands(trajectories)),
        },
        built.judge,
        thousands(built.counts.distinct),
        thousands(built.counts.cached),
        thousands(built.counts.asked),
    );
    let left = &built.left;
    let reasons = [
        (left.repeated, "sequences that would have been there twice"),
        (left.unanswered, "sequences without an answer"),
        (left.unanswered_queries, "queries without an answer"),
        (left.all_wrong, "queries whose sequences are all wrong"),
        (left.all_right, "queries whose sequences are all right"),
        (left.surplus, "sequences for balance"),
    ];
    let reasons: Vec<String> = reasons
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", thousands(*count)))
        .collect();
    if !reasons.is_empty() {
        let _ = write!(text, "\nleft out: {}", reasons.join(", "));
    }
    if let Some(file) = &recipe.params.eval_file {
        let _ = write!(text, "\n{}: {} evaluation queries", file.display(), making.sizes()[1]);
    }
    text
}
