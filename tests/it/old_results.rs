//! Results outlive versions of the program: a finished directory of every format stays in `tests/fixtures/`, and
//! records grow without orphans.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use sweep::disk;

use crate::sandbox::{repository, texts};

/// Every format of which a finished directory is kept.
const FORMATS: std::ops::RangeInclusive<u32> = 1..=sweep::store::FORMAT;

/// A copy of the finished directory of `sweeps/quick.toml` that a program of `format` wrote.
pub fn finished(format: u32) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().expect("a directory");
    let to = root.path().join("quick");
    let status = Command::new("cp")
        .arg("-a")
        .arg(repository(&format!("tests/fixtures/results-{format}/quick")))
        .arg(&to)
        .status();
    assert!(status.expect("cp").success());
    (root, to)
}

/// `sweep` in the repository: the old results name their inputs by paths relative to it.
fn sweep(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
    command.current_dir(repository("")).args(arguments).stdin(Stdio::null());
    command.output().expect("it starts")
}

/// Runs `sweep`, which must succeed without a word of damage; returns stdout and stderr.
fn fine(arguments: &[&str]) -> (String, String) {
    let output = sweep(arguments);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}\n{stdout}\n{stderr}");
    assert!(!stderr.contains("damaged") && !stdout.contains("damaged"), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn run(root: &Path) -> String {
    fine(&["run", "sweeps/quick.toml", "--out", root.to_str().expect("UTF-8"), "--device", "cpu"]).1
}

/// All files below `stages/`, by path.
fn stages(results: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    walkdir::WalkDir::new(results.join("stages"))
        .into_iter()
        .map(|entry| entry.expect("listed"))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (entry.path().to_owned(), std::fs::read(entry.path()).expect("read")))
        .collect()
}

/// Applies `change` to a JSON file.
fn edit(path: &Path, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON");
    change(&mut value);
    disk::write(path, &serde_json::to_vec_pretty(&value).expect("JSON")).expect("written");
}

/// The records of every stage and point.
fn records(results: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(results).into_iter().map(|entry| entry.expect("listed"));
    let record = |path: &PathBuf| path.ends_with("stage.json") || path.ends_with("point.json");
    entries.map(|entry| entry.path().to_owned()).filter(record).collect()
}

#[test]
fn results_of_every_format_are_read() {
    FORMATS.for_each(is_read);
}

fn is_read(format: u32) {
    let (_root, results) = finished(format);
    let matrix = std::fs::read(results.join("matrix.csv")).expect("a matrix");
    let dir = results.to_str().expect("UTF-8");
    let page = results.with_file_name("page.html");
    let (table, _) = fine(&["table", dir, "--format", "csv"]);
    assert_eq!(table.lines().next(), String::from_utf8_lossy(&matrix).lines().next());
    fine(&["table", dir]);
    fine(&["report", dir, "-o", page.to_str().expect("UTF-8")]);
    assert!(std::fs::read_to_string(&page).expect("a page").contains("kl0.15-ep2-frozen"));
    let (why, _) = fine(&["why", dir, "--point", "kl0.15-ep2-frozen", "--shot", "2"]);
    assert!(why.contains("kl0.15-ep2-frozen"), "{why}");
    let (status, _) = fine(&["status", dir, "--json"]);
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!((&status["points"], &status["done"]), (&json!(8), &json!(8)), "{status}");
    let (list, _) = fine(&["ckpt", "ls", dir]);
    assert!(list.contains("grpo"), "{list}");
    fine(&["ckpt", "verify", dir]);
}

#[test]
fn a_run_goes_on_with_results_of_every_format() {
    FORMATS.for_each(is_gone_on_with);
}

fn is_gone_on_with(format: u32) {
    let (root, results) = finished(format);
    let (before, matrix) = (stages(&results), std::fs::read(results.join("matrix.csv")).expect("a matrix"));
    let said = run(root.path());
    assert!(said.contains("8 points done"), "{said}");
    let after = stages(&results);
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = names.into_iter().filter(|name| before.get(*name) != after.get(*name)).collect();
    assert!(changed.is_empty(), "trained or written again: {changed:?}");
    assert_eq!(std::fs::read(results.join("matrix.csv")).expect("a matrix"), matrix);
    assert!(!results.join("set_aside").exists(), "nothing is set aside");
}

/// What a later version adds, in every place where it may add something.
#[test]
fn what_is_not_known_yet_is_kept() {
    FORMATS.for_each(is_kept_though_unknown);
}

fn is_kept_though_unknown(format: u32) {
    let (root, results) = finished(format);
    for record in records(&results) {
        edit(&record, |record| record["made_up"] = json!({ "warp": 9 }));
    }
    edit(&results.join("resolved.json"), |resolved| {
        resolved["made_up"] = json!(true);
        for point in resolved["points"].as_array_mut().expect("points") {
            point["config"]["train"]["made_up_key"] = json!(0.5);
            point["config"]["made_up_table"] = json!({ "key": 1 });
        }
    });
    let dir = results.to_str().expect("UTF-8").to_owned();
    let (table, _) = fine(&["table", &dir, "--format", "csv"]);
    let (before, record) = (stages(&results), results.join("points/kl0.15-ep2-frozen/point.json"));
    // The same data under another path: every point's record is written again.
    edit(&record, |record| record["config"]["data"]["embeddings"] = json!("elsewhere.safetensors"));
    run(root.path());
    let after = stages(&results);
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = names.into_iter().filter(|name| before.get(*name) != after.get(*name)).collect();
    assert!(changed.is_empty(), "trained or written again: {changed:?}");
    let kept: Value = serde_json::from_slice(&std::fs::read(&record).expect("there")).expect("JSON");
    assert_eq!(kept["made_up"]["warp"], 9);
    assert_eq!(kept["config"]["data"]["embeddings"], "sweeps/data/factqa/embeddings.safetensors");
    assert_eq!(fine(&["table", &dir, "--format", "csv"]).0, table);
}

/// What an earlier version did not know means the default.
#[test]
fn what_is_missing_is_the_default() {
    let (root, results) = finished(1);
    let forget = |config: &mut Value| {
        for (table, key) in
            [("train", "early_stop"), ("train", "top_k"), ("reward", "clamp"), ("model", "heads")]
        {
            config[table].as_object_mut().expect("a table").remove(key).expect("a key");
        }
    };
    edit(&results.join("resolved.json"), |resolved| {
        resolved["points"]
            .as_array_mut()
            .expect("points")
            .iter_mut()
            .for_each(|point| forget(&mut point["config"]));
        resolved.as_object_mut().expect("an object").remove("health");
    });
    for record in records(&results) {
        edit(&record, |record| match record.get("config") {
            Some(_) => forget(&mut record["config"]),
            None => {
                for (phase, key) in [("Rce", "early_stop"), ("Grpo", "top_k")] {
                    if let Some(kind) = record["kind"].get_mut(phase) {
                        kind["params"].as_object_mut().expect("an object").remove(key).expect("a key");
                    }
                }
            }
        });
    }
    let dir = results.to_str().expect("UTF-8").to_owned();
    fine(&["table", &dir]);
    fine(&["ckpt", "verify", &dir]);
    let before = stages(&results);
    run(root.path());
    let after = stages(&results);
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = names.into_iter().filter(|name| before.get(*name) != after.get(*name)).collect();
    assert!(changed.is_empty(), "trained or written again: {changed:?}");
    assert!(!results.join("set_aside").exists(), "nothing is set aside");
}

#[test]
fn results_of_a_later_format_are_refused() {
    let (root, results) = finished(1);
    edit(&results.join("resolved.json"), |resolved| resolved["format"] = json!(sweep::store::FORMAT + 1));
    let dir = results.to_str().expect("UTF-8");
    for arguments in
        [vec!["table", dir], vec!["run", "sweeps/quick.toml", "--out", root.path().to_str().expect("UTF-8")]]
    {
        let output = sweep(&arguments);
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {stderr}");
        assert!(stderr.contains("newer version of sweep"), "{stderr}");
    }
}
