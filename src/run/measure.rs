//! Times a few real training steps in memory.

use std::collections::HashMap;
use std::sync::Arc;

use super::session::Session;
use crate::plan::Cohort;
use crate::selector::StageKind;
use crate::selector::learn::{
    Cancel, Device, EngineParams, MemberEvent, MemberJob, MemberParams, train_cohort,
};

/// Training groups walked through per measurement.
const STEPS: usize = 24;

/// Seconds per member and step of `cohort`, from [`STEPS`] steps that start at the initial weights; `None` if
/// every member diverges at once. Validation and checkpoints, a few percent of a run, are not counted: part of
/// what they cost is paid once, and would weigh too much in so few steps.
pub fn measure(session: &Session, cohort: &Cohort, device: Device) -> Option<f64> {
    let model = session.model(cohort.stages[0]);
    let freeze = session.kind(cohort.stages[0]).frozen();
    let jobs = jobs(session, cohort);
    let params = session.engine(model, &freeze);
    // The first steps touch fresh memory and start the worker threads: they are not what most steps cost.
    seconds(params, device, &jobs, 2);
    let steps = STEPS.min(params.train.len());
    let seconds = seconds(params, device, &jobs, steps)?;
    Some(seconds / (steps * jobs.len()) as f64)
}

fn seconds(params: EngineParams, device: Device, jobs: &[MemberJob], steps: usize) -> Option<f64> {
    let steps = steps.min(params.train.len());
    let part = EngineParams {
        train: &params.train[..steps],
        labels: &params.labels[..steps],
        validation: &[],
        ..params
    };
    let mut seconds = None;
    train_cohort(part, device, jobs, &Cancel::default(), &mut |events| {
        if let Some(MemberEvent::Epoch { metrics, .. }) = events.last() {
            seconds = metrics.get("seconds");
        }
        true
    });
    seconds
}

/// One job per stage: the parameters of the stage, from the weights that its chain begins with, for one epoch.
fn jobs(session: &Session, cohort: &Cohort) -> Vec<MemberJob> {
    let mut starts: HashMap<usize, Arc<Vec<f32>>> = HashMap::new();
    let job = |&stage: &usize| {
        let mut init = stage;
        while let Some(parent) = session.plan.stages[init].parent {
            init = parent;
        }
        let start = starts.entry(init).or_insert_with(|| {
            let weights = session.initial_weights(session.kind(init));
            let layout = session.layout(session.model(init));
            Arc::new(layout.flatten(&weights).unwrap_or_default())
        });
        let (params, reward) = match session.kind(stage) {
            StageKind::Init { .. } => return None,
            StageKind::Rce { reward, params, .. } => (MemberParams::Rce(params.clone()), reward),
            StageKind::Grpo { reward, params, .. } => (MemberParams::Grpo(params.clone()), reward),
        };
        Some(MemberJob {
            id: stage,
            params,
            rewards: session.rewards(reward),
            start: Arc::clone(start),
            reference: Arc::clone(start),
            last_epoch: 1,
            progress: None,
        })
    };
    cohort.stages.iter().filter_map(job).collect()
}
