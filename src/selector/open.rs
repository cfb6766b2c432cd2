//! Reading and checking the inputs of a sweep: data, rewards, evaluation file, warm-start checkpoints.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::chains::{self, Chains};
use super::data::{self, DataError, Dataset};
use super::evaluate::{EvaluateError, Live, Logged};
use super::keys::Reader;
use super::learn::{Layout, RewardTable, Shape};
use super::notices::Notices;
use super::opened::{Evaluation, Inputs, Ready};
use super::params::{ModelParams, Params};
use super::reward::RewardParams;
use crate::checkpoint::{self, CheckpointError, Weights};
use crate::disk::hash_file;
use crate::spec::SweepSpec;

/// What is wrong with an input.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    #[error("the sweep has no points")]
    NoPoints,
    #[error("point `{point}` is damaged: {value}\nhint: start the sweep again with `sweep run`")]
    Value { point: String, value: String },
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

/// Reads and checks everything `spec` refers to.
///
/// # Errors
/// Whatever is wrong with an input; nothing has been written then.
pub fn open(spec: &SweepSpec) -> Result<Ready, SelectorError> {
    let first = spec.points.first().ok_or(SelectorError::NoPoints)?;
    let damaged = |value| SelectorError::Value { point: first.name.clone(), value };
    let first = Params::of(&first.config).map_err(damaged)?;
    let dataset = data::load(&first.data)?;
    let mut hashes = BTreeMap::from([
        ("data.trajectories".to_owned(), hash_file(&first.data.trajectories)?),
        ("data.embeddings".to_owned(), hash_file(&first.data.embeddings)?),
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
    let (starts, checkpoints) = warm_starts(&starts(spec, &first)?, dataset.embeddings.dim)?;
    for (path, content) in &checkpoints {
        hashes.insert(format!("train.init:{}", path.display()), content.clone());
    }
    let facts = chains::Inputs { dim: dataset.embeddings.dim, data: dataset.digest.clone(), checkpoints };
    let mut described = Chains::new(&facts);
    let mut chains = Vec::with_capacity(spec.points.len());
    let (mut rewards, mut notices) = (Vec::new(), Notices::default());
    each(spec, |params| {
        if !rewards.contains(&params.reward) {
            rewards.push(params.reward.clone());
        }
        notices.add(params);
        chains.push(described.of(params));
    })?;
    let works = described.works();
    let rewards = reward_tables(&rewards, &dataset)?;
    let evaluation = Evaluation { params: spec.eval.clone(), logged, live };
    Ok(Ready::new(Inputs { dataset, works, chains, notices, rewards, starts, evaluation, hashes }))
}

/// Hands over the values of every point in turn.
fn each(spec: &SweepSpec, mut to: impl FnMut(&Params)) -> Result<(), SelectorError> {
    let mut reader = Reader::default();
    for point in &spec.points {
        let damaged = |value| SelectorError::Value { point: point.name.clone(), value };
        to(reader.read(&point.config).map_err(damaged)?);
    }
    Ok(())
}

/// The checkpoints that points start from, with the models that do, each once.
fn starts(spec: &SweepSpec, first: &Params) -> Result<Vec<(PathBuf, ModelParams)>, SelectorError> {
    let mut found: Vec<(PathBuf, ModelParams)> = Vec::new();
    if first.train.init.is_none() && !spec.axes.iter().any(|axis| axis == "train.init") {
        return Ok(found);
    }
    each(spec, |params| {
        let Some(path) = &params.train.init else { return };
        if !found.iter().any(|(start, model)| start == path && *model == params.model) {
            found.push((path.clone(), params.model.clone()));
        }
    })?;
    Ok(found)
}

fn reward_tables(
    wanted: &[RewardParams],
    dataset: &Dataset,
) -> Result<Vec<(RewardParams, Arc<RewardTable>)>, SelectorError> {
    let mut tables: Vec<(RewardParams, Arc<RewardTable>)> = Vec::new();
    for params in wanted {
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
fn warm_starts(wanted: &[(PathBuf, ModelParams)], dim: usize) -> Result<WarmStarts, SelectorError> {
    let (mut starts, mut hashes) = (HashMap::new(), HashMap::new());
    for (path, model) in wanted {
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
        let layout = Layout::new(Shape::new(dim, model));
        let fits = layout.flatten(&starts[&hashes[path]]);
        fits.map_err(|cause| SelectorError::WarmStart { path: path.clone(), cause })?;
    }
    Ok((starts, hashes))
}
