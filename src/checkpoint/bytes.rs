//! Little-endian bytes of a stored element type -> f32, and back.

use std::borrow::Cow;

use super::error::Flaw;

/// Element types that files store parameters in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    BF16,
    F32,
    F64,
    /// Anything else, by its name; its values are not read.
    Other {
        name: &'static str,
    },
}

impl Element {
    /// Bytes per element; `None` where values are not read.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Self::F16 | Self::BF16 => Some(2),
            Self::F32 => Some(4),
            Self::F64 => Some(8),
            Self::Other { .. } => None,
        }
    }

    /// The name PyTorch gives it, unless it is the float32 that everything here computes in.
    pub(super) fn foreign_name(self) -> Option<String> {
        match self {
            Self::F16 => Some("float16".into()),
            Self::BF16 => Some("bfloat16".into()),
            Self::F32 => None,
            Self::F64 => Some("float64".into()),
            Self::Other { name } => Some(name.into()),
        }
    }

    /// Says that `tensor` is of this type, which is not floating point.
    pub(super) fn unreadable(self, tensor: &str) -> Flaw {
        Flaw::foreign(
            format!("its tensor `{tensor}` is of type {}", self.foreign_name().unwrap_or_default()),
            "parameters and embeddings are floating point",
        )
    }

    /// All values of `bytes`, whose length is a multiple of the size. `tensor` is for the message.
    ///
    /// # Errors
    /// Types that are not floating point.
    pub(super) fn decode(self, bytes: &[u8], tensor: &str) -> Result<Vec<f32>, Flaw> {
        Ok(match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect(),
            Self::F64 => bytes.as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk) as f32).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|chunk| half(u16::from_le_bytes(*chunk))).collect(),
            Self::BF16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|chunk| f32::from_bits(u32::from(u16::from_le_bytes(*chunk)) << 16))
                .collect(),
            Self::Other { .. } => return Err(self.unreadable(tensor)),
        })
    }
}

/// IEEE 754 binary16 -> binary32, exact.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits) & 0x3ff;
    match exponent {
        // Zero and subnormal numbers: fraction * 2^-24.
        0 => {
            let magnitude = fraction as f32 * 2f32.powi(-24);
            if sign == 0 { magnitude } else { -magnitude }
        }
        0x1f => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

/// The little-endian bytes of `values`: themselves on nearly every machine.
pub(super) fn encode(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
        assert_eq!(half(0x8000).to_bits(), (-0.0f32).to_bits());
    }
}
