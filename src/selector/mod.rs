//! What the selector's training is made of, and how points ask for it.
//!
//! What enters where, and whether a longer run contains the shorter one ("prefix"):
//!
//! | parameter | stage | prefix |
//! |---|---|---|
//! | `model.*`, `train.init`, `seed` of fresh weights | Init | |
//! | data, `reward.*` | Rce, Grpo | |
//! | `rce_epochs` | Rce | no: the temperature depends on the total |
//! | `rce_lr`, `rce_reward`, `rce_temperature`, `rce_top1_only` | Rce | |
//! | `grpo_epochs` | (a stop of Grpo) | yes: nothing depends on the total |
//! | `grpo_lr`, `kl_beta`, `clip_epsilon`, `adaptive_kl`, `kl_target`, `top_k`, `freeze`, `reference` | Grpo | |
//! | `seed`, `weight_decay`, `warmup_steps`, `grad_clip`, `shuffle`, `early_stop` | Rce, Grpo | |

mod chains;
mod claims;
pub mod data;
pub mod evaluate;
mod figures;
mod groups;
mod infer;
mod keys;
pub mod learn;
pub mod making;
mod model;
mod notices;
mod older;
mod open;
mod opened;
mod params;
mod reward;
pub mod scripts;
mod stage;
#[cfg(test)]
mod tests;

pub use chains::{Chains, Inputs, StageWorks, TRAINER_VERSION};
pub use figures::FIGURES;
pub use groups::{FreezeSet, ParamGroup};
pub use infer::{Inference, Request, infer};
pub use keys::SCHEMA;
pub use open::{SelectorError, open};
pub use opened::Ready;
pub use params::{DataParams, ModelParams, Params, Reference, RewardForm, TrainParams};
pub use reward::{Normalize, Quality, RewardMode, RewardParams, Score, Term};
pub use stage::{GrpoParams, Lane, Optimizer, Origin, Phase, RceParams, StageKind};

use serde_json::Value;

use crate::checkpoint::Facts;
use crate::experiment::{Claims, Experiment, OpenError, Opened};
use crate::plan::Traits;
use crate::spec::{Config, Schema, SweepSpec};

/// The pointer selector: what `sweep` trains.
pub struct Selector;

impl Experiment for Selector {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn open(&self, sweep: &SweepSpec) -> Result<Box<dyn Opened>, OpenError> {
        Ok(Box::new(open(sweep)?))
    }

    fn older_traits(&self, work: &Value) -> Traits {
        older::traits(work)
    }

    fn older_lane(&self, work: &Value, first: &Value) -> String {
        older::lane(work, first)
    }

    fn claims(&self, config: &Config, facts: &Facts, done: bool) -> Claims {
        claims::claims(config, facts, done)
    }
}
