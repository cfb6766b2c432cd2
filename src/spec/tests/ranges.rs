//! `{ from, to, count }`.

use proptest::prelude::*;

use super::spec;
use crate::spec::range::{Scale, values};

#[test]
fn steps_of_a_tenth_end_exactly() {
    assert_eq!(values(0.0, 1.0, 11, Scale::Linear), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]);
    assert_eq!(values(0.05, 0.3, 6, Scale::Linear), [0.05, 0.1, 0.15, 0.2, 0.25, 0.3]);
    assert_eq!(values(1e-6, 5e-6, 5, Scale::Linear), [1e-6, 2e-6, 3e-6, 4e-6, 5e-6]);
    assert_eq!(values(0.3, 0.1, 3, Scale::Linear), [0.3, 0.2, 0.1]);
    assert_eq!(values(0.0, 0.246912, 3, Scale::Linear), [0.0, 0.123456, 0.246912]);
    assert_eq!(values(0.0, 1000.0, 3, Scale::Linear), [0.0, 500.0, 1000.0]);
}

#[test]
fn equal_ratios() {
    assert_eq!(values(1e-6, 1e-3, 4, Scale::Log), [1e-6, 1e-5, 1e-4, 1e-3]);
    assert_eq!(values(1e-4, 1e-6, 3, Scale::Log), [1e-4, 1e-5, 1e-6]);
    assert_eq!(values(16.0, 256.0, 5, Scale::Log), [16.0, 32.0, 64.0, 128.0, 256.0]);
}

#[test]
fn what_no_short_decimals_give_is_rounded() {
    assert_eq!(values(0.0, 1.0, 4, Scale::Linear), [0.0, 0.33333, 0.66667, 1.0]);
    assert_eq!(values(1e-6, 1e-5, 3, Scale::Log), [1e-6, 3.162e-6, 1e-5]);
}

#[test]
fn whole_numbers_for_keys_that_count() {
    let spec = spec(
        "[grid]\nseed = { from = 1, to = 5, count = 5 }\nhidden = { from = 16, to = 64, count = 3, scale = \"log\" }\n",
    );
    assert_eq!(spec.points.len(), 15);
    let hidden: Vec<usize> = spec.points[..3].iter().map(|point| super::values(point).model.hidden).collect();
    assert_eq!(hidden, [16, 32, 64]);
}

proptest! {
    #[test]
    fn ends_are_exact_and_values_advance(
        from in -1e6f64..1e6, width in 1e-6f64..1e6, count in 2usize..200, log in prop::bool::ANY
    ) {
        let (from, scale) = if log { (from.abs() + 1e-9, Scale::Log) } else { (from, Scale::Linear) };
        let to = from + width * from.abs().max(1.0);
        let values = values(from, to, count, scale);
        prop_assert_eq!(values.len(), count);
        prop_assert_eq!((values[0], values[count - 1]), (from, to));
        prop_assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{values:?}");
    }

    #[test]
    fn decimal_steps_are_decimal(first in 0i64..1000, step in 1i64..1000, count in 2i64..100, decimals in 0i32..9) {
        let unit = 10f64.powi(decimals);
        let number = |n: i64| format!("{:.*}", decimals as usize, n as f64 / unit).parse::<f64>().unwrap();
        let expected: Vec<f64> = (0..count).map(|n| number(first + step * n)).collect();
        let found = values(expected[0], *expected.last().unwrap(), count as usize, Scale::Linear);
        prop_assert_eq!(found, expected);
    }
}
