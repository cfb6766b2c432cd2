//! A temporary directory with a sweep file in it, and the real binary.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use sweep::disk;

/// A small, fast sweep on FactQA; tests add `[grid]` and change what they are about.
pub const SMALL: &str = "[model]\nhidden = 32\n[train]\nrce_epochs = 1\ngrpo_lr = 1e-3\n";

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Tests also look into results and checkpoints by themselves, as the program does that has this experiment.
pub fn know_the_selector() {
    sweep::experiment::know(&[&sweep::selector::Selector]);
}

/// Everything a test writes lies in here.
pub struct Sandbox(tempfile::TempDir);

impl Sandbox {
    pub fn new() -> Self {
        know_the_selector();
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a sweep file on FactQA, evaluated with 1 and 2 shots; returns its name.
    pub fn factqa(&self, name: &str, rest: &str) -> String {
        let data = repository("sweeps/data/factqa");
        let data = data.display();
        let text = format!(
            "name = \"{name}\"\n[data]\ntrajectories = \"{data}/rl_data.json\"\n\
             embeddings = \"{data}/embeddings.safetensors\"\nrequire_positive = true\n\
             [eval]\nlogged = \"{data}/eval_logged.jsonl\"\nshots = [1, 2]\n{rest}"
        );
        let file = format!("{name}.toml");
        self.write(&file, text.as_bytes());
        file
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        disk::write(&self.path().join(name), bytes).expect("written");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs `sweep` in the sandbox.
    pub fn sweep(&self, arguments: &[&str]) -> Output {
        let mut command = Command::cargo_bin("sweep").expect("the binary");
        command.current_dir(self.path()).args(arguments).output().expect("it runs")
    }

    /// Runs `sweep`, which must succeed; returns stdout.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.sweep(arguments);
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs `sweep ... --json`, which must succeed and print one object.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let stdout = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    /// Every file below `dir` by its relative path, with its bytes. Links are followed.
    pub fn files(&self, dir: &str) -> std::collections::BTreeMap<String, Vec<u8>> {
        let root = self.path().join(dir);
        walkdir::WalkDir::new(&root)
            .follow_links(true)
            .into_iter()
            .map(|entry| entry.expect("listed"))
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                let name = entry.path().strip_prefix(&root).expect("below").display().to_string();
                (name, std::fs::read(entry.path()).expect("read"))
            })
            .collect()
    }
}

/// stdout and stderr.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr))
}
