//! The stage tree: which training is done once for several points.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use super::work::{Link, Traits, Work};

/// Identity of a stage: a hash of everything that can change its result, in hex. Names its directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct StageKey(pub String);

/// One node of the tree.
#[derive(Clone, Debug)]
pub struct Stage {
    pub key: StageKey,
    /// What it does: an index into [`Plan::works`].
    pub work: usize,
    /// Index of the stage it continues; its last epoch is the start.
    pub parent: Option<usize>,
    /// Index of the stage whose weights it is measured against.
    pub reference: Option<usize>,
    /// Largest epoch that any point asks for (0 where nothing is trained).
    pub epochs: u32,
    /// Stages of equal class can train side by side.
    pub class: usize,
}

/// Where a point ends in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointPlan {
    pub stage: usize,
    /// The epoch whose checkpoint is the point's model (0 where nothing is trained).
    pub epoch: u32,
}

/// All stages (parents before children) and what each point takes from them.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The different kinds of training.
    pub works: Vec<Work>,
    pub stages: Vec<Stage>,
    pub points: Vec<PointPlan>,
    /// Training steps with sharing, and if every point trained its whole chain alone.
    pub steps: u64,
    pub steps_naive: u64,
}

/// Builds the tree from the points' `chains` over `works`, which are all different. With `salts`, one per point, nothing
/// is shared: every point gets stages of its own. `version` changes whenever the trainer's arithmetic changes results: old
/// stages are then not reused. An epoch has `steps` steps.
pub fn build(
    works: Vec<Work>,
    chains: impl IntoIterator<Item = Vec<Link>>,
    salts: Option<&[&str]>,
    version: u32,
    steps: u64,
) -> Plan {
    let plan = Plan { works, ..Plan::default() };
    let mut builder = Builder { plan, known: HashMap::new(), salts: Vec::new(), classes: HashMap::new() };
    let mut naive = 0;
    for (index, chain) in chains.into_iter().enumerate() {
        naive += chain.iter().map(|link| u64::from(link.epochs)).sum::<u64>();
        builder.add_point(&chain, salts.map(|salts| salts[index]));
    }
    builder.fill_keys(version);
    let Builder { mut plan, .. } = builder;
    plan.steps = plan.stages.iter().map(|stage| u64::from(stage.epochs) * steps).sum();
    plan.steps_naive = naive * steps;
    plan
}

struct Builder<'a> {
    plan: Plan,
    /// Stages by work, parent and reference; empty when nothing is shared.
    known: HashMap<(usize, Option<usize>, Option<usize>), usize>,
    /// Per stage, what keeps its key apart from equal ones.
    salts: Vec<&'a str>,
    /// By lane.
    classes: HashMap<String, usize>,
}

impl<'a> Builder<'a> {
    fn add_point(&mut self, chain: &[Link], salt: Option<&'a str>) {
        let mut stages: Vec<usize> = Vec::with_capacity(chain.len());
        for link in chain {
            let parent = stages.last().copied();
            let reference = link.reference.and_then(|at| stages.get(at).copied());
            stages.push(self.add(*link, parent, reference, salt));
        }
        if let (Some(stage), Some(link)) = (stages.last(), chain.last()) {
            self.plan.points.push(PointPlan { stage: *stage, epoch: link.epochs });
        }
    }

    fn add(
        &mut self,
        Link { work, epochs, .. }: Link,
        parent: Option<usize>,
        reference: Option<usize>,
        salt: Option<&'a str>,
    ) -> usize {
        let index = self.plan.stages.len();
        if salt.is_none() {
            let known = *self.known.entry((work, parent, reference)).or_insert(index);
            if let Some(stage) = self.plan.stages.get_mut(known) {
                stage.epochs = stage.epochs.max(epochs);
                return known;
            }
        }
        let lane = &self.plan.works[work].traits.lane;
        let next = self.classes.len();
        let class = match self.classes.get(lane) {
            Some(class) => *class,
            None => *self.classes.entry(lane.clone()).or_insert(next),
        };
        let key = StageKey(String::new());
        self.plan.stages.push(Stage { key, work, parent, reference, epochs, class });
        self.salts.push(salt.unwrap_or_default());
        index
    }

    /// Hashes every stage once, whatever the number of its points; parents before children.
    fn fill_keys(&mut self, version: u32) {
        let (plan, salts) = (&mut self.plan, &self.salts);
        let mut levels: Vec<usize> = Vec::with_capacity(plan.stages.len());
        for stage in &plan.stages {
            let below = [stage.parent, stage.reference].into_iter().flatten().map(|at| levels[at] + 1);
            levels.push(below.max().unwrap_or(0));
        }
        for wanted in 0..=levels.iter().copied().max().unwrap_or(0) {
            let (works, stages) = (&plan.works, &plan.stages);
            let here = (0..stages.len()).into_par_iter().filter(|&at| levels[at] == wanted);
            let keys: Vec<(usize, StageKey)> =
                here.map(|at| (at, key(works, stages, at, version, salts[at]))).collect();
            for (at, key) in keys {
                plan.stages[at].key = key;
            }
        }
    }
}

/// The key of the stage at `at`, whose parent and reference have theirs: a hash of the JSON list of version, values, keys
/// of parent and reference, salt.
fn key(works: &[Work], stages: &[Stage], at: usize, version: u32, salt: &str) -> StageKey {
    let Stage { work, parent, reference, .. } = &stages[at];
    let key_of = |index: &Option<usize>| index.map(|index| stages[index].key.0.as_str());
    let rest =
        serde_json::to_string(&(key_of(parent), key_of(reference), salt)).expect("texts always become JSON");
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("[{version},").as_bytes()).update(works[*work].values.as_bytes());
    hasher.update(b",").update(&rest.as_bytes()[1..]);
    StageKey(hasher.finalize().to_hex()[..32].to_owned())
}

impl Plan {
    /// What the stage at `stage` does.
    pub fn work(&self, stage: usize) -> &Work {
        &self.works[self.stages[stage].work]
    }

    /// What is done with the results of the stage at `stage`.
    pub fn traits(&self, stage: usize) -> &Traits {
        &self.work(stage).traits
    }

    /// Per stage, the epochs at which points end, ascending.
    pub fn stops(&self) -> Vec<Vec<u32>> {
        let mut stops = vec![Vec::new(); self.stages.len()];
        for point in &self.points {
            stops[point.stage].push(point.epoch);
        }
        for stops in &mut stops {
            stops.sort_unstable();
            stops.dedup();
        }
        stops
    }

    /// Per stage, whether another one starts from it or is measured against it.
    pub fn carries(&self) -> Vec<bool> {
        let mut carries = vec![false; self.stages.len()];
        for used in self.stages.iter().flat_map(|stage| [stage.parent, stage.reference]).flatten() {
            carries[used] = true;
        }
        carries
    }

    /// The stages of a point's chain, first to last, each with the epoch at which the chain leaves it.
    pub fn chain(&self, point: PointPlan) -> Vec<(usize, u32)> {
        let mut chain = vec![(point.stage, point.epoch)];
        let mut stage = point.stage;
        while let Some(parent) = self.stages[stage].parent {
            chain.push((parent, self.stages[parent].epochs));
            stage = parent;
        }
        chain.reverse();
        chain
    }
}

/// Stages that still have epochs to train, given how many epochs of each stage are done (`None`: the stage
/// ended for good, early or by divergence). Parents come before children.
///
/// A stage below one that diverged can never start and is not outstanding.
pub fn outstanding(plan: &Plan, done: &[StageProgress]) -> Vec<usize> {
    let mut dead = vec![false; plan.stages.len()];
    let mut list = Vec::new();
    for (index, stage) in plan.stages.iter().enumerate() {
        dead[index] = stage.parent.is_some_and(|parent| dead[parent]);
        match done[index] {
            _ if dead[index] => {}
            StageProgress::Diverged(epochs) => dead[index] = epochs < stage.epochs,
            StageProgress::Stopped(_) => {}
            StageProgress::Epochs(epochs) if epochs >= stage.epochs && epochs > 0 => {}
            StageProgress::Epochs(_) if stage.epochs == 0 => {}
            StageProgress::Epochs(_) => list.push(index),
        }
    }
    list
}

/// How far a stage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageProgress {
    /// So many epochs are finished, and more can follow.
    Epochs(u32),
    /// Stopped early after so many epochs: complete whatever was asked for.
    Stopped(u32),
    /// A number was not finite in the epoch after so many finished ones.
    Diverged(u32),
}

impl StageProgress {
    /// Finished epochs.
    pub fn epochs(self) -> u32 {
        match self {
            Self::Epochs(epochs) | Self::Stopped(epochs) | Self::Diverged(epochs) => epochs,
        }
    }

    /// The epoch that stands for `wanted`, if it is there: `wanted` itself, or the last one before an early
    /// stop.
    pub fn reached(self, wanted: u32) -> Option<u32> {
        match self {
            Self::Epochs(epochs) | Self::Diverged(epochs) => (epochs >= wanted).then_some(wanted),
            Self::Stopped(epochs) => Some(epochs.min(wanted)),
        }
    }
}
