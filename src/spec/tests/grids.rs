//! What people read when something is wrong with the grid, with conditions or with the baseline.
#![expect(clippy::too_many_lines, reason = "flat lists of what people read")]

use insta::assert_snapshot;

use super::wrong;

#[test]
fn bad_axes() {
    assert_snapshot!(wrong("[grid]\nkl_beta = []\n"), @r"
    axis `train.kl_beta` is empty: it has no values to try
     --> sweeps/t.toml:6:11
      |
    6 | kl_beta = []
      |           ^^
    hint: give at least one value, or remove the axis
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15, 0.10]\n"), @r"
    duplicate value `train.kl_beta` = 0.1 (number 1 and number 3 of the list)
     --> sweeps/t.toml:6:23
      |
    6 | kl_beta = [0.1, 0.15, 0.10]
      |                       ^^^^
    hint: remove one: the points would be identical
    ");
    assert_snapshot!(wrong("[grid]\nseed = 0\n"), @r"
    axis `train.seed` must be a list of values or a range, but is `0`
     --> sweeps/t.toml:6:8
      |
    6 | seed = 0
      |        ^
    hint: write `[0]`, or move `seed = 0` to [train]
    ");
    assert_snapshot!(wrong("[grid]\nfreeze = [\"backbone\"]\n"), @r#"
    each value of axis `train.freeze` is itself a list, but here is only one list
     --> sweeps/t.toml:6:10
      |
    6 | freeze = ["backbone"]
      |          ^^^^^^^^^^^^
    hint: write `[["backbone"]]`; `[["backbone"], []]` compares frozen with unfrozen
    "#);
    assert_snapshot!(wrong("[grid]\ntop_k = [3, 5]\n"), @r"
    each value of axis `train.top_k` is itself a list, but here is only one list
     --> sweeps/t.toml:6:9
      |
    6 | top_k = [3, 5]
      |         ^^^^^^
    hint: write `[[3, 5]]`
    ");
    assert_snapshot!(wrong("[grid]\ntrain_fraction = [0.5, 0.8]\n"), @r"
    `data.train_fraction` cannot be used in [grid]
     --> sweeps/t.toml:6:1
      |
    6 | train_fraction = [0.5, 0.8]
      | ^^^^^^^^^^^^^^
    hint: only keys of [reward], [model] and [train] can vary within one sweep
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1]\ntrain.kl_beta = [0.2]\n"), @r"
    axis `train.kl_beta` is given twice, first at line 6
     --> sweeps/t.toml:7:7
      |
    7 | train.kl_beta = [0.2]
      |       ^^^^^^^
    hint: put all its values into one list
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, -0.15]\n"), @r"
    `train.kl_beta` must be a number, 0 or more, but is `-0.15`
     --> sweeps/t.toml:6:17
      |
    6 | kl_beta = [0.1, -0.15]
      |                 ^^^^^
    hint: the default is 0.15
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, \"high\"]\n"), @r#"
    `train.kl_beta` must be a number, 0 or more, but is `"high"`
     --> sweeps/t.toml:6:17
      |
    6 | kl_beta = [0.1, "high"]
      |                 ^^^^^^
    hint: the default is 0.15
    "#);
    assert_snapshot!(wrong("[[grid.zip]]\nkl_beta = [0.1, 0.2]\ngrpo_lr = [1e-6]\n"), @r"
    axes that advance together need equally many values: `train.kl_beta` has 2, `train.grpo_lr` has 1
     --> sweeps/t.toml:7:1
      |
    7 | grpo_lr = [1e-6]
      | ^^^^^^^
    hint: mend one of the lists, or move an axis to [grid]
    ");
    assert_snapshot!(wrong("[grid]\nzip = 3\n"), @r"
    `zip` must be a list of tables, but is `3`
     --> sweeps/t.toml:6:7
      |
    6 | zip = 3
      |       ^
    hint: write `[[grid.zip]]` above the axes that advance together
    ");
}

#[test]
fn bad_ranges() {
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0.1, to = 0.3, step = 0.1 }\n"), @r#"
    unknown key `step` in the range of axis `train.kl_beta`
     --> sweeps/t.toml:6:35
      |
    6 | kl_beta = { from = 0.1, to = 0.3, step = 0.1 }
      |                                   ^^^^
    hint: a range is `{ from = 0.05, to = 0.3, count = 6 }`, with `scale = "log"` for equal ratios
    "#);
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0.1, to = 0.3 }\n"), @r#"
    the range of axis `train.kl_beta` has no `count`
     --> sweeps/t.toml:6:11
      |
    6 | kl_beta = { from = 0.1, to = 0.3 }
      |           ^^^^^^^^^^^^^^^^^^^^^^^^
    hint: a range is `{ from = 0.05, to = 0.3, count = 6 }`, with `scale = "log"` for equal ratios
    "#);
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0.1, to = 0.3, count = 1 }\n"), @r"
    `count` in the range of axis `train.kl_beta` must be a whole number from 2 to 1000000, but is `1`
     --> sweeps/t.toml:6:43
      |
    6 | kl_beta = { from = 0.1, to = 0.3, count = 1 }
      |                                           ^
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0, to = 0.3, count = 3, scale = \"log\" }\n"), @r#"
    the logarithmic range of axis `train.kl_beta` must stay above 0
     --> sweeps/t.toml:6:11
      |
    6 | kl_beta = { from = 0, to = 0.3, count = 3, scale = "log" }
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: begin at a small number, or use scale = "linear"
    "#);
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = 0.1, to = 0.3, count = 3, scale = \"sqrt\" }\n"), @r#"
    `scale` in the range of axis `train.kl_beta` must be "linear" or "log", but is `"sqrt"`
     --> sweeps/t.toml:6:54
      |
    6 | kl_beta = { from = 0.1, to = 0.3, count = 3, scale = "sqrt" }
      |                                                      ^^^^^^
    "#);
    assert_snapshot!(wrong("[grid]\ngrpo_epochs = { from = 1, to = 2, count = 3 }\n"), @r"
    the range of axis `train.grpo_epochs` does not fall on whole numbers: 1.5
     --> sweeps/t.toml:6:15
      |
    6 | grpo_epochs = { from = 1, to = 2, count = 3 }
      |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: choose another `count`, or give a list
    ");
    assert_snapshot!(wrong("[grid]\nfreeze = { from = 1, to = 2, count = 3 }\n"), @r#"
    axis `train.freeze` cannot be a range: each value must be a list of "input_proj", "query_proj", "cand_proj", "cross_attn", "attn_norms", "backbone", "head"
     --> sweeps/t.toml:6:10
      |
    6 | freeze = { from = 1, to = 2, count = 3 }
      |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: give a list of values
    "#);
    assert_snapshot!(wrong("[grid]\nkl_beta = { from = -1, to = 2, count = 3 }\n"), @r"
    `train.kl_beta` must be a number, 0 or more, but is `-1`
     --> sweeps/t.toml:6:20
      |
    6 | kl_beta = { from = -1, to = 2, count = 3 }
      |                    ^^
    hint: the default is 0.15
    ");
}

#[test]
fn excludes_and_includes() {
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[exclude]]\nkl_beta = 0.3\n"), @r"
    [[exclude]] matches no point: axis `train.kl_beta` never is 0.3
     --> sweeps/t.toml:8:11
      |
    8 | kl_beta = 0.3
      |           ^^^
    hint: its values are 0.1, 0.15
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[exclude]]\ngrpo_lr = 1e-5\n"), @r"
    [[exclude]] names `train.grpo_lr`, which is no axis of the grid
     --> sweeps/t.toml:8:1
      |
    8 | grpo_lr = 1e-5
      | ^^^^^^^
    hint: axes of this grid: kl_beta
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[exclude]\nkl_beta = 0.1\n"), @r"
    `exclude` must be a list of tables, but is a table
     --> sweeps/t.toml:7:2
      |
    7 | [exclude]
      |  ^^^^^^^
    hint: write `[[exclude]]`, with two brackets
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[exclude]]\n"), @r"
    [[exclude]] is empty
     --> sweeps/t.toml:7:1
      |
    7 | [[exclude]]
      | ^^^^^^^^^^^
    hint: name at least one key with the value it is about
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[exclude]]\nkl_beta = [0.1, 0.15]\n"), @r"
    no point is left: the [[exclude]] tables drop the whole grid
     --> sweeps/t.toml:7:1
      |
    7 | [[exclude]]
      | ^^^^^^^^^^^
    hint: exclude less, or add points with [[include]]
    ");
    assert_snapshot!(wrong("[[grid.zip]]\nkl_beta = [0.1, 0.2]\nseed = [1, 2]\n[[exclude]]\nkl_beta = 0.1\nseed = 2\n"), @r"
    [[exclude]] matches no point: its values never occur together
     --> sweeps/t.toml:8:1
      |
    8 | [[exclude]]
      | ^^^^^^^^^^^
    hint: zipped axes only meet at equal positions of their lists
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[include]]\nkl_beta = 0.1\n"), @r"
    [[include]] adds a point that is there already: kl_beta = 0.1
     --> sweeps/t.toml:7:1
      |
    7 | [[include]]
      | ^^^^^^^^^^^
    hint: keys that an [[include]] does not name have the value of [reward], [model], [train], not of the grid
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[[include]]\nkl_bta = 0.1\n"), @r"
    unknown key `kl_bta` in [[include]]
     --> sweeps/t.toml:8:1
      |
    8 | kl_bta = 0.1
      | ^^^^^^
    hint: did you mean `kl_beta`?
    ");
}

#[test]
fn the_baseline() {
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[baseline]\nkl_beta = 0.2\n"), @r"
    the baseline is not in the grid: no point has `train.kl_beta` = 0.2
     --> sweeps/t.toml:8:11
      |
    8 | kl_beta = 0.2
      |           ^^^
    hint: values in the grid: 0.1, 0.15
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\ngrpo_lr = [1e-6, 2e-6]\nseed = [0, 1]\n[baseline]\nkl_beta = 0.15\n"), @r"
    [baseline] means 4 points: it leaves `train.grpo_lr` open
     --> sweeps/t.toml:9:2
      |
    9 | [baseline]
      |  ^^^^^^^^
    hint: name `grpo_lr` as well (only `seed` may be left open)
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[baseline]\nkl_beta = 0.1\nrce_epochs = 2\n"), @r"
    the baseline is not in the grid: `train.rce_epochs` = 2 there
     --> sweeps/t.toml:9:14
      |
    9 | rce_epochs = 2
      |              ^
    hint: it is 5 in every point; add an axis in [grid], or mend [baseline]
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\nseed = [0, 1]\n[[exclude]]\nkl_beta = 0.1\nseed = 0\n[baseline]\nkl_beta = 0.1\nseed = 0\n"), @r"
    the baseline is not in the grid: no point has all these values together
      --> sweeps/t.toml:11:2
       |
    11 | [baseline]
       |  ^^^^^^^^
    hint: an [[exclude]] may drop it; an [[include]] with the same values can add it
    ");
    assert_snapshot!(wrong("[grid]\nkl_beta = [0.1, 0.15]\n[baseline]\nkl_beta = [0.1, 0.15]\n"), @r"
    `train.kl_beta` must be a number, 0 or more, but is `[0.1, 0.15]`
     --> sweeps/t.toml:8:11
      |
    8 | kl_beta = [0.1, 0.15]
      |           ^^^^^^^^^^^
    hint: this takes one value; a list or range of values to try belongs in [grid]
    ");
}

#[test]
fn many_points() {
    assert_snapshot!(wrong("[grid]\nseed = { from = 0, to = 9999, count = 10000 }\nkl_beta = { from = 0.001, to = 1, count = 1000 }\n"), @r"
    the grid has 10,000,000 points (10,000 seed x 1,000 kl_beta)
     --> sweeps/t.toml:5:2
      |
    5 | [grid]
      |  ^^^^
    hint: more than 100,000 need --yes, if they are meant
    ");
}
