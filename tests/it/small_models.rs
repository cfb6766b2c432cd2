//! Small models reach corners that large ones hardly meet: headers of any length, vectors that dropout zeroes wholly.

use crate::sandbox::{Sandbox, repository};

/// `matrix.csv` of a sweep of `tests/fixtures/faults` on `device`.
fn matrix(fault: &str, device: &str, more: &[&str]) -> String {
    let sandbox = Sandbox::new();
    let file = repository("tests/fixtures/faults").join(fault).join("sweep.toml");
    let file = file.to_str().expect("UTF-8");
    let said = sandbox.sweep(&[&["run", file, "--out", "out", "--device", device], more].concat());
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(0), "{fault} on {device}: {text}");
    assert!(text.contains(" 0 failed, 0 pending"), "{fault} on {device}: {text}");
    let name =
        std::fs::read_dir(sandbox.path().join("out")).expect("results").next().expect("one").expect("read");
    std::fs::read_to_string(name.path().join("matrix.csv")).expect("a matrix")
}

#[test]
fn a_checkpoint_that_begins_like_a_pickle_is_read() {
    matrix("header-1152", "cpu", &[]);
}

#[test]
fn vectors_of_zeros_train() {
    let shared = matrix("zero-vector", "cpu", &[]);
    assert_eq!(shared, matrix("zero-vector", "cpu", &["--no-share", "--cohort", "1"]));
    matrix("zero-vector", "flex", &[]);
}
