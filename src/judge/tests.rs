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

/// Expected values: `difflib.SequenceMatcher(None, answer, accepted).ratio()` of Python.
#[test]
fn relevance_is_the_share_of_equal_letters_or_words() {
    for (answer, accepted, ratio) in [
        ("Not a country!", "Helena", 2.0 / 17.0),
        ("abxcdabc", "abcdab", 12.0 / 14.0),
        ("Zimbabwean", "Zimbabwe", 16.0 / 18.0),
        ("", "plum", 0.0),
        ("red pears", "pears red", 1.0),
    ] {
        let found = relevance(answer, &["###".to_owned(), accepted.to_owned()]);
        assert!((found - ratio).abs() < 1e-12, "{answer:?} {accepted:?}: {found}");
    }
    assert!(relevance("yes", &[]).abs() < 1e-12);
}
