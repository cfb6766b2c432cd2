//! What can be wrong with data, said with file, query id and field.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::selector::RewardMode;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file cannot be read; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The embeddings cannot be read; the message names the file.
    #[error(transparent)]
    Embeddings(#[from] CheckpointError),
    #[error(
        "`{}`: the embeddings have shape {shape:?}, expected a matrix [N, d] with at least one row and column",
        file.display()
    )]
    NotAMatrix { file: PathBuf, shape: Vec<usize> },
    #[error("`{}`: row {row}, column {column} of the embeddings is {value}", file.display())]
    NonFinite { file: PathBuf, row: usize, column: usize, value: f32 },
    /// Not JSON, or JSON of another shape. `place` is empty or ` (query 12, field `...`)`.
    #[error("`{}`:{line}:{column}: {message}{place}{hint}", file.display())]
    Json { file: PathBuf, line: usize, column: usize, message: String, place: String, hint: &'static str },
    #[error(
        "`{}`: query {query_id} occurs twice, in line {first} and line {second}\nhint: keep one of the two entries",
        file.display()
    )]
    DuplicateQuery { file: PathBuf, query_id: u64, first: usize, second: usize },
    /// JSON of the right shape that says something impossible.
    #[error("`{}`: query {query_id}: `{field}` {fault}", file.display())]
    Group { file: PathBuf, query_id: u64, field: String, fault: Fault },
    #[error("`{}`: query id {key} is too large to be a row of the embedding matrix", file.display())]
    KeyTooLarge { file: PathBuf, key: String },
    #[error(
        "`{}`: no query in the file: none of its {keys} keys is an integer\nhint: the keys of the file's top level are the queries' global ids",
        file.display()
    )]
    NoQueries { file: PathBuf, keys: usize },
    #[error(
        "`{}`: no training query is left of {queries} (the first {train} in numeric order are for training; dropped: {dropped})\nhint: {hint}",
        file.display()
    )]
    NothingLeft { file: PathBuf, queries: usize, train: usize, dropped: String, hint: &'static str },
    #[error("`train_fraction` is {0}, but must be above 0 and at most 1")]
    TrainFraction(f64),
    #[error(
        "reward mode `{}` needs `{field}`, which trajectory {trajectory} of query {query_id} does not have\nhint: {hint}",
        mode.name()
    )]
    MissingScore {
        mode: RewardMode,
        query_id: u64,
        /// Index among the trajectories that the filters kept.
        trajectory: usize,
        field: &'static str,
        hint: String,
    },
}

/// What is wrong with one field of a query group or of a line of logged trajectories.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error("is missing")]
    Missing,
    #[error("is missing, and `{0}` needs it")]
    MissingFor(&'static str),
    #[error(
        "is missing\nhint: a query has `pointer_candidates`, or in the oldest files `id_list` and `score_list`"
    )]
    MissingTrajectories,
    #[error(
        "is there, but `candidate_pool_ids` is not: local ids in `pointer` cannot be resolved\nhint: give the pool, or (older files) only `pointer` with global ids"
    )]
    GlobalWithoutPool,
    #[error("is there beside `id_list`: a query is of one age of the format only")]
    MixedAges,
    #[error("is empty")]
    Empty,
    #[error(
        "global id {id} is outside the embedding matrix of {rows} rows\nhint: row = global id; do the two files belong together?"
    )]
    OutsideMatrix { id: u64, rows: usize },
    #[error("local id {id} is outside the pool of {pool} candidates (0..{})", pool.saturating_sub(1))]
    OutsidePool { id: u32, pool: usize },
    #[error("names {id} twice")]
    Repeated { id: u32 },
    #[error("has {found} demonstrations, {expected} expected as in the other trajectories")]
    Length { found: usize, expected: usize },
    #[error("has {found} demonstrations, but `shot` is {shot}")]
    NotShots { found: usize, shot: usize },
    #[error("has {found} entries, {expected} expected")]
    Entries { found: usize, expected: usize },
    #[error("is {found}, but `pointer` names local id {local}, which is candidate {expected} of the pool")]
    Inconsistent { found: u32, local: u32, expected: u32 },
    #[error("ends with {found}, but the last entry of an `id_list` item is the query's own id")]
    NotTheQuery { found: u32 },
    #[error("is {value}, but must lie between 0 and 1")]
    OutOfRange { value: f64 },
    #[error("is {value}, but must be 0 or 1")]
    NotBinary { value: f64 },
}
