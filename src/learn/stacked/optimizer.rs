//! AdamW with a global norm clip per member (as in PyTorch), one expression over all members' parameters.

use burn::tensor::{Int, Tensor, TensorData};

use super::Matrix;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPS: f32 = 1e-8;

/// Trainable parameters and moments of several members, `[G, P]` each.
#[derive(Clone, Debug)]
pub struct Rows {
    pub parameters: Matrix,
    pub first: Matrix,
    pub second: Matrix,
}

/// One step's constants per member, `[G, 1]` each.
#[derive(Clone, Debug)]
pub struct Rates {
    /// `1 - lr * weight_decay`
    pub decay: Matrix,
    /// Largest gradient norm.
    pub max_norm: Matrix,
    /// `lr / (1 - 0.9^t)`
    pub rate: Matrix,
    /// `1 / sqrt(1 - 0.999^t)`
    pub inverse_bias: Matrix,
}

impl Rows {
    /// One step with `gradient` `[G, P]` of norms `norm` `[G, 1]`.
    pub fn update(self, gradient: Matrix, norm: Matrix, rates: Rates) -> Self {
        let clip = (rates.max_norm / norm.add_scalar(1e-6)).clamp_max(1.0);
        let gradient = gradient * clip;
        let first = self.first.clone() + (gradient.clone() - self.first).mul_scalar(1.0 - BETA1);
        let square = (gradient.clone() * gradient).mul_scalar(1.0 - BETA2);
        let second = self.second.mul_scalar(BETA2) + square;
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
        let both = |own: &Matrix, new: &Matrix| Tensor::cat(vec![own.clone(), new.clone()], 0);
        let stacked = Self {
            parameters: both(&self.parameters, &other.parameters),
            first: both(&self.first, &other.first),
            second: both(&self.second, &other.second),
        };
        stacked.select(&source)
    }
}

fn row_ids(rows: &[usize], like: &Matrix) -> Tensor<burn::Dispatch, 1, Int> {
    let ids: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    Tensor::from_data(TensorData::new(ids, [rows.len()]), &like.device())
}

/// Global gradient norm per member `[G, 1]`. Summed in two stages: one sum over a long row would lose
/// precision on a CPU and keep one block of a GPU busy. Every parameter's size is a multiple of `hidden`.
pub fn row_norms(gradient: &Matrix, hidden: usize) -> Matrix {
    let [members, width] = gradient.dims();
    let squares = gradient.clone() * gradient.clone();
    let rows = squares.reshape([members, width / hidden, hidden]).sum_dim(2);
    rows.reshape([members, width / hidden]).sum_dim(1).sqrt()
}
