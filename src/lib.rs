//! `sweep`: a TOML grid in, a results matrix out.
//!
//! ```text
//! TOML text -> SweepSpec -> [Point] -> Plan (stages, cohorts) -> training -> selections -> scores -> results -> tables
//!    spec        spec        spec         plan                  selector   selector    selector    store      report
//!                                           \________ run: drives the plan, emits events ________/
//! ```
//!
//! Imports go one way, from the top floor down (`tests/it/house.rs` holds this picture against the source):
//!
//! ```text
//! cli
//! run
//! report    selector  scripts
//! store     judge
//! plan      checkpoint
//! spec
//! disk      record    event     figure    text
//! finite
//! ```
//!
//! `report` reads what `store` read from disk and never needs a model.

pub mod checkpoint;
pub mod cli;
pub mod disk;
pub mod event;
pub mod figure;
pub mod finite;
pub mod judge;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;
pub mod scripts;
pub mod selector;
pub mod spec;
pub mod store;
pub mod text;
