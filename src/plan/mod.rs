//! Points -> plan: a tree of stages, shared wherever the result is provably the same. Pure.

mod stage;

pub use stage::{GrpoParams, Origin, RceParams, StageKind};
