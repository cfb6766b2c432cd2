//! What a point's configuration says of the checkpoint that it ends with.

use serde_json::{Value, json};

use super::stage::{GrpoParams, RceParams};
use crate::checkpoint::{Facts, Phase};
use crate::spec::PointConfig;

/// Names and what should stand there.
type Stated = Vec<(&'static str, Value)>;

/// The claims of `config` about a checkpoint with `facts`: about tables of its configuration, and about its header.
/// `done`: the point has results.
pub fn claims(config: &PointConfig, facts: &Facts, done: bool) -> (Stated, Stated) {
    (tables(config, facts), header(config, facts, done))
}

/// What the point asks of the stages that its checkpoint went through, as those stages write it.
fn tables(config: &PointConfig, facts: &Facts) -> Vec<(&'static str, Value)> {
    let mut tables = vec![("model", json!(config.model))];
    if facts.phase != Some(Phase::Init) {
        tables.push(("reward", json!(config.reward)));
        tables.push(("rce", json!(RceParams::of(config))));
    }
    if facts.phase == Some(Phase::Grpo) {
        tables.push(("grpo", json!(GrpoParams::of(config))));
    }
    tables
}

/// The same for the facts of the last phase.
fn header(config: &PointConfig, facts: &Facts, done: bool) -> Vec<(&'static str, Value)> {
    let train = &config.train;
    let (lr, epochs) = match facts.phase {
        Some(Phase::Rce) => (train.rce_lr, train.rce_epochs),
        Some(Phase::Grpo) => (train.grpo_lr, train.grpo_epochs),
        Some(Phase::Init) | None => return Vec::new(),
    };
    let mut values = vec![("lr", json!(lr))];
    if facts.phase == Some(Phase::Grpo) {
        values.push(("kl_beta", json!(train.kl_beta)));
        values.push(("freeze", json!(train.freeze.to_string())));
    }
    // A run that diverged or stopped early ends before its last epoch.
    if done && train.early_stop.is_none() {
        values.push(("epoch", json!(epochs)));
    }
    values
}
