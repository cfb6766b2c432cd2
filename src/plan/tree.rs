//! The stage tree: which training is done once for several points.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use rayon::prelude::*;
use serde::Serialize;

use super::class::Classes;
use super::stage::{GrpoParams, Origin, RceParams, StageKind};
use crate::spec::{Point, PointConfig, Reference};

/// Changes whenever the trainer's arithmetic changes results: old stages are then not reused.
pub const TRAINER_VERSION: u32 = 1;

/// Identity of a stage: a hash of everything that can change its result, in hex. Names its directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct StageKey(pub String);

/// One node of the tree.
#[derive(Clone, Debug)]
pub struct Stage {
    pub key: StageKey,
    pub kind: StageKind,
    /// Index of the stage it continues; its last epoch is the start.
    pub parent: Option<usize>,
    /// Index of the stage whose weights are GRPO's reference policy.
    pub reference: Option<usize>,
    /// Largest epoch that any point asks for (0 for `Init`).
    pub epochs: u32,
    /// Stages of equal class can train as one tensor program: same phase, freeze set and shape of the model.
    pub class: usize,
}

/// Where a point ends in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointPlan {
    pub stage: usize,
    /// The epoch whose checkpoint is the point's model (0 for `Init`).
    pub epoch: u32,
}

/// All stages (parents before children) and what each point takes from them.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub stages: Vec<Stage>,
    pub points: Vec<PointPlan>,
    /// Training steps with sharing, and if every point trained its whole chain alone.
    pub steps: u64,
    pub steps_naive: u64,
}

/// What the plan must know of the inputs.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Dimension of the embeddings.
    pub dim: usize,
    /// Digest of the data set.
    pub data: String,
    /// Number of training groups: steps per epoch.
    pub train_groups: usize,
    /// Content hash per `train.init` path.
    pub checkpoints: HashMap<std::path::PathBuf, String>,
}

/// Builds the tree. Without `share` every point gets stages of its own.
pub fn build(points: &[Point], inputs: &Inputs, share: bool) -> Plan {
    let mut builder = Builder {
        inputs,
        plan: Plan::default(),
        known: share.then(HashMap::new),
        salts: Vec::new(),
        classes: Classes::default(),
    };
    for point in points {
        builder.add_point(point, if share { "" } else { &point.name });
    }
    builder.fill_keys();
    let per_epoch = inputs.train_groups as u64;
    builder.plan.steps = builder.plan.stages.iter().map(|stage| u64::from(stage.epochs) * per_epoch).sum();
    builder.plan.steps_naive = points
        .iter()
        .map(|point| u64::from(point.config.train.rce_epochs + point.config.train.grpo_epochs) * per_epoch)
        .sum();
    builder.plan
}

struct Builder<'a> {
    inputs: &'a Inputs,
    plan: Plan,
    /// Stages by fingerprint; `None` when nothing is shared.
    known: Option<HashMap<u64, Vec<usize>>>,
    /// Per stage, what keeps its key apart from equal ones.
    salts: Vec<&'a str>,
    classes: Classes,
}

impl<'a> Builder<'a> {
    fn add_point(&mut self, point: &'a Point, salt: &'a str) {
        let config = &point.config;
        let init = self.add(self.init_kind(config), (None, None), 0, salt);
        let (mut stage, mut epoch) = (init, 0);
        let data = || self.inputs.data.clone();
        if config.train.rce_epochs > 0 {
            let params = RceParams::of(config);
            epoch = params.epochs;
            let kind = StageKind::Rce { data: data(), reward: config.reward.clone(), params };
            stage = self.add(kind, (Some(init), None), epoch, salt);
        }
        if config.train.grpo_epochs > 0 {
            // Without RCE the warm-up *is* the initial model: one reference, one key.
            let reference =
                if config.train.rce_epochs == 0 { Reference::Warmup } else { config.train.reference };
            let policy = match reference {
                Reference::Warmup => stage,
                Reference::Init => init,
            };
            epoch = config.train.grpo_epochs;
            let params = GrpoParams::of(config);
            let kind = StageKind::Grpo { data: data(), reward: config.reward.clone(), reference, params };
            stage = self.add(kind, (Some(stage), Some(policy)), epoch, salt);
        }
        self.plan.points.push(PointPlan { stage, epoch });
    }

    fn init_kind(&self, config: &PointConfig) -> StageKind {
        let origin = match &config.train.init {
            None => Origin::Fresh { seed: config.train.seed },
            Some(path) => {
                Origin::Checkpoint { content: self.inputs.checkpoints.get(path).cloned().unwrap_or_default() }
            }
        };
        StageKind::Init { dim: self.inputs.dim, model: config.model.clone(), origin }
    }

    fn add(
        &mut self,
        kind: StageKind,
        (parent, reference): (Option<usize>, Option<usize>),
        epochs: u32,
        salt: &'a str,
    ) -> usize {
        let index = self.plan.stages.len();
        if let Some(known) = &mut self.known {
            let alike = known.entry(fingerprint(&kind, parent, reference)).or_default();
            let stages = &mut self.plan.stages;
            let same = |at: &usize| {
                let stage = &stages[*at];
                stage.kind == kind && stage.parent == parent && stage.reference == reference
            };
            if let Some(known) = alike.iter().copied().find(same) {
                stages[known].epochs = stages[known].epochs.max(epochs);
                return known;
            }
            alike.push(index);
        }
        let class = self.classes.of(&kind, parent);
        let key = StageKey(String::new());
        self.plan.stages.push(Stage { key, kind, parent, reference, epochs, class });
        self.salts.push(salt);
        index
    }

    /// Hashes every stage once, whatever the number of its points; parents before children.
    fn fill_keys(&mut self) {
        let level = |kind: &StageKind| match kind {
            StageKind::Init { .. } => 0,
            StageKind::Rce { .. } => 1,
            StageKind::Grpo { .. } => 2,
        };
        let (plan, salts) = (&mut self.plan, &self.salts);
        for wanted in 0..3 {
            let stages = &plan.stages;
            let here = (0..stages.len()).into_par_iter().filter(|&at| level(&stages[at].kind) == wanted);
            let keys: Vec<(usize, StageKey)> = here.map(|at| (at, key(stages, at, salts[at]))).collect();
            for (at, key) in keys {
                plan.stages[at].key = key;
            }
        }
    }
}

/// A cheap hash of what stages differ in; equality decides.
fn fingerprint(kind: &StageKind, parent: Option<usize>, reference: Option<usize>) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_usize(parent.map_or(usize::MAX, |at| at));
    hasher.write_usize(reference.map_or(usize::MAX, |at| at));
    kind.hash_into(&mut hasher);
    hasher.finish()
}

/// The key of the stage at `at`, whose parent and reference have theirs.
fn key(stages: &[Stage], at: usize, salt: &str) -> StageKey {
    let Stage { kind, parent, reference, .. } = &stages[at];
    let key_of = |index: &Option<usize>| index.map(|index| stages[index].key.0.as_str());
    let canonical = serde_json::to_vec(&(TRAINER_VERSION, kind, key_of(parent), key_of(reference), salt))
        .expect("stage parameters are plain finite values");
    StageKey(blake3::hash(&canonical).to_hex()[..32].to_owned())
}

impl Plan {
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
