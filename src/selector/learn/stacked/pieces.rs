//! The parameters as the tensor program sees them: matrices and rows with a leading member axis.

use burn::tensor::Tensor;

use super::{Plane, Stack};
use crate::selector::learn::Layout;
use crate::selector::{FreezeSet, ParamGroup};

/// What happens to a piece in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Never changes.
    Frozen,
    /// Gets a gradient.
    Trained,
    /// Its gradient is exactly zero (the key bias shifts all scores alike); only weight decay acts.
    Idle,
}

/// A run of a member's flat buffer that the model uses as one `[rows, columns]` matrix.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// First element in the flat buffer.
    pub offset: usize,
    pub rows: usize,
    pub columns: usize,
    pub role: Role,
}

impl Piece {
    /// Number of elements.
    pub fn size(&self) -> usize {
        self.rows * self.columns
    }
}

/// All pieces in the order of the flat buffer; [`ModelTensors::gather`] takes them in the same order.
pub fn pieces(layout: &Layout, freeze: &FreezeSet) -> Vec<Piece> {
    let (h, d) = (layout.shape.hidden, layout.shape.dim);
    let role = |group| if freeze.contains(group) { Role::Frozen } else { Role::Trained };
    let attention = role(ParamGroup::CrossAttn);
    let idle = if attention == Role::Frozen { Role::Frozen } else { Role::Idle };
    let norm = role(ParamGroup::AttnNorms);
    let piece = |offset, rows, columns, role| Piece { offset, rows, columns, role };
    let mut all = Vec::new();
    if let Some(offset) = layout.input_proj {
        all.push(piece(offset, h, d, role(ParamGroup::InputProj)));
    }
    all.push(piece(layout.query_proj, h, h, role(ParamGroup::QueryProj)));
    all.push(piece(layout.cand_proj, h, h, role(ParamGroup::CandProj)));
    for at in &layout.layer {
        all.extend((0..3).map(|part| piece(at.in_proj + part * h * h, h, h, attention)));
        all.push(piece(at.in_bias, 1, h, attention));
        all.push(piece(at.in_bias + h, 1, h, idle));
        all.push(piece(at.in_bias + 2 * h, 1, h, attention));
        all.push(piece(at.out_proj, h, h, attention));
        all.push(piece(at.out_bias, 1, h, attention));
        all.push(piece(at.norm_weight, 1, h, norm));
        all.push(piece(at.norm_bias, 1, h, norm));
    }
    all
}

/// The pieces that are not frozen, side by side.
pub fn compact(pieces: &[Piece], flat: &[f32]) -> Vec<f32> {
    let kept = pieces.iter().filter(|piece| piece.role != Role::Frozen);
    kept.flat_map(|piece| &flat[piece.offset..piece.offset + piece.size()]).copied().collect()
}

/// The inverse of [`compact`]: overwrites the pieces of `flat` that are not frozen.
pub fn expand(pieces: &[Piece], compact: &[f32], flat: &mut [f32]) {
    let mut rest = compact;
    for piece in pieces.iter().filter(|piece| piece.role != Role::Frozen) {
        let (own, others) = rest.split_at(piece.size());
        flat[piece.offset..piece.offset + piece.size()].copy_from_slice(own);
        rest = others;
    }
}

/// The trained pieces of `parameters` `[G, P]` (columns as [`compact`] lays them out), as `[G, rows, columns]`.
pub fn trained(pieces: &[Piece], parameters: &Plane) -> Vec<Stack> {
    let members = parameters.dims()[0];
    let mut column = 0;
    let mut all = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.role != Role::Frozen) {
        if piece.role == Role::Trained {
            let own = parameters.clone().narrow(1, column, piece.size());
            all.push(own.reshape([members, piece.rows, piece.columns]));
        }
        column += piece.size();
    }
    all
}

/// Gradients `[G, P]` from those of the trained pieces, in their order.
pub fn join_gradients(pieces: &[Piece], gradients: Vec<Stack>, idle: &Plane) -> Plane {
    let members = idle.dims()[0];
    let mut gradients = gradients.into_iter();
    let columns = pieces.iter().filter_map(|piece| match piece.role {
        Role::Frozen => None,
        Role::Trained => gradients.next().map(|own| own.reshape([members, piece.size()])),
        Role::Idle => Some(idle.clone()),
    });
    Tensor::cat(columns.collect(), 1)
}

/// Parameters of one attention layer; the leading axis W is 1 where members share them, else G.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// `[W, h, h]` each.
    pub query: Stack,
    pub key: Stack,
    pub value: Stack,
    /// `[W, 1, h]` each.
    pub query_bias: Stack,
    pub value_bias: Stack,
    /// `[W, h, h]`
    pub output: Stack,
    /// `[W, 1, h]` each.
    pub output_bias: Stack,
    pub norm_weight: Stack,
    pub norm_bias: Stack,
}

/// Parameters of the model with a leading member axis.
#[derive(Clone, Debug)]
pub struct ModelTensors {
    /// `[W, h, d]`; `None` where the embeddings are already projected (or d = h).
    pub input_proj: Option<Stack>,
    /// `[W, h, h]`
    pub query_proj: Stack,
    /// `[W, h, h]`
    pub cand_proj: Stack,
    pub layers: Vec<LayerWeights>,
}

impl ModelTensors {
    /// Names the tensors of `pieces`: frozen and trained ones, each in the pieces' order.
    pub fn gather(layout: &Layout, pieces: &[Piece], frozen: &[Stack], trained: &[Stack]) -> Self {
        let (mut frozen, mut trained) = (frozen.iter(), trained.iter());
        let mut tensors = pieces.iter().filter_map(|piece| match piece.role {
            Role::Frozen => frozen.next(),
            Role::Trained => trained.next(),
            Role::Idle => None,
        });
        let mut next = || tensors.next().expect("one tensor per piece that the model reads").clone();
        let keys_frozen = pieces.iter().all(|piece| piece.role != Role::Idle);
        Self {
            input_proj: layout.input_proj.map(|_| next()),
            query_proj: next(),
            cand_proj: next(),
            layers: (0..layout.shape.layers)
                .map(|_| {
                    let (query, key, value, query_bias) = (next(), next(), next(), next());
                    if keys_frozen {
                        next();
                    }
                    LayerWeights {
                        query,
                        key,
                        value,
                        query_bias,
                        value_bias: next(),
                        output: next(),
                        output_bias: next(),
                        norm_weight: next(),
                        norm_bias: next(),
                    }
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::learn::Shape;

    #[test]
    fn the_pieces_cover_the_buffer_without_gap_or_overlap() {
        for shape in [
            Shape { dim: 6, hidden: 4, layers: 2, heads: 2 },
            Shape { dim: 4, hidden: 4, layers: 1, heads: 1 },
        ] {
            let layout = Layout::new(shape);
            let mut end = 0;
            for piece in pieces(&layout, &FreezeSet::default()) {
                assert_eq!(piece.offset, end);
                end += piece.size();
            }
            assert_eq!(end, layout.total);
        }
    }

    #[test]
    fn expand_undoes_compact_and_leaves_frozen_values() {
        let layout = Layout::new(Shape { dim: 6, hidden: 4, layers: 1, heads: 1 });
        let freeze = FreezeSet([ParamGroup::QueryProj, ParamGroup::AttnNorms].into());
        let pieces = pieces(&layout, &freeze);
        let flat: Vec<f32> = (0..layout.total).map(|i| i as f32).collect();
        let own = compact(&pieces, &flat);
        assert_eq!(own.len(), layout.trainable(&freeze));
        let mut back = vec![-1.0; layout.total];
        expand(&pieces, &own, &mut back);
        for segment in &layout.segments {
            let want = if freeze.contains(segment.group) { -1.0 } else { segment.offset as f32 };
            assert_eq!(back[segment.offset], want, "{}", segment.name);
        }
    }
}
