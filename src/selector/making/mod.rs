//! Training data from items and a judge: who is a query and who a demonstration, which sequences are tried, and what the
//! judge says of them.
//!
//! ```text
//! items -> roles (train, eval, support) -> pools -> sequences -> questions -> answers -> trajectories, logged evaluation
//! ```
//! Every choice has its own random numbers, by seed, purpose and query: the same inputs, settings and answers give the
//! same bytes, in whatever order answers come.

mod build;
mod draw;
mod embed;
mod error;
mod files;
mod made;

mod plan;
mod recipe;
mod roles;
mod sequences;
mod shape;
#[cfg(test)]
mod tests;

pub use build::{Allowed, Built, Making, judge_event};
pub use embed::{EmbedError, matrix, texts};
pub use error::MakingError;
pub use recipe::Recipe;
