//! `sweep ckpt diff`: how far checkpoints are apart.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::table::{columns, figure};
use crate::checkpoint::{self, Change, Checkpoint, Comparison, Distances, Weights};
use crate::cli::output;
use crate::text::thousands;

/// Compares checkpoints: two of them parameter by parameter, more of them pair by pair
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// Checkpoints; with --parent, those to compare with what they were trained from
    #[arg(value_name = "FILE", required_unless_present = "all")]
    files: Vec<PathBuf>,
    /// Every checkpoint below this directory as well
    #[arg(long, value_name = "DIR", conflicts_with = "parent")]
    all: Option<PathBuf>,
    /// Against the checkpoint that training went on from
    #[arg(long)]
    parent: bool,
    /// Where to look for parents beside the usual places
    #[arg(long = "in", value_name = "DIR", requires = "parent")]
    places: Vec<PathBuf>,
    /// Mean |difference| per weight up to which checkpoints count as nearly identical
    #[arg(long, value_name = "DISTANCE", default_value_t = checkpoint::NEAR)]
    near: f64,
    /// JSON with all digits
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DiffArgs) -> anyhow::Result<u8> {
    if args.parent {
        for file in &args.files {
            let after = checkpoint::read(file)?;
            let parent = find_parent(file, &after, &args.places)?;
            let before = checkpoint::read(&parent)?;
            two(&parent, &before, file, &after, args.json)?;
        }
        return Ok(0);
    }
    let mut files = args.files.clone();
    if let Some(directory) = &args.all {
        let found = checkpoint::find(std::slice::from_ref(directory))?;
        found.broken.iter().for_each(|error| output::note(&format!("warning: {error}")));
        files.extend(found.checkpoints.into_iter().map(|(path, _)| path));
        files.dedup();
    }
    match files.as_slice() {
        [] | [_] => {
            bail!("a comparison needs two checkpoints\nhint: name two files, or use --parent or --all DIR")
        }
        [before, after] if args.all.is_none() => {
            two(before, &checkpoint::read(before)?, after, &checkpoint::read(after)?, args.json)?;
        }
        _ => many(&files, args)?,
    }
    Ok(0)
}

/// Two checkpoints, parameter by parameter.
fn two(before: &Path, old: &Checkpoint, after: &Path, new: &Checkpoint, json: bool) -> anyhow::Result<()> {
    let comparison = checkpoint::compare(&old.weights, &new.weights)
        .with_context(|| format!("`{}` and `{}`", before.display(), after.display()))?;
    if json {
        let value = json!({ "before": before, "after": after, "comparison": comparison });
        output::result(&format!("{value:#}\n"));
    } else {
        let head = format!("before  {}\nafter   {}\n\n", before.display(), after.display());
        output::result(&format!("{head}{}\n{}\n", table(&comparison), sentence(&comparison)));
    }
    Ok(())
}

fn table(comparison: &Comparison) -> String {
    let row = |name: &str, change: &Change| {
        let mut cells = vec![name.to_string(), thousands(change.count)];
        cells.extend([change.mean_before, change.mean_after, change.mean_abs, change.max_abs].map(figure));
        cells.push(percent(change.relative));
        cells
    };
    let mut rows: Vec<Vec<String>> =
        comparison.parameters.iter().map(|(name, change)| row(name, change)).collect();
    rows.push(vec![String::new(); 7]);
    rows.extend(comparison.groups.iter().map(|(group, change)| row(group.name, change)));
    rows.extend(comparison.backbone.as_ref().map(|change| row("backbone", change)));
    rows.extend(comparison.head.as_ref().map(|change| row("head", change)));
    rows.push(row("all", &comparison.all));
    columns(
        &["parameter", "count", "mean before", "mean after", "mean |diff|", "max |diff|", "relative"],
        &rows,
    )
}

fn percent(relative: f64) -> String {
    if relative == 0.0 { "0".into() } else { format!("{}%", figure(100.0 * relative)) }
}

/// Which groups moved, in words.
fn sentence(comparison: &Comparison) -> String {
    let all = &comparison.all;
    if all.max_abs == 0.0 {
        return "the weights are identical".into();
    }
    let part = |name: &str, change: &Option<Change>| {
        change.as_ref().map(|change| match change.relative {
            0.0 => format!("{name} did not move"),
            relative => format!("{name} moved by {}", percent(relative)),
        })
    };
    let parts: Vec<String> = [part("the backbone", &comparison.backbone), part("the head", &comparison.head)]
        .into_iter()
        .flatten()
        .collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("all parameters moved by {}{parts}", percent(all.relative))
}

/// More than two checkpoints: the matrix of mean |difference|.
fn many(files: &[PathBuf], args: &DiffArgs) -> anyhow::Result<()> {
    let mut read: Vec<(PathBuf, Checkpoint)> = files
        .iter()
        .map(|file| Ok((file.clone(), checkpoint::read(file)?)))
        .collect::<anyhow::Result<_>>()?;
    if args.all.is_some() {
        leave_out_exports(&mut read);
    }
    let (files, weights): (Vec<PathBuf>, Vec<Weights>) =
        read.into_iter().map(|(file, checkpoint)| (file, checkpoint.weights)).unzip();
    let distances = checkpoint::distances(&weights, args.near).map_err(|(left, right, error)| {
        anyhow::Error::new(error).context(format!(
            "`{}` and `{}`",
            files[left].display(),
            files[right].display()
        ))
    })?;
    if args.json {
        let value = json!({ "files": files, "near": args.near, "distances": distances });
        output::result(&format!("{value:#}\n"));
    } else {
        output::result(&matrix(&files, &distances, args.near));
    }
    Ok(())
}

/// Of the same weights under one name in several formats, one is enough: they are no two runs that are alike.
fn leave_out_exports(read: &mut Vec<(PathBuf, Checkpoint)>) {
    let mut seen = HashSet::new();
    // From the back: `.safetensors` comes after its exports.
    for index in (0..read.len()).rev() {
        let (file, checkpoint) = &read[index];
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = name.split('.').next().unwrap_or_default().to_owned();
        if !seen.insert((file.parent().map(Path::to_owned), stem, checkpoint.facts.content.clone())) {
            read.remove(index);
        }
    }
}

fn matrix(files: &[PathBuf], distances: &Distances, near: f64) -> String {
    let mut text = String::new();
    let numbers: Vec<String> = (1..=files.len()).map(|number| format!("#{number}")).collect();
    for (number, file) in numbers.iter().zip(files) {
        let _ = writeln!(text, "{number:<5}{}", file.display());
    }
    text.push_str("\nmean |difference| per weight\n");
    let header: Vec<&str> = std::iter::once("").chain(numbers.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = distances
        .matrix
        .iter()
        .zip(&numbers)
        .map(|(row, number)| std::iter::once(number.clone()).chain(row.iter().copied().map(figure)).collect())
        .collect();
    text.push_str(&columns(&header, &rows));
    text.push('\n');
    for cluster in &distances.clusters {
        let members: Vec<&str> = cluster.iter().map(|index| numbers[*index].as_str()).collect();
        let widest =
            cluster.iter().flat_map(|left| cluster.iter().map(|right| distances.matrix[*left][*right]));
        let widest = widest.fold(0.0, f64::max);
        let how = if widest == 0.0 { "identical" } else { "nearly identical" };
        let _ = writeln!(text, "{how}: {} (at most {} apart)", members.join(" "), figure(widest));
    }
    if distances.clusters.is_empty() {
        let _ = writeln!(text, "no two of them are nearly identical (within {})", figure(near));
    }
    let ratio =
        distances.ratio.map_or_else(String::new, |ratio| format!(", {} times the median", figure(ratio)));
    let _ = writeln!(
        text,
        "largest distance {}{ratio} ({})",
        figure(distances.largest),
        figure(distances.median)
    );
    text
}

/// The file whose weights have the hash that `child` names as its parent: beside it, in the other stages, or in
/// `places`.
fn find_parent(file: &Path, child: &Checkpoint, places: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let Some(parent) = &child.facts.parent else {
        bail!(
            "`{}` does not say what it was trained from\nhint: compare it with a file: sweep ckpt diff BEFORE {0}",
            file.display()
        );
    };
    let directory = fs_err::canonicalize(file)?.parent().map(Path::to_path_buf).unwrap_or_default();
    let stages = directory.parent().filter(|above| above.ends_with("stages"));
    let mut roots = vec![directory.clone()];
    roots.extend(stages.map(Path::to_path_buf));
    roots.extend(places.iter().cloned());
    for (path, summary) in checkpoint::find(&roots)?.checkpoints {
        // Only our own headers state the hash; other files are read for it.
        let content = match summary.facts.content {
            Some(content) => Some(content),
            None => checkpoint::read(&path)?.facts.content,
        };
        if content.as_ref() == Some(parent) {
            return Ok(path);
        }
    }
    bail!(
        "the parent of `{}`, {}, is not below `{}`\nhint: say where to look with --in DIR",
        file.display(),
        checkpoint::short(parent),
        stages.unwrap_or(&directory).display()
    )
}
