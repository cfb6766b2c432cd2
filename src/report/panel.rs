//! Scores of all points laid over the same queries, so that they can be paired.

use std::collections::HashMap;

use super::stats::mean;
use crate::store::{PointResult, ReferenceResult, SweepResults};

/// One set of column columns: the first `n` queries in file order, or all of them.
pub type Samples = Option<usize>;

/// The queries and columns that a sweep was evaluated on.
pub struct Panel {
    /// Shot counts, ascending.
    pub columns: Vec<usize>,
    /// One set of column columns per entry, as in the sweep file.
    pub samples: Vec<Samples>,
    /// Number of queries with any score.
    pub queries: usize,
    place: HashMap<u64, usize>,
    /// Per column, the query of every line of the evaluation file.
    order: Vec<Vec<usize>>,
}

/// The scores of one row.
#[derive(Clone)]
pub struct Scores {
    /// `[column][query]`, NaN where the evaluation file has no such line.
    values: Vec<Vec<f64>>,
}

impl Panel {
    /// The panel of a sweep with `[eval]` of which at least one point (or the references) has scores.
    pub fn of(results: &SweepResults) -> Option<Panel> {
        let columns = results.columns();
        if columns.is_empty() {
            return None;
        }
        let mut place = HashMap::new();
        // The order of the queries is that of a point which lacks none, if there is one.
        let scored = || results.points.iter().filter(|point| !point.scores.is_empty());
        let scored = scored().find(|point| point.unanswered.is_empty()).or_else(|| scored().next());
        let order: Vec<Vec<usize>> = match scored {
            Some(point) => columns
                .iter()
                .map(|column| {
                    let lines = point.scores.get(column).map(Vec::as_slice).unwrap_or_default();
                    let missing = point.unanswered.iter().filter(|line| line.column == *column);
                    let ids = lines.iter().map(|line| line.query_id).chain(missing.map(|line| line.query_id));
                    ids.map(|query_id| {
                        let next = place.len();
                        *place.entry(query_id).or_insert(next)
                    })
                    .collect()
                })
                .collect(),
            None => {
                let lines = |column| results.references.first().and_then(|row| row.scores.get(column));
                columns.iter().map(|column| (0..lines(column).map_or(0, Vec::len)).collect()).collect()
            }
        };
        let queries = order.iter().flatten().map(|query| query + 1).max()?;
        Some(Panel { columns, samples: results.samples(), queries, place, order })
    }

    /// The panel of `second` with the columns that `first` was evaluated at too; `None` without one.
    pub fn of_both(first: &SweepResults, second: &SweepResults) -> Option<Panel> {
        let known = first.columns();
        let mut panel = Panel::of(second)?;
        let kept: Vec<bool> = panel.columns.iter().map(|column| known.contains(column)).collect();
        let mut keep = kept.iter().copied();
        panel.columns.retain(|_| keep.next().unwrap_or(false));
        let mut keep = kept.iter().copied();
        panel.order.retain(|_| keep.next().unwrap_or(false));
        (!panel.columns.is_empty()).then_some(panel)
    }

    /// The samples that `average` and all differences are computed on: the most there are.
    pub fn widest(&self) -> usize {
        self.samples.iter().map(|samples| self.cut(*samples)).max().unwrap_or(self.queries)
    }

    /// Number of queries that `samples` stands for.
    pub fn cut(&self, samples: Samples) -> usize {
        samples.map_or(self.queries, |count| count.min(self.queries))
    }

    /// A point's scores; `None` until it has been evaluated at every column.
    pub fn point(&self, point: &PointResult) -> Option<Scores> {
        let mut values = self.empty();
        for (row, column) in values.iter_mut().zip(&self.columns) {
            for line in point.scores.get(column)? {
                if let Some(&query) = self.place.get(&line.query_id) {
                    row[query] = line.score.get();
                }
            }
        }
        Some(Scores { values })
    }

    /// A reference policy's scores.
    pub fn reference(&self, reference: &ReferenceResult) -> Option<Scores> {
        let mut values = self.empty();
        for ((row, column), order) in values.iter_mut().zip(&self.columns).zip(&self.order) {
            for (score, &query) in reference.scores.get(column)?.iter().zip(order) {
                row[query] = score.get();
            }
        }
        Some(Scores { values })
    }

    fn empty(&self) -> Vec<Vec<f64>> {
        vec![vec![f64::NAN; self.queries]; self.columns.len()]
    }
}

impl Scores {
    /// Accuracy at the column with index `column` over the first `queries` queries.
    pub fn accuracy(&self, column: usize, queries: usize) -> Option<f64> {
        let present: Vec<f64> =
            self.values[column][..queries].iter().copied().filter(|score| !score.is_nan()).collect();
        mean(&present)
    }

    /// Mean over columns of the accuracy.
    pub fn average(&self, queries: usize) -> Option<f64> {
        let columns: Option<Vec<f64>> =
            (0..self.values.len()).map(|column| self.accuracy(column, queries)).collect();
        mean(&columns?)
    }

    /// These scores where `other` has one too.
    pub fn where_in(&self, other: &Scores) -> Scores {
        let cell = |(own, other): (&f64, &f64)| if other.is_nan() { f64::NAN } else { *own };
        let row = |(own, other): (&Vec<f64>, &Vec<f64>)| own.iter().zip(other).map(cell).collect();
        Scores { values: self.values.iter().zip(&other.values).map(row).collect() }
    }

    /// One figure per query whose mean is [`Scores::average`]: the mean over columns, where a column with fewer
    /// lines than queries weighs each of them accordingly more.
    pub fn by_query(&self, queries: usize) -> Vec<f64> {
        let columns = self.values.len() as f64;
        let mut sums = vec![0.0; queries];
        for row in &self.values {
            let present = row[..queries].iter().filter(|score| !score.is_nan()).count();
            let weight = queries as f64 / (present.max(1) as f64 * columns);
            for (sum, score) in sums.iter_mut().zip(row).filter(|(_, score)| !score.is_nan()) {
                *sum += score * weight;
            }
        }
        sums
    }

    /// Drops what only one of the two has.
    pub fn keep_common(&mut self, other: &mut Scores) {
        for (row, others) in self.values.iter_mut().zip(&mut other.values) {
            for (score, other) in row.iter_mut().zip(others) {
                if score.is_nan() || other.is_nan() {
                    (*score, *other) = (f64::NAN, f64::NAN);
                }
            }
        }
    }

    /// The scores at the column with index `column`, 0 where there is no line; for intervals per column.
    pub fn of_column(&self, column: usize, queries: usize) -> Vec<f64> {
        Scores { values: vec![self.values[column].clone()] }.by_query(queries)
    }
}

/// `left - right`, query by query.
pub fn difference(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(left, right)| left - right).collect()
}

/// Mean of several rows, query by query.
pub fn mean_row(rows: &[&[f64]]) -> Option<Vec<f64>> {
    let length = rows.first()?.len();
    Some(
        (0..length).map(|query| rows.iter().map(|row| row[query]).sum::<f64>() / rows.len() as f64).collect(),
    )
}
