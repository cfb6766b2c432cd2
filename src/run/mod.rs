//! Drives the plan: asks the store what is there, trains what is outstanding, evaluates, commits, and goes on
//! after failures. A run always does what is outstanding; there is no separate way to resume.

mod budget;
mod closing;
mod crew;
mod error;
mod facts;
mod failures;
mod forecast;
mod inputs;
mod judging;
mod keep;
mod launch;
mod local;
mod log;
mod notices;
mod opening;
mod options;
mod points;
mod pool;
mod questions;
mod runner;
mod scored;
mod session;
mod slurm;
mod space;
mod stages;
mod stored;
mod tail;
mod verify;
mod worker;

pub use closing::write_matrix;
pub use error::RunError;
pub use forecast::{CohortForecast, Forecast, Speed, forecast};
pub use inputs::find_inputs;
pub use launch::{ClusterOptions, Launched, launch, preview};
pub use local::{fresh_name, run};
pub use options::{CACHE, Outcome, RunOptions, RunReport, Stop};
pub use questions::{QuestionForecast, judge_of, questions};
pub use session::Session;
pub use slurm::SlurmError;
pub use space::Space;
pub use stored::{spec_of, stored_session};
pub use verify::{PointCheck, Verification, VerifyError, verify};
pub use worker::{WorkerOptions, WorkerReport, work};
