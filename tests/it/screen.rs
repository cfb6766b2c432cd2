//! What `sweep table` shows on a terminal: one row per result, and no more than a screen. Every test runs the real
//! binary on a terminal of a given size.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::fixture;
use crate::outside::open_terminal;
use crate::table::{finish, lab, stdout};

/// What `sweep ARGUMENTS` prints on a terminal of `columns` times `lines`; `None` where there are no terminals.
fn shown(root: &Path, (columns, lines): (u16, u16), arguments: &[&str]) -> Option<String> {
    let (mut reader, name) = open_terminal()?;
    let side = File::options().read(true).write(true).open(name).ok()?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_sweep"))
        .args(arguments)
        .current_dir(root)
        .env("COLUMNS", columns.to_string())
        .env("LINES", lines.to_string())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(side)
        .spawn()
        .expect("it starts");
    let mut text = Vec::new();
    // When the program has ended the terminal has hung up, which is an error here and not an end.
    let _ = reader.read_to_end(&mut text);
    assert!(child.wait().expect("it ends").success(), "{arguments:?}");
    Some(String::from_utf8(text).expect("UTF-8").replace("\r\n", "\n"))
}

#[test]
fn a_group_that_chooses_alike_is_one_row_with_its_range() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let Some(text) = shown(root.path(), (150, 40), &["table", "lab"]) else { return };
    insta::assert_snapshot!(text, @r"
    ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     configuration                                         Shot 1  Shot 2  Shot 3  Shot 4  average  vs baseline         verdict
    ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     kl 0.12-0.18, frozen/unfrozen: 5 of 6 configurations    57.0    56.1   55.1*   55.2*    55.85  -0.28 [-4.1, +3.6]  cannot tell
     kl0.15-frozen                                          58.8*   56.6*    53.9   55.2*   56.12*            baseline
    ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    - Accuracy in percent on 200 evaluation queries; differences to the baseline (kl0.15-frozen) in points, their 95 % intervals by paired bootstrap.
    - None of 5 rows can be told apart from the baseline: the differences may be noise. To tell the largest of these differences (kl0.15-unfrozen: -0.28),
      about 130,000 more queries would be needed (level 5 %, Holm's correction over 5 comparisons).
    - `--all` shows every row, `sweep report lab` draws them.
    ");
    // With less room the row says less, and with little the notes say where it holds.
    let text = shown(root.path(), (80, 40), &["table", "lab"]).expect("a terminal");
    insta::assert_snapshot!(text, @r"
    ──────────────────────────────────────────────────────────────────────
     configuration     S1     S2     S3     S4     avg     vs base
    ──────────────────────────────────────────────────────────────────────
     kl0.12-frozen +4   57.0   56.1  55.1*  55.2*   55.85    -0.28  ~  A
     kl0.15-frozen     58.8*  56.6*   53.9  55.2*  56.12*     base
    ──────────────────────────────────────────────────────────────────────
    - Against the baseline: + better, - worse, ~ cannot be told apart, = chooses the
      same.
    - Accuracy in percent on 200 evaluation queries; differences to the baseline
      (kl0.15-frozen) in points. Intervals need a wider terminal, or `--format md`.
    - None of 5 rows can be told apart from the baseline: the differences may be
      noise. To tell the largest of these differences (kl0.15-unfrozen: -0.28),
      about 130,000 more queries would be needed (level 5 %, Holm's correction over
      5 comparisons).
    - A: one result of kl 0.12-0.18, frozen/unfrozen: 5 of 6 configurations.
    - `--all` shows every row, `sweep report lab` draws them.
    ");
    let all = shown(root.path(), (150, 40), &["table", "lab", "--all"]).expect("a terminal");
    for row in ["kl0.12-frozen ", "kl0.145-frozen ", "kl0.18-frozen ", "kl0.15-unfrozen "] {
        assert!(all.contains(row), "{row}: {all}");
    }
}

#[test]
fn a_terminal_shows_at_most_a_screen() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&fixture::grid("grid", 2, 40), root.path());
    for size in [(80, 24), (100, 24), (140, 24), (140, 50), (200, 14)] {
        let Some(text) = shown(root.path(), size, &["table", "grid"]) else { return };
        // The prompt needs a line too.
        let lines = text.lines().count();
        assert!(lines < usize::from(size.1), "{lines} lines on {size:?}: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(size.0)), "{size:?}: {text}");
        let cut = if size.1 < 40 { "best first" } else { "" };
        for part in ["base", "random", "nearest", "oracle", cut, "--all", "*"] {
            assert!(text.contains(part), "no {part} on {size:?}: {text}");
        }
        // Where not all rows have room, the best row of the whole table comes first.
        let best = stdout(&["table", "grid", "--best", "1", "--format", "json"], root.path());
        let best: serde_json::Value = serde_json::from_str(&best).expect("json");
        let average = 100.0 * best["rows"][0]["average"].as_f64().expect("an average");
        let first = text.lines().nth(3).expect("a row");
        assert!(
            cut.is_empty() || first.contains(&format!("{average:.2}")),
            "{average} is not in {first:?}: {text}"
        );
    }
    let all = shown(root.path(), (140, 24), &["table", "grid", "--all"]).expect("a terminal");
    assert_eq!(all.lines().filter(|line| line.starts_with(" kl0.")).count(), 72);
}

#[test]
fn files_and_pipes_have_every_row() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&fixture::grid("grid", 2, 40), root.path());
    let stored = std::fs::read_to_string(root.path().join("grid/matrix.md")).expect("written");
    let table = stdout(&["table", "grid"], root.path());
    assert!(stored.contains(table.lines().nth(40).expect("a row")), "{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with("| kl0.")).count(), 72);
    let csv = stdout(&["table", "grid", "--points", "--format", "csv"], root.path());
    assert_eq!(csv, std::fs::read_to_string(root.path().join("grid/matrix.csv")).expect("written"));
    let latex = stdout(&["table", "grid", "--format", "latex"], root.path());
    assert_eq!(latex.lines().filter(|line| line.starts_with("kl0.")).count(), 72);
}
