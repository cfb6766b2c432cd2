//! Attention, layer norm, and back through both.

use burn::Dispatch;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use super::super::attention;
use super::super::device::{Accelerator, Buffer, cube};
use super::super::places::Places;
use super::{
    Chosen, LANE_OF, LANES_OF_INPUT, MEMBERS, Numbers, OWNERS, accelerator, constant, cubes, layout, leaf,
    near, place, tensor, values,
};
use crate::selector::learn::parameters::Layout;

/// Members' rows of random numbers, and what else the kernels read.
struct Scene {
    device: Accelerator<Chosen>,
    layout: Layout,
    places: Places,
    pool: usize,
    work: Vec<f32>,
    /// Parameters of two owners.
    weights: Vec<f32>,
    /// Candidates of a lane or of a member.
    candidates: Vec<f32>,
    masks: Vec<f32>,
    mask_width: usize,
}

/// Where the dropout factors begin.
const MASK: usize = 3;

impl Scene {
    fn new(device: &Accelerator<Chosen>, hidden: usize, heads: usize, layers: usize, pool: usize) -> Self {
        let layout = layout(hidden + 1, hidden, layers, heads);
        let places = Places::new(&layout, pool);
        let mut numbers = Numbers((hidden * pool) as u64);
        let mask_width = MASK + heads * pool + pool * hidden;
        Self {
            device: device.clone(),
            work: numbers.vector(MEMBERS * places.width as usize),
            weights: numbers.vector(2 * layout.total),
            candidates: numbers.vector(MEMBERS * pool * hidden),
            masks: numbers.mask(LANES_OF_INPUT * mask_width),
            mask_width,
            places,
            layout,
            pool,
        }
    }

    /// The largest pool is full, the other has two candidates less.
    fn counts(&self) -> [usize; LANES_OF_INPUT] {
        [self.pool, self.pool - 2]
    }

    fn index(&self) -> Buffer {
        let counts = self.counts().map(|count| count as u32);
        self.device.upload(&[&LANE_OF[..], &counts].concat())
    }

    fn place(&self) -> super::Place {
        let masks = (self.mask_width, MASK as u32);
        place(self.layout.shape.hidden, self.pool, self.places.width, masks)
    }

    /// `len` numbers of a member's row.
    fn part<'a>(&self, work: &'a [f32], member: usize, first: u32, len: usize) -> &'a [f32] {
        &work[member * self.places.width as usize + first as usize..][..len]
    }

    fn mask(&self, member: usize, len: usize) -> &[f32] {
        &self.masks[LANE_OF[member] as usize * self.mask_width + MASK..][..len]
    }

    /// `len` parameters of a member.
    fn weight(&self, member: usize, offset: usize, len: usize) -> &[f32] {
        &self.weights[OWNERS[member] as usize * self.layout.total + offset..][..len]
    }

    fn candidates(&self, member: usize, by_lane: bool) -> &[f32] {
        let len = self.pool * self.layout.shape.hidden;
        let source = if by_lane { LANE_OF[member] as usize } else { member };
        &self.candidates[source * len..][..len]
    }

    /// `work` after attention and the way back through it.
    fn attend(&self, by_lane: bool, masked: bool) -> Vec<f32> {
        let (device, heads) = (&self.device, self.layout.shape.heads);
        let (candidates, masks) = (device.upload(&self.candidates), device.upload(&self.masks));
        let (index, work) = (self.index(), device.upload(&self.work));
        let (weights, owner) = (device.upload(&self.weights), device.upload(&OWNERS));
        let bias = self.layout.layer[0].in_bias + 2 * self.layout.shape.hidden;
        let own = || self.places.layers[0].attention(heads, (self.layout.total as u32, bias as u32));
        attention::attend::launch::<Chosen>(
            &device.client,
            cubes(heads, MEMBERS, 1),
            cube(),
            candidates.arg(),
            masks.arg(),
            index.arg(),
            work.arg(),
            self.place().arg(),
            own(),
            MEMBERS as u32,
            self.pool,
            by_lane,
            masked,
        );
        attention::attend_backward::launch::<Chosen>(
            &device.client,
            cubes(heads, MEMBERS, 1),
            cube(),
            candidates.arg(),
            masks.arg(),
            index.arg(),
            weights.arg(),
            owner.arg(),
            work.arg(),
            self.place().arg(),
            own(),
            self.pool,
            by_lane,
            masked,
        );
        device.read(&work)
    }

    fn check_attention(&self, got: &[f32], member: usize, (by_lane, masked): (bool, bool)) {
        let (h, heads) = (self.layout.shape.hidden, self.layout.shape.heads);
        let (pool, e, own) = (self.pool, self.layout.shape.head_size(), self.places.layers[0]);
        let given = |first: u32, len: usize| self.part(&self.work, member, first, len);
        let candidates = self.candidates(member, by_lane);
        let query = tensor(given(own.key_query, heads * h), [heads, h]);
        let scores = values(query.matmul(tensor(candidates, [pool, h]).transpose()));
        let scores = leaf(&scores, [heads, pool]);
        let count = self.counts()[LANE_OF[member] as usize];
        let padding: Vec<f32> = (0..pool).map(|k| if k < count { 0.0 } else { -1e30 }).collect();
        let weights = softmax(scores.clone() + constant(&padding, [1, pool]), 1);
        let mut dropped = weights.clone();
        if masked {
            dropped = dropped * constant(self.mask(member, heads * pool), [heads, pool]);
        }
        let mass = dropped.clone().sum_dim(1);
        let context = dropped.clone().matmul(constant(candidates, [pool, h]));
        let (flow, bias) = (given(own.heads_gradient, h), self.layout.layer[0].in_bias + 2 * h);
        let bias = constant(self.weight(member, bias, h), [heads, e]);
        let by_mass = (bias * constant(flow, [heads, e])).sum_dim(1);
        let value = constant(given(own.value_query, heads * h), [heads, h]);
        let loss = (context.clone() * value).sum() + (mass.clone() * by_mass).sum();
        let slopes = scores.grad(&loss.backward()).unwrap();
        let key_gradient = slopes.clone().matmul(tensor(candidates, [pool, h]));
        let bias_gradient = tensor(flow, [heads, e]) * mass.clone().inner().repeat_dim(1, e);
        let same = |what: &str, first: u32, want: Tensor<Dispatch, 2>| {
            let want = values(want);
            near(&format!("{what} of member {member}"), self.part(got, member, first, want.len()), &want);
        };
        same("weights", own.weights, weights.inner());
        same("dropped weights", own.dropped, dropped.inner());
        same("mass", own.mass, mass.inner());
        same("context", own.context, context.inner());
        same("gradient of the scores", own.score_gradient, slopes);
        same("gradient of the key query", own.key_query_gradient, key_gradient);
        same("gradient of the value bias", own.value_bias_gradient, bias_gradient);
    }
}

#[test]
fn attention_and_its_gradients() {
    let Some(device) = accelerator() else { return };
    for (hidden, heads, pool) in [(8, 2, 5), (33, 3, 70), (302, 2, 9), (7, 1, 3)] {
        let mut scene = Scene::new(&device, hidden, heads, 1, pool);
        // A candidate of zeros, and a member whose query is nothing.
        scene.candidates[hidden..2 * hidden].fill(0.0);
        let query = scene.places.layers[0].key_query as usize;
        scene.work[query..query + heads * hidden].fill(0.0);
        for (by_lane, masked) in [(true, true), (true, false), (false, true), (false, false)] {
            let got = scene.attend(by_lane, masked);
            (0..MEMBERS).for_each(|member| scene.check_attention(&got, member, (by_lane, masked)));
        }
    }
}

impl Scene {
    /// `work` after the norm of the only layer and the way back through it.
    fn norm(&self, masked: bool) -> Vec<f32> {
        let device = &self.device;
        let (weights, owner) = (device.upload(&self.weights), device.upload(&OWNERS));
        let (masks, index, work) = (device.upload(&self.masks), self.index(), device.upload(&self.work));
        let at = self.layout.layer[0];
        let offsets = (self.layout.total as u32, at.norm_weight as u32, at.norm_bias as u32);
        attention::norm::launch::<Chosen>(
            &device.client,
            cubes(1, MEMBERS, 1),
            cube(),
            weights.arg(),
            owner.arg(),
            masks.arg(),
            index.arg(),
            work.arg(),
            self.place().arg(),
            self.places.norm(0, offsets),
            true,
            masked,
        );
        attention::norm_backward::launch::<Chosen>(
            &device.client,
            cubes(1, MEMBERS, 1),
            cube(),
            weights.arg(),
            owner.arg(),
            masks.arg(),
            index.arg(),
            work.arg(),
            self.place().arg(),
            self.places.norm(0, offsets),
            masked,
        );
        device.read(&work)
    }

    fn check_norm(&self, got: &[f32], member: usize, masked: bool) {
        let (h, at, own) = (self.layout.shape.hidden, self.layout.layer[0], self.places.layers[0]);
        let x = leaf(self.part(&self.work, member, own.residual, h), [1, h]);
        let weight = leaf(self.weight(member, at.norm_weight, h), [1, h]);
        let bias = leaf(self.weight(member, at.norm_bias, h), [1, h]);
        let centered = x.clone() - x.clone().mean_dim(1);
        let variance = (centered.clone() * centered.clone()).mean_dim(1);
        let normed = centered / variance.add_scalar(1e-5).sqrt();
        let output = normed.clone() * weight.clone() + bias.clone();
        let mut dropped = output.clone();
        if masked {
            dropped = dropped * constant(self.mask(member, h), [1, h]);
        }
        let flow = constant(self.part(&self.work, member, self.places.flow, h), [1, h]);
        let gradients = (dropped.clone() * flow).sum().backward();
        let same = |what: &str, first: u32, want: Tensor<Dispatch, 2>| {
            let (got, want) = (self.part(got, member, first, h), values(want));
            // A vector of equal numbers has a norm of nothing and large gradients: they are relative to what they come from.
            near(&format!("{what} of member {member}, h = {h}"), got, &want);
        };
        same("normed", own.normed, normed.inner());
        same("output", self.places.output, output.inner());
        same("dropped", self.places.dropped, dropped.inner());
        same("gradient of the weight", own.norm_weight_gradient, weight.grad(&gradients).unwrap());
        same("gradient of the bias", own.norm_bias_gradient, bias.grad(&gradients).unwrap());
        same("gradient of the input", own.residual_gradient, x.grad(&gradients).unwrap());
    }
}

#[test]
fn the_layer_norm_and_its_gradients() {
    let Some(device) = accelerator() else { return };
    for hidden in [8, 33, 302] {
        let mut scene = Scene::new(&device, hidden, 1, 1, 3);
        let first = scene.places.layers[0].residual as usize;
        scene.work[first..first + hidden].fill(0.0);
        for masked in [true, false] {
            let got = scene.norm(masked);
            (0..MEMBERS).for_each(|member| scene.check_norm(&got, member, masked));
        }
    }
}

/// What two layers' attention and `cand_proj` send back to the projected candidates.
#[test]
fn the_candidates_gradient_is_the_sum_over_layers_and_heads() {
    let Some(device) = accelerator() else { return };
    for (hidden, heads, pool) in [(8, 2, 5), (303, 3, 4)] {
        let scene = Scene::new(&device, hidden, heads, 2, pool);
        let len = pool * hidden;
        for masked in [true, false] {
            let (masks, index) = (device.upload(&scene.masks), scene.index());
            let (work, out) = (device.upload(&scene.work), device.upload(&scene.candidates));
            attention::candidates_backward::launch::<Chosen>(
                &device.client,
                cubes(pool, MEMBERS, 1),
                cube(),
                masks.arg(),
                index.arg(),
                work.arg(),
                out.arg(),
                scene.place().arg(),
                scene.places.layers[0].attention(heads, (0, 0)),
                2,
                scene.places.layer_width,
                masked,
            );
            let got = device.read(&out);
            for member in 0..MEMBERS {
                let mut want = tensor(scene.candidates(member, false), [pool, hidden]);
                if masked {
                    want = want * tensor(scene.mask(member, len), [pool, hidden]);
                }
                for own in &scene.places.layers {
                    let part = |first: u32, width: usize| {
                        tensor(scene.part(&scene.work, member, first, heads * width), [heads, width])
                    };
                    let scores = part(own.score_gradient, pool).transpose();
                    let weights = part(own.dropped, pool).transpose();
                    want = want + scores.matmul(part(own.key_query, hidden));
                    want = want + weights.matmul(part(own.value_query, hidden));
                }
                near("gradient of the candidates", &got[member * len..][..len], &values(want));
            }
        }
    }
}
