//! The model that a checkpoint's weights belong to.

use serde_json::Value;

use super::params::ModelParams;
use crate::checkpoint::{Facts, Summary, hidden_and_layers};

impl ModelParams {
    /// The settings of the model in a checkpoint: its sizes as the weights show them; what they do not show (heads, dropout, temperature) as
    /// our header or the lab's `hyper_parameters` say, else the default.
    pub fn of_checkpoint(summary: &Summary) -> Self {
        let of = |name: &str| summary.shapes.get(name).map(Vec::as_slice);
        let (hidden, layers) = hidden_and_layers(of);
        let ours = summary.facts.config.as_ref().and_then(|config| config.get("model"));
        let mut model: ModelParams =
            ours.and_then(|model| serde_json::from_value(model.clone()).ok()).unwrap_or_default();
        if let (Some(heads), None) = (number(&summary.facts, "num_heads"), ours) {
            model.heads = heads as usize;
        }
        if let (Some(temperature), None) = (number(&summary.facts, "temperature"), ours) {
            model.temperature = temperature;
        }
        model.hidden = hidden.unwrap_or(model.hidden).max(1);
        model.layers = layers;
        // A file may say anything.
        if model.heads == 0 || !model.hidden.is_multiple_of(model.heads) {
            model.heads = 1;
        }
        if !(model.temperature > 0.0 && model.temperature.is_finite()) {
            model.temperature = ModelParams::default().temperature;
        }
        model
    }
}

/// A figure of the lab's `hyper_parameters`.
fn number(facts: &Facts, key: &str) -> Option<f64> {
    facts.extra.get("hyper_parameters").and_then(|values| values.get(key)).and_then(Value::as_f64)
}
