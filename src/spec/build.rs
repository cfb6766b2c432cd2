//! `[data.build]`: how the query groups of a sweep are made where they are missing.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::EvalParams;

/// The keys of `[data.build]`. All but the two paths' places enter the identity of what is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildParams {
    pub seed: u64,
    pub train_share: f64,
    pub eval_share: f64,
    /// Candidates K of a query.
    pub pool: usize,
    pub pool_nearest: f64,
    /// Demonstrations S of a training sequence.
    pub length: usize,
    /// Sequences a query by method, and what they are drawn with.
    pub random: usize,
    pub retrieval: usize,
    pub sample: usize,
    pub temperature: f64,
    pub policy: Option<PathBuf>,
    pub beam: usize,
    pub policy_sample: usize,
    pub policy_temperature: f64,
    pub require_mixed: bool,
    pub balance: bool,
    pub eval_file: Option<PathBuf>,
    /// Ascending.
    pub eval_shots: Vec<usize>,
}

impl Default for BuildParams {
    fn default() -> Self {
        Self {
            seed: 0,
            train_share: 0.3,
            eval_share: 0.1,
            pool: 64,
            pool_nearest: 0.0,
            length: 2,
            random: 4,
            retrieval: 2,
            sample: 2,
            temperature: 0.08,
            policy: None,
            beam: 0,
            policy_sample: 0,
            policy_temperature: 1.0,
            require_mixed: false,
            balance: false,
            eval_file: None,
            eval_shots: vec![1, 2, 3, 4],
        }
    }
}

/// `[data.build]` with the judge that scores what is made.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildSpec {
    pub params: BuildParams,
    /// Who is asked, and the items.
    pub judge: EvalParams,
}
