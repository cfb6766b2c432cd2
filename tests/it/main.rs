//! Integration tests: one binary, so that burn is linked once.

mod fixture;
mod golden;
mod matrix;
