//! Integration tests: one binary, so that burn is linked once.

mod coverage;
mod fixture;
mod golden;
mod matrix;
mod table;
