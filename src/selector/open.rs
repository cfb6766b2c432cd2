//! Reading and checking the inputs of a sweep: data, rewards, evaluation file, warm-start checkpoints.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chains;
use super::data::{self, DataError, Dataset};
use super::evaluate::{EvaluateError, Live, Logged};
use super::learn::{Layout, RewardTable, Shape};
use super::opened::{Evaluation, Inputs, Selector};
use crate::checkpoint::{self, CheckpointError, Weights};
use crate::plan::Plan;
use crate::spec::{ModelParams, RewardParams, SweepSpec};

/// What is wrong with an input.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    #[error("the sweep has no points")]
    NoPoints,
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("`{}` does not fit the model of the sweep: {cause}\nhint: compare `[model]` and the embeddings with `sweep ckpt show`", path.display())]
    WarmStart { path: PathBuf, cause: String },
    #[error("`{}` cannot be trained from: {cause}\nhint: its training diverged; start from an earlier checkpoint (`sweep ckpt ls` lists them)", path.display())]
    NotFinite { path: PathBuf, cause: String },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads and checks everything `spec` refers to, and plans. Without `share` every point gets stages of its own.
///
/// # Errors
/// Whatever is wrong with an input; nothing has been written then.
pub fn open(spec: &SweepSpec, share: bool) -> Result<(Selector, Plan), SelectorError> {
    let first = spec.points.first().ok_or(SelectorError::NoPoints)?;
    let dataset = data::load(&first.config.data)?;
    let mut hashes = BTreeMap::from([
        ("data.trajectories".to_owned(), hash_file(&first.config.data.trajectories)?),
        ("data.embeddings".to_owned(), hash_file(&first.config.data.embeddings)?),
        ("data".to_owned(), dataset.digest.clone()),
    ]);
    let (mut logged, mut live) = (None, None);
    if let Some(eval) = &spec.eval {
        let files =
            [("eval.logged", &eval.logged), ("eval.queries", &eval.queries), ("eval.items", &eval.items)];
        for (key, path) in files.into_iter().filter(|(_, path)| !path.as_os_str().is_empty()) {
            hashes.insert(key.to_owned(), hash_file(path)?);
        }
        match eval.is_live() {
            true => live = Some(Live::load(eval, &dataset)?),
            false => logged = Some(Logged::load(eval, &dataset.embeddings)?),
        }
    }
    let rewards = reward_tables(spec, &dataset)?;
    let (starts, checkpoints) = warm_starts(spec, dataset.embeddings.dim)?;
    for (path, content) in &checkpoints {
        hashes.insert(format!("train.init:{}", path.display()), content.clone());
    }
    let facts = chains::Inputs {
        dim: dataset.embeddings.dim,
        data: dataset.digest.clone(),
        train_groups: dataset.train.len(),
        checkpoints,
    };
    let (plan, works) = chains::plan(&spec.points, &facts, share);
    let evaluation = Evaluation { params: spec.eval.clone(), logged, live };
    let inputs = Inputs { dataset, works, rewards, starts, evaluation, hashes };
    Ok((Selector::new(inputs), plan))
}

fn reward_tables(
    spec: &SweepSpec,
    dataset: &Dataset,
) -> Result<Vec<(RewardParams, Arc<RewardTable>)>, SelectorError> {
    let mut tables: Vec<(RewardParams, Arc<RewardTable>)> = Vec::new();
    for point in &spec.points {
        let params = &point.config.reward;
        if tables.iter().any(|(known, _)| known == params) {
            continue;
        }
        data::check_rewards(dataset, params)?;
        let mut table = RewardTable::default();
        for group in &dataset.train {
            let rewards = data::rewards(group, params);
            table.raw.push(rewards.raw);
            table.normalized.push(rewards.normalized);
        }
        table.validation = dataset.validation.iter().map(|group| data::rewards(group, params).raw).collect();
        tables.push((params.clone(), Arc::new(table)));
    }
    Ok(tables)
}

/// Weights by content hash, and the content hash of every path.
type WarmStarts = (HashMap<String, Weights>, HashMap<PathBuf, String>);

/// Reads every warm-start checkpoint once and checks that it fits the models that use it.
fn warm_starts(spec: &SweepSpec, dim: usize) -> Result<WarmStarts, SelectorError> {
    let (mut starts, mut hashes) = (HashMap::new(), HashMap::new());
    let mut checked: Vec<(&PathBuf, &ModelParams)> = Vec::new();
    for point in &spec.points {
        let Some(path) = &point.config.train.init else { continue };
        if !hashes.contains_key(path) {
            let weights = checkpoint::read(path)?.weights;
            if let Some((name, at, value)) = checkpoint::not_finite(&weights) {
                let cause = format!("its parameter `{name}` holds {value} (value {at}, counted from 0)");
                return Err(SelectorError::NotFinite { path: path.clone(), cause });
            }
            // The weights' hash, not the file's: the same weights in another format are the same start.
            let content = checkpoint::content_hash(&weights);
            hashes.insert(path.clone(), content.clone());
            starts.insert(content, weights);
        }
        let pair = (path, &point.config.model);
        if !checked.contains(&pair) {
            let layout = Layout::new(Shape::new(dim, pair.1));
            let fits = layout.flatten(&starts[&hashes[path]]);
            fits.map_err(|cause| SelectorError::WarmStart { path: path.clone(), cause })?;
            checked.push(pair);
        }
    }
    Ok((starts, hashes))
}

/// Content hash (blake3, hex) of a file.
pub fn hash_file(path: &Path) -> Result<String, std::io::Error> {
    let mut hasher = blake3::Hasher::new();
    let mut file = fs_err::File::open(path)?;
    hasher.update_reader(&mut file)?;
    Ok(hasher.finalize().to_hex().to_string())
}
