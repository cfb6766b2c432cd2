//! How good a selector is: its choices, among logged demonstration sequences or free, and what a judge says of them.

mod error;
mod leaks;
mod live;
mod logged;
mod pools;
mod references;
#[cfg(test)]
mod tests;

pub use error::EvaluateError;
pub use leaks::leaks;
pub use live::{Live, judge_form, score_of};
pub use logged::{EvalQuery, Logged, NotFinite};
pub use references::references;
