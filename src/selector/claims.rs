//! What a point's configuration says of the checkpoint that it ends with.

use serde_json::{Value, json};

use super::params::Params;
use super::stage::{GRPO, RCE};
use super::stage::{GrpoParams, RceParams};
use crate::checkpoint::{Facts, Phase};
use crate::experiment::Claims;
use crate::spec::Config;

/// The claims of `config` about a checkpoint with `facts`. `done`: the point has results.
pub fn claims(config: &Config, facts: &Facts, done: bool) -> Claims {
    match Params::of(config) {
        Ok(params) => Claims { tables: tables(&params, facts), header: header(&params, facts, done) },
        Err(_) => Claims::default(),
    }
}

/// What the point asks of the stages that its checkpoint went through, as those stages write it.
fn tables(config: &Params, facts: &Facts) -> Vec<(&'static str, Value)> {
    let mut tables = vec![("model", json!(config.model))];
    if facts.phase != Some(Phase::INIT) {
        tables.push(("reward", json!(config.reward)));
        tables.push(("rce", json!(RceParams::of(config))));
    }
    if facts.phase == Some(GRPO) {
        tables.push(("grpo", json!(GrpoParams::of(config))));
    }
    tables
}

/// The same for the facts of the last phase.
fn header(config: &Params, facts: &Facts, done: bool) -> Vec<(&'static str, Value)> {
    let train = &config.train;
    let (lr, epochs) = match &facts.phase {
        Some(phase) if *phase == RCE => (train.rce_lr, train.rce_epochs),
        Some(phase) if *phase == GRPO => (train.grpo_lr, train.grpo_epochs),
        _ => return Vec::new(),
    };
    let mut values = vec![("lr", json!(lr))];
    if facts.phase == Some(GRPO) {
        values.push(("kl_beta", json!(train.kl_beta)));
        values.push(("freeze", json!(train.freeze.to_string())));
    }
    // A run that diverged or stopped early ends before its last epoch.
    if done && train.early_stop.is_none() {
        values.push(("epoch", json!(epochs)));
    }
    values
}
