//! Which outstanding stages train together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::tree::{Plan, StageProgress};

/// Widest cohort on a CPU with `cores`: enough to share a step's masks and frozen projections and to keep every core
/// busy to the end of a step; more members only add memory (about 6 MB each at the lab's size).
pub fn cpu_width(cores: usize) -> usize {
    (4 * cores).max(32)
}

/// Widest cohort on a GPU, where a step is bound by launches rather than by arithmetic.
pub const GPU_WIDTH: usize = 256;

/// Stages that train side by side: of one class, with the same next epoch.
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
    let siblings = siblings(plan, done, outstanding)?;
    Some(Cohort { stages: siblings[..part(siblings.len(), width)].to_vec() })
}

/// All cohorts that [`next_cohort`] gives one after the other, if every stage trains to its end.
pub fn all_cohorts(plan: &Plan, done: &[StageProgress], width: usize) -> Vec<Cohort> {
    // Siblings by class and finished epochs; stages that wait for their parent.
    let mut ready: BTreeMap<(usize, u32), BTreeSet<usize>> = BTreeMap::new();
    let mut waiting: HashMap<usize, Vec<usize>> = HashMap::new();
    let kind = |stage: usize| (plan.stages[stage].class, done[stage].epochs());
    for stage in super::outstanding(plan, done) {
        match plan.stages[stage].parent {
            Some(parent) if done[parent].reached(plan.stages[parent].epochs).is_none() => {
                waiting.entry(parent).or_default().push(stage);
            }
            _ => drop(ready.entry(kind(stage)).or_default().insert(stage)),
        }
    }
    let mut cohorts = Vec::new();
    while let Some(siblings) = ready.values_mut().min_by_key(|siblings| siblings.first().copied()) {
        let take = part(siblings.len(), width);
        let stages: Vec<usize> = std::iter::from_fn(|| siblings.pop_first()).take(take).collect();
        ready.retain(|_, siblings| !siblings.is_empty());
        for child in stages.iter().filter_map(|stage| waiting.remove(stage)).flatten() {
            ready.entry(kind(child)).or_default().insert(child);
        }
        cohorts.push(Cohort { stages });
    }
    cohorts
}

/// The first ready stage of `outstanding` and all that can train with it.
fn siblings(plan: &Plan, done: &[StageProgress], outstanding: &[usize]) -> Option<Vec<usize>> {
    let ready = |stage: usize| {
        plan.stages[stage]
            .parent
            .is_none_or(|parent| done[parent].reached(plan.stages[parent].epochs).is_some())
    };
    let first = outstanding.iter().copied().find(|&stage| ready(stage))?;
    let alike = |stage: &usize| {
        plan.stages[*stage].class == plan.stages[first].class
            && done[*stage].epochs() == done[first].epochs()
            && ready(*stage)
    };
    Some(outstanding.iter().copied().filter(alike).collect())
}

/// Equal parts rather than full cohorts and a narrow rest: 40 siblings at width 32 train as 20 + 20.
fn part(siblings: usize, width: usize) -> usize {
    siblings.div_ceil(siblings.div_ceil(width.max(1)).max(1))
}
