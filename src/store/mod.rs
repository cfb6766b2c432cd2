//! The results directory: its paths, its files, its lock. Only this module writes.

pub mod atomic;
mod audit;
mod claim;
mod current;
mod error;
pub mod fault;
mod layout;
mod lock;
mod read;
mod results;
mod rows;
mod stage;
mod writer;

pub use audit::{RecordError, audit};
pub use claim::Claim;
pub use current::{InUse, UseError, back, in_use, use_baseline, use_point};
pub use error::StoreError;
pub use layout::SweepDir;
pub use lock::{Lock, holder};
pub use read::{check_point, read_resolved};
pub use results::{
    EpochMetrics, FORMAT, PointRecord, PointResult, PointStatus, QueryScore, ReferenceResult,
    ReferencesRecord, ResolvedRecord, SignalHealth, SweepResults,
};
pub use rows::{MeanScore, mean_scores, metrics_csv, scores_csv, selections_jsonl};
pub use stage::{EpochRecord, StageRecord, StageStore};
pub use writer::{PointFiles, Store, read_job, write_job};
