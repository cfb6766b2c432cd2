//! Column names of axes, and their values as text.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use crate::spec::{Key, Kind, key_called, number_text};
use crate::store::{PointResult, SweepResults};

/// The axes of one sweep as they appear in tables.
pub struct AxisLabels {
    /// Bare key names (`kl_beta`), dotted only where two axes share one.
    pub names: Vec<String>,
    /// `[point][axis]`
    texts: Vec<Vec<String>>,
}

impl AxisLabels {
    /// Names and texts of the axes that vary in `results`.
    pub fn of(results: &SweepResults) -> Self {
        let bare = |axis: &str| axis.rsplit('.').next().unwrap_or(axis).to_owned();
        let names: Vec<String> = results
            .axes
            .iter()
            .map(|axis| {
                let shared = results.axes.iter().filter(|other| bare(other) == bare(axis)).count() > 1;
                if shared { axis.clone() } else { bare(axis) }
            })
            .collect();
        let mut texts: Vec<Vec<String>> = results
            .points
            .iter()
            .map(|point| {
                let value = |axis: &String| point.axes.iter().find(|(key, _)| key == axis);
                let text = |axis| value(axis).map(|(key, value)| axis_text(key, value));
                results.axes.iter().map(|axis| text(axis).unwrap_or_default()).collect()
            })
            .collect();
        if let Some(column) = results.axes.iter().position(|axis| axis == "train.init") {
            shorten_paths(&mut texts, column);
        }
        Self { names, texts }
    }

    /// The texts of point `index`.
    pub fn texts(&self, index: usize) -> Vec<String> {
        self.texts[index].clone()
    }
}

/// The point's name without the part that names its seed.
pub fn configuration_name(results: &SweepResults, point: &PointResult) -> String {
    let part = format!("s{}", point.config.seed());
    let left: Vec<&str> = point.name.split('-').filter(|segment| *segment != part).collect();
    if left.is_empty() { results.name.clone() } else { left.join("-") }
}

/// One axis value for people and for CSV: `5e-6`, `backbone`, `true`, `none`.
pub fn axis_text(key: &str, value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        // As in the points' names.
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(value) => number_text(value),
            None => number.to_string(),
        },
        Value::Array(items) => match key_called(key) {
            Some(Key { kind: Kind::Set(names), .. }) => names
                .choose(items.iter().filter_map(Value::as_str))
                .map_or_else(|_| value.to_string(), |chosen| chosen.to_string()),
            _ => items.iter().map(|item| axis_text(key, item)).collect::<Vec<_>>().join("/"),
        },
        _ => value.to_string(),
    }
}

/// Results do not depend on where a checkpoint lies: paths are cut to the shortest endings that still tell
/// them apart.
fn shorten_paths(texts: &mut [Vec<String>], column: usize) {
    let full: Vec<String> = texts.iter().map(|row| row[column].clone()).collect();
    let ending = |text: &str, parts: usize| {
        let names: Vec<String> = Path::new(text)
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        names[names.len().saturating_sub(parts)..].join("/")
    };
    let deepest = full.iter().map(|text| Path::new(text).components().count()).max().unwrap_or(1);
    for parts in 1..=deepest {
        let mut seen: HashMap<String, &str> = HashMap::new();
        let distinct =
            full.iter().all(|text| *seen.entry(ending(text, parts)).or_insert(text) == text.as_str());
        if distinct || parts == deepest {
            for (row, text) in texts.iter_mut().zip(&full) {
                row[column] = ending(text, parts);
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_the_names_of_points() {
        let text = |number: f64| axis_text("train.grpo_lr", &serde_json::json!(number));
        let texts = [1e-3, 2e-5, 5e-6, 0.15, 2e-3, 1.0, 100_000.0].map(text);
        assert_eq!(texts, ["0.001", "2e-5", "5e-6", "0.15", "0.002", "1", "100000"]);
        assert_eq!(axis_text("train.kl_target", &serde_json::json!([0.001, 1])), "0.001/1");
    }
}
