//! The results matrix: what its numbers say, and that they are the same wherever they are computed.

use serde_json::json;
use sweep::finite::Finite;
use sweep::report::{
    Detail, LayoutOptions, Matrix, MatrixOptions, RowStatus, Screen, Verdict, layout, matrix,
};
use sweep::store::{PointStatus, SweepResults};

use crate::fixture;

/// The lab's own table: one configuration at 58.8 56.6 53.9 55.2, the others alike at 57.0 56.1 55.1 55.2,
/// on 200 questions.
pub fn lab_table() -> SweepResults {
    let mut results = fixture::sweep("lab");
    results.axes = vec!["train.kl_beta".to_owned(), "train.freeze".to_owned()];
    let sums = |shots: [f64; 4]| [1, 2, 3, 4].map(|shot: usize| (shot, 2.0 * shots[shot - 1]));
    let mut add = |name: &str, beta: f64, frozen: bool, shots: [f64; 4], choice: u32| {
        let freeze = if frozen { fixture::backbone() } else { json!([]) };
        let axes = [("train.kl_beta", json!(beta)), ("train.freeze", freeze)];
        let mut point = fixture::point(name, &axes);
        // Which questions are right must not be nested between the two groups: questions rotate by choice.
        fixture::score_sums(&mut point, 200, &sums(shots), choice);
        for lines in point.scores.values_mut() {
            let shift = if choice == 1 { 9 } else { 0 };
            let scores: Vec<Finite> = lines.iter().map(|line| line.score).collect();
            for (place, line) in lines.iter_mut().enumerate() {
                line.score = scores[(place + shift) % 200];
            }
        }
        results.points.push(point);
    };
    for beta in [0.12, 0.145, 0.15, 0.155, 0.18] {
        if beta == 0.15 {
            add("kl0.15-frozen", beta, true, [58.8, 56.6, 53.9, 55.2], 2);
        } else {
            add(&format!("kl{beta}-frozen"), beta, true, [57.0, 56.1, 55.1, 55.2], 1);
        }
    }
    add("kl0.15-unfrozen", 0.15, false, [57.0, 56.1, 55.1, 55.2], 1);
    results.baseline = vec![2];
    results
}

fn computed(results: &SweepResults) -> Matrix {
    matrix(results, &MatrixOptions::default())
}

#[test]
fn the_labs_table_says_that_the_difference_is_noise() {
    let found = computed(&lab_table());
    let baseline = &found.points[2];
    assert!(baseline.is_baseline && baseline.identical.is_none() && baseline.delta == Some(0.0));
    assert!((baseline.average.expect("scored") - 0.56125).abs() < 1e-9);
    for row in found.points.iter().filter(|row| !row.is_baseline) {
        assert_eq!(row.identical.as_deref(), Some("A"));
        assert!((row.average.expect("scored") - 0.5585).abs() < 1e-9);
        assert!((row.delta.expect("compared") + 0.00275).abs() < 1e-9);
        assert_eq!(row.verdict(), Verdict::Unclear);
        let interval = row.delta_interval.expect("compared");
        assert!(interval.low < 0.0 && interval.high > 0.0);
        assert!(row.more_queries.expect("an estimate") > 1_000);
    }
    let text = found.to_markdown();
    assert!(text.contains("A: 5 rows choose exactly the same demonstrations"), "{text}");
    assert!(text.contains("None of 5 rows can be told apart from the baseline"), "{text}");
    assert!(text.contains("more queries would be needed"), "{text}");
    assert!(text.contains("| **58.8** | **56.6** | 53.9 |"), "{text}");
}

#[test]
fn matrix_csv_has_the_columns_that_programs_rely_on() {
    let mut results = lab_table();
    results.points[0].status = PointStatus::Failed;
    results.points[0].scores.clear();
    results.points[0].error = Some("step 12: the loss is not finite".to_owned());
    results.references.push(fixture::reference("random", 200, &[1, 2, 3, 4], 0.25));
    let csv = computed(&results).to_csv();
    let mut reader = csv::Reader::from_reader(csv.as_slice());
    let header: Vec<String> = reader.headers().expect("a header").iter().map(str::to_owned).collect();
    let expected = [
        "point",
        "kl_beta",
        "freeze",
        "status",
        "shot_1",
        "shot_2",
        "shot_3",
        "shot_4",
        "average",
        "delta",
        "trainable",
        "total",
        "val_loss",
        "kl",
    ];
    assert_eq!(header[..expected.len()], expected);
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 7);
    assert_eq!(&rows[0][3], "failed");
    assert!(
        (4..10).all(|cell| rows[0][cell].is_empty()),
        "a failed point has no scores, and none that look like 0"
    );
    assert_eq!((&rows[2][1], &rows[2][2], &rows[2][9]), ("0.15", "backbone", "0"));
    assert_eq!((&rows[5][2], &rows[6][3], &rows[6][8]), ("none", "reference", "0.25"));
}

#[test]
fn samples_give_one_set_of_columns_each_and_the_average_is_on_the_most() {
    let mut results = lab_table();
    let eval = results.eval.as_mut().expect("evaluated");
    eval.samples = vec![Some(100), None];
    eval.shots = vec![1, 2];
    let found = computed(&results);
    assert_eq!(found.score_columns, ["shot_1@100", "shot_2@100", "shot_1@all", "shot_2@all"]);
    let baseline = &found.points[2];
    assert_eq!(baseline.scores[0], Some(1.0), "the first 100 questions of the fixture are right");
    assert!((baseline.average.expect("scored") - (0.588 + 0.566) / 2.0).abs() < 1e-9);
    results.eval.as_mut().expect("evaluated").samples = vec![Some(100)];
    assert_eq!(computed(&results).score_columns, ["shot_1", "shot_2"]);
}

#[test]
fn without_eval_there_are_no_shots_and_val_loss_is_compared() {
    let mut results = lab_table();
    results.eval = None;
    results.baseline.clear();
    for point in &mut results.points {
        point.scores.clear();
    }
    let found = computed(&results);
    assert!(found.score_columns.is_empty());
    assert!(found.points.iter().all(|row| row.average.is_none() && row.delta.is_none()));
    let text = found.to_markdown();
    assert!(text.contains("val_loss") && !text.contains("vs baseline"), "{text}");
    let header = String::from_utf8(found.to_csv()).expect("utf-8");
    assert!(header.starts_with("point,kl_beta,freeze,status,average,delta,"), "{header}");
}

#[test]
fn seeds_are_averaged_and_their_spread_counts() {
    let found = computed(&fixture::grid("grid", 3, 60));
    assert_eq!((found.points.len(), found.configurations.len()), (216, 72));
    let row = found.configurations.iter().find(|row| row.is_baseline).expect("a baseline");
    assert_eq!((row.name.as_str(), row.seeds, row.delta), ("kl0.15-lr5e-6-ep1-frozen", 3, Some(0.0)));
    let point = |seed: usize| {
        let name = format!("kl0.18-lr2e-5-ep3-unfrozen-s{seed}");
        found.points.iter().find(|row| row.name == name).expect("in the grid")
    };
    let row =
        found.configurations.iter().find(|row| row.name == "kl0.18-lr2e-5-ep3-unfrozen").expect("there");
    let mean = (0..3).map(|seed| point(seed).average.expect("scored")).sum::<f64>() / 3.0;
    assert!((row.average.expect("scored") - mean).abs() < 1e-12);
    assert_eq!(row.axes[4], "");
    let width = |row: &sweep::report::Row| {
        let interval = row.delta_interval.expect("compared");
        interval.high - interval.low
    };
    assert!(
        width(row) > 0.3 * width(point(0)),
        "three seeds on the same questions are not three times the questions"
    );
}

#[test]
fn a_matrix_read_back_from_its_files_makes_the_same_tables() {
    for results in [lab_table(), fixture::grid("grid", 2, 40)] {
        let written = computed(&results);
        let configurations = written.configurations_csv();
        let read = Matrix::from_csv(&results.name, &written.to_csv(), configurations.as_deref())
            .expect("our own files");
        assert_eq!(read.to_csv(), written.to_csv());
        assert_eq!(read.to_markdown(), written.to_markdown());
        assert_eq!(read, written);
    }
}

#[test]
fn a_results_directory_reads_back_as_it_was_written() {
    let root = tempfile::tempdir().expect("a directory");
    let mut results = lab_table();
    results.points[4].status = PointStatus::Pending;
    results.points[4].scores.clear();
    results.references.push(fixture::reference("random", 200, &[1, 2, 3, 4], 0.25));
    let dir = fixture::write(&results, root.path());
    let read = SweepResults::read(&dir).expect("readable");
    assert_eq!(computed(&read).points[4].status, RowStatus::Pending);
    assert_eq!(read.points[0].scores, results.points[0].scores);
    assert_eq!(read.points[0].metrics, results.points[0].metrics);
    results.points[4].metrics.clear();
    results.points[4].movement.clear();
    assert_eq!(computed(&read).to_csv(), computed(&results).to_csv());
}

#[test]
fn damaged_results_are_named() {
    let root = tempfile::tempdir().expect("a directory");
    let missing = SweepResults::read(root.path()).expect_err("nothing there").to_string();
    assert!(missing.contains("resolved.json") && missing.contains("hint:"), "{missing}");
    let dir = fixture::write(&lab_table(), root.path());
    let selections = dir.join("points/kl0.15-frozen/selections.jsonl");
    sweep::disk::write(&selections, b"{\"query_id\": 1}\n").expect("written");
    let damaged = SweepResults::read(&dir).expect_err("damaged").to_string();
    assert!(damaged.contains("selections.jsonl") && damaged.contains("line 1"), "{damaged}");
    let resolved = dir.join("resolved.json");
    sweep::disk::write(&resolved, b"{\"format\": 99}").expect("written");
    let newer = SweepResults::read(&dir).expect_err("newer").to_string();
    assert!(newer.contains("format 99"), "{newer}");
}

#[test]
fn points_that_hardly_moved_say_why() {
    let mut results = lab_table();
    results.points[0].movement = fixture::movement(true, 0.0001);
    let last = results.points[0].metrics.last_mut().expect("an epoch");
    last.set("ppo_loss", Finite::new(-0.001));
    let text = computed(&results).to_markdown();
    assert!(
        text.contains(
            "kl0.12-frozen hardly changed its parameters (moved 0.010 %: grpo_lr = 5e-6: 300 steps"
        ),
        "{text}"
    );
    assert!(text.contains("times the policy term"), "{text}");
    for cause in ["advantages hardly differ", "gradients were clipped"] {
        assert!(!text.contains(cause), "{text}");
    }
    let last = results.points[0].metrics.last_mut().expect("an epoch");
    last.set("ppo_loss", Finite::new(-1.0));
    last.set("advantage_std", Finite::new(0.04));
    last.set("clipped_share", Finite::new(0.95));
    let text = computed(&results).to_markdown();
    assert!(text.contains("advantages hardly differ (standard deviation 0.040)"), "{text}");
    assert!(text.contains("95 % of the gradients were clipped"), "{text}");
    assert!(!text.contains("times the policy term"), "{text}");
    // Large enough steps, and nothing else to blame.
    results.points[0].config.set("train.grpo_lr", serde_json::json!(1e-3));
    let last = results.points[0].metrics.last_mut().expect("an epoch");
    last.set("advantage_std", Finite::new(0.9));
    last.set("clipped_share", Finite::new(0.5));
    let text = computed(&results).to_markdown();
    assert!(text.contains("no cause visible in its metrics"), "{text}");
}

#[test]
fn the_terminal_table_fits() {
    let found = computed(&fixture::grid("grid", 2, 40));
    for width in [80, 100] {
        for height in [None, Some(24)] {
            let text = found.to_terminal(Screen { width, height }, "More.", false);
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{text}");
            assert!(height.is_none_or(|height| text.lines().count() < usize::from(height)), "{text}");
            assert!(text.contains("base") && text.contains("oracle"), "{text}");
        }
    }
    // Notes explain what is there, and only that.
    for detail in Detail::ALL {
        let table = layout(&found, &LayoutOptions { detail, ..LayoutOptions::default() });
        let cells = table.rows.iter().flat_map(|line| &line.cells).map(|cell| cell.text.as_str());
        let (cells, notes) = (cells.collect::<Vec<_>>().concat(), table.notes.concat());
        assert_eq!(cells.contains('±'), notes.contains('±'), "{detail:?}: {notes}");
        assert_eq!(cells.contains('['), notes.contains("paired bootstrap"), "{detail:?}: {notes}");
    }
    let wide = layout(&found, &LayoutOptions { axis_columns: true, ..LayoutOptions::default() });
    assert_eq!(wide.columns[0].title, "kl_beta");
}

#[test]
fn seventy_two_points_take_well_under_a_second() {
    let results = fixture::grid("grid", 1, 115);
    let start = std::time::Instant::now();
    let found = computed(&results);
    let elapsed = start.elapsed();
    assert_eq!(found.points.len(), 72);
    assert!(elapsed.as_secs_f64() < 2.0, "{elapsed:?}");
}
