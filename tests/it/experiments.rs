//! Sweep files of experiments that a program does not have, and results of them.

use crate::sandbox::{Sandbox, repository, texts};

const DIGITS: &str = "experiment = \"digits\"\n[data]\nimages = \"a.csv.gz\"\n[grid]\nlr = [1e-3]\n";

#[test]
fn an_experiment_of_another_program_is_a_clear_error() {
    let sandbox = Sandbox::new();
    sandbox.write("digits.toml", DIGITS.as_bytes());
    for command in ["plan", "run"] {
        let (stdout, stderr) = texts(&sandbox.sweep(&[command, "digits.toml"]));
        assert_eq!(stdout, "");
        assert!(stderr.contains("this program has no experiment `digits`"), "{stderr}");
        assert!(stderr.contains("digits.toml:1:14") && stderr.contains("it has `selector`"), "{stderr}");
    }
    // The one that is shipped, too.
    let output = sandbox.sweep(&["run", &repository("sweeps/digits.toml").display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn in_a_folder_it_is_passed_over() {
    let sandbox = Sandbox::new();
    sandbox.write("sweeps/digits.toml", DIGITS.as_bytes());
    let (_, stderr) = texts(&sandbox.sweep(&["run", "sweeps"]));
    assert!(stderr.contains("`sweeps` has no sweep file for this program"), "{stderr}");
    let own = sandbox.factqa("own", "[train]\nrce_epochs = 1\n");
    let text = std::fs::read(sandbox.path().join(&own)).expect("written");
    sandbox.write("sweeps/own.toml", &text);
    let output = sandbox.sweep(&["run", "sweeps"]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("`sweeps/digits.toml` is passed over"), "{stderr}");
    assert!(sandbox.path().join("results/own/matrix.csv").is_file());
}

#[test]
fn the_experiment_may_be_named() {
    let sandbox = Sandbox::new();
    let file = sandbox.factqa("named", "");
    let text = std::fs::read_to_string(sandbox.path().join(&file)).expect("written");
    sandbox.write(&file, format!("experiment = \"selector\"\n{text}").as_bytes());
    let output = sandbox.sweep(&["plan", &file]);
    assert_eq!(output.status.code(), Some(0), "{:?}", texts(&output));
}

/// Tables know nothing of what was trained; what the program's experiments know of it is left out.
#[test]
fn results_of_another_program_are_read() {
    let sandbox = Sandbox::new();
    let file = sandbox.factqa("small", "[train]\nrce_epochs = 1\n");
    assert_eq!(sandbox.sweep(&["run", &file]).status.code(), Some(0));
    let resolved = sandbox.path().join("results/small/resolved.json");
    let text = std::fs::read_to_string(&resolved).expect("written");
    let other = text.replacen("\"name\": \"small\",", "\"name\": \"small\", \"experiment\": \"other\",", 1);
    assert_ne!(text, other);
    sweep::disk::write(&resolved, other.as_bytes()).expect("written");
    for command in [&["table"][..], &["status"], &["report"], &["ckpt", "verify"]] {
        let output = sandbox.sweep(&[command, &["results/small"]].concat());
        assert_eq!(output.status.code(), Some(0), "{command:?}: {:?}", texts(&output));
    }
    let output = sandbox.sweep(&["verify", "results/small"]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("results of the experiment `other`, and this program has selector"), "{stderr}");
}

/// Files need not say what they are of where a program has one experiment; then their words do.
#[test]
fn a_file_of_another_experiment_is_known_by_its_words() {
    let sandbox = Sandbox::new();
    let unnamed =
        DIGITS.replace("experiment = \"digits\"\n", "") + "[model]\nkind = \"mlp\"\n[train]\nbatch = 8\n";
    sandbox.write("sweeps/unnamed.toml", unnamed.as_bytes());
    let output = sandbox.sweep(&["run", "sweeps/unnamed.toml"]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("a sweep file of another experiment than `selector`"), "{stderr}");
    assert!(stderr.contains("unnamed.toml:2:1") && stderr.contains("`images`, `kind`"), "{stderr}");
    assert!(!stderr.contains("unknown key"), "once is enough: {stderr}");
    let (_, stderr) = texts(&sandbox.sweep(&["run", "sweeps"]));
    assert!(
        stderr.contains("`sweeps/unnamed.toml` is passed over: this is a sweep file of another"),
        "{stderr}"
    );
    // Who names the experiment is told key by key.
    sandbox.write("sweeps/named.toml", format!("experiment = \"selector\"\n{unnamed}").as_bytes());
    let (_, stderr) = texts(&sandbox.sweep(&["run", "sweeps/named.toml"]));
    assert!(stderr.contains("unknown key `images` in [data]"), "{stderr}");
    // Some slips of the pen make no other experiment.
    let file = sandbox.factqa("slips", "[train]\nspeed = 1\nmood = 2\n[extra]\nkind = 3\n");
    let (_, stderr) = texts(&sandbox.sweep(&["plan", &file]));
    assert!(
        stderr.contains("unknown key `mood` in [train]") && stderr.contains("unknown table `[extra]`"),
        "{stderr}"
    );
}

/// One score is shown once, with the word of its experiment for what it is over; files keep every column.
#[test]
fn a_score_that_is_no_mean_of_several_is_shown_once() {
    let sandbox = Sandbox::new();
    let results = repository("results/digits").display().to_string();
    let (stdout, stderr) =
        texts(&sandbox.sweep(&["table", &results, "--format", "md", "--where", "epochs=8"]));
    let head = stdout.lines().next().unwrap_or_default();
    assert_eq!(head, "| configuration | seeds | Accuracy | vs baseline | verdict |", "{stderr}");
    assert!(stdout.contains("Accuracy in percent on 640 evaluation units"), "of another program's: {stdout}");
    let matrix = std::fs::read_to_string(repository("results/digits/matrix.csv")).expect("tracked");
    let head = matrix.lines().next().unwrap_or_default();
    assert!(
        head.contains(",accuracy,average,") && !head.contains("kl") && !head.contains("movement_"),
        "{head}"
    );
}
