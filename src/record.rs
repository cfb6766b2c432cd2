//! Plain rows that everyone shares: what an epoch reports, what was chosen and how it scored. They know nothing of
//! files, training or tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::finite::Finite;

/// How one point ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointStatus {
    Done,
    Failed,
    /// Diverged: a non-finite loss or gradient.
    Infeasible,
    Pending,
}

/// A selection policy that needs no training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReferenceResult {
    /// `random`, `nearest` or `oracle`
    pub name: String,
    /// Per score column, the score per evaluation query.
    pub scores: BTreeMap<usize, Vec<Finite>>,
}

/// What was chosen for one query, and what it scored in one column: a line of `selections.jsonl`.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryScore {
    pub query_id: u64,
    /// The number of the score column.
    pub column: usize,
    /// What was chosen: local ids, a class.
    pub selection: Vec<u32>,
    /// Which of the logged choices this is; `None` where a judge was asked or nothing is logged.
    pub logged: Option<usize>,
    pub score: Finite,
    pub log_prob: Finite,
    /// What the judge answered, where one was asked.
    pub answer: Option<String>,
}

impl QueryScore {
    /// Of a score that the experiment itself has computed. `log_prob`: of the choice, as its model sees it.
    pub fn new(query_id: u64, column: usize, selection: Vec<u32>, score: Finite, log_prob: Finite) -> Self {
        Self { query_id, column, selection, logged: None, score, log_prob, answer: None }
    }
}

/// What was chosen for one query and has no score in one column: the judge did not answer. A line of
/// `selections.jsonl` whose `score` is `null`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unanswered {
    pub query_id: u64,
    /// The number of the score column.
    pub column: usize,
    pub selection: Vec<u32>,
    pub log_prob: Finite,
}

/// `judge.json`: who answered, what was asked, and how far the answers can be relied on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeRecord {
    /// Short hash of `identity`.
    pub judge: String,
    /// The model or the program, its template and its settings.
    pub identity: serde_json::Value,
    /// What evaluating every point on its own asks, and how many of those questions are distinct.
    pub naive: usize,
    pub distinct: usize,
    /// Answers that this directory's runs asked for.
    pub asked: usize,
    /// Seconds of asking behind `asked`.
    pub seconds: Finite,
    /// Questions without an answer, in words, by kind.
    pub faults: Vec<String>,
    pub noise: Option<JudgeNoise>,
}

/// What a second asking of the same questions changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeNoise {
    pub questions: usize,
    /// Answers, and scores, that were others the second time.
    pub answers_changed: usize,
    pub scores_changed: usize,
    /// Mean over the questions of the squared difference of the two scores.
    pub mean_square: Finite,
}

/// The health of the reward signal (over training groups).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalHealth {
    pub groups: usize,
    /// Groups whose rewards are all equal: they teach nothing.
    pub flat_groups: usize,
    /// Mean over groups of (largest - smallest raw reward).
    pub mean_range: Finite,
    /// `distinct[n]` = number of groups with `n` distinct raw rewards.
    pub distinct: BTreeMap<usize, usize>,
}

/// Queries that are evaluated and were trained on, and queries that may be their own demonstration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Leaks {
    /// Evaluation queries that were looked at.
    pub queries: usize,
    /// Of them, those that are training queries by their id, and others whose embedding is that of one.
    pub by_id: usize,
    pub by_embedding: usize,
    /// Queries whose own id is in their pool.
    pub evaluation_in_own_pool: usize,
    pub training_in_own_pool: usize,
}

impl Leaks {
    /// One sentence for each kind that was found.
    pub fn sentences(&self) -> Vec<String> {
        let Self { queries, by_id, by_embedding, evaluation_in_own_pool, training_in_own_pool } = *self;
        let seen = by_id + by_embedding;
        let mut found = Vec::new();
        if seen > 0 {
            found.push(format!(
                "{seen} of {queries} evaluation queries are training queries ({by_id} by id, {by_embedding} by equal embeddings): accuracy on them says nothing of new queries"
            ));
        }
        if evaluation_in_own_pool > 0 {
            found.push(format!(
                "{evaluation_in_own_pool} of {queries} evaluation queries are in their own pools: their answer may be among their demonstrations"
            ));
        }
        if training_in_own_pool > 0 {
            found.push(format!(
                "{training_in_own_pool} queries of the training data are in their own pools: what they teach is to choose themselves"
            ));
        }
        found
    }
}
