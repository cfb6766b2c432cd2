//! Dropout factors of one step, drawn on the host: the same numbers for every engine.

use super::parameters::Shape;
use super::random::Stream;
use crate::selector::ModelParams;

/// Factors of one step of one seed; empty at rate 0.
#[derive(Clone, Debug, Default)]
pub struct DropoutMasks {
    /// `[h]`
    pub query: Vec<f32>,
    /// `[layers * heads * K]`
    pub attention: Vec<f32>,
    /// `[K, h]`
    pub candidates: Vec<f32>,
}

impl DropoutMasks {
    /// Draws the factors of a step with `count` candidates; query, attention, candidates in this order.
    pub fn draw(&mut self, mut stream: Stream, shape: Shape, model: &ModelParams, count: usize) {
        let mut draw = |rate: f64, mask: &mut Vec<f32>, len: usize| {
            mask.resize(if rate > 0.0 { len } else { 0 }, 0.0);
            stream.dropout(rate, mask);
        };
        draw(model.dropout, &mut self.query, shape.hidden);
        draw(model.attn_dropout, &mut self.attention, shape.layers * shape.heads * count);
        draw(model.dropout, &mut self.candidates, count * shape.hidden);
    }
}
