//! What a trainer and the world around it share while training runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{disk, panics};

/// A request to end at the next step, and the steps that have been made until then.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    raised: Arc<AtomicBool>,
    /// Of the whole of which this is a part.
    whole: Option<Arc<AtomicBool>>,
    steps: Steps,
}

impl Cancel {
    /// For a part of the work: it ends with the whole and can be ended alone; steps are counted together.
    pub fn part(&self) -> Self {
        let whole = Some(Arc::clone(&self.raised));
        Self { raised: Arc::default(), whole, steps: self.steps.clone() }
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

    /// Counts `members` that made a step. Only trainers call it: between two steps is where a panic of a thread that works
    /// for the trainer ends the training, and where a test plants its faults.
    ///
    /// # Panics
    /// As [`panics::pass_on`].
    pub fn count_steps(&self, members: u64) {
        disk::fault::step(members);
        panics::pass_on();
        self.steps.add(members);
    }

    /// The steps, for whoever shows how far training is.
    pub fn steps(&self) -> &Steps {
        &self.steps
    }
}

/// Member-steps made so far; the same for all that share it.
#[derive(Clone, Debug, Default)]
pub struct Steps(Arc<AtomicU64>);

impl Steps {
    /// Adds `members` that made a step, here or in another process.
    pub fn add(&self, members: u64) {
        self.0.fetch_add(members, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
