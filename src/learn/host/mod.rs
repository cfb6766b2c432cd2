//! The CPU engine: one member per core, flat buffers, hand-derived gradients, a fused optimizer.
//!
//! # What a step costs
//! K candidates, embedding d, hidden h, P trainable parameters (SPEC sizes: K = 64, d = 512, h = 256).
//! A multiply-add counts as two operations.
//!
//! | part | operations | at SPEC sizes | who pays |
//! |---|---|---|---|
//! | candidates through `input_proj` | 2Kdh | 16.8 M | members that train it; else once per sweep stage |
//! | candidates through `cand_proj` | 2Khh | 8.4 M | members that train it or `input_proj`; else once per seed |
//! | attention and query, forward | 12hh + 4Kh | 0.9 M | every member |
//! | attention and query, backward | 12hh + 6Kh | 0.9 M | every member |
//! | gradient of `cand_proj` | 2Khh | 8.4 M | members that train it |
//! | gradient of the dropped candidates | 2Khh | 8.4 M | members that train `input_proj` |
//! | gradient of `input_proj` | 2Kdh | 16.8 M | members that train it |
//! | AdamW | about 15P | 7.9 M (unfrozen), 4.0 M (frozen backbone) | every member |
//!
//! Together 68 MFLOP unfrozen and 6 MFLOP with a frozen backbone. The optimizer moves 24 bytes per trainable
//! parameter (12.6 MB, 6.3 MB); all weight gradients but two are outer products that are never stored.
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
