//! What a careful person wants to know before a selector is trained.

use super::learn::Layout;
use super::params::{ModelParams, Params, RewardForm};
use super::reward::RewardParams;
use crate::record::{Leaks, SignalHealth};
use crate::spec::FreezeSet;
use crate::text::thousands;

/// What of the points is said beforehand.
pub struct Notices {
    /// The forms of reward that RCE uses.
    rce: Vec<RewardForm>,
    /// Where weights come from, in words.
    origins: Vec<String>,
    /// What GRPO trains and what it leaves as it is.
    grpo: Vec<(ModelParams, FreezeSet)>,
    /// The rewards of the first point.
    pub reward: RewardParams,
}

impl Notices {
    /// Of these points.
    pub fn of(points: &[Params]) -> Self {
        let mut notices =
            Self { rce: Vec::new(), origins: Vec::new(), grpo: Vec::new(), reward: RewardParams::default() };
        if let Some(first) = points.first() {
            notices.reward = first.reward.clone();
        }
        for point in points {
            if point.train.rce_epochs > 0 {
                add(&mut notices.rce, point.train.rce_reward);
            }
            add(&mut notices.origins, origin_text(point));
            let grpo = (&point.model, &point.train.freeze);
            if point.train.grpo_epochs > 0 && !notices.grpo.iter().any(|(a, b)| (a, b) == grpo) {
                notices.grpo.push((point.model.clone(), point.train.freeze.clone()));
            }
        }
        notices
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
        notices.push(format!("weights: {}", self.origins.join("; ")));
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

fn origin_text(point: &Params) -> String {
    match &point.train.init {
        None => "fresh, drawn from the seed".to_owned(),
        Some(path) => format!("from `{}`", path.display()),
    }
}

fn add<T: PartialEq>(seen: &mut Vec<T>, item: T) {
    if !seen.contains(&item) {
        seen.push(item);
    }
}
