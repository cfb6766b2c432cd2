//! Integration tests: one binary, so that burn is linked once.

mod engines;
mod fixture;
mod golden;
mod matrix;
