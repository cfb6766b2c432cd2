//! The results directory: its paths, its files, its lock. Only this module writes.

pub mod atomic;
mod audit;
mod current;
mod results;

pub use audit::{RecordError, audit};
pub use current::{InUse, UseError, back, in_use, use_baseline, use_point};

pub use results::{
    EpochMetrics, FORMAT, PointRecord, PointResult, PointStatus, QueryScore, ReferenceResult,
    ReferencesRecord, ResolvedRecord, SignalHealth, SweepResults,
};
