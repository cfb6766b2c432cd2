//! Integration tests: one binary, so that burn is linked once.

mod data;
mod fixture;
mod golden;
mod invariants;
mod matrix;
mod sandbox;
mod schema;
mod tools;
