//! `--set` and `--where`.
#![expect(clippy::too_many_lines, reason = "flat lists of snapshots")]

use insta::assert_snapshot;

use super::{names, values, with};
use crate::selector::{FreezeSet, ParamGroup};
use crate::selector::{RewardForm, RewardMode};
use crate::spec::SweepSpec;

fn set(body: &str, set: &[&str]) -> SweepSpec {
    with(body, set, &[]).unwrap()
}

fn wrong(argument: &str) -> String {
    with("", &[argument], &[]).expect_err("it is wrong")
}

#[test]
fn dotted_bare_and_lab_names() {
    let spec = set(
        "",
        &[
            "train.kl_beta=.3",
            "GRPO_LR=2E-5",
            "RCE_LR=1e-3",
            "rce_epochs=7",
            "GRPO_EPOCHS=2",
            "NUM_LAYERS=2",
            "REWARD_MODE=hard_only",
            "HARD_WEIGHT=2",
            "soft_weight=0.5",
            "REL_WEIGHT=0.2",
            "RCE_USE_NORMALIZED_REWARD=True",
            "FREEZE_BACKBONE_IN_GRPO=1",
            "RCE_TEMP_START=3",
            "RCE_TEMP_END=0.25",
            "DISABLE_ADAPTIVE_KL=false",
            "SKIP_FALLBACK_REWARD=false",
            "REQUIRE_POSITIVE_QUERY=true",
            "SFT_CKPT=kl012/rce_epoch5.pt",
            "BATCH_SIZE=1",
            "early_stop=off",
            "top_k=2,4",
        ],
    );
    let config = values(&spec.points[0]);
    let train = &config.train;
    assert_eq!((train.kl_beta, train.grpo_lr, train.rce_lr), (0.3, 2e-5, 1e-3));
    assert_eq!((train.rce_epochs, train.grpo_epochs, config.model.layers), (7, 2, 2));
    assert_eq!(config.reward.mode, RewardMode::HardOnly);
    assert_eq!(
        (config.reward.hard_weight, config.reward.soft_weight, config.reward.rel_weight),
        (2.0, 0.5, 0.2)
    );
    assert_eq!(train.rce_reward, RewardForm::Normalized);
    assert_eq!(train.freeze, FreezeSet(ParamGroup::ALL[..3].iter().copied().collect()));
    assert_eq!((train.rce_temperature, train.top_k), ([3.0, 0.25], [2, 4]));
    assert!(train.adaptive_kl && config.data.keep_fallback && config.data.require_positive);
    assert_eq!(train.init.as_deref(), Some(std::path::Path::new("sweeps/kl012/rce_epoch5.pt")));
    assert_eq!(train.early_stop, None);
}

#[test]
fn the_later_of_two_counts() {
    assert_eq!(values(&set("", &["kl_beta=1", "KL_BETA=2"]).points[0]).train.kl_beta, 2.0);
}

#[test]
fn forms_that_shells_make_likely() {
    let freeze = |text: &str| values(&set("", &[text]).points[0]).train.freeze.to_string();
    assert_eq!(freeze("freeze=backbone"), "backbone");
    assert_eq!(freeze("freeze=[\"backbone\"]"), "backbone");
    assert_eq!(freeze("freeze=[backbone]"), "backbone");
    assert_eq!(freeze("freeze=input_proj,head"), "input_proj+head");
    assert_eq!(freeze("freeze=input_proj+head"), "input_proj+head");
    assert_eq!(freeze("freeze=[]"), "none");
    assert_eq!(freeze("FREEZE_BACKBONE_IN_GRPO=false"), "none");
    let spec = set(
        "[eval]\nlogged = \"x\"\n",
        &["shots=3,1", "samples=100,-1", "export.formats=v2,pt", "extra=--mem=1G,2"],
    );
    let eval = spec.eval.unwrap();
    assert_eq!((eval.shots, eval.samples), (vec![1, 3], vec![Some(100), None]));
    assert_eq!((spec.export.len(), spec.slurm.unwrap().extra), (2, vec!["--mem=1G,2".to_owned()]));
}

#[test]
fn an_axis_gets_the_one_value() {
    let body = "[train]\ngrpo_epochs = 1\n[grid]\nkl_beta = [0.1, 0.2]\nseed = [0, 1]\n[[exclude]]\nkl_beta = 0.1\nseed = 1\n\
                [baseline]\nkl_beta = 0.1\n";
    let spec = set(body, &["kl_beta=0.5"]);
    assert_eq!(names(&spec), ["s0", "s1"]);
    assert!(spec.points.iter().all(|point| values(point).train.kl_beta == 0.5));
    assert_eq!(spec.baseline, [0, 1]);
}

#[test]
fn a_zipped_axis_leaves_its_zip() {
    let body =
        "[train]\ngrpo_epochs = 1\n[[grid.zip]]\nkl_beta = [0.1, 0.2, 0.3]\ngrpo_lr = [1e-6, 1e-6, 2e-6]\n";
    assert_eq!(names(&set(body, &["kl_beta=0.5"])), ["lr1e-6", "lr2e-6"]);
}

#[test]
fn includes_follow() {
    let body = "[train]\ngrpo_epochs = 1\n[grid]\nkl_beta = [0.1, 0.2]\n[[include]]\nkl_beta = 0.3\ngrpo_lr = 1e-3\n\
                [[include]]\nkl_beta = 0.4\n";
    assert_eq!(names(&set(body, &["kl_beta=0.5"])), ["lr5e-6", "lr0.001"]);
}

#[test]
fn the_filter_keeps_names_and_moves_the_baseline() {
    let body = "[train]\ngrpo_epochs = 1\n[grid]\nkl_beta = [0.1, 0.2, 0.3]\nfreeze = [[\"backbone\"], []]\n\
                [baseline]\nkl_beta = 0.3\nfreeze = []\n";
    let filtered = |filter: &[&str]| {
        let spec = with(body, &[], filter).unwrap();
        (names(&spec).iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), spec.baseline)
    };
    assert_eq!(filtered(&["KL_BETA=0.3"]).1, [1]);
    assert_eq!(filtered(&["kl_beta=0.3"]).0, ["kl0.3-frozen", "kl0.3-unfrozen"]);
    assert_eq!(filtered(&["kl_beta=0.1,0.30", "freeze=none"]).0, ["kl0.1-unfrozen", "kl0.3-unfrozen"]);
    assert_eq!(filtered(&["freeze=[[\"backbone\"], []]"]).0.len(), 6);
    assert_eq!(
        filtered(&["FREEZE_BACKBONE_IN_GRPO=true"]),
        (vec!["kl0.1-frozen".to_owned(), "kl0.2-frozen".to_owned(), "kl0.3-frozen".to_owned()], vec![])
    );
    assert_eq!(filtered(&["grpo_epochs=1", "mode=hard_plus_soft,hard_only"]).0.len(), 6);
}

#[test]
fn filters_that_leave_nothing() {
    let body = "[train]\ngrpo_epochs = 1\n[grid]\nkl_beta = [0.1, 0.2]\ngrpo_lr = [1e-5, 2e-5]\n[[exclude]]\nkl_beta = 0.2\ngrpo_lr = 1e-5\n";
    let wrong = |filter: &[&str]| with(body, &[], filter).unwrap_err();
    assert_snapshot!(wrong(&["kl_beta=0.3"]), @r"
    no point has `train.kl_beta` = 0.3
     --> --where
      |
      | kl_beta=0.3
      |         ^^^
    hint: `kl_beta` is one of 0.1, 0.2
    ");
    assert_snapshot!(wrong(&["grpo_epochs=2"]), @r"
    no point has `train.grpo_epochs` = 2
     --> --where
      |
      | grpo_epochs=2
      |             ^
    hint: `grpo_epochs` is 1 in every point
    ");
    assert_snapshot!(wrong(&["kl_beta=0.2", "grpo_lr=1e-5"]), @r"
    no point matches --where kl_beta=0.2 --where grpo_lr=1e-5
    hint: `kl_beta` is one of 0.1, 0.2; `grpo_lr` is one of 1e-5, 2e-5
    ");
    assert_snapshot!(wrong(&["kl_bet=0.2"]), @r"
    unknown key `kl_bet` in --where
     --> --where
      |
      | kl_bet=0.2
      | ^^^^^^
    hint: did you mean `kl_beta`?
    ");
    assert_snapshot!(wrong(&["shots=1"]), @r"
    points do not differ in `eval.shots`
     --> --where
      |
      | shots=1
      | ^^^^^
    hint: filter by keys of [data], [reward], [model] and [train]
    ");
    assert_snapshot!(wrong(&["RCE_TEMP_END=1"]), @r"
    `RCE_TEMP_END` is one half of `train.rce_temperature`
     --> --where
      |
      | RCE_TEMP_END=1
      | ^^^^^^^^^^^^
    hint: filter by both, such as --where rce_temperature=[2, 0.5]
    ");
}

#[test]
fn mistakes_on_the_command_line() {
    assert_snapshot!(wrong("KL_BET=0.3"), @r"
    unknown key `KL_BET` in --set
     --> --set
      |
      | KL_BET=0.3
      | ^^^^^^
    hint: did you mean `kl_beta`?
    ");
    assert_snapshot!(wrong("kl_beta=-1"), @r"
    `train.kl_beta` must be a number, 0 or more, but is `-1`
     --> --set
      |
      | kl_beta=-1
      |         ^^
    hint: the default is 0.15
    ");
    assert_snapshot!(wrong("kl_beta=high"), @r#"
    `train.kl_beta` must be a number, 0 or more, but is `"high"`
     --> --set
      |
      | kl_beta=high
      |         ^^^^
    hint: the default is 0.15
    "#);
    assert_snapshot!(wrong("kl_beta"), @r"
    --set takes `key=value`, but is given `kl_beta`
     --> --set
      |
      | kl_beta
      | ^^^^^^^
    hint: write, for example, --set kl_beta=0.1
    ");
    assert_snapshot!(wrong("BATCH_SIZE=4"), @r"
    batch size 4 is not possible
     --> --set
      |
      | BATCH_SIZE=4
      |            ^
    hint: a training step is always one query group, as in the lab's runs: leave it out, or 1
    ");
    assert_snapshot!(wrong("RCE_TEMP_START=0"), @r"
    `train.rce_temperature` must be a list of two numbers greater than 0, but is `[0, 0.5]`
     --> --set
      |
      | RCE_TEMP_START=0
      |                ^
    hint: the default is [2, 0.5]
    ");
    assert_snapshot!(wrong("DISABLE_ADAPTIVE_KL=maybe"), @r"
    `DISABLE_ADAPTIVE_KL` must be true or false, but is `maybe`
     --> --set
      |
      | DISABLE_ADAPTIVE_KL=maybe
      |                     ^^^^^
    ");
    assert_snapshot!(wrong("kl_beta=0.1,0.2"), @r#"
    `train.kl_beta` must be a number, 0 or more, but is `"0.1,0.2"`
     --> --set
      |
      | kl_beta=0.1,0.2
      |         ^^^^^^^
    hint: the default is 0.15
    "#);
    assert_snapshot!(wrong("eval.shots=2"), @r#"
    `[eval]` says nothing of who scores
     --> sweeps/t.toml:1:1
      |
    1 | name = "t"
      | ^
    hint: add `logged = "..."` to [eval], relative to the sweep file, or a table [eval.endpoint] or [eval.command]
    "#);
}
