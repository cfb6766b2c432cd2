//! What the values of an axis do, averaged over everything else.

use super::matrix::{LEVEL, Matrix, Row};
use super::panel::{Panel, difference, mean_row};
use super::stats::sign_flip;
use crate::store::SweepResults;

/// The scores of every point, laid over the same queries.
pub struct PointScores {
    pub queries: usize,
    /// By point, one figure per query.
    rows: Vec<Option<Vec<f64>>>,
}

impl PointScores {
    /// `None` without evaluation.
    pub fn of(results: &SweepResults) -> Option<Self> {
        let panel = Panel::of(results)?;
        let queries = panel.widest();
        let by_query = |point| panel.point(point).map(|scores| scores.by_query(queries));
        Some(Self { queries, rows: results.points.iter().map(by_query).collect() })
    }

    /// Mean over the points that `chosen` keeps, query by query.
    pub fn mean(&self, matrix: &Matrix, chosen: impl Fn(&Row) -> bool) -> Option<Vec<f64>> {
        let members: Vec<&[f64]> = matrix
            .points
            .iter()
            .zip(&self.rows)
            .filter(|(row, _)| chosen(row))
            .filter_map(|(_, scores)| scores.as_deref())
            .collect();
        mean_row(&members)
    }
}

/// Mean over queries.
pub fn average(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len().max(1) as f64
}

/// The values of one axis against each other.
pub struct Effect {
    /// Every value with the mean of its points, query by query, in the order of the grid.
    pub values: Vec<(String, Vec<f64>)>,
    /// Places of the best and of the worst of them.
    pub top: usize,
    pub low: usize,
    /// Probability of a difference as large as theirs without any true one. The two were chosen for their difference,
    /// out of so many pairs.
    pub p: f64,
}

impl Effect {
    /// `None` where fewer than two values have scores.
    pub fn of(matrix: &Matrix, axis: usize, scores: &PointScores) -> Option<Self> {
        let mean = |value: String| {
            let mean = scores.mean(matrix, |row| row.axes[axis] == value)?;
            Some((value, mean))
        };
        let values: Vec<(String, Vec<f64>)> = matrix.values(axis).into_iter().filter_map(mean).collect();
        let order = |a: &usize, b: &usize| average(&values[*a].1).total_cmp(&average(&values[*b].1));
        let top = (0..values.len()).max_by(order)?;
        let low = (0..values.len()).min_by(order)?;
        (values.len() > 1).then_some(())?;
        let pairs = (values.len() * (values.len() - 1) / 2) as f64;
        let p = (sign_flip(&difference(&values[top].1, &values[low].1)) * pairs).min(1.0);
        Some(Self { values, top, low, p })
    }

    /// Where values are listed: all, or of many the best and the worst, in their order.
    pub fn listed(&self) -> Vec<usize> {
        extremes(&self.values.iter().map(|(_, row)| average(row)).collect::<Vec<f64>>())
    }

    /// Best minus worst value, query by query.
    pub fn gap(&self) -> Vec<f64> {
        difference(&self.values[self.top].1, &self.values[self.low].1)
    }

    /// Whether best and worst value can be told apart.
    pub fn is_told(&self) -> bool {
        self.p <= LEVEL
    }

    /// Every value minus the mean of all, query by query.
    pub fn deviations(&self) -> Vec<Vec<f64>> {
        let rows: Vec<&[f64]> = self.values.iter().map(|(_, row)| row.as_slice()).collect();
        let middle = mean_row(&rows).unwrap_or_default();
        rows.into_iter().map(|row| difference(row, &middle)).collect()
    }
}

/// Values that are listed of many: as many of the best as of the worst.
const LISTED: usize = 4;

/// The places of all `figures`, or of many those of the highest and the lowest, ascending.
pub fn extremes(figures: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..figures.len()).collect();
    if places.len() > 2 * LISTED {
        places.sort_by(|a, b| figures[*a].total_cmp(&figures[*b]));
        places.drain(LISTED..figures.len() - LISTED);
        places.sort_unstable();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::extremes;

    #[test]
    fn of_many_values_the_best_and_the_worst_are_listed() {
        assert_eq!(extremes(&[0.0; 8]), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(
            extremes(&[5.0, 1.0, 5.0, 9.0, 2.0, 5.0, 8.0, 3.0, 7.0, 6.0, 4.0]),
            [1, 3, 4, 6, 7, 8, 9, 10]
        );
        assert_eq!(extremes(&[1.0; 20]).len(), 8, "also of ties");
    }
}
