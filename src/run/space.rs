//! How much a sweep takes on the disk, before it is trained.

use std::path::Path;

use super::session::Session;
use crate::disk;
use crate::plan::StageProgress;
use crate::spec::{KeepOptimizer, KeepWeights};

/// A checkpoint's header and the rounding of files to whole blocks, in bytes.
const FILE: u64 = 8 << 10;
/// One line of selections, and one row of metrics.
const SELECTION: u64 = 200;
const METRICS_ROW: u64 = 250;

/// Bytes on the disk: estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Of the finished sweep.
    pub weights: u64,
    pub optimizer: u64,
    pub points: u64,
    /// Of that, what is still to be written.
    pub to_write: u64,
    /// What `[keep] weights = "best N"` lets go at the end.
    pub let_go: u64,
    /// Free where the results are; `None` where nobody says.
    pub free: Option<u64>,
}

impl Space {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.optimizer + self.points
    }

    /// Whether it cannot fit.
    pub fn is_short(&self) -> bool {
        self.free.is_some_and(|free| self.to_write > free)
    }

    /// Whether it may not fit: estimates err.
    pub fn is_tight(&self) -> bool {
        self.free.is_some_and(|free| self.to_write + self.to_write / 4 > free)
    }
}

/// What `session` takes below `root`, where stages have come as far as `done` (`None`: nothing of it is there) and
/// `open_points` points have no results yet.
pub fn space(session: &Session, root: &Path, done: &[Option<StageProgress>], open_points: usize) -> Space {
    let (plan, keep) = (&session.plan, session.spec.keep);
    let mut space = Space { free: disk::free(root), ..Space::default() };
    for (index, ((stage, stops), have)) in plan.stages.iter().zip(plan.stops()).zip(done).enumerate() {
        let trained = 4 * trained_parameters(session, index);
        if stage.epochs == 0 {
            space.weights += trained + FILE;
            space.to_write += if have.is_none() { trained + FILE } else { 0 };
            continue;
        }
        let kept =
            |epoch: &u32| keep.weights == KeepWeights::All || *epoch == stage.epochs || stops.contains(epoch);
        let there = |epoch: &u32| have.is_some_and(|have| have.reached(*epoch).is_some());
        let epochs = (1..=stage.epochs).filter(kept);
        let left = epochs.clone().filter(|epoch| !there(epoch)).count() as u64;
        space.weights += (trained + FILE) * epochs.count() as u64;
        space.to_write += (trained + FILE) * left;
        let state = 2 * trained + FILE;
        let stays = keep.optimizer == KeepOptimizer::All && plan.traits(index).can_grow();
        space.optimizer += if stays { state } else { 0 };
        // While it trains, every stage has one.
        space.to_write += if left > 0 { state } else { 0 };
    }
    let per_point = point_bytes(session);
    space.points = per_point * plan.points.len() as u64;
    space.to_write += per_point * open_points as u64;
    if let KeepWeights::Best(count) = keep.weights {
        let stays = count as usize + session.spec.baseline.len();
        let beaten =
            plan.points.iter().skip(stays).map(|point| 4 * trained_parameters(session, point.stage) + FILE);
        space.let_go = beaten.sum::<u64>().min(space.weights);
    }
    space
}

/// Parameters that stage `index` writes: what it trains, or all that it begins with.
fn trained_parameters(session: &Session, index: usize) -> u64 {
    let size = session.parameters(index);
    if session.plan.traits(index).trains() { size.trainable as u64 } else { size.total as u64 }
}

/// Files of one point: a row per epoch, a line per query and shot, and its exports.
fn point_bytes(session: &Session) -> u64 {
    let spec = &session.spec;
    let queries = session.experiment().inputs_examined() as u64;
    let shots = spec.eval.as_ref().map_or(0, |eval| eval.shots.len()) as u64;
    let epochs = session.plan.points.iter().map(|point| u64::from(point.epoch)).max().unwrap_or(0);
    let exports = session.plan.points.first().map_or(0, |point| {
        spec.export.len() as u64 * (4 * session.parameters(point.stage).total as u64 + FILE)
    });
    queries * shots * SELECTION + epochs * METRICS_ROW + 2 * FILE + exports
}
