//! Reading: both files at once, the groups on all cores, then the checks that need all groups.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rayon::prelude::*;

use super::error::{DataError, Fault};
use super::group::{self, Age, Built, MethodShare, Rules};
use super::input::read_text;
use super::json::{self, Entry, RawGroup, Source};
use super::{Dataset, Dropped, Embeddings, Group};
use crate::checkpoint::read_matrix;
use crate::selector::DataParams;

/// A data set with what is worth knowing about the files it came from.
#[derive(Clone, Debug)]
pub struct Inspection {
    pub dataset: Dataset,
    pub facts: Facts,
}

/// What `data check` says of a pair of files beside the data set itself.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Integer keys of the file, and how many of them (the first in numeric order) are for training.
    pub queries: usize,
    pub train_queries: usize,
    /// Trajectories in the file, before the filters.
    pub trajectories: usize,
    /// Queries by the age of their format.
    pub ages: BTreeMap<Age, usize>,
    /// Kept trajectories by `gen_method`, as far as their correctness is known.
    pub methods: BTreeMap<String, MethodShare>,
    /// blake3 (hex) of the contents of the two files (of the text, where it is packed); the second is empty where no embeddings were read.
    pub trajectories_hash: String,
    pub embeddings_hash: String,
}

/// Reads, checks, filters and splits a data set.
///
/// The split counts integer keys before anything is dropped: sorted numerically, the first
/// `floor(n * train_fraction)` are for training.
///
/// # Errors
/// Anything unreadable, of the wrong shape or impossible, with file, query id and field; no training query left.
pub fn load(params: &DataParams) -> Result<Dataset, DataError> {
    inspect(params).map(|inspection| inspection.dataset)
}

/// [`load`] with facts about the files.
///
/// # Errors
/// As [`load`].
pub fn inspect(params: &DataParams) -> Result<Inspection, DataError> {
    // The matrix says which ids exist, so it comes before parsing. Whatever can share the cores does.
    let (text, (embeddings_hash, embeddings)) = rayon::join(
        || read_text(&params.trajectories),
        || rayon::join(|| hash_file(&params.embeddings), || read_embeddings(&params.embeddings)),
    );
    let (text, embeddings_hash, embeddings) = (text?, embeddings_hash?, embeddings?);
    let (mut dataset, mut facts) = hash_and_parse(&text, params, Some(embeddings.rows))?;
    facts.embeddings_hash = embeddings_hash.to_hex().to_string();
    dataset.digest = digest(&facts, params);
    dataset.embeddings = embeddings;
    Ok(Inspection { dataset, facts })
}

/// [`inspect`] for trajectories alone: ids are not compared with a matrix, and the data set's embeddings are
/// empty (0 x 0).
///
/// # Errors
/// As [`load`], for the trajectories.
pub fn inspect_trajectories(params: &DataParams) -> Result<Inspection, DataError> {
    let text = read_text(&params.trajectories)?;
    let (mut dataset, facts) = hash_and_parse(&text, params, None)?;
    dataset.digest = digest(&facts, params);
    Ok(Inspection { dataset, facts })
}

fn hash_and_parse(
    text: &[u8],
    params: &DataParams,
    rows: Option<usize>,
) -> Result<(Dataset, Facts), DataError> {
    let (hash, parsed) =
        rayon::join(|| blake3::hash(text), || parse(&params.trajectories, text, params, rows));
    let (dataset, mut facts) = parsed?;
    facts.trajectories_hash = hash.to_hex().to_string();
    Ok((dataset, facts))
}

/// Identity of a data set: the contents of its files and the parameters that are not paths.
fn digest(facts: &Facts, params: &DataParams) -> String {
    let DataParams { trajectories: _, embeddings: _, train_fraction, keep_fallback, require_positive } =
        params;
    let text = format!(
        "sweep data 1\n{}\n{}\n{train_fraction:e} {keep_fallback} {require_positive}\n",
        facts.trajectories_hash, facts.embeddings_hash
    );
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn hash_file(path: &Path) -> Result<blake3::Hash, DataError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs_err::File::open(path)?)?;
    Ok(hasher.finalize())
}

/// The embedding matrix, with no NaN or infinity in it.
///
/// # Errors
/// A file that cannot be read, is no matrix, or has such values.
pub fn read_embeddings(path: &Path) -> Result<Embeddings, DataError> {
    let array = read_matrix(path)?;
    let (rows, dim) = match array.shape[..] {
        [rows, dim] if rows > 0 && dim > 0 => (rows, dim),
        _ => return Err(DataError::NotAMatrix { file: path.to_path_buf(), shape: array.shape }),
    };
    match array.values.par_iter().position_first(|value| !value.is_finite()) {
        None => Ok(Embeddings { rows, dim, values: array.values }),
        Some(at) => Err(DataError::NonFinite {
            file: path.to_path_buf(),
            row: at / dim,
            column: at % dim,
            value: array.values[at],
        }),
    }
}

/// Text -> groups; pure. The embeddings and the digest of the data set are left empty. `rows` is the number
/// of global ids, if it is known. Of several mistakes the first in the file is reported.
pub(super) fn parse(
    path: &Path,
    text: &[u8],
    params: &DataParams,
    rows: Option<usize>,
) -> Result<(Dataset, Facts), DataError> {
    let fraction = params.train_fraction;
    if !(fraction > 0.0 && fraction <= 1.0) {
        return Err(DataError::TrainFraction(fraction));
    }
    let source = Source { path, text };
    let entries = source.entries()?;
    let keys = entries.len();
    let (queries, others): (Vec<Entry<'_>>, Vec<Entry<'_>>) =
        entries.into_iter().partition(|entry| json::is_query(&entry.key));
    for entry in &others {
        source.typed::<serde::de::IgnoredAny>(entry.value.clone(), &entry.key)?;
    }
    if queries.is_empty() {
        return Err(DataError::NoQueries { file: path.to_path_buf(), keys });
    }
    let ids = query_ids(source, &queries)?;
    let rules =
        Rules { rows, keep_fallback: params.keep_fallback, require_positive: params.require_positive };
    let built: Vec<Result<Built, DataError>> = queries
        .par_iter()
        .zip(&ids)
        .map(|(entry, &query_id)| {
            let raw: RawGroup = source.typed(entry.value.clone(), &entry.key)?;
            group::build(query_id, raw, rules).map_err(|wrong| group_error(path, query_id, wrong))
        })
        .collect();
    let built: Vec<(u64, Built)> =
        ids.into_iter().zip(built).map(|(id, built)| Ok((id, built?))).collect::<Result<_, DataError>>()?;
    check_lengths(&built).map_err(|(query_id, wrong)| group_error(path, query_id, wrong))?;
    assemble(path, built, fraction, others.len())
}

fn group_error(path: &Path, query_id: u64, (field, fault): group::Wrong) -> DataError {
    DataError::Group { file: path.to_path_buf(), query_id, field, fault }
}

/// The ids of the queries, in file order; each occurs once.
fn query_ids(source: Source<'_>, queries: &[Entry<'_>]) -> Result<Vec<u64>, DataError> {
    let mut seen: HashMap<u64, usize> = HashMap::with_capacity(queries.len());
    let mut ids = Vec::with_capacity(queries.len());
    for (index, entry) in queries.iter().enumerate() {
        // Only digits, so the one way to fail is a number beyond 64 bits.
        let too_large =
            || DataError::KeyTooLarge { file: source.path.to_path_buf(), key: entry.key.to_string() };
        let id = entry.key.parse().map_err(|_| too_large())?;
        if let Some(first) = seen.insert(id, index) {
            let line = |entry: &Entry<'_>| source.position(entry.value.start).0;
            return Err(DataError::DuplicateQuery {
                file: source.path.to_path_buf(),
                query_id: id,
                first: line(&queries[first]),
                second: line(entry),
            });
        }
        ids.push(id);
    }
    Ok(ids)
}

/// All sequences have one length; where they have not, the most common one is taken to be meant.
fn check_lengths(built: &[(u64, Built)]) -> Result<(), (u64, group::Wrong)> {
    let mut count: BTreeMap<usize, usize> = BTreeMap::new();
    for (id, one) in built {
        for trajectory in one.group.iter().flat_map(|group| &group.trajectories) {
            *count.entry(trajectory.pointer.len()).or_default() += 1;
        }
        debug_assert!(one.group.as_ref().is_none_or(|group| group.query_id == *id));
    }
    let Some(expected) = count.into_iter().max_by_key(|(_, count)| *count).map(|(length, _)| length) else {
        return Ok(());
    };
    for (query_id, one) in built {
        for (kept, trajectory) in one.group.iter().flat_map(|group| &group.trajectories).enumerate() {
            let found = trajectory.pointer.len();
            if found != expected {
                let field = group::path(one.age, one.origin[kept], "pointer");
                return Err((*query_id, (field, Fault::Length { found, expected })));
            }
        }
    }
    Ok(())
}

/// Sorts by id, splits, and gathers what was counted.
fn assemble(
    path: &Path,
    mut built: Vec<(u64, Built)>,
    fraction: f64,
    non_integer_keys: usize,
) -> Result<(Dataset, Facts), DataError> {
    built.sort_unstable_by_key(|(query_id, _)| *query_id);
    let train_queries = (built.len() as f64 * fraction) as usize;
    let mut facts = Facts { queries: built.len(), train_queries, ..Facts::default() };
    let mut dropped = Dropped { non_integer_keys, ..Dropped::default() };
    let (mut train, mut validation): (Vec<Group>, Vec<Group>) = Default::default();
    for (rank, (_, one)) in built.into_iter().enumerate() {
        facts.trajectories += one.read;
        *facts.ages.entry(one.age).or_default() += 1;
        for (method, share) in one.methods {
            let total = facts.methods.entry(method).or_default();
            total.judged += share.judged;
            total.right += share.right;
        }
        dropped.add(&one.dropped);
        if rank < train_queries { train.extend(one.group) } else { validation.extend(one.group) }
    }
    if train.is_empty() {
        return Err(nothing_left(path, &facts, &dropped));
    }
    let embeddings = Embeddings { rows: 0, dim: 0, values: Vec::new() };
    Ok((Dataset { embeddings, train, validation, dropped, digest: String::new() }, facts))
}

fn nothing_left(path: &Path, facts: &Facts, dropped: &Dropped) -> DataError {
    let reasons: Vec<String> =
        dropped.reasons().iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let hint = if dropped.no_positive > 0 {
        "with `require_positive = false` queries without a right answer stay"
    } else if dropped.fallback > 0 {
        "with `keep_fallback = true` fallback verdicts stay"
    } else if facts.train_queries == 0 {
        "raise `train_fraction`, or use a file with more queries"
    } else {
        "is this the file that was meant?"
    };
    DataError::NothingLeft {
        file: path.to_path_buf(),
        queries: facts.queries,
        train: facts.train_queries,
        dropped: if reasons.is_empty() { "nothing".to_string() } else { reasons.join(", ") },
        hint,
    }
}
