//! Where each parameter of the model lives in a member's flat buffer, and under which name in a checkpoint.

use crate::checkpoint::{Array, Weights};
use crate::selector::ModelParams;
use crate::selector::{FreezeSet, ParamGroup};

/// Shape of a `PointerSelector`: everything that decides which parameters exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Dimension d of the embeddings.
    pub dim: usize,
    /// Hidden size h.
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
}

impl Shape {
    /// The shape that `model` takes on embeddings of dimension `dim`.
    pub fn new(dim: usize, model: &ModelParams) -> Self {
        Self { dim, hidden: model.hidden, layers: model.layers, heads: model.heads }
    }

    /// Whether there is an `input_proj`: it is the identity (no parameter) when d = h.
    pub fn has_input_proj(&self) -> bool {
        self.dim != self.hidden
    }

    /// Size e of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden / self.heads
    }
}

/// One parameter tensor inside the flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Name as in checkpoints.
    pub name: String,
    pub group: ParamGroup,
    pub shape: Vec<usize>,
    /// First element in the flat buffer.
    pub offset: usize,
}

impl Segment {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Never true: parameters have elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Offsets of one attention layer's parameters.
#[derive(Clone, Copy, Debug)]
pub struct LayerOffsets {
    /// `[3h, h]`: query, key and value rows.
    pub in_proj: usize,
    /// `[3h]`
    pub in_bias: usize,
    /// `[h, h]`
    pub out_proj: usize,
    /// `[h]`
    pub out_bias: usize,
    /// `[h]`
    pub norm_weight: usize,
    /// `[h]`
    pub norm_bias: usize,
}

/// The flat buffer's map: parameters in the order of the model.
#[derive(Clone, Debug)]
pub struct Layout {
    pub shape: Shape,
    pub segments: Vec<Segment>,
    /// `[h, d]`, absent when d = h.
    pub input_proj: Option<usize>,
    /// `[h, h]`
    pub query_proj: usize,
    /// `[h, h]`
    pub cand_proj: usize,
    pub layer: Vec<LayerOffsets>,
    /// Length of the buffer: the number of parameters.
    pub total: usize,
}

impl Layout {
    /// Lays out the parameters of `shape`.
    pub fn new(shape: Shape) -> Self {
        let h = shape.hidden;
        let mut segments = Vec::new();
        let mut total = 0;
        let mut place = |name: String, group: ParamGroup, dims: &[usize]| {
            let offset = total;
            total += dims.iter().product::<usize>();
            segments.push(Segment { name, group, shape: dims.to_vec(), offset });
            offset
        };
        let input_proj = shape
            .has_input_proj()
            .then(|| place("input_proj.weight".into(), ParamGroup::InputProj, &[h, shape.dim]));
        let query_proj = place("query_proj.weight".into(), ParamGroup::QueryProj, &[h, h]);
        let cand_proj = place("cand_proj.weight".into(), ParamGroup::CandProj, &[h, h]);
        let layer = (0..shape.layers)
            .map(|l| {
                let attn = |field: &str| format!("cross_attn_layers.{l}.{field}");
                let norm = |field: &str| format!("attn_norms.{l}.{field}");
                LayerOffsets {
                    in_proj: place(attn("in_proj_weight"), ParamGroup::CrossAttn, &[3 * h, h]),
                    in_bias: place(attn("in_proj_bias"), ParamGroup::CrossAttn, &[3 * h]),
                    out_proj: place(attn("out_proj.weight"), ParamGroup::CrossAttn, &[h, h]),
                    out_bias: place(attn("out_proj.bias"), ParamGroup::CrossAttn, &[h]),
                    norm_weight: place(norm("weight"), ParamGroup::AttnNorms, &[h]),
                    norm_bias: place(norm("bias"), ParamGroup::AttnNorms, &[h]),
                }
            })
            .collect();
        Self { shape, segments, input_proj, query_proj, cand_proj, layer, total }
    }

    /// Number of parameters that `freeze` leaves trainable.
    pub fn trainable(&self, freeze: &FreezeSet) -> usize {
        self.segments.iter().filter(|segment| !freeze.contains(segment.group)).map(Segment::len).sum()
    }

    /// The values of `flat` that `freeze` leaves trainable; `flat` itself where a frozen one is not zero.
    pub fn pack(&self, freeze: &FreezeSet, flat: Vec<f32>) -> Vec<f32> {
        let (frozen, trained): (Vec<&Segment>, Vec<&Segment>) =
            self.segments.iter().partition(|segment| freeze.contains(segment.group));
        let values = |segment: &&Segment| &flat[segment.offset..segment.offset + segment.len()];
        if frozen.iter().flat_map(values).any(|value| value.to_bits() != 0) {
            return flat;
        }
        trained.iter().flat_map(values).copied().collect()
    }

    /// The inverse of [`Layout::pack`]; `None` for a length that it cannot have made.
    pub fn unpack(&self, freeze: &FreezeSet, packed: Vec<f32>) -> Option<Vec<f32>> {
        if packed.len() == self.total {
            return Some(packed);
        }
        let mut flat = vec![0.0; self.total];
        let mut rest = packed.as_slice();
        for segment in self.segments.iter().filter(|segment| !freeze.contains(segment.group)) {
            let (values, after) = rest.split_at_checked(segment.len())?;
            flat[segment.offset..segment.offset + segment.len()].copy_from_slice(values);
            rest = after;
        }
        rest.is_empty().then_some(flat)
    }

    /// Copies named arrays into one flat buffer.
    ///
    /// # Errors
    /// Says which parameter is missing, has another shape, or is not one of this model's.
    pub fn flatten(&self, weights: &Weights) -> Result<Vec<f32>, String> {
        let mut flat = vec![0.0; self.total];
        for segment in &self.segments {
            let array = weights
                .get(&segment.name)
                .ok_or_else(|| format!("parameter `{}` is missing", segment.name))?;
            if array.shape != segment.shape {
                return Err(format!(
                    "parameter `{}` has shape {:?}, the sweep's model needs {:?}",
                    segment.name, array.shape, segment.shape
                ));
            }
            flat[segment.offset..segment.offset + segment.len()].copy_from_slice(&array.values);
        }
        match weights.keys().find(|name| !self.segments.iter().any(|segment| segment.name == **name)) {
            Some(name) => Err(format!("parameter `{name}` is not one of this model's")),
            None => Ok(flat),
        }
    }

    /// The inverse of [`Layout::flatten`].
    pub fn name_arrays(&self, flat: &[f32]) -> Weights {
        self.segments
            .iter()
            .map(|segment| {
                let values = flat[segment.offset..segment.offset + segment.len()].to_vec();
                (segment.name.clone(), Array { shape: segment.shape.clone(), values })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_size_has_the_parameter_counts_of_the_specification() {
        let layout = Layout::new(Shape::new(512, &ModelParams::default()));
        let backbone = [ParamGroup::InputProj, ParamGroup::QueryProj, ParamGroup::CandProj];
        assert_eq!(layout.total, 525_824);
        assert_eq!(layout.trainable(&FreezeSet(backbone.into())), 263_680);
        assert_eq!(layout.trainable(&FreezeSet::default()), 525_824);
    }

    #[test]
    fn no_input_projection_when_the_dimensions_agree() {
        let layout = Layout::new(Shape { dim: 8, hidden: 8, layers: 2, heads: 2 });
        assert_eq!(layout.input_proj, None);
        let named = layout.name_arrays(&vec![1.0; layout.total]);
        assert_eq!(layout.flatten(&named), Ok(vec![1.0; layout.total]));
    }

    #[test]
    fn moments_of_frozen_groups_are_left_out_and_come_back() {
        let layout = Layout::new(Shape { dim: 4, hidden: 6, layers: 1, heads: 1 });
        let freeze = FreezeSet([ParamGroup::QueryProj, ParamGroup::AttnNorms].into());
        let mut flat: Vec<f32> = (0..layout.total).map(|at| at as f32 + 0.5).collect();
        assert_eq!(layout.pack(&freeze, flat.clone()), flat, "a moment that is not zero is never lost");
        for segment in layout.segments.iter().filter(|segment| freeze.contains(segment.group)) {
            flat[segment.offset..segment.offset + segment.len()].fill(0.0);
        }
        let packed = layout.pack(&freeze, flat.clone());
        assert_eq!(packed.len(), layout.trainable(&freeze));
        assert_eq!(layout.unpack(&freeze, packed.clone()), Some(flat.clone()));
        assert_eq!(layout.unpack(&freeze, flat.clone()), Some(flat), "as earlier versions wrote it");
        assert_eq!(layout.unpack(&FreezeSet::default(), packed), None);
        assert_eq!(layout.unpack(&freeze, vec![0.0]), None);
    }

    #[test]
    fn flatten_names_the_parameter_that_does_not_fit() {
        let layout = Layout::new(Shape { dim: 4, hidden: 8, layers: 1, heads: 1 });
        let mut named = layout.name_arrays(&vec![0.0; layout.total]);
        named.insert("extra".into(), Array { shape: vec![1], values: vec![0.0] });
        assert!(layout.flatten(&named).unwrap_err().contains("`extra`"));
        named.remove("cand_proj.weight");
        assert!(layout.flatten(&named).unwrap_err().contains("`cand_proj.weight` is missing"));
    }
}
