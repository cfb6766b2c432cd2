//! `sweep compare` as a user runs it: two directories of results, or two states of one.

use std::path::Path;
use std::process::Command;

use sweep::store::{PointResult, SweepResults};

use crate::fixture;
use crate::report::known;
use crate::table::{finish, stdout};

/// Four points, of which `right` says how many of 200 queries the third answers.
fn results(name: &str, right: f64) -> SweepResults {
    let mut results = fixture::sweep(name);
    results.axes = vec!["train.kl_beta".to_owned()];
    for (index, beta) in [0.1, 0.12, 0.15, 0.18].into_iter().enumerate() {
        let mut point = fixture::point(&format!("kl{beta}"), &[("train.kl_beta", serde_json::json!(beta))]);
        let right = if index == 2 { right } else { 100.0 };
        let choice = if index == 2 { right as u32 } else { 1 };
        fixture::score_sums(&mut point, 200, &[1, 2, 3, 4].map(|shot| (shot, right)), choice);
        results.points.push(point);
    }
    results
}

fn change(root: &Path, name: &str, edit: impl Fn(&mut serde_json::Value)) {
    let file = root.join(name).join("resolved.json");
    let mut record = serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");
    edit(&mut record);
    sweep::disk::write(&file, record.to_string().as_bytes()).expect("written");
}

#[test]
fn what_moved_is_told_with_paired_intervals() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&results("old", 100.0), root.path());
    let mut new = results("new", 130.0);
    // Its name is another one, its configuration the same; one point is new.
    new.points[2].name = "renamed".to_owned();
    let axes = [("train.kl_beta", serde_json::json!(0.2))];
    let mut more = fixture::point("kl0.2", &axes);
    fixture::score_sums(&mut more, 200, &[1, 2, 3, 4].map(|shot| (shot, 90.0)), 3);
    new.points.push(more);
    finish(&new, root.path());
    let said = stdout(&["compare", "old", "new"], root.path());
    insta::assert_snapshot!(said, @r"
    | point | first | second | moved | its interval | p (Holm) | verdict | changed % | val_loss, first | val_loss, second |
    | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |
    | renamed (kl0.15) | 50.00 | 65.00 | +15.00 | +10.5 to +20.0 | 0.000 | better | 100.0 | 7.4000 | 7.4000 |
    | kl0.1 | 50.00 | 50.00 | 0.00 | 0.0 to 0.0 |  | identical | 0.0 | 7.4000 | 7.4000 |
    | kl0.12 | 50.00 | 50.00 | 0.00 | 0.0 to 0.0 |  | identical | 0.0 | 7.4000 | 7.4000 |
    | kl0.18 | 50.00 | 50.00 | 0.00 | 0.0 to 0.0 |  | identical | 0.0 | 7.4000 | 7.4000 |

    - Of 4 points in both 1 got better and 0 worse.
    - First: old. Second: new.
    - All points in both together: +3.75 points [+2.62, +5.00], p = 0.000, over 200 queries.
    - 3 of 4 points choose exactly as before.
    - 1 point only in new: kl0.2.
    new/compare.html
    ");
    let page = std::fs::read_to_string(root.path().join("new/compare.html")).expect("written");
    let known = known(&page);
    assert_eq!(known["names"], serde_json::json!(["kl0.1", "kl0.12", "renamed", "kl0.18"]));
    assert_eq!(
        known["others"][2],
        serde_json::json!(["sweep why old --point kl0.15", "sweep why new --point renamed"])
    );
    for outside in ["http://", "https://", "src=", "@import"] {
        assert!(!page.contains(outside), "the page refers to {outside}");
    }
}

#[test]
fn with_other_evaluation_data_there_is_no_interval() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&results("old", 100.0), root.path());
    finish(&results("new", 130.0), root.path());
    change(root.path(), "new", |record| record["inputs"]["eval.logged"] = "other".into());
    let said = stdout(&["compare", "old", "new", "--format", "md"], root.path());
    assert!(said.contains("The evaluation data differ") && said.contains("+15.00"), "{said}");
    assert!(!said.contains("its interval") && !said.contains("better |"), "{said}");
    assert!(!root.path().join("new/compare.html").exists(), "a format was asked for, not the page");
}

#[test]
fn another_configuration_under_the_same_name_is_not_compared() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&results("old", 100.0), root.path());
    let mut new = results("new", 130.0);
    new.points[2].config.set("model.dropout", serde_json::json!(0.25));
    finish(&new, root.path());
    let said = stdout(&["compare", "old", "new", "--format", "csv"], root.path());
    assert_eq!(said.lines().count(), 1 + 3, "{said}");
    let said = stdout(&["compare", "old", "new", "--format", "md"], root.path());
    assert!(
        said.contains(
            "1 point of the same name in both has another configuration (model.dropout 0.5 and 0.25)"
        ),
        "{said}"
    );
    assert!(said.contains("1 point only in old: kl0.15."), "{said}");
}

#[test]
fn queries_that_only_one_has_do_not_count() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&results("old", 100.0), root.path());
    let mut new = results("new", 100.0);
    // The last half of the queries, which all are wrong, was not asked.
    let halve = |point: &mut PointResult| point.scores.values_mut().for_each(|lines| lines.truncate(100));
    new.points.iter_mut().for_each(halve);
    finish(&new, root.path());
    let said = stdout(&["compare", "old", "new", "--format", "md"], root.path());
    assert!(said.contains("All 4 points choose exactly as before"), "{said}");
    assert!(said.contains("| 100.00 | 100.00 | 0.00 | 0.0 to 0.0 |"), "{said}");
}

#[test]
#[expect(clippy::print_stderr, reason = "says why it is skipped")]
fn a_state_in_git_that_keeps_only_the_matrix_is_compared_by_name() {
    let root = tempfile::tempdir().expect("a directory");
    let git = |arguments: &[&str]| {
        let quiet = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"];
        Command::new("git").current_dir(root.path()).args(quiet).args(arguments).output()
    };
    if git(&["init", "-q"]).is_err() {
        eprintln!("skipped: git is not installed");
        return;
    }
    finish(&results("kl", 100.0), root.path());
    for arguments in [&["add", "kl/matrix.csv"][..], &["commit", "-q", "-m", "first"]] {
        let output = git(arguments).expect("git runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    finish(&results("kl", 130.0), root.path());
    let said = stdout(&["compare", "HEAD:kl", "kl", "--format", "md"], root.path());
    assert!(
        said.contains("`HEAD:kl` keeps only its matrix")
            && said.contains("| kl0.15 | 50.00 | 65.00 | +15.00 |"),
        "{said}"
    );
    // From below, as git itself takes paths.
    let below = stdout(&["compare", "HEAD:.", ".", "--format", "csv"], &root.path().join("kl"));
    assert_eq!(below, stdout(&["compare", "HEAD:kl", "kl", "--format", "csv"], root.path()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
    let output = command.current_dir(root.path()).args(["compare", "HEAD~7:kl", "kl"]).output().expect("ran");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: a state is given as REV:DIR"));
}
