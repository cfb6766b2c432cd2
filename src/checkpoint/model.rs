//! The sizes of the model that weights belong to.

use super::weights::Weights;

/// Hidden size and number of attention layers, told from the shape of each parameter.
pub fn hidden_and_layers<'a>(shape: impl Fn(&str) -> Option<&'a [usize]>) -> (Option<usize>, usize) {
    let hidden = shape("query_proj.weight").and_then(|shape| shape.first().copied());
    let layers = (0..).take_while(|layer| shape(&format!("attn_norms.{layer}.weight")).is_some()).count();
    (hidden, layers)
}

/// [`hidden_and_layers`] of whole weights.
pub(super) fn sizes(weights: &Weights) -> (Option<usize>, usize) {
    hidden_and_layers(|name| weights.get(name).map(|array| array.shape.as_slice()))
}
