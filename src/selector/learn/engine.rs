//! The two engines behind one face.

use super::host::{self, HostCohort, State};
use super::stacked::{self, StackedCohort};
use super::task::{EpochTask, Start};
use super::{EngineParams, EpochResult, Layout, Phase, Query};
use crate::device::Device;
use crate::experiment::Cancel;
use crate::selector::data::Embeddings;

/// A cohort on some device.
#[expect(clippy::large_enum_variant, reason = "one per cohort, built once and never moved about")]
pub enum Engine<'d> {
    /// Hand-derived gradients on the CPU.
    Host(HostCohort<'d>),
    /// A tensor program on a burn device.
    Stacked(StackedCohort<'d>),
}

impl<'d> Engine<'d> {
    /// A cohort on `device` whose members start from `starts`. With everything frozen there is nothing to
    /// differentiate, and the CPU serves.
    pub fn new(params: EngineParams<'d>, device: Device, starts: &[Start]) -> Self {
        let trains = Layout::new(params.shape).trainable(params.freeze) > 0;
        let stacked = if trains { StackedCohort::new(params, device, starts) } else { None };
        stacked.map_or_else(|| Self::Host(HostCohort::new(params, starts)), Self::Stacked)
    }

    /// Trains one epoch. `tasks[i]` belongs to member `i`; `None` leaves it as it is. Returns `None` when
    /// `cancel` was raised; the members' states must then not be used.
    pub fn train_epoch(
        &mut self,
        at: (Phase, u32),
        tasks: &[Option<EpochTask>],
        cancel: &Cancel,
    ) -> Option<Vec<EpochResult>> {
        match self {
            Self::Host(cohort) => cohort.train_epoch(at, tasks, cancel),
            Self::Stacked(cohort) => cohort.train_epoch(at, tasks, cancel),
        }
    }

    /// Training states of `members`: parameters (frozen ones included) and moments.
    pub fn states_of(&mut self, members: &[usize]) -> Vec<State> {
        match self {
            Self::Host(cohort) => cohort.states_of(members),
            Self::Stacked(cohort) => cohort.states_of(members),
        }
    }

    /// Scores of the validation groups under each of `members`.
    pub fn validation_scores(&mut self, members: &[usize]) -> Vec<Vec<Vec<f32>>> {
        match self {
            Self::Host(cohort) => cohort.validation_scores(members),
            Self::Stacked(cohort) => cohort.validation_scores(members),
        }
    }
}

/// Scores `[K]` of every query, on `device`, under a model given by its flat parameters.
pub fn scores_of(
    device: Device,
    layout: &Layout,
    flat: &[f32],
    embeddings: &Embeddings,
    queries: &[Query],
    temperature: f64,
) -> Vec<Vec<f32>> {
    let on_device = stacked::scores_of(device, layout, flat, embeddings, queries, temperature);
    on_device.unwrap_or_else(|| host::scores_of(layout, flat, embeddings, queries, temperature))
}
