//! The query groups of a sweep, as everything else sees them.

/// The query groups of one sweep, split and filtered.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub embeddings: Embeddings,
    /// Training groups in numeric order of their query ids.
    pub train: Vec<Group>,
    /// Validation groups, likewise.
    pub validation: Vec<Group>,
    /// What the filters left out, for messages.
    pub dropped: Dropped,
    /// blake3 over the contents of both files and over the parameters of `[data]` other than paths:
    /// equal digests mean equal groups.
    pub digest: String,
}

impl Dataset {
    /// All groups: training, then validation.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.train.iter().chain(&self.validation)
    }

    /// S, the demonstrations per trajectory.
    pub fn steps(&self) -> usize {
        self.groups().next().map_or(0, |group| group.trajectories[0].pointer.len())
    }
}

/// Row-major f32 matrix `[rows, dim]`; the row number is the global id of a query or candidate.
#[derive(Clone, Debug)]
pub struct Embeddings {
    pub rows: usize,
    pub dim: usize,
    pub values: Vec<f32>,
}

impl Embeddings {
    /// The embedding of global id `row`, `[dim]`. `row` was checked when the data was read.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }
}

/// One query with its candidate pool and scored trajectories: one training step.
#[derive(Clone, Debug)]
pub struct Group {
    /// Key in the file, and the row of the query's embedding.
    pub query_id: u64,
    /// Global ids (embedding rows) of the K candidates.
    pub pool: Vec<u32>,
    /// Never empty; all of the same length S, the same in every group of a data set.
    pub trajectories: Vec<Trajectory>,
}

/// A sequence of candidates and what the judge said of it.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// Local ids in `0..K`, distinct, in order.
    pub pointer: Vec<u32>,
    /// `None` where the file has no such field.
    pub beam_score: Option<f64>,
    pub logprob_score: Option<f64>,
    pub correct: Option<f64>,
    pub acc_score: Option<f64>,
    pub gt_prob: Option<f64>,
    pub rel_score: Option<f64>,
}

/// How many trajectories and queries the filters dropped, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    pub eval_failed: usize,
    pub error: usize,
    pub fallback: usize,
    /// Queries left with no trajectory.
    pub empty_queries: usize,
    /// Queries without a correct trajectory (`require_positive`).
    pub no_positive: usize,
    /// Keys that are not integers (`_meta`).
    pub non_integer_keys: usize,
}

impl Dropped {
    /// Adds what was dropped elsewhere.
    pub(super) fn add(&mut self, other: &Dropped) {
        self.eval_failed += other.eval_failed;
        self.error += other.error;
        self.fallback += other.fallback;
        self.empty_queries += other.empty_queries;
        self.no_positive += other.no_positive;
        self.non_integer_keys += other.non_integer_keys;
    }

    /// The reasons that dropped anything, with their counts, in the order in which they are applied.
    pub fn reasons(&self) -> Vec<(&'static str, usize)> {
        let all = [
            ("trajectories with eval_failed", self.eval_failed),
            ("trajectories with vqa_eval_mode \"error\"", self.error),
            ("trajectories with vqa_eval_mode \"fallback\"", self.fallback),
            ("queries left with no trajectory", self.empty_queries),
            ("queries without a correct trajectory", self.no_positive),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}
