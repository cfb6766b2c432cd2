//! Scores against the vectors that were computed with the official evaluation program.

use super::*;

#[derive(serde::Deserialize)]
struct Case {
    answers: Vec<String>,
    prediction: String,
    accuracy: f64,
    normalized_prediction: String,
}

#[test]
fn vqa_accuracy_is_the_official_programs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/vqa_accuracy.json");
    let cases: Vec<Case> = serde_json::from_slice(&fs_err::read(path).expect("readable")).expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let (answer, accepted) = (&case.prediction, &case.answers);
        assert_eq!(normalize(answer), case.normalized_prediction, "{answer:?}");
        let accuracy = vqa_accuracy(answer, accepted) * 100.0;
        assert!(
            (accuracy - case.accuracy).abs() < 1e-9,
            "{answer:?} {accepted:?}: {accuracy} {}",
            case.accuracy
        );
    }
}

#[test]
fn words_count_as_often_as_they_occur() {
    let accepted = ["two red, red apples".to_owned(), "pears".to_owned()];
    assert!((token_f1("red red red", &accepted) - 4.0 / 7.0).abs() < 1e-12);
    assert!(token_f1("plums", &accepted).abs() < 1e-12);
    assert!((token_f1("", &[String::new()]) - 1.0).abs() < 1e-12);
    assert!(exact_match("2 red red apples", &accepted));
    assert!(vqa_correct("The pears.", &accepted) && !vqa_correct("pear", &accepted));
}

#[test]
fn nothing_accepted_scores_nothing() {
    assert!(vqa_accuracy("yes", &[]).abs() < 1e-12);
    assert!(!exact_match("yes", &[]));
}
