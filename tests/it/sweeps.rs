//! Small sweeps run by the real binary, each in a directory of its own.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use sweep::disk;

/// Five points: two warm-ups (one per seed) and a grid of GRPO runs with several stops.
const SMALL: &str = r#"
name = "small"
[data]
trajectories = "FACTQA/rl_data.json"
embeddings = "FACTQA/embeddings.safetensors"
require_positive = true
[model]
hidden = 32
[train]
rce_epochs = 1
grpo_lr = 1e-4
[grid]
kl_beta = [0.1, 0.15]
grpo_epochs = [1, 2]
seed = [0, 1]
[eval]
logged = "FACTQA/eval_logged.jsonl"
shots = [1, 2]
"#;

/// A directory with a sweep file, and where its results go.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    /// With the small sweep in `small.toml`.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// The small sweep with (old, new) texts exchanged.
    pub fn with(changes: &[(&str, &str)]) -> Self {
        crate::sandbox::know_the_selector();
        let place = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        place.write("small.toml", changes);
        place
    }

    /// Writes a variant of the small sweep as `file`.
    pub fn write(&self, file: &str, changes: &[(&str, &str)]) {
        let factqa = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/data/factqa");
        let mut text = SMALL.replace("FACTQA", factqa.to_str().expect("UTF-8"));
        for (old, new) in changes {
            assert!(text.contains(old), "{old}");
            text = text.replace(old, new);
        }
        disk::write(&self.dir.path().join(file), text.as_bytes()).expect("it can be written");
    }

    /// Where results go.
    pub fn out(&self) -> PathBuf {
        self.dir.path().join("results")
    }

    /// The results of the sweep `name`.
    pub fn results(&self, name: &str) -> PathBuf {
        self.out().join(name)
    }

    /// `sweep run small.toml`, not started; further arguments are the caller's.
    pub fn command(&self) -> Command {
        self.command_on(&["small.toml"])
    }

    /// `sweep run FILES...`, not started.
    pub fn command_on(&self, files: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command.current_dir(self.dir.path()).arg("run").args(files);
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the end with `arguments`, and with a fault if `fault` is not empty.
    pub fn run(&self, arguments: &[&str], fault: &str) -> Output {
        let mut command = self.command();
        command.args(arguments);
        if !fault.is_empty() {
            command.env("SWEEP_FAULT", fault);
        }
        command.output().expect("it starts")
    }

    /// Starts with `arguments` and a fault, output piped.
    pub fn start(&self, arguments: &[&str], fault: &str) -> Running {
        let mut command = self.command();
        command.args(arguments).env("SWEEP_FAULT", fault);
        Running::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).expect("it starts")
    }
}

/// A process that a test has started: where the test ends early, it ends too.
pub struct Running(Option<Child>);

impl Running {
    /// Starts it.
    pub fn spawn(command: &mut Command) -> std::io::Result<Self> {
        Ok(Self(Some(command.spawn()?)))
    }

    /// To its end, with what it printed.
    pub fn wait_with_output(mut self) -> std::io::Result<Output> {
        self.0.take().expect("it is taken here alone").wait_with_output()
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("nobody has waited for it")
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("nobody has waited for it")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The exit code and what was said on stderr.
pub fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Whether SIGKILL ended it.
pub fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

/// Every file whose bytes must not depend on when and where it was computed, by path: the matrix, selections,
/// scores, checkpoints and optimizer states.
pub fn facts(results: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut facts = BTreeMap::new();
    for entry in walkdir::WalkDir::new(results).into_iter().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let lasting = name.ends_with(".safetensors")
            || matches!(
                name.as_str(),
                "matrix.csv" | "matrix.md" | "selections.jsonl" | "scores.csv" | "point.json"
            );
        if entry.file_type().is_file() && lasting && !entry.path().starts_with(results.join("set_aside")) {
            let path = entry.path().strip_prefix(results).expect("below it").to_owned();
            facts.insert(path, std::fs::read(entry.path()).expect("it is there"));
        }
    }
    facts
}

/// Fails with the names of the files that differ.
pub fn assert_same(results: &Path, expected: &BTreeMap<PathBuf, Vec<u8>>) {
    let found = facts(results);
    let names = |facts: &BTreeMap<PathBuf, Vec<u8>>| facts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(expected));
    let different: Vec<_> = expected.iter().filter(|(path, bytes)| found[*path] != **bytes).collect();
    let different: Vec<_> = different.iter().map(|(path, _)| path).collect();
    assert!(different.is_empty(), "these differ: {different:?}");
}

/// The stage directories that hold a file called `name`.
pub fn stages_with(results: &Path, name: &str) -> Vec<PathBuf> {
    let stages = std::fs::read_dir(results.join("stages")).expect("stages");
    let mut found: Vec<PathBuf> =
        stages.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join(name).exists()).collect();
    found.sort();
    found
}

/// How many events of a kind the run has logged.
pub fn events(results: &Path, kind: &str) -> usize {
    let log = std::fs::read_to_string(results.join("events.jsonl")).unwrap_or_default();
    log.matches(&format!("\"event\":\"{kind}\"")).count()
}

/// Waits until `ready`, at most half a minute.
pub fn wait_for(ready: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !ready() {
        assert!(began.elapsed().as_secs() < 30, "it took too long");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Sends the signal `name` to `child`.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.expect("kill").success());
}

#[test]
fn what_a_test_has_started_ends_with_it() {
    let place = Place::new();
    let child = std::cell::Cell::new(0);
    let panics = || {
        let run = place.start(&[], "step:50:hang");
        child.set(run.id());
        panic!("as a failing test does");
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert!(!Path::new("/proc").join(child.get().to_string()).exists());
}
