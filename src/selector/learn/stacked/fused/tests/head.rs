//! Scores, loss, and back to query and candidates.

use burn::Dispatch;
use burn::tensor::Tensor;

use super::super::super::loss::{GrpoTerms, KlTarget, Labels, grpo, log_probs, rce};
use super::super::device::{Accelerator, cube};
use super::super::head::{self, HeadAtLaunch};
use super::super::update::BooksLaunch;
use super::{
    Chosen, LANE_OF, LANES_OF_INPUT, MEMBERS, Numbers, accelerator, constant, cubes, leaf, near, place,
    tensor, values, within,
};

/// Trajectories of a group, their length, and numbers per member and step.
const T: usize = 3;
const S: usize = 2;
const FACTS: usize = 3 * T + 3;
const TEMPERATURE: f64 = 0.1;
/// Where query and gradient are in a member's row.
const QUERY: usize = 3;
const GRADIENT: usize = 400;
const WIDTH: usize = 800;
const BETA: f32 = 0.15;
/// Clip range, bounds of the KL, largest norm.
const CONSTANTS: [f32; 5] = [0.8, 1.2, 0.01, 0.05, 1.0];
/// The step's place in the epoch, and steps of it.
const EPOCH_STEP: usize = 1;
const STEPS: usize = 2;

struct Scene {
    device: Accelerator<Chosen>,
    hidden: usize,
    pool: usize,
    work: Vec<f32>,
    /// Of the members, or of the lanes if there are fewer.
    keys: Vec<f32>,
    facts: Vec<f32>,
}

/// What a launch left.
struct Found {
    work: Vec<f32>,
    keys_gradient: Vec<f32>,
    beta: Vec<f32>,
    log: Vec<f32>,
}

impl Scene {
    fn new(device: &Accelerator<Chosen>, hidden: usize, pool: usize) -> Self {
        let mut numbers = Numbers((hidden + pool) as u64);
        let mut facts = numbers.vector(MEMBERS * FACTS);
        for own in facts.chunks_mut(FACTS) {
            // Two trajectories of weight, advantages of both signs, references near what the scores give.
            own[..T].copy_from_slice(&[0.5, 0.0, 0.5]);
            own[T..2 * T].copy_from_slice(&[1.3, 0.4, -0.8]);
            own[2 * T..3 * T].copy_from_slice(&[-4.0, -3.0, -2.5]);
        }
        let (work, keys) = (numbers.vector(MEMBERS * WIDTH), numbers.vector(MEMBERS * pool * hidden));
        Self { device: device.clone(), hidden, pool, work, keys, facts }
    }

    fn counts(&self) -> [usize; LANES_OF_INPUT] {
        [self.pool, self.pool - 1]
    }

    /// `[T * S]` of a lane.
    fn labels(lane: usize) -> [u32; T * S] {
        [[0, 2, 1, 3, 2, 1], [1, 0, 0, 2, 2, 1]][lane]
    }

    fn keys(&self, member: usize, by_lane: bool) -> &[f32] {
        let len = self.pool * self.hidden;
        let source = if by_lane { LANE_OF[member] as usize } else { member };
        &self.keys[source * len..][..len]
    }

    fn query(&self, member: usize) -> &[f32] {
        &self.work[member * WIDTH + QUERY..][..self.hidden]
    }

    fn launch(&self, by_lane: bool, grpo: bool) -> Found {
        let device = &self.device;
        let counts = self.counts().map(|count| count as u32);
        let labels: Vec<u32> = (0..LANES_OF_INPUT).flat_map(Self::labels).collect();
        let index = device.upload(&[&LANE_OF[..], &counts, &labels].concat());
        let (keys, facts) = (device.upload(&self.keys), device.upload(&self.facts));
        let (constants, work) = (device.upload(&CONSTANTS.repeat(MEMBERS)), device.upload(&self.work));
        let (gradient, beta) =
            (device.upload(&vec![0.0f32; self.keys.len()]), device.upload(&[BETA; MEMBERS]));
        let figures = if grpo { 4 } else { 2 };
        let log = device.upload(&vec![0.0f32; MEMBERS * STEPS * figures]);
        let number = |value: usize| value as u32;
        let (first_count, first_label) = (number(MEMBERS), number(MEMBERS + LANES_OF_INPUT));
        let (query, query_gradient) = (number(QUERY), number(GRADIENT));
        head::head::launch::<Chosen>(
            &device.client,
            cubes(1, MEMBERS, 1),
            cube(),
            keys.arg(),
            index.arg(),
            facts.arg(),
            constants.arg(),
            work.arg(),
            gradient.arg(),
            beta.arg(),
            log.arg(),
            place(self.hidden, self.pool, number(WIDTH), (0, 0)).arg(),
            BooksLaunch::new(
                number(MEMBERS),
                0,
                number(FACTS),
                number(3 * T),
                number(EPOCH_STEP),
                number(STEPS),
                number(figures),
            ),
            HeadAtLaunch::new(query, query_gradient, first_count, first_label, (1.0 / TEMPERATURE) as f32),
            (self.pool, T, S),
            by_lane,
            grpo,
        );
        let read = |buffer| device.read(buffer);
        Found { work: read(&work), keys_gradient: read(&gradient), beta: read(&beta), log: read(&log) }
    }

    /// The labels of a member's lane as burn's operators take them, `[1, T * S, K]` each.
    fn one_hot(&self, member: usize) -> Labels {
        let lane = LANE_OF[member] as usize;
        let (labels, count, k) = (Self::labels(lane), self.counts()[lane], self.pool);
        let (mut hot, mut keep, mut fill) =
            (vec![0.0; T * S * k], vec![1.0; T * S * k], vec![0.0; T * S * k]);
        for (row, &label) in labels.iter().enumerate() {
            hot[row * k + label as usize] = 1.0;
            let mut set = |candidate: usize, to: f32| {
                (keep[row * k + candidate], fill[row * k + candidate]) = (0.0, to);
            };
            labels[row / S * S..row].iter().for_each(|&chosen| set(chosen as usize, -100.0));
            (count..k).for_each(|beyond| set(beyond, -1e30));
        }
        let shaped = |values: &[f32]| constant(values, [1, T * S, k]);
        Labels { hot: shaped(&hot), keep: shaped(&keep), fill: shaped(&fill) }
    }

    fn check(&self, found: &Found, member: usize, (by_lane, is_grpo): (bool, bool)) {
        let (h, k) = (self.hidden, self.pool);
        let (query, keys) =
            (leaf(self.query(member), [1, 1, h]), leaf(self.keys(member, by_lane), [1, k, h]));
        let unit = |x: Tensor<Dispatch, 3>| {
            let norm = (x.clone() * x.clone()).sum_dim(2).add_scalar(1e-24).sqrt();
            x / norm
        };
        let cosines = unit(query.clone()).matmul(unit(keys.clone()).swap_dims(1, 2));
        let log_probs = log_probs(cosines.mul_scalar(1.0 / TEMPERATURE), self.one_hot(member), S);
        let fact = |part: usize| tensor(&self.facts[member * FACTS + part * T..][..T], [1, T]);
        let (mut figures, mut beta) = (Vec::new(), tensor(&[BETA], [1, 1]));
        let loss = if is_grpo {
            let bound = |i: usize| tensor(&[CONSTANTS[i]; T], [1, T]);
            let terms = GrpoTerms {
                weights: fact(0),
                advantages: fact(1),
                reference: fact(2),
                low: bound(0),
                high: bound(1),
                beta: beta.clone(),
            };
            let parts = grpo(log_probs, terms);
            let target = |i: usize| tensor(&[CONSTANTS[i]], [1, 1]);
            beta = KlTarget { low: target(2), high: target(3) }.adapt(beta, &parts.kl);
            figures.extend([parts.ppo, parts.kl, parts.mean_ratio].map(|one| values(one)[0]));
            parts.loss
        } else {
            let loss = rce(log_probs, Tensor::from_inner(fact(0)));
            figures.push(values(loss.clone().inner())[0]);
            loss
        };
        let gradients = loss.sum().backward();
        let at = |what: &str| format!("{what} of member {member}, h = {h}, K = {k}");
        let log = &found.log[(member * STEPS + EPOCH_STEP) * (figures.len() + 1)..][..figures.len()];
        near(&at("figures"), log, &figures);
        near(&at("beta"), &found.beta[member..=member], &values(beta));
        let want = values(query.grad(&gradients).unwrap());
        near(&at("gradient of the query"), &found.work[member * WIDTH + GRADIENT..][..h], &want);
        if !by_lane {
            let want = values(keys.grad(&gradients).unwrap());
            for (row, want) in want.chunks(h).enumerate() {
                let got = &found.keys_gradient[(member * k + row) * h..][..h];
                // A candidate's slope is a difference of probabilities, of which the first digits cancel; where it is
                // zeroed that is divided by 1e-12.
                let scale = want.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                if scale > 1e-4 {
                    within(&at(&format!("gradient of candidate {row}")), got, want, 1e-3);
                }
            }
        }
    }
}

#[test]
fn loss_figures_and_gradients() {
    let Some(device) = accelerator() else { return };
    for (hidden, pool) in [(5, 4), (33, 70), (301, 6)] {
        let mut scene = Scene::new(&device, hidden, pool);
        for zeroed in [false, true] {
            if zeroed {
                // A candidate that dropout has left nothing of, in every pool.
                scene.keys.chunks_mut(pool * hidden).for_each(|own| own[hidden..2 * hidden].fill(0.0));
            }
            for (by_lane, grpo) in [(false, true), (true, true), (false, false), (true, false)] {
                let found = scene.launch(by_lane, grpo);
                (0..MEMBERS).for_each(|member| scene.check(&found, member, (by_lane, grpo)));
            }
        }
        // And queries of nothing: the gradient is that of a division by 1e-12.
        scene.work.chunks_mut(WIDTH).for_each(|own| own[QUERY..QUERY + hidden].fill(0.0));
        let found = scene.launch(true, true);
        (0..MEMBERS).for_each(|member| scene.check(&found, member, (true, true)));
    }
}

#[test]
fn scores_are_cosines_over_the_temperature() {
    let Some(device) = accelerator() else { return };
    for (hidden, pool) in [(5, 4), (33, 70), (301, 6)] {
        let mut scene = Scene::new(&device, hidden, pool);
        scene.keys[..hidden].fill(0.0);
        let (keys, work) = (device.upload(&scene.keys), device.upload(&scene.work));
        let out = device.empty(MEMBERS * pool);
        head::scores::launch::<Chosen>(
            &device.client,
            cubes(1, MEMBERS, 1),
            cube(),
            keys.arg(),
            work.arg(),
            out.arg(),
            place(hidden, pool, WIDTH as u32, (0, 0)).arg(),
            QUERY as u32,
            (1.0 / TEMPERATURE) as f32,
            pool,
        );
        let got = device.read(&out);
        for member in 0..MEMBERS {
            let query = tensor(scene.query(member), [1, hidden]);
            let keys = tensor(scene.keys(member, false), [pool, hidden]);
            let norm = |x: Tensor<Dispatch, 2>| (x.clone() * x).sum_dim(1).sqrt().clamp_min(1e-12);
            let unit = |x: Tensor<Dispatch, 2>| x.clone() / norm(x);
            let want = unit(query).matmul(unit(keys).transpose()).mul_scalar(1.0 / TEMPERATURE);
            near("scores", &got[member * pool..][..pool], &values(want));
        }
    }
}
