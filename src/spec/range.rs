//! Ranges of numbers: `{ from = 0.05, to = 0.3, count = 6, scale = "linear" }`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Diagnostic, Origin};
use super::keys::{Key, closest};
use super::kind::Kind;
use super::read::{Given, Reader, integer_of, shown};
use super::value::{Value, number_text};

/// How the values of a range are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Equal differences.
    Linear,
    /// Equal ratios.
    Log,
}

const FIELDS: &[&str] = &["from", "to", "count", "scale"];
const USAGE: &str =
    "a range is `{ from = 0.05, to = 0.3, count = 6 }`, with `scale = \"log\"` for equal ratios";

/// Reads a range as the values of axis `key`; every value stands where the range stands.
pub(super) fn read(
    reader: &Reader,
    key: &Key,
    table: &DeTable,
    origin: &Origin,
) -> Result<Vec<Given>, Diagnostic> {
    let name = key.dotted();
    if !matches!(key.kind, Kind::Number(_) | Kind::Count { .. }) {
        let message = format!("axis `{name}` cannot be a range: each value must be {}", key.kind);
        return Err(Diagnostic::new(message).at(origin).hint("give a list of values"));
    }
    for field in table.keys() {
        if !FIELDS.contains(&field.get_ref().as_ref()) {
            let meant = closest(field.get_ref(), FIELDS.iter().copied());
            let way_out = meant.map_or_else(|| USAGE.to_owned(), |meant| format!("did you mean `{meant}`?"));
            return Err(Diagnostic::new(format!("unknown key `{field}` in the range of axis `{name}`"))
                .at(&reader.origin(field))
                .hint(way_out));
        }
    }
    let field = |field: &str| {
        table.get(field).ok_or_else(|| {
            Diagnostic::new(format!("the range of axis `{name}` has no `{field}`")).at(origin).hint(USAGE)
        })
    };
    let from = bound(reader, key, "from", field("from")?)?;
    let to = bound(reader, key, "to", field("to")?)?;
    let count = count(reader, &name, field("count")?)?;
    let scale = table.get("scale").map_or(Ok(Scale::Linear), |item| scale(reader, &name, item))?;
    if from == to {
        let message = format!("the range of axis `{name}` begins and ends at {}", number_text(from));
        return Err(Diagnostic::new(message).at(origin).hint("give the value alone in a list"));
    }
    if scale == Scale::Log && (from <= 0.0 || to <= 0.0) {
        return Err(Diagnostic::new(format!("the logarithmic range of axis `{name}` must stay above 0"))
            .at(origin)
            .hint("begin at a small number, or use scale = \"linear\""));
    }
    typed(key, &values(from, to, count, scale), origin)
}

fn bound(reader: &Reader, key: &Key, field: &str, item: &Spanned<DeValue>) -> Result<f64, Diagnostic> {
    match reader.value(key, item)?.value {
        Value::Number(number) => Ok(number),
        Value::Count(count) => Ok(count as f64),
        other => {
            Err(Diagnostic::new(format!("`{field}` of a range cannot be {other}")).at(&reader.origin(item)))
        }
    }
}

fn count(reader: &Reader, name: &str, item: &Spanned<DeValue>) -> Result<usize, Diagnostic> {
    let number =
        item.get_ref().as_integer().and_then(integer_of).and_then(|count| usize::try_from(count).ok());
    match number {
        Some(count) if (2..=1_000_000).contains(&count) => Ok(count),
        _ => Err(Diagnostic::new(format!(
            "`count` in the range of axis `{name}` must be a whole number from 2 to 1000000, but is {}",
            shown(item.get_ref())
        ))
        .at(&reader.origin(item))),
    }
}

fn scale(reader: &Reader, name: &str, item: &Spanned<DeValue>) -> Result<Scale, Diagnostic> {
    match item.get_ref().as_str() {
        Some("linear") => Ok(Scale::Linear),
        Some("log") => Ok(Scale::Log),
        _ => Err(Diagnostic::new(format!(
            "`scale` in the range of axis `{name}` must be \"linear\" or \"log\", but is {}",
            shown(item.get_ref())
        ))
        .at(&reader.origin(item))),
    }
}

/// The numbers as values of `key`: whole ones where the key counts.
fn typed(key: &Key, numbers: &[f64], origin: &Origin) -> Result<Vec<Given>, Diagnostic> {
    let given = |value| Given { value, origin: origin.clone() };
    if matches!(key.kind, Kind::Number(_)) {
        return Ok(numbers.iter().map(|number| given(Value::Number(*number))).collect());
    }
    if let Some(number) = numbers.iter().find(|number| number.fract() != 0.0) {
        let message = format!(
            "the range of axis `{}` does not fall on whole numbers: {}",
            key.dotted(),
            number_text(*number)
        );
        return Err(Diagnostic::new(message).at(origin).hint("choose another `count`, or give a list"));
    }
    Ok(numbers.iter().map(|number| given(Value::Count(*number as u64))).collect())
}

/// `count >= 2` numbers from `from` to `to`, both exact, the ones between rounded to few decimals.
///
/// Computed from the index, never by adding steps. The decimals are the fewest that give every number to within
/// a billionth of its distance to the next; where no short decimals do (thirds, square roots), every number is
/// rounded to a ten-thousandth of that distance.
pub(super) fn values(from: f64, to: f64, count: usize, scale: Scale) -> Vec<f64> {
    let last = count - 1;
    let exact: Vec<f64> = (0..count)
        .map(|index| {
            let part = index as f64 / last as f64;
            match scale {
                Scale::Linear => from + (to - from) * part,
                Scale::Log => (from.ln() + (to.ln() - from.ln()) * part).exp(),
            }
        })
        .collect();
    let gap =
        |index: usize| (exact[index] - exact[index - 1]).abs().min((exact[index + 1] - exact[index]).abs());
    let decimals = |index: usize| -gap(index).log10().floor() as i32;
    let is_short = |digits: i32| {
        (1..last).all(|index| {
            (rounded(exact[index], decimals(index) + digits) - exact[index]).abs() <= 1e-9 * gap(index)
        })
    };
    let digits = (0..=6).find(|digits| is_short(*digits)).unwrap_or(match scale {
        Scale::Linear => 4,
        Scale::Log => 3,
    });
    (0..count)
        .map(|index| match index {
            0 => from,
            _ if index == last => to,
            _ => rounded(exact[index], decimals(index) + digits),
        })
        .collect()
}

/// The double nearest to `number` rounded to `decimals` decimals (negative: to tens, hundreds, ...).
fn rounded(number: f64, decimals: i32) -> f64 {
    if decimals <= 0 {
        let unit = 10f64.powi(-decimals);
        return (number / unit).round() * unit;
    }
    let digits = usize::try_from(decimals.min(300)).unwrap_or(0);
    format!("{number:.digits$}").parse().unwrap_or(number)
}
