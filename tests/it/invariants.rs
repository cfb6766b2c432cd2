//! What must hold of every run: sharing and cohorts change nothing, inputs stay as they are, the same command
//! gives the same bytes.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use sweep::report::{MatrixOptions, matrix};
use sweep::store::SweepResults;

use crate::sandbox::{SMALL, Sandbox, repository, texts};
use crate::sweeps::Running;

/// The bytes that are a point's result: its checkpoint, its selections and its scores.
fn results_of(sandbox: &Sandbox, dir: &str, point: &str) -> Vec<Vec<u8>> {
    ["checkpoint", "selections.jsonl", "scores.csv"]
        .iter()
        .map(|file| sandbox.read(&format!("{dir}/points/{point}/{file}")))
        .collect()
}

/// Largest number of members of a cohort in the log.
fn widest(sandbox: &Sandbox, dir: &str) -> u64 {
    let log = String::from_utf8(sandbox.read(&format!("{dir}/events.jsonl"))).expect("UTF-8");
    let members = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("a whole line");
        event["data"]["members"].as_u64()
    };
    log.lines().filter_map(members).max().expect("a cohort")
}

#[test]
fn a_point_alone_is_the_same_point_in_a_cohort_of_8() {
    let sandbox = Sandbox::new();
    let grid = "grpo_epochs = 2\n[grid]\nkl_beta = [0.05, 0.2]\ngrpo_lr = [5e-4, 3e-4]\nseed = [0, 1]\n";
    let file = sandbox.factqa("all", &format!("{SMALL}{grid}").replace("grpo_lr = 1e-3\n", ""));
    sandbox.ok(&["run", &file, "--out", "together"]);
    assert_eq!(widest(&sandbox, "together/all"), 8);
    for (number, (beta, rate, seed, name)) in
        [("0.05", "5e-4", "0", "kl0.05-lr5e-4-s0"), ("0.2", "3e-4", "1", "kl0.2-lr3e-4-s1")]
            .into_iter()
            .enumerate()
    {
        let out = format!("alone{number}");
        let point = [format!("kl_beta={beta}"), format!("grpo_lr={rate}"), format!("seed={seed}")];
        let mut arguments = vec!["run", &file, "--out", &out, "--no-share", "--cohort", "1"];
        arguments.extend(point.iter().flat_map(|condition| ["--where", condition]));
        sandbox.ok(&arguments);
        assert_eq!(widest(&sandbox, &format!("{out}/all")), 1);
        let (alone, together) =
            (results_of(&sandbox, &format!("{out}/all"), name), results_of(&sandbox, "together/all", name));
        assert!(alone == together, "{name}: the results differ in a bit");
    }
    // The test would notice: two members do differ.
    let [one, other] =
        ["kl0.05-lr5e-4-s0", "kl0.2-lr5e-4-s0"].map(|name| results_of(&sandbox, "together/all", name));
    assert!(one[0] != other[0]);
}

#[test]
fn a_stop_on_the_way_is_a_run_of_its_own() {
    let sandbox = Sandbox::new();
    let grid = "[grid]\ngrpo_epochs = [1, 2, 3]\nfreeze = [[\"backbone\"], []]\n";
    let file = sandbox.factqa("stops", &format!("{SMALL}{grid}"));
    sandbox.ok(&["run", &file, "--out", "stops"]);
    for epochs in ["1", "2"] {
        let out = format!("only{epochs}");
        let set = format!("grpo_epochs={epochs}");
        sandbox.ok(&["run", &file, "--out", &out, "--set", &set]);
        for freeze in ["frozen", "unfrozen"] {
            let stop = results_of(&sandbox, "stops/stops", &format!("ep{epochs}-{freeze}"));
            let own = results_of(&sandbox, &format!("{out}/stops"), freeze);
            assert!(stop == own, "{epochs} epochs, {freeze}: the results differ in a bit");
        }
    }
    let last = results_of(&sandbox, "stops/stops", "ep3-frozen");
    assert!(last[0] != results_of(&sandbox, "stops/stops", "ep2-frozen")[0]);
}

/// Files whose bytes may differ between two runs: times and places.
fn varies(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    matches!(last, "events.jsonl" | "resolved.json" | "metrics.csv" | "stage.json" | ".lock")
}

#[test]
fn the_same_command_twice_gives_the_same_bytes() {
    let sandbox = Sandbox::new();
    let quick = repository("sweeps/quick.toml").display().to_string();
    let tables: Vec<String> =
        ["one", "two"].iter().map(|out| sandbox.ok(&["run", &quick, "--out", out])).collect();
    assert_eq!(tables[0], tables[1]);
    let [one, two] = ["one/quick", "two/quick"].map(|dir| sandbox.files(dir));
    assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
    assert!(one.contains_key("matrix.csv") && one.contains_key("matrix.md"));
    assert!(one.keys().any(|name| name.ends_with("grpo_epoch2.safetensors")));
    for (name, bytes) in one.iter().filter(|(name, _)| !varies(name)) {
        assert!(*bytes == two[name], "{name} differs");
    }

    // The tables are a function of the directory.
    let dir = sandbox.path().join("one/quick");
    let again = matrix(&SweepResults::read(&dir).expect("results"), &MatrixOptions::default());
    for (name, bytes) in again.files() {
        assert!(bytes == one[name], "{name} is not what the directory says");
    }
    // Nothing is outstanding: the same command again trains nothing and changes nothing.
    assert_eq!(sandbox.ok(&["run", &quick, "--out", "one"]), tables[0]);
    let after = sandbox.files("one/quick");
    for (name, bytes) in
        one.iter().filter(|(name, _)| !matches!(name.as_str(), "events.jsonl" | "resolved.json" | ".lock"))
    {
        assert!(*bytes == after[name], "{name} was changed by a run that had nothing to do");
    }
}

/// Contents and time of change, by name.
type States = BTreeMap<&'static str, (Vec<u8>, std::time::SystemTime)>;

#[test]
fn inputs_and_the_warm_start_stay_as_they_are() {
    let sandbox = Sandbox::new();
    let inputs = ["rl_data.json", "embeddings.pt", "init.pt", "init_v2format.ckpt"];
    let state = || -> States {
        let time = |name| {
            let metadata = std::fs::metadata(sandbox.path().join(name)).expect("there");
            metadata.modified().expect("a time")
        };
        inputs.iter().map(|name| (*name, (sandbox.read(name), time(name)))).collect()
    };
    for name in inputs {
        sandbox.write(name, &std::fs::read(repository("tests/golden").join(name)).expect("golden"));
    }
    sandbox.write(
        "warm.toml",
        b"[data]\ntrajectories = \"rl_data.json\"\nembeddings = \"embeddings.pt\"\n[train]\nrce_epochs = 0\n\
          grpo_epochs = 1\n[grid]\ninit = [\"init.pt\", \"init_v2format.ckpt\"]\nfreeze = [[\"backbone\"], []]\n",
    );
    let before = state();
    sandbox.ok(&["run", "warm.toml"]);
    assert!(state() == before, "an input was touched");
    // Two files with the same weights are one start.
    let plan = sandbox.json(&["plan", "warm.toml"]);
    assert_eq!((&plan["points"], &plan["stages"]), (&4.into(), &3.into()));
}

#[test]
fn two_points_never_write_to_the_same_path() {
    let sandbox = Sandbox::new();
    let nasty = "[grid]\nkl_beta = [0.1, 0.10000000000000002, 0.0, 1]\nseed = [1, 11]\nrce_epochs = [1, 11]\n\
                 freeze = [[\"input_proj\", \"cand_proj\"], [\"input_proj\"], [\"cand_proj\", \"query_proj\"]]\n";
    let nasty = sandbox.factqa("nasty", nasty);
    let mut files = vec![nasty];
    files.extend(shipped().into_iter().map(|file| file.display().to_string()));
    for file in files {
        let plan = sandbox.json(&["plan", &file]);
        let tree = plan["tree"].as_array().expect("stages");
        let stages: HashSet<&str> = tree.iter().filter_map(|stage| stage["stage"].as_str()).collect();
        assert_eq!(stages.len(), tree.len(), "{file}");
        let points = tree.iter().flat_map(|stage| stage["points"].as_array().expect("points"));
        // Some file systems do not tell upper from lower case.
        let names: HashSet<String> =
            points.filter_map(|point| Some(point["name"].as_str()?.to_lowercase())).collect();
        assert_eq!(Some(names.len() as u64), plan["points"].as_u64(), "{file}");
    }
}

/// The shipped sweeps whose data are there.
fn shipped() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(repository("sweeps")).expect("sweeps/");
    let files = entries.map(|entry| entry.expect("listed").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    // Of a program of its own.
    files.retain(|path| !path.ends_with("digits.toml"));
    // The race's data are made by an example and are not part of the repository.
    files
        .retain(|path| !path.ends_with("race.toml") || repository("sweeps/data/race/rl_data.json").is_file());
    files
}

#[test]
fn a_typo_names_the_line_and_exits_2() {
    let sandbox = Sandbox::new();
    let file = sandbox.factqa("typo", "[grid]\nkl_betta = [0.1, 0.2]\n");
    for command in ["run", "plan"] {
        let output = sandbox.sweep(&[command, &file]);
        let (stdout, stderr) = texts(&output);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(2), ""));
        assert!(stderr.contains("typo.toml:10:1"), "{stderr}");
        assert!(stderr.contains("did you mean `kl_beta`?"), "{stderr}");
    }
    assert!(!sandbox.path().join("results").exists());
}

#[test]
fn set_and_where_choose_among_the_points() {
    let sandbox = Sandbox::new();
    let grid = "grpo_epochs = 1\n[grid]\nkl_beta = [0.1, 0.2]\nfreeze = [[\"backbone\"], []]\n";
    let file = sandbox.factqa("some", &format!("{SMALL}{grid}"));
    let names = |arguments: &[&str]| -> Vec<String> {
        let plan = sandbox.json(&[&["plan", &file], arguments].concat());
        let tree = plan["tree"].as_array().expect("stages").clone();
        let points = tree.iter().flat_map(|stage| stage["points"].as_array().expect("points").clone());
        points.map(|point| point["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&[]).len(), 4);
    assert_eq!(names(&["--where", "freeze=none"]), ["kl0.1-unfrozen", "kl0.2-unfrozen"]);
    assert_eq!(names(&["--where", "kl_beta=0.2", "--where", "freeze=backbone"]), ["kl0.2-frozen"]);
    assert_eq!(names(&["--set", "kl_beta=0.5"]), ["frozen", "unfrozen"]);
    let output = sandbox.sweep(&["plan", &file, "--where", "kl_beta=0.3"]);
    assert_eq!(output.status.code(), Some(2));
    sandbox.ok(&["run", &file, "--where", "kl_beta=0.2", "--set", "rce_epochs=2"]);
    assert!(sandbox.path().join("results/some/points/kl0.2-frozen/point.json").is_file());
    assert!(!sandbox.path().join("results/some/points/kl0.1-frozen").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::new();
    let quick = repository("sweeps/quick.toml").display().to_string();
    for arguments in [&["plan", &quick][..], &["run", &quick], &["schema"], &["completions", "zsh"]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sweep"));
        command.current_dir(sandbox.path()).args(arguments);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = Running::spawn(&mut command).expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let (_, stderr) = texts(&output);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{arguments:?}: {stderr}");
    }
    assert!(sandbox.path().join("results/quick/matrix.csv").is_file());
}
