//! The first minute: shell scripts that a lab has become sweep files, a file to begin with, and names that are typed.

use std::collections::BTreeSet;
use std::path::Path;

use sweep::spec::{self, LoadOptions};

use crate::sandbox::{Sandbox, repository, texts};

const DATA: &str = "results/okvqa/generated_data";

/// A lab's folder: its scripts, and with `data` also what they name.
fn lab(data: bool) -> Sandbox {
    let sandbox = Sandbox::new();
    copy("lab", &sandbox);
    if data {
        let factqa =
            |name: &str| std::fs::read(repository("sweeps/data/factqa").join(name)).expect("bundled");
        let put = |name: &str, bytes: &[u8]| {
            let path = sandbox.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            sandbox.write(name, bytes);
        };
        for name in ["rl_data_k64_v3.json", "rl_data_balanced_v2.json"] {
            put(&format!("{DATA}/{name}"), &factqa("rl_data.json"));
        }
        put("results/okvqa/cache/query_embeddings.pt", &factqa("embeddings.safetensors"));
    }
    sandbox
}

fn copy(folder: &str, sandbox: &Sandbox) {
    std::fs::create_dir(sandbox.path().join("scripts")).expect("made");
    for entry in std::fs::read_dir(repository("tests/fixtures/scripts").join(folder)).expect("there") {
        let path = entry.expect("listed").path();
        let name = path.file_name().expect("named").to_string_lossy().into_owned();
        sandbox.write(&format!("scripts/{name}"), &std::fs::read(&path).expect("read"));
    }
}

/// The points of a sweep file in the words of the hand-made table.
fn points(path: &Path) -> BTreeSet<String> {
    crate::sandbox::know_the_selector();
    let spec = spec::load(path, &LoadOptions::default()).expect("a sweep file");
    let line = |point: &spec::Point| {
        let train = sweep::selector::Params::of(&point.config).expect("a point").train;
        match train.rce_epochs {
            0 => {
                let frozen = if train.freeze.is_empty() { "none" } else { "backbone" };
                assert_eq!(train.grpo_epochs, 3);
                format!("kl_beta {:?} grpo_lr {:e} freeze {frozen}", train.kl_beta, train.grpo_lr)
            }
            epochs => {
                assert_eq!((train.grpo_epochs, train.rce_lr), (0, 1e-4));
                let mode = format!("{:?}", train.rce_reward).to_lowercase();
                format!("rce_epochs {epochs} rce_reward {mode} rce_temperature {:?}", train.rce_temperature)
            }
        }
    };
    spec.points.iter().map(line).collect()
}

/// The hand-made table for the scripts whose names begin with `prefix`; what it leaves out has its default.
fn table(prefix: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(repository("tests/fixtures/scripts/lab.points")).expect("there");
    let rows = text.lines().filter(|line| line.starts_with(prefix));
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        if !prefix.starts_with("rce") {
            return words.join(" ");
        }
        let of = |key: &str| words.iter().position(|word| *word == key).map(|at| words[at + 1]);
        let (mode, temperature) =
            (of("rce_reward").unwrap_or("raw"), of("rce_temperature").unwrap_or("[2.0,0.5]"));
        let temperature = temperature.replace(',', ", ");
        format!(
            "rce_epochs {} rce_reward {mode} rce_temperature {temperature}",
            of("rce_epochs").unwrap_or_default()
        )
    };
    rows.map(row).collect()
}

#[test]
fn a_folder_of_scripts_becomes_sweep_files_with_the_same_points() {
    let lab = lab(true);
    std::fs::create_dir_all(lab.path().join("results/okvqa/model_cpk/kl012")).expect("made");
    lab.ok(&[
        "init",
        "start.toml",
        "--data",
        &format!("{DATA}/rl_data_k64_v3.json"),
        "--embeddings",
        "results/okvqa/cache/query_embeddings.pt",
    ]);
    lab.ok(&["run", "start.toml", "--set", "grpo_epochs=0", "--where", "kl_beta=0.1", "--out", "start"]);
    let found = walkdir::WalkDir::new(lab.path().join("start")).into_iter().filter_map(Result::ok);
    let start = found.map(walkdir::DirEntry::into_path).find(|path| path.ends_with("rce_epoch1.safetensors"));
    std::fs::copy(
        start.expect("a checkpoint"),
        lab.path().join("results/okvqa/model_cpk/kl012/rce_epoch5.pt"),
    )
    .expect("copied");
    let output = lab.sweep(&["import-scripts", "scripts", "-o", "sweeps"]);
    // Something was not read.
    assert_eq!(output.status.code(), Some(1), "{}", texts(&output).1);
    for (file, prefix) in [("rce_balanced_v2", "rce_balanced"), ("train_grpo", "train_grpo")] {
        let path = lab.path().join(format!("sweeps/{file}.toml"));
        assert_eq!(points(&path), table(prefix), "{file}");
        // As a user would, by its name alone.
        let plan = lab.ok(&["plan", &format!("{file}.toml")]);
        assert!(plan.starts_with(&format!("{file}: {} points", table(prefix).len())), "{plan}");
    }
}

#[test]
fn each_script_is_accounted_for() {
    let lab = lab(false);
    let output = lab.sweep(&["import-scripts", "scripts"]);
    assert_eq!(output.status.code(), Some(1));
    let root = std::fs::canonicalize(lab.path()).expect("there").display().to_string();
    insta::assert_snapshot!("import_scripts", texts(&output).1.replace(&root, "LAB"));
    insta::assert_snapshot!("import_scripts_sweep", String::from_utf8_lossy(&lab.read("train_grpo.toml")));
    // The sweep file is complete but for the data, which `plan` names too.
    let plan = lab.sweep(&["plan", "train_grpo.toml"]);
    assert_eq!(plan.status.code(), Some(2));
    assert!(texts(&plan).1.contains("there is no file `results/okvqa/generated_data/rl_data_k64_v3.json`"));
    // What is there is not written over unasked.
    let again = lab.sweep(&["import-scripts", "scripts"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        texts(&again)
            .1
            .contains("`rce_balanced_v2.toml` is there already, nothing was written\nhint: --force")
    );
    assert_eq!(lab.sweep(&["import-scripts", "scripts", "--force"]).status.code(), Some(1));
}

#[test]
fn arguments_that_are_set_are_filled_in() {
    let lab = lab(false);
    let script = "scripts/train_from_arguments.sh";
    let output = lab.sweep(&["import-scripts", script]);
    assert_eq!(output.status.code(), Some(2), "without them there is no point");
    for missing in [
        "argument 1 of the script is not given (--set 1=VALUE)",
        "`KL` is not set in the script (--set KL=VALUE)",
    ] {
        assert!(texts(&output).1.contains(missing), "all that is missing is said at once");
    }
    let output = lab.sweep(&["import-scripts", script, "--set", "1=3e-5", "--set", "KL=0.2", "-o", "-"]);
    let (sweep, said) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(sweep.contains("grpo_lr = 3e-5\n"), "{sweep}");
    for (wrong, cause) in [("1", "takes `NAME=VALUE`"), ("=2", "takes `NAME=VALUE`")] {
        let output = lab.sweep(&["import-scripts", script, "--set", wrong]);
        assert_eq!(output.status.code(), Some(2));
        assert!(texts(&output).1.contains(cause), "{}", texts(&output).1);
    }
}

#[test]
fn nothing_is_executed() {
    let lab = Sandbox::new();
    let script = "#!/bin/bash\ntouch pwned\nA=$(touch pwned; echo 0.1)\neval \"touch pwned\"\nsource ./evil.sh\n\
                  python train.py --beam_data d.json --img_emb e.pt --kl_beta $A --grpo_epochs `touch pwned`\n";
    lab.write("a.sh", script.as_bytes());
    lab.write("evil.sh", b"touch pwned\n");
    let output = lab.sweep(&["import-scripts", "a.sh"]);
    assert_eq!(output.status.code(), Some(2), "{}", texts(&output).1);
    assert!(!lab.path().join("pwned").exists());
}

#[test]
fn wrong_paths_are_named() {
    let lab = lab(false);
    std::fs::create_dir(lab.path().join("empty")).expect("made");
    for (arguments, cause) in [
        (&["import-scripts", "no.sh"][..], "there is no file or directory `no.sh`\nhint: "),
        (&["import-scripts", "empty"], "`empty` has no shell scripts (*.sh)"),
        (&["import-scripts", "scripts", "--root", "nowhere"], "`nowhere` is no directory\nhint: "),
        (&["import-scripts", "scripts/inference.sh"], "no training command was read in 1 script\nhint: "),
    ] {
        let output = lab.sweep(arguments);
        let said = texts(&output).1;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(cause), "{said}");
    }
}

/// Hydra overrides in a loop, GNU parallel, xargs, braces, a Slurm array with `case`.
#[test]
fn another_labs_scripts_are_read_or_listed() {
    let lab = Sandbox::new();
    copy("other", &lab);
    let output = lab.sweep(&["import-scripts", "scripts", "-o", "sweeps"]);
    assert_eq!(output.status.code(), Some(1));
    let root = std::fs::canonicalize(lab.path()).expect("there").display().to_string();
    insta::assert_snapshot!("import_scripts_other", texts(&output).1.replace(&root, "LAB"));
}

#[test]
fn a_file_to_begin_with_runs_as_it_is() {
    let place = Sandbox::new();
    // Nothing is there yet: it says what to set.
    let output = place.sweep(&["init", "-"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(texts(&output).0.contains("trajectories = \"data/rl_data.json\""));
    let said = texts(&place.sweep(&["init", "empty.toml"])).1;
    assert!(said.starts_with("wrote empty.toml\nhint: set the two paths below [data]"), "{said}");
    std::fs::create_dir_all(place.path().join("data")).expect("made");
    for name in ["rl_data.json", "embeddings.safetensors", "eval_logged.jsonl"] {
        place.write(
            &format!("data/{name}"),
            &std::fs::read(repository("sweeps/data/factqa").join(name)).expect("read"),
        );
    }
    let output = place.sweep(&["init"]);
    assert_eq!(
        texts(&output).1,
        "wrote sweep.toml for the data in `data/rl_data.json`\nhint: sweep plan sweep.toml, then sweep run sweep.toml\n"
    );
    insta::assert_snapshot!("init", String::from_utf8_lossy(&place.read("sweep.toml")));
    // Smaller than it is, for the time of a test.
    place.ok(&["run", "sweep.toml", "--set", "hidden=16", "--where", "kl_beta=0.15"]);
    assert!(place.path().join("results/sweep/matrix.csv").is_file());
    let output = place.sweep(&["init"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("`sweep.toml` is there already\nhint: "));
    place.ok(&["init", "--force"]);
    for (arguments, cause) in [
        (
            &["init", "a.toml", "--data", "no.json", "--embeddings", "data/embeddings.safetensors"][..],
            "there is no file `no.json`\nhint: --data names it",
        ),
        (
            &["init", "a.toml", "--data", "data/rl_data.json", "--embeddings", "data/rl_data.json"],
            "data/rl_data.json",
        ),
        (&["init", "nowhere/a.toml"], "there is no directory `nowhere`"),
    ] {
        let output = place.sweep(arguments);
        let said = texts(&output).1;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(cause), "{said}");
        assert!(!place.path().join("a.toml").exists());
    }
}

#[test]
fn a_name_alone_is_found_in_sweeps() {
    let place = Sandbox::new();
    std::fs::create_dir(place.path().join("sweeps")).expect("made");
    place.factqa("sweeps/kl_grid", "[model]\nhidden = 16\n[train]\ngrpo_epochs = 0\nrce_epochs = 1\n");
    let text = String::from_utf8(place.read("sweeps/kl_grid.toml")).expect("text");
    place.write("sweeps/kl_grid.toml", text.replace("sweeps/kl_grid", "kl_grid").as_bytes());
    place.write("Cargo.toml", b"[package]\nname = \"x\"\n");
    for arguments in [&["plan", "kl_grid.toml"][..], &["run", "kl_grid.toml"], &["verify", "results/kl_grid"]]
    {
        let output = place.sweep(arguments);
        let said = texts(&output).1;
        assert_eq!(output.status.code(), Some(0), "{said}");
        // As one says it of one.
        let counted = said.clone() + &texts(&output).0;
        assert!(counted.contains("1 point") && !counted.contains("1 points"), "{counted}");
        let told = said.contains("`kl_grid.toml` is taken from `sweeps/kl_grid.toml`");
        assert_eq!(told, arguments[0] != "verify", "{said}");
    }
    for (typed, hint) in [
        ("kl_gird.toml", "hint: did you mean `sweeps/kl_grid.toml`?\n"),
        ("Cargo.tml", "hint: no sweep file there or in `sweeps/` has a name like it\n"),
    ] {
        let output = place.sweep(&["run", typed]);
        let said = texts(&output).1;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.ends_with(hint), "{said}");
    }
}
