//! The chains of the points: fresh or given weights, RCE, GRPO.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::path::PathBuf;

use super::params::{ModelParams, Params, Reference};
use super::stage::{GrpoParams, Lane, Origin, RceParams, StageKind};
use crate::experiment;
use crate::plan::Link;

/// Changes whenever the trainer's arithmetic changes results: old stages are then not reused.
pub const TRAINER_VERSION: u32 = 1;

/// What the plan must know of the inputs.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Dimension of the embeddings.
    pub dim: usize,
    /// Digest of the data set.
    pub data: String,
    /// Content hash per `train.init` path.
    pub checkpoints: HashMap<PathBuf, String>,
}

/// What the works of a plan are, by their numbers.
#[derive(Clone, Debug)]
pub struct StageWorks {
    /// With the number of the model.
    kinds: Vec<(StageKind, usize)>,
    /// The different models: shape, and width of the embeddings.
    models: Vec<(ModelParams, usize)>,
}

impl StageWorks {
    /// As the contract has them, with the points' `chains`.
    pub fn told(&self, chains: Vec<Vec<Link>>) -> experiment::Chains {
        let work = |(kind, model): &(StageKind, usize)| {
            let (model, dim) = &self.models[*model];
            kind.work((model, *dim))
        };
        let works = self.kinds.iter().map(work).collect();
        experiment::Chains { works, chains, version: TRAINER_VERSION }
    }

    /// What the work does.
    pub fn kind(&self, work: usize) -> &StageKind {
        &self.kinds[work].0
    }

    /// Shape of its model.
    pub fn model(&self, work: usize) -> &ModelParams {
        &self.models[self.kinds[work].1].0
    }

    /// What works have equal that train together with it.
    pub fn lane(&self, work: usize) -> Lane {
        let (kind, model) = &self.kinds[work];
        let (model, dim) = self.models[*model].clone();
        Lane { phase: kind.phase(), freeze: kind.frozen(), model, dim }
    }
}

/// Describes every work once.
pub struct Chains<'a> {
    inputs: &'a Inputs,
    /// With the number of the model.
    kinds: Vec<(StageKind, usize)>,
    /// Works by fingerprint and model.
    known: HashMap<(u64, usize), Vec<usize>>,
    models: Vec<(ModelParams, usize)>,
}

impl<'a> Chains<'a> {
    /// Without a work yet.
    pub fn new(inputs: &'a Inputs) -> Self {
        Self { inputs, kinds: Vec::new(), known: HashMap::new(), models: Vec::new() }
    }

    /// The works of all chains so far.
    pub fn works(self) -> StageWorks {
        StageWorks { kinds: self.kinds, models: self.models }
    }

    /// The chain of a point with the values `config`.
    pub fn of(&mut self, config: &Params) -> Vec<Link> {
        let model = self.model(&config.model);
        let data = || self.inputs.data.clone();
        let rce = (config.train.rce_epochs > 0).then(|| {
            let params = RceParams::of(config);
            StageKind::Rce { data: data(), reward: config.reward.clone(), params }
        });
        // Without RCE the warm-up *is* the initial model: one reference, one key.
        let reference = if rce.is_none() { Reference::Warmup } else { config.train.reference };
        let grpo = (config.train.grpo_epochs > 0).then(|| {
            let params = GrpoParams::of(config);
            StageKind::Grpo { data: data(), reward: config.reward.clone(), reference, params }
        });
        let init = self.init(config);
        let mut chain = vec![Link { work: self.add(init, model), epochs: 0, reference: None }];
        if let Some(kind) = rce {
            let (work, epochs) = (self.add(kind, model), config.train.rce_epochs);
            chain.push(Link { work, epochs, reference: None });
        }
        if let Some(kind) = grpo {
            let policy = match reference {
                Reference::Warmup => chain.len() - 1,
                Reference::Init => 0,
            };
            let (work, epochs) = (self.add(kind, model), config.train.grpo_epochs);
            chain.push(Link { work, epochs, reference: Some(policy) });
        }
        chain
    }

    fn init(&self, config: &Params) -> StageKind {
        let origin = match &config.train.init {
            None => Origin::Fresh { seed: config.train.seed },
            Some(path) => {
                Origin::Checkpoint { content: self.inputs.checkpoints.get(path).cloned().unwrap_or_default() }
            }
        };
        StageKind::Init { dim: self.inputs.dim, model: config.model.clone(), origin }
    }

    fn model(&mut self, model: &ModelParams) -> usize {
        let known = self.models.iter().position(|(known, _)| known == model);
        known.unwrap_or_else(|| {
            self.models.push((model.clone(), self.inputs.dim));
            self.models.len() - 1
        })
    }

    fn add(&mut self, kind: StageKind, model: usize) -> usize {
        // A cheap hash of what stages differ in; equality decides.
        let mut hasher = DefaultHasher::new();
        kind.hash_into(&mut hasher);
        let alike = self.known.entry((hasher.finish(), model)).or_default();
        if let Some(known) = alike.iter().copied().find(|&at| self.kinds[at].0 == kind) {
            return known;
        }
        alike.push(self.kinds.len());
        self.kinds.push((kind, model));
        self.kinds.len() - 1
    }
}
