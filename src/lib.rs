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
//! report    selector
//! store     modules
//! experiment
//! plan      checkpoint  judge
//! spec      device
//! disk      record    event     figure    text      panics
//! finite
//! ```
//!
//! `report` reads what `store` read from disk and never needs a model.

pub mod checkpoint;
pub mod cli;
pub mod device;
pub mod disk;
pub mod event;
pub mod experiment;
pub mod figure;
pub mod finite;
pub mod judge;
pub mod modules;
pub mod panics;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;
pub mod selector;
pub mod spec;
pub mod store;
pub mod text;
