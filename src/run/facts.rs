//! What a checkpoint says about itself when it is written.

use super::session::Session;
use crate::checkpoint::{self, Facts, Phase};
use crate::store::StageRecord;

/// What the checkpoint of stage `index` after the last epoch of `record` says about itself: only what determined it.
/// `before`: records of the stages that come before it, at least; `device`: the kind that computed it.
pub fn facts(
    session: &Session,
    index: usize,
    record: &StageRecord,
    before: &[StageRecord],
    device: &str,
) -> Facts {
    let stage = &session.plan.stages[index];
    let last = record.epochs.last().map(|epoch| &epoch.metrics);
    // A stage begins, and is measured against another, where that one has ended.
    let end_of = |stage: usize| before[stage].content(before[stage].epochs.len() as u32).map(str::to_owned);
    let figures = last.into_iter().flat_map(|metrics| metrics.results(session.figures()));
    let own = session.experiment().facts(&session.works_of(index), last);
    let work = session.plan.work(index);
    Facts {
        phase: Some(Phase::of(&work.traits.phase)),
        config: own.config.or_else(|| serde_json::from_str(&work.values).ok()),
        epoch: Some(record.epochs.len() as u32),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        burn: Some(checkpoint::BURN_VERSION.to_owned()),
        device: Some(device.to_owned()),
        parent: stage.parent.and_then(end_of),
        reference: stage.reference.and_then(end_of),
        metrics: figures.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        ..own
    }
}
