//! A checkpoint asked about its choices: greedy selection, the judge's answers, no training.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::RunError;
use super::inputs::find_inputs;
use super::options::{CACHE, Stop};
use crate::checkpoint;
use crate::device::Device;
use crate::event::Event;
use crate::experiment::{Asked, Cancel, Unit};
use crate::judge::Gathering;
use crate::making::judge_event;
use crate::record::{QueryScore, Unanswered};
use crate::selector::data::read_embeddings;
use crate::selector::evaluate::Live;
use crate::selector::learn::{Layout, Query, Shape, scores_of};
use crate::selector::{ModelParams, Params, SelectorError};
use crate::spec::EvalParams;
use crate::store::read_resolved;

/// What is to be asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub checkpoint: PathBuf,
    pub model: ModelParams,
    pub embeddings: PathBuf,
    pub eval: EvalParams,
    /// Where answers are kept.
    pub cache: PathBuf,
    pub device: Device,
}

/// What came of it, per shot count, in file order.
#[derive(Clone, Debug)]
pub struct Inference {
    pub scores: BTreeMap<usize, Vec<QueryScore>>,
    pub unanswered: Vec<Unanswered>,
    /// Questions, the distinct ones among them, those answered before, and those asked now.
    pub questions: usize,
    pub distinct: usize,
    pub cached: usize,
    pub asked: usize,
    /// The first fault of each kind, in words.
    pub faults: Vec<String>,
    pub judge: String,
    /// Why it ended early.
    pub stopped: Option<Stop>,
}

/// The request that the results in `dir` stand for, with the checkpoint of one of their points.
///
/// # Errors
/// No results, an unknown point, one without a checkpoint, results that no judge was asked for.
pub fn request_of_results(dir: &Path, point: &str, device: Device) -> Result<Request, RunError> {
    let mut resolved = read_resolved(dir)?;
    find_inputs(&mut resolved);
    let found = resolved.points.iter().find(|one| one.name == point);
    let config = found.ok_or_else(|| RunError::NoSuchPoint(point.to_owned()))?.config.clone();
    let damaged = |value: String| RunError::Experiment(format!("point `{point}` is damaged: {value}").into());
    let Params { model, data, .. } = Params::of(&config).map_err(damaged)?;
    let record = crate::store::SweepDir::at(dir).point_record(point);
    let record: serde_json::Value = serde_json::from_slice(&fs_err::read(&record)?).unwrap_or_default();
    let checkpoint = record["checkpoint"].as_str().ok_or_else(|| RunError::NoSuchPoint(point.to_owned()))?;
    let beside = dir.parent().unwrap_or(Path::new(".")).join(CACHE);
    Ok(Request {
        checkpoint: dir.join(checkpoint),
        model,
        embeddings: data.embeddings,
        eval: resolved.eval.unwrap_or_default(),
        cache: resolved.provenance.get(CACHE).map_or(beside, PathBuf::from),
        device,
    })
}

fn of_selector(cause: impl Into<SelectorError>) -> RunError {
    RunError::Experiment(Box::new(cause.into()))
}

/// Chooses with the checkpoint and asks the judge; what is known already is not asked again.
///
/// # Errors
/// Inputs that cannot be used. That the judge does not answer is none: answers are missing then.
pub fn infer(
    request: &Request,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&Event),
) -> Result<Inference, RunError> {
    let embeddings = read_embeddings(&request.embeddings).map_err(of_selector)?;
    let weights = checkpoint::read(&request.checkpoint)?.weights;
    let layout = Layout::new(Shape::new(embeddings.dim, &request.model));
    let misfit = |cause| of_selector(SelectorError::WarmStart { path: request.checkpoint.clone(), cause });
    let flat = layout.flatten(&weights).map_err(misfit)?;
    let live = Live::of_items(&request.eval, &embeddings).map_err(of_selector)?;
    let query = |query| -> Query<'_> {
        let query: &crate::selector::evaluate::EvalQuery = query;
        Query { row: query.query_id as usize, pool: &query.pool }
    };
    let queries: Vec<Query> = live.queries().iter().map(query).collect();
    let temperature = request.model.temperature;
    let logits = scores_of(request.device, &layout, &flat, &embeddings, &queries, temperature);
    let not_finite = |cause: crate::selector::evaluate::NotFinite| misfit(cause.to_string());
    let units = live.choose(&logits).map_err(not_finite)?;
    ask(&live, &units, request, cancel, sink)
}

fn ask(
    live: &Live,
    units: &[Unit],
    request: &Request,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&Event),
) -> Result<Inference, RunError> {
    let judge = Arc::new(live.judge(&request.cache, None)?);
    let mut gathering = Gathering::new(&judge, units.iter().map(|unit| &unit.question));
    gathering.ask(live.pace(), &|| cancel.is_raised(), &mut |counts| sink(&judge_event(counts)));
    let (mut scores, mut unanswered) = (BTreeMap::<usize, Vec<QueryScore>>::new(), Vec::new());
    for unit in units {
        let answer = gathering.answer(&unit.question);
        match live.line(unit, answer) {
            Ok(line) => scores.entry(unit.column).or_default().push(line),
            Err(line) => unanswered.push(line),
        }
    }
    let counts = gathering.counts();
    Ok(Inference {
        scores,
        unanswered,
        questions: counts.naive,
        distinct: counts.distinct,
        cached: counts.cached,
        asked: counts.asked,
        faults: counts.faults.clone(),
        judge: judge.id().to_string(),
        stopped: (counts.left > 0).then_some(Stop::Interrupted),
    })
}
