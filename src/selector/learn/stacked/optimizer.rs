//! AdamW with a global norm clip per member (as in PyTorch), one expression over all members' parameters.

use burn::tensor::{Int, Tensor, TensorData};

use super::Plane;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPS: f32 = 1e-8;

/// Trainable parameters and moments of several members, `[G, P]` each.
#[derive(Clone, Debug)]
pub struct Rows {
    pub parameters: Plane,
    pub first: Plane,
    pub second: Plane,
}

/// One step's constants per member, `[G, 1]` each.
#[derive(Clone, Debug)]
pub struct Rates {
    /// `1 - lr * weight_decay`
    pub decay: Plane,
    /// Largest gradient norm.
    pub max_norm: Plane,
    /// `lr / (1 - 0.9^t)`
    pub rate: Plane,
    /// `1 / sqrt(1 - 0.999^t)`
    pub inverse_bias: Plane,
}

impl Rows {
    /// One step with `gradient`, whose clip factor enters with the moments' own factors: the fewer passes over
    /// `[G, P]`, the better.
    pub fn update(self, gradient: Gradient, rates: Rates) -> Self {
        let Gradient { values, squares, norm } = gradient;
        let clip = (rates.max_norm / norm.add_scalar(1e-6)).clamp_max(1.0);
        let new = values * clip.clone().mul_scalar(1.0 - BETA1);
        let first = self.first.mul_scalar(BETA1) + new;
        let new = squares * (clip.clone() * clip).mul_scalar(1.0 - BETA2);
        let second = self.second.mul_scalar(BETA2) + new;
        let denominator = (second.clone().sqrt() * rates.inverse_bias).add_scalar(EPS);
        let step = first.clone() / denominator * rates.rate;
        let parameters = self.parameters * rates.decay - step;
        Self { parameters, first, second }
    }

    /// The rows numbered `members`.
    pub fn select(&self, members: &[usize]) -> Self {
        let ids = row_ids(members, &self.parameters);
        Self {
            parameters: self.parameters.clone().select(0, ids.clone()),
            first: self.first.clone().select(0, ids.clone()),
            second: self.second.clone().select(0, ids),
        }
    }

    /// Puts row i of `other` in place of row `members[i]`.
    pub fn replace(&self, members: &[usize], other: &Self) -> Self {
        let count = self.parameters.dims()[0];
        let place = |row| members.iter().position(|&member| member == row);
        let source: Vec<usize> = (0..count).map(|row| place(row).map_or(row, |i| count + i)).collect();
        let both = |own: &Plane, new: &Plane| Tensor::cat(vec![own.clone(), new.clone()], 0);
        let stacked = Self {
            parameters: both(&self.parameters, &other.parameters),
            first: both(&self.first, &other.first),
            second: both(&self.second, &other.second),
        };
        stacked.select(&source)
    }
}

fn row_ids(rows: &[usize], like: &Plane) -> Tensor<burn::Dispatch, 1, Int> {
    let ids: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    Tensor::from_data(TensorData::new(ids, [rows.len()]), &like.device())
}

/// One step's gradient of several members.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// `[G, P]`
    values: Plane,
    /// Their squares `[G, P]`.
    squares: Plane,
    /// Global norm per member `[G, 1]`.
    pub norm: Plane,
}

impl Gradient {
    /// The gradient `values` `[G, P]`; every parameter's size is a multiple of `hidden`.
    ///
    /// The squares are summed in two stages: one sum over a long row would lose precision on a CPU and keep
    /// one block of a GPU busy.
    pub fn new(values: Plane, hidden: usize) -> Self {
        let [members, width] = values.dims();
        let squares = values.clone() * values.clone();
        let rows = squares.clone().reshape([members, width / hidden, hidden]).sum_dim(2);
        let norm = rows.reshape([members, width / hidden]).sum_dim(1).sqrt();
        Self { values, squares, norm }
    }
}
