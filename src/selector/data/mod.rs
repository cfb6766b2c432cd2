//! Three ages of trajectory JSON + an embedding matrix -> [`Dataset`]. Pure after reading.

mod dataset;
mod error;
mod group;
mod input;
mod json;
mod load;
mod log_prob;
mod reward;
#[cfg(test)]
mod tests;

pub use dataset::{Dataset, Dropped, Embeddings, Group, Trajectory};
pub use error::{DataError, Fault};
pub use group::{Age, MethodShare};
pub use load::{Facts, Inspection, inspect, inspect_trajectories, load, read_embeddings};
pub use log_prob::{CandidateScores, sequence_log_prob};
pub use reward::{Rewards, check_rewards, rewards, signal_health};

pub(crate) use group::{check_binary, check_distinct, check_pointer, check_pool, check_share};
pub(crate) use input::read_text;
pub(crate) use json::number_or_bool;
