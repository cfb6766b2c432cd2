//! `[data.build]`: who is asked, and what beside logged sequences.

use super::{spec, values, with, wrong};

const JUDGE: &str =
    "[eval.items]\nfile = \"i.jsonl\"\n[eval.endpoint]\nurl = \"http://here/v1\"\nmodel = \"m\"\n";

#[test]
fn the_judge_that_makes_data_does_not_score_points_where_sequences_are_logged() {
    let both = spec(&format!("[data.build]\nrandom = 3\n[eval]\nlogged = \"e.jsonl\"\n{JUDGE}"));
    let (build, eval) = (both.build.unwrap(), both.eval.unwrap());
    assert!(!eval.is_live() && build.judge.endpoint.is_some());
    assert_eq!((build.params.random, build.params.retrieval), (3, 2));
    let alone = spec(&format!("[data.build]\n{JUDGE}"));
    assert!(alone.eval.unwrap().is_live() && alone.build.is_some());
    // Without [data.build] two ways of scoring are one too many.
    assert!(wrong(&format!("[eval]\nlogged = \"e.jsonl\"\n{JUDGE}")).contains("are both given"));
}

#[test]
fn without_a_judge_or_items_nothing_is_made() {
    for (body, message) in [
        ("[data.build]\nseed = 1\n", "`[data.build]` asks a judge, and none is given"),
        ("[data.build]\n[eval]\nlogged = \"e.jsonl\"\n", "`[data.build]` asks a judge, and none is given"),
        (
            "[data.build]\n[eval.command]\nprogram = [\"p\"]\n",
            "`eval.items.file` is missing: data are made of items",
        ),
        ("[data.build]\nrandm = 1\n", "did you mean `random`?"),
        ("[grid]\nrandom = [1, 2]\n", "unknown key `random` in [grid]"),
    ] {
        let said = wrong(body);
        assert!(said.contains(message), "{body}{said}");
    }
}

#[test]
fn its_keys_take_no_name_from_others() {
    let body = format!("[data.build]\n{JUDGE}");
    let set = with(&body, &["seed=5", "data.build.seed=7", "model.temperature=0.2"], &[]).unwrap();
    assert_eq!(values(&set.points[0]).train.seed, 5);
    assert_eq!(set.build.unwrap().params.seed, 7);
}
