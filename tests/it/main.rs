//! Integration tests: one binary, so that burn is linked once.

mod data;
mod fixture;
mod golden;
mod kill;
mod matrix;
mod schema;
mod sweeps;
