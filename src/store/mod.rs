//! The results directory: its paths, its files, its lock. Only this module writes.

pub mod atomic;
mod results;

pub use results::{
    EpochMetrics, PointResult, PointStatus, QueryScore, ReferenceResult, SignalHealth, SweepResults,
};
