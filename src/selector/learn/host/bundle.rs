//! What a step needs before any member is computed, and what members have in common: the group's embeddings,
//! the dropout masks of each seed, and the candidates under frozen projections.

use crate::selector::learn::masks::DropoutMasks;

/// Data of one step. The next block of steps is prepared while members are computed.
#[derive(Debug, Default)]
pub struct Prepared {
    pub bundles: Vec<BundleData>,
    pub shared: Vec<SharedCandidates>,
}

/// What the members of a bundle have in common in one step.
#[derive(Debug, Default)]
pub struct BundleData {
    /// Index of the training group.
    pub group: usize,
    /// `[K, d]` and its transpose, filled only when members project their own candidates.
    pub embeddings: Vec<f32>,
    pub embedding_columns: Vec<f32>,
    pub masks: DropoutMasks,
    /// Transpose of `masks.candidates` `[h, K]`.
    pub mask_columns: Vec<f32>,
}

/// The candidates of one step under frozen projections; empty where they depend on the member.
#[derive(Debug, Default)]
pub struct SharedCandidates {
    /// `[K, h]`
    pub projected: Vec<f32>,
    /// After dropout, as columns `[h, K]`.
    pub dropped: Vec<f32>,
    /// `[K, h]` and `[K]`, if `cand_proj` is frozen too.
    pub unit: Vec<f32>,
    pub norms: Vec<f32>,
    /// Work space `[h, K]`.
    pub columns: Vec<f32>,
}
