//! Which work is the same: a tree of stages, shared wherever the result is provably the same, and the cohorts that train
//! side by side. Pure, and over works that an experiment has described: what they are is not known here.

mod cohort;
mod tree;
mod work;

pub use cohort::{Cohort, GPU_WIDTH, all_cohorts, cpu_width, next_cohort};
pub use tree::{Plan, PointPlan, Stage, StageKey, StageProgress, build, outstanding};
pub use work::{INIT, Link, Traits, Work};
