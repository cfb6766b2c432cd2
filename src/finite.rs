//! A number that is one: what results are made of.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// An f64 that is neither NaN nor infinite. JSON has no word for those: a record that held one could not be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Finite(f64);

impl Finite {
    /// Zero.
    pub const ZERO: Self = Self(0.0);

    /// `None` for NaN and the infinities.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    /// As a plain number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// In seconds.
impl From<Duration> for Finite {
    fn from(time: Duration) -> Self {
        Self(time.as_secs_f64())
    }
}

/// 1 where it holds, 0 where it does not.
impl From<bool> for Finite {
    fn from(holds: bool) -> Self {
        Self(f64::from(u8::from(holds)))
    }
}

/// It is used like the number it is.
impl Deref for Finite {
    type Target = f64;

    fn deref(&self) -> &f64 {
        &self.0
    }
}

impl From<Finite> for f64 {
    fn from(value: Finite) -> f64 {
        value.0
    }
}

impl fmt::Display for Finite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Finite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not a finite number")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_held_and_every_bit_of_them_comes_back() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Finite::new(value), None);
        }
        for value in [0.0, -0.0, f64::MIN_POSITIVE / 4.0, f64::MAX, 0.1 + 0.2] {
            let text = serde_json::to_string(&Finite::new(value).unwrap()).unwrap();
            let back: Finite = serde_json::from_str(&text).unwrap();
            assert_eq!(back.get().to_bits(), value.to_bits(), "{text}");
        }
        assert!(serde_json::from_str::<Finite>("null").is_err());
        assert!(serde_json::from_str::<Finite>("1e999").is_err());
    }
}
