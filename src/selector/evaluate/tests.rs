//! Logged evaluation against the measured table of the bundled data, and the mistakes people make.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::logged::parse;
use super::*;
use crate::selector::DataParams;
use crate::selector::data::{Embeddings, sequence_log_prob};
use crate::spec::{EvalParams, ScoreField};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn factqa(score: ScoreField) -> EvalParams {
    EvalParams {
        logged: repository("sweeps/data/factqa/eval_logged.jsonl"),
        shots: vec![1, 2, 3, 4],
        samples: vec![None],
        score,
        ..EvalParams::default()
    }
}

fn embeddings() -> Embeddings {
    let params = DataParams {
        trajectories: repository("sweeps/data/factqa/rl_data.json"),
        embeddings: repository("sweeps/data/factqa/embeddings.safetensors"),
        train_fraction: 0.8,
        keep_fallback: false,
        require_positive: false,
    };
    crate::selector::data::load(&params).expect("sound").embeddings
}

fn asked(shots: &[usize], samples: &[Option<usize>]) -> EvalParams {
    EvalParams { shots: shots.to_vec(), samples: samples.to_vec(), ..factqa(ScoreField::Correct) }
}

fn read(text: &str, params: &EvalParams) -> Result<Logged, EvaluateError> {
    parse(Path::new("eval.jsonl"), text.as_bytes(), params, 10)
}

fn line(query: u64, shot: usize, trajectories: &str) -> String {
    format!(
        "{{\"query_id\": {query}, \"candidate_pool_ids\": [4, 2, 9], \"shot\": {shot}, \"trajectories\": [{trajectories}]}}\n"
    )
}

#[test]
fn references_reproduce_the_measured_table() {
    let embeddings = embeddings();
    let logged = Logged::load(&factqa(ScoreField::Correct), &embeddings).expect("sound");
    assert_eq!(logged.queries().len(), 115);
    assert_eq!(logged.hash().len(), 64);
    let expected = [
        ("random", [0.182, 0.264, 0.307, 0.314]),
        ("nearest", [0.270, 0.435, 0.452, 0.400]),
        ("oracle", [0.443, 0.609, 0.617, 0.557]),
    ];
    let references = super::references(&logged, &embeddings);
    assert_eq!(references.len(), 3);
    for (ours, (name, means)) in references.iter().zip(expected) {
        assert_eq!(ours.name, name);
        for (shot, mean) in (1..).zip(means) {
            let scores = &ours.scores[&shot];
            assert_eq!(scores.len(), 115);
            let found = scores.iter().map(|score| score.get()).sum::<f64>() / 115.0;
            assert!((found - mean).abs() < 0.0005 + 1e-9, "{name} at {shot} shots: {found}, measured {mean}");
        }
    }
}

#[test]
fn most_probable_sequence_is_chosen() {
    let embeddings = embeddings();
    let logged = Logged::load(&factqa(ScoreField::Accuracy), &embeddings).expect("sound");
    let logits: Vec<Vec<f32>> = (0..115)
        .map(|query| (0..64).map(|at| ((query * 31 + at * 17) % 101) as f32 / 10.0 - 5.0).collect())
        .collect();
    let selections = logged.select(&logits).unwrap();
    assert_eq!(selections.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    for (shot, scores) in &selections {
        for (question, chosen) in scores.iter().enumerate() {
            assert_eq!((chosen.query_id, chosen.column), (logged.queries()[question].query_id, *shot));
            let choices = &logged.questions[question].lines[shot];
            let probabilities: Vec<f64> = choices
                .pointers
                .iter()
                .map(|pointer| sequence_log_prob(&logits[question], pointer))
                .collect();
            assert!(probabilities.iter().all(|one| *one <= *chosen.log_prob));
            assert_eq!(*chosen.log_prob, probabilities[chosen.logged.unwrap()]);
            assert_eq!(chosen.selection, choices.pointers[chosen.logged.unwrap()]);
            assert_eq!(chosen.score, choices.scores[chosen.logged.unwrap()]);
        }
    }
}

#[test]
fn ties_go_to_the_first() {
    let text = line(7, 1, r#"{"pointer": [2], "vqa_correct": 1}, {"pointer": [0], "vqa_correct": 0}"#);
    let logged = read(&text, &asked(&[1], &[None])).expect("sound");
    let chosen = &logged.select(&[vec![0.5, 0.0, 0.5]]).unwrap()[&1][0];
    assert_eq!((chosen.logged, *chosen.score, chosen.selection.as_slice()), (Some(0), 1.0, &[2][..]));
    let embeddings = Embeddings { rows: 10, dim: 2, values: vec![1.0; 20] };
    let references = super::references(&logged, &embeddings);
    let scores: Vec<f64> = references.iter().map(|one| one.scores[&1][0].get()).collect();
    assert_eq!(scores, [0.5, 1.0, 1.0]);
}

#[test]
fn queries_keep_file_order_and_are_asked_once_per_pool() {
    let hit = r#"{"pointer": [2], "vqa_correct": 1}"#;
    let pair = r#"{"pointer": [2, 0], "vqa_correct": 0}"#;
    let other = line(5, 2, pair).replace("[4, 2, 9]", "[4, 2, 8]");
    let text = [line(8, 1, hit), line(5, 1, hit), "\n".into(), line(8, 2, pair), other].concat();
    let logged = read(&text, &asked(&[1, 2], &[None])).expect("sound");
    let ids: Vec<(u64, u32)> = logged.queries().iter().map(|query| (query.query_id, query.pool[2])).collect();
    assert_eq!(ids, [(8, 9), (5, 9), (5, 8)]);
    let selections = logged.select(&vec![vec![0.0; 3]; 3]).unwrap();
    let order = |shot: usize| selections[&shot].iter().map(|one| one.query_id).collect::<Vec<_>>();
    assert_eq!((order(1), order(2)), (vec![8, 5], vec![8, 5]));
    // Only what is asked for is kept.
    let first = read(&text, &asked(&[1], &[Some(1)])).expect("sound");
    assert_eq!(first.queries().len(), 1);
    assert_eq!(first.select(&[vec![0.0; 3]]).unwrap().len(), 1);
}

#[test]
fn mistakes_name_line_query_and_field() {
    let good = r#"{"pointer": [2], "vqa_correct": 1}"#;
    let cases = [
        (
            line(7, 1, r#"{"pointer": [3], "vqa_correct": 1}"#),
            "eval.jsonl`:1: query 7: `trajectories[0].pointer` local id 3",
        ),
        (line(7, 2, r#"{"pointer": [1, 1], "vqa_correct": 1}"#), "`trajectories[0].pointer` names 1 twice"),
        (line(7, 2, good), "`trajectories[0].pointer` has 1 demonstrations, but `shot` is 2"),
        (
            line(7, 1, r#"{"pointer": [2]}"#),
            "`trajectories[0].vqa_correct` is missing, and `eval.score` needs it",
        ),
        (line(7, 1, r#"{"pointer": [2], "vqa_correct": 2}"#), "`trajectories[0].vqa_correct` is 2"),
        (line(7, 1, r#"{"pointer": [2], "vqa_correct": 1, "vqa_gt_prob": 7}"#), "vqa_gt_prob` is 7"),
        (line(7, 1, r#"{"pointer": [2], "vqa_correct": 1, "vqa_acc_score": -1}"#), "vqa_acc_score` is -1"),
        (line(7, 1, ""), "`trajectories` is empty"),
        (line(70, 1, good), "query 70: `query_id` global id 70 is outside the embedding matrix of 10 rows"),
        (
            line(7, 1, good).replace("[4, 2, 9]", "[4, 2, 11]"),
            "`candidate_pool_ids[2]` global id 11 is outside",
        ),
        (line(7, 1, good).replace("[4, 2, 9]", "[4, 4, 9]"), "`candidate_pool_ids` names 4 twice"),
        (
            line(7, 1, good) + &line(7, 1, good),
            "eval.jsonl`:2: query 7 has 1 shots a second time (first in line 1)",
        ),
        (line(7, 1, good) + "{\"query_id\": 3", "eval.jsonl`:2:14: EOF while parsing an object"),
        (line(7, 1, &good.replace("[2]", "\"2\"")), "(field `trajectories[0].pointer`)"),
        (line(7, 1, good).replace("\"shot\": 1,", ""), "missing field `shot`"),
        ("\n \n".into(), "no query in the file"),
        (
            line(7, 2, r#"{"pointer": [2, 0], "vqa_correct": 1}"#),
            "no query has 1 shots\nhint: the file has shots 2",
        ),
        (
            line(7, 1, good) + &line(8, 1, good) + &line(7, 2, r#"{"pointer": [2, 0], "vqa_correct": 1}"#),
            "query 8 has no line with 2 shots",
        ),
    ];
    for (text, expected) in cases {
        let shots: &[usize] = if expected.contains("with 2 shots") { &[1, 2] } else { &[1] };
        let message = read(&text, &asked(shots, &[None])).map(|_| ()).expect_err(expected).to_string();
        assert!(message.contains("eval.jsonl") && message.contains(expected), "for {text}\ngot {message}");
    }
    let text = line(7, 1, good);
    let many = read(&text, &asked(&[1], &[None, Some(200)])).map(|_| ()).expect_err("too many").to_string();
    assert!(many.contains("asks for 200 queries, but `eval.jsonl` has 1"), "{many}");
    for params in [asked(&[], &[None]), asked(&[0], &[None]), asked(&[1], &[]), asked(&[1], &[Some(0)])] {
        let error = read(&text, &params).map(|_| ()).expect_err("nothing asked");
        assert!(matches!(error, EvaluateError::NothingAsked { .. }), "{error}");
    }
    let gone = EvalParams { logged: "no/such".into(), ..factqa(ScoreField::Correct) };
    let message = Logged::load(&gone, &Embeddings { rows: 1, dim: 1, values: vec![0.0] }).map(|_| ());
    assert!(message.expect_err("no file").to_string().contains("no/such"));
}

proptest! {
    /// Cut off or with bytes changed, a file gives questions or an error, never a panic.
    #[test]
    fn damaged_files_never_panic(cut in 0.0..1.0_f64, changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 0..4), whole in any::<bool>()) {
        let hit = r#"{"pointer": [2, 1], "vqa_correct": 1, "vqa_acc_score": 0.5}"#;
        let mut text = [line(8, 2, hit), line(5, 2, hit), line(3, 2, hit)].concat().into_bytes();
        for (at, byte) in changes {
            let at = (at * text.len() as f64) as usize;
            text[at] = if byte % 2 == 0 { b"{}[],:\"0-9en\n"[byte as usize % 13] } else { byte };
        }
        if !whole {
            text.truncate((cut * text.len() as f64) as usize);
        }
        if let Ok(logged) = parse(Path::new("eval.jsonl"), &text, &asked(&[2], &[None]), 10) {
            let logits: Vec<Vec<f32>> = logged.queries().iter().map(|query| vec![0.0; query.pool.len()]).collect();
            prop_assert!(!logged.select(&logits).unwrap()[&2].is_empty());
        }
    }
}
