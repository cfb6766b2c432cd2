//! `sweep data build`: items, embeddings and a judge in, a data set out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::supply::{Supply, forecast, make};
use crate::cli::limits::{end_at, parse_time};
use crate::cli::output;
use crate::cli::run::{listen, signal_code};
use crate::cli::sweep_file::SpecArgs;
use crate::experiment::Cancel;
use crate::run::CACHE;
use crate::selector::making::{Allowed, Making, Recipe};
use crate::spec::{EvalParams, SweepSpec};

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
    if args.dry_run {
        output::result(&forecast(&Making::open(recipe)?, &cache)?.0);
        return Ok(Ended { code: 0, made: None });
    }
    let mut ended = |code, recipe: &Recipe| Ended { code, made: Some(checked(&mut sweep, recipe)) };
    let is_made = if args.force { recipe.is_made().unwrap_or(false) } else { recipe.is_made()? };
    if is_made {
        output::note(&format!("`{}` is there already", recipe.trajectories.display()));
        return Ok(ended(0, &recipe));
    }
    let making = Making::open(recipe)?;
    let cancel = Cancel::default();
    let signal = listen(&cancel)?;
    let deadline = args.budget.and_then(|budget| Instant::now().checked_add(budget));
    end_at(deadline, &cancel);
    let allowed = Allowed { missing: args.allow_missing, replacing: args.force };
    match make(&making, &cache, allowed, &cancel)? {
        Supply::There | Supply::Made => Ok(ended(0, making.recipe())),
        Supply::Unanswered if args.allow_missing => Ok(ended(1, making.recipe())),
        Supply::Unanswered => Ok(Ended { code: 1, made: None }),
        Supply::Stopped if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
            output::note("the time is up; the same command goes on");
            Ok(Ended { code: 5, made: None })
        }
        Supply::Stopped => {
            output::note("interrupted; the same command goes on");
            Ok(Ended { code: signal_code(&signal), made: None })
        }
    }
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
fn checked(sweep: &mut SweepSpec, recipe: &Recipe) -> SweepSpec {
    for point in &mut sweep.points {
        point.config.set("data.trajectories", serde_json::json!(recipe.trajectories));
    }
    sweep.eval = recipe.params.eval_file.as_ref().map(|file| EvalParams {
        logged: file.clone(),
        shots: recipe.params.eval_shots.clone(),
        ..EvalParams::default()
    });
    sweep.clone()
}
