//! Queries and candidates told from the items alone, where no file names them.

use rayon::prelude::*;

use super::error::EvaluateError;
use super::logged::EvalQuery;
use super::references::cosine;
use crate::judge::Items;
use crate::selector::data::Embeddings;

/// Candidates of a query.
const POOL: usize = 64;

/// The items of split `eval`, each with the items of split `support` that are nearest to it (by cosine, of equal ones the
/// lower id first); of items without splits every one is a query, and all others are its candidates. In the order of ids.
///
/// # Errors
/// No such items, an item that has no row in the matrix.
pub fn queries_of(items: &Items, embeddings: &Embeddings) -> Result<Vec<EvalQuery>, EvaluateError> {
    let all = items.ids();
    if let Some(&id) = all.iter().find(|id| **id >= embeddings.rows as u64) {
        return Err(EvaluateError::ItemOutside { id, rows: embeddings.rows });
    }
    let of = |split: &str| -> Vec<u64> {
        let is_in = |id: &&u64| items.get(**id).is_some_and(|item| item.split.as_deref() == Some(split));
        all.iter().filter(is_in).copied().collect()
    };
    let without = all.iter().all(|id| items.get(*id).is_some_and(|item| item.split.is_none()));
    let (queries, candidates) = if without { (all.clone(), all) } else { (of("eval"), of("support")) };
    if queries.is_empty() || candidates.is_empty() {
        return Err(EvaluateError::NoItemQueries);
    }
    let nearest = |&query_id: &u64| {
        let row = embeddings.row(query_id as usize);
        let others = candidates.iter().filter(|id| **id != query_id);
        let mut near: Vec<(f64, u64)> =
            others.map(|&id| (cosine(row, embeddings.row(id as usize)), id)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        // A row's number is below that of the rows, which fits.
        let pool = near.into_iter().take(POOL).map(|(_, id)| id as u32).collect();
        EvalQuery { query_id, pool }
    };
    Ok(queries.par_iter().map(nearest).collect())
}
