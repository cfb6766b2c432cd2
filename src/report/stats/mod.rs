//! The statistics of a results table: bootstrap intervals, paired tests, Holm's correction.
//!
//! Everything is a pure function of its arguments and of a fixed seed, uses only additions and
//! multiplications in a fixed order where a figure is printed with all digits, and is therefore the same on
//! every machine.

mod bootstrap;
mod distribution;
mod paired;

pub use bootstrap::{Bootstrap, Interval, interval_of};
pub use distribution::{normal_quantile, student_t_quantile, student_t_two_sided};
pub use paired::{CrossedTest, crossed_test, holm, mcnemar, more_units, sign_flip};

#[cfg(test)]
mod tests;

/// Arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Unbiased variance; 0 below two values.
pub fn variance(values: &[f64]) -> f64 {
    let Some(mean) = mean(values).filter(|_| values.len() > 1) else { return 0.0 };
    values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (values.len() - 1) as f64
}

/// Rounds to ten significant digits: figures that pass through the system's `ln` and `exp` may differ in
/// their last bits between machines, and what is printed must not.
pub fn ten_digits(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    format!("{value:.9e}").parse().expect("a formatted float parses")
}
