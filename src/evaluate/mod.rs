//! How good a selector is: its choices among demonstration sequences and what a judge said of them.

mod error;
mod leaks;
mod logged;
mod references;
#[cfg(test)]
mod tests;

pub use error::EvaluateError;
pub use leaks::leaks;
pub use logged::{EvalQuery, Logged, NotFinite};
pub use references::references;
