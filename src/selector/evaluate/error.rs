//! What can be wrong with an evaluation file, said with line, query id and field.

use std::path::PathBuf;

use crate::selector::data::Fault;

/// Why an evaluation file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The file cannot be read; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("`{}`:{line}:{column}: {message}{hint}", file.display())]
    Json { file: PathBuf, line: usize, column: usize, message: String, hint: &'static str },
    /// JSON of the right shape that says something impossible.
    #[error("`{}`:{line}: query {query_id}: `{field}` {fault}", file.display())]
    Line { file: PathBuf, line: usize, query_id: u64, field: String, fault: Fault },
    #[error(
        "`{}`:{line}: query {query_id} has {shot} shots a second time (first in line {first})\nhint: keep one of the two lines",
        file.display()
    )]
    DuplicateLine { file: PathBuf, line: usize, first: usize, query_id: u64, shot: usize },
    #[error("`{}`: no query in the file", file.display())]
    NoQueries { file: PathBuf },
    #[error(
        "`{}`: no query has {shot} shots\nhint: the file has shots {}; set `eval.shots` to some of them",
        file.display(), list(present)
    )]
    MissingShot { file: PathBuf, shot: usize, present: Vec<usize> },
    #[error(
        "`{}`: query {query_id} has no line with {shot} shots, but others have\nhint: every query must have every count in `eval.shots`; this one has {}",
        file.display(), list(present)
    )]
    IncompleteQuery { file: PathBuf, query_id: u64, shot: usize, present: Vec<usize> },
    #[error(
        "`eval.samples` asks for {asked} queries, but `{}` has {queries}\nhint: -1 uses all of them",
        file.display()
    )]
    TooManySamples { file: PathBuf, asked: usize, queries: usize },
    #[error(transparent)]
    Items(#[from] crate::judge::ItemsError),
    #[error(
        "`eval.shots` asks for {shot} demonstrations, and the pool of query {query_id} has {pool}\nhint: no demonstration is shown twice"
    )]
    SmallPool { shot: usize, query_id: u64, pool: usize },
    #[error(
        "`eval.queries` is not given, and the training data leave no validation queries\nhint: name a file of queries with their `candidate_pool_ids`"
    )]
    NoValidation,
    #[error(
        "there are no queries: no item has `split` \"eval\", or none has `split` \"support\"\nhint: name a file of queries with their `candidate_pool_ids`, or give the items their splits"
    )]
    NoItemQueries,
    #[error(
        "item {id} has no row in the embeddings, which have {rows} rows\nhint: an item's id is the number of its row"
    )]
    ItemOutside { id: u64, rows: usize },
    #[error(
        "`{}`:{line}: query {query_id} has other candidates than in line {first}\nhint: a judge is asked with one pool per query; give the query one pool",
        file.display()
    )]
    OtherPool { file: PathBuf, line: usize, first: usize, query_id: u64 },
    #[error(
        "`SSL_CERT_FILE`: `{path}`: {cause}\nhint: it names a PEM file with the certificates of trusted authorities"
    )]
    Authorities { path: String, cause: String },
    #[error("`eval.{key}` is empty or holds a 0: there would be nothing to evaluate")]
    NothingAsked { key: &'static str },
}

fn list(shots: &[usize]) -> String {
    shots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
