//! `sweep clean`: what could go of a results directory, what that costs, and letting it go.

use std::path::PathBuf;

use serde_json::json;

use super::output;
use crate::spec::{KeepOptimizer, KeepWeights};
use crate::store::{CleanOptions, Cleaning, Dispensable, Group, clean, survey, usage};
use crate::text::{plural, size};

/// Say what could go of results directories, and what that costs; let it go with --yes
///
/// Nothing goes that a point, `current` or another sweep refers to, unless a flag names that very thing. Results (scores,
/// selections, metrics, tables) never go.
#[derive(Debug, clap::Args)]
pub struct CleanArgs {
    /// Results directories, such as results/kl_grid
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Which weights stay: all, points, or "best N"; as the sweep file's [keep] says when absent
    #[arg(long, value_name = "WHICH", value_parser = kept_weights)]
    weights: Option<KeepWeights>,
    /// Which optimizer states stay: all (that a longer run could go on from) or unfinished
    #[arg(long, value_name = "WHICH", value_parser = kept_states)]
    optimizer: Option<KeepOptimizer>,
    /// Let go stages and points that the sweep file no longer asks for
    #[arg(long)]
    unused: bool,
    /// Let go what was damaged or replaced and set aside
    #[arg(long)]
    set_aside: bool,
    /// Do it; without, nothing is removed
    #[arg(long)]
    yes: bool,
    /// One JSON object per directory and line
    #[arg(long, env = "SWEEP_JSON")]
    json: bool,
}

fn kept_weights(text: &str) -> Result<KeepWeights, String> {
    KeepWeights::try_from(text.to_owned())
}

fn kept_states(text: &str) -> Result<KeepOptimizer, String> {
    KeepOptimizer::from_name(text).ok_or_else(|| "it is `all` or `unfinished`".to_owned())
}

/// Shows what could go, and lets it go.
///
/// # Errors
/// A directory that holds no results or that a run holds; what cannot be removed.
pub fn run(args: &CleanArgs) -> anyhow::Result<u8> {
    let options = CleanOptions {
        weights: args.weights,
        optimizer: args.optimizer,
        unused: args.unused,
        set_aside: args.set_aside,
    };
    for dir in &args.dirs {
        let before = usage(dir);
        let cleaning = if args.yes { clean(dir, options)? } else { survey(dir, options)? };
        let text = match args.json {
            true => {
                let after = if args.yes { usage(dir) } else { before };
                let object = json!({
                    "dir": dir, "bytes": before.total(), "goes": cleaning.groups, "removed": args.yes,
                    "bytes_after": after.total(), "unfinished": cleaning.unfinished,
                });
                format!("{object}\n")
            }
            false => {
                format!("{}: {}\n{}", dir.display(), size(before.total()), text(&cleaning, args.yes))
            }
        };
        output::result(&text);
    }
    Ok(0)
}

fn text(cleaning: &Cleaning, done: bool) -> String {
    let mut text = String::new();
    for group in &cleaning.groups {
        let state = match (group.goes, done) {
            (true, true) => "gone ",
            (true, false) => "goes ",
            (false, _) => "stays",
        };
        let flag = if group.goes { String::new() } else { format!("; with {}", flag(group.what)) };
        text += &format!("  {state} {:>7}  {}{flag}\n", size(group.bytes), what(group));
        text += &format!("                 costs {}\n", cost(group.what));
    }
    if cleaning.unfinished {
        text +=
            "  some points have no results yet: what finished stages no longer need is known when all have\n";
    }
    let freed = size(cleaning.freed());
    text + &match (cleaning.freed(), done) {
        (0, _) => "nothing goes\n".to_owned(),
        (_, true) => format!("{freed} freed\n"),
        (_, false) => format!("nothing was removed; the same command with --yes frees {freed}\n"),
    }
}

fn what(group: &Group) -> String {
    let count = group.count;
    match group.what {
        Dispensable::SpentStates => format!("{} that no run goes on from", plural(count, "optimizer state")),
        Dispensable::SharedParameters => {
            format!(
                "frozen parameters of {}, which their stage's start holds too",
                plural(count, "checkpoint")
            )
        }
        Dispensable::PassedEpochs => format!("weights of {} that no point refers to", plural(count, "epoch")),
        Dispensable::FinishedStates => format!("{} of finished stages", plural(count, "optimizer state")),
        Dispensable::BeatenPoints => {
            format!("weights of {} that are not among the best", plural(count, "point"))
        }
        Dispensable::Unused => {
            format!(
                "{} that the sweep file no longer asks for",
                plural(count, "stage or point").replace("stage or points", "stages and points")
            )
        }
        Dispensable::SetAside => format!("{} that were damaged or replaced", plural(count, "thing")),
    }
}

/// What can no longer be done without training.
fn cost(what: Dispensable) -> &'static str {
    match what {
        Dispensable::SpentStates | Dispensable::SharedParameters => "nothing",
        Dispensable::PassedEpochs => {
            "training from the beginning, should a new point end at one of these epochs"
        }
        Dispensable::FinishedStates => "training from the beginning, should more epochs be asked for",
        Dispensable::BeatenPoints => {
            "`use`, `ckpt`, `verify` and exports of these points; their results stay"
        }
        Dispensable::Unused => "training, should the sweep file ask for them again",
        Dispensable::SetAside => "a look at what was wrong with it",
    }
}

fn flag(what: Dispensable) -> &'static str {
    match what {
        Dispensable::FinishedStates => "--optimizer unfinished",
        Dispensable::BeatenPoints => "--weights \"best N\"",
        Dispensable::PassedEpochs | Dispensable::SpentStates | Dispensable::SharedParameters => {
            "--weights points"
        }
        Dispensable::Unused => "--unused",
        Dispensable::SetAside => "--set-aside",
    }
}
