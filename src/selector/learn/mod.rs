//! Training and scoring: one cohort trainer for G >= 1 members, on the CPU and on a GPU.

mod cohort;
mod engine;
mod host;
mod init;
mod loss;
mod masks;
mod parameters;
mod random;
mod stacked;
mod task;
mod walks;

use crate::selector::FreezeSet;
use crate::selector::ModelParams;
use crate::selector::Phase;
use crate::selector::data::{Embeddings, Group};

pub use cohort::{MemberEvent, MemberJob, MemberParams, Progress, RewardTable, train_cohort};
pub use engine::{Engine, scores_of};
pub use host::{HostCohort, State};
pub use init::fresh_weights;
pub use parameters::{Layout, Segment, Shape};
pub use random::{Purpose, Stream};
pub use stacked::{StackedCohort, members_that_fit};
pub use task::{Diverged, EpochTask, GrpoGroup, Objective, StepRecord};

/// One query to score: its embedding row and its pool.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub row: usize,
    /// Global ids of the K candidates.
    pub pool: &'a [u32],
}

impl<'a> Query<'a> {
    /// The query of a group.
    pub fn of_group(group: &'a Group) -> Self {
        Self { row: group.query_id as usize, pool: &group.pool }
    }
}

/// What every member of a cohort has in common.
#[derive(Clone, Copy)]
pub struct EngineParams<'d> {
    pub shape: Shape,
    pub model: &'d ModelParams,
    pub freeze: &'d FreezeSet,
    pub embeddings: &'d Embeddings,
    pub train: &'d [Group],
    pub validation: &'d [Group],
    /// Per training group, all trajectories' labels `[T * S]`.
    pub labels: &'d [Vec<u32>],
    /// Length S of a trajectory.
    pub length: usize,
}

/// The steps of one member's epoch, or why it left.
pub type EpochResult = Result<Vec<StepRecord>, Diverged>;
