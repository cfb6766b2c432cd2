//! Steps in which dropout zeroes whole vectors, and one whose LayerNorm sees a constant, against PyTorch
//! (`tests/golden/make_zeroed.py`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use sweep::device::*;
use sweep::experiment::*;
use sweep::selector::FreezeSet;
use sweep::selector::data::{Embeddings, Group, Trajectory};
use sweep::selector::learn::*;
use sweep::selector::{GrpoParams, RceParams};
use sweep::selector::{ModelParams, Params};

use crate::engines::PROGRAM;

#[derive(Deserialize)]
struct Golden {
    dim: usize,
    hidden: usize,
    length: usize,
    query: u64,
    pool: Vec<u32>,
    pointers: Vec<Vec<u32>>,
    rewards: Vec<f64>,
    lr: f64,
    weight_decay: f64,
    kl_beta: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    phase: String,
    seed: u64,
    dropout: f64,
    embeddings: Vec<f32>,
    start: BTreeMap<String, Vec<f32>>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    loss: f64,
    grad_norm: f64,
    weights: BTreeMap<String, Vec<f32>>,
}

fn flat(layout: &Layout, named: &BTreeMap<String, Vec<f32>>) -> Vec<f32> {
    layout.segments.iter().flat_map(|segment| named[&segment.name].iter().copied()).collect()
}

/// The one group of all cases.
fn group(golden: &Golden) -> Group {
    let trajectory = |pointer: &Vec<u32>| Trajectory {
        pointer: pointer.clone(),
        beam_score: None,
        logprob_score: None,
        correct: None,
        acc_score: None,
        gt_prob: None,
        rel_score: None,
    };
    Group {
        query_id: golden.query,
        pool: golden.pool.clone(),
        trajectories: golden.pointers.iter().map(trajectory).collect(),
    }
}

/// Two epochs of one step each.
fn job(golden: &Golden, case: &Case, layout: &Layout) -> MemberJob {
    let rewards = vec![golden.rewards.clone()];
    let mut config = Params::default();
    let train = &mut config.train;
    (train.seed, train.rce_epochs, train.grpo_epochs) = (case.seed, 2, 2);
    (train.rce_lr, train.grpo_lr) = (golden.lr, golden.lr);
    (train.weight_decay, train.kl_beta) = (golden.weight_decay, golden.kl_beta);
    let start = Arc::new(flat(layout, &case.start));
    MemberJob {
        id: 0,
        params: match case.phase.as_str() {
            "rce" => MemberParams::Rce(RceParams::of(&config)),
            _ => MemberParams::Grpo(GrpoParams::of(&config)),
        },
        rewards: Arc::new(RewardTable {
            raw: rewards.clone(),
            normalized: rewards.clone(),
            validation: rewards,
        }),
        start: Arc::clone(&start),
        reference: start,
        last_epoch: 2,
        progress: None,
    }
}

/// Weights after each epoch, and the steps.
fn train(golden: &Golden, case: &Case, device: Device) -> (Vec<Vec<f32>>, Vec<StepRecord>) {
    let model = ModelParams {
        hidden: golden.hidden,
        dropout: case.dropout,
        attn_dropout: 0.0,
        ..ModelParams::default()
    };
    let layout = Layout::new(Shape::new(golden.dim, &model));
    let (groups, freeze, labels) = ([group(golden)], FreezeSet::default(), [golden.pointers.concat()]);
    let embeddings = Embeddings {
        rows: case.embeddings.len() / golden.dim,
        dim: golden.dim,
        values: case.embeddings.clone(),
    };
    let params = EngineParams {
        shape: layout.shape,
        model: &model,
        freeze: &freeze,
        embeddings: &embeddings,
        train: &groups,
        validation: &groups,
        labels: &labels,
        length: golden.length,
    };
    let job = job(golden, case, &layout);
    let (mut weights, mut all) = (Vec::new(), Vec::new());
    let end = train_cohort(params, device, &[job], &Cancel::default(), &mut |events| {
        for event in events {
            match event {
                MemberEvent::Epoch { progress, steps, .. } => {
                    weights.push(progress.state.parameters);
                    all.extend(steps);
                }
                MemberEvent::Diverged { cause, .. } => {
                    panic!("{} {} on {device}: {cause}", case.case, case.phase)
                }
            }
        }
        true
    });
    assert_eq!(end, CohortEnd::Finished);
    (weights, all)
}

#[test]
fn vectors_of_zeros_are_trained_as_pytorch_trains_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/zeroed.json");
    let golden: Golden = serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON");
    assert_eq!(golden.cases.len(), 8);
    for (case, device) in golden.cases.iter().flat_map(|case| [(case, Device::Cpu), (case, *PROGRAM)]) {
        let (weights, steps) = train(&golden, case, device);
        assert_eq!(steps.len(), case.steps.len());
        let layout = Layout::new(Shape { dim: golden.dim, hidden: golden.hidden, layers: 1, heads: 1 });
        for (epoch, want) in case.steps.iter().enumerate() {
            let at = format!("{} {} on {device}, step {}", case.case, case.phase, epoch + 1);
            let near = |what: &str, got: f64, want: f64, limit: f64| {
                assert!((got - want).abs() <= limit * want.abs().max(1.0), "{at}: {what} {got}, not {want}");
            };
            near("loss", steps[epoch].loss, want.loss, 1e-5);
            near("grad_norm", steps[epoch].grad_norm, want.grad_norm, 1e-4);
            for segment in &layout.segments {
                let expected = &want.weights[&segment.name];
                for (place, (got, want)) in weights[epoch][segment.offset..].iter().zip(expected).enumerate()
                {
                    // The key bias moves nothing: its gradient is rounding noise, which Adam makes whole steps of.
                    let key_bias = segment.name.ends_with("in_proj_bias") && place / golden.hidden == 1;
                    if !key_bias {
                        near(&format!("{}[{place}]", segment.name), f64::from(*got), f64::from(*want), 1e-5);
                    }
                }
            }
        }
    }
}
