//! What a run would do, without doing any of it: which stages are there, which cohorts would train, how long
//! and in how much memory.

use rayon::prelude::*;

use super::options::RunOptions;
use super::points::PointTable;
use super::session::Session;
use super::space::{Space, space};
use crate::device::Device;
use crate::plan::{Cohort, Stage, StageProgress, Traits, all_cohorts};
use crate::store::{Held, Inventory, SpeedSample, SweepDir, Wanted};

/// Memory of the program itself and of its buffers for reading and writing, in bytes.
const PROGRAM: u64 = 40 << 20;

/// The forecast of one run.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// What is on disk of each stage of the plan.
    pub held: Vec<Option<Held>>,
    /// Points whose model is on disk.
    pub points_there: usize,
    /// Training steps still to make.
    pub steps_left: u64,
    pub cohorts: Vec<CohortForecast>,
    /// Largest resident memory, in bytes: an estimate.
    pub memory: u64,
    /// On the disk.
    pub space: Space,
}

/// A cohort that would train.
#[derive(Clone, Debug)]
pub struct CohortForecast {
    pub stages: Vec<usize>,
    /// What they are, for people: stages of one lane are the same.
    pub about: String,
    pub traits: Traits,
    /// Member-steps.
    pub steps: u64,
    /// Estimated wall time; `None` where nothing like it has been timed.
    pub seconds: Option<f64>,
}

/// Where estimates of time come from.
#[derive(Clone, Debug)]
pub enum Speed {
    /// Cohorts of earlier runs.
    Earlier(Vec<SpeedSample>),
    /// A few real steps of every kind of cohort, trained now and thrown away.
    Measured,
}

impl Forecast {
    /// Seconds of all cohorts; `None` if one of them is unknown.
    pub fn seconds(&self) -> Option<f64> {
        self.cohorts.iter().map(|cohort| cohort.seconds).sum()
    }
}

/// Looks at what is on disk and forecasts a run. Writes nothing.
pub fn forecast(session: &Session, options: &RunOptions, inventory: &Inventory, speed: Speed) -> Forecast {
    let plan = &session.plan;
    let dir = SweepDir::new(&options.root, &session.spec.name);
    let held = held(session, &dir, inventory);
    let done: Vec<StageProgress> = held
        .iter()
        .map(|held| held.as_ref().map_or(StageProgress::Epochs(0), |held| held.progress))
        .collect();
    let there = |point: &&crate::plan::PointPlan| {
        held[point.stage].is_some() && done[point.stage].reached(point.epoch).is_some()
    };
    let points_there = plan.points.iter().filter(there).count();
    let come: Vec<Option<StageProgress>> =
        held.iter().map(|held| held.as_ref().map(|held| held.progress)).collect();
    let space = space(session, &options.root, &come, plan.points.len() - points_there);
    let per_epoch = session.steps();
    let mut clock = Clock { session, device: options.device, speed, timed: Vec::new() };
    let cohorts: Vec<CohortForecast> = all_cohorts(plan, &done, options.widest_cohort())
        .into_iter()
        .map(|cohort| {
            let epochs = |&stage: &usize| u64::from(plan.stages[stage].epochs - done[stage].epochs());
            let steps = cohort.stages.iter().map(epochs).sum::<u64>() * per_epoch;
            let first = cohort.stages[0];
            let about = session.experiment().about(plan.stages[first].work);
            let traits = plan.traits(first).clone();
            let seconds = clock.per_member_step(&cohort).map(|one| one * steps as f64);
            CohortForecast { stages: cohort.stages, about, traits, steps, seconds }
        })
        .collect();
    let memory = cohorts.iter().map(|cohort| memory(session, cohort)).max().unwrap_or(0);
    Forecast {
        points_there,
        steps_left: cohorts.iter().map(|cohort| cohort.steps).sum(),
        memory: memory.max(session.experiment().data_bytes() + PROGRAM),
        space,
        held,
        cohorts,
    }
}

/// What is on disk of each stage. What was let go counts as there unless a point without results asks for it.
fn held(session: &Session, dir: &SweepDir, inventory: &Inventory) -> Vec<Option<Held>> {
    let plan = &session.plan;
    let find = |stops: &[Vec<u32>]| -> Vec<Option<Held>> {
        let stages = plan.stages.par_iter().zip(stops);
        stages
            .map(|(stage, stops)| inventory.find(dir, &stage.key, Wanted { stops, until: stage.epochs }))
            .collect()
    };
    let stops = plan.stops();
    let lacks = |(stage, stops): (&Stage, &Vec<u32>)| {
        inventory.lacks(dir, &stage.key, Wanted { stops, until: stage.epochs })
    };
    match plan.stages.iter().zip(&stops).any(lacks) {
        false => find(&stops),
        true => find(&PointTable::glance(session, dir).open_epochs(session)),
    }
}

/// Seconds per member and step, asked for once per class and width.
struct Clock<'a> {
    session: &'a Session,
    device: Device,
    speed: Speed,
    /// By class and width.
    timed: Vec<(usize, usize, Option<f64>)>,
}

impl Clock<'_> {
    fn per_member_step(&mut self, cohort: &Cohort) -> Option<f64> {
        let (plan, members) = (&self.session.plan, cohort.stages.len());
        let (class, lane) = (plan.stages[cohort.stages[0]].class, &plan.traits(cohort.stages[0]).lane);
        let known = self.timed.iter().find(|(timed, width, _)| *timed == class && *width == members);
        if let Some((_, _, seconds)) = known {
            return *seconds;
        }
        let seconds = match &self.speed {
            Speed::Measured => measure(self.session, cohort, self.device),
            Speed::Earlier(samples) => nearest(samples, lane, members),
        };
        self.timed.push((class, members, seconds));
        seconds
    }
}

/// The time of the samples of this lane whose width is nearest; the median where there are several.
fn nearest(samples: &[SpeedSample], lane: &str, members: usize) -> Option<f64> {
    let distance = |sample: &SpeedSample| (sample.members as f64 / members as f64).ln().abs();
    let alike = || samples.iter().filter(|sample| sample.lane == lane);
    let closest = alike().map(distance).min_by(f64::total_cmp)?;
    let mut seconds: Vec<f64> =
        alike().filter(|sample| distance(sample) <= closest).map(|sample| sample.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

/// Seconds per member and step of `cohort`, trained in memory for a few steps.
fn measure(session: &Session, cohort: &Cohort, device: Device) -> Option<f64> {
    let ends = |stage: &usize| {
        let works = session.works_of(*stage);
        Some((*works.first()?, *works.last()?))
    };
    let works: Vec<(usize, usize)> = cohort.stages.iter().filter_map(ends).collect();
    session.experiment().measure(&works, device)
}

/// What training a cohort takes.
fn memory(session: &Session, cohort: &CohortForecast) -> u64 {
    let Some(&first) = cohort.stages.first() else { return 0 };
    let mut starts: Vec<Option<usize>> =
        cohort.stages.iter().map(|&stage| session.plan.stages[stage].parent).collect();
    starts.sort_unstable();
    starts.dedup();
    let (work, jobs) = (session.plan.stages[first].work, cohort.stages.len());
    let experiment = session.experiment();
    experiment.data_bytes() + PROGRAM + experiment.training_bytes(work, jobs, starts.len())
}
