//! How numbers and rows are put into words, in little room or much.

use crate::spec::{Columns, columns_with};

/// Names that are listed before "and n more".
const LISTED: usize = 4;

/// What a row says, from everything to what fits 80 columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    Full,
    /// Verdicts as one character.
    Signs,
    /// And no interval of the difference; shot counts as `S1`.
    Short,
    /// And neither seeds nor interval of the average.
    Narrow,
}

/// A difference of fractions in percentage points with its sign: `+1.25`.
pub fn signed(value: f64, precision: usize) -> String {
    let points = unsigned_zero(100.0 * value, precision);
    if points == 0.0 { format!("{points:.precision$}") } else { format!("{points:+.precision$}") }
}

/// No `-0.00`: a difference that rounds to nothing has no sign.
pub fn unsigned_zero(value: f64, precision: usize) -> f64 {
    if value.abs() < 0.5 * 10.0_f64.powi(-(precision as i32)) { 0.0 } else { value }
}

/// `a, b, c, d and 3 more`
pub fn list(names: &[&str]) -> String {
    let shown = if names.len() > LISTED + 1 { LISTED } else { names.len() };
    let text = names[..shown].join(", ");
    if shown < names.len() { format!("{text} and {} more", names.len() - shown) } else { text }
}

/// How the score columns, `shot_2@200`, are called.
pub fn names(columns: &[String]) -> Columns {
    let first = columns.first().map_or("", String::as_str);
    columns_with(first.split('@').next().unwrap_or(first))
}

/// The score column where there is one, which is then no mean of several. Columns that count something are several,
/// however many a sweep has asked for.
pub fn only_score(columns: &[String]) -> Option<&String> {
    match columns {
        [only] if names(columns).unit.is_empty() => Some(only),
        _ => None,
    }
}

/// What equal rows have equal: the demonstrations that they choose, or in general their answers.
pub fn what_is_chosen(columns: &[String]) -> &'static str {
    names(columns).chosen
}
