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
    let written = without_script(&page);
    let bodies = written.matches("<tbody").count() - 1;
    let groups = written.matches("<tbody class=\"group\"").count();
    // Every point has its row, and every group of points that choose alike one more.
    assert_eq!(written.matches("<tr").count(), 1 + 72 + groups + 3);
    assert_eq!(written.matches("class=\"member").count(), 72 - (bodies - groups));
    assert!(root.path().join("figures/heat-kl_beta-grpo_lr-none.svg").is_file());
    let events = "tb/kl0.15-lr5e-6-ep1-frozen/events.out.tfevents.0000000000.sweep";
    assert!(root.path().join(events).is_file());
}

/// What stands on the page before its scripts do anything.
fn without_script(page: &str) -> &str {
    &page[..page.find("<script").expect("a script")]
}

/// What the page's script knows.
pub fn known(page: &str) -> serde_json::Value {
    let start = page.find("<script type=\"application/json\" id=\"data\">").expect("data");
    let text = &page[start..start + page[start..].find("</script>").expect("its end")];
    serde_json::from_str(&text[text.find('>').expect("the tag's end") + 1..]).expect("JSON")
}

/// What the rows of a figure of dots say, each with its colour.
fn dots(page: &str, id: &str) -> Vec<String> {
    let start = page.find(&format!("<figure id=\"fig-{id}\">")).expect(id);
    let figure = &page[start..start + page[start..].find("</figure>").expect("its end")];
    let rows = figure.split("<g class=\"dot").skip(1);
    rows.map(|row| {
        let (look, rest) = row.split_once('"').expect("its classes");
        let (_, rest) = rest.split_once("><title>").expect("a title");
        format!("{}{}", rest.split('<').next().expect("a text"), look)
    })
    .collect()
}

#[test]
fn the_page_begins_with_every_result_against_the_baseline() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    stdout(&["report", "lab"], root.path());
    let page = std::fs::read_to_string(root.path().join("lab/report.html")).expect("written");
    let parts =
        ["id=\"picture\"", "id=\"best\"", "id=\"axis\"", "id=\"health\"", "id=\"findings\"", "id=\"matrix\""];
    let places = parts.map(|part| page.find(part).expect(part));
    assert!(places.is_sorted(), "{places:?}");
    insta::assert_snapshot!(dots(&page, "forest").join("\n"), @r"
    kl0.15-frozen: baseline; 200 queries
    kl 0.12-0.18, frozen/unfrozen (5 of 6): -0.28 [-4.1, +3.6]; 200 queries
    ");
    // Of a large grid the best, the worst and the baseline; references among them, and what is real in colour.
    finish(&fixture::grid("grid", 2, 40), root.path());
    stdout(&["report", "grid", "--svg", "figures"], root.path());
    let page = std::fs::read_to_string(root.path().join("grid/report.html")).expect("written");
    insta::assert_snapshot!(dots(&page, "forest").join("\n"), @r"
    oracle: +12.25 [+7.3, +17.3]; 40 queries better
    kl 0.1/0.12/0.18, lr 2e-5, ep 2-3, frozen (3 of 6): +2.81 [-42.5, +50.5]; 2 seeds; 40 queries
    kl0.12-lr2e-5-ep3-frozen: +2.81 [-7.3, +11.2]; 2 seeds; 40 queries
    kl0.12-lr2e-5-ep3-unfrozen: +2.50 [-27.6, +36.3]; 2 seeds; 40 queries
    kl 0.1-0.18, lr 5e-6 to 2e-5, ep 1-3, unfrozen (8 of 36): +2.19 [-2.0, +6.7]; 2 seeds; 40 queries
    kl 0.1-0.18, lr 5e-6 to 2e-5, ep 1-3, frozen (8 of 36): +1.88 [-1.5, +5.5]; 2 seeds; 40 queries
    kl 0.1/0.12/0.18, lr 2e-5, ep 2-3, unfrozen (3 of 6): +1.87 [-4.0, +7.9]; 2 seeds; 40 queries
    kl0.1-lr2e-5-ep3-frozen: +1.87 [-6.2, +10.0]; 2 seeds; 40 queries
    kl 0.12/0.18, lr 5e-6 to 2e-5, ep 1-3, unfrozen (3 of 18): +1.87 [-4.8, +10.7]; 2 seeds; 40 queries
    kl 0.12-0.18, lr 1e-5 to 2e-5, ep 2-3, unfrozen (3 of 12): +1.87 [-2.1, +6.0]; 2 seeds; 40 queries
    kl 0.1/0.15, lr 1e-5 to 2e-5, ep 2-3, frozen (2 of 8): +0.31 [-12.3, +12.0]; 2 seeds; 40 queries
    kl 0.1-0.18, lr 5e-6 to 1e-5, ep 1-2, frozen/unfrozen (12 of 32): baseline; 2 seeds; 40 queries
    kl 0.12-0.18, lr 1e-5 to 2e-5, ep 2-3, frozen (3 of 12): -0.63 [-25.9, +21.5]; 2 seeds; 40 queries
    nearest: -4.75 [-9.7, +0.3]; 40 queries
    random: -16.75 [-21.8, -11.7]; 40 queries worse
    ");
    insta::assert_snapshot!(dots(&page, "axes").join("\n"), @r"
    5e-6: -0.53 [-1.6, +0.5]; 48 points; 40 queries
    1e-5: -0.01 [-0.4, +0.4]; 48 points; 40 queries
    2e-5: +0.54 [-0.6, +1.7]; 48 points; 40 queries
    1: -0.35 [-1.1, +0.4]; 48 points; 40 queries
    2: +0.16 [-0.1, +0.4]; 48 points; 40 queries
    3: +0.19 [-0.5, +0.9]; 48 points; 40 queries
    0.1: +0.20 [-0.2, +0.6]; 36 points; 40 queries
    0.12: +0.23 [0.0, +0.4]; 36 points; 40 queries
    0.15: -0.20 [-0.4, +0.1]; 36 points; 40 queries
    0.18: -0.23 [-0.7, +0.2]; 36 points; 40 queries
    backbone: -0.15 [-0.4, +0.1]; 72 points; 40 queries
    none: +0.15 [-0.1, +0.4]; 72 points; 40 queries
    0: -0.19 [-1.3, +1.0]; 72 points; 40 queries
    1: +0.19 [-1.0, +1.3]; 72 points; 40 queries
    ");
    for name in ["forest.svg", "axes.svg"] {
        let figure = std::fs::read_to_string(root.path().join("figures").join(name)).expect("written");
        assert!(!figure.contains("var(") && figure.contains("fill=\"#ffffff\""), "{name}");
    }
    // The curves at the top are those of the baseline and the best, and nothing switches them off.
    let health =
        &page[page.find("id=\"health\"").expect("health")..page.find("id=\"findings\"").expect("findings")];
    assert!(health.contains("(baseline)") && !health.contains(" off"), "{health}");
}

#[test]
fn an_axis_that_matters_is_in_colour_and_comes_first() {
    let axes = |right| {
        let root = tempfile::tempdir().expect("a directory");
        finish(&rates(right), root.path());
        stdout(&["report", "rates"], root.path());
        let page = std::fs::read_to_string(root.path().join("rates/report.html")).expect("written");
        dots(&page, "axes")
    };
    let real = axes([80.0, 90.0, 130.0]);
    assert!(real[0].ends_with(" worse") && real[2].ends_with(" better"), "{real:?}");
    assert!(!real[1].contains("worse") && !real[1].contains("better"), "{real:?}");
    let noise = axes([80.0, 81.0, 81.0]);
    assert!(noise.iter().all(|row| !row.contains("worse") && !row.contains("better")), "{noise:?}");
}

#[test]
fn rows_that_choose_alike_are_one_row_of_the_page_that_opens() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    stdout(&["report", "lab"], root.path());
    let page = std::fs::read_to_string(root.path().join("lab/report.html")).expect("written");
    let group = page.find("<tbody class=\"group\"").expect("a group");
    let body = &page[group..group + page[group..].find("</tbody>").expect("its end")];
    let name = "<label><input type=\"checkbox\" class=\"open\"> kl 0.12-0.18, frozen/unfrozen: 5 of 6 configurations</label>";
    assert!(body.contains(name), "{body}");
    assert_eq!(body.matches("<tr class=\"member\"").count(), 5);
    // Its figures are theirs; what differs among them is a range.
    let first = body.lines().nth(1).expect("its own row");
    assert!(first.contains(">55.85</td>") && first.contains(">-0.28</td>"), "{first}");
    assert!(first.contains("263,680 to 525,824") && first.contains(">backbone/none</td>"), "{first}");
    assert!(!page.contains("choose exactly the same demonstrations ("), "the notes list what the rows show");
}

#[test]
fn of_a_large_sweep_the_page_has_the_best_rows_and_knows_all() {
    let root = tempfile::tempdir().expect("a directory");
    fixture::write(&fixture::grid("grid", 14, 40), root.path());
    stdout(&["report", "grid", "-o", "a.html"], root.path());
    let page = std::fs::read_to_string(root.path().join("a.html")).expect("written");
    let written = without_script(&page);
    let table = &written[written.find("<table id=\"points\"").expect("the table of points")..];
    let table = &table[..table.find("</table>").expect("its end")];
    let rows = table.matches("<tbody").count() - 1;
    assert!((150..=151).contains(&rows) && table.contains("baseline"), "{rows} rows");
    assert!(written.contains("<noscript><p class=\"soft\">15"), "nothing says that there are more");
    let known = known(&page);
    assert_eq!(known["tables"]["points"]["rows"].as_array().map(Vec::len), Some(1008));
    assert_eq!(known["names"].as_array().map(Vec::len), Some(1008));
    // Only a few curves are drawn; the values of all are known.
    assert!(written.matches("class=\"series").count() < 100, "the page draws every curve");
    assert_eq!(known["charts"]["kl"]["values"].as_array().map(Vec::len), Some(1008));
}

#[test]
fn the_page_from_the_stored_matrix_is_the_page_from_the_results() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&fixture::grid("grid", 2, 40), root.path());
    stdout(&["report", "grid", "-o", "stored.html"], root.path());
    std::fs::remove_file(root.path().join("grid/matrix.csv")).expect("removed");
    stdout(&["report", "grid", "-o", "anew.html"], root.path());
    let read = |name: &str| std::fs::read(root.path().join(name)).expect("written");
    assert!(read("stored.html") == read("anew.html"), "the two pages differ");
}

/// What a cell opens is what `sweep why` prints: the page's answers, unpacked, are its answers.
#[test]
fn the_answers_in_the_page_are_those_of_why() {
    let root = tempfile::tempdir().expect("a directory");
    finish(&fixture::grid("grid", 2, 40), root.path());
    stdout(&["report", "grid"], root.path());
    let page = std::fs::read_to_string(root.path().join("grid/report.html")).expect("written");
    let known = known(&page);
    let answers = &known["answers"];
    for (place, shot) in [(0_usize, 0_usize), (17, 3), (143, 1)] {
        let name = known["names"][place].as_str().expect("a name");
        let count = (shot + 1).to_string();
        let text = stdout(&["why", "grid", "--point", name, "--shot", &count, "--json"], root.path());
        let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let result = answers["of"][place].as_u64().expect("a result") as usize;
        let letters: Vec<char> = answers["results"][result].as_str().expect("a text").chars().collect();
        let start = answers["starts"][shot].as_u64().expect("a place") as usize;
        for (query, answer) in found["answers"].as_array().expect("answers").iter().enumerate() {
            let code = letters[start + query] as usize - '0' as usize;
            let choice = &answers["choices"][shot][query][code];
            assert_eq!(answers["queries"][shot][query], answer["query_id"]);
            assert_eq!((&choice[0], &choice[1]), (&answer["selection"], &answer["score"]), "{name}");
        }
        let base = known["against"][place].as_i64().expect("a place");
        let against = found["comparison"]["baseline"].as_str();
        assert_eq!(usize::try_from(base).ok().and_then(|base| known["names"][base].as_str()), against);
    }
}

#[test]
fn a_followed_page_ends_with_the_run_and_stands_still() {
    let place = Place::with(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 40]")]);
    let run = place.start(&["--cohort", "8"], "");
    wait_for(|| place.results("small").join("resolved.json").is_file());
    let mut follow = std::process::Command::new(env!("CARGO_BIN_EXE_sweep"));
    follow.current_dir(place.dir.path()).args(["report", "results/small", "--follow"]);
    let output = follow.output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said(&run.wait_with_output().expect("it ends")).0, Some(0));
    let page = std::fs::read_to_string(place.results("small").join("report.html")).expect("written");
    assert!(page.contains("8 of 8 points finished"), "the page was written before the end");
    assert!(known(&page)["follow"].is_null() && !page.contains("http-equiv"), "it goes on loading itself");
}

#[test]
fn a_followed_page_can_be_left() {
    let place = Place::with(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 5000]")]);
    let run = place.start(&["--cohort", "8"], "");
    wait_for(|| place.results("small").join("resolved.json").is_file());
    let page = place.results("small").join("report.html");
    let mut follow = std::process::Command::new(env!("CARGO_BIN_EXE_sweep"));
    follow.current_dir(place.dir.path()).args(["report", "results/small", "--follow"]);
    let follow = crate::sweeps::Running::spawn(&mut follow).expect("started");
    wait_for(|| page.is_file());
    let text = std::fs::read_to_string(&page).expect("whole");
    assert!(
        known(&text)["follow"].as_u64().is_some() && text.ends_with("</html>\n"),
        "it does not load itself again"
    );
    signal(&follow, "INT");
    assert_eq!(follow.wait_with_output().expect("it ends").status.code(), Some(130));
    let text = std::fs::read_to_string(&page).expect("whole");
    assert!(known(&text)["follow"].is_null(), "the page that is left loads itself for ever");
    signal(&run, "INT");
    assert_eq!(said(&run.wait_with_output().expect("it ends")).0, Some(130));
}

#[test]
fn a_followed_page_needs_a_file() {
    let root = tempfile::tempdir().expect("a directory");
    lab(root.path());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sweep"));
    let output = command.current_dir(root.path()).args(["report", "lab", "--follow", "-o", "-"]).output();
    let output = output.expect("ran");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: name a file with `-o`"));
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
