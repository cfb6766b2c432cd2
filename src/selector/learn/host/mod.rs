//! The CPU engine: one member per core, flat buffers, hand-derived gradients, a fused optimizer.
//! All weight gradients but two are outer products that are never stored: the optimizer reads their factors. What a step
//! costs, and where the time goes, is in `benches/engine.md`.
//!
//! Every member is computed by one thread in the same order of operations, whatever else is in the cohort:
//! alone and in a cohort give equal bits.

mod backward;
mod bundle;
mod cohort;
mod evaluate;
mod forward;
mod frozen;
mod kernels;
mod prepare;
mod slab;
mod update;
mod validation;

pub use cohort::HostCohort;
pub use evaluate::scores_of;
pub use update::State;
