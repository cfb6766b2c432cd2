//! Evaluation queries that training has seen, and queries that may be their own demonstration: accuracy on them says
//! nothing of new queries.

use std::collections::HashSet;

use super::EvalQuery;
use crate::record::Leaks;
use crate::selector::data::Dataset;

/// Looks for them. Two queries are one when they have the same id, or embeddings that are equal to the last bit.
pub fn leaks(dataset: &Dataset, queries: &[EvalQuery]) -> Leaks {
    // `data check` may look at trajectories alone.
    let known = dataset.embeddings.rows > 0;
    let bits = |query: u64| -> Vec<u32> {
        dataset.embeddings.row(query as usize).iter().map(|value| value.to_bits()).collect()
    };
    let own = |query: u64, pool: &[u32]| pool.iter().any(|&id| u64::from(id) == query);
    let trained: HashSet<u64> = dataset.train.iter().map(|group| group.query_id).collect();
    let rows: HashSet<Vec<u32>> = trained.iter().filter(|_| known).map(|&query| bits(query)).collect();
    let mut found = Leaks {
        training_in_own_pool: dataset.groups().filter(|group| own(group.query_id, &group.pool)).count(),
        ..Leaks::default()
    };
    let distinct: HashSet<u64> = queries.iter().map(|query| query.query_id).collect();
    found.queries = distinct.len();
    for &query in &distinct {
        if trained.contains(&query) {
            found.by_id += 1;
        } else if known && rows.contains(&bits(query)) {
            found.by_embedding += 1;
        }
    }
    let in_own = queries.iter().filter(|query| own(query.query_id, &query.pool));
    found.evaluation_in_own_pool = in_own.map(|query| query.query_id).collect::<HashSet<_>>().len();
    found
}
