//! Integration tests: one binary, so that burn is linked once.

mod ckpt;
mod ckpt_files;
mod coverage;
mod data;
mod engines;
mod fixture;
mod golden;
mod matrix;
mod schema;
mod table;
