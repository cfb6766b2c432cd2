//! Why data cannot be made.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::judge::ItemsError;
use crate::selector::data::DataError;
use crate::selector::evaluate::EvaluateError;

/// Why data cannot be made; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum MakingError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Items(#[from] ItemsError),
    #[error(transparent)]
    Embeddings(#[from] DataError),
    #[error(transparent)]
    Judge(#[from] EvaluateError),
    #[error(transparent)]
    Policy(#[from] CheckpointError),
    #[error("`{}` does not fit: {cause}\nhint: [model] and the embeddings are those that it was trained with", path.display())]
    Misfit { path: PathBuf, cause: String },
    #[error("`{}`: item {id} has no row in the embeddings, which have {rows}\nhint: the id of an item is its row, from 0", items.display())]
    NoRow { items: PathBuf, id: u64, rows: usize },
    #[error("`{}`: item {id} has no `split`, and others have\nhint: give every item one (`train`, `eval` or `support`; any other is left out), or none", items.display())]
    NoSplit { items: PathBuf, id: u64 },
    #[error("`data.build`: there are no {what} among the {items} items\nhint: {hint}")]
    None { what: &'static str, items: usize, hint: &'static str },
    #[error(
        "`data.build.train_share` and `data.build.eval_share` are more than 1 together: no demonstrations are left"
    )]
    Shares,
    #[error(
        "`data.build.pool` asks for {pool} candidates, and only {support} items are demonstrations\nhint: a smaller pool, or more items with the split `support`"
    )]
    SmallSupport { pool: usize, support: usize },
    #[error(
        "`data.build.{key}` asks for {length} demonstrations out of a pool of {pool}\nhint: no demonstration is shown twice"
    )]
    LongSequence { key: &'static str, length: usize, pool: usize },
    #[error(
        "`data.build`: no sequences are asked for\nhint: set `random`, `retrieval`, `sample`, `beam` or `policy_sample` to 1 or more"
    )]
    NoSequences,
    #[error(
        "`data.build.{key}` asks for sequences of a policy, and there is none\nhint: `policy = \"...\"` names a checkpoint"
    )]
    NoPolicy { key: &'static str },
    #[error("`{}` is there and was made otherwise: {difference}\nhint: `--force` replaces it; another `data.trajectories` (or `-o`) keeps both", path.display())]
    Other { path: PathBuf, difference: String },
    #[error(
        "nothing is left of the {queries} queries: {why}\nhint: the judge finds all sequences alike; try other methods, or leave `require_mixed` out"
    )]
    NothingLeft { queries: usize, why: String },
}
