//! Points -> plan: a tree of stages, shared wherever the result is provably the same. Pure.
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
//! | `seed`, `weight_decay`, `grad_clip`, `shuffle`, `early_stop` | Rce, Grpo | |

mod class;
mod cohort;
mod stage;
#[cfg(test)]
mod tests;
mod tree;

pub use cohort::{Cohort, GPU_WIDTH, all_cohorts, cpu_width, model_of, next_cohort};
pub use stage::{GrpoParams, Optimizer, Origin, Phase, RceParams, StageKind};
pub use tree::{
    Inputs, Plan, PointPlan, Stage, StageKey, StageProgress, TRAINER_VERSION, build, outstanding,
};
