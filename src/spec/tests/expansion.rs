//! Order, names and counts of points; baselines; properties of the expansion.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;

use super::{HEAD, names, spec, values, wrong};
use crate::spec::{Config, LoadOptions, NAME_LIMIT, parse};

const LAB: &str = r#"
[train]
rce_epochs = 2
[grid]
kl_beta     = [0.10, 0.12, 0.15, 0.18]
grpo_lr     = [5e-6, 1e-5, 2e-5]
grpo_epochs = [1, 2, 3]
freeze      = [["backbone"], []]
seed        = [0, 1, 2]
[[exclude]]
grpo_lr = 2e-5
freeze  = []
[baseline]
kl_beta = 0.15
grpo_lr = 5e-6
grpo_epochs = 1
freeze  = ["backbone"]
"#;

#[test]
fn the_lab_grid() {
    let spec = spec(LAB);
    assert_eq!(spec.points.len(), 4 * 3 * 3 * 2 * 3 - 4 * 3 * 3);
    assert_eq!(names(&spec)[0], "kl0.1-lr5e-6-ep1-frozen-s0");
    assert_eq!(names(&spec)[1], "kl0.1-lr5e-6-ep1-frozen-s1");
    assert_eq!(names(&spec)[3], "kl0.1-lr5e-6-ep1-unfrozen-s0");
    assert_eq!(
        spec.axes,
        ["train.kl_beta", "train.grpo_lr", "train.grpo_epochs", "train.freeze", "train.seed"]
    );
    let baseline: Vec<&str> = spec.baseline.iter().map(|index| names(&spec)[*index]).collect();
    assert_eq!(
        baseline,
        ["kl0.15-lr5e-6-ep1-frozen-s0", "kl0.15-lr5e-6-ep1-frozen-s1", "kl0.15-lr5e-6-ep1-frozen-s2"]
    );
    let last = spec.points.last().unwrap();
    assert_eq!(last.name, "kl0.18-lr2e-5-ep3-frozen-s2");
    assert_eq!((values(last).train.kl_beta, values(last).train.grpo_lr), (0.18, 2e-5));
    assert_eq!((values(last).train.grpo_epochs, values(last).train.seed), (3, 2));
    assert_eq!(values(last).train.rce_epochs, 2);
    assert_eq!(
        serde_json::to_string(&last.axes).unwrap(),
        r#"[["train.kl_beta",0.18],["train.grpo_lr",0.00002],["train.grpo_epochs",3],["train.freeze",["input_proj","query_proj","cand_proj"]],["train.seed",2]]"#
    );
    assert!(spec.warnings.is_empty());
}

#[test]
fn a_sweep_without_a_grid_has_one_point() {
    let spec = spec("");
    assert_eq!(names(&spec), ["base"]);
    assert!(spec.axes.is_empty() && spec.points[0].axes.is_empty() && spec.baseline.is_empty());
    assert_eq!(values(&spec.points[0]).data.trajectories, Path::new("sweeps/a.json"));
    assert!(spec.eval.is_none() && spec.slurm.is_none());
}

#[test]
fn an_axis_with_one_value_is_not_in_names() {
    let spec = spec("[train]\ngrpo_epochs = 1\n[grid]\nkl_beta = [0.3]\nseed = [1, 2]\n[baseline]\n");
    assert_eq!(names(&spec), ["s1", "s2"]);
    assert_eq!(spec.axes, ["train.seed"]);
    assert_eq!(values(&spec.points[0]).train.kl_beta, 0.3);
    assert_eq!(spec.baseline, [0, 1]);
}

#[test]
fn zipped_axes_advance_together_at_their_place_in_the_file() {
    let body = "[train]\ngrpo_epochs = 1\n[grid]\nseed = [0, 1]\n[[grid.zip]]\nkl_beta = [0.1, 0.2, 0.2]\n\
                grpo_lr = [1e-6, 1e-6, 2e-6]\n[grid.model]\nhidden = [64, 128]\n";
    let spec = spec(body);
    assert_eq!(spec.axes, ["train.seed", "train.kl_beta", "train.grpo_lr", "model.hidden"]);
    assert_eq!(spec.points.len(), 2 * 3 * 2);
    assert_eq!(
        names(&spec)[..3],
        ["s0-kl0.1-lr1e-6-hid64", "s0-kl0.1-lr1e-6-hid128", "s0-kl0.2-lr1e-6-hid64"]
    );
}

#[test]
fn an_include_may_bring_new_axes() {
    let body = "[train]\nkl_beta = 0.1\ngrpo_epochs = 1\n[grid]\nkl_beta = [0.1, 0.15]\ngrpo_epochs = [1, 2]\n\
                [[include]]\nkl_beta = 0.3\ndropout = 0.1\nseed = [1, 2]\n\
                [baseline]\nkl_beta = 0.1\ngrpo_epochs = 1\n";
    let spec = spec(body);
    assert_eq!(spec.axes, ["train.kl_beta", "train.grpo_epochs", "model.dropout", "train.seed"]);
    assert_eq!(
        names(&spec),
        [
            "kl0.1-ep1-drop0.5-s0",
            "kl0.1-ep2-drop0.5-s0",
            "kl0.15-ep1-drop0.5-s0",
            "kl0.15-ep2-drop0.5-s0",
            "kl0.3-ep1-drop0.1-s1",
            "kl0.3-ep1-drop0.1-s2",
        ]
    );
    assert_eq!(spec.baseline, [0]);
    assert_eq!(values(&spec.points[5]).model.dropout, 0.1);
}

#[test]
fn the_baseline_may_be_an_included_point() {
    let body = "[train]\ngrpo_epochs = 1\n[grid]\nkl_beta = [0.05, 0.08]\nseed = [0, 1]\n[[include]]\nkl_beta = 0.15\n\
                seed = [0, 1]\n[baseline]\nkl_beta = 0.15\n";
    assert_eq!(spec(body).baseline, [4, 5]);
}

#[test]
fn an_axis_without_effect_is_a_warning() {
    let spec = spec("[grid]\nkl_beta = [0.1, 0.2]\n");
    insta::assert_snapshot!(spec.warnings.join("\n"), @r"axis `train.kl_beta` changes nothing: `train.grpo_epochs` is 0 in every point, so points that differ only in it are the same");
}

#[test]
fn odd_values_have_names_that_are_safe_and_different() {
    let body = "[train]\ngrpo_epochs = 1\n[grid]\n\
                init = [\"a.pt\", \"none\", \"../kl012/rce_epoch5.pt\", \"../kl015/rce_epoch5.pt\", \"x y/ü.pt\", \"x-y/é.pt\", \"x y/é.pt\"]\n\
                rce_temperature = [[2, 0.5], [1.0, 1.0]]\nfreeze = [[\"head\"], [\"input_proj\", \"cross_attn\"], \"none\"]\n\
                mode = [\"legacy\", \"hard_only\"]\nearly_stop = [\"off\", 3]\nrce_top1_only = [true, false]\nalpha = [-0.5, 1e-9]\n";
    let spec = spec(body);
    let distinct: HashSet<&str> = names(&spec).into_iter().collect();
    assert_eq!(distinct.len(), spec.points.len());
    for name in distinct {
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c)), "{name}");
        assert!(name.len() <= NAME_LIMIT, "{name}");
    }
    assert_eq!(names(&spec)[0], "init_a-tau2_0.5-head-legacy-stopoff-top1-alpha-0.5");
}

#[test]
fn long_names_are_cut_and_stay_different() {
    let mut body = "[grid]\n".to_owned();
    for key in
        crate::selector::SCHEMA.all_keys().filter(|key| key.is_axis() && key.dotted().contains("weight"))
    {
        writeln!(body, "{} = [0.123456789012345, 0.123456789012346]", key.dotted()).unwrap();
    }
    body.push_str("alpha = [1.23456789012345e-7, 1]\nbeta = [1.23456789012345e-7, 1]\n");
    let spec = spec(&body);
    let distinct: HashSet<&str> = names(&spec).into_iter().collect();
    assert_eq!(distinct.len(), 64);
    assert!(distinct.iter().all(|name| name.len() <= NAME_LIMIT));
    assert!(distinct.iter().any(|name| name.len() == NAME_LIMIT));
}

#[test]
fn ten_million_points_are_refused_without_being_made() {
    let start = Instant::now();
    let message = wrong(
        "[grid]\nseed = { from = 0, to = 99999, count = 100000 }\nkl_beta = [0.1, 0.2, 0.3, 0.4, 0.5]\n\
         hidden = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\nlayers = [1, 2]\n",
    );
    assert!(message.contains("10,000,000 points"), "{message}");
    assert!(start.elapsed().as_secs_f64() < 1.0);
}

#[test]
fn the_limit_is_inclusive_and_can_be_lifted() {
    let body = "[grid]\nseed = { from = 0, to = 99999, count = 100000 }\n";
    assert_eq!(spec(body).points.len(), 100_000);
    let body = format!("{HEAD}{body}[[include]]\nseed = 100000\n");
    assert!(parse(&body, Path::new("t.toml"), &LoadOptions::default()).is_err());
    let options = LoadOptions { allow_huge: true, ..LoadOptions::default() };
    assert_eq!(parse(&body, Path::new("t.toml"), &options).unwrap().points.len(), 100_001);
}

/// `config` as the plain tables of a sweep file.
fn as_toml(config: &Config) -> String {
    let mut text = "name = \"t\"\n".to_owned();
    for (table, name, value) in config.entries() {
        let value = match (value, name) {
            (serde_json::Value::Null, "early_stop") => "\"off\"".to_owned(),
            (serde_json::Value::Null, _) => "\"none\"".to_owned(),
            (value, _) => value.to_string(),
        };
        writeln!(text, "{table}.{name} = {value}").unwrap();
    }
    text
}

fn distinct<T: std::fmt::Debug + Clone + PartialEq>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(value, 1..4).prop_map(|values| {
        let mut distinct: Vec<T> = Vec::new();
        for value in values {
            if !distinct.contains(&value) {
                distinct.push(value);
            }
        }
        distinct
    })
}

prop_compose! {
    fn grid()(
        betas in distinct((0u32..50).prop_map(|n| f64::from(n) / 100.0)),
        rates in distinct((1u32..1000).prop_map(|n| f64::from(n) * 1e-8)),
        epochs in distinct(1u32..6),
        seeds in distinct(0u64..100),
        freeze in distinct(prop::sample::subsequence(vec!["input_proj", "query_proj", "cross_attn"], 0..3)),
        excluded in prop::bool::ANY,
        included in 0usize..3,
    ) -> (Vec<f64>, Vec<f64>, Vec<u32>, Vec<u64>, Vec<Vec<&'static str>>, bool, usize) {
        (betas, rates, epochs, seeds, freeze, excluded, included)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn points_are_the_product_less_excluded_plus_included(
        (betas, rates, epochs, seeds, freeze, excluded, included) in grid()
    ) {
        let mut body = format!(
            "[grid]\nkl_beta = {betas:?}\ngrpo_lr = {rates:?}\ngrpo_epochs = {epochs:?}\nfreeze = {freeze:?}\nseed = {seeds:?}\n"
        );
        let excluded = excluded && epochs.len() > 1;
        if excluded {
            body.push_str(&format!("[[exclude]]\ngrpo_epochs = {}\nseed = {}\n", epochs[0], seeds[0]));
        }
        for n in 0..included {
            body.push_str(&format!("[[include]]\ngrpo_epochs = 7\nhidden = {}\n", 10 + n));
        }
        let spec = spec(&body);
        let mut expected = Vec::new();
        for beta in &betas { for rate in &rates { for epoch in &epochs { for set in &freeze { for seed in &seeds {
            if !(excluded && *epoch == epochs[0] && *seed == seeds[0]) {
                expected.push((*beta, *rate, *epoch, set.len(), *seed));
            }
        }}}}}
        let found: Vec<_> = spec.points.iter().map(|point| values(point).train)
            .map(|train| (train.kl_beta, train.grpo_lr, train.grpo_epochs, train.freeze.0.len(), train.seed))
            .collect();
        prop_assert_eq!(&found[..expected.len()], &expected[..]);
        prop_assert_eq!(found.len(), expected.len() + included);
        let distinct: HashSet<&str> = names(&spec).into_iter().collect();
        prop_assert_eq!(distinct.len(), spec.points.len());
    }

    #[test]
    fn a_point_written_out_and_read_again_is_the_same(
        (betas, rates, epochs, seeds, freeze, _, _) in grid(), which in any::<prop::sample::Index>()
    ) {
        let spec = spec(&format!(
            "[grid]\nkl_beta = {betas:?}\ngrpo_lr = {rates:?}\ngrpo_epochs = {epochs:?}\nfreeze = {freeze:?}\nseed = {seeds:?}\n\
             init = [\"none\", \"a/b.pt\"]\nearly_stop = [\"off\", 2]\nmode = [\"legacy\", \"hard_only\"]\n"
        ));
        let config = &which.get(&spec.points).config;
        let again = parse(&as_toml(config), Path::new("t.toml"), &LoadOptions::default()).unwrap();
        prop_assert_eq!(&again.points[0].config, config);
    }

    #[test]
    fn no_change_of_a_character_makes_the_parser_panic(
        place in any::<prop::sample::Index>(), cut in 0usize..20, inserted in "\\PC{0,3}"
    ) {
        let mut text: Vec<char> = format!("{HEAD}{LAB}").chars().collect();
        let start = place.index(text.len());
        let end = (start + cut).min(text.len());
        text.splice(start..end, inserted.chars());
        let text: String = text.into_iter().collect();
        let outcome = parse(&text, Path::new("t.toml"), &LoadOptions::default());
        let message = outcome.map_or_else(|error| error.to_string(), |spec| spec.name);
        prop_assert!(!message.is_empty());
    }

    #[test]
    fn no_list_of_lines_makes_the_parser_panic(lines in prop::collection::vec(
        prop::sample::select(vec![
            "[grid]", "[[grid.zip]]", "[[exclude]]", "[[include]]", "[baseline]", "[train]", "[eval]", "[slurm]", "x",
            "kl_beta = [0.1, 0.2]", "kl_beta = 0.1", "seed = [1, 2]", "seed = {from = 0, to = 4, count = 3}",
            "freeze = [[], [\"head\"]]", "freeze = []", "grpo_epochs = [0, 1]", "rce_epochs = 0", "hidden = [3, 4]",
            "heads = 3", "logged = \"ü\"", "samples = [1, -1]", "top_k = [[1, 2]]", "= 3", "kl_beta = [[1]]",
        ]), 0..12,
    )) {
        let _ = super::with(&(lines.join("\n") + "\n"), &["kl_beta=0.2"], &["seed=1"]);
        let _ = super::with(&(lines.join("\n") + "\n"), &[], &[]);
    }
}
