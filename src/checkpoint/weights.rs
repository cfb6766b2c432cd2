//! What a checkpoint holds, whatever its format.

use std::collections::BTreeMap;

use super::facts::Facts;

/// A dense f32 array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Parameters of one model by their checkpoint names (`input_proj.weight`,
/// `cross_attn_layers.0.in_proj_weight`, ...).
pub type Weights = BTreeMap<String, Array>;

/// Weights and what is known about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub weights: Weights,
    pub facts: Facts,
}

/// A checkpoint without its weights: enough to list thousands of files.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub facts: Facts,
    /// Shape of every parameter, by name.
    pub shapes: BTreeMap<String, Vec<usize>>,
}
