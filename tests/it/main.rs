//! Integration tests: one binary, so that burn is linked once.

mod ckpt;
mod ckpt_files;
mod ckpt_runs;
mod coverage;
mod data;
mod engines;
mod faults;
mod files;
mod fixture;
mod golden;
mod invariants;
mod kill;
mod matrix;
mod overnight;
mod records;
mod report;
mod sandbox;
mod schema;
mod slurm;
mod sweeps;
mod table;
mod tools;
mod workers;
