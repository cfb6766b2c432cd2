//! `sweep ckpt show`: everything one checkpoint says.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::table::{columns, figure, number};
use crate::checkpoint::{self, Array, Checkpoint, Facts};
use crate::cli::output;
use crate::spec::group_of;
use crate::text::thousands;

/// Shows what checkpoints are: origin, configuration, metrics, hashes, parameters
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Checkpoints: .safetensors, .pt or .ckpt
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object (a list of them for several files)
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<u8> {
    let mut objects = Vec::new();
    for (index, path) in args.files.iter().enumerate() {
        let checkpoint = checkpoint::read(path)?;
        let file_hash = hash_of(path)?;
        if args.json {
            objects.push(as_json(path, &checkpoint, &file_hash));
        } else {
            let gap = if index > 0 { "\n" } else { "" };
            output::result(&format!("{gap}{}", as_text(path, &checkpoint, &file_hash)));
        }
    }
    if args.json {
        let value = if objects.len() == 1 { objects.remove(0) } else { Value::Array(objects) };
        output::result(&format!("{value:#}\n"));
    }
    Ok(0)
}

fn hash_of(path: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs_err::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Whether a parameter was trained in the checkpoint's phase; `None` where the file does not say.
fn trainable(facts: &Facts, name: &str) -> Option<bool> {
    let frozen = facts.frozen.as_ref()?;
    Some(group_of(name).is_none_or(|group| !frozen.0.iter().any(|own| own == group.name)))
}

/// Whether its parameters are in groups, of which a phase may leave some as they are; only files of such models are
/// asked for what they do not state.
fn is_grouped(checkpoint: &Checkpoint) -> bool {
    checkpoint.facts.version.is_none() || checkpoint.weights.keys().any(|name| group_of(name).is_some())
}

/// Number of values that were trained, if known.
fn trainable_count(checkpoint: &Checkpoint) -> Option<usize> {
    let counts = checkpoint
        .weights
        .iter()
        .map(|(name, array)| Some(if trainable(&checkpoint.facts, name)? { array.values.len() } else { 0 }));
    counts.sum()
}

fn total(checkpoint: &Checkpoint) -> usize {
    checkpoint.weights.values().map(|array| array.values.len()).sum()
}

/// Mean and (population) standard deviation, in f64.
fn mean_std(array: &Array) -> (f64, f64) {
    let count = array.values.len().max(1) as f64;
    let mean = array.values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let square = array.values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
    (mean, (square / count).sqrt())
}

fn as_json(path: &Path, checkpoint: &Checkpoint, file_hash: &str) -> Value {
    let facts = &checkpoint.facts;
    let parameters: Vec<Value> = checkpoint
        .weights
        .iter()
        .map(|(name, array)| {
            let (mean, std) = mean_std(array);
            json!({
                "name": name, "shape": array.shape, "count": array.values.len(), "mean": mean, "std": std,
                "trainable": trainable(facts, name),
            })
        })
        .collect();
    let mut object = serde_json::Map::new();
    object.insert("path".into(), json!(path));
    if let Ok(Value::Object(facts)) = serde_json::to_value(facts) {
        object.extend(facts);
    }
    object.insert("file".into(), json!(file_hash));
    object.insert("total".into(), json!(total(checkpoint)));
    object.insert("trainable".into(), json!(trainable_count(checkpoint)));
    object.insert("parameters".into(), json!(parameters));
    Value::Object(object)
}

fn as_text(path: &Path, checkpoint: &Checkpoint, file_hash: &str) -> String {
    let facts = &checkpoint.facts;
    let mut lines = vec![("file", path.display().to_string()), ("format", facts.format.to_string())];
    lines.extend(origin(facts, is_grouped(checkpoint)));
    for (name, hash) in [("content", facts.content.as_deref()), ("file hash", Some(file_hash))] {
        lines.push((name, hash.unwrap_or("unknown").to_string()));
    }
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<11}{value}");
    }
    if let Some(config) = &facts.config {
        text.push_str("\nconfiguration\n");
        text.push_str(&sections(config));
    }
    if !facts.extra.is_empty() {
        text.push_str("\nthe file also says\n");
        text.push_str(&sections(&json!(facts.extra)));
    }
    text.push('\n');
    text.push_str(&parameter_table(checkpoint));
    text
}

/// Where it comes from; what is unknown is left out, except what everyone asks for.
fn origin(facts: &Facts, grouped: bool) -> Vec<(&'static str, String)> {
    let unknown = || "not stated".to_string();
    let phase = facts.phase.as_ref().map_or_else(unknown, ToString::to_string);
    let mut lines = vec![("phase", phase)];
    let stored = facts.stored_epoch.map(|epoch| format!(" (stored as {epoch}, counted from 0)"));
    let epoch = facts.epoch.map(|epoch| format!("{epoch}{}", stored.unwrap_or_default()));
    lines.push(("epoch", epoch.unwrap_or_else(unknown)));
    let beta = match (facts.kl_beta, facts.kl_beta_end) {
        (Some(start), Some(end)) => format!("{} at the start, {} at the end", number(start), number(end)),
        (Some(start), None) => number(start),
        (None, Some(end)) => format!("{} at the end", number(end)),
        (None, None) => unknown(),
    };
    lines.extend(grouped.then_some(("KL_BETA", beta)));
    let metrics: Vec<String> =
        facts.metrics.iter().map(|(name, value)| format!("{name} {}", brief(*value))).collect();
    let optional = [
        ("step", facts.global_step.map(|step| step.to_string())),
        ("lr", facts.lr.map(number)),
        ("frozen", facts.frozen.as_ref().map(ToString::to_string)),
        ("metrics", (!metrics.is_empty()).then(|| metrics.join(", "))),
        ("data", facts.data.clone()),
        ("parent", facts.parent.clone()),
        ("reference", facts.reference.clone().filter(|reference| Some(reference) != facts.parent.as_ref())),
        ("written by", facts.version.as_ref().map(|version| written_by(version, facts))),
        ("taken off", facts.taken_off.as_ref().map(|words| format!("{words} before the parameters' names"))),
        ("dtype", facts.dtype.as_ref().map(|dtype| format!("{dtype} (read as float32)"))),
    ];
    lines.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    lines
}

/// All digits of a short number, four significant ones of a long one; `--json` has them all.
fn brief(value: f64) -> String {
    let exact = number(value);
    if exact.len() <= 8 { exact } else { figure(value) }
}

fn written_by(version: &str, facts: &Facts) -> String {
    let burn = facts.burn.as_ref().map(|burn| format!(", burn {burn}")).unwrap_or_default();
    let device = facts.device.as_ref().map(|device| format!(", on {device}")).unwrap_or_default();
    format!("sweep {version}{burn}{device}")
}

/// Columns of a terminal that everyone has.
const WIDTH: usize = 80;

/// A paragraph per table: `  train    seed = 0, rce_epochs = 5, ...`, broken between its keys.
fn sections(config: &Value) -> String {
    let mut text = String::new();
    for (name, value) in config.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let pairs: Vec<String> = match value {
            Value::Object(entries) => {
                entries.iter().map(|(key, value)| format!("{key} = {}", in_words(value))).collect()
            }
            other => vec![in_words(other)],
        };
        let _ = write!(text, "  {name:<8} ");
        let mut column = name.chars().count().max(8) + 3;
        for (index, pair) in pairs.iter().enumerate() {
            let (pair, last) = (pair.as_str(), index + 1 == pairs.len());
            let length = pair.chars().count() + usize::from(!last);
            if index > 0 && column + 1 + length > WIDTH {
                let _ = write!(text, "\n{:11}", "");
                column = 11;
            } else if index > 0 {
                text.push(' ');
                column += 1;
            }
            let _ = write!(text, "{pair}{}", if last { "" } else { "," });
            column += length;
        }
        text.push('\n');
    }
    text
}

/// A hash by its beginning, as everywhere else; `--json` has all of it.
fn in_words(value: &Value) -> String {
    let text = checkpoint::plain(value);
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { checkpoint::short(&text).to_owned() } else { text }
}

fn parameter_table(checkpoint: &Checkpoint) -> String {
    let rows: Vec<Vec<String>> = checkpoint
        .weights
        .iter()
        .map(|(name, array)| {
            let (mean, std) = mean_std(array);
            let shape: Vec<String> = array.shape.iter().map(ToString::to_string).collect();
            let trained = match trainable(&checkpoint.facts, name) {
                Some(true) => "trained",
                Some(false) => "frozen",
                None => "",
            };
            let count = thousands(array.values.len());
            vec![name.clone(), shape.join(" x "), count, figure(mean), figure(std), trained.into()]
        })
        .collect();
    let all = total(checkpoint);
    let share = match trainable_count(checkpoint) {
        Some(count) => {
            let percent = 100.0 * count as f64 / all.max(1) as f64;
            format!("{} / {} ({percent:.1}%) trained in this phase", thousands(count), thousands(all))
        }
        None if is_grouped(checkpoint) => {
            format!("{} in all; the file does not say what was frozen", thousands(all))
        }
        None => format!("{} in all", thousands(all)),
    };
    format!("{}{share}\n", columns(&["parameter", "shape", "count", "mean", "std", ""], &rows))
}
