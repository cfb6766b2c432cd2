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
pub mod learn;
mod open;
mod opened;
mod stage;
#[cfg(test)]
mod tests;

pub use chains::{Inputs, TRAINER_VERSION, Works, plan};
pub use claims::claims;
pub use open::{SelectorError, hash_file, open};
pub use opened::Selector;
pub use stage::{GrpoParams, Lane, Optimizer, Origin, Phase, RceParams, StageKind};
