//! Several worker processes give what one gives, whatever becomes of one of them.

use std::process::{Command, Stdio};
use std::time::Duration;

use sweep::run::{Status, Training};

use crate::sweeps::{Place, Running, assert_same, events, facts, said, wait_for};

/// Enough stages for two workers to be busy for a moment.
const WIDER: [(&str, &str); 2] = [
    ("kl_beta = [0.1, 0.15]", "kl_beta = [0.1, 0.12, 0.15, 0.2]"),
    ("grpo_epochs = [1, 2]", "grpo_epochs = [1, 8]"),
];

fn undisturbed() -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let place = Place::with(&WIDER);
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    facts(&place.results("small"))
}

/// Processes that `parent` has started.
fn children(parent: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn kill(signal: &str, process: u32) {
    assert!(
        Command::new("kill").args(["-s", signal, &process.to_string()]).status().expect("kill").success()
    );
}

#[test]
fn two_workers_give_the_matrix_of_one() {
    let expected = undisturbed();
    let place = Place::with(&WIDER);
    let (code, text) = said(&place.run(&["--device", "cpu,cpu"], ""));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("16 points done, 0 failed, 0 pending"), "{text}");
    assert_eq!(text.matches("average").count(), 16, "every point is told once: {text}");
    assert_same(&place.results("small"), &expected);
    let both =
        ["worker0.log", "worker1.log"].map(|log| place.results("small").join("workers").join(log).is_file());
    assert_eq!(both, [true, true]);
    // Nothing is left to do: no worker starts.
    let before = events(&place.results("small"), "cohort_started");
    assert!(before >= 4, "the work was divided: {before}");
    assert_eq!(said(&place.run(&["--device", "cpu,cpu"], "")).0, Some(0));
    assert_eq!(events(&place.results("small"), "cohort_started"), before);
}

#[test]
fn a_worker_that_dies_is_restarted_once_and_its_stage_goes_on() {
    let expected = undisturbed();
    let place = Place::with(&WIDER);
    let child = place.start(&["--device", "cpu,cpu", "--cohort", "2"], "");
    wait_for(|| events(&place.results("small"), "epoch_done") > 3);
    let workers = children(child.id());
    assert_eq!(workers.len(), 2);
    kill("KILL", workers[0]);
    let (code, text) = said(&child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the worker on cpu ended before its work was done (signal: 9 (SIGKILL)"), "{text}");
    assert!(text.contains("it is started again"), "{text}");
    assert_same(&place.results("small"), &expected);
}

#[test]
fn workers_stop_with_their_run() {
    let expected = undisturbed();
    let place = Place::with(&WIDER);
    let child = place.start(&["--device", "cpu,cpu"], "");
    wait_for(|| events(&place.results("small"), "epoch_done") > 3);
    kill("TERM", child.id());
    let (code, text) = said(&child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(143), "{text}");
    // Killed, the run cannot tell them; they notice.
    let mut child = place.start(&["--device", "cpu,cpu", "--cohort", "1"], "");
    let before = events(&place.results("small"), "epoch_done");
    wait_for(|| events(&place.results("small"), "epoch_done") > before + 2);
    let workers = children(child.id());
    assert_eq!(workers.len(), 2);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let running = |worker: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
        !text.is_empty() && !text.contains(") Z ")
    };
    wait_for(|| !workers.iter().any(running));
    std::thread::sleep(Duration::from_millis(20));
    let (code, text) = said(&place.run(&["--device", "cpu,cpu"], ""));
    assert_eq!(code, Some(0), "{text}");
    assert_same(&place.results("small"), &expected);
}

#[test]
fn a_budget_holds_for_workers_too() {
    let place = Place::with(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 5000]")]);
    let began = std::time::Instant::now();
    let (code, text) = said(&place.run(&["--device", "cpu,cpu", "--budget", "3s"], ""));
    assert_eq!(code, Some(5), "{text}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Those of the first seed, and of the second if one worker took all of the first.
    let done = events(&place.results("small"), "point_done");
    assert!((2..=4).contains(&done), "{text}");
    assert!(text.contains(&format!("{done} points done, 0 failed, {} pending", 8 - done)), "{text}");
    assert_eq!(text.matches("points fit into the").count(), 1, "one worker says it for all: {text}");
    let straight = Place::new();
    assert_eq!(said(&straight.run(&[], "")).0, Some(0));
    let place = Place::new();
    let (code, text) = said(&place.run(&["--device", "cpu,cpu", "--budget", "1h", "--max-fail", "1"], ""));
    assert_eq!(code, Some(0), "{text}");
    assert_same(&place.results("small"), &facts(&straight.results("small")));
}

#[test]
fn a_defect_in_a_worker_fails_its_stage_only() {
    let place = Place::with(&WIDER);
    let (code, text) = said(&place.run(&["--device", "cpu,cpu", "--cohort", "1"], "step:2000:panic"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("FAILED: planted fault") && text.contains("0 pending"), "{text}");
    assert_eq!(said(&place.run(&["--device", "cpu,cpu"], "")).0, Some(0));
    assert_same(&place.results("small"), &undisturbed());
}

#[test]
fn a_limit_on_failures_holds_for_workers_too() {
    let place = Place::with(&[
        ("kl_beta = [0.1, 0.15]", "grpo_lr = [1e30, 2e30, 3e30, 1e-4, 2e-4, 3e-4, 4e-4]"),
        ("grpo_epochs = [1, 2]", "grpo_epochs = [1]"),
        ("seed = [0, 1]", "seed = [0]"),
    ]);
    let limited = ["--device", "cpu,cpu", "--cohort", "1", "--max-fail", "2"];
    let (code, text) = said(&place.run(&limited, ""));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("stopped because points failed; this goes on:"), "{text}");
    assert!(!text.contains(", 0 pending"), "{text}");
    // Those that failed before are no reason to stop again: one is left that can.
    let (code, text) = said(&place.run(&limited, ""));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("4 points done, 3 failed, 0 pending"), "{text}");
}

#[test]
fn a_status_tells_the_cohorts_of_several_workers_apart() {
    let place = Place::with(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 5000]")]);
    let child = place.start(&["--device", "cpu,cpu"], "");
    let results = place.results("small");
    let status = || sweep::run::status(&results, 0.0).ok();
    // Every stage in training has made its first stop and is on the way to its second.
    let trained = |cohort: &Training| cohort.phase == "grpo" && cohort.stages.len() == cohort.members;
    let members = |seen: &Status| seen.training.iter().map(|cohort| cohort.members).sum::<usize>();
    // A point is on disk a moment before the log says so: of two looks one is after that.
    let counted = |seen: &Status| seen.done == members(seen) && seen.running == members(seen);
    let look = || status().filter(|seen| seen.training.len() == 2 && seen.training.iter().all(trained));
    wait_for(|| look().is_some_and(|seen| counted(&seen)));
    let seen = look().filter(counted).expect("it goes on like this");
    let mut stages: Vec<&str> =
        seen.training.iter().flat_map(|cohort| &cohort.stages).map(|stage| stage.stage.as_str()).collect();
    stages.sort_unstable();
    stages.dedup();
    let members = members(&seen);
    assert_eq!((stages.len(), seen.pending), (members, 8 - 2 * members), "{seen:?}");
    assert!(seen.eta_seconds.is_some());
    kill("TERM", child.id());
    assert_eq!(said(&child.wait_with_output().expect("it ends")).0, Some(143));
    let seen = status().expect("a status");
    assert_eq!((seen.done + seen.pending, seen.running, seen.training.len()), (8, 0, 0), "{seen:?}");
}

#[test]
fn without_a_gpu_the_error_says_what_to_do() {
    let place = Place::new();
    for device in ["cuda", "cuda:all", "cuda:0,cuda:1"] {
        let (code, text) = said(&place.run(&["--device", device], ""));
        if code == Some(0) {
            // There are some.
            continue;
        }
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("CUDA") && text.contains("hint: "), "{text}");
        assert!(!place.out().exists(), "nothing is written");
    }
    // What only a CUDA GPU can do is refused elsewhere, and asks for one where none is named.
    for device in ["cpu", "wgpu", "auto"] {
        let (code, text) = said(&place.run(&["--device", device, "--precision", "tf32"], ""));
        if code == Some(0) && device == "auto" {
            continue;
        }
        assert_eq!(code, Some(2), "{text}");
        let cause = if device == "auto" { "CUDA" } else { "computes in f32 only" };
        assert!(text.contains(cause) && text.contains("hint: "), "{text}");
    }
    let (code, text) = said(&place.run(&["--precision", "f16"], ""));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("`f16` is no precision"), "{text}");
    let (code, text) = said(&place.run(&["--device", "cpu,gpu"], ""));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("`gpu` is no device"), "{text}");
}

/// What Slurm sends near the time limit, in the middle of an epoch that would not end within another time limit.
#[test]
fn a_task_that_can_finish_no_epoch_does_not_ask_for_more_time() {
    let signalled = |changes: &[(&str, &str)], epochs: usize| {
        let place = Place::with(changes);
        assert_eq!(place.run(&[], "step:1:kill").status.code(), None);
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command.current_dir(place.dir.path()).args(["worker", "results/small", "--device", "cpu"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let before = events(&place.results("small"), "cohort_started");
        let child = Running::spawn(&mut command).expect("it starts");
        wait_for(|| {
            let seen = |kind| events(&place.results("small"), kind);
            seen("cohort_started") > before && seen("epoch_done") >= epochs
        });
        std::thread::sleep(Duration::from_millis(300));
        kill("USR1", child.id());
        said(&child.wait_with_output().expect("it ends"))
    };
    let large = ("hidden = 32", "hidden = 256\nheads = 8\nlayers = 24");
    let (code, text) = signalled(&[large], 0);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("before one epoch was finished: not put back into the queue\nhint: "), "{text}");
    let (code, text) = signalled(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 5000]")], 1);
    assert_eq!(code, Some(5), "{text}");
}

/// A stage that has failed for good before the time limit is not tried again by the job that goes on.
#[test]
fn a_job_that_goes_on_knows_what_has_failed() {
    let place = Place::with(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 200]")]);
    assert_eq!(place.run(&[], "step:1:kill").status.code(), None);
    let results = place.results("small");
    let worker = |fault: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command.current_dir(place.dir.path()).args(["worker", "results/small", "--device", "cpu"]);
        command.args(["--cohort", "1"]).env("SWEEP_FAULT", fault);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::spawn(&mut command).expect("it starts")
    };
    let first = worker("step:1:panic");
    wait_for(|| events(&results, "stage_failed") == 1 && events(&results, "epoch_done") >= 3);
    kill("USR1", first.id());
    let (code, text) = said(&first.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(5), "{text}");
    let (code, text) = said(&worker("").wait_with_output().expect("it ends"));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(events(&results, "stage_failed"), 1, "it was tried again: {text}");
    // Whoever starts it anew means it.
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
}
