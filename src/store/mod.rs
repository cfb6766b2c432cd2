//! The results directory: its paths, its files, its lock. Only this module writes.

pub mod atomic;
mod results;

pub use results::{
    EpochMetrics, FORMAT, PointRecord, PointResult, PointStatus, QueryScore, ReferenceResult,
    ReferencesRecord, ResolvedRecord, SignalHealth, SweepResults,
};
