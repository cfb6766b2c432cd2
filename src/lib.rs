//! `sweep`: a TOML grid in, a results matrix out.
//!
//! ```text
//! TOML text -> SweepSpec -> [Point] -> Plan (stages, cohorts) -> training -> selections -> scores -> results -> tables
//!    spec        spec        spec         plan                     learn     evaluate    evaluate    store      report
//!                                           \________ run: drives the plan, emits events ________/
//! ```
//!
//! Imports go one way: `spec` <- `data`, `checkpoint` <- `plan` <- `learn`, `evaluate`, `store` <- `run` <-
//! `cli`; `scripts` (shell scripts -> sweep files) needs `spec` alone; `text` serves all of them; `report` reads what `store` read from disk and never needs a model.

pub mod checkpoint;
pub mod cli;
pub mod data;
pub mod evaluate;
pub mod event;
pub mod learn;
pub mod plan;
pub mod report;
pub mod run;
pub mod scripts;
pub mod spec;
pub mod store;
pub mod text;
