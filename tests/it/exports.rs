//! What `sweep table` writes for other programs: Typst, and one row per point, shot count and query.

use std::collections::{BTreeMap, BTreeSet};

use sweep::report::{Cell, Column, Line, Table};

use crate::fixture;
use crate::matrix::lab_table;
use crate::sandbox::repository;
use crate::table::{finish, lab, stdout};

/// Rows of a CSV file, by column.
fn records(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(|row| row.expect("a row")).collect()
}

#[test]
fn typst_has_the_rules_and_the_best_of_a_column() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let text = stdout(&["table", "lab", "--best", "2", "--format", "typst"], root.path());
    insta::assert_snapshot!(text, @r#"
    #table(
      columns: 9,
      align: (left, right, right, right, right, right, right, left, left,),
      stroke: none,
      table.hline(),
      table.header("configuration", "Shot 1", "Shot 2", "Shot 3", "Shot 4", "average", "vs baseline", "verdict", "same"),
      table.hline(stroke: 0.5pt),
      "kl0.15-frozen", strong("58.8"), strong("56.6"), "53.9", strong("55.2"), strong("56.12"), "baseline", "", "",
      "kl0.12-frozen", "57.0", "56.1", strong("55.1"), strong("55.2"), "55.85", "-0.28 [-4.1, +3.6]", "cannot tell", "A",
      table.hline(),
    )
    // Accuracy in percent on 200 evaluation queries; differences to the baseline (kl0.15-frozen) in points, their 95 % intervals by paired bootstrap.
    // kl0.12-frozen cannot be told apart from the baseline. To tell the largest of these differences (kl0.12-frozen: -0.28), about 130,000 more queries would be needed (level 5 %, Holm's correction over 5 comparisons).
    "#);
}

#[test]
fn nothing_in_a_cell_of_typst_is_markup() {
    let hostile = "#let a = [x] $y$ *b* _c_ `d` <e> @f \\ \"g\" // h\n/* i */ ~ --- é ±";
    let table = Table {
        title: String::new(),
        columns: vec![Column { title: "a \"b\" \\".to_owned(), numeric: false }],
        rows: vec![
            Line { cells: vec![Cell { best: true, ..Cell::text(hostile) }], reference: false },
            Line { cells: vec![Cell::text("random")], reference: true },
        ],
        notes: vec!["a\nb".to_owned()],
    };
    insta::assert_snapshot!(table.to_typst(), @r##"
    #table(
      columns: 1,
      align: (left,),
      stroke: none,
      table.hline(),
      table.header("a \"b\" \\"),
      table.hline(stroke: 0.5pt),
      strong("#let a = [x] $y$ *b* _c_ `d` <e> @f \\ \"g\" // h\n/* i */ ~ --- é ±"),
      table.hline(stroke: 0.5pt),
      "random",
      table.hline(),
    )
    // a b
    "##);
}

#[test]
fn the_long_form_has_every_score_and_its_means_are_the_table() {
    let root = tempfile::tempdir().expect("a directory");
    let results = fixture::grid("grid", 2, 40);
    finish(&results, root.path());
    let rows = records(&stdout(&["table", "grid", "--long"], root.path()));
    assert_eq!(rows.len(), (144 + 3) * 4 * 40);
    let mut scores: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for row in &rows {
        let key = (row["point"].as_str(), row["shot"].as_str());
        scores.entry(key).or_default().push(row["score"].parse().expect("a number"));
    }
    let matrix = std::fs::read_to_string(root.path().join("grid/matrix.csv")).expect("written");
    for row in records(&matrix) {
        for shot in ["1", "2", "3", "4"] {
            let values = &scores[&(row["point"].as_str(), shot)];
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let expected: f64 = row[&format!("shot_{shot}")].parse().expect("a number");
            assert!((mean - expected).abs() < 1e-12, "{row:?}");
        }
        let of_point = rows.iter().find(|other| other["point"] == row["point"]).expect("a row");
        let same = ["kl_beta", "grpo_lr", "grpo_epochs", "freeze", "seed", "identical"];
        assert!(same.iter().all(|column| of_point[*column] == row[*column]), "{row:?}: {of_point:?}");
        assert_eq!(of_point["baseline"] == "true", row["baseline"] == "true");
        assert_eq!(of_point["kind"] == "reference", row["status"] == "reference");
    }
    let first = &rows[0];
    assert_eq!(first["configuration"], "kl0.1-lr5e-6-ep1-frozen");
    let line = &results.points[0].scores[&1][0];
    assert_eq!(first["query"], line.query_id.to_string());
    assert_eq!(first["log_prob"], "-3.5");
    let fourth = &results.points[0].scores[&4][0];
    let chosen: Vec<String> = fourth.selection.iter().map(u32::to_string).collect();
    let row = rows.iter().find(|row| row["shot"] == "4" && row["query"] == first["query"]).expect("a row");
    assert_eq!(row["selection"], chosen.join(" "));
    // References are about the same queries.
    let queries = |point: &str| -> BTreeSet<&str> {
        rows.iter().filter(|row| row["point"] == point).map(|row| row["query"].as_str()).collect()
    };
    assert_eq!(queries("oracle"), queries("kl0.1-lr5e-6-ep1-frozen-s0"));
}

#[test]
fn the_long_form_takes_conditions_baselines_and_several_sweeps() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    finish(&fixture::grid("grid", 1, 40), root.path());
    finish(&lab_table(), &root.path().join("again"));
    let points = |arguments: &[&str]| -> BTreeSet<(String, String)> {
        let rows = records(&stdout(&[&["table", "--long"], arguments].concat(), root.path()));
        let points = rows.iter().filter(|row| row["kind"] == "point");
        points.map(|row| (row["sweep"].clone(), row["point"].clone())).collect()
    };
    assert_eq!(points(&["lab", "--where", "freeze=none"]).len(), 1);
    assert_eq!(points(&["lab", "grid"]).len(), 6 + 72);
    let twice = points(&["lab", "again/lab"]);
    assert!(twice.iter().any(|(sweep, _)| sweep == "again/lab") && twice.len() == 12, "{twice:?}");
    let both = records(&stdout(&["table", "--long", "lab", "grid"], root.path()));
    let points = both.iter().filter(|row| row["kind"] == "point");
    assert!(
        points.clone().all(|row| (row["sweep"] == "lab") == row["grpo_lr"].is_empty()),
        "an axis of one sweep"
    );
    let other = records(&stdout(&["table", "--long", "lab", "--baseline", "kl0.18-frozen"], root.path()));
    assert!(other.iter().all(|row| (row["baseline"] == "true") == (row["point"] == "kl0.18-frozen")));
}

#[test]
fn the_page_names_every_column_of_the_long_form() {
    let page = std::fs::read_to_string(repository("docs/tables.md")).expect("the page");
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let text = stdout(&["table", "lab", "--long"], root.path());
    let header = text.lines().next().expect("a header");
    for column in header.split(',').filter(|column| !["kl_beta", "freeze"].contains(column)) {
        assert!(page.contains(&format!("| `{column}` |")), "docs/tables.md does not name `{column}`");
    }
    for format in ["md", "text", "csv", "latex", "typst", "html", "json"] {
        assert!(page.contains(&format!("| `--format {format}` |")), "{format}");
    }
}
