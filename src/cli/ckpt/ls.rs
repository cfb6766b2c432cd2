//! `sweep ckpt ls`: one row per checkpoint below some directories, from headers alone.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::{Value, json};

use super::table::{columns, number};
use crate::checkpoint::{self, Facts, Phase, Summary, stated};
use crate::cli::output;
use crate::spec::{frozen_key, phase_order};

/// Lists every checkpoint below the directories
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// Directories or files
    #[arg(value_name = "DIR", default_value = ".")]
    roots: Vec<PathBuf>,
    /// Only those that say so, e.g. kl_beta=0.15, freeze=backbone, seed=0 (repeatable; numbers by value)
    #[arg(long = "where", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Only this phase: init, rce, grpo, or another experiment's
    #[arg(long)]
    phase: Option<String>,
    /// Order by a key: path, epoch, kl_beta, lr, val_loss, any metric or configuration key
    #[arg(long, value_name = "KEY")]
    sort: Option<String>,
    /// The other way round
    #[arg(long)]
    reverse: bool,
    /// A JSON list with everything the headers say
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV with whole hashes
    #[arg(long)]
    csv: bool,
}

fn heads() -> [&'static str; 9] {
    ["path", "phase", "epoch", "kl_beta", "lr", frozen_key(), "data", "parent", "val_loss"]
}

pub(super) fn run(args: &LsArgs) -> anyhow::Result<u8> {
    let found = checkpoint::find(&args.roots)?;
    for error in &found.broken {
        output::note(&format!("warning: {error}"));
    }
    let mut list = found.checkpoints;
    let phase = args.phase.as_deref().map(Phase::of);
    if let Some(phase) = &phase {
        known_phase(&list, phase)?;
    }
    for filter in &args.filters {
        let Some((key, value)) = filter.split_once('=') else {
            bail!("`--where {filter}` has no value\nhint: write it as KEY=VALUE, e.g. --where kl_beta=0.15");
        };
        let key = key.trim();
        known(&list, key)?;
        list.retain(|(_, summary)| {
            summary.facts.value(key).is_some_and(|stated| checkpoint::agrees(&stated, value))
        });
    }
    if let Some(phase) = phase {
        list.retain(|(_, summary)| summary.facts.phase.as_ref() == Some(&phase));
    }
    if let Some(key) = args.sort.as_deref().filter(|key| *key != "path") {
        known(&list, key)?;
        list.sort_by(|(_, left), (_, right)| compare(left.facts.value(key), right.facts.value(key)));
    }
    if args.reverse {
        list.reverse();
    }
    if args.json {
        let rows: Vec<Value> = list.iter().map(|(path, summary)| as_json(path, summary)).collect();
        output::result(&format!("{:#}\n", Value::Array(rows)));
    } else if args.csv {
        output::result(&as_csv(&list)?);
    } else {
        output::result(&as_text(&list));
        note_others(list.len(), found.others);
    }
    Ok(u8::from(!found.broken.is_empty()))
}

fn note_others(shown: usize, others: usize) {
    let others = if others > 0 { format!(", files with other tensors: {others}") } else { String::new() };
    output::note(&format!("checkpoints: {shown}{others}"));
}

/// A key that no checkpoint says anything about is a slip of the pen, unless it is one of the usual ones.
fn known(list: &[(PathBuf, Summary)], key: &str) -> anyhow::Result<()> {
    let lower = key.to_ascii_lowercase();
    if list.is_empty()
        || stated().contains(&lower.as_str())
        || list.iter().any(|(_, summary)| summary.facts.value(key).is_some())
    {
        return Ok(());
    }
    let near = stated().into_iter().find(|known| strsim::damerau_levenshtein(known, &lower) <= 2);
    match near {
        Some(near) => bail!("no checkpoint says anything about `{key}`\nhint: did you mean `{near}`?"),
        None => bail!(
            "no checkpoint says anything about `{key}`\nhint: keys are {}, any metric and any configuration key",
            stated().join(", ")
        ),
    }
}

/// A phase that no checkpoint is of and no experiment of this program has is a slip of the pen.
fn known_phase(list: &[(PathBuf, Summary)], phase: &Phase) -> anyhow::Result<()> {
    let phases: BTreeSet<String> =
        list.iter().filter_map(|(_, summary)| Some(format!("`{}`", summary.facts.phase.as_ref()?))).collect();
    if phases.is_empty() || phases.contains(&format!("`{phase}`")) {
        return Ok(());
    }
    let there = phases.into_iter().collect::<Vec<_>>().join(", ");
    match phase_order(&phase.to_string()) {
        None => bail!("no checkpoint is of phase `{phase}`\nhint: there are {there}"),
        Some(_) => output::note(&format!("no checkpoint is of phase `{phase}`: there are {there}")),
    }
    Ok(())
}

/// Numbers by value, texts by letter; what is not stated comes last.
fn compare(left: Option<Value>, right: Option<Value>) -> Ordering {
    match (left, right) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => match (left.as_f64(), right.as_f64()) {
            (Some(left), Some(right)) => left.total_cmp(&right),
            _ => checkpoint::plain(&left).cmp(&checkpoint::plain(&right)),
        },
    }
}

fn as_json(path: &Path, summary: &Summary) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("path".into(), json!(path));
    if let Ok(Value::Object(facts)) = serde_json::to_value(&summary.facts) {
        object.extend(facts);
    }
    object.insert("val_loss".into(), json!(summary.facts.metrics.get("val_loss")));
    Value::Object(object)
}

/// The cells under [`heads`]; `brief` shortens hashes.
fn cells(path: &Path, facts: &Facts, brief: bool) -> Vec<String> {
    let numeric = |value: Option<f64>| value.map(number).unwrap_or_default();
    let hash = |hash: &Option<String>| {
        let hash = hash.as_deref().unwrap_or_default();
        if brief { checkpoint::short(hash).to_string() } else { hash.to_string() }
    };
    vec![
        path.display().to_string(),
        facts.phase.as_ref().map(ToString::to_string).unwrap_or_default(),
        facts.epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
        numeric(facts.kl_beta),
        numeric(facts.lr.or_else(|| facts.config.as_ref()?.get("lr")?.as_f64())),
        facts.frozen.as_ref().map(ToString::to_string).unwrap_or_default(),
        hash(&facts.data),
        hash(&facts.parent),
        match facts.metrics.get("val_loss") {
            Some(loss) if brief => format!("{loss:.4}"),
            Some(loss) => loss.to_string(),
            None => String::new(),
        },
    ]
}

fn as_csv(list: &[(PathBuf, Summary)]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(heads())?;
    for (path, summary) in list {
        writer.write_record(cells(path, &summary.facts, false))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn as_text(list: &[(PathBuf, Summary)]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> =
        list.iter().map(|(path, summary)| cells(path, &summary.facts, true)).collect();
    // What no header says needs no column here; programs that read `--csv` find all of them.
    let heads = heads();
    let said: Vec<usize> =
        (0..heads.len()).filter(|&at| rows.iter().any(|row| !row[at].is_empty())).collect();
    let only = |row: &[String]| -> Vec<String> { said.iter().map(|&at| row[at].clone()).collect() };
    let titles: Vec<&str> = said.iter().map(|&at| heads[at]).collect();
    columns(&titles, &rows.iter().map(|row| only(row)).collect::<Vec<_>>())
}
