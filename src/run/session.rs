//! A sweep that is about to run: its file, what is trained, and the plan.

use std::collections::BTreeMap;

use super::error::RunError;
use crate::experiment::{self, Asked, Chains, Opened, Parameters};
use crate::figure::EpochFigure;
use crate::plan::{self, Plan};
use crate::spec::SweepSpec;

/// The inputs of a sweep, read and checked, and its plan.
pub struct Session {
    pub spec: SweepSpec,
    /// What is trained.
    opened: Box<dyn Opened>,
    pub plan: Plan,
}

impl Session {
    /// Reads and checks everything `spec` refers to, and plans.
    ///
    /// # Errors
    /// Whatever is wrong with an input; nothing has been written then.
    pub fn load(spec: SweepSpec, share: bool) -> Result<Self, RunError> {
        let opened = experiment::named(spec.schema.name).and_then(|found| found.open(&spec));
        let opened = opened.map_err(RunError::Experiment)?;
        let Chains { works, chains, version } = opened.chains();
        let names: Vec<&str> = spec.points.iter().map(|point| point.name.as_str()).collect();
        let salts = (!share).then_some(&names[..]);
        let plan = plan::build(works, chains, salts, version, opened.steps());
        Ok(Self { spec, opened, plan })
    }

    /// What is trained, behind the contract.
    pub fn experiment(&self) -> &dyn Opened {
        &*self.opened
    }

    /// Training steps of one epoch.
    pub fn steps(&self) -> u64 {
        self.experiment().steps()
    }

    /// The size of the model of the stage at `stage`.
    pub fn parameters(&self, stage: usize) -> Parameters {
        self.experiment().parameters(self.plan.stages[stage].work)
    }

    /// The works of a stage's chain, from its own back to the one that the chain begins with.
    pub fn works_of(&self, stage: usize) -> Vec<usize> {
        let up = |stage: &usize| self.plan.stages[*stage].parent;
        std::iter::successors(Some(stage), up).map(|stage| self.plan.stages[stage].work).collect()
    }

    /// Content hashes of all inputs by key, for provenance.
    pub fn inputs(&self) -> &BTreeMap<String, String> {
        self.experiment().inputs()
    }

    /// Who is asked while the sweep runs, where a judge is.
    pub fn asked(&self) -> Option<&dyn Asked> {
        self.experiment().asked()
    }

    /// The figures of its epochs.
    pub fn figures(&self) -> &'static [EpochFigure] {
        self.spec.schema.figures
    }

    /// What a careful person wants to know before training starts.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.spec.warnings.clone();
        notices.extend(self.experiment().notices());
        notices
    }
}
