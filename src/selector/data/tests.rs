//! The data module against the golden vectors, the bundled data, and the mistakes people make.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::load::parse;
use super::*;
use crate::selector::{DataParams, Normalize, Quality, RewardMode, RewardParams};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn params(directory: &str) -> DataParams {
    DataParams {
        trajectories: repository(directory).join("rl_data.json"),
        embeddings: repository(directory).join("embeddings.safetensors"),
        train_fraction: 0.8,
        keep_fallback: false,
        require_positive: false,
    }
}

fn golden() -> Dataset {
    load(&params("tests/golden")).expect("the golden data are sound")
}

/// Reads `text` as a trajectory file for a matrix of 10 rows.
fn read(text: &str) -> Result<(Dataset, Facts), DataError> {
    read_with(text, |_| {})
}

fn read_with(text: &str, change: impl FnOnce(&mut DataParams)) -> Result<(Dataset, Facts), DataError> {
    let mut params = params("tests/golden");
    params.train_fraction = 1.0;
    change(&mut params);
    parse(Path::new("rl.json"), text.as_bytes(), &params, Some(10))
}

/// A file with one query (id 7, pool of three) and one trajectory with these fields.
fn one(fields: &str) -> String {
    format!(r#"{{"7": {{"candidate_pool_ids": [4, 2, 9], "pointer_candidates": [{{{fields}}}]}}}}"#)
}

/// The message of the mistake in `text`.
fn mistake(text: &str) -> String {
    read(text).map(|_| ()).expect_err("a mistake must be found").to_string()
}

#[test]
fn golden_file_is_split_by_numeric_id_before_the_drops() {
    let Inspection { dataset, facts } = inspect(&params("tests/golden")).expect("sound");
    assert_eq!((facts.queries, facts.train_queries), (24, 19));
    assert_eq!((dataset.train.len(), dataset.validation.len()), (19, 5));
    let ids: Vec<u64> = dataset.groups().map(|group| group.query_id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(ids[0], 12);
    assert_eq!(dataset.dropped.non_integer_keys, 1);
    assert!(dataset.dropped.eval_failed > 0 && dataset.dropped.error > 0 && dataset.dropped.fallback > 0);
    assert_eq!((dataset.embeddings.rows, dataset.embeddings.dim, dataset.steps()), (400, 512, 2));
    let kept: usize = dataset.groups().map(|group| group.trajectories.len()).sum();
    let dropped = dataset.dropped.eval_failed + dataset.dropped.error + dataset.dropped.fallback;
    assert_eq!(kept + dropped, facts.trajectories);
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|one| one.as_f64().expect("a number")).collect()
}

fn close(ours: &[f64], theirs: &[f64], limit: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= limit, "{what}[{index}]: {a} against {b}");
    }
}

#[test]
fn rewards_agree_with_the_golden_vectors() {
    let text = fs_err::read(repository("tests/golden/losses.json")).expect("readable");
    let losses: serde_json::Value = serde_json::from_slice(&text).expect("json");
    let dataset = golden();
    let groups = losses["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 4);
    for (group, theirs) in dataset.train.iter().zip(groups) {
        assert_eq!(theirs["query_id"], group.query_id);
        for (normalize, name) in [
            (Normalize::ZScoreClamp, "normalized"),
            (Normalize::ZScore, "z_score"),
            (Normalize::Rank, "rank"),
        ] {
            let ours = rewards(group, &RewardParams { normalize, ..RewardParams::default() });
            // The golden values went through float32.
            close(&ours.raw, &numbers(&theirs["raw"]), 2e-7, "raw");
            close(&ours.normalized, &numbers(&theirs[name]), 5e-7, name);
        }
    }
    let modes = losses["group0_reward_modes"].as_object().expect("modes");
    assert_eq!(modes.len(), 2);
    for (weights, by_mode) in modes {
        let weight = |key: &str| -> f64 {
            let pair = weights.split(',').find_map(|pair| pair.strip_prefix(&format!("{key}=")));
            pair.and_then(|text| text.parse().ok()).expect("a weight")
        };
        let by_mode = by_mode.as_object().expect("one list per mode");
        assert_eq!(by_mode.len(), 9);
        for (mode, theirs) in by_mode {
            let params = RewardParams {
                mode: serde_json::from_value(mode.as_str().into()).expect("a mode"),
                hard_weight: weight("w_h"),
                soft_weight: weight("w_s"),
                rel_weight: weight("w_r"),
                alpha: 1.0,
                beta: 1.0,
                ..RewardParams::default()
            };
            close(
                &rewards(&dataset.train[0], &params).raw,
                &numbers(theirs),
                1e-12,
                &format!("{mode} {weights}"),
            );
        }
    }
}

fn group_of(scores: &[f64]) -> Group {
    let trajectory = |&score: &f64| Trajectory {
        pointer: vec![0],
        beam_score: Some(score),
        logprob_score: Some(2.0 * score),
        correct: None,
        acc_score: None,
        gt_prob: None,
        rel_score: None,
    };
    Group { query_id: 1, pool: vec![0], trajectories: scores.iter().map(trajectory).collect() }
}

fn legacy(normalize: Normalize, clamp: f64) -> RewardParams {
    RewardParams { mode: RewardMode::Legacy, alpha: 1.0, normalize, clamp, ..RewardParams::default() }
}

#[test]
fn normalisations_at_their_edges() {
    // Equal rewards stay as they are, also where their mean is not exact in float64.
    let flat = rewards(&group_of(&[1.9; 7]), &legacy(Normalize::ZScoreClamp, 3.0));
    assert_eq!(flat.normalized, vec![1.9; 7]);
    // One trajectory has no spread.
    assert_eq!(rewards(&group_of(&[0.4]), &legacy(Normalize::ZScore, 3.0)).normalized, vec![0.4]);
    assert_eq!(rewards(&group_of(&[0.4]), &legacy(Normalize::Rank, 3.0)).normalized, vec![1.0]);
    // Ties in `rank` keep the order of the file.
    let ranks = rewards(&group_of(&[0.0, 1.0, 0.0, 1.0, 0.5]), &legacy(Normalize::Rank, 3.0));
    assert_eq!(ranks.normalized, vec![-0.5, 1.0, -1.0, 0.5, 0.0]);
    // One of twenty stands out by more than three deviations: (1 - 1/20) / sqrt(1/20) = 4.25.
    let mut scores = vec![0.0; 20];
    scores[3] = 1.0;
    let clamped = rewards(&group_of(&scores), &legacy(Normalize::ZScoreClamp, 3.0));
    assert_eq!(clamped.normalized[3], 3.0);
    let free = rewards(&group_of(&scores), &legacy(Normalize::ZScore, 3.0));
    assert!((free.normalized[3] - 0.95 / 0.05_f64.sqrt()).abs() < 1e-12, "{:?}", free.normalized[3]);
    // Raw rewards are clipped to [-5, 5]; a log-probability counts with its sign turned.
    let clipped = rewards(&group_of(&[-9.0, 9.0]), &legacy(Normalize::ZScore, 3.0));
    assert_eq!(clipped.raw, vec![-5.0, 5.0]);
    let params = RewardParams { quality: Quality::LogprobScore, ..legacy(Normalize::ZScore, 3.0) };
    assert_eq!(rewards(&group_of(&[-1.0, 1.5]), &params).raw, vec![2.0, -3.0]);
}

#[test]
fn three_ages_of_the_same_group_agree() {
    let newest = r#"{"7": {"candidate_pool_ids": [2, 4, 9], "pointer_candidates": [
        {"pointer": [1, 0], "pointer_global": [4, 2], "beam_score": 0.5},
        {"pointer": [2, 1], "beam_score": 0.25}]}}"#;
    let older = r#"{"7": {"pointer_candidates": [
        {"pointer": [4, 2], "beam_score": 0.5}, {"pointer_pos": [9, 4], "beam_score": 0.25}]}}"#;
    let oldest = r#"{"7": {"id_list": [[4, 2, 7], [9, 4, 7]], "score_list": [0.5, 0.25]}}"#;
    for (text, age) in [(newest, Age::Newest), (older, Age::Older), (oldest, Age::Oldest)] {
        let (dataset, facts) = read(text).expect("sound");
        assert_eq!(facts.ages.get(&age), Some(&1), "{age:?}");
        let group = &dataset.train[0];
        assert_eq!((group.query_id, &group.pool), (7, &vec![2, 4, 9]));
        let sequences: Vec<(&[u32], Option<f64>)> =
            group.trajectories.iter().map(|one| (one.pointer.as_slice(), one.beam_score)).collect();
        assert_eq!(sequences, [(&[1, 0][..], Some(0.5)), (&[2, 1][..], Some(0.25))], "{age:?}");
        assert!(group.trajectories.iter().all(|one| one.correct.is_none()));
    }
}

#[test]
fn filters_drop_trajectories_then_queries() {
    let text = r#"{
        "3": {"candidate_pool_ids": [4, 2], "pointer_candidates": [
            {"pointer": [0], "vqa_correct": true, "vqa_eval_mode": "fallback"},
            {"pointer": [1], "vqa_correct": 0, "vqa_eval_mode": "vqa", "eval_failed": false}]},
        "1": {"candidate_pool_ids": [4, 2], "pointer_candidates": [
            {"pointer": [0], "vqa_eval_mode": "error", "vqa_correct": 0},
            {"pointer": [1], "eval_failed": true, "vqa_correct": null}]},
        "note": "ignored", "_meta": {"a": [1, {"b": "}"}]}}"#;
    let (dataset, facts) = read(text).expect("sound");
    assert_eq!(dataset.train.len(), 1);
    assert_eq!(dataset.train[0].trajectories[0].pointer, [1]);
    let expected = Dropped {
        eval_failed: 1,
        error: 1,
        fallback: 1,
        empty_queries: 1,
        no_positive: 0,
        non_integer_keys: 2,
    };
    assert_eq!(dataset.dropped, expected);
    assert_eq!((facts.queries, facts.trajectories), (2, 4));

    let (kept, _) = read_with(text, |params| params.keep_fallback = true).expect("sound");
    assert_eq!(kept.train[0].trajectories[0].correct, Some(1.0));
    let (positive, _) = read_with(text, |params| {
        params.keep_fallback = true;
        params.require_positive = true;
    })
    .expect("sound");
    assert_eq!((positive.train.len(), positive.dropped.no_positive), (1, 0));
    let message =
        read_with(text, |params| params.require_positive = true).map(|_| ()).expect_err("nothing is left");
    let message = message.to_string();
    assert!(message.contains("no training query is left of 2"), "{message}");
    assert!(message.contains("1 queries without a correct trajectory"), "{message}");
    assert!(message.contains("hint: with `require_positive = false`"), "{message}");
}

#[test]
fn first_share_of_the_keys_is_for_training() {
    let group = r#"{"candidate_pool_ids": [4, 2], "pointer_candidates": [{"pointer": [0]}]}"#;
    let text: Vec<String> = [9, 2, 8, 1, 5].iter().map(|id| format!("\"{id}\": {group}")).collect();
    let text = format!("{{{}}}", text.join(","));
    let ids = |groups: &[Group]| groups.iter().map(|group| group.query_id).collect::<Vec<_>>();
    let (dataset, _) = read_with(&text, |params| params.train_fraction = 0.7).expect("sound");
    assert_eq!((ids(&dataset.train), ids(&dataset.validation)), (vec![1, 2, 5], vec![8, 9]));
    for fraction in [0.0, 1.1, f64::NAN] {
        let error =
            read_with(&text, |params| params.train_fraction = fraction).map(|_| ()).expect_err("impossible");
        assert!(matches!(error, DataError::TrainFraction(_)), "{error}");
    }
    let error =
        read_with(&text, |params| params.train_fraction = 0.1).map(|_| ()).expect_err("none to train on");
    assert!(error.to_string().contains("hint: raise `train_fraction`"), "{error}");
}

#[test]
fn mistakes_in_the_text_name_line_column_query_and_field() {
    let cases = [
        // cut off inside a score
        (
            "{\n \"7\": {\"candidate_pool_ids\": [4, 2],\n  \"pointer_candidates\": [{\"pointer\": [0], \"vqa_gt_prob\": 0.",
            "`rl.json`:3:59: EOF while parsing a value (query 7, field `pointer_candidates[0].vqa_gt_prob`)\nhint: the file is cut off",
        ),
        ("{\"7\": {\"candidate_pool_ids\": [4, 2", "(query 7, field `candidate_pool_ids"),
        (
            "{\"7\": {\"pointer_candidates\": []}",
            "the file ends before its closing `}`\nhint: the file is cut off",
        ),
        ("", "`rl.json`:1:1: expected an object with one entry per query\nhint: the file is cut off"),
        ("[1, 2]", "`rl.json`:1:1: expected an object with one entry per query"),
        ("{\"7\": {}} x", "`rl.json`:1:11: text after the closing `}`"),
        ("{\"7\" {}}", "`rl.json`:1:6: expected `:` after a key"),
        ("{7: {}}", "`rl.json`:1:2: expected a key in double quotes"),
        ("{\"7\": {} \"8\": {}}", "`rl.json`:1:10: expected `,` or `}` after a query"),
        (
            &one("\"pointer\": [0], \n\"vqa_gt_prob\": NaN"),
            "`rl.json`:2:16: expected value (query 7, field `pointer_candidates[0].vqa_gt_prob`)\nhint: NaN and Infinity are not JSON",
        ),
        (&one("\"pointer\": [0], \"beam_score\": 1e999"), "number out of range"),
        (
            &one("\"pointer\": [0], \"vqa_acc_score\": \"0.5\""),
            "invalid type: string \"0.5\", expected f64 (query 7, field `pointer_candidates[0].vqa_acc_score`)",
        ),
        (&one("\"pointer\": [0, -1]"), "field `pointer_candidates[0].pointer[1]`"),
        (
            &one("\"pointer\": [0], \"vqa_eval_mode\": \"vqq\""),
            "unknown variant `vqq`, expected one of `vqa`, `fallback`, `error`",
        ),
        ("{\"7\": 3}", "expected a query group (an object) (query 7)"),
        ("{\"_meta\": {\"a\": nope}, \"7\": {}}", "`rl.json`:1:18: expected"),
    ];
    for (text, expected) in cases {
        let message = mistake(text);
        assert!(message.contains(expected), "for {text}\nwanted {expected}\ngot    {message}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn impossible_groups_name_query_and_field() {
    let cases = [
        (
            one("\"pointer\": [0, 3]"),
            "query 7: `pointer_candidates[0].pointer` local id 3 is outside the pool of 3",
        ),
        (one("\"pointer\": [1, 1]"), "query 7: `pointer_candidates[0].pointer` names 1 twice"),
        (one("\"pointer\": []"), "`pointer_candidates[0].pointer` is empty"),
        (one("\"beam_score\": 1"), "`pointer_candidates[0].pointer` is missing"),
        (
            one("\"pointer\": [0, 2], \"pointer_global\": [4, 2]"),
            "`pointer_candidates[0].pointer_global[1]` is 2, but `pointer` names local id 2, which is candidate 9",
        ),
        (
            one("\"pointer\": [0, 2], \"pointer_global\": [4]"),
            "`pointer_candidates[0].pointer_global` has 1 entries, 2 expected",
        ),
        (
            one("\"pointer\": [0], \"vqa_correct\": 0.5"),
            "`pointer_candidates[0].vqa_correct` is 0.5, but must be 0 or 1",
        ),
        (
            one("\"pointer\": [0], \"vqa_gt_prob\": -0.1"),
            "`pointer_candidates[0].vqa_gt_prob` is -0.1, but must lie",
        ),
        (one("\"pointer\": [0], \"vqa_acc_score\": 1.5"), "vqa_acc_score` is 1.5"),
        (one("\"pointer\": [0], \"vqa_rel_score\": 60"), "vqa_rel_score` is 60"),
        (
            one(
                "\"pointer\": [0, 1]}, {\"pointer\": [2, 1]}, {\"eval_failed\": true, \"pointer\": [0]}, {\"pointer\": [1]",
            ),
            "query 7: `pointer_candidates[3].pointer` has 1 demonstrations, 2 expected",
        ),
        (r#"{"7": {"query": {}}}"#.into(), "query 7: `pointer_candidates` is missing\nhint: a query has"),
        (
            r#"{"7": {"candidate_pool_ids": [], "pointer_candidates": []}}"#.into(),
            "`candidate_pool_ids` is empty",
        ),
        (
            r#"{"7": {"candidate_pool_ids": [3, 5, 3], "pointer_candidates": []}}"#.into(),
            "`candidate_pool_ids` names 3 twice",
        ),
        (
            r#"{"7": {"candidate_pool_ids": [3, 10], "pointer_candidates": []}}"#.into(),
            "`candidate_pool_ids[1]` global id 10 is outside the embedding matrix of 10 rows",
        ),
        (
            r#"{"10": {"candidate_pool_ids": [3], "pointer_candidates": []}}"#.into(),
            "query 10: `the key` global id 10 is outside",
        ),
        (
            r#"{"7": {"pointer_candidates": [{"pointer": [1, 2]}, {"pointer": [3, 12]}]}}"#.into(),
            "`pointer_candidates[1].pointer` global id 12 is outside",
        ),
        (
            r#"{"7": {"pointer_candidates": [{"pointer": [8, 8]}]}}"#.into(),
            "`pointer_candidates[0].pointer` names 8 twice",
        ),
        (
            r#"{"7": {"pointer_candidates": [{"pointer": [1], "pointer_global": [8]}]}}"#.into(),
            "`pointer_candidates[0].pointer_global` is there, but `candidate_pool_ids` is not",
        ),
        (
            r#"{"7": {"id_list": [[1, 2, 7], [1, 3, 8]], "score_list": [1, 2]}}"#.into(),
            "`id_list[1]` ends with 8, but",
        ),
        (
            r#"{"7": {"id_list": [[1, 2, 7]], "score_list": [1, 2]}}"#.into(),
            "`score_list` has 2 entries, 1 expected",
        ),
        (r#"{"7": {"id_list": [[1, 2, 7]]}}"#.into(), "`score_list` is missing"),
        (r#"{"7": {"id_list": [[7]], "score_list": [1]}}"#.into(), "`id_list[0]` is empty"),
        (
            r#"{"7": {"id_list": [], "score_list": [], "pointer_candidates": []}}"#.into(),
            "`pointer_candidates` is there beside `id_list`",
        ),
        (
            "{\"7\": {},\n\"5\": {},\n\"07\": {}}".into(),
            "query 7 occurs twice, in line 1 and line 3\nhint: keep one",
        ),
        (r#"{"_meta": {}}"#.into(), "no query in the file: none of its 1 keys is an integer"),
        (r#"{"99999999999999999999999": {}}"#.into(), "query id 99999999999999999999999 is too large"),
        (
            r#"{"7": {"candidate_pool_ids": [3], "pointer_candidates": []}}"#.into(),
            "no training query is left of 1 (the first 1 in numeric order are for training; dropped: 1 queries left",
        ),
    ];
    for (text, expected) in cases {
        let message = mistake(&text);
        assert!(message.contains("`rl.json`") && message.contains(expected), "for {text}\ngot {message}");
    }
    let positive = read_with(&one("\"pointer\": [0]"), |params| params.require_positive = true);
    let message = positive.map(|_| ()).expect_err("correctness is not known").to_string();
    assert!(
        message.contains("`pointer_candidates[0].vqa_correct` is missing, and `require_positive`"),
        "{message}"
    );
}

/// `gtprob_only` is what the golden values of `hard01_plus_gtprob` are less what those of `hard_only` are, where
/// neither meets the limits of a reward.
#[test]
fn the_probability_alone_is_a_reward() {
    let dataset = golden();
    let with = |mode| RewardParams { mode, soft_weight: 0.6, ..RewardParams::default() };
    for group in &dataset.train {
        let raw = |mode| rewards(group, &with(mode)).raw;
        let (alone, both) = (raw(RewardMode::GtprobOnly), raw(RewardMode::Hard01PlusGtprob));
        for ((alone, both), (hard, one)) in
            alone.iter().zip(both).zip(raw(RewardMode::HardOnly).into_iter().zip(&group.trajectories))
        {
            assert_eq!(*alone, 0.6 * one.gt_prob.expect("a probability"));
            assert!((both - hard - alone).abs() < 1e-12);
        }
    }
    let missing =
        check_rewards(&golden_without_probabilities(), &with(RewardMode::GtprobOnly)).expect_err("missing");
    assert!(missing.to_string().contains("`vqa_gt_prob`"), "{missing}");
}

fn golden_without_probabilities() -> Dataset {
    let mut dataset = golden();
    dataset.train.iter_mut().flat_map(|group| &mut group.trajectories).for_each(|one| one.gt_prob = None);
    dataset
}

#[test]
fn reward_modes_ask_for_the_scores_they_read() {
    let (oldest, _) = read(r#"{"7": {"id_list": [[4, 2, 7]], "score_list": [0.5]}}"#).expect("sound");
    let message = check_rewards(&oldest, &RewardParams::default()).expect_err("no verdict").to_string();
    let expected = "reward mode `hard_plus_soft` needs `vqa_correct`, which trajectory 0 of query 7 does not have\n\
                    hint: it has only `beam_score`; use mode = \"legacy\" with alpha = 1, beta = 0";
    assert_eq!(message, expected);
    check_rewards(&oldest, &legacy(Normalize::Rank, 3.0)).expect("beam scores are enough");

    let (judged, _) =
        read(&one("\"pointer\": [0], \"vqa_correct\": 1, \"vqa_acc_score\": 1")).expect("sound");
    let with = |mode| RewardParams { mode, ..RewardParams::default() };
    check_rewards(&judged, &with(RewardMode::Separated)).expect("hard and soft are there");
    for (mode, field) in
        [(RewardMode::Hard01PlusGtprob, "vqa_gt_prob"), (RewardMode::HardPlusGtprobPlusRel, "vqa_gt_prob")]
    {
        let message = check_rewards(&judged, &with(mode)).expect_err("a score is missing").to_string();
        assert!(message.contains(field), "{message}");
    }
    // A term without weight is not read.
    check_rewards(&judged, &RewardParams { soft_weight: 0.0, ..with(RewardMode::Hard01PlusGtprob) })
        .expect("weight 0");
    let params = RewardParams { soft_weight: 0.0, ..with(RewardMode::Hard01PlusGtprob) };
    assert_eq!(rewards(&judged.train[0], &params).raw, [1.0]);
    assert!(rewards(&judged.train[0], &with(RewardMode::Hard01PlusGtprob)).raw[0].is_nan());
}

#[test]
fn embeddings_must_be_a_finite_matrix() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("e.safetensors");
    let mut values = vec![0.5_f32; 400 * 3];
    values[5 * 3 + 2] = f32::INFINITY;
    values[9 * 3] = f32::NAN;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![400, 3], &bytes).expect("a view");
    safetensors::serialize_to_file([("embeddings", view)], None, &path).expect("written");
    let error =
        load(&DataParams { embeddings: path.clone(), ..params("tests/golden") }).expect_err("not finite");
    assert_eq!(error.to_string(), format!("`{}`: row 5, column 2 of the embeddings is inf", path.display()));
    let error =
        load(&DataParams { embeddings: "no/such".into(), ..params("tests/golden") }).expect_err("no file");
    assert!(error.to_string().contains("no/such"), "{error}");
    let error =
        load(&DataParams { trajectories: "no/such".into(), ..params("tests/golden") }).expect_err("no file");
    assert!(error.to_string().contains("no/such"), "{error}");
}

#[test]
fn digest_depends_on_contents_and_parameters_not_on_paths() {
    let directory = tempfile::tempdir().expect("a directory");
    let original = params("tests/golden");
    let mut moved = original.clone();
    moved.trajectories = directory.path().join("other.json");
    moved.embeddings = directory.path().join("other.safetensors");
    fs_err::copy(&original.trajectories, &moved.trajectories).expect("copied");
    fs_err::copy(&original.embeddings, &moved.embeddings).expect("copied");
    let digest = |params: &DataParams| load(params).expect("sound").digest;
    assert_eq!(digest(&original), digest(&moved));
    let others = [
        DataParams { train_fraction: 0.75, ..original.clone() },
        DataParams { keep_fallback: true, ..original.clone() },
        DataParams { require_positive: true, ..original.clone() },
        DataParams { trajectories: repository("sweeps/data/factqa/rl_data.json"), ..original.clone() },
    ];
    let mut digests: Vec<String> = others[..3].iter().map(digest).collect();
    let factqa = DataParams {
        embeddings: repository("sweeps/data/factqa/embeddings.safetensors"),
        ..others[3].clone()
    };
    digests.extend([digest(&factqa), digest(&original)]);
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 5, "every parameter and file enters the digest");
}

#[test]
fn factqa_is_as_its_description_says() {
    let Inspection { dataset, facts } = inspect(&params("sweeps/data/factqa")).expect("sound");
    assert_eq!((facts.queries, facts.train_queries, facts.trajectories), (387, 309, 3096));
    assert_eq!(dataset.dropped, Dropped { non_integer_keys: 1, ..Dropped::default() });
    let share = |method: &str| {
        let share = facts.methods[method];
        (share.judged, (1000.0 * share.right as f64 / share.judged as f64).round())
    };
    assert_eq!(share("random"), (1548, 167.0));
    assert_eq!(share("retrieval"), (774, 399.0));
    assert_eq!(share("sample"), (774, 346.0));
    // 42.1 % of all queries are all wrong, 5.4 % all right: with verdicts alone they carry no signal.
    let all = load(&DataParams { train_fraction: 1.0, ..params("sweeps/data/factqa") }).expect("sound");
    let verdicts = RewardParams { mode: RewardMode::HardOnly, ..RewardParams::default() };
    let health = signal_health(&all, &verdicts);
    assert_eq!(health.groups, 387);
    assert_eq!((1000.0 * health.flat_groups as f64 / 387.0).round(), 475.0);
    assert_eq!(health.distinct.values().sum::<usize>(), 387);
    assert_eq!(health.distinct.keys().max(), Some(&2));
    assert!((*health.mean_range - (387 - health.flat_groups) as f64 / 387.0).abs() < 1e-12);
    // Graded scores tell trajectories apart in every group.
    let graded = RewardParams { mode: RewardMode::Hard01PlusGtprob, ..RewardParams::default() };
    assert_eq!(signal_health(&all, &graded).flat_groups, 0);
}

#[test]
fn sequence_probability_masks_what_was_chosen() {
    let logits = [0.0_f32, 1.0, 2.0, -1.0];
    let sum = |masked: &[usize]| -> f64 {
        (0..4).filter(|at| !masked.contains(at)).map(|at| f64::from(logits[at]).exp()).sum()
    };
    let expected = (2.0 - sum(&[]).ln()) + (0.0 - sum(&[2]).ln()) + (-1.0 - sum(&[2, 0]).ln());
    assert!((sequence_log_prob(&logits, &[2, 0, 3]) - expected).abs() < 1e-12);
    // A masked candidate has the score -100 and not no score at all: with scores far below it counts.
    let low = [1000.0_f32, -300.0, -301.0];
    let expected = -200.0;
    assert!(
        (sequence_log_prob(&low, &[0, 1]) - expected).abs() < 1e-9,
        "{}",
        sequence_log_prob(&low, &[0, 1])
    );
    assert!(sequence_log_prob(&[f32::NAN, 1.0], &[1]).is_nan());
}

#[test]
fn sequence_probability_agrees_with_the_golden_forward_pass() {
    let bytes = fs_err::read(repository("tests/golden/forward.safetensors")).expect("readable");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("sound");
    let floats = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).expect(name).data().chunks_exact(4);
        data.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect()
    };
    let dataset = golden();
    for (index, group) in dataset.train.iter().take(4).enumerate() {
        // [T, S, K]: at the first step nothing is masked.
        let logits = floats(&format!("g{index}.logits"));
        let expected = floats(&format!("g{index}.logp"));
        assert_eq!(expected.len(), group.trajectories.len());
        for (one, (expected, rows)) in
            group.trajectories.iter().zip(expected.iter().zip(logits.chunks_exact(128)))
        {
            let ours = sequence_log_prob(&rows[..64], &one.pointer);
            assert!((ours - f64::from(*expected)).abs() < 5e-6, "group {index}: {ours} against {expected}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Cut off or with bytes changed, a file gives a data set or an error, never a panic; what is given is sound.
    #[test]
    fn damaged_files_never_panic(cut in 0.0..1.0_f64, changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 0..6), whole in any::<bool>()) {
        let mut text = fs_err::read(repository("tests/golden/rl_data.json")).expect("readable");
        for (at, byte) in changes {
            let at = (at * text.len() as f64) as usize;
            text[at] = if byte % 2 == 0 { b"{}[],:\"0-9enN"[byte as usize % 13] } else { byte };
        }
        if !whole {
            text.truncate((cut * text.len() as f64) as usize);
        }
        match parse(Path::new("rl.json"), &text, &params("tests/golden"), Some(400)) {
            Err(error) => prop_assert!(error.to_string().contains("rl.json"), "{error}"),
            Ok((dataset, _)) => for group in dataset.groups() {
                prop_assert!(group.query_id < 400 && group.pool.iter().all(|&id| id < 400));
                prop_assert!(!group.trajectories.is_empty());
                for one in &group.trajectories {
                    prop_assert!(one.pointer.len() == dataset.steps());
                    prop_assert!(one.pointer.iter().all(|&id| (id as usize) < group.pool.len()));
                }
            }
        }
    }
}
