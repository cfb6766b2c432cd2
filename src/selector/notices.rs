//! What a careful person wants to know before a selector is trained.

use std::path::PathBuf;

use super::learn::Layout;
use super::params::{ModelParams, Params, RewardForm};
use super::reward::RewardParams;
use crate::record::{Leaks, SignalHealth};
use crate::selector::FreezeSet;
use crate::text::thousands;

/// What of the points is said beforehand.
#[derive(Default)]
pub struct Notices {
    /// The forms of reward that RCE uses.
    rce: Vec<RewardForm>,
    /// Where weights come from.
    origins: Vec<Option<PathBuf>>,
    /// What GRPO trains and what it leaves as it is.
    grpo: Vec<(ModelParams, FreezeSet)>,
    /// The rewards of the first point.
    pub reward: RewardParams,
}

impl Notices {
    /// With one point more.
    pub fn add(&mut self, point: &Params) {
        if self.origins.is_empty() {
            self.reward = point.reward.clone();
        }
        if point.train.rce_epochs > 0 {
            add(&mut self.rce, point.train.rce_reward);
        }
        add(&mut self.origins, point.train.init.clone());
        let grpo = (&point.model, &point.train.freeze);
        if point.train.grpo_epochs > 0 && !self.grpo.iter().any(|(a, b)| (a, b) == grpo) {
            self.grpo.push((point.model.clone(), point.train.freeze.clone()));
        }
    }

    /// As sentences: rewards RCE uses, what is frozen and how much is trained, where the weights come from, and what is
    /// wrong with the data.
    pub fn sentences(
        &self,
        layout: impl Fn(&ModelParams) -> Layout,
        health: &SignalHealth,
        leaks: &Leaks,
    ) -> Vec<String> {
        let mut notices = Vec::new();
        if !self.rce.is_empty() {
            let forms: Vec<&str> = self.rce.iter().map(|form| form.name()).collect();
            notices.push(format!("RCE weighs trajectories by {} rewards", forms.join(" and by ")));
        }
        let origins: Vec<String> = self.origins.iter().map(origin_text).collect();
        notices.push(format!("weights: {}", origins.join("; ")));
        let mut trained = Vec::new();
        for (model, freeze) in &self.grpo {
            let layout = layout(model);
            let (some, all) = (layout.trainable(freeze), layout.total);
            let share = 100.0 * some as f64 / all as f64;
            let (some, all) = (thousands(some), thousands(all));
            add(
                &mut trained,
                format!("GRPO trains {some} / {all} parameters ({share:.1}%), frozen: {freeze}"),
            );
        }
        notices.extend(trained);
        if 2 * health.flat_groups > health.groups {
            notices.push(format!(
                "warning: {} of {} training groups have equal rewards throughout and teach GRPO nothing (see `sweep data check`)",
                health.flat_groups, health.groups
            ));
        }
        notices.extend(leaks.sentences().into_iter().map(|found| format!("warning: {found}")));
        notices
    }
}

fn origin_text(init: &Option<PathBuf>) -> String {
    match init {
        None => "fresh, drawn from the seed".to_owned(),
        Some(path) => format!("from `{}`", path.display()),
    }
}

fn add<T: PartialEq>(seen: &mut Vec<T>, item: T) {
    if !seen.contains(&item) {
        seen.push(item);
    }
}
