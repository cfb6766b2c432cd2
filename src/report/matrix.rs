//! A results matrix: every figure of a table.

use super::stats::Interval;
use crate::store::{JudgeRecord, PointStatus};

/// How intervals are drawn. The defaults are part of the results: change them and `matrix.csv` changes.
#[derive(Clone, Copy, Debug)]
pub struct MatrixOptions {
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Seed of the resamples.
    pub seed: u64,
}

impl Default for MatrixOptions {
    fn default() -> Self {
        Self { resamples: 10_000, seed: 20_260_101 }
    }
}

/// A sweep's results matrix: what `matrix.csv`, `matrix.md` and every table are written from.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Name of the sweep.
    pub name: String,
    /// Column names of the axes that vary (`kl_beta`, ...).
    pub axes: Vec<String>,
    /// Column names of the accuracies (`shot_1`, or `shot_1@200`); empty without `[eval]`.
    pub score_columns: Vec<String>,
    /// Groups of parameters whose movement is told.
    pub groups: Vec<String>,
    /// Points in grid order.
    pub points: Vec<Row>,
    /// Points that differ only in their seed, averaged, in grid order; empty unless the seed is an axis.
    pub configurations: Vec<Row>,
    /// Policies that need no training.
    pub references: Vec<Row>,
    /// Comparisons behind `p_holm`, of points and of configurations: rows may be filtered afterwards.
    pub comparisons: Comparisons,
    /// Who scored, where a judge was asked.
    pub judge: Option<JudgeRecord>,
}

/// Rows that were compared with the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparisons {
    pub points: usize,
    pub configurations: usize,
}

impl Comparisons {
    /// Counts the corrected p-values.
    pub fn count(points: &[Row], configurations: &[Row]) -> Self {
        let of = |rows: &[Row]| rows.iter().filter(|row| row.p_holm.is_some()).count();
        Self { points: of(points), configurations: of(configurations) }
    }
}

/// What a row is, or how its point ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowStatus {
    Done,
    Failed,
    Infeasible,
    Pending,
    Reference,
}

impl RowStatus {
    /// The word in `matrix.csv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Infeasible => "infeasible",
            Self::Pending => "pending",
            Self::Reference => "reference",
        }
    }

    /// The reverse of [`RowStatus::name`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Done, Self::Failed, Self::Infeasible, Self::Pending, Self::Reference]
            .into_iter()
            .find(|status| status.name() == text)
    }
}

impl From<PointStatus> for RowStatus {
    fn from(status: PointStatus) -> Self {
        match status {
            PointStatus::Done => Self::Done,
            PointStatus::Failed => Self::Failed,
            PointStatus::Infeasible => Self::Infeasible,
            PointStatus::Pending => Self::Pending,
        }
    }
}

/// One row. Scores and shares are fractions; `None` is "there is no such figure", never 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The point, configuration or reference policy.
    pub name: String,
    /// Text of every axis of [`Matrix::axes`]; empty strings for references.
    pub axes: Vec<String>,
    pub status: RowStatus,
    /// Finished seeds behind the row: 1 for a finished point.
    pub seeds: usize,
    /// One accuracy per column of [`Matrix::score_columns`].
    pub scores: Vec<Option<f64>>,
    /// Mean over the shot counts, on the most samples.
    pub average: Option<f64>,
    pub average_interval: Option<Interval>,
    /// `average` minus the baseline's.
    pub delta: Option<f64>,
    pub delta_interval: Option<Interval>,
    /// Paired exact test over queries; with several seeds also over them.
    pub p_value: Option<f64>,
    /// Corrected over all points (or all configurations).
    pub p_holm: Option<f64>,
    pub trainable: Option<usize>,
    pub total: Option<usize>,
    /// Of the last epoch.
    pub val_loss: Option<f64>,
    /// Of the last epoch.
    pub kl: Option<f64>,
    /// Letter shared by rows whose selections are all equal.
    pub identical: Option<String>,
    /// Share of (query, shot) selections that differ from the baseline's.
    pub changed_share: Option<f64>,
    /// Relative parameter change from the parent, over all parameters.
    pub movement: Option<f64>,
    /// The same per group, in the order of [`Matrix::groups`].
    pub group_movement: Vec<Option<f64>>,
    /// Evaluation queries behind `average`.
    pub queries: Option<usize>,
    /// Scores that are missing because the judge did not answer.
    pub unanswered: usize,
    /// About how many more queries, or seeds, would tell `delta` from noise; only where it cannot be told.
    pub more_queries: Option<usize>,
    pub more_seeds: Option<usize>,
    pub is_baseline: bool,
    /// Why the parameters may hardly have moved.
    pub warning: Option<String>,
    /// Why the point failed.
    pub error: Option<String>,
}

/// What the figures can bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Baseline,
    /// Chooses exactly what the baseline chooses.
    Same,
    Better,
    Worse,
    /// Cannot be told from noise.
    Unclear,
    /// No difference could be computed.
    Unknown,
}

/// Level of the tests.
pub const LEVEL: f64 = 0.05;

impl Row {
    /// A row of which nothing but its name is known.
    pub fn named(name: &str, status: RowStatus) -> Row {
        Row {
            name: name.to_owned(),
            axes: Vec::new(),
            status,
            seeds: 0,
            scores: Vec::new(),
            average: None,
            average_interval: None,
            delta: None,
            delta_interval: None,
            p_value: None,
            p_holm: None,
            trainable: None,
            total: None,
            val_loss: None,
            kl: None,
            identical: None,
            changed_share: None,
            movement: None,
            group_movement: Vec::new(),
            queries: None,
            unanswered: 0,
            more_queries: None,
            more_seeds: None,
            is_baseline: false,
            warning: None,
            error: None,
        }
    }

    /// Whether the row differs from the baseline at level [`LEVEL`], after Holm's correction where the row is
    /// one of several that were tried.
    pub fn verdict(&self) -> Verdict {
        if self.is_baseline {
            return Verdict::Baseline;
        }
        let (Some(delta), Some(p)) = (self.delta, self.p_holm.or(self.p_value)) else {
            return Verdict::Unknown;
        };
        if self.changed_share == Some(0.0) {
            Verdict::Same
        } else if p > LEVEL {
            Verdict::Unclear
        } else if delta > 0.0 {
            Verdict::Better
        } else {
            Verdict::Worse
        }
    }
}

impl Matrix {
    /// The rows that people compare: configurations where several seeds were run, else points.
    pub fn main_rows(&self) -> &[Row] {
        if self.configurations.is_empty() { &self.points } else { &self.configurations }
    }

    /// Comparisons that the p-values of `rows`, points or configurations, are corrected for.
    pub fn comparisons_of(&self, rows: &[Row]) -> usize {
        let is_configuration = |row: &Row| self.configurations.iter().any(|other| other.name == row.name);
        match rows.first() {
            Some(row) if is_configuration(row) => self.comparisons.configurations,
            _ => self.comparisons.points,
        }
    }

    /// Evaluation queries behind the averages.
    pub fn queries(&self) -> Option<usize> {
        self.points.iter().chain(&self.references).find_map(|row| row.queries)
    }
}
