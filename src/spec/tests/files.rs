//! Reading from the disk: what is there, what is not.

use std::path::Path;

use super::HEAD;
use crate::spec::{LoadOptions, load};

fn sweep_dir(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        crate::disk::write(&dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// The message of loading `t.toml` in `dir`, without the directory's name.
fn message(dir: &tempfile::TempDir, name: &str) -> String {
    let error = load(&dir.path().join(name), &LoadOptions::default()).expect_err("it is wrong");
    error.to_string().replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn the_shipped_sweeps_load() {
    let sweeps = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps");
    let points = |name: &str| load(&sweeps.join(name), &LoadOptions::default()).unwrap();
    assert_eq!(points("kl_grid.toml").name, "kl_grid");
    let others = ["unfreeze.toml", "rce_reward.toml", "wide.toml", "quick.toml", "factqa_large.toml"];
    for name in std::iter::once("kl_grid.toml").chain(others) {
        let spec = points(name);
        assert!(!spec.baseline.is_empty() && spec.eval.is_some(), "{name}");
        assert!(spec.warnings.is_empty(), "{name}: {:?}", spec.warnings);
    }
}

#[test]
fn the_race_has_72_points() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/race.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let spec = crate::spec::parse(&text, &path, &LoadOptions::default()).unwrap();
    assert_eq!(spec.points.len(), 72);
}

#[test]
fn missing_inputs_are_named_with_a_way_out() {
    let body = "[train]\ninit = \"rce_epoch5.pt\"\n[eval]\nlogged = \"data/x.jsonl\"\n";
    let dir = sweep_dir(&[
        ("t.toml", format!("{HEAD}{body}").as_bytes()),
        ("a1.json", b"{}"),
        ("e.safetensors", b""),
    ]);
    insta::assert_snapshot!(message(&dir, "t.toml"), @r#"
    `data.trajectories`: there is no file `DIR/a.json`
     --> DIR/t.toml:3:16
      |
    3 | trajectories = "a.json"
      |                ^^^^^^^^
    hint: did you mean `a1.json`?

    error: `train.init`: there is no file `DIR/rce_epoch5.pt`
     --> DIR/t.toml:6:8
      |
    6 | init = "rce_epoch5.pt"
      |        ^^^^^^^^^^^^^^^
    hint: paths are relative to the directory of the sweep file

    error: `eval.logged`: there is no file `DIR/data/x.jsonl`
     --> DIR/t.toml:8:10
      |
    8 | logged = "data/x.jsonl"
      |          ^^^^^^^^^^^^^^
    hint: paths are relative to the directory of the sweep file
    "#);
}

#[test]
fn a_directory_is_no_input() {
    let dir = sweep_dir(&[("t.toml", HEAD.as_bytes()), ("a.json/x", b""), ("e.safetensors", b"")]);
    insta::assert_snapshot!(message(&dir, "t.toml"), @r#"
    `data.trajectories`: `DIR/a.json` is not a file
     --> DIR/t.toml:3:16
      |
    3 | trajectories = "a.json"
      |                ^^^^^^^^
    hint: name the file itself
    "#);
}

#[test]
fn the_sweep_file_itself() {
    let dir = sweep_dir(&[("kl_grid.toml", b"x = \xff"), ("a.json", b"{}")]);
    insta::assert_snapshot!(message(&dir, "kl_grid.toml"), @r"
    cannot read sweep file `DIR/kl_grid.toml`: it is not UTF-8 text (line 1)
    hint: save it as UTF-8
    ");
    insta::assert_snapshot!(message(&dir, ""), @r"
    cannot read sweep file `DIR/`: Is a directory (os error 21)
    hint: name the file itself, such as `sweeps/kl_grid.toml`
    ");
}

#[test]
fn a_missing_sweep_file_is_looked_for_among_sweep_files() {
    let sweep: &[u8] = b"[data]\n";
    let dir = sweep_dir(&[
        ("sweeps/kl_grid.toml", sweep),
        ("sweeps/quick.toml", sweep),
        ("Cargo.toml", b"[package]\n"),
        ("empty/kl_grids.toml", b"[other]\n"),
    ]);
    insta::assert_snapshot!(message(&dir, "kl_gird.toml"), @r"
    cannot read sweep file `DIR/kl_gird.toml`: No such file or directory (os error 2)
    hint: did you mean `DIR/sweeps/kl_grid.toml`?
    ");
    insta::assert_snapshot!(message(&dir, "sweeps/quik.toml"), @r"
    cannot read sweep file `DIR/sweeps/quik.toml`: No such file or directory (os error 2)
    hint: did you mean `DIR/sweeps/quick.toml`?
    ");
    insta::assert_snapshot!(message(&dir, "Cargo.tml"), @r"
    cannot read sweep file `DIR/Cargo.tml`: No such file or directory (os error 2)
    hint: no sweep file there or in `sweeps/` has a name like it
    ");
    insta::assert_snapshot!(message(&dir, "empty/kl_grid.toml"), @r"
    cannot read sweep file `DIR/empty/kl_grid.toml`: No such file or directory (os error 2)
    hint: `DIR/empty` has no sweep files; `sweep init` writes one to begin with
    ");
    insta::assert_snapshot!(message(&dir, "nowhere/kl_grid.toml"), @r"
    cannot read sweep file `DIR/nowhere/kl_grid.toml`: No such file or directory (os error 2)
    hint: there is no directory `DIR/nowhere` either
    ");
}

#[test]
fn only_what_points_use_must_exist() {
    let body = "[train]\ninit = \"unused.pt\"\n[grid]\ninit = [\"none\", \"a.json\"]\n";
    let dir = sweep_dir(&[
        ("t.toml", format!("{HEAD}{body}").as_bytes()),
        ("a.json", b"{}"),
        ("e.safetensors", b""),
    ]);
    assert_eq!(load(&dir.path().join("t.toml"), &LoadOptions::default()).unwrap().points.len(), 2);
}
