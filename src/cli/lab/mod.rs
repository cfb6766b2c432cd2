//! What only the lab's experiment, the selector, needs of the command line: its commands, and its words in those that
//! all experiments share.

pub mod data;
mod data_build;
mod data_embed;
mod data_report;
mod endpoint_flags;
pub mod import_scripts;
pub mod infer;
pub mod init;
pub mod supply;

/// What `why` calls a score column besides `--column`.
pub const COLUMN: &str = "shot";

/// What `plan --json` calls the parameters that a cohort leaves as they are.
pub const FROZEN: &str = "freeze";
