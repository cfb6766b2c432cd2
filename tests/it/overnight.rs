//! What a person relies on when the machine works alone: resuming with a changed file, signals, time limits, several
//! sweeps in one command.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::sweeps::{Place, assert_same, events, facts, said, signal, stages_with, wait_for};

const ENDLESS: (&str, &str) = ("grpo_epochs = [1, 2]", "grpo_epochs = [1, 5000]");

#[test]
fn the_first_signal_keeps_what_is_done_and_names_the_command() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let place = Place::with(&[ENDLESS]);
        let child = place.start(&["--cohort", "8"], "");
        wait_for(|| events(&place.results("small"), "point_done") > 0);
        signal(&child, name);
        let began = Instant::now();
        let (ended, text) = said(&child.wait_with_output().expect("it ends"));
        assert_eq!(ended, Some(code), "{text}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(text.contains("interrupted; this goes on:\n  ") && text.contains("run small.toml"), "{text}");
        let matrix = std::fs::read_to_string(place.results("small").join("matrix.csv")).expect("a matrix");
        assert!(matrix.contains("done") && matrix.contains("pending"), "{matrix}");
        let last = std::fs::read_to_string(place.results("small").join("events.jsonl")).expect("events");
        let last = last.lines().last().expect("a line");
        assert!(last.contains("\"finished\"") && last.contains("\"interrupted\":true"), "{last}");
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    let place = Place::new();
    let child = place.start(&[], "step:50:hang");
    wait_for(|| events(&place.results("small"), "cohort_started") > 0);
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "INT");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "INT");
    let (code, text) = said(&child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(130), "{text}");
    assert!(text.contains("again to stop at once"), "{text}");
}

#[test]
fn a_changed_sweep_file_keeps_what_still_applies() {
    let wider = [("kl_beta = [0.1, 0.15]", "kl_beta = [0.15, 0.2]")];
    let straight = Place::with(&wider);
    assert_eq!(said(&straight.run(&[], "")).0, Some(0));
    let place = Place::new();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    let unchanged = said(&place.run(&[], "")).1;
    assert!(!unchanged.contains("changed") && unchanged.contains("8 of 8 points are there"), "{unchanged}");
    place.write("small.toml", &wider);
    let (code, text) = said(&place.run(&[], ""));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("has changed since the last run: 4 points stay as they are"), "{text}");
    assert!(text.contains("new (4): kl0.2-ep1-s0, "), "{text}");
    assert!(text.contains("no longer part of the grid (4): kl0.1-ep1-s0, "), "{text}");
    assert!(place.results("small").join("points/kl0.1-ep1-s0/point.json").is_file(), "nothing is deleted");
    let matrix = |place: &Place| std::fs::read(place.results("small").join("matrix.csv")).expect("a matrix");
    assert_eq!(matrix(&place), matrix(&straight));
    // Another learning rate under the same names: no old number may stand under them, even half-way.
    place.write("small.toml", &[("kl_beta = [0.1, 0.15]", "kl_beta = [0.15, 0.2]"), ("1e-4", "2e-4")]);
    let killed = place.run(&[], "step:100:kill");
    assert_eq!(killed.status.code(), None);
    let read = sweep::store::SweepResults::read(&place.results("small")).expect("results");
    assert!(read.points.iter().all(|point| point.status == sweep::store::PointStatus::Pending));
    let (_, text) = said(&place.run(&[], ""));
    assert!(text.contains("8 points done"), "{text}");
    assert!(place.results("small").join("set_aside/kl0.2-ep1-s0.replaced1/point.json").is_file());
}

#[test]
fn another_evaluation_is_made_again_and_other_paths_are_not() {
    let place = Place::new();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    let cohorts = events(&place.results("small"), "cohort_started");
    let factqa = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/data/factqa");
    let factqa = factqa.to_str().expect("UTF-8");
    std::os::unix::fs::symlink(factqa, place.dir.path().join("data")).expect("a link");
    place.write("small.toml", &[(factqa, "data")]);
    let (_, text) = said(&place.run(&[], ""));
    assert!(text.contains("8 of 8 points are there") && !text.contains("changed"), "{text}");
    place.write("small.toml", &[("shots = [1, 2]", "shots = [2]")]);
    let (code, text) = said(&place.run(&[], ""));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the evaluation has changed") && text.contains("[8/8]"), "{text}");
    assert_eq!(events(&place.results("small"), "cohort_started"), cohorts, "nothing is trained again");
    let straight = Place::with(&[("shots = [1, 2]", "shots = [2]")]);
    assert_eq!(said(&straight.run(&[], "")).0, Some(0));
    assert_same(&place.results("small"), &facts(&straight.results("small")));
    // Fewer queries: what is there is of another evaluation, not incomplete.
    place.write("small.toml", &[("shots = [1, 2]", "shots = [2]\nsamples = 50")]);
    let (code, text) = said(&place.run(&[], ""));
    assert!(code == Some(0) && text.contains("the evaluation has changed"), "{text}");
    assert!(!text.contains("damaged"), "{text}");
    // Reference rows of an evaluation that is none any more go with it.
    assert!(place.results("small").join("references.json").is_file());
    let sweep = std::fs::read_to_string(place.dir.path().join("small.toml")).expect("written");
    let bare = &sweep[..sweep.find("[eval]").expect("a table")];
    sweep::disk::write(&place.dir.path().join("small.toml"), bare.as_bytes()).expect("written");
    let (code, text) = said(&place.run(&[], ""));
    assert!(code == Some(0) && !text.contains("damaged"), "{text}");
    assert!(!place.results("small").join("references.json").exists());
}

#[test]
fn fresh_starts_anew_beside_the_old_results() {
    let place = Place::new();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    let expected = facts(&place.results("small"));
    let output = place.run(&["--fresh"], "step:200:kill");
    assert_eq!(output.status.code(), None);
    assert_same(&place.results("small"), &expected);
    // It goes on under its own name and still takes nothing over.
    let (code, text) = said(&place.run(&["--name", "small-2"], ""));
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("taken over"), "{text}");
    let named = |name: &str| {
        let mut expected = expected.clone();
        let table = expected.get_mut(Path::new("matrix.md")).expect("a table");
        *table = String::from_utf8_lossy(table).replace("small", name).into_bytes();
        expected
    };
    assert_same(&place.results("small-2"), &named("small-2"));
    let (_, text) = said(&place.run(&["--name", "other"], ""));
    // Two starts, two warm-ups and four GRPO runs, in one line.
    assert!(text.contains("taken over: 8 stages from `results/small`"), "{text}");
    assert_same(&place.results("other"), &named("other"));
    let output = place.run(&["--fresh", "--fail-fast"], "step:1:oom:0");
    let text = said(&output).1;
    assert!(text.contains("run small.toml --fail-fast --name small-3"), "{text}");
}

#[test]
fn the_configuration_is_frozen_at_launch() {
    let expected = Place::new();
    assert_eq!(said(&expected.run(&[], "")).0, Some(0));
    let place = Place::new();
    let child = place.start(&["--cohort", "1"], "");
    wait_for(|| events(&place.results("small"), "plan_ready") > 0);
    place.write("small.toml", &[("1e-4", "7e-4")]);
    assert!(child.wait_with_output().expect("it ends").status.success());
    assert_same(&place.results("small"), &facts(&expected.results("small")));
}

#[test]
fn a_budget_stops_in_time_and_fills_the_matrix_evenly() {
    let place = Place::with(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 2, 5000]")]);
    let began = Instant::now();
    let (code, text) = said(&place.run(&["--budget", "3s"], ""));
    assert_eq!(code, Some(5), "{text}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(text.contains("steps a second: ") && text.contains(" points fit into the "), "{text}");
    assert!(text.contains("the time is up; this goes on:"), "{text}");
    let place = Place::new();
    assert_eq!(said(&place.run(&["--budget", "1h"], "")).0, Some(0));
    let log = std::fs::read_to_string(place.results("small").join("events.jsonl")).expect("events");
    let done: Vec<&str> = log.lines().filter(|line| line.contains("point_done")).collect();
    let seeds: Vec<bool> = done.iter().map(|line| line.contains("-s1\"")).collect();
    assert_eq!(seeds, [false, false, false, false, true, true, true, true], "{done:?}");
    let wrong = said(&place.run(&["--budget", "8"], ""));
    assert_eq!(wrong.0, Some(2));
    assert!(wrong.1.contains("write `90s`"), "{}", wrong.1);
}

#[test]
fn several_sweeps_in_one_command() {
    let place = Place::new();
    place.write("second.toml", &[("name = \"small\"", "name = \"second\""), ("hidden = 32", "hidden = 16")]);
    std::fs::create_dir(place.dir.path().join("both")).expect("a directory");
    for name in ["small.toml", "second.toml"] {
        std::fs::copy(place.dir.path().join(name), place.dir.path().join("both").join(name)).expect("copied");
    }
    let command = "echo $SWEEP_EXIT_CODE $SWEEP_DONE $SWEEP_FAILED $SWEEP_PENDING $SWEEP_DIR >> told";
    let output = place.command_on(&["both"]).args(["--on-finish", command]).output().expect("it starts");
    assert_eq!(said(&output).0, Some(0), "{}", said(&output).1);
    let told = std::fs::read_to_string(place.dir.path().join("told")).expect("told");
    assert_eq!(told, "0 8 0 0 results/second\n0 8 0 0 results/small\n");
    // One wrong file, or two of one name: nothing runs.
    place.write("third.toml", &[("hidden = 32", "hidden = 8")]);
    let output = place.command_on(&["small.toml", "third.toml", "--out", "elsewhere"]).output();
    let (code, text) = said(&output.expect("it starts"));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("`small.toml` and `third.toml` are both called `small`"), "{text}");
    assert!(!place.dir.path().join("elsewhere").exists());
}

#[test]
fn where_results_come_from_is_written_down_and_checkpoints_do_not_depend_on_it() {
    let place = Place::new();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .current_dir(place.dir.path())
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments);
        let output = command.output().expect("git");
        assert!(output.status.success(), "{}", said(&output).1);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "small.toml"]);
    git(&["commit", "-q", "-m", "a sweep"]);
    assert_eq!(said(&place.run(&["--device", "cpu,cpu"], "")).0, Some(0));
    let results = place.results("small");
    let resolved = sweep::store::read_resolved(&results).expect("the request");
    let fact = |key: &str| resolved.provenance.get(key).map_or("", String::as_str);
    assert_eq!(fact("git_commit"), git(&["rev-parse", "HEAD"]));
    let file = std::fs::read(place.dir.path().join("small.toml")).expect("the sweep file");
    assert_eq!(fact("sweep_file_hash"), blake3::hash(&file).to_hex().as_str());
    assert_eq!(fact("device"), "cpu,cpu");
    // What it is called is asked of the system, where that tells.
    if let Some(model) = cpu_model() {
        assert!(fact("hardware").starts_with(&model), "{}", fact("hardware"));
        assert_eq!(fact("hardware").matches(&model).count(), 1, "one processor is named once");
    }
    assert!(!fact("host").is_empty() && fact("started").parse::<u64>().is_ok());
    let log = sweep::store::read_events(&sweep::store::SweepDir::at(&results));
    assert!(
        log.len() > 10 && log.iter().all(|event| event.time >= fact("started").parse().expect("seconds"))
    );
    // What determined a checkpoint is in it; when, where and from which commit it was trained is not.
    let place = Place::new();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    assert_same(&place.results("small"), &facts(&results));
    for stage in stages_with(&results, "grpo_epoch2.safetensors") {
        let of = |name: &str| sweep::checkpoint::read_facts(&stage.join(name)).expect("facts");
        let facts = of("grpo_epoch2.safetensors");
        let config = facts.config.expect("a configuration");
        for table in ["model", "origin", "reward", "rce", "grpo"] {
            assert!(config.get(table).is_some(), "{table}: {config}");
        }
        assert_eq!(facts.data.as_ref(), resolved.inputs.get("data"));
        assert_eq!(facts.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(facts.device.as_deref(), Some("cpu"));
        assert!(facts.burn.is_some_and(|burn| burn.starts_with("0.21")));
    }
}

/// The model of this machine's processor, as Linux tells it.
fn cpu_model() -> Option<String> {
    let facts = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = facts.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
