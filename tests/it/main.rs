//! Integration tests: one binary, so that burn is linked once.

mod ckpt;
mod ckpt_files;
mod ckpt_runs;
mod coverage;
mod data;
mod engines;
mod exports;
#[path = "../../examples/fake_judge.rs"]
mod fake_judge;
mod faults;
mod files;
mod fixture;
mod golden;
mod grammar;
mod house;
mod invariants;
mod judge;
mod kill;
mod leaks;
mod matrix;
mod old_results;
mod outside;
mod overnight;
mod records;
mod report;
mod sandbox;
mod schema;
mod screen;
mod scripts;
mod scripts_bash;
mod slurm;
mod small_models;
mod sweeps;
mod table;
mod tools;
mod workers;
