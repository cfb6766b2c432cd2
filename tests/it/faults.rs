//! What a night can bring: full disks, damaged files, diverging points, defects. Nothing is lost, nothing that is
//! wrong is taken for right, and one point's failure never stops the others.
#![expect(clippy::print_stderr, reason = "says why a test is skipped")]
#![expect(clippy::disallowed_methods, reason = "moves a directory away under a run")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sweeps::{Place, assert_same, events, facts, said, stages_with, wait_for};

/// What the small sweep leaves when nothing happens.
fn undisturbed() -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let place = Place::new();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    facts(&place.results("small"))
}

fn overwrite(path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = std::fs::read(path).expect("it is there");
    sweep::disk::write(path, &change(bytes)).expect("it can be written");
}

/// A small file system of its own; `None` (and a message) where none can be mounted.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], dir.path());
        if !mounted {
            eprintln!("skipped: no file system can be mounted here");
        }
        mounted.then_some(Self(dir))
    }

    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}"), "tmpfs"], self.0.path()));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let output = Command::new("mount").args(arguments).arg(at).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_second_run_says_who_holds_the_directory() {
    let place = Place::new();
    let mut first = place.start(&[], "step:50:hang");
    wait_for(|| events(&place.results("small"), "cohort_started") > 0);
    let (code, text) = said(&place.run(&[], ""));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains(&format!("in use by another run (process {} on ", first.id())), "{text}");
    assert!(text.contains("hint: wait for it"), "{text}");
    first.kill().expect("it can be killed");
    first.wait().expect("it ends");
    // The lock of a dead process is no obstacle.
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
}

#[test]
fn a_read_only_directory_is_refused_before_anything_trains() {
    let place = Place::new();
    let Some(small) = Mounted::new("1m") else { return };
    small.remount("ro");
    let output = place.run(&["--out", &small.0.path().display().to_string()], "");
    let (code, text) = said(&output);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(&small.0.path().display().to_string()) && text.contains("Read-only"), "{text}");
}

#[test]
fn a_directory_that_disappears_ends_the_run_and_stays_away() {
    let place = Place::with(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 5000]")]);
    let child = place.start(&[], "");
    wait_for(|| events(&place.results("small"), "epoch_done") > 4);
    std::fs::rename(place.results("small"), place.out().join("elsewhere")).expect("it can be moved");
    let output = child.wait_with_output().expect("it ends");
    let (code, text) = said(&output);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("was removed or moved while the run was writing"), "{text}");
    assert!(text.contains("hint: if it was moved, move it back") && !text.contains("is kept"), "{text}");
}

#[test]
fn a_full_disk_ends_the_run_with_what_is_done() {
    let expected = undisturbed();
    for n in [8, 20, 33, 47, 60] {
        let place = Place::new();
        let (code, text) = said(&place.run(&[], &format!("write:{n}:enospc")));
        assert!(text.contains("cannot write") && text.contains("no storage space"), "{text}");
        assert!(text.contains("the same command goes on"), "{text}");
        assert_eq!(code, Some(1), "{text}");
        assert_eq!(said(&place.run(&[], "")).0, Some(0));
        assert_same(&place.results("small"), &expected);
    }
    let place = Place::new();
    let Some(small) = Mounted::new("600k") else { return };
    let out = small.0.path().display().to_string();
    // It is seen before anything is trained, and whoever goes on nevertheless keeps what has been done.
    let (code, text) = said(&place.run(&["--out", &out], ""));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("still has about") && text.contains("--ignore-space"), "{text}");
    let (code, text) = said(&place.run(&["--out", &out, "--ignore-space"], ""));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    small.remount("size=50m");
    let (code, text) = said(&place.run(&["--out", &out], ""));
    assert_eq!(code, Some(0), "{text}");
    assert_same(&small.0.path().join("small"), &expected);
}

#[test]
fn damaged_files_are_named_set_aside_and_made_again() {
    let expected = undisturbed();
    let place = Place::new();
    let results = place.results("small");
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    let stages = stages_with(&results, "grpo_epoch2.safetensors");
    let warm_up = &stages_with(&results, "rce_epoch1.safetensors")[0];
    // An earlier epoch than the last, cut short; one changed bit in a last one; a record that is no JSON; a
    // warm-up whose children are whole.
    overwrite(&stages[0].join("grpo_epoch1.safetensors"), |bytes| bytes[..bytes.len() / 2].to_vec());
    overwrite(&stages[1].join("grpo_epoch2.safetensors"), |mut bytes| {
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        bytes
    });
    overwrite(&stages[2].join("stage.json"), |bytes| bytes[..bytes.len() / 2].to_vec());
    overwrite(&warm_up.join("rce_epoch1.safetensors"), |_| Vec::new());
    let points = results.join("points");
    overwrite(&points.join("kl0.1-ep1-s0/point.json"), |_| b"{".to_vec());
    overwrite(&points.join("kl0.15-ep1-s0/selections.jsonl"), |bytes| bytes[..bytes.len() / 2].to_vec());
    let (code, text) = said(&place.run(&[], ""));
    assert_eq!(code, Some(0), "{text}");
    for stage in [&stages[0], &stages[1], &stages[2], warm_up] {
        let name = stage.file_name().expect("a name").to_string_lossy();
        assert!(text.contains(&format!("stage {name} cannot be used")), "{text}");
        assert!(results.join(format!("set_aside/{name}.damaged1")).is_dir(), "{name} was not kept");
    }
    for file in ["grpo_epoch1.safetensors", "grpo_epoch2.safetensors", "stage.json", "rce_epoch1.safetensors"]
    {
        assert!(text.contains(file), "{file}: {text}");
    }
    for point in ["kl0.1-ep1-s0", "kl0.15-ep1-s0"] {
        assert!(text.contains(&format!("point {point} cannot be used")), "{text}");
        assert!(results.join(format!("set_aside/{point}.damaged1")).is_dir());
    }
    assert_same(&results, &expected);
}

#[test]
fn a_damaged_optimizer_file_costs_its_stage_only() {
    let longer = [("grpo_epochs = [1, 2]", "grpo_epochs = [1, 2, 3]")];
    let straight = Place::with(&longer);
    assert_eq!(said(&straight.run(&[], "")).0, Some(0));
    let place = Place::new();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    let results = place.results("small");
    let stage = &stages_with(&results, "optimizer_epoch2.safetensors")[0];
    overwrite(&stage.join("optimizer_epoch2.safetensors"), |bytes| bytes[..100].to_vec());
    place.write("small.toml", &longer);
    let (code, text) = said(&place.run(&[], ""));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("cannot be used").count(), 1, "{text}");
    assert!(text.contains("optimizer_epoch2.safetensors"), "{text}");
    assert_same(&results, &facts(&straight.results("small")));
}

#[test]
fn a_point_that_diverges_is_infeasible_and_alone() {
    let place = Place::with(&[("kl_beta = [0.1, 0.15]", "grpo_lr = [1e-4, 1e30]")]);
    let (code, text) = said(&place.run(&[], ""));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("4 points done, 4 failed, 0 pending"), "{text}");
    assert!(text.contains("lr1e30-ep1-s0  FAILED: grpo epoch 1") || text.contains("is not finite"), "{text}");
    let matrix = std::fs::read_to_string(place.results("small").join("matrix.csv")).expect("a matrix");
    assert_eq!(matrix.matches("infeasible").count(), 4, "{matrix}");
    // The same training would diverge again: it is not tried, unless somebody insists.
    let cohorts = events(&place.results("small"), "cohort_started");
    assert_eq!(said(&place.run(&["--fail-fast"], "")).0, Some(1));
    assert_eq!(events(&place.results("small"), "cohort_started"), cohorts);
    assert_eq!(said(&place.run(&["--retry-infeasible"], "")).0, Some(1));
    assert!(events(&place.results("small"), "cohort_started") > cohorts);
}

#[test]
fn a_defect_fails_one_stage_and_the_next_run_tries_it_again() {
    let expected = undisturbed();
    let place = Place::new();
    let (code, text) = said(&place.run(&["--cohort", "1"], "step:500:panic"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("FAILED: planted fault"), "{text}");
    let outcome = text.lines().rfind(|line| line.contains(" points done")).expect("an outcome").to_owned();
    assert!(outcome.contains("1 failed") || outcome.contains("2 failed"), "{outcome}");
    assert!(outcome.contains("0 pending"), "{outcome}");
    let (code, text) = said(&place.run(&[], ""));
    assert_eq!(code, Some(0), "{text}");
    assert_same(&place.results("small"), &expected);
    for arguments in [&["--cohort", "1", "--retry", "1"][..], &[]] {
        // Tried again at once, alone or in narrower cohorts.
        let place = Place::new();
        let (code, text) = said(&place.run(arguments, "step:500:panic"));
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("failed: planted fault\n  trying again, at most "), "{text}");
        assert_same(&place.results("small"), &expected);
    }
}

/// The program of a GPU, on burn's CPU backend and on a GPU where the tests are built for one: as on CUDA, it is the
/// device's own thread that panics.
#[test]
fn too_little_memory_of_a_gpu_narrows_the_cohorts() {
    for device in [sweep::device::Device::Flex, *crate::engines::PROGRAM] {
        let place = Place::new();
        let (code, text) = said(&place.run(&["--device", &device.to_string()], "step:1:oom:1"));
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(text.matches("trying again, at most 1 together").count(), 1, "{text}");
        assert!(text.contains("8 points done, 0 failed, 0 pending"), "{text}");
    }
}

#[test]
fn too_little_memory_narrows_the_cohorts() {
    let expected = undisturbed();
    let place = Place::new();
    let (code, text) = said(&place.run(&[], "step:1:oom:1"));
    assert_eq!(code, Some(0), "{text}");
    let cause = "can't allocate buffer of size: 1073741824";
    assert!(text.contains(&format!("{cause}\n  trying again, at most 1 together")), "{text}");
    assert_eq!(text.matches("trying again").count(), 1, "the first failure narrows the whole run: {text}");
    assert_same(&place.results("small"), &expected);
    // Not even one member fits.
    let place = Place::new();
    let (code, text) = said(&place.run(&[], "step:1:oom:0"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("0 points done, 8 failed, 0 pending"), "{text}");
    let place = Place::new();
    let (code, text) = said(&place.run(&["--max-fail", "2"], "step:400:oom:0"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("stopped because points failed"), "{text}");
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    assert_same(&place.results("small"), &expected);
}
