//! What all parts of a run share.

use super::options::RunOptions;
use super::session::Session;
use crate::experiment::Cancel;
use crate::store::Store;

/// What a run works with. Nothing of it changes while the run goes on.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    pub session: &'a Session,
    pub store: &'a Store,
    pub options: &'a RunOptions,
    pub cancel: &'a Cancel,
}

/// Who trains the stages of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// This process, and no other.
    Alone,
    /// So many worker processes, of which this is one.
    OneOf(usize),
}

impl Company {
    /// Whether no other process trains stages of the plan.
    pub fn is_alone(self) -> bool {
        self == Self::Alone
    }

    /// How many processes there are.
    pub fn count(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::OneOf(workers) => workers,
        }
    }
}
