//! What people read when they make the mistakes that people make.
#![expect(clippy::too_many_lines, reason = "flat lists of snapshots")]

use std::path::Path;

use insta::assert_snapshot;

use super::{with, wrong};
use crate::spec::{LoadOptions, parse};

#[test]
fn unknown_keys_name_the_nearest() {
    assert_snapshot!(wrong("[train]\nkl_beat = 0.15\n"), @r"
    unknown key `kl_beat` in [train]
     --> sweeps/t.toml:6:1
      |
    6 | kl_beat = 0.15
      | ^^^^^^^
    hint: did you mean `kl_beta`?
    ");
    assert_snapshot!(wrong("[train]\nKL_BETA = 0.15\n"), @r"
    unknown key `KL_BETA` in [train]
     --> sweeps/t.toml:6:1
      |
    6 | KL_BETA = 0.15
      | ^^^^^^^
    hint: it is called `kl_beta` here
    ");
    assert_snapshot!(wrong("[train]\nhidden = 128\n"), @r"
    unknown key `hidden` in [train]
     --> sweeps/t.toml:6:1
      |
    6 | hidden = 128
      | ^^^^^^
    hint: `hidden` belongs in [model]
    ");
    assert_snapshot!(wrong("[train]\nlr = 1e-5\n"), @r"
    unknown key `lr` in [train]
     --> sweeps/t.toml:6:1
      |
    6 | lr = 1e-5
      | ^^
    hint: did you mean `rce_lr` or `grpo_lr`?
    ");
    assert_snapshot!(wrong("[trian]\nkl_beta = 0.1\n"), @r"
    unknown table `[trian]`
     --> sweeps/t.toml:5:2
      |
    5 | [trian]
      |  ^^^^^
    hint: did you mean [train]?
    ");
    assert_snapshot!(wrong("[grid]\nepochs = [1, 2]\n"), @r"
    unknown key `epochs` in [grid]
     --> sweeps/t.toml:6:1
      |
    6 | epochs = [1, 2]
      | ^^^^^^
    hint: did you mean `rce_epochs` or `grpo_epochs`?
    ");
    assert_snapshot!(wrong("[grid]\nGRPO_LR = [1e-5]\n"), @r"
    unknown key `GRPO_LR` in [grid]
     --> sweeps/t.toml:6:1
      |
    6 | GRPO_LR = [1e-5]
      | ^^^^^^^
    hint: it is called `grpo_lr` here
    ");
    assert_snapshot!(wrong("[grid]\ntrain.kl_beat = [0.1]\n"), @r"
    unknown key `train.kl_beat` in [grid]
     --> sweeps/t.toml:6:7
      |
    6 | train.kl_beat = [0.1]
      |       ^^^^^^^
    hint: did you mean `kl_beta`?
    ");
    assert_snapshot!(wrong("[data.extra]\nx = 1\n"), @r"
    unknown key `extra` in [data]
     --> sweeps/t.toml:5:7
      |
    5 | [data.extra]
      |       ^^^^^
    hint: `extra` belongs in [slurm]
    ");
    assert_snapshot!(wrong("[train]\nbatch_size = 8\n"), @r"
    unknown key `batch_size` in [train]
     --> sweeps/t.toml:6:1
      |
    6 | batch_size = 8
      | ^^^^^^^^^^
    hint: remove it: a training step is always one query group
    ");
}

#[test]
fn wrong_types() {
    assert_snapshot!(wrong("[train]\nrce_epochs = \"3\"\n"), @r#"
    `train.rce_epochs` must be a whole number, 0 or more, but is `"3"`
     --> sweeps/t.toml:6:14
      |
    6 | rce_epochs = "3"
      |              ^^^
    hint: remove the quotes
    "#);
    assert_snapshot!(wrong("[train]\ngrpo_epochs = 1.0\n"), @r"
    `train.grpo_epochs` must be a whole number, 0 or more, but is `1.0`
     --> sweeps/t.toml:6:15
      |
    6 | grpo_epochs = 1.0
      |               ^^^
    hint: write `1`
    ");
    assert_snapshot!(wrong("[train]\nshuffle = 1\n"), @r"
    `train.shuffle` must be true or false, but is `1`
     --> sweeps/t.toml:6:11
      |
    6 | shuffle = 1
      |           ^
    hint: the default is true
    ");
    assert_snapshot!(wrong("[train]\ntop_k = 3\n"), @r"
    `train.top_k` must be a list of two whole numbers, 1 or more, but is `3`
     --> sweeps/t.toml:6:9
      |
    6 | top_k = 3
      |         ^
    hint: give both, such as `[3, 3]`
    ");
    assert_snapshot!(wrong("[train]\ninit = 3\n"), @r#"
    `train.init` must be a path in quotes, or "none", but is `3`
     --> sweeps/t.toml:6:8
      |
    6 | init = 3
      |        ^
    hint: the default is "none"
    "#);
    assert_snapshot!(wrong("[train]\nfreeze = true\n"), @r#"
    `train.freeze` must be a list of "input_proj", "query_proj", "cand_proj", "cross_attn", "attn_norms", "backbone", "head", but is `true`
     --> sweeps/t.toml:6:10
      |
    6 | freeze = true
      |          ^^^^
    hint: write `["backbone"]` to freeze the projections, `[]` to freeze nothing
    "#);
    assert_snapshot!(wrong("[reward]\nmode = \"hard_plus_sotf\"\n"), @r#"
    `reward.mode` must be one of "hard_plus_soft", "hard_plus_soft_v2", "hard_only", "soft_only", "separated", "hard01_plus_gtprob", "hard01_plus_gtprob_separated", "hard_plus_gtprob_plus_rel", "gtprob_only", "legacy", but is `"hard_plus_sotf"`
     --> sweeps/t.toml:6:8
      |
    6 | mode = "hard_plus_sotf"
      |        ^^^^^^^^^^^^^^^^
    hint: did you mean "hard_plus_soft"?
    "#);
    assert_snapshot!(wrong("[[train]]\nkl_beta = 0.1\n"), @r"
    `train` is given as a list of tables, but there is only one of it
     --> sweeps/t.toml:5:3
      |
    5 | [[train]]
      |   ^^^^^
    hint: write `[train]` on a line of its own
    ");
    assert_snapshot!(wrong("[train]\nkl_beta = { from = 0, to = 1, count = 3 }\n"), @r"
    `train.kl_beta` must be a number, 0 or more, but is a table
     --> sweeps/t.toml:6:11
      |
    6 | kl_beta = { from = 0, to = 1, count = 3 }
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: this takes one value; a list or range of values to try belongs in [grid]
    ");
}

#[test]
fn impossible_values() {
    assert_snapshot!(wrong("[train]\nkl_beta = -0.1\n"), @r"
    `train.kl_beta` must be a number, 0 or more, but is `-0.1`
     --> sweeps/t.toml:6:11
      |
    6 | kl_beta = -0.1
      |           ^^^^
    hint: the default is 0.15
    ");
    assert_snapshot!(wrong("[train]\ngrpo_lr = 0\n"), @r"
    `train.grpo_lr` must be a number greater than 0, but is `0`
     --> sweeps/t.toml:6:11
      |
    6 | grpo_lr = 0
      |           ^
    hint: the default is 5e-6
    ");
    assert_snapshot!(wrong("[train]\nrce_lr = nan\n"), @r"
    `train.rce_lr` must be a number greater than 0, but is `nan`
     --> sweeps/t.toml:6:10
      |
    6 | rce_lr = nan
      |          ^^^
    hint: the default is 1e-4
    ");
    assert_snapshot!(wrong("[train]\nrce_lr = inf\n"), @r"
    `train.rce_lr` must be a number greater than 0, but is `inf`
     --> sweeps/t.toml:6:10
      |
    6 | rce_lr = inf
      |          ^^^
    hint: the default is 1e-4
    ");
    assert_snapshot!(wrong("[train]\nrce_epochs = -1\n"), @r"
    `train.rce_epochs` must be a whole number, 0 or more, but is `-1`
     --> sweeps/t.toml:6:14
      |
    6 | rce_epochs = -1
      |              ^^
    hint: the default is 5
    ");
    assert_snapshot!(wrong("[model]\ndropout = 1.0\n"), @r"
    `model.dropout` must be a number from 0 to below 1, but is `1.0`
     --> sweeps/t.toml:6:11
      |
    6 | dropout = 1.0
      |           ^^^
    hint: the default is 0.5
    ");
    assert_snapshot!(wrong("[model]\ntemperature = 0\n"), @r"
    `model.temperature` must be a number greater than 0, but is `0`
     --> sweeps/t.toml:6:15
      |
    6 | temperature = 0
      |               ^
    hint: the default is 0.1
    ");
    assert_snapshot!(wrong("[train]\ntop_k = [0, 5]\n"), @r"
    `train.top_k` must be a list of two whole numbers, 1 or more, but is `[0, 5]`
     --> sweeps/t.toml:6:9
      |
    6 | top_k = [0, 5]
      |         ^^^^^^
    hint: the default is [3, 5]
    ");
    assert_snapshot!(wrong("[train]\nkl_target = [0.1, 0.01]\n"), @r"
    `train.kl_target` must be a list of two numbers, 0 or more, the smaller one first, but is `[0.1, 0.01]`
     --> sweeps/t.toml:6:13
      |
    6 | kl_target = [0.1, 0.01]
      |             ^^^^^^^^^^^
    hint: swap them, or move them apart
    ");
    assert_snapshot!(wrong("[train]\nfreeze = [\"backbon\"]\n"), @r#"
    `train.freeze` must be a list of "input_proj", "query_proj", "cand_proj", "cross_attn", "attn_norms", "backbone", "head", but is `["backbon"]`
     --> sweeps/t.toml:6:10
      |
    6 | freeze = ["backbon"]
      |          ^^^^^^^^^^^
    hint: there is no "backbon"; did you mean "backbone"?
    "#);
    assert_snapshot!(wrong("[eval]\nlogged = \"x\"\nshots = [2, 2]\n"), @r"
    `eval.shots` must be a list of different whole numbers, 1 or more, but is `[2, 2]`
     --> sweeps/t.toml:7:9
      |
    7 | shots = [2, 2]
      |         ^^^^^^
    hint: name each count once
    ");
    assert_snapshot!(wrong("[eval]\nlogged = \"x\"\nsamples = 0\n"), @r"
    `eval.samples` must be a whole number, 1 or more, or -1 for all, or a list of such numbers, but is `0`
     --> sweeps/t.toml:7:11
      |
    7 | samples = 0
      |           ^
    hint: the default is [-1]
    ");
    assert_snapshot!(wrong("[train]\nearly_stop = 0\n"), @r#"
    `train.early_stop` must be a whole number of epochs, 1 or more, or "off", but is `0`
     --> sweeps/t.toml:6:14
      |
    6 | early_stop = 0
      |              ^
    hint: the default is "off"
    "#);
    assert_snapshot!(wrong("[export]\nformats = [\"onnx\"]\n"), @r#"
    `export.formats` must be a list of "v2", "pt", "safetensors", but is `["onnx"]`
     --> sweeps/t.toml:6:11
      |
    6 | formats = ["onnx"]
      |           ^^^^^^^^
    hint: the default is []
    "#);
}

#[test]
fn keys_that_contradict_each_other() {
    assert_snapshot!(wrong("[model]\nheads = 3\n"), @r"
    `model.heads` = 3 does not divide `model.hidden` = 256
     --> sweeps/t.toml:6:9
      |
    6 | heads = 3
      |         ^
    hint: every head gets an equal share of the hidden width
    ");
    assert_snapshot!(wrong("[train]\ngrpo_epochs = 1\n[grid]\nfreeze = [[\"backbone\"], [\"backbone\", \"head\"]]\n"), @r#"
    point `backbone+head`: everything is frozen, but `train.grpo_epochs` = 1
     --> sweeps/t.toml:8:25
      |
    8 | freeze = [["backbone"], ["backbone", "head"]]
      |                         ^^^^^^^^^^^^^^^^^^^^
    hint: leave a parameter group out of `freeze`, or set grpo_epochs = 0
    "#);
    assert_snapshot!(wrong("[train]\nrce_epochs = 0\n"), @r"
    nothing is trained: `train.rce_epochs` and `train.grpo_epochs` are 0, and there is no `train.init`
     --> sweeps/t.toml:6:14
      |
    6 | rce_epochs = 0
      |              ^
    hint: give epochs to one of the phases, or a checkpoint to evaluate as it is
    ");
    assert_snapshot!(wrong("[grid]\nrce_epochs = [1, 0]\n"), @r"
    point `rce0`: nothing is trained: `train.rce_epochs` and `train.grpo_epochs` are 0, and there is no `train.init`
     --> sweeps/t.toml:6:18
      |
    6 | rce_epochs = [1, 0]
      |                  ^
    hint: give epochs to one of the phases, or a checkpoint to evaluate as it is
    ");
}

#[test]
fn broken_toml() {
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.2\n"), @r"
    not valid TOML: unclosed array, expected `]`
     --> sweeps/t.toml:6:20
      |
    6 | kl_beta = [0.1, 0.2
      |                    ^
    ");
    assert_snapshot!(wrong("[train]\nkl_beta = 0.1\nkl_beta = 0.2\n"), @r"
    not valid TOML: duplicate key
     --> sweeps/t.toml:7:1
      |
    7 | kl_beta = 0.2
      | ^^^^^^^
    ");
    assert_snapshot!(wrong("[train]\nkl_beta = .1\n"), @r"
    not valid TOML: invalid mantissa, expected digits
     --> sweeps/t.toml:6:11
      |
    6 | kl_beta = .1
      |           ^
    ");
}

#[test]
fn what_is_missing() {
    let error = |text: &str| {
        parse(text, Path::new("t.toml"), &LoadOptions::default())
            .expect_err("something is missing")
            .to_string()
    };
    assert_snapshot!(error("[data]\ntrajectories = \"a.json\"\n"), @r#"
    `data.embeddings` is missing
     --> t.toml:1:2
      |
    1 | [data]
      |  ^^^^
    hint: add `embeddings = "..."` to [data], relative to the sweep file
    "#);
    assert_snapshot!(error("[grid]\nseed = [1]\n"), @r#"
    `data.trajectories` is missing
     --> t.toml:1:1
      |
    1 | [grid]
      | ^
    hint: add `trajectories = "..."` to [data], relative to the sweep file

    error: `data.embeddings` is missing
     --> t.toml:1:1
      |
    1 | [grid]
      | ^
    hint: add `embeddings = "..."` to [data], relative to the sweep file
    "#);
    assert_snapshot!(wrong("[eval]\nshots = [1]\n"), @r#"
    `[eval]` says nothing of who scores
     --> sweeps/t.toml:5:2
      |
    5 | [eval]
      |  ^^^^
    hint: add `logged = "..."` to [eval], relative to the sweep file, or a table [eval.endpoint] or [eval.command]
    "#);
}

#[test]
fn names_of_sweeps() {
    let named = |name: &str| with("", &[&format!("name={name}")], &[]);
    assert_eq!(named("kl_grid-2").unwrap().name, "kl_grid-2");
    assert_snapshot!(named("../up").unwrap_err(), @r#"
    `name` must be a text of letters, digits, `_`, `-`, `.`, at most 100 bytes, not starting with `.` or `-`, but is `"../up"`
     --> --set
      |
      | name=../up
      |      ^^^^^
    "#);
    assert_snapshot!(parse("[data]\n", Path::new("my sweep.toml"), &LoadOptions {
        set: vec!["trajectories=a".to_owned(), "embeddings=b".to_owned()],
        ..LoadOptions::default()
    }).unwrap_err().to_string(), @r#"
    the sweep has no `name`, and the file's name `my sweep` cannot serve as one
     --> my sweep.toml:1:1
      |
    1 | [data]
      | ^
    hint: add `name = "..."` as the first line
    "#);
}
