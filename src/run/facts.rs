//! What a checkpoint says about itself when it is written.

use super::session::Session;
use crate::checkpoint::{self, Facts};
use crate::selector::StageKind;
use crate::spec::FreezeSet;
use crate::store::{EpochRecord, StageRecord};

/// What the checkpoint of stage `index` after the last epoch of `record` says about itself: only what determined it.
/// `before`: records of the stages that come before it, at least; `device`: the kind that computed it.
pub fn facts(
    session: &Session,
    index: usize,
    record: &StageRecord,
    (before, device): (&[StageRecord], &str),
) -> Facts {
    let stage = &session.plan.stages[index];
    // A stage begins, and is measured against another, where that one has ended.
    let end_of = |stage: usize| before[stage].content(before[stage].epochs.len() as u32).map(str::to_owned);
    let mut facts = Facts {
        phase: Some(checkpoint::Phase::Init),
        epoch: Some(record.epochs.len() as u32),
        config: Some(config_of(session, index)),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        burn: Some(checkpoint::BURN_VERSION.to_owned()),
        device: Some(device.to_owned()),
        ..Facts::default()
    };
    match session.kind(index) {
        StageKind::Init { .. } => return facts,
        StageKind::Rce { data, params, .. } => {
            facts.phase = Some(checkpoint::Phase::Rce);
            facts.data = Some(data.clone());
            facts.lr = Some(params.lr);
            facts.freeze = Some(FreezeSet::default());
        }
        StageKind::Grpo { data, params, .. } => {
            facts.phase = Some(checkpoint::Phase::Grpo);
            facts.data = Some(data.clone());
            facts.lr = Some(params.lr);
            facts.kl_beta = Some(params.kl_beta);
            facts.freeze = Some(params.freeze.clone());
            facts.reference = stage.reference.and_then(end_of);
        }
    }
    facts.parent = stage.parent.and_then(end_of);
    if let Some(EpochRecord { metrics, .. }) = record.epochs.last() {
        facts.kl_beta_end = metrics.get("beta");
        let known = metrics.results().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        facts.metrics = known.collect();
    }
    facts
}

/// The configuration of a stage's whole chain, as JSON.
fn config_of(session: &Session, index: usize) -> serde_json::Value {
    let mut config = serde_json::Map::new();
    let mut at = Some(index);
    while let Some(stage) = at {
        match session.kind(stage) {
            StageKind::Init { model, origin, .. } => {
                config.insert("model".into(), to_json(model));
                config.insert("origin".into(), to_json(origin));
            }
            StageKind::Rce { reward, params, .. } => {
                config.insert("reward".into(), to_json(reward));
                config.insert("rce".into(), to_json(params));
            }
            StageKind::Grpo { reward, reference, params, .. } => {
                config.insert("reward".into(), to_json(reward));
                config.insert("reference".into(), to_json(reference));
                config.insert("grpo".into(), to_json(params));
            }
        }
        at = session.plan.stages[stage].parent;
    }
    config.into()
}

fn to_json<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}
