//! Training and scoring: one cohort trainer for G >= 1 members, on the CPU and on a GPU.

mod cohort;
mod device;
mod engine;
mod host;
mod init;
mod layout;
mod loss;
mod masks;
pub mod panics;
mod random;
mod stacked;
mod task;
mod walks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::selector::Phase;
use crate::selector::data::{Embeddings, Group};
use crate::spec::{FreezeSet, ModelParams};

pub use cohort::{CohortEnd, MemberEvent, MemberJob, MemberParams, Progress, RewardTable, train_cohort};
pub use device::{Device, DeviceError, DeviceRequest, Precision};
pub use engine::{Engine, scores_of};
pub use host::{HostCohort, State};
pub use init::fresh_weights;
pub use layout::{Layout, Segment, Shape};
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

/// What the trainer and the world around it share while training runs: a request to end at the next step, and
/// how many member-steps have been made.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    raised: Arc<AtomicBool>,
    /// Of the whole of which this is a part.
    whole: Option<Arc<AtomicBool>>,
    steps: Arc<AtomicU64>,
}

impl Cancel {
    /// For a part of the work: it ends with the whole and can be ended alone; steps are counted together.
    pub fn part(&self) -> Self {
        let whole = Some(Arc::clone(&self.raised));
        Self { raised: Arc::default(), whole, steps: Arc::clone(&self.steps) }
    }

    /// Asks for the end.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_raised(&self) -> bool {
        let raised = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        raised(&self.raised) || self.whole.as_ref().is_some_and(raised)
    }

    /// Counts `members` that made a step.
    ///
    /// # Panics
    /// As [`panics::pass_on`].
    pub fn count_steps(&self, members: u64) {
        crate::disk::fault::step(members);
        panics::pass_on();
        self.steps.fetch_add(members, Ordering::Relaxed);
    }

    /// Member-steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
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
