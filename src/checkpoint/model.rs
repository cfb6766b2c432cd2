//! The model that a checkpoint's weights belong to.

use serde_json::Value;

use super::facts::Facts;
use super::weights::{Summary, Weights};
use crate::selector::ModelParams;

impl Summary {
    /// The model's settings: its sizes as the weights show them; what they do not show (heads, dropout, temperature) as
    /// our header or the lab's `hyper_parameters` say, else the default.
    pub fn model(&self) -> ModelParams {
        let of = |name: &str| self.shapes.get(name).map(Vec::as_slice);
        let (hidden, layers) = hidden_and_layers(of);
        let ours = self.facts.config.as_ref().and_then(|config| config.get("model"));
        let mut model: ModelParams =
            ours.and_then(|model| serde_json::from_value(model.clone()).ok()).unwrap_or_default();
        if let (Some(heads), None) = (number(&self.facts, "num_heads"), ours) {
            model.heads = heads as usize;
        }
        if let (Some(temperature), None) = (number(&self.facts, "temperature"), ours) {
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

/// Hidden size and number of attention layers, told from the shape of each parameter.
pub(super) fn hidden_and_layers<'a>(shape: impl Fn(&str) -> Option<&'a [usize]>) -> (Option<usize>, usize) {
    let hidden = shape("query_proj.weight").and_then(|shape| shape.first().copied());
    let layers = (0..).take_while(|layer| shape(&format!("attn_norms.{layer}.weight")).is_some()).count();
    (hidden, layers)
}

/// [`hidden_and_layers`] of whole weights.
pub(super) fn sizes(weights: &Weights) -> (Option<usize>, usize) {
    hidden_and_layers(|name| weights.get(name).map(|array| array.shape.as_slice()))
}
