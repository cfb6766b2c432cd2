//! Many checkpoints against each other: who is nearly the same as whom.

use rayon::prelude::*;
use serde::Serialize;

use super::{CheckpointError, Weights, compare};

/// Mean |difference| per weight below which two checkpoints count as nearly identical. The lab's six "different"
/// runs were 0.0003 apart.
pub const NEAR: f64 = 5e-4;

/// All pairwise distances.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distances {
    /// `[n, n]`, mean |difference| per weight; symmetric, zero diagonal.
    pub matrix: Vec<Vec<f64>>,
    /// Groups of two or more (indices, ascending) that are linked by distances of at most the threshold.
    pub clusters: Vec<Vec<usize>>,
    pub largest: f64,
    /// Over all pairs.
    pub median: f64,
    /// `largest / median`; `None` when the median is zero.
    pub ratio: Option<f64>,
}

/// Compares every pair; checkpoints at most `near` apart form clusters (single linkage).
///
/// # Errors
/// The first pair of different models, by index.
pub fn distances(checkpoints: &[Weights], near: f64) -> Result<Distances, (usize, usize, CheckpointError)> {
    let count = checkpoints.len();
    let pairs: Vec<(usize, usize)> =
        (0..count).flat_map(|left| (left + 1..count).map(move |right| (left, right))).collect();
    let apart = pairs
        .par_iter()
        .map(|&(left, right)| {
            let comparison = compare(&checkpoints[left], &checkpoints[right]);
            comparison.map(|comparison| comparison.all.mean_abs).map_err(|error| (left, right, error))
        })
        .collect::<Result<Vec<f64>, _>>()?;
    let mut matrix = vec![vec![0.0; count]; count];
    let mut cluster: Vec<usize> = (0..count).collect();
    for (&(left, right), &distance) in pairs.iter().zip(&apart) {
        matrix[left][right] = distance;
        matrix[right][left] = distance;
        if distance <= near {
            let (kept, joined) = (cluster[left], cluster[right]);
            cluster.iter_mut().filter(|name| **name == joined).for_each(|name| *name = kept);
        }
    }
    let members = |name| (0..count).filter(|index| cluster[*index] == name).collect::<Vec<_>>();
    let mut clusters: Vec<Vec<usize>> = (0..count).map(members).filter(|members| members.len() > 1).collect();
    clusters.sort();
    let mut sorted = apart;
    sorted.sort_by(f64::total_cmp);
    let median = match sorted.as_slice() {
        [] => 0.0,
        values if values.len() % 2 == 1 => values[values.len() / 2],
        values => f64::midpoint(values[values.len() / 2 - 1], values[values.len() / 2]),
    };
    let largest = sorted.last().copied().unwrap_or(0.0);
    Ok(Distances { matrix, clusters, largest, median, ratio: (median > 0.0).then(|| largest / median) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Array;

    #[test]
    fn near_ones_are_linked_and_others_are_not() {
        let at = |value: f32| Weights::from([("w".into(), Array { shape: vec![1], values: vec![value] })]);
        let found = distances(&[at(0.0), at(5.0), at(0.75), at(1.5), at(5.5)], 0.75).unwrap();
        assert_eq!(found.clusters, [vec![0, 2, 3], vec![1, 4]]);
        assert_eq!((found.matrix[0][1], found.matrix[1][0], found.matrix[3][3]), (5.0, 5.0, 0.0));
        assert_eq!((found.largest, found.median), (5.5, 3.75));
        let same = distances(&[at(1.0), at(1.0)], 0.0).unwrap();
        assert_eq!((same.clusters, same.ratio), (vec![vec![0, 1]], None));
    }
}
