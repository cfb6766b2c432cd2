//! A sweep that is about to run: its file, what is trained, and the plan.

use std::collections::BTreeMap;

use super::error::RunError;
use crate::experiment::{Opened, Parameters};
use crate::plan::Plan;
use crate::selector::data::{self, Dataset};
use crate::selector::evaluate::{Live, leaks};
use crate::selector::learn::Layout;
use crate::selector::{self, Lane, Selector, StageKind};
use crate::spec::{ModelParams, PointConfig, SweepSpec};
use crate::store::{Leaks, SignalHealth};
use crate::text::thousands;

/// The inputs of a sweep, read and checked, and its plan.
pub struct Session {
    pub spec: SweepSpec,
    /// What is trained.
    selector: Selector,
    pub plan: Plan,
}

impl Session {
    /// Reads and checks everything `spec` refers to, and plans.
    ///
    /// # Errors
    /// Whatever is wrong with an input; nothing has been written then.
    pub fn load(spec: SweepSpec, share: bool) -> Result<Self, RunError> {
        let (selector, plan) = selector::open(&spec, share)?;
        Ok(Self { spec, selector, plan })
    }

    /// What is trained, behind the contract.
    pub fn experiment(&self) -> &dyn Opened {
        &self.selector
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

    /// The data that is trained on and evaluated with.
    pub fn dataset(&self) -> &Dataset {
        &self.selector.inputs.dataset
    }

    /// What the stage at `stage` of the plan does.
    pub fn kind(&self, stage: usize) -> &StageKind {
        self.selector.inputs.works.kind(self.plan.stages[stage].work)
    }

    /// The model that the stage at `stage` trains.
    pub fn model(&self, stage: usize) -> &ModelParams {
        self.selector.inputs.works.model(self.plan.stages[stage].work)
    }

    /// What the stages have equal that train together with the one at `stage`.
    pub fn lane(&self, stage: usize) -> Lane {
        self.selector.inputs.works.lane(self.plan.stages[stage].work)
    }

    /// The shape of a point's model.
    pub fn layout(&self, model: &ModelParams) -> Layout {
        self.selector.layout(model)
    }

    /// Content hashes of all inputs by key, for provenance.
    pub fn inputs(&self) -> &BTreeMap<String, String> {
        self.experiment().inputs()
    }

    /// Where a judge is asked while the sweep runs.
    pub fn live(&self) -> Option<&Live> {
        self.selector.inputs.evaluation.live.as_ref()
    }

    /// Health of the reward signal under the first point's rewards.
    pub fn health(&self) -> Option<SignalHealth> {
        self.spec.points.first().map(|point| data::signal_health(self.dataset(), &point.config.reward))
    }

    /// Evaluation queries that training will see.
    pub fn leaks(&self) -> Leaks {
        leaks(self.dataset(), self.selector.inputs.evaluation.queries())
    }

    /// What a careful person wants to know before training starts: rewards RCE uses, what is frozen and how
    /// much is trained, where the weights come from.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.spec.warnings.clone();
        let configs = || self.spec.points.iter().map(|point| &point.config);
        let rce: Vec<&str> =
            distinct(configs().filter(|c| c.train.rce_epochs > 0).map(|c| match c.train.rce_reward {
                crate::spec::RewardForm::Raw => "raw",
                crate::spec::RewardForm::Normalized => "normalized",
            }));
        if !rce.is_empty() {
            notices.push(format!("RCE weighs trajectories by {} rewards", rce.join(" and by ")));
        }
        notices.push(format!("weights: {}", distinct(configs().map(origin_text)).join("; ")));
        let freezes = distinct(configs().filter(|c| c.train.grpo_epochs > 0).map(|c| {
            let layout = self.layout(&c.model);
            let (some, all) = (layout.trainable(&c.train.freeze), layout.total);
            format!(
                "GRPO trains {} / {} parameters ({:.1}%), frozen: {}",
                thousands(some),
                thousands(all),
                100.0 * some as f64 / all as f64,
                c.train.freeze
            )
        }));
        notices.extend(freezes);
        if let Some(health) = self.health()
            && 2 * health.flat_groups > health.groups
        {
            notices.push(format!(
                "warning: {} of {} training groups have equal rewards throughout and teach GRPO nothing (see `sweep data check`)",
                health.flat_groups, health.groups
            ));
        }
        notices.extend(self.leaks().sentences().into_iter().map(|found| format!("warning: {found}")));
        notices
    }
}

fn origin_text(config: &PointConfig) -> String {
    match &config.train.init {
        None => "fresh, drawn from the seed".to_owned(),
        Some(path) => format!("from `{}`", path.display()),
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}
