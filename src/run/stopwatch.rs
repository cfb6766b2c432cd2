//! The time of a run: how fast it trains, and what fits into the time that is left.

use std::time::{Duration, Instant};

use super::budget::{Budget, Pace};
use super::session::Session;
use super::stages::StageTable;
use crate::event::Event;
use crate::finite::Finite;

/// Measures how training goes and keeps to a time limit, if there is one.
pub struct Stopwatch {
    budget: Option<Budget>,
    pace: Pace,
    /// Whether it has been said what fits.
    estimated: bool,
    /// When this process began to train.
    began: Option<Instant>,
    /// Epochs of stages that this process has finished.
    epochs: usize,
}

impl Stopwatch {
    /// With the end at `deadline`.
    pub fn new(session: &Session, deadline: Option<Instant>) -> Self {
        let budget = deadline.map(|deadline| Budget::new(session, deadline));
        Self { budget, pace: Pace::default(), estimated: false, began: None, epochs: 0 }
    }

    /// Training begins, or goes on.
    pub fn start(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// `epochs` epochs of stages, of `steps` steps each, were finished in `time`.
    pub fn add(&mut self, epochs: usize, steps: u64, time: Duration) {
        self.epochs += epochs;
        self.pace.add(steps * epochs as u64, time);
    }

    /// Whether there is no time left.
    pub fn is_over(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.left().is_zero())
    }

    /// Whether half of the time since `start` was not enough for one epoch: whoever has as much time again will not
    /// finish it either.
    pub fn is_too_slow(&self, start: Instant) -> bool {
        self.epochs == 0 && self.began.is_some_and(|began| 2 * began.elapsed() >= start.elapsed())
    }

    /// The stages of `list` that come first where time is short, as [`Budget::first`].
    pub fn first(&self, list: Vec<usize>, ready: impl Fn(usize) -> bool) -> Vec<usize> {
        match &self.budget {
            Some(budget) => budget.first(&list, ready),
            None => list,
        }
    }

    /// How many of `members` can train one epoch of `steps` in the time that is left.
    pub fn members_that_fit(&self, members: usize, steps: u64) -> usize {
        let speed = self.pace.speed();
        self.budget.as_ref().map_or(members, |budget| budget.members_that_fit(members, steps, speed))
    }

    /// What fits into the time that is left where `workers` are as fast as this process; once, after something was
    /// measured.
    pub fn estimate(&mut self, session: &Session, stages: &StageTable, workers: usize) -> Option<Event> {
        let (Some(budget), Some(speed), false) = (&self.budget, self.pace.speed(), self.estimated) else {
            return None;
        };
        let speed = Finite::new(speed * workers as f64)?;
        self.estimated = true;
        let estimate = budget.estimate(session, stages, speed);
        Some(Event::BudgetEstimate {
            steps_per_second: estimate.speed,
            seconds_left: estimate.seconds,
            steps: estimate.steps,
            steps_left: estimate.steps_left,
            points: estimate.points,
            points_left: estimate.points_left,
        })
    }
}
