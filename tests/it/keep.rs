//! What stays on the disk: `[keep]`, checkpoints that share parameters, `sweep clean`, and the free space before a night.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use sweep::checkpoint;
use sweep::disk::{self, fault::Passage};

use crate::sandbox::repository;
use crate::sweeps::{Place, assert_same, events, facts, said, was_killed};

/// One warm-up of several epochs and four GRPO runs, half of them frozen; `epochs` are those of GRPO.
fn grid(epochs: &str, keep: &str) -> Place {
    let place = Place::with(&[]);
    rewrite(&place, epochs, keep);
    place
}

fn rewrite(place: &Place, epochs: &str, keep: &str) {
    place.write(
        "small.toml",
        &[
            ("rce_epochs = 1", "rce_epochs = 3"),
            ("grpo_epochs = [1, 2]", &format!("grpo_epochs = {epochs}")),
            ("seed = [0, 1]", "freeze = [[\"backbone\"], []]"),
            (
                "[eval]",
                &format!("[keep]\n{keep}\n[baseline]\nkl_beta = 0.1\ngrpo_epochs = 1\nfreeze = []\n[eval]"),
            ),
        ],
    );
}

fn run(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(arguments, "");
    let (code, text) = said(&output);
    assert_eq!(code, Some(0), "{text}");
    text
}

fn sweep(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
    command.current_dir(place.dir.path()).args(arguments).output().expect("it starts")
}

fn fine(place: &Place, arguments: &[&str]) -> String {
    let output = sweep(place, arguments);
    let (code, text) = said(&output);
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The safetensors of all stages by their place below `stages/`.
fn tensors(results: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let files = facts(results).into_keys().filter(|path| path.starts_with("stages"));
    let tensors = files.filter(|path| path.extension().is_some_and(|end| end == "safetensors"));
    tensors.map(|path| (path.clone(), results.join(path))).collect()
}

fn named(results: &Path, name: &str) -> usize {
    tensors(results).keys().filter(|path| path.ends_with(name)).count()
}

#[test]
fn only_what_a_command_needs_stays_by_default() {
    let (default, all) = (grid("[1, 3]", ""), grid("[1, 3]", "weights = \"all\""));
    run(&default, &[]);
    run(&all, &[]);
    let (few, every) = (default.results("small"), all.results("small"));
    let counts = |results: &Path| {
        ["rce_epoch1", "rce_epoch3", "grpo_epoch1", "grpo_epoch2", "grpo_epoch3", "optimizer_epoch3"]
            .map(|name| named(results, &format!("{name}.safetensors")))
    };
    // Nobody goes on from a finished warm-up: of five stages four keep their state.
    assert_eq!(counts(&few), [0, 1, 4, 0, 4, 4]);
    assert_eq!(counts(&every), [1, 1, 4, 4, 4, 4]);
    for (path, file) in tensors(&few).iter().filter(|(path, _)| !path.to_string_lossy().contains("optimizer"))
    {
        let read = checkpoint::read(file).expect("it opens alone");
        assert_eq!(read.weights, checkpoint::read(&every.join(path)).expect("there").weights, "{path:?}");
    }
    fine(&default, &["ckpt", "verify", "results/small"]);
    assert_eq!(
        std::fs::read(few.join("matrix.csv")).unwrap(),
        std::fs::read(every.join("matrix.csv")).unwrap()
    );
}

#[test]
fn what_a_stage_froze_is_stored_once() {
    let place = grid("[1, 2]", "");
    run(&place, &[]);
    let results = place.results("small");
    let (mut shared, mut whole) = (0, 0);
    for (path, file) in tensors(&results).iter().filter(|(path, _)| path.ends_with("grpo_epoch2.safetensors"))
    {
        let facts = checkpoint::read_summary(file).expect("a header");
        let (own, _) = checkpoint::read_tensors(file).expect("tensors");
        assert_eq!(facts.shapes.len(), checkpoint::read(file).expect("whole").weights.len());
        match facts.facts.frozen.expect("stated").0.is_empty() {
            true => whole += 1,
            false => {
                assert!(facts.facts.base.is_some(), "{path:?}");
                assert!(!own.keys().any(|name| name.contains("query_proj")), "{path:?}: {:?}", own.keys());
                shared += 1;
            }
        }
        assert_eq!(own.len() == facts.shapes.len(), facts.facts.base.is_none());
    }
    assert_eq!((shared, whole), (2, 2));
    // Moments of what is frozen are zero: they are not stored either.
    let state = |frozen: bool| -> u64 {
        let stages =
            tensors(&results).into_values().filter(|file| file.ends_with("optimizer_epoch2.safetensors"));
        let of = |file: &PathBuf| {
            let facts =
                checkpoint::read_facts(&file.with_file_name("grpo_epoch2.safetensors")).expect("facts");
            facts.base.is_some() == frozen
        };
        stages.filter(of).map(|file| std::fs::metadata(file).expect("there").len()).sum()
    };
    assert!(state(true) < state(false), "{} {}", state(true), state(false));
    // What is put in use is whole: other programs read it.
    let point = "kl0.15-ep2-frozen";
    fine(&place, &["use", "results/small", point]);
    let (own, header) = checkpoint::read_tensors(&results.join("current")).expect("tensors");
    assert!(own.keys().any(|name| name.contains("query_proj")) && !header.contains_key("base"));
    fine(&place, &["ckpt", "verify", "results/small"]);
    // Alone elsewhere it cannot be read, and says what it needs.
    let frozen = tensors(&results)
        .into_values()
        .find(|file| checkpoint::read_facts(file).is_ok_and(|facts| facts.base.is_some()));
    std::fs::copy(frozen.expect("one"), place.dir.path().join("alone.safetensors")).expect("copied");
    let (code, text) = said(&sweep(&place, &["ckpt", "show", "alone.safetensors"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("shares parameters with") && text.contains("hint:"), "{text}");
}

/// The cohorts of the last run: phase, first and last epoch.
fn trained(results: &Path) -> BTreeSet<(String, u64, u64)> {
    let log = std::fs::read_to_string(results.join("events.jsonl")).expect("a log");
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |event: &Value, name: &str| event["data"][name].clone();
    let last = events.iter().rposition(|event| of(event, "event") == "plan_ready").expect("a run");
    let cohorts = events[last..].iter().filter(|event| of(event, "event") == "cohort_started");
    let number = |event: &Value, name: &str| of(event, name).as_u64().expect("a number");
    cohorts
        .map(|event| {
            let phase = of(event, "phase").as_str().expect("text").to_owned();
            (phase, number(event, "first_epoch"), number(event, "last_epoch"))
        })
        .collect()
}

#[test]
fn a_longer_run_trains_only_the_new_epoch() {
    let place = grid("[1, 2, 3]", "");
    run(&place, &[]);
    rewrite(&place, "[1, 2, 3, 4]", "");
    run(&place, &[]);
    assert_eq!(trained(&place.results("small")), BTreeSet::from([("grpo".to_owned(), 4, 4)]));
    let straight = grid("[1, 2, 3, 4]", "");
    run(&straight, &[]);
    assert_same(&place.results("small"), &facts(&straight.results("small")));
}

#[test]
fn what_was_let_go_is_trained_again_when_it_is_asked_for() {
    let place = grid("[1, 3]", "");
    run(&place, &[]);
    rewrite(&place, "[1, 2, 3]", "");
    let plan = fine(&place, &["plan", "small.toml"]);
    assert!(plan.contains("steps to go"), "{plan}");
    let text = run(&place, &[]);
    assert_eq!(events(&place.results("small"), "stage_again"), 4, "{text}");
    assert!(text.contains("[keep]"), "{text}");
    let straight = grid("[1, 2, 3]", "");
    run(&straight, &[]);
    assert_same(&place.results("small"), &facts(&straight.results("small")));
    run(&place, &[]);
    assert_eq!(events(&place.results("small"), "stage_again"), 4);
    assert_eq!(trained(&place.results("small")), BTreeSet::new());
}

#[test]
fn states_that_were_not_kept_cost_a_longer_run_its_beginning() {
    let place = grid("[1, 2]", "optimizer = \"unfinished\"");
    run(&place, &[]);
    assert_eq!(named(&place.results("small"), "optimizer_epoch2.safetensors"), 0);
    rewrite(&place, "[1, 2, 3]", "");
    run(&place, &[]);
    assert_eq!(events(&place.results("small"), "stage_again"), 4);
    let straight = grid("[1, 2, 3]", "");
    run(&straight, &[]);
    assert_same(&place.results("small"), &facts(&straight.results("small")));
}

#[test]
fn only_the_best_points_keep_their_weights() {
    let place = grid("[1, 2]", "weights = \"best 1\"");
    run(&place, &[]);
    let results = place.results("small");
    // The best one and the baseline, which may be the same.
    let kept = named(&results, "grpo_epoch1.safetensors") + named(&results, "grpo_epoch2.safetensors");
    assert!((1..=2).contains(&kept), "{kept}");
    let matrix = std::fs::read(results.join("matrix.csv")).expect("a matrix");
    run(&place, &[]);
    assert_eq!(trained(&results), BTreeSet::new());
    fine(&place, &["ckpt", "verify", "results/small"]);
    fine(&place, &["verify", "results/small", "--points", "8"]);
    let gone: Vec<String> = std::fs::read_dir(results.join("points"))
        .expect("points")
        .map(|entry| entry.expect("listed").path())
        .filter(|point| !point.join("checkpoint").exists())
        .map(|point| point.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(gone.len(), 8 - kept);
    let (code, text) = said(&sweep(&place, &["use", "results/small", &gone[0]]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("is gone") && text.contains("[keep]"), "{text}");
    // Asked for more, what was let go is trained again and the scores stay.
    rewrite(&place, "[1, 2, 3]", "");
    run(&place, &[]);
    assert_eq!(named(&results, "grpo_epoch3.safetensors"), 4);
    let again = std::fs::read_to_string(results.join("matrix.csv")).expect("a matrix");
    let of = |matrix: &str, name: &str| matrix.lines().find(|line| line.contains(name)).map(str::len);
    assert!(
        of(&again, "kl0.15-ep2-frozen").is_some()
            && of(&String::from_utf8_lossy(&matrix), "kl0.15-ep2").is_some()
    );
}

#[test]
fn a_start_that_was_damaged_costs_nobody_else_anything() {
    let place = grid("[1, 2]", "");
    run(&place, &[]);
    let results = place.results("small");
    let expected = facts(&results);
    let start = tensors(&results).into_values().find(|file| file.ends_with("rce_epoch3.safetensors"));
    std::fs::remove_file(start.expect("one")).expect("removed");
    run(&place, &[]);
    assert_eq!(events(&results, "stage_damaged"), 1);
    assert_eq!(trained(&results), BTreeSet::from([("rce".to_owned(), 1, 3)]));
    assert_same(&results, &expected);
}

#[test]
fn killed_with_a_clean_between_the_kills() {
    let straight = grid("[1, 3]", "");
    run(&straight, &[]);
    let expected = facts(&straight.results("small"));
    let place = grid("[1, 3]", "weights = \"all\"");
    let clean = ["clean", "results/small", "--weights", "points", "--yes"];
    let mut kills = 0;
    for (passage, n) in [
        (Passage::Step, 300),
        (Passage::BeforeRecord, 2),
        (Passage::AfterRecord, 1),
        (Passage::Step, 150),
        (Passage::BeforeRename, 3),
        (Passage::AfterRecord, 3),
        (Passage::BeforePoint, 2),
        (Passage::AfterPoint, 1),
    ] {
        kills += usize::from(was_killed(place.run(&[], &format!("{}:{n}", passage.name())).status));
        fine(&place, &clean);
        fine(&place, &["ckpt", "verify", "results/small"]);
    }
    assert!(kills >= 6, "{kills}");
    run(&place, &[]);
    fine(&place, &clean);
    assert_same(&place.results("small"), &expected);
}

#[test]
fn clean_shows_first_and_removes_only_what_nobody_refers_to() {
    // What a program of format 1 wrote has all that could go.
    let (root, results) = crate::old_results::finished(1);
    std::fs::create_dir(root.path().join("results")).expect("made");
    let moved = Command::new("mv").arg(&results).arg(root.path().join("results")).status();
    assert!(moved.expect("mv").success());
    let (place, results) = (Place { dir: root }, PathBuf::from("results/quick"));
    let results = place.dir.path().join(results);
    let before = facts(&results);
    let shown = fine(&place, &["clean", "results/quick"]);
    assert!(shown.contains("costs nothing") && shown.contains("nothing was removed"), "{shown}");
    assert_eq!(facts(&results), before, "looking changes nothing");
    let table = fine(&place, &["table", "results/quick", "--format", "csv"]);
    let size = || sweep::store::usage(&results).total();
    let at_first = size();
    fine(&place, &["clean", "results/quick", "--yes"]);
    assert!(size() < at_first);
    fine(&place, &["ckpt", "verify", "results/quick"]);
    assert_eq!(fine(&place, &["table", "results/quick", "--format", "csv"]), table);
    let again = fine(&place, &["clean", "results/quick", "--yes"]);
    assert!(again.contains("nothing goes"), "{again}");
    // Nothing is trained again: every point has its results.
    let out = place.out();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
    command
        .current_dir(repository(""))
        .args(["run", "sweeps/quick.toml", "--device", "cpu", "--out"])
        .arg(&out);
    let (code, text) = said(&command.output().expect("it starts"));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(trained(&results), BTreeSet::new());
    assert!(!results.join("set_aside").exists());
}

#[test]
fn clean_never_touches_what_is_in_use_or_what_another_sweep_starts_from() {
    let place = grid("[1, 2]", "");
    run(&place, &[]);
    let results = place.results("small");
    fine(&place, &["use", "results/small", "kl0.1-ep1-unfrozen"]);
    let start =
        std::fs::canonicalize(results.join("points/kl0.1-ep2-unfrozen/checkpoint")).expect("a checkpoint");
    let text = std::fs::read_to_string(place.dir.path().join("small.toml")).expect("a sweep");
    let init = format!("[train]\ninit = \"{}\"\n", start.display());
    let other = text.replace("name = \"small\"", "name = \"other\"").replace("[train]\n", &init);
    disk::write(&place.dir.path().join("other.toml"), other.as_bytes()).expect("written");
    let output = place.command_on(&["other.toml"]).output().expect("it starts");
    assert_eq!(said(&output).0, Some(0), "{}", said(&output).1);
    let in_use = std::fs::read(results.join("current")).expect("in use");
    // The sweep file asks for nothing of it any more.
    let old = tensors(&results);
    rewrite(&place, "[1]", "");
    let output = place.run(&["--set", "rce_epochs=1"], "");
    assert_eq!(said(&output).0, Some(0), "{}", said(&output).1);
    fine(
        &place,
        &["clean", "results/small", "--unused", "--weights", "best 1", "--optimizer", "unfinished", "--yes"],
    );
    assert_eq!(std::fs::read(results.join("current")).expect("in use"), in_use);
    assert!(start.is_file());
    // Of the old grid those two are left, and what they went on from.
    let left: Vec<&PathBuf> = old.values().filter(|file| file.is_file()).collect();
    let of = |name: &str| left.iter().filter(|file| file.ends_with(name)).count();
    assert_eq!(
        (of("grpo_epoch1.safetensors"), of("grpo_epoch2.safetensors"), of("rce_epoch3.safetensors")),
        (1, 1, 1)
    );
    assert_eq!(left.len(), 4, "{left:?}");
    fine(&place, &["ckpt", "verify", "results/other"]);
}

#[test]
fn clean_leaves_a_running_sweep_alone() {
    let place = grid("[1, 2]", "");
    let mut child = place.start(&[], "step:100:hang");
    crate::sweeps::wait_for(|| place.results("small").join("resolved.json").is_file());
    let (code, text) = said(&sweep(&place, &["clean", "results/small", "--yes"]));
    assert_eq!(code, Some(3), "{text}");
    child.kill().expect("killed");
}

#[test]
fn a_full_disk_is_noticed_before_the_night() {
    let place = Place::new();
    let with = |free: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command.current_dir(place.dir.path()).env("SWEEP_FAULT", format!("free-space:{free}"));
        said(&command.args(arguments).output().expect("it starts"))
    };
    let (code, text) = with("100000", &["run", "small.toml"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("100 kB free") && text.contains("--ignore-space"), "{text}");
    assert!(!place.results("small").join("points").exists(), "nothing has been trained");
    let (code, text) = with("100000", &["run", "small.toml", "--ignore-space"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("are still to be written"), "{text}");
    let (code, text) = with("100000", &["run", "small.toml"]);
    assert_eq!(code, Some(0), "everything is there: {text}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
    command.current_dir(place.dir.path()).env("SWEEP_FAULT", "free-space:100000");
    let plan = command.args(["plan", "small.toml", "--out", "elsewhere"]).output().expect("it starts");
    let plan = String::from_utf8(plan.stdout).expect("UTF-8");
    assert!(plan.contains("disk: about") && plan.contains("warning: `elsewhere` has 100 kB free"), "{plan}");
}

/// What `plan` says is what is there afterwards, within the rounding of files.
#[test]
fn the_estimate_is_what_the_run_leaves() {
    for keep in ["", "weights = \"all\"", "optimizer = \"unfinished\""] {
        let place = grid("[1, 3]", keep);
        let plan: Value =
            serde_json::from_str(&fine(&place, &["plan", "small.toml", "--json"])).expect("JSON");
        run(&place, &[]);
        let usage = sweep::store::usage(&place.results("small"));
        let estimate = plan["disk_bytes"].as_f64().expect("a number");
        let ratio = estimate / usage.total() as f64;
        assert!((0.7..1.5).contains(&ratio), "{keep}: {estimate} for {usage:?}");
        let status: Value =
            serde_json::from_str(&fine(&place, &["status", "results/small", "--json"])).expect("JSON");
        assert_eq!(status["usage"]["weights"], usage.weights);
    }
}
