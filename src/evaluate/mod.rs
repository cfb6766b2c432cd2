//! How good a selector is: its choices among demonstration sequences and what a judge said of them.

mod error;
mod logged;
mod references;
#[cfg(test)]
mod tests;

pub use error::EvaluateError;
pub use logged::{EvalQuery, Logged, NotFinite};
pub use references::references;
