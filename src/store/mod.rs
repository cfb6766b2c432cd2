//! The results directory: its paths, its files, its lock. Only this module writes.

mod audit;
mod claim;
mod clean;
mod current;
mod error;
mod events;
mod inventory;
mod layout;
mod lock;
mod read;
mod results;
mod rows;
mod selections;
mod speed;
mod stage;
mod standing;
mod usage;
mod writer;

pub use crate::figure::EpochMetrics;
pub use crate::record::{
    JudgeNoise, JudgeRecord, Leaks, PointStatus, QueryScore, ReferenceResult, SignalHealth, Unanswered,
};
pub use audit::audit;
pub use clean::{CleanOptions, Cleaning, Dispensable, Group, clean, survey};
pub use current::{InUse, UseError, back, in_use, in_use_ever, use_baseline, use_point};
pub use error::StoreError;
pub use events::{LoggedCohort, LoggedEvent, asked, cohorts, read_events};
pub use inventory::{Held, Inventory};
pub use layout::{SweepDir, export_path};
pub use lock::holder;
pub use read::{Expected, check_point, read_judge, read_resolved};
pub use results::{FORMAT, PointRecord, PointResult, ReferencesRecord, ResolvedRecord, SweepResults};
pub use rows::{MeanScore, mean_scores, metrics_csv, read_metrics_csv, scores_csv};
pub use selections::{selections_jsonl, unanswered_jsonl};
pub use speed::{SpeedSample, speed_samples};
pub use stage::{EpochRecord, StageRecord, StageStore, Wanted};
pub use standing::{Ended, Standing, StandingPoint, standing};
pub use usage::{Usage, usage};
pub use writer::{PointFiles, Store, read_job, write_job};
