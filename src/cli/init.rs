//! `sweep init`: a sweep file to begin with.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::deliver::deliver;
use super::output;
use crate::data;
use crate::spec::DataParams;

/// Write a commented sweep file to begin with
///
/// With --data and --embeddings it runs as it is, and says what `sweep data check` finds in them. Asks nothing.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The file to write; `-` prints it
    #[arg(value_name = "FILE", default_value = "sweep.toml")]
    file: PathBuf,
    /// Trajectory JSON
    #[arg(long, value_name = "FILE", requires = "embeddings")]
    data: Option<PathBuf>,
    /// Embedding matrix
    #[arg(long, value_name = "FILE", requires = "data")]
    embeddings: Option<PathBuf>,
    /// Overwrite the file if it is there
    #[arg(long)]
    force: bool,
}

const REST: &str = r#"
# What all points have in common. Every key has a default (`sweep schema` lists them).
[train]
rce_epochs = 1      # phase 1: reward-weighted cross-entropy
grpo_lr = 5e-6      # learning rate of phase 2 (GRPO)

# One point per combination; the last axis varies fastest. The epochs are stops of one run.
[grid]
kl_beta = [0.1, 0.15]
grpo_epochs = [1, 2]
freeze = [["backbone"], []]     # frozen, unfrozen

# The point that the others are compared with.
[baseline]
kl_beta = 0.15
grpo_epochs = 1
freeze = ["backbone"]

# Without [eval] the points are compared by their validation loss. With logged sequences of a judge:
# [eval]
# logged = "eval_logged.jsonl"
# shots = [1, 2, 3, 4]
"#;

/// Runs `sweep init`.
///
/// # Errors
/// A file that is there already, data that cannot be read.
pub fn run(args: &InitArgs) -> anyhow::Result<u8> {
    let print = args.file == Path::new("-");
    if !print && args.file.exists() && !args.force {
        bail!(
            "`{}` is there already\nhint: name another file, or --force overwrites it",
            args.file.display()
        );
    }
    let text = text(args)?;
    if print {
        output::result(&text);
        return Ok(0);
    }
    deliver(&args.file, text.as_bytes())?;
    let next = match args.data {
        Some(_) => format!("hint: sweep plan {0}, then sweep run {0}", args.file.display()),
        None => "hint: set the two paths below [data], or give --data FILE --embeddings FILE".to_owned(),
    };
    output::note(&format!("wrote {}\n{next}", args.file.display()));
    Ok(0)
}

fn text(args: &InitArgs) -> anyhow::Result<String> {
    let (found, trajectories, embeddings) = match (&args.data, &args.embeddings) {
        (Some(trajectories), Some(embeddings)) => {
            (found(trajectories, embeddings)?, beside(args, trajectories)?, beside(args, embeddings)?)
        }
        _ => (String::new(), "data/rl_data.json".to_owned(), "data/embeddings.safetensors".to_owned()),
    };
    let quoted = |text: String| toml::Value::String(text).to_string();
    Ok(format!(
        "# A sweep: one point per combination of [grid].\n#\n#     sweep plan FILE    what would run\n#     sweep run FILE     trains, evaluates, writes results/NAME/\n\n# Paths are relative to this file.\n[data]\n{found}trajectories = {}\nembeddings = {}\n{REST}",
        quoted(trajectories),
        quoted(embeddings)
    ))
}

/// What `sweep data check` finds, as comments.
fn found(trajectories: &Path, embeddings: &Path) -> anyhow::Result<String> {
    let params = DataParams {
        trajectories: trajectories.to_owned(),
        embeddings: embeddings.to_owned(),
        ..DataParams::default()
    };
    let data::Inspection { dataset, facts } = data::inspect(&params)?;
    let pools = || dataset.groups().map(|group| group.pool.len());
    let (fewest, most) = (pools().min().unwrap_or(0), pools().max().unwrap_or(0));
    let candidates = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
    let ages: Vec<String> =
        facts.ages.iter().map(|(age, count)| format!("{age:?} in {count}").to_lowercase()).collect();
    Ok(format!(
        "# Found: K = {candidates} candidates, S = {} demonstrations, {} embeddings of d = {};\n# {} queries, age of the format: {}.\n",
        dataset.steps(),
        dataset.embeddings.rows,
        dataset.embeddings.dim,
        facts.queries,
        ages.join(", ")
    ))
}

/// `path` as the sweep file has to name it.
fn beside(args: &InitArgs, path: &Path) -> anyhow::Result<String> {
    let folder = args.file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let path = if folder.is_some() { std::path::absolute(path)? } else { path.to_owned() };
    Ok(path.display().to_string())
}
