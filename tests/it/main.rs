//! Integration tests: one binary, so that burn is linked once.

mod ckpt;
mod ckpt_files;
mod data;
mod fixture;
mod golden;
mod matrix;
mod schema;
