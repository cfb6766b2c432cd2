//! Integration tests: one binary, so that burn is linked once.

mod data;
mod faults;
mod fixture;
mod golden;
mod kill;
mod matrix;
mod overnight;
mod schema;
mod slurm;
mod sweeps;
mod workers;
