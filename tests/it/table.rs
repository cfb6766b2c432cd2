//! `sweep table` and `sweep why` as a user runs them.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use sweep::disk;
use sweep::report::{MatrixOptions, Row, RowStatus, matrix};
use sweep::store::SweepResults;

use crate::fixture;
use crate::matrix::lab_table;

fn sweep(arguments: &[&str], root: &Path) -> Output {
    Command::cargo_bin("sweep").expect("built").current_dir(root).args(arguments).output().expect("ran")
}

/// What a `sweep` that must succeed prints.
pub fn stdout(arguments: &[&str], root: &Path) -> String {
    let output = sweep(arguments, root);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("utf-8")
}

fn stderr(arguments: &[&str], root: &Path) -> String {
    let output = sweep(arguments, root);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("utf-8")
}

/// The lab's table in a directory.
pub fn lab(root: &Path) {
    finish(&lab_table(), root);
}

/// The results in a directory, with their matrix as a run leaves it.
pub fn finish(results: &SweepResults, root: &Path) {
    let dir = fixture::write(results, root);
    for (name, bytes) in matrix(results, &MatrixOptions::default()).files() {
        disk::write(&dir.join(name), &bytes).expect("written");
    }
}

#[test]
fn the_labs_table_in_its_own_layout() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    insta::assert_snapshot!(stdout(&["table", "lab"], root.path()), @r"
    | configuration | Shot 1 | Shot 2 | Shot 3 | Shot 4 | average | vs baseline | verdict | same |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |
    | kl0.12-frozen | 57.0 | 56.1 | **55.1** | **55.2** | 55.85 | -0.28 [-4.1, +3.6] | cannot tell | A |
    | kl0.145-frozen | 57.0 | 56.1 | **55.1** | **55.2** | 55.85 | -0.28 [-4.1, +3.6] | cannot tell | A |
    | kl0.15-frozen | **58.8** | **56.6** | 53.9 | **55.2** | **56.12** | baseline |  |  |
    | kl0.155-frozen | 57.0 | 56.1 | **55.1** | **55.2** | 55.85 | -0.28 [-4.1, +3.6] | cannot tell | A |
    | kl0.18-frozen | 57.0 | 56.1 | **55.1** | **55.2** | 55.85 | -0.28 [-4.1, +3.6] | cannot tell | A |
    | kl0.15-unfrozen | 57.0 | 56.1 | **55.1** | **55.2** | 55.85 | -0.28 [-4.1, +3.6] | cannot tell | A |

    - Accuracy in percent on 200 evaluation queries; differences to the baseline (kl0.15-frozen) in points, their 95 % intervals by paired bootstrap.
    - None of 5 rows can be told apart from the baseline: the differences may be noise. To tell the largest of these differences (kl0.15-unfrozen: -0.28), about 130,000 more queries would be needed (level 5 %, Holm's correction over 5 comparisons).
    - A: 5 rows choose exactly the same demonstrations (kl0.12-frozen, kl0.145-frozen, kl0.155-frozen, kl0.18-frozen, kl0.15-unfrozen).
    ");
}

#[test]
fn rows_that_choose_alike_are_one_row_of_boxes_also_where_they_are_sorted() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let text = stdout(&["table", "lab", "--format", "text"], root.path());
    assert!(text.contains("(5 of 6)") && !text.contains("kl0.145-frozen"), "{text}");
    // The best result is all rows that choose alike.
    let best =
        stdout(&["table", "lab", "--format", "text", "--sort", "val_loss", "--best", "2"], root.path());
    assert!(best.contains("(5 of 6)") && best.contains("kl0.15-frozen"), "{best}");
    // With a column per axis these say the ranges.
    let axes = stdout(&["table", "lab", "--format", "text", "--only-varying"], root.path());
    assert!(axes.contains(" 0.12-0.18 ") && axes.contains(" backbone/none "), "{axes}");
}

#[test]
fn the_stored_matrix_and_the_results_give_the_same_table() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let stored = stdout(&["table", "lab", "--format", "csv"], root.path());
    // Without the stored matrix everything is computed anew.
    std::fs::remove_file(root.path().join("lab/matrix.csv")).expect("removed");
    assert_eq!(stdout(&["table", "lab", "--format", "csv"], root.path()), stored);
    // With nothing but the matrix, as in a repository that keeps only the matrices.
    disk::write(&root.path().join("lab/matrix.csv"), stored.as_bytes()).expect("written");
    std::fs::remove_dir_all(root.path().join("lab/points")).expect("removed");
    std::fs::remove_file(root.path().join("lab/resolved.json")).expect("removed");
    assert_eq!(stdout(&["table", "lab", "--format", "csv"], root.path()), stored);
}

#[test]
fn a_stored_matrix_older_than_a_point_is_not_believed() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let mut changed = lab_table();
    fixture::score_sums(&mut changed.points[0], 200, &[(1, 180.0), (2, 180.0), (3, 180.0), (4, 180.0)], 9);
    std::thread::sleep(std::time::Duration::from_millis(20));
    fixture::write_point(&root.path().join("lab"), &changed.points[0]);
    assert!(stdout(&["table", "lab"], root.path()).contains("| kl0.12-frozen | **90.0** |"));
}

#[test]
fn checked_tables_catch_a_changed_digit_and_write_mends_it() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let file = root.path().join("NOTES.md");
    let text = "# Notes\n\n<!-- sweep: table lab --best 2 -->\n<!-- /sweep -->\n\nend\n";
    disk::write(&file, text.as_bytes()).expect("written");
    assert_eq!(sweep(&["table", "--check", "NOTES.md"], root.path()).status.code(), Some(1));
    assert_eq!(sweep(&["table", "--write", "NOTES.md"], root.path()).status.code(), Some(0));
    assert_eq!(sweep(&["table", "--check", "NOTES.md"], root.path()).status.code(), Some(0));
    let written = std::fs::read_to_string(&file).expect("readable");
    assert!(written.contains("| **58.8** |") && written.ends_with("<!-- /sweep -->\n\nend\n"), "{written}");
    disk::write(&file, written.replacen("58.8", "58.9", 1).as_bytes()).expect("written");
    let output = sweep(&["table", "--check", "NOTES.md"], root.path());
    let said = String::from_utf8(output.stdout).expect("utf-8");
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("NOTES.md:6") && said.contains("58.9") && said.contains("58.8"), "{said}");
    sweep(&["table", "--write", "NOTES.md"], root.path());
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), written);
}

#[test]
fn pivots_conditions_and_other_baselines() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&fixture::grid("grid", 2, 40), root.path());
    let pivot = stdout(&["table", "grid", "--rows", "kl_beta", "--cols", "grpo_lr"], root.path());
    assert!(pivot.starts_with("| kl_beta \\ grpo_lr | 5e-6 | 1e-5 | 2e-5 |"), "{pivot}");
    let kept = stdout(
        &["table", "grid", "--where", "freeze=none", "--where", "KL_BETA=0.10", "--only-varying"],
        root.path(),
    );
    assert!(kept.starts_with("| grpo_lr | grpo_epochs | seeds |"), "{kept}");
    assert!(kept.contains("correction over 71 comparisons"), "filtering does not make tests fewer: {kept}");
    // By its values, or by the name of its row.
    for baseline in ["kl_beta=0.18,grpo_lr=2e-5,grpo_epochs=3,freeze=none", "kl0.18-lr2e-5-ep3-unfrozen"] {
        let other = stdout(&["table", "grid", "--baseline", baseline, "--best", "1"], root.path());
        let lines = other.lines().filter(|line| line.contains("baseline |") || line.contains("| baseline"));
        assert!(lines.into_iter().any(|line| line.contains("kl0.18-lr2e-5-ep3-unfrozen")), "{other}");
    }
    let matrix_alone = root.path().join("alone");
    std::fs::create_dir_all(&matrix_alone).expect("made");
    std::fs::copy(root.path().join("grid/matrix.csv"), matrix_alone.join("matrix.csv")).expect("copied");
    let said = stderr(&["table", "alone", "--baseline", "kl_beta=0.18"], root.path());
    assert!(said.contains("keeps only the matrix"), "{said}");
}

#[test]
fn several_sweeps_have_the_notes_of_the_rows_shown() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    finish(&fixture::grid("grid", 1, 40), root.path());
    finish(&lab_table(), &root.path().join("again"));
    let both = stdout(&["table", "lab", "grid", "--best", "2", "--format", "text"], root.path());
    assert!(both.contains("cannot be told apart, ="), "the signs are not explained: {both}");
    assert!(both.contains("- grid: ") && !both.contains("rows cannot be told apart"), "{both}");
    // The same sweep twice, as before and after a change.
    let twice = stdout(&["table", "lab", "again/lab", "--no-notes"], root.path());
    assert!(
        twice.contains("| again/lab | kl0.15-frozen |") && twice.contains("| lab | kl0.15-frozen |"),
        "{twice}"
    );
}

#[test]
fn mistakes_are_named_with_a_way_out() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let cases = [
        (vec!["table", "lab", "--where", "kl_bta=0.1"], "did you mean `kl_beta`?"),
        (vec!["table", "lab", "--where", "kl_beta"], "not of the form key=value"),
        (vec!["table", "lab", "--where", "kl_beta=7"], "its values are 0.12, 0.145"),
        (vec!["table", "lab", "--sort", "shot_9"], "choose one of shot_1"),
        (vec!["table", "lab", "--baseline", "kl_beta=0.15"], "also give freeze"),
        (vec!["table", "lab", "--baseline", "kl0.12-frozn"], "did you mean `kl0.12-frozen`?"),
        (vec!["table", "lab", "--metric", "average"], "`--best` ranks by"),
        (vec!["table", "lab", "--rows", "freeze", "--cols", "freeze"], "two different axes"),
        (vec!["table", "lab", "--long", "--format", "md"], "`--long` is CSV"),
        (vec!["table", "lab", "--long", "--best", "1"], "cannot be used with"),
        (vec!["table", "nowhere"], "`nowhere` does not exist"),
        (vec!["table", "lab/matrix.csv"], "is a file, not a results directory"),
        (vec!["table", "."], "results inside: `./lab`"),
        (vec!["table", "lab/points"], "such as `results/kl_grid`"),
        (vec!["why", "lab", "--point", "kl0.12-frozn", "--shot", "1"], "did you mean `kl0.12-frozen`?"),
        (vec!["why", "lab", "--point", "kl0.12-frozen", "--shot", "7"], "its shot counts are 1, 2, 3, 4"),
        (vec!["table"], "required"),
    ];
    for (arguments, expected) in cases {
        let said = stderr(&arguments, root.path());
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn why_traces_a_cell_to_its_queries() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let text = stdout(&["why", "lab", "--point", "kl0.12-frozen", "--shot", "1"], root.path());
    assert!(text.starts_with("kl0.12-frozen at 1 shot: 57.00 %"), "{text}");
    assert!(text.contains("checkpoint: lab/stages/0123abcd/grpo_epoch1.safetensors"), "{text}");
    assert!(text.contains("114 right:") && text.contains("86 wrong:"), "{text}");
    let changed = |text: &str| text.lines().filter(|line| line.starts_with("  query ")).count();
    let all = stdout(&["why", "lab", "--point", "kl0.12-frozen", "--shot", "1", "--all"], root.path());
    let more = changed(&all) - 20;
    assert_eq!(changed(&text), 20);
    assert!(text.ends_with(&format!("  and {more} more: `--all` shows them\n")), "{text}");
    let json = stdout(&["why", "lab", "--point", "kl0.12-frozen", "--shot", "1", "--json"], root.path());
    let found: serde_json::Value = serde_json::from_str(&json).expect("json");
    assert_eq!(found["answers"].as_array().map(Vec::len), Some(200));
}

#[test]
fn why_of_a_configuration_shows_each_of_its_seeds() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&fixture::grid("grid", 3, 40), root.path());
    let arguments = ["why", "grid", "--point", "kl0.12-lr1e-5-ep2-unfrozen", "--shot", "1"];
    let text = stdout(&arguments, root.path());
    for seed in 0..3 {
        assert!(text.contains(&format!("kl0.12-lr1e-5-ep2-unfrozen-s{seed} at 1 shot: ")), "{text}");
    }
    let json = stdout(&[&arguments[..], &["--json"]].concat(), root.path());
    let found: serde_json::Value = serde_json::from_str(&json).expect("json");
    assert_eq!(found.as_array().map(Vec::len), Some(3));
}

#[test]
fn the_best_none_are_no_table() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let said = stderr(&["table", "lab", "--best", "0"], root.path());
    assert!(said.contains("invalid value '0' for '--best <N>': 0 is not in 1.."), "{said}");
}

#[test]
fn ten_thousand_points_are_read_from_the_stored_matrix() {
    let root = tempfile::tempdir().expect("a directory");
    let mut found = matrix(&lab_table(), &MatrixOptions::default());
    let row = found.points[0].clone();
    found.points = (0..10_000)
        .map(|index| Row { name: format!("point-{index}"), status: RowStatus::Done, ..row.clone() })
        .collect();
    disk::write(&root.path().join("large/matrix.csv"), &found.to_csv()).expect("written");
    // Records that say nothing: only the matrix can have been read. How long that takes, `benches/report.rs` says.
    let record = root.path().join("large/resolved.json");
    disk::write(&record, b"{}").expect("written");
    for index in 0..10_000 {
        let point = root.path().join(format!("large/points/point-{index}"));
        std::fs::create_dir_all(&point).expect("made");
        std::fs::hard_link(&record, point.join("point.json")).expect("linked");
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    disk::write(&root.path().join("large/matrix.csv"), &found.to_csv()).expect("written");
    let text = stdout(&["table", "large", "--best", "5", "--points"], root.path());
    assert!(text.lines().count() > 5 && text.contains("| point-0 |"), "{text}");
}
