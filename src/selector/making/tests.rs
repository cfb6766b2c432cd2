//! Roles, draws and sequences.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::draw::{What, by_scores, stream};
use super::recipe::Recipe;
use super::roles::Roles;
use super::sequences::{Method, Source};
use crate::judge::Items;
use crate::selector::ModelParams;
use crate::selector::data::sequence_log_prob;
use crate::spec::{BuildParams, EvalParams};

fn recipe(params: BuildParams, limit: Option<usize>) -> Recipe {
    Recipe {
        params,
        judge: EvalParams::default(),
        model: ModelParams::default(),
        embeddings: "e".into(),
        trajectories: "t".into(),
        limit,
    }
}

fn items(count: usize, split: impl Fn(usize) -> Option<&'static str>) -> Items {
    let line = |id: usize| {
        let split = split(id).map(|split| format!(", \"split\": \"{split}\"")).unwrap_or_default();
        format!("{{\"id\": {}, \"question\": \"q{id}\", \"answers\": [\"a\"]{split}}}\n", 3 * id)
    };
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("items.jsonl");
    crate::disk::write(&path, (0..count).map(line).collect::<String>().as_bytes()).unwrap();
    Items::load(&path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_item_has_two_roles(seed: u64, count in 1..200_usize, train in 0.0..1.0_f64, eval in 0.0..1.0_f64, limit in proptest::option::of(1..20_usize), with_split: bool) {
        let splits = [Some("train"), Some("eval"), Some("support"), Some("spare")];
        let items = items(count, |id| if with_split { splits[(seed as usize).wrapping_mul(31).wrapping_add(id * 7) % 4] } else { None });
        let params = BuildParams { seed, train_share: train, eval_share: eval, pool: 1, ..BuildParams::default() };
        let Ok(roles) = Roles::of(&recipe(params, limit), &items) else { return Ok(()) };
        let all: Vec<u64> = [&roles.train, &roles.eval, &roles.support].into_iter().flatten().copied().collect();
        let distinct: BTreeSet<u64> = all.iter().copied().collect();
        prop_assert_eq!(all.len(), distinct.len());
        prop_assert!(distinct.iter().all(|id| items.get(*id).is_some()));
        prop_assert!(!roles.train.is_empty() && !roles.support.is_empty());
        prop_assert!(limit.is_none_or(|limit| roles.train.len() <= limit && roles.eval.len() <= limit));
        if with_split {
            prop_assert!(roles.support.iter().all(|id| items.get(*id).unwrap().split.as_deref() == Some("support")));
        } else if limit.is_none() {
            prop_assert_eq!(all.len(), count);
        }
    }
}

#[test]
fn draws_have_the_probabilities_of_their_scores() {
    let scores = [0.0, 1.0, 2.0];
    let total: f64 = scores.iter().map(|score: &f64| score.exp()).sum();
    let mut first = [0.0; 3];
    for query in 0..20_000 {
        let drawn = by_scores(&mut stream(1, What::Sample, 0, query), &scores, 2);
        assert_ne!(drawn[0], drawn[1]);
        assert_eq!(
            by_scores(&mut stream(1, What::Sample, 0, query), &scores, 3)[..2],
            drawn[..],
            "longer extends"
        );
        first[drawn[0] as usize] += 1.0 / 20_000.0;
    }
    for (share, score) in first.iter().zip(scores) {
        assert!((share - score.exp() / total).abs() < 0.015, "{first:?}");
    }
}

#[test]
fn sequences_differ_and_a_further_method_changes_no_other() {
    let cosines: Vec<f64> = (0..8).map(|at| f64::from(at * 5 % 8) / 8.0).collect();
    let logits: Vec<f32> = (0..8).map(|at| (at * 3 % 8) as f32).collect();
    let params = BuildParams {
        random: 6,
        retrieval: 3,
        sample: 5,
        beam: 4,
        policy_sample: 5,
        ..BuildParams::default()
    };
    let of = |params: &BuildParams, length| {
        Source { params, query: 7, cosines: &cosines, logits: Some(&logits) }.sequences(length)
    };
    let (found, lost) = of(&params, 3);
    assert_eq!((found.len(), lost), (23, 0));
    let distinct: BTreeSet<&Vec<u32>> = found.iter().map(|one| &one.pointer).collect();
    assert_eq!(distinct.len(), found.len());
    let fewer = BuildParams { policy_sample: 0, ..params.clone() };
    assert_eq!(of(&fewer, 3).0[..], found[..18]);
    // Nearest first: the cosines rank 3, 6, 1, 4, 7, 2, 5, 0.
    let nearest: Vec<&Vec<u32>> = found.iter().take(3).map(|one| &one.pointer).collect();
    assert_eq!(nearest, [&vec![3, 6, 1], &vec![6, 3, 1], &vec![1, 3, 6]]);
    // A pool of two has two sequences of two, however many are asked for.
    let two = Source { params: &fewer, query: 7, cosines: &cosines[..2], logits: None };
    let (found, lost) = two.sequences(2);
    assert_eq!((found.len(), lost), (2, 11));
}

#[test]
fn beams_are_the_most_probable_sequences() {
    let cosines = [0.0; 6];
    let logits = [0.3, 2.0, -1.0, 1.9, 0.0, 1.0];
    let params = BuildParams { random: 0, retrieval: 0, sample: 0, beam: 30, ..BuildParams::default() };
    let (found, _) =
        Source { params: &params, query: 0, cosines: &cosines, logits: Some(&logits) }.sequences(2);
    let mut all: Vec<(f64, Vec<u32>)> = Vec::new();
    for a in 0..6_u32 {
        for b in (0..6).filter(|b| *b != a) {
            all.push((sequence_log_prob(&logits, &[a, b]), vec![a, b]));
        }
    }
    all.sort_by(|x, y| y.0.total_cmp(&x.0).then_with(|| x.1.cmp(&y.1)));
    assert!(found.iter().all(|one| one.method == Method::Beam && one.log_prob.is_some()));
    let pointers: Vec<&Vec<u32>> = found.iter().map(|one| &one.pointer).collect();
    assert_eq!(pointers, all.iter().map(|(_, pointer)| pointer).collect::<Vec<_>>());
}
