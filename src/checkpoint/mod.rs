//! Checkpoints that can say what they are: weights by name and the facts about how they came to be.

use std::collections::BTreeMap;

/// A dense f32 array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Parameters of one model by their checkpoint names (`input_proj.weight`,
/// `cross_attn_layers.0.in_proj_weight`, ...).
pub type Weights = BTreeMap<String, Array>;
