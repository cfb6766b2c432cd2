//! `sweep schema`.

use assert_cmd::Command;

#[test]
fn prints_the_schema_on_stdout() {
    let output = Command::cargo_bin("sweep").unwrap().arg("schema").output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, sweep::spec::json_schema(&sweep::selector::SCHEMA));
    assert!(output.stdout.ends_with(b"}\n"));
}
