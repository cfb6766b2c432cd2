//! Fresh weights (SPEC "Init"): drawn from the seed's own stream, parameter by parameter in model order.

use super::parameters::{Layout, Segment};
use super::random::{Purpose, Stream};

/// Initial parameters, flat `[P]`: `input_proj` xavier uniform; `query_proj`, `cand_proj` = identity +
/// 0.01 N(0, 1); attention and norms as PyTorch initialises `nn.MultiheadAttention` and `nn.LayerNorm`.
pub fn fresh_weights(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::Init);
    let mut flat = Vec::with_capacity(layout.total);
    for segment in &layout.segments {
        fill(segment, layout.shape.hidden, &mut stream, &mut flat);
    }
    flat
}

fn fill(segment: &Segment, hidden: usize, stream: &mut Stream, flat: &mut Vec<f32>) {
    let field = segment.name.rsplit_once('.').map_or("", |(rest, last)| {
        if rest.ends_with("out_proj") && last == "weight" { "out_proj.weight" } else { last }
    });
    let count = segment.len();
    let mut uniform =
        |bound: f64| flat.extend((0..count).map(|_| ((stream.uniform() * 2.0 - 1.0) * bound) as f32));
    match (segment.name.as_str(), field) {
        ("query_proj.weight" | "cand_proj.weight", _) => {
            flat.extend((0..count).map(|i| {
                let identity = if i / hidden == i % hidden { 1.0 } else { 0.0 };
                (identity + 0.01 * stream.normal()) as f32
            }));
        }
        // Kaiming uniform with a = sqrt(5), the default of nn.Linear: 1 / sqrt(fan_in).
        (_, "out_proj.weight") => uniform(1.0 / (hidden as f64).sqrt()),
        (name, "weight") if name.starts_with("attn_norms") => flat.extend(std::iter::repeat_n(1.0, count)),
        (_, "bias" | "in_proj_bias") => flat.extend(std::iter::repeat_n(0.0, count)),
        // Xavier uniform: input_proj.weight and in_proj_weight.
        _ => uniform((6.0 / segment.shape.iter().sum::<usize>() as f64).sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::learn::Shape;

    #[test]
    fn every_parameter_has_its_distribution() {
        let layout = Layout::new(Shape { dim: 512, hidden: 256, layers: 1, heads: 1 });
        let flat = fresh_weights(&layout, 1);
        assert_eq!(flat.len(), layout.total);
        let figures = |name: &str| {
            let segment = layout.segments.iter().find(|segment| segment.name == name).unwrap();
            let values = &flat[segment.offset..segment.offset + segment.len()];
            let largest = values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let square =
                values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / values.len() as f64;
            (f64::from(largest), square.sqrt())
        };
        // A uniform distribution on [-b, b] has rms b / sqrt(3).
        for (name, bound) in [
            ("input_proj.weight", (6.0f64 / 768.0).sqrt()),
            ("cross_attn_layers.0.in_proj_weight", (6.0f64 / 1024.0).sqrt()),
            ("cross_attn_layers.0.out_proj.weight", 1.0 / 16.0),
        ] {
            let (largest, rms) = figures(name);
            assert!(largest <= bound && largest > 0.999 * bound, "{name}: {largest} of {bound}");
            assert!((rms / bound - 1.0 / 3f64.sqrt()).abs() < 0.01, "{name}: rms {rms}");
        }
        assert_eq!(figures("cross_attn_layers.0.in_proj_bias").0, 0.0);
        assert_eq!(figures("attn_norms.0.weight"), (1.0, 1.0));
        let (largest, rms) = figures("query_proj.weight");
        assert!(largest < 1.06 && (rms - (1.0 / 256.0 + 1e-4f64).sqrt()).abs() < 1e-3, "{largest} {rms}");
        assert_ne!(fresh_weights(&layout, 2), flat);
    }
}
