//! `sweep init`: a sweep file to begin with.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::cli::deliver::deliver;
use crate::cli::output;
use crate::selector::DataParams;
use crate::selector::data;

/// Write a commented sweep file to begin with
///
/// It runs as it is where the data are there: those of --data and --embeddings, or what is found in this directory,
/// `data` and `sweeps/data`. On a terminal the two are asked for, otherwise nothing is.
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

const HEAD: &str = "\
# A sweep: one point per combination of [grid].
#
#     sweep plan FILE    what would run
#     sweep run FILE     trains, evaluates, writes results/NAME/

# Paths are relative to this file.
[data]
";

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

/// Where data are looked for.
const FOLDERS: [&str; 3] = [".", "data", "sweeps/data"];

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
    let given = args.data.clone().zip(args.embeddings.clone());
    let inputs = match given {
        Some(inputs) => Some(inputs),
        None if std::io::stdin().is_terminal() && !print => asked(found())?,
        None => found(),
    };
    let text = text(args, inputs.as_ref())?;
    if print {
        output::result(&text);
        return Ok(0);
    }
    deliver(&args.file, text.as_bytes())?;
    let file = args.file.display();
    output::note(&match &inputs {
        Some((data, _)) => {
            format!(
                "wrote {file} for the data in `{}`\nhint: sweep plan {file}, then sweep run {file}",
                data.display()
            )
        }
        None => format!(
            "wrote {file}\nhint: set the two paths below [data], or give --data FILE --embeddings FILE"
        ),
    });
    Ok(0)
}

/// Trajectories and an embedding matrix that lie side by side and can be read together.
fn found() -> Option<(PathBuf, PathBuf)> {
    FOLDERS.iter().find_map(|folder| {
        let files = walkdir::WalkDir::new(folder).max_depth(2).sort_by_file_name();
        let files: Vec<PathBuf> = files
            .into_iter()
            .filter_map(|entry| Some(entry.ok()?.into_path()))
            .filter(|path| path.is_file() && path.components().count() < 5)
            .collect();
        let ending = |path: &&PathBuf, ends: &[&str]| {
            path.extension().is_some_and(|end| ends.iter().any(|known| end == *known))
        };
        let matrices = files.iter().filter(|path| ending(path, &["safetensors", "npy", "npz"]));
        let pairs = matrices.flat_map(|matrix| {
            let beside = |path: &&PathBuf| ending(path, &["json"]) && path.parent() == matrix.parent();
            files.iter().filter(beside).map(move |json| (json, matrix))
        });
        let plain = |path: &Path| path.strip_prefix(".").unwrap_or(path).to_owned();
        pairs
            .take(MOST)
            .find(|(json, matrix)| data::inspect(&params(json, matrix)).is_ok())
            .map(|(json, matrix)| (plain(json), plain(matrix)))
    })
}

/// Pairs of files that are tried.
const MOST: usize = 20;

/// What the user answers; nothing means `found`, or the paths of an example.
fn asked(found: Option<(PathBuf, PathBuf)>) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
    let (json, matrix) = found.unzip();
    let one = |what: &str, default: &Option<PathBuf>| -> anyhow::Result<Option<PathBuf>> {
        let offer = match default {
            Some(path) => format!("Enter: `{}`", path.display()),
            None => "Enter: decide later".to_owned(),
        };
        output::note(&format!("{what}? ({offer})"));
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(if line.trim().is_empty() { default.clone() } else { Some(PathBuf::from(line.trim())) })
    };
    let Some(json) = one("Trajectory JSON", &json)? else { return Ok(None) };
    Ok(one("Embedding matrix", &matrix)?.map(|matrix| (json, matrix)))
}

fn text(args: &InitArgs, inputs: Option<&(PathBuf, PathBuf)>) -> anyhow::Result<String> {
    let quoted = |text: String| toml::Value::String(text).to_string();
    let (found, trajectories, embeddings) = match inputs {
        Some((trajectories, embeddings)) => {
            (facts(trajectories, embeddings)?, beside(args, trajectories)?, beside(args, embeddings)?)
        }
        None => (String::new(), "data/rl_data.json".to_owned(), "data/embeddings.safetensors".to_owned()),
    };
    let paths =
        format!("{found}trajectories = {}\nembeddings = {}\n", quoted(trajectories), quoted(embeddings));
    Ok(format!("{HEAD}{paths}{REST}"))
}

fn params(trajectories: &Path, embeddings: &Path) -> DataParams {
    DataParams {
        trajectories: trajectories.to_owned(),
        embeddings: embeddings.to_owned(),
        ..DataParams::default()
    }
}

/// What `sweep data check` finds, as comments.
fn facts(trajectories: &Path, embeddings: &Path) -> anyhow::Result<String> {
    for (flag, path) in [("--data", trajectories), ("--embeddings", embeddings)] {
        anyhow::ensure!(path.exists(), "there is no file `{}`\nhint: {flag} names it", path.display());
    }
    let data::Inspection { dataset, facts } = data::inspect(&params(trajectories, embeddings))?;
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
