//! A checkpoint asked about its choices: greedy selection, the judge's answers, no training.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::data::read_embeddings;
use super::evaluate::Live;
use super::learn::{Layout, Query, Shape, scores_of};
use super::making::judge_event;
use super::{ModelParams, SelectorError};
use crate::checkpoint;
use crate::device::Device;
use crate::event::Event;
use crate::experiment::{Asked, Cancel, Unit};
use crate::judge::Gathering;
use crate::record::{QueryScore, Unanswered};
use crate::spec::EvalParams;

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
    /// Whether it was ended before all was asked.
    pub interrupted: bool,
}

/// Chooses with the checkpoint and asks the judge; what is known already is not asked again.
///
/// # Errors
/// Inputs that cannot be used. That the judge does not answer is none: answers are missing then.
pub fn infer(
    request: &Request,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&Event),
) -> Result<Inference, SelectorError> {
    let embeddings = read_embeddings(&request.embeddings)?;
    let weights = checkpoint::read(&request.checkpoint)?.weights;
    let layout = Layout::new(Shape::new(embeddings.dim, &request.model));
    let misfit = |cause| SelectorError::WarmStart { path: request.checkpoint.clone(), cause };
    let flat = layout.flatten(&weights).map_err(misfit)?;
    let live = Live::of_items(&request.eval, &embeddings)?;
    let query = |query| -> Query<'_> {
        let query: &super::evaluate::EvalQuery = query;
        Query { row: query.query_id as usize, pool: &query.pool }
    };
    let queries: Vec<Query> = live.queries().iter().map(query).collect();
    let temperature = request.model.temperature;
    let logits = scores_of(request.device, &layout, &flat, &embeddings, &queries, temperature);
    let not_finite = |cause: super::evaluate::NotFinite| misfit(cause.to_string());
    let units = live.choose(&logits).map_err(not_finite)?;
    ask(&live, &units, request, cancel, sink)
}

fn ask(
    live: &Live,
    units: &[Unit],
    request: &Request,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&Event),
) -> Result<Inference, SelectorError> {
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
        interrupted: counts.left > 0,
    })
}
