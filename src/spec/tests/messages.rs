//! What people read when they make the mistakes that people make.

use std::path::Path;

use insta::assert_snapshot;

use super::{with, wrong};
use crate::spec::{LoadOptions, SpecError, parse};

#[test]
fn unknown_keys_name_the_nearest() {
    assert_snapshot!(wrong("[train]\nkl_beat = 0.15\n"), @"");
    assert_snapshot!(wrong("[train]\nKL_BETA = 0.15\n"), @"");
    assert_snapshot!(wrong("[train]\nhidden = 128\n"), @"");
    assert_snapshot!(wrong("[train]\nlr = 1e-5\n"), @"");
    assert_snapshot!(wrong("[trian]\nkl_beta = 0.1\n"), @"");
    assert_snapshot!(wrong("[grid]\nepochs = [1, 2]\n"), @"");
    assert_snapshot!(wrong("[grid]\nGRPO_LR = [1e-5]\n"), @"");
    assert_snapshot!(wrong("[grid]\ntrain.kl_beat = [0.1]\n"), @"");
    assert_snapshot!(wrong("[data.extra]\nx = 1\n"), @"");
    assert_snapshot!(wrong("[train]\nbatch_size = 8\n"), @"");
}

#[test]
fn wrong_types() {
    assert_snapshot!(wrong("[train]\nrce_epochs = \"3\"\n"), @"");
    assert_snapshot!(wrong("[train]\ngrpo_epochs = 1.0\n"), @"");
    assert_snapshot!(wrong("[train]\nshuffle = 1\n"), @"");
    assert_snapshot!(wrong("[train]\ntop_k = 3\n"), @"");
    assert_snapshot!(wrong("[train]\ninit = 3\n"), @"");
    assert_snapshot!(wrong("[train]\nfreeze = true\n"), @"");
    assert_snapshot!(wrong("[reward]\nmode = \"hard_plus_sotf\"\n"), @"");
    assert_snapshot!(wrong("[[train]]\nkl_beta = 0.1\n"), @"");
    assert_snapshot!(wrong("[train]\nkl_beta = { from = 0, to = 1, count = 3 }\n"), @"");
}

#[test]
fn impossible_values() {
    assert_snapshot!(wrong("[train]\nkl_beta = -0.1\n"), @"");
    assert_snapshot!(wrong("[train]\ngrpo_lr = 0\n"), @"");
    assert_snapshot!(wrong("[train]\nrce_lr = nan\n"), @"");
    assert_snapshot!(wrong("[train]\nrce_lr = inf\n"), @"");
    assert_snapshot!(wrong("[train]\nrce_epochs = -1\n"), @"");
    assert_snapshot!(wrong("[model]\ndropout = 1.0\n"), @"");
    assert_snapshot!(wrong("[model]\ntemperature = 0\n"), @"");
    assert_snapshot!(wrong("[train]\ntop_k = [0, 5]\n"), @"");
    assert_snapshot!(wrong("[train]\nkl_target = [0.1, 0.01]\n"), @"");
    assert_snapshot!(wrong("[train]\nfreeze = [\"backbon\"]\n"), @"");
    assert_snapshot!(wrong("[eval]\nlogged = \"x\"\nshots = [2, 2]\n"), @"");
    assert_snapshot!(wrong("[eval]\nlogged = \"x\"\nsamples = 0\n"), @"");
    assert_snapshot!(wrong("[train]\nearly_stop = 0\n"), @"");
    assert_snapshot!(wrong("[export]\nformats = [\"onnx\"]\n"), @"");
}

#[test]
fn keys_that_contradict_each_other() {
    assert_snapshot!(wrong("[model]\nheads = 3\n"), @"");
    assert_snapshot!(wrong("[train]\ngrpo_epochs = 1\n[grid]\nfreeze = [[\"backbone\"], [\"backbone\", \"head\"]]\n"), @"");
    assert_snapshot!(wrong("[train]\nrce_epochs = 0\n"), @"");
    assert_snapshot!(wrong("[grid]\nrce_epochs = [1, 0]\n"), @"");
}

#[test]
fn bad_axes() {
    assert_snapshot!(wrong("[grid]\nkl_beta = []\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15, 0.10]\n"), @"");
    assert_snapshot!(wrong("[grid]\nseed = 0\n"), @"");
    assert_snapshot!(wrong("[grid]\nfreeze = [\"backbone\"]\n"), @"");
    assert_snapshot!(wrong("[grid]\ntop_k = [3, 5]\n"), @"");
    assert_snapshot!(wrong("[grid]\ntrain_fraction = [0.5, 0.8]\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1]\ntrain.kl_beta = [0.2]\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, -0.15]\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, \"high\"]\n"), @"");
    assert_snapshot!(wrong("[[grid.zip]]\nkl_beta = [0.1, 0.2]\ngrpo_lr = [1e-6]\n"), @"");
    assert_snapshot!(wrong("[grid]\nzip = 3\n"), @"");
}

#[test]
fn bad_ranges() {
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0.1, to = 0.3, step = 0.1 }\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0.1, to = 0.3 }\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0.1, to = 0.3, count = 1 }\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0, to = 0.3, count = 3, scale = \"log\" }\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0.1, to = 0.3, count = 3, scale = \"sqrt\" }\n"), @"");
    assert_snapshot!(wrong("[grid]\ngrpo_epochs = { from = 1, to = 2, count = 3 }\n"), @"");
    assert_snapshot!(wrong("[grid]\nfreeze = { from = 1, to = 2, count = 3 }\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = -1, to = 2, count = 3 }\n"), @"");
}

#[test]
fn excludes_and_includes() {
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[exclude]]\nkl_beta = 0.3\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[exclude]]\ngrpo_lr = 1e-5\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[exclude]\nkl_beta = 0.1\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[exclude]]\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[exclude]]\nkl_beta = [0.1, 0.15]\n"), @"");
    assert_snapshot!(wrong("[[grid.zip]]\nkl_beta = [0.1, 0.2]\nseed = [1, 2]\n[[exclude]]\nkl_beta = 0.1\nseed = 2\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[include]]\nkl_beta = 0.1\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[include]]\nkl_bta = 0.1\n"), @"");
}

#[test]
fn the_baseline() {
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[baseline]\nkl_beta = 0.2\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\ngrpo_lr = [1e-6, 2e-6]\nseed = [0, 1]\n[baseline]\nkl_beta = 0.15\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[baseline]\nkl_beta = 0.1\nrce_epochs = 2\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\nseed = [0, 1]\n[[exclude]]\nkl_beta = 0.1\nseed = 0\n[baseline]\nkl_beta = 0.1\nseed = 0\n"), @"");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[baseline]\nkl_beta = [0.1, 0.15]\n"), @"");
}

#[test]
fn many_points() {
    assert_snapshot!(wrong("[grid]\nseed = { from = 0, to = 9999, count = 10000 }\nkl_beta = { from = 0.001, to = 1, count = 1000 }\n"), @"");
}

#[test]
fn broken_toml() {
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.2\n"), @"");
    assert_snapshot!(wrong("[train]\nkl_beta = 0.1\nkl_beta = 0.2\n"), @"");
    assert_snapshot!(wrong("[train]\nkl_beta = .1\n"), @"");
}

#[test]
fn what_is_missing() {
    let error = |text: &str| {
        parse(text, Path::new("t.toml"), &LoadOptions::default())
            .expect_err("something is missing")
            .to_string()
    };
    assert_snapshot!(error("[data]\ntrajectories = \"a.json\"\n"), @"");
    assert_snapshot!(error("[grid]\nseed = [1]\n"), @"");
    assert_snapshot!(wrong("[eval]\nshots = [1]\n"), @"");
}

#[test]
fn several_mistakes_come_in_the_order_of_the_file() {
    assert_snapshot!(wrong("[train]\nkl_beta = -1\n[grid]\nseed = []\nfreez = [[]]\n"), @"");
    let many = (0..20).map(|n| format!("wrong{n} = 1\n")).collect::<String>();
    let message = wrong(&format!("[slurm]\n{many}"));
    assert_eq!(message.matches("unknown key").count(), 12);
    assert!(message.ends_with("... and 8 more"), "{message}");
}

#[test]
fn names_of_sweeps() {
    let named = |name: &str| with("", &[&format!("name={name}")], &[]);
    assert_eq!(named("kl_grid-2").unwrap().name, "kl_grid-2");
    assert_snapshot!(named("../up").unwrap_err(), @"");
    assert_snapshot!(parse("[data]\n", Path::new("my sweep.toml"), &LoadOptions {
        set: vec!["trajectories=a".to_owned(), "embeddings=b".to_owned()],
        ..LoadOptions::default()
    }).unwrap_err().to_string(), @"");
}

#[test]
fn long_lines_are_shortened_around_the_mistake() {
    let values: Vec<String> =
        (1..200).map(|n| if n == 120 { "-1".to_owned() } else { n.to_string() }).collect();
    assert_snapshot!(wrong(&format!("[grid]\nkl_beta = [{}]\n", values.join(", "))), @"");
}

#[test]
fn tabs_keep_the_caret_in_place() {
    assert_snapshot!(wrong("[train]\n\tkl_beta\t= -1\n"), @"");
}

#[test]
fn places_are_public() {
    let SpecError::Invalid(problems) =
        parse("[data]\nx = 1", Path::new("t.toml"), &LoadOptions::default()).unwrap_err()
    else {
        panic!("not a mistake in the file");
    };
    let place = problems.0[0].place.as_ref().unwrap();
    assert_eq!((place.file.as_str(), place.line, place.column), ("t.toml", Some(2), 1));
}
