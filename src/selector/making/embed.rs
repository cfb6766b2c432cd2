//! The matrix of the items' embeddings: one row an item, its id is the row.

use std::collections::BTreeMap;

use crate::checkpoint::Array;
use crate::judge::{Embedded, Items};

/// Ids may leave rows free, but not most of a matrix.
const MOST_ROWS_PER_ITEM: u64 = 4;

/// Why a matrix cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error("there are no items")]
    NoItems,
    #[error(
        "the largest id is {largest}, and there are {items} items\nhint: the id of an item is its row; number them from 0"
    )]
    LargeIds { largest: u64, items: usize },
    #[error(
        "the server gave embeddings of {0} and of {1} numbers\nhint: one model gives one length; is `--model` what the server runs?"
    )]
    Widths(usize, usize),
}

/// What is embedded of each item, by id: `template` with `{question}` and `{answer}` replaced.
///
/// # Errors
/// Ids that are no rows.
pub fn texts(items: &Items, template: &str) -> Result<BTreeMap<u64, String>, EmbedError> {
    let ids = items.ids();
    let largest = *ids.last().ok_or(EmbedError::NoItems)?;
    if largest >= MOST_ROWS_PER_ITEM * ids.len() as u64 + 1_000 {
        return Err(EmbedError::LargeIds { largest, items: ids.len() });
    }
    // A question that holds a mark is not looked into.
    let of = |id: u64| {
        let item = items.get(id)?;
        let parts = template.split("{question}").map(|part| part.replace("{answer}", item.answer()));
        Some((id, parts.collect::<Vec<_>>().join(&item.question)))
    };
    Ok(ids.into_iter().filter_map(of).collect())
}

/// The matrix `[largest id + 1, d]` of `texts`, whose vectors are all in `embedded`; rows without an item are 0.
/// `normalize`: rows of length 1.
///
/// # Errors
/// Vectors of different lengths.
pub fn matrix(
    texts: &BTreeMap<u64, String>,
    embedded: &Embedded,
    normalize: bool,
) -> Result<Array, EmbedError> {
    let rows = texts.keys().last().map_or(0, |id| *id as usize + 1);
    let width = embedded.vectors.values().next().map_or(0, Vec::len);
    let mut values = vec![0.0; rows * width];
    for (id, text) in texts {
        let Some(vector) = embedded.vectors.get(text) else { continue };
        if vector.len() != width {
            return Err(EmbedError::Widths(width, vector.len()));
        }
        let square: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
        let scale = if normalize && square > 0.0 { square.sqrt() } else { 1.0 };
        let row = &mut values[*id as usize * width..][..width];
        for (place, value) in row.iter_mut().zip(vector) {
            *place = (f64::from(*value) / scale) as f32;
        }
    }
    Ok(Array { shape: vec![rows, width], values })
}
