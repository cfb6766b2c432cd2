//! Names of points: for people, for paths, the same on every machine.

use std::collections::HashMap;

use super::grid::Grid;
use super::keys::Key;
use super::value::{Value, number_text};

/// Longest name of a point, in bytes: a name is one component of paths.
pub const NAME_LIMIT: usize = 120;

/// The name of a point when nothing varies.
const ONLY: &str = "base";

/// The names of all points, in grid order; unique. Only columns that vary take part.
pub(super) fn names(grid: &Grid, varying: &[bool]) -> Vec<String> {
    let labels: Vec<Vec<String>> = grid
        .columns
        .iter()
        .zip(varying)
        .map(|(column, varies)| match varies {
            true => labels(column.key, column.values.iter().map(|given| &given.value)),
            false => Vec::new(),
        })
        .collect();
    let mut names: Vec<String> = grid
        .rows()
        .map(|row| {
            let parts = labels.iter().zip(row).filter_map(|(labels, index)| labels.get(*index as usize));
            let name = parts.map(String::as_str).collect::<Vec<_>>().join("-");
            if name.is_empty() { ONLY.to_owned() } else { shorten(name) }
        })
        .collect();
    tell_apart(grid, &mut names);
    names
}

/// Labels that read alike (cut names, odd texts) get a hash of all the point's values.
fn tell_apart(grid: &Grid, names: &mut [String]) {
    let mut count: HashMap<&str, usize> = HashMap::with_capacity(names.len());
    for name in names.iter() {
        *count.entry(name).or_default() += 1;
    }
    if count.len() == names.len() {
        return;
    }
    let alike: Vec<bool> = names.iter().map(|name| count[name.as_str()] > 1).collect();
    for ((name, row), alike) in names.iter_mut().zip(grid.rows()).zip(alike) {
        if alike {
            let values: Vec<String> = grid
                .columns
                .iter()
                .zip(row)
                .map(|(column, index)| column.values[*index as usize].value.to_string())
                .collect();
            *name = hashed(name, &values.join("\n"));
        }
    }
}

fn shorten(name: String) -> String {
    if name.len() <= NAME_LIMIT { name } else { hashed(&name, &name) }
}

/// `name`, cut if need be, with a hash of `text` at its end.
fn hashed(name: &str, text: &str) -> String {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    let room = NAME_LIMIT - 11;
    let end = (0..=room.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}-{}", &name[..end], &hash[..10])
}

/// One label per value of a column, all different.
fn labels<'a>(key: &Key, values: impl Iterator<Item = &'a Value> + Clone) -> Vec<String> {
    let mut labels: Vec<String> = values.clone().map(|value| label(key, value)).collect();
    let mut count: HashMap<String, usize> = HashMap::new();
    for label in &labels {
        *count.entry(label.clone()).or_default() += 1;
    }
    for (label, value) in labels.iter_mut().zip(values) {
        if count[label.as_str()] > 1 {
            let hash = blake3::hash(value.to_string().as_bytes()).to_hex();
            *label = format!("{label}_{}", &hash[..6]);
        }
    }
    labels
}

/// `kl0.15`, `frozen`, `normalized`, `noshuffle`, `topk3_5`.
fn label(key: &Key, value: &Value) -> String {
    let short = key.short;
    let text = match value {
        Value::Flag(true) => short.to_owned(),
        Value::Flag(false) => format!("no{short}"),
        Value::Count(count) => format!("{short}{count}"),
        Value::Number(number) => format!("{short}{}", number_text(*number)),
        Value::Text(text) => format!("{short}{text}"),
        Value::Path { written, .. } => format!("{short}_{}", path_label(written)),
        Value::Absent(word) => format!("{short}{word}"),
        Value::Numbers(numbers) => format!("{short}{}", joined(numbers.iter().map(|n| number_text(*n)))),
        Value::Counts(counts) => format!("{short}{}", joined(counts.iter().map(u64::to_string))),
        Value::Texts(texts) => format!("{short}{}", joined(texts.iter().cloned())),
        Value::Samples(samples) => format!("{short}{}", joined(samples.iter().map(|n| format!("{n:?}")))),
        Value::Set(set) => set.label(),
    };
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '_' }).collect()
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join("_")
}

/// The last two components of a path without the extension: `kl012_rce_epoch5`.
fn path_label(written: &str) -> String {
    let parts: Vec<&str> = written.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let last = &parts[parts.len().saturating_sub(2)..];
    let text = last.join("_");
    match text.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('_') && !stem.is_empty() => stem.to_owned(),
        _ => text,
    }
}
