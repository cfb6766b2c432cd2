//! Which outstanding stages train together.

use super::stage::StageKind;
use super::tree::{Plan, StageProgress};
use crate::spec::{FreezeSet, ModelParams, ParamGroup};

/// Widest cohort on a CPU: enough to share a step's masks and frozen projections and to keep every core
/// busy; more members only add memory (about 6 MB each at the lab's size).
pub const CPU_WIDTH: usize = 32;

/// Widest cohort on a GPU, where a step is bound by launches rather than by arithmetic.
pub const GPU_WIDTH: usize = 256;

/// Stages that train as one tensor program: same shapes, data, phase, freeze set and next epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cohort {
    pub stages: Vec<usize>,
}

/// The next cohort to train: the first ready stage of `outstanding` and up to `width - 1` siblings.
///
/// A stage is ready when its parent has reached its last epoch.
pub fn next_cohort(
    plan: &Plan,
    done: &[StageProgress],
    outstanding: &[usize],
    width: usize,
) -> Option<Cohort> {
    let ready = |stage: usize| {
        plan.stages[stage]
            .parent
            .is_none_or(|parent| done[parent].reached(plan.stages[parent].epochs).is_some())
    };
    let first = outstanding.iter().copied().find(|&stage| ready(stage))?;
    let siblings: Vec<usize> = outstanding
        .iter()
        .copied()
        .filter(|&stage| ready(stage) && done[stage].epochs() == done[first].epochs())
        .filter(|&stage| can_share(plan, first, stage))
        .collect();
    // Equal parts rather than full cohorts and a narrow rest: 40 siblings at width 32 train as 20 + 20.
    let parts = siblings.len().div_ceil(width.max(1));
    let take = siblings.len().div_ceil(parts);
    Some(Cohort { stages: siblings.into_iter().take(take).collect() })
}

fn can_share(plan: &Plan, a: usize, b: usize) -> bool {
    let model = |stage: usize| model_of(plan, stage);
    let phase = |stage: usize| match &plan.stages[stage].kind {
        StageKind::Init { .. } => None,
        StageKind::Rce { data, .. } => Some((data, FreezeSet::default())),
        StageKind::Grpo { data, params, .. } => Some((data, params.freeze.clone())),
    };
    let same_phase =
        std::mem::discriminant(&plan.stages[a].kind) == std::mem::discriminant(&plan.stages[b].kind);
    same_phase && phase(a) == phase(b) && model(a) == model(b)
}

/// Dimension of the embeddings and shape of the model a stage trains.
pub fn model_of(plan: &Plan, mut stage: usize) -> (usize, &ModelParams) {
    loop {
        match (&plan.stages[stage].kind, plan.stages[stage].parent) {
            (StageKind::Init { dim, model, .. }, _) => return (*dim, model),
            (_, Some(parent)) => stage = parent,
            (_, None) => unreachable!("a chain begins with an Init stage"),
        }
    }
}

/// The groups a stage trains.
pub fn trained_groups(kind: &StageKind) -> Vec<ParamGroup> {
    let frozen = match kind {
        StageKind::Grpo { params, .. } => params.freeze.clone(),
        _ => FreezeSet::default(),
    };
    ParamGroup::ALL.into_iter().filter(|group| !frozen.contains(*group)).collect()
}
