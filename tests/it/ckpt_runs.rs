//! What checkpoints say about runs of the real binary: exports beside them, and the three questions of the lab.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sweep::checkpoint;
use sweep::disk;

use crate::sweeps::{Place, assert_same, events, facts, said, stages_with, wait_for, was_killed};

const ALL_FORMATS: (&str, &str) = ("[eval]", "[export]\nformats = [\"v2\", \"pt\", \"safetensors\"]\n[eval]");

/// stdout of `sweep ARGUMENTS`, which ends with `code`.
fn sweep(place: &Place, arguments: &[&str], code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
    let output = command.current_dir(place.dir.path()).args(arguments).output().expect("it starts");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output).1);
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json_of(place: &Place, arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&sweep(place, arguments, code)).expect("JSON")
}

/// The checkpoint of every point by its name, relative to the results.
fn checkpoints(place: &Place) -> BTreeMap<String, PathBuf> {
    let results = sweep::store::SweepResults::read(&place.results("small")).expect("results");
    let path = |point: sweep::store::PointResult| (point.name, point.checkpoint.expect("a checkpoint"));
    results.points.into_iter().map(path).collect()
}

/// Every exported file below the stages, with its bytes.
fn exports(results: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(results.join("stages")).into_iter().filter_map(Result::ok);
    let exported = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy();
        [".ckpt", ".pt", ".plain.safetensors"].iter().any(|end| name.ends_with(end))
    });
    let read = |path: &Path| std::fs::read(path).expect("it is there");
    exported
        .map(|entry| (entry.path().strip_prefix(results).expect("below").to_owned(), read(entry.path())))
        .collect()
}

fn run(place: &Place, arguments: &[&str]) -> String {
    let (code, text) = said(&place.run(arguments, ""));
    assert_eq!(code, Some(0), "{text}");
    text
}

#[test]
fn run_exports_every_points_checkpoint() {
    let place = Place::with(&[ALL_FORMATS]);
    run(&place, &[]);
    let results = place.results("small");
    let found = exports(&results);
    assert_eq!(found.len(), 3 * 8, "three formats of eight points: {:?}", found.keys());
    for path in checkpoints(&place).values() {
        let original = checkpoint::read(&results.join(path)).expect("a checkpoint");
        for end in ["ckpt", "pt", "plain.safetensors"] {
            let exported = checkpoint::read(&results.join(path.with_extension(end))).expect("an export");
            assert_eq!(exported.facts.content, original.facts.content, "{end}");
            let epoch = original.facts.epoch.filter(|_| end != "plain.safetensors");
            assert_eq!((exported.facts.epoch, exported.facts.kl_beta.is_some()), (epoch, epoch.is_some()));
        }
    }
    // The lab's inference script is pointed at the export of the point in use.
    let text = sweep(&place, &["use", "results/small", "kl0.15-ep2-s1"], 0);
    let path = results.canonicalize().expect("a path").join(&checkpoints(&place)["kl0.15-ep2-s1"]);
    let exported = path.with_extension("ckpt");
    assert_eq!(text, format!("{}\nexport LEVER_LM_CHECKPOINT_PATH={}\n", path.display(), exported.display()));
    // The same weights in four formats are one checkpoint, and the audit of the directory is not confused.
    let found = json_of(&place, &["ckpt", "diff", "--all", "results/small/stages", "--json"], 0);
    let files = found["files"].as_array().expect("files");
    let ours = files.iter().all(|file| {
        let file = file.as_str().expect("a path");
        file.ends_with(".safetensors") && !file.contains(".plain.")
    });
    assert!(ours && files.len() == 12, "two starts, two warm-ups, eight stops: {files:?}");
    sweep(&place, &["ckpt", "verify", "results/small"], 0);
}

#[test]
fn exports_are_completed_and_mended_without_training() {
    let straight = Place::with(&[ALL_FORMATS]);
    run(&straight, &[]);
    let expected = exports(&straight.results("small"));
    let kept = facts(&straight.results("small"));
    // Asked for after everything was trained.
    let place = Place::new();
    let results = place.results("small");
    run(&place, &[]);
    assert!(exports(&results).is_empty());
    let cohorts = events(&results, "cohort_started");
    place.write("small.toml", &[ALL_FORMATS]);
    let text = run(&place, &[]);
    assert!(text.contains("8 of 8 points are there") && !text.contains("changed"), "{text}");
    assert_eq!(exports(&results), expected);
    // One cut short, one gone, one of another checkpoint.
    let paths: Vec<&PathBuf> = expected.keys().collect();
    disk::write(&results.join(paths[0]), &expected[paths[0]][..1000]).expect("written");
    std::fs::remove_file(results.join(paths[4])).expect("removed");
    std::fs::copy(results.join(paths[3]), results.join(paths[9])).expect("copied");
    run(&place, &[]);
    assert_eq!(exports(&results), expected);
    assert_eq!(events(&results, "cohort_started"), cohorts, "nothing is trained again");
    assert_same(&results, &kept);
    // No longer asked for: they stay.
    place.write("small.toml", &[]);
    run(&place, &[]);
    assert_eq!(exports(&results), expected);
}

#[test]
fn exports_survive_kills_and_are_made_by_workers() {
    let straight = Place::with(&[ALL_FORMATS]);
    run(&straight, &[]);
    let expected = exports(&straight.results("small"));
    let place = Place::with(&[ALL_FORMATS]);
    let mut kills = 0;
    for n in [31, 37, 5, 11, 13, 17] {
        kills += usize::from(was_killed(place.run(&[], &format!("before-rename:{n}")).status));
    }
    assert!(kills >= 4, "{kills}");
    run(&place, &[]);
    assert_eq!(exports(&place.results("small")), expected);
    assert_same(&place.results("small"), &facts(&straight.results("small")));
    let place = Place::with(&[ALL_FORMATS]);
    run(&place, &["--device", "cpu,cpu"]);
    assert_eq!(exports(&place.results("small")), expected);
    // A point that is finished has its exports, although the run is not.
    let place = Place::with(&[ALL_FORMATS, ("grpo_epochs = [1, 2]", "grpo_epochs = [1, 5000]")]);
    let mut child = place.start(&[], "");
    wait_for(|| events(&place.results("small"), "point_done") > 0);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let points = sweep::store::SweepResults::read(&place.results("small")).expect("results").points;
    let done: Vec<PathBuf> = points.into_iter().filter_map(|point| point.checkpoint).collect();
    assert!(!done.is_empty());
    assert!(done.iter().all(|path| place.results("small").join(path.with_extension("ckpt")).is_file()));
}

/// The first question: is a checkpoint what the table says?
#[test]
fn a_table_that_is_wrong_about_a_trained_checkpoint_is_caught() {
    let place = Place::new();
    run(&place, &[]);
    let [said_so, not_so] =
        ["kl0.15-ep2-s0", "kl0.1-ep2-s0"].map(|point| format!("results/small/points/{point}/checkpoint"));
    let table = format!(
        "| Checkpoint | KL_BETA | epoch | phase |\n|---|---|---|---|\n| {said_so} | 0.15 | 2 | grpo |\n| {not_so} | 0.15 | 2 | grpo |\n"
    );
    disk::write(&place.dir.path().join("table.md"), table.as_bytes()).expect("written");
    let found = json_of(&place, &["ckpt", "verify", "table.md", "--json"], 1);
    assert_eq!(
        found["disagreements"],
        json!([{ "path": not_so, "key": "kl_beta", "claimed": "0.15", "found": "0.1" }])
    );
    let text = sweep(&place, &["ckpt", "verify", "table.md"], 1);
    assert!(text.contains(&not_so) && !text.contains(&said_so), "{text}");
}

/// The second: what has moved?
#[test]
fn frozen_groups_of_a_trained_checkpoint_are_those_of_its_parent() {
    let place = Place::with(&[("kl_beta = [0.1, 0.15]", "freeze = [[\"backbone\"], []]")]);
    run(&place, &[]);
    for (point, path) in checkpoints(&place) {
        let path = Path::new("results/small").join(path).display().to_string();
        let found = json_of(&place, &["ckpt", "diff", "--parent", &path, "--json"], 0);
        let part = |name: &str| found["comparison"][name]["max_abs"].as_f64().expect("a number");
        assert!(part("head") > 0.0, "{point}");
        assert_eq!(part("backbone") == 0.0, point.starts_with("frozen"), "{point}: {}", part("backbone"));
        let parent = found["before"].as_str().expect("a path");
        assert!(parent.ends_with("rce_epoch1.safetensors"), "{parent}");
        let text = sweep(&place, &["ckpt", "diff", "--parent", &path], 0);
        assert_eq!(
            text.contains("the backbone did not move, the head moved by"),
            point.starts_with("frozen")
        );
    }
}

/// The third: are these different runs at all?
#[test]
fn runs_that_hardly_differ_form_one_cluster() {
    // Steps too small for KL_BETA to matter, from one warm-up; and one run that goes elsewhere.
    let place = Place::with(&[
        ("grpo_lr = 1e-4", "grpo_lr = 1e-6"),
        ("kl_beta = [0.1, 0.15]", "kl_beta = [0.1, 0.12, 0.15, 0.18]"),
        ("grpo_epochs = [1, 2]", "grpo_epochs = [1]"),
        ("seed = [0, 1]", "[[include]]\ngrpo_lr = 1e-2\ngrpo_epochs = 1"),
    ]);
    run(&place, &[]);
    let found = json_of(&place, &["ckpt", "diff", "--all", "results/small/stages", "--json"], 0);
    let files = found["files"].as_array().expect("files");
    let trained = sweep::store::SweepResults::read(&place.results("small")).expect("results").points;
    let odd = trained
        .into_iter()
        .find(|point| point.config.get("train.grpo_lr") == Some(&serde_json::json!(1e-2)))
        .expect("the included one");
    let odd = odd.checkpoint.expect("a checkpoint").display().to_string();
    let clusters = found["distances"]["clusters"].as_array().expect("clusters");
    assert_eq!(clusters.len(), 1, "{found}");
    let members: Vec<&str> = clusters[0]
        .as_array()
        .expect("a cluster")
        .iter()
        .filter_map(|index| files[index.as_u64()? as usize].as_str())
        .collect();
    let tuned = members.iter().filter(|file| file.contains("grpo_epoch1")).count();
    assert_eq!(tuned, 4, "{members:?}");
    assert!(!members.iter().any(|file| file.contains(&odd)), "{members:?}");
}

#[test]
fn a_results_directory_of_a_real_run_is_checked_against_itself() {
    let place = Place::new();
    run(&place, &[]);
    let fine = json_of(&place, &["ckpt", "verify", "results/small", "--json"], 0);
    assert!(fine["checked"].as_u64().expect("a count") > 100, "{fine}");
    let stage = stages_with(&place.results("small"), "grpo_epoch2.safetensors").remove(0);
    let file = stage.join("grpo_epoch1.safetensors");
    let mut bytes = std::fs::read(&file).expect("a checkpoint");
    let middle = bytes.len() - 1000;
    bytes[middle] ^= 1;
    disk::write(&file, &bytes).expect("written");
    let text = sweep(&place, &["ckpt", "verify", "results/small"], 1);
    let name = file.strip_prefix(place.results("small")).expect("below").display().to_string();
    let rows: Vec<&str> = text.lines().filter(|line| line.contains(&name)).collect();
    assert!(rows.iter().any(|row| row.contains("content")), "{text}");
}

/// Every cause that the table may name comes from what the run measured.
#[test]
fn a_run_that_hardly_moved_names_the_causes_that_its_metrics_show() {
    let one = [
        ("grpo_lr = 1e-4", "grpo_lr = 1e-8"),
        ("grpo_epochs = [1, 2]", "grpo_epochs = [1]"),
        ("seed = [0, 1]", "seed = [0]"),
    ];
    let matrix = |more: &[(&str, &str)]| {
        let place = Place::with(&[&one, more].concat());
        run(&place, &[]);
        std::fs::read_to_string(place.results("small").join("matrix.md")).expect("a matrix")
    };
    let causes =
        ["grpo_lr = 1e-8: ", "times the policy term", "advantages hardly differ", "gradients were clipped"];
    let named = |text: &str| causes.map(|cause| text.contains(cause));
    // Nothing but the small rate: no gradient is clipped, the KL term weighs little.
    let kl_beta = "kl_beta = [0.1, 0.15]";
    let text = matrix(&[(kl_beta, "kl_beta = [1e-6]"), ("[grid]", "grad_clip = 1e9\n[grid]")]);
    assert_eq!(named(&text), [true, false, false, false], "{text}");
    let text = matrix(&[(kl_beta, "kl_beta = [1e3]"), ("[grid]", "grad_clip = 1e-9\n[grid]")]);
    assert_eq!(named(&text), [true, true, false, true], "{text}");
    // Of one trajectory nothing can be better than the other.
    let text = matrix(&[(kl_beta, "kl_beta = [0]"), ("[grid]", "top_k = [1, 1]\n[grid]")]);
    assert!(named(&text)[2], "{text}");
    // A run that moved names none.
    let text = matrix(&[("grpo_lr = 1e-8", "grpo_lr = 1e-3")]);
    assert_eq!((named(&text), text.contains("hardly")), ([false; 4], false), "{text}");
}
