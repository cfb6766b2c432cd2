//! `sweep plan`, `sweep status`, `sweep verify` as a user meets them.

use serde_json::Value;

use crate::sandbox::{SMALL, Sandbox, repository, texts};
use crate::sweeps::Running;

const GRID: &str = "[grid]\nkl_beta = [0.1, 0.2]\ngrpo_epochs = [1, 2]\nfreeze = [[\"backbone\"], []]\n";

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

#[test]
fn the_plan_shows_the_tree_and_leaves_no_trace() {
    let sandbox = Sandbox::new();
    let file = sandbox.factqa("tree", &format!("{SMALL}{GRID}"));
    let text = sandbox.ok(&["plan", &file]);
    // Memory and free space are this machine's.
    let stable: Vec<&str> = text.lines().filter(|line| !line.starts_with("memory")).collect();
    let stable: Vec<&str> = stable
        .into_iter()
        .map(|line| if line.starts_with("disk") { line.split("), ").next().unwrap_or(line) } else { line })
        .collect();
    insta::assert_snapshot!(stable.join("\n"), @r"
    tree: 8 points in 6 stages
      training steps: 1,548 (3,440 without sharing, 2.2x)
    init: fresh weights of seed 0
      rce 1 epoch
        grpo 2 epochs: kl_beta 0.1, freeze backbone
          epoch 1 -> kl0.1-ep1-frozen
          epoch 2 -> kl0.1-ep2-frozen
        grpo 2 epochs: kl_beta 0.1, freeze none
          epoch 1 -> kl0.1-ep1-unfrozen
          epoch 2 -> kl0.1-ep2-unfrozen
        grpo 2 epochs: kl_beta 0.2, freeze backbone
          epoch 1 -> kl0.2-ep1-frozen
          epoch 2 -> kl0.2-ep2-frozen
        grpo 2 epochs: kl_beta 0.2, freeze none
          epoch 1 -> kl0.2-ep1-unfrozen
          epoch 2 -> kl0.2-ep2-unfrozen
    cohorts on cpu:
      rce: 1 run, 172 steps
      grpo, backbone frozen: 2 runs together, 688 steps
      grpo: 2 runs together, 688 steps
    time: unknown, nothing like it has run here; --measure times a few steps
    disk: about 1.5 MB (weights 598 kB, optimizer states 399 kB, points 503 kB
    ");
    let plan = sandbox.json(&["plan", &file, "--no-share", "--cohort", "3"]);
    assert_eq!(plan["steps"], plan["steps_naive"]);
    assert_eq!(plan["stages"], 24);
    let widest = plan["cohorts"].as_array().expect("cohorts").iter().filter_map(|c| c["members"].as_u64());
    assert_eq!(widest.max(), Some(3));
    let measured = sandbox.json(&["plan", &file, "--measure"]);
    assert!(measured["seconds"].as_f64().expect("measured") > 0.0);
    let left: Vec<_> = std::fs::read_dir(sandbox.path()).expect("listed").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn the_plan_says_what_is_there_and_what_would_be_taken_over() {
    let sandbox = Sandbox::new();
    let file = sandbox.factqa("first", &format!("{SMALL}{GRID}"));
    let sibling = sandbox.factqa("second", &format!("{SMALL}{GRID}").replace("[0.1, 0.2]", "[0.2, 0.3]"));

    // Before anything ran: the second would find what the first will leave.
    let both = sandbox.ok(&["plan", &file, &sibling, "--json"]);
    let plans: Vec<Value> = both.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&plans[0]["taken_over"], &plans[1]["taken_over"]), (&0.into(), &4.into()));

    sandbox.ok(&["run", &file, "--where", "grpo_epochs=1"]);
    let plan = sandbox.json(&["plan", &file]);
    assert_eq!(plan["reused"], 6);
    assert_eq!(plan["points_there"], 4);
    // One of two epochs of the four second phases is missing.
    assert_eq!(plan["steps_left"].as_u64().map(|left| left * 9), plan["steps"].as_u64().map(|all| all * 4));
    assert!(plan["seconds"].as_f64().expect("known from the run") > 0.0, "{plan}");
    sandbox.ok(&["run", &file]);
    let plan = sandbox.json(&["plan", &file]);
    assert_eq!((&plan["steps_left"], &plan["points_there"]), (&0.into(), &8.into()));
    assert!(sandbox.ok(&["plan", &file]).contains("nothing to train"));

    let text = sandbox.ok(&["plan", &sibling]);
    assert!(text.contains("taken over: 4 stages from `results/first`"), "{text}");
    assert!(!sandbox.path().join("results/second").exists());
    let run = texts(&sandbox.sweep(&["run", &sibling])).1;
    assert_eq!(run.matches("taken over: 4 stages from `results/first`").count(), 1, "{run}");
}

#[test]
fn the_status_counts_points_and_survives_a_torn_line() {
    let sandbox = Sandbox::new();
    let file = sandbox.factqa("state", &format!("{SMALL}{GRID}"));
    sandbox.ok(&["run", &file, "--where", "kl_beta=0.1"]);
    let log = sandbox.read("results/state/events.jsonl");
    sandbox.write("results/state/events.jsonl", &[&log[..], b"{\"time\":1,\"da"].concat());
    let status = sandbox.json(&["status", "results/state"]);
    let counts = ["points", "done", "failed", "running", "pending"].map(|key| status[key].as_u64());
    assert_eq!(counts, [4, 4, 0, 0, 0].map(Some));
    assert_eq!((&status["holder"], &status["eta_seconds"]), (&Value::Null, &Value::Null));
    assert!(strings(&status["warnings"]).is_empty());

    // A point that diverged, one that is missing.
    let record = "results/state/points/kl0.1-ep1-frozen/point.json";
    let text = String::from_utf8(sandbox.read(record)).expect("UTF-8");
    sandbox.write(record, text.replace("\"done\"", "\"infeasible\"").as_bytes());
    std::fs::remove_file(sandbox.path().join("results/state/points/kl0.1-ep2-frozen/point.json"))
        .expect("gone");
    let output = sandbox.sweep(&["status", "results"]);
    let (stdout, _) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout.starts_with("state: 2 of 4 points done, 0 running, 1 failed, 1 pending\n"), "{stdout}");

    let output = sandbox.sweep(&["status", "."]);
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("is not a results directory"), "{}", texts(&output).1);
}

/// The validation loss rises after the first epoch: the warning is about epoch 4, not about the point that ends at 1.
#[test]
fn a_stage_of_several_points_is_called_after_the_last() {
    let sandbox = Sandbox::new();
    let grid = "[grid]\ngrpo_lr = [1e-4]\ngrpo_epochs = [1, 4]\n";
    let file = sandbox.factqa("rising", &format!("{SMALL}{grid}"));
    sandbox.ok(&["run", &file, "--out", "out"]);
    let text = sandbox.ok(&["status", "out/rising"]);
    let warning = text.lines().find(|line| line.contains("val_loss rose")).unwrap_or_default();
    assert!(warning.contains("ep4`"), "{text}");
}

#[test]
fn the_status_follows_a_run() {
    let sandbox = Sandbox::new();
    let grid = "grpo_epochs = 400\n[grid]\nkl_beta = [0.1, 0.2]\n";
    let file = sandbox.factqa("long", &format!("{SMALL}{grid}"));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sweep"));
    command.current_dir(sandbox.path()).args(["run", &file]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut run = Running::spawn(&mut command).expect("it starts");
    let began = std::time::Instant::now();
    let training = loop {
        assert!(began.elapsed().as_secs() < 120, "no epoch in two minutes");
        std::thread::sleep(std::time::Duration::from_millis(20));
        if !sandbox.path().join("results/long/resolved.json").is_file() {
            continue;
        }
        let status = sandbox.json(&["status", "results/long"]);
        assert_eq!(status["points"], 2);
        let stages = status["training"][0]["stages"].as_array().map_or(0, Vec::len);
        if status["training"][0]["phase"] == "grpo" && stages == 2 {
            break status;
        }
    };
    let killed = std::process::Command::new("kill").arg(run.id().to_string()).status().expect("kill");
    assert!(killed.success());
    assert_eq!(run.wait().expect("it ends").code(), Some(143));
    assert_eq!((&training["running"], &training["pending"]), (&2.into(), &0.into()));
    assert!(training["eta_seconds"].as_f64().expect("known after an epoch") > 0.0);
    assert!(training["holder"].as_str().expect("held").contains(&run.id().to_string()));
    let after = sandbox.json(&["status", "results/long"]);
    assert_eq!(
        (&after["running"], &after["pending"], &after["holder"]),
        (&0.into(), &2.into(), &Value::Null)
    );
}

#[test]
fn two_hundred_looks_at_a_run_are_all_valid_and_disturb_nothing() {
    let sandbox = Sandbox::new();
    let grid = "grpo_epochs = 30\n[grid]\nkl_beta = [0.1, 0.2]\n";
    let file = sandbox.factqa("seen", &format!("{SMALL}{grid}"));
    sandbox.ok(&["run", &file, "--out", "unseen"]);
    let start = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sweep"));
        command.current_dir(sandbox.path()).args(arguments);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        Running::spawn(&mut command).expect("it starts")
    };
    let mut run = start(&["run", &file, "--out", "seen"]);
    while !sandbox.path().join("seen/seen/resolved.json").is_file() {
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(run.try_wait().expect("asked").is_none(), "it ended early");
    }
    for _ in 0..10 {
        let looks: Vec<_> = (0..20).map(|_| start(&["status", "seen/seen", "--json"])).collect();
        for look in looks {
            let output = look.wait_with_output().expect("it ends");
            assert_eq!(output.status.code(), Some(0));
            let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let counts = ["done", "failed", "running", "pending"].map(|key| status[key].as_u64().expect(key));
            assert_eq!(counts.iter().sum::<u64>(), 2, "{status}");
        }
    }
    assert!(run.wait().expect("it ends").success());
    assert!(sandbox.read("seen/seen/matrix.csv") == sandbox.read("unseen/seen/matrix.csv"));
}

#[test]
fn verify_trains_again_and_finds_what_was_changed() {
    let sandbox = Sandbox::new();
    let quick = repository("sweeps/quick.toml").display().to_string();
    sandbox.ok(&["run", &quick]);
    let before = sandbox.files("results/quick");
    let report = sandbox.json(&["verify", "results/quick"]);
    assert_eq!((&report["agrees"], &report["identical"]), (&true.into(), &true.into()));
    assert_eq!((&report["kinds"], &report["kinds_of"]), (&4.into(), &4.into()));
    assert_eq!(report["points"].as_array().map(Vec::len), Some(3));
    assert!(sandbox.files("results/quick") == before, "verify wrote into the directory");

    // A choice that the model did not make.
    let path = "results/quick/points/kl0.1-ep2-frozen/selections.jsonl";
    let mut lines: Vec<Value> = String::from_utf8(sandbox.read(path))
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line"))
        .collect();
    lines[0]["selection"] = serde_json::json!([63]);
    lines[0]["log_prob"] = serde_json::json!(-40.0);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    sandbox.write(path, text.as_bytes());
    let output = sandbox.sweep(&["verify", "results/quick", "--points", "8"]);
    let (stdout, _) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    let wrong: Vec<&str> = stdout.lines().filter(|line| line.ends_with("DIFFERS")).collect();
    assert!(wrong.len() == 1 && wrong[0].starts_with("kl0.1-ep2-frozen "), "{stdout}");
}

#[test]
fn verify_refuses_inputs_that_have_changed() {
    let sandbox = Sandbox::new();
    for name in ["rl_data.json", "embeddings.safetensors"] {
        sandbox.write(name, &std::fs::read(repository("tests/golden").join(name)).expect("golden"));
    }
    sandbox.write(
        "own.toml",
        b"[data]\ntrajectories = \"rl_data.json\"\nembeddings = \"embeddings.safetensors\"\n\
          [model]\nhidden = 32\n[train]\nrce_epochs = 1\n",
    );
    sandbox.ok(&["run", "own.toml"]);
    assert!(sandbox.ok(&["verify", "results/own"]).contains("identical"));
    // From elsewhere the relative paths of the sweep still lead to its data.
    std::fs::create_dir(sandbox.path().join("elsewhere")).expect("made");
    let mut command = assert_cmd::Command::cargo_bin("sweep").expect("the binary");
    command.current_dir(sandbox.path().join("elsewhere")).args(["verify", "../results/own"]).assert().code(0);

    let mut data = sandbox.read("rl_data.json");
    data.push(b'\n');
    sandbox.write("rl_data.json", &data);
    let output = sandbox.sweep(&["verify", "results/own"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(2), ""));
    assert!(
        stderr.contains("input `data.trajectories`") && stderr.contains("hint: restore the file"),
        "{stderr}"
    );
    assert_eq!(sandbox.sweep(&["verify", "nowhere"]).status.code(), Some(2));
}
