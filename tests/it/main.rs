//! Integration tests: one binary, so that burn is linked once.

mod ckpt;
mod ckpt_files;
mod ckpt_runs;
mod coverage;
mod data;
mod engines;
mod faults;
mod fixture;
mod golden;
mod house;
mod invariants;
mod kill;
mod matrix;
mod old_results;
mod outside;
mod overnight;
mod report;
mod sandbox;
mod schema;
mod slurm;
mod small_models;
mod sweeps;
mod table;
mod tools;
mod workers;
