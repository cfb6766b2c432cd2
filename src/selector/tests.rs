use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::experiment;
use crate::plan::{self, Plan, StageProgress, all_cohorts, next_cohort, outstanding};
use crate::selector::{DataParams, ModelParams, Params, Reference, RewardParams, TrainParams};
use crate::selector::{FreezeSet, ParamGroup};

/// A point before it is opaque.
#[derive(Clone, Debug)]
struct Point {
    name: String,
    config: Params,
}

fn inputs() -> Inputs {
    Inputs { dim: 8, data: "digest".into(), checkpoints: Default::default() }
}

fn point(name: &str, edit: impl FnOnce(&mut TrainParams)) -> Point {
    let mut train = TrainParams { rce_epochs: 2, ..TrainParams::default() };
    edit(&mut train);
    let data = DataParams {
        trajectories: "t.json".into(),
        embeddings: "e.safetensors".into(),
        train_fraction: 0.8,
        keep_fallback: false,
        require_positive: false,
    };
    let config = Params { data, reward: RewardParams::default(), model: ModelParams::default(), train };
    Point { name: name.into(), config }
}

fn backbone() -> FreezeSet {
    FreezeSet([ParamGroup::InputProj, ParamGroup::QueryProj, ParamGroup::CandProj].into())
}

fn build(points: &[Point], inputs: &Inputs, share: bool) -> Plan {
    let mut described = Chains::new(inputs);
    let links = points.iter().map(|point| described.of(&point.config)).collect();
    let experiment::Chains { works, chains, version } = described.works().told(links);
    let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
    plan::build(works, chains, (!share).then_some(&names[..]), version, 10)
}

/// The race of 72 points: one warm-up, 24 GRPO runs with three stops each.
fn race() -> Vec<Point> {
    let mut points = Vec::new();
    for kl in [0.1, 0.12, 0.15, 0.18] {
        for lr in [5e-6, 1e-5, 2e-5] {
            for freeze in [backbone(), FreezeSet::default()] {
                for epochs in 1..=3 {
                    let freeze = freeze.clone();
                    points.push(point(&format!("{kl}-{lr}-{freeze}-{epochs}"), |train| {
                        (train.kl_beta, train.grpo_lr, train.grpo_epochs) = (kl, lr, epochs);
                        train.freeze = freeze;
                    }));
                }
            }
        }
    }
    points
}

#[test]
fn the_race_shares_warm_up_and_prefixes() {
    let plan = build(&race(), &inputs(), true);
    assert_eq!(plan.stages.len(), 1 + 1 + 24);
    assert_eq!(plan.steps, 10 * (2 + 24 * 3));
    assert_eq!(plan.steps_naive, 10 * 72 * (2 + 2));
    let alone = build(&race(), &inputs(), false);
    assert_eq!(alone.steps, alone.steps_naive);
    assert_eq!(alone.stages.len(), 72 * 3);
}

#[test]
fn different_rce_totals_are_different_runs() {
    let points = [point("a", |train| train.rce_epochs = 2), point("b", |train| train.rce_epochs = 3)];
    let plan = build(&points, &inputs(), true);
    assert_eq!(plan.steps, 50);
    assert_ne!(plan.points[0].stage, plan.points[1].stage);
}

#[test]
fn parameters_of_grpo_do_not_split_rce_only_points() {
    let points = [point("a", |train| train.kl_beta = 0.1), point("b", |train| train.kl_beta = 0.2)];
    let plan = build(&points, &inputs(), true);
    assert_eq!(plan.points[0], plan.points[1]);
}

#[test]
fn without_warm_up_both_references_are_one() {
    let with = |reference| {
        point("p", move |train| {
            (train.rce_epochs, train.grpo_epochs, train.reference) = (0, 1, reference);
        })
    };
    let plan = build(&[with(Reference::Warmup), with(Reference::Init)], &inputs(), true);
    assert_eq!(plan.points[0], plan.points[1]);
    let warm = |reference| point("p", move |train| (train.grpo_epochs, train.reference) = (1, reference));
    let plan = build(&[warm(Reference::Warmup), warm(Reference::Init)], &inputs(), true);
    assert_ne!(plan.points[0], plan.points[1]);
}

/// Every parameter that can change a result changes a key of the chain (and `kl_target` only when used).
#[test]
fn every_training_parameter_is_in_a_key() {
    let base = || point("p", |train| train.grpo_epochs = 1);
    let keys = |point: Point| {
        let plan = build(&[point], &inputs(), true);
        plan.stages.into_iter().map(|stage| stage.key).collect::<Vec<_>>()
    };
    let same = keys(base());
    let edits: [fn(&mut Params); 25] = [
        |c| c.train.seed = 1,
        |c| c.train.rce_epochs = 3,
        |c| c.train.rce_lr = 1e-3,
        |c| c.train.rce_reward = crate::selector::RewardForm::Normalized,
        |c| c.train.rce_temperature = [1.0, 0.5],
        |c| c.train.rce_top1_only = true,
        |c| c.train.grpo_lr = 1e-3,
        |c| c.train.kl_beta = 0.1,
        |c| c.train.clip_epsilon = 0.1,
        |c| c.train.reference = Reference::Init,
        |c| c.train.adaptive_kl = true,
        |c| c.train.top_k = [2, 5],
        |c| c.train.freeze = backbone(),
        |c| c.train.weight_decay = 0.0,
        |c| c.train.grad_clip = 2.0,
        |c| c.train.shuffle = false,
        |c| c.train.early_stop = Some(1),
        |c| c.model.hidden = 128,
        |c| c.model.layers = 2,
        |c| c.model.heads = 2,
        |c| c.model.dropout = 0.1,
        |c| c.model.attn_dropout = 0.0,
        |c| c.model.temperature = 0.2,
        |c| c.reward.hard_weight = 2.0,
        |c| c.reward.clamp = 2.0,
    ];
    let mut seen = HashSet::from([same.clone()]);
    for (number, edit) in edits.into_iter().enumerate() {
        let mut changed = base();
        edit(&mut changed.config);
        assert!(seen.insert(keys(changed)), "edit {number} changed no key");
    }
    let mut unused = base();
    unused.config.train.kl_target = [0.1, 0.2];
    assert_eq!(keys(unused), same);
}

#[test]
fn a_cohort_takes_equal_siblings_that_are_ready() {
    let plan = build(&race(), &inputs(), true);
    let mut done = vec![StageProgress::Epochs(0); plan.stages.len()];
    let cohort = next_cohort(&plan, &done, &outstanding(&plan, &done), 32).unwrap();
    assert_eq!(cohort.stages, [1], "the warm-up comes first and alone");
    done[1] = StageProgress::Epochs(2);
    let cohort = next_cohort(&plan, &done, &outstanding(&plan, &done), 32).unwrap();
    assert_eq!(cohort.stages.len(), 12, "frozen and unfrozen branches go to different cohorts");
    let narrow = next_cohort(&plan, &done, &outstanding(&plan, &done), 8).unwrap();
    assert_eq!(narrow.stages.len(), 6, "equal parts rather than 8 and 4");
    done[1] = StageProgress::Diverged(1);
    assert!(outstanding(&plan, &done).is_empty(), "nothing can follow a diverged warm-up");
}

proptest! {
    /// Doing whatever `next_cohort` says, in any widths and with any interruption, ends with everything done,
    /// and never trains a stage before its parent or an epoch twice.
    #[test]
    fn the_plan_is_worked_off(
        choices in proptest::collection::vec((0u32..3, 0u32..3, 0u32..4, any::<bool>(), 0u64..2), 1..12),
        widths in proptest::collection::vec(1usize..5, 1..4),
        epochs_a_run in 1u32..4,
    ) {
        let points: Vec<Point> = choices
            .iter()
            .enumerate()
            .map(|(i, (kl, rce, grpo, frozen, seed))| point(&i.to_string(), |train| {
                train.kl_beta = 0.1 + f64::from(*kl);
                (train.rce_epochs, train.grpo_epochs, train.seed) = (*rce, *grpo, *seed);
                if *frozen { train.freeze = backbone(); }
            }))
            .collect();
        let plan = build(&points, &inputs(), true);
        prop_assert!(plan.steps <= plan.steps_naive);
        let mut done = vec![StageProgress::Epochs(0); plan.stages.len()];
        let mut trained = 0;
        for round in 0.. {
            prop_assert!(round < 1000);
            let list = outstanding(&plan, &done);
            let Some(cohort) = next_cohort(&plan, &done, &list, widths[round % widths.len()]) else {
                prop_assert!(list.is_empty());
                break;
            };
            for stage in cohort.stages {
                if let Some(parent) = plan.stages[stage].parent {
                    prop_assert_eq!(done[parent].epochs(), plan.stages[parent].epochs);
                }
                let before = done[stage].epochs();
                let after = (before + epochs_a_run).min(plan.stages[stage].epochs);
                prop_assert!(after > before);
                trained += u64::from(after - before) * 10;
                done[stage] = StageProgress::Epochs(after);
            }
        }
        prop_assert_eq!(trained, plan.steps);
        for point in &plan.points {
            prop_assert_eq!(done[point.stage].reached(point.epoch), Some(point.epoch));
        }
    }
}

#[test]
fn the_forecast_is_what_a_run_does() {
    // Seeds vary fastest, so that stages of several warm-ups are mixed.
    let seeded = |point: Point| {
        (0..7).map(move |seed| {
            let mut point = point.clone();
            point.config.train.seed = seed;
            point
        })
    };
    let points: Vec<Point> = race().into_iter().flat_map(seeded).collect();
    let plan = build(&points, &inputs(), true);
    for width in [1, 5, 32, 256] {
        let mut done: Vec<StageProgress> = plan.stages.iter().map(|_| StageProgress::Epochs(0)).collect();
        let mut cohorts = Vec::new();
        while let Some(cohort) = next_cohort(&plan, &done, &outstanding(&plan, &done), width) {
            for &stage in &cohort.stages {
                done[stage] = StageProgress::Epochs(plan.stages[stage].epochs);
            }
            cohorts.push(cohort);
        }
        let start: Vec<StageProgress> = plan.stages.iter().map(|_| StageProgress::Epochs(0)).collect();
        assert_eq!(all_cohorts(&plan, &start, width), cohorts, "width {width}");
        assert!(cohorts.iter().all(|cohort| cohort.stages.len() <= width));
    }
}

#[test]
fn classes_keep_apart_what_cannot_train_together() {
    let points = [
        point("a", |train| train.grpo_epochs = 1),
        point("b", |train| (train.grpo_epochs, train.seed, train.kl_beta) = (2, 1, 0.3)),
        point("c", |train| (train.grpo_epochs, train.freeze) = (1, backbone())),
    ];
    let mut wide = point("d", |train| train.grpo_epochs = 1);
    wide.config.model.hidden = 64;
    let plan = build(&[&points[..], &[wide]].concat(), &inputs(), true);
    let class = |point: usize| plan.stages[plan.points[point].stage].class;
    assert_eq!(class(0), class(1));
    assert!(class(0) != class(2) && class(0) != class(3) && class(2) != class(3));
}
