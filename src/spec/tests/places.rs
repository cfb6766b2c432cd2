//! The place in the text that a message shows.

use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{with, wrong};
use crate::spec::{LoadOptions, SpecError, parse};

#[test]
fn several_mistakes_come_in_the_order_of_the_file() {
    assert_snapshot!(wrong("[train]\nkl_beta = -1\n[grid]\nseed = []\nfreez = [[]]\n"), @r"
    `train.kl_beta` must be a number, 0 or more, but is `-1`
     --> sweeps/t.toml:6:11
      |
    6 | kl_beta = -1
      |           ^^
    hint: the default is 0.15

    error: axis `train.seed` is empty: it has no values to try
     --> sweeps/t.toml:8:8
      |
    8 | seed = []
      |        ^^
    hint: give at least one value, or remove the axis

    error: unknown key `freez` in [grid]
     --> sweeps/t.toml:9:1
      |
    9 | freez = [[]]
      | ^^^^^
    hint: did you mean `freeze`?
    ");
    let many = (0..20).map(|n| format!("wrong{n} = 1\n")).collect::<String>();
    let message = wrong(&format!("[slurm]\n{many}"));
    assert_eq!(message.matches("unknown key").count(), 12);
    assert!(message.ends_with("... and 8 more"), "{message}");
}

#[test]
fn long_lines_are_shortened_around_the_mistake() {
    let values: Vec<String> =
        (1..200).map(|n| if n == 120 { "-1".to_owned() } else { n.to_string() }).collect();
    assert_snapshot!(wrong(&format!("[grid]\nkl_beta = [{}]\n", values.join(", "))), @r"
    `train.kl_beta` must be a number, 0 or more, but is `-1`
     --> sweeps/t.toml:6:499
      |
    6 | ...09, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, -1, 121, 122, 123, 124, 125, 126, 127, 128, 129, 130, 13...
      |                                                          ^^
    hint: the default is 0.15
    ");
}

#[test]
fn tabs_keep_the_caret_in_place() {
    assert_snapshot!(wrong("[train]\n\tkl_beta\t= -1\n"), @r"
    `train.kl_beta` must be a number, 0 or more, but is `-1`
     --> sweeps/t.toml:6:12
      |
    6 |     kl_beta    = -1
      |                  ^^
    hint: the default is 0.15
    ");
}

#[test]
fn carets_stand_below_wide_letters_and_nothing_steers_the_terminal() {
    assert_snapshot!(wrong("[train]\nrce_lr = \"日本\" # \u{202e}\n"), @r#"
    `train.rce_lr` must be a number greater than 0, but is `"日本"`
     --> sweeps/t.toml:6:10
      |
    6 | rce_lr = "日本" # �
      |          ^^^^^^
    hint: the default is 1e-4
    "#);
}

#[test]
fn nothing_is_added_at_the_rim() {
    let error = parse("x = 1", Path::new("t.toml"), &LoadOptions::default()).unwrap_err();
    let message = error.to_string();
    assert_eq!(format!("{:#}", anyhow::Error::from(error)), message);
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

proptest! {
    /// Whatever stands in a file or an argument, what is wrong with it can be shown.
    #[test]
    fn any_text_can_be_shown(text in "([a-z=\\[\\]{}\"'. #0-9]|\\PC|[\n\r\t\u{0}\u{1b}日é\u{202e}]){0,60}", start in "(\\[train\\]\n|\\[grid\\]\n|name = |)") {
        if let Err(problem) = parse(&(start + &text), Path::new("t.toml"), &LoadOptions::default()) {
            prop_assert!(!problem.to_string().is_empty());
        }
        if let Err(problem) = with("", &[&text], &[]) {
            prop_assert!(!problem.to_string().is_empty());
        }
    }
}
