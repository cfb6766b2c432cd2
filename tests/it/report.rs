//! `sweep report`, its figures and event files, as a user runs them.

use sweep::report::{MatrixOptions, matrix, observations};
use sweep::store::SweepResults;

use crate::fixture;
use crate::sweeps::{Place, events, said, signal, wait_for};
use crate::table::{finish, lab, stdout};

#[test]
fn the_report_is_one_file_and_the_same_every_time() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&fixture::grid("grid", 1, 40), root.path());
    stdout(&["report", "grid", "-o", "a.html", "--svg", "figures", "--tensorboard", "tb"], root.path());
    stdout(&["report", "grid", "-o", "b.html"], root.path());
    let page = std::fs::read_to_string(root.path().join("a.html")).expect("written");
    assert_eq!(page, std::fs::read_to_string(root.path().join("b.html")).expect("written"));
    for part in ["id=\"matrix\"", "id=\"heat\"", "id=\"learning\"", "id=\"overlap\"", "id=\"provenance\""] {
        assert!(page.contains(part), "no {part}");
    }
    for outside in ["http://", "https://", "src=", "@import"] {
        assert!(!page.contains(outside), "the page refers to {outside}");
    }
    let bodies = page.matches("<tbody").count() - 1;
    let groups = page.matches("<tbody class=\"group\">").count();
    // Every point has its row, and every group of points that choose alike one more.
    assert_eq!(page.matches("<tr").count(), 1 + 72 + groups + 3);
    assert_eq!(page.matches("class=\"member").count(), 72 - (bodies - groups));
    assert!(root.path().join("figures/heat-kl_beta-grpo_lr-none.svg").is_file());
    let events = "tb/kl0.15-lr5e-6-ep1-frozen/events.out.tfevents.0000000000.sweep";
    assert!(root.path().join(events).is_file());
}

#[test]
fn five_hundred_points_make_a_report_quickly() {
    let root = tempfile::tempdir().expect("a directory");
    fixture::write(&fixture::grid("grid", 7, 115), root.path());
    let start = std::time::Instant::now();
    stdout(&["report", "grid", "-o", "a.html"], root.path());
    let elapsed = start.elapsed();
    assert!(elapsed.as_secs_f64() < 8.0, "{elapsed:?}");
}

#[test]
fn the_cost_counts_the_judges_answers() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    stdout(&["report", "lab"], root.path());
    let page = std::fs::read_to_string(root.path().join("lab/report.html")).expect("written");
    // 6 points, 200 queries, 4 shot counts; two different selections of each query and shot count.
    for part in ["<dd>4,800 (points", "<dd>1,600 different (query, demonstrations) (67 % saved)"] {
        assert!(page.contains(part), "no {part}");
    }
}

#[test]
fn figures_for_papers_have_legends_and_colours_of_their_own() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&fixture::grid("grid", 1, 40), root.path());
    stdout(&["report", "grid", "--svg", "figures"], root.path());
    let read = |name: &str| std::fs::read_to_string(root.path().join("figures").join(name)).expect("written");
    let chart = read("val-loss.svg");
    assert!(chart.contains(">kl0.15-lr5e-6-ep1-frozen (baseline)</text>"), "{chart}");
    // The baseline and the three best: a line and an entry of the legend each.
    assert_eq!(chart.matches("<polyline").count(), 2 * 4);
    for name in ["val-loss.svg", "shots.svg", "heat-kl_beta-grpo_lr-none.svg", "overlap.svg", "signal.svg"] {
        let figure = read(name);
        for unknown in ["var(", "color-mix", "@media", "\"series s0 off\""] {
            assert!(!figure.contains(unknown), "{name} needs {unknown}");
        }
        assert!(figure.contains("fill=\"#ffffff\""), "{name} has no background");
    }
    assert!(read("shots.svg").contains(">oracle</text>"));
}

#[test]
fn heat_maps_are_there_for_every_pair_of_axes() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&fixture::grid("grid", 1, 40), root.path());
    lab(root.path());
    let page = |name: &str| {
        stdout(&["report", name], root.path());
        std::fs::read_to_string(root.path().join(name).join("report.html")).expect("written")
    };
    let grid = page("grid");
    // Three axes and two freeze settings.
    assert_eq!(grid.matches(" data-across=").count(), 3 * 2);
    assert!(
        grid.contains("<select id=\"axis-one\"><option selected>kl_beta</option><option>grpo_lr</option>")
    );
    // With one other axis there is nothing to choose, and the freeze setting is the second.
    let lab = page("lab");
    assert_eq!(lab.matches("data-down=\"kl_beta\" data-across=\"freeze\"").count(), 1);
    assert!(!lab.contains("<select"));
}

#[test]
fn without_evaluation_no_column_is_empty_and_nothing_is_said_twice() {
    let root = tempfile::tempdir().expect("a directory");
    let mut results = rates([80.0, 90.0, 91.0]);
    results.eval = None;
    for point in &mut results.points {
        point.scores.clear();
    }
    fixture::write(&results, root.path());
    stdout(&["report", "rates"], root.path());
    let page = std::fs::read_to_string(root.path().join("rates/report.html")).expect("written");
    let head = |title: &str| page.contains(&format!("<button type=\"button\">{title}</button>"));
    assert!(head("val_loss") && head("moved %") && head("grpo_lr"));
    for empty in ["average", "95 % interval", "vs baseline", "verdict", "same"] {
        assert!(!head(empty), "{empty} is empty");
    }
    assert_eq!(page.matches("has the lowest validation loss").count(), 1);
    assert!(!page.contains("Judge"));
}

/// Three learning rates with the given numbers of right answers out of 200.
fn rates(right: [f64; 3]) -> SweepResults {
    let mut results = fixture::sweep("rates");
    results.axes = vec!["train.grpo_lr".to_owned()];
    for (rate, right) in [5e-6, 1e-5, 2e-5].into_iter().zip(right) {
        let axes = [("train.grpo_lr", serde_json::json!(rate))];
        let mut point = fixture::point(&format!("lr{rate:e}"), &axes);
        fixture::score_sums(&mut point, 200, &[1, 2, 3, 4].map(|shot| (shot, right)), right as u32);
        results.points.push(point);
    }
    results
}

#[test]
fn the_edge_of_the_grid_is_worth_a_try_only_as_far_as_the_difference_is_real() {
    let said = |right| {
        let results = rates(right);
        let found = observations(&results, &matrix(&results, &MatrixOptions::default()));
        found.into_iter().find(|one| one.text.contains("on the grid")).map(|one| (one.text, one.evidence))
    };
    let (text, _) = said([80.0, 90.0, 130.0]).expect("an observation");
    assert_eq!(text, "The best grpo_lr is the largest on the grid: try larger values.");
    let (text, evidence) = said([80.0, 90.0, 91.0]).expect("an observation");
    assert!(text.contains("within noise of the next"), "{text}");
    assert!(evidence.contains("+0.50 points ahead of 1e-5 ["), "{evidence}");
    assert_eq!(said([80.0, 91.0, 91.0]), None, "another value does as well");
    assert_eq!(said([80.0, 91.0, 90.0]), None, "the best is inside");
}

#[test]
fn a_run_leaves_event_files_and_replaces_them_by_the_same() {
    let place = Place::new();
    let point = "tensorboard/kl0.1-ep1-s0/events.out.tfevents.0000000000.sweep";
    let written = |place: &Place| std::fs::read(place.results("small").join(point)).expect("an event file");
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    assert!(!place.results("small").join("tensorboard").exists(), "nobody asked");
    let (code, text) = said(&place.run(&["--tensorboard"], ""));
    assert!(
        code == Some(0) && text.contains("8 event files; `tensorboard --logdir results/small/tensorboard`"),
        "{text}"
    );
    let first = written(&place);
    assert_eq!(said(&place.run(&["--tensorboard"], "")).0, Some(0));
    assert_eq!(written(&place), first);
    stdout(&["report", "results/small", "--tensorboard", "results/other"], place.dir.path());
    let other = place.out().join("other").join(point.trim_start_matches("tensorboard/"));
    assert_eq!(std::fs::read(other).expect("an event file"), first);
}

#[test]
fn an_interrupted_run_leaves_the_event_files_of_what_is_done() {
    let place = Place::with(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 5000]")]);
    let child = place.start(&["--tensorboard", "--cohort", "8"], "");
    wait_for(|| events(&place.results("small"), "point_done") > 0);
    signal(&child, "INT");
    let (code, text) = said(&child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(130), "{text}");
    let dir = place.results("small").join("tensorboard");
    let done = events(&place.results("small"), "point_done");
    assert_eq!(std::fs::read_dir(dir).expect("event files").count(), done, "{text}");
}
