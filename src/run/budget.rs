//! Time limits: what is worth training first, and how much of it fits.

use std::time::{Duration, Instant};

use super::session::Session;
use super::stages::StageTable;
use crate::finite::Finite;

/// When a run has to end, and the order that makes its matrix fill evenly.
pub struct Budget {
    deadline: Instant,
    /// Per stage: 0 if a first seed needs it, 1 if only second seeds do, ...
    ranks: Vec<usize>,
    /// Per point, the rank of its seed.
    point_ranks: Vec<usize>,
}

/// What fits into the time that is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Member-steps per second, measured.
    pub speed: Finite,
    /// Seconds left.
    pub seconds: Finite,
    pub steps: u64,
    pub steps_left: u64,
    pub points: usize,
    pub points_left: usize,
}

impl Budget {
    /// Until `deadline`.
    pub fn new(session: &Session, deadline: Instant) -> Self {
        let seeds = |index: usize| session.spec.points[index].config.seed();
        let mut known: Vec<u64> = Vec::new();
        let mut ranks = vec![usize::MAX; session.plan.stages.len()];
        let mut point_ranks = Vec::with_capacity(session.plan.points.len());
        for (index, &point) in session.plan.points.iter().enumerate() {
            let rank = known.iter().position(|&seed| seed == seeds(index)).unwrap_or_else(|| {
                known.push(seeds(index));
                known.len() - 1
            });
            for (stage, _) in session.plan.chain(point) {
                ranks[stage] = ranks[stage].min(rank);
            }
            point_ranks.push(rank);
        }
        Self { deadline, ranks, point_ranks }
    }

    /// The stages of `list` that come first: those of the lowest rank that `ready` accepts one of.
    pub fn first(&self, list: &[usize], ready: impl Fn(usize) -> bool) -> Vec<usize> {
        let lowest = list.iter().filter(|&&stage| ready(stage)).map(|&stage| self.ranks[stage]).min();
        list.iter().copied().filter(|&stage| Some(self.ranks[stage]) == lowest).collect()
    }

    /// Time left.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// How many of `members` can train one epoch of `steps` in the time that is left, at `speed` member-steps
    /// per second (`None`: not measured yet, all of them).
    pub fn members_that_fit(&self, members: usize, steps: u64, speed: Option<f64>) -> usize {
        let Some(speed) = speed else { return members };
        let fit = self.left().as_secs_f64() * speed / steps.max(1) as f64;
        members.min(fit as usize)
    }

    /// What fits at `speed`, in the order in which it is trained.
    pub fn estimate(&self, session: &Session, stages: &StageTable, speed: Finite) -> Estimate {
        let per_epoch = session.steps();
        let seconds = Finite::from(self.left());
        let fit = (*seconds * *speed) as u64;
        let mut have: Vec<u32> = (0..session.plan.stages.len()).map(|stage| stages.epochs(stage)).collect();
        let mut order: Vec<usize> = (0..self.point_ranks.len()).collect();
        order.sort_by_key(|&index| self.point_ranks[index]);
        let (mut steps_left, mut points, mut points_left) = (0, 0, 0);
        for index in order {
            let mut more = 0;
            for (stage, epoch) in session.plan.chain(session.plan.points[index]) {
                more += u64::from(epoch.saturating_sub(have[stage])) * per_epoch;
                have[stage] = have[stage].max(epoch);
            }
            steps_left += more;
            points_left += 1;
            points += usize::from(steps_left <= fit);
        }
        Estimate { speed, seconds, steps: fit.min(steps_left), steps_left, points, points_left }
    }
}

/// Training speed measured so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    steps: u64,
    time: Duration,
}

impl Pace {
    /// Adds `steps` member-steps that took `time`.
    pub fn add(&mut self, steps: u64, time: Duration) {
        self.steps += steps;
        self.time += time;
    }

    /// Member-steps per second; `None` before anything was measured.
    pub fn speed(&self) -> Option<f64> {
        (self.steps > 0 && !self.time.is_zero()).then(|| self.steps as f64 / self.time.as_secs_f64())
    }
}
