//! One TOML value -> one checked [`Value`] of a key, or a message that points at it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::KeepWeights;
use super::error::{Diagnostic, Origin, Source};
use super::keys::{Key, closest};
use super::kind::{Kind, Limits};
use super::set::{NONE, Names};
use super::table::Table;
use super::value::{OFF, Value};

/// Reads values out of one source text.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub source: Rc<Source>,
    /// Where the parsed TOML starts in the source's text.
    pub offset: usize,
    /// What relative paths are resolved against.
    pub dir: PathBuf,
}

/// A checked value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub value: Value,
    pub origin: Origin,
}

impl Reader {
    /// Where `spanned` stands.
    pub fn origin<T>(&self, spanned: &Spanned<T>) -> Origin {
        let span = spanned.span();
        Origin { source: Rc::clone(&self.source), span: span.start + self.offset..span.end + self.offset }
    }

    /// Where the whole source stands: for what is missing in it.
    pub fn whole(&self) -> Origin {
        Origin { source: Rc::clone(&self.source), span: 0..0 }
    }

    /// One value of `key`.
    pub fn value(&self, key: &Key, item: &Spanned<DeValue>) -> Result<Given, Diagnostic> {
        let origin = self.origin(item);
        match read(key.kind, item.get_ref(), &self.dir) {
            Ok(value) => Ok(Given { value, origin }),
            Err(Trouble(hint)) => {
                let found = shown(item.get_ref());
                let message = format!("`{}` must be {}, but is {found}", key.dotted(), key.kind);
                let mut diagnostic = Diagnostic::new(message).at(&origin);
                diagnostic.hint = hint.or_else(|| way_out(key, item.get_ref()));
                Err(diagnostic)
            }
        }
    }
}

/// A key of the file with its value.
pub(super) type Entry<'t, 'i> = (&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>);

/// The entries of a table in the order of the file.
pub(super) fn entries<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<Entry> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Names as the text of a sentence: `` `a`, `b` or `c` `` with `word` = "or".
pub(super) fn listed(names: &[String], word: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {word} {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// What to do about a value that does not fit, when nothing better is known.
fn way_out(key: &Key, value: &DeValue) -> Option<String> {
    if key.is_axis() && (value.is_table() || value.is_array() && !key.kind.is_list()) {
        return Some("this takes one value; a list or range of values to try belongs in [grid]".to_owned());
    }
    key.default().filter(|_| key.table != Table::Top).map(|default| format!("the default is {default}"))
}

/// Why a value does not fit its kind: at most a way out, for the message says the rest.
pub(super) struct Trouble(Option<String>);

fn no<T>() -> Result<T, Trouble> {
    Err(Trouble(None))
}

fn hint<T>(text: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble(Some(text.into())))
}

/// Reads `value` as `kind`.
fn read(kind: Kind, value: &DeValue, dir: &Path) -> Result<Value, Trouble> {
    match kind {
        Kind::Flag => flag(value).map(Value::Flag),
        Kind::Count { min, max } => count(value, min, max).map(Value::Count),
        Kind::Number(limits) => number(value, limits).map(Value::Number),
        Kind::Choice(names) => choice(value, names).map(|name| Value::Text(name.to_owned())),
        Kind::NumberPair { limits, ascending } => {
            let [first, second] = pair(value, |item| number(item, limits))?;
            if ascending && first >= second {
                return hint("swap them, or move them apart");
            }
            Ok(Value::Numbers(vec![first, second]))
        }
        Kind::CountPair => {
            pair(value, |item| count(item, 1, u64::from(u32::MAX))).map(|pair| Value::Counts(pair.to_vec()))
        }
        Kind::Set(names) => set(value, names),
        Kind::Path => path(value, dir),
        Kind::OptionalPath => match value {
            DeValue::String(text) if text == NONE => Ok(Value::Absent(NONE)),
            _ => path(value, dir),
        },
        Kind::Patience => match value {
            DeValue::String(text) if text == OFF => Ok(Value::Absent(OFF)),
            DeValue::Boolean(false) => Ok(Value::Absent(OFF)),
            _ => count(value, 1, u64::from(u32::MAX)).map(Value::Count),
        },
        Kind::KeptWeights => match value {
            DeValue::String(text) if KeepWeights::parse(text).is_some() => Ok(Value::Text(text.to_string())),
            DeValue::Integer(_) => hint(format!("write `\"best {}\"`", toml_text(value))),
            _ => no(),
        },
        Kind::Shots => shots(value),
        Kind::Samples => samples(value),
        Kind::Choices(names) => {
            let chosen = list(value, |item| choice(item, names))?;
            if has_duplicates(&chosen) {
                return hint("name each once");
            }
            Ok(Value::Texts(chosen.into_iter().map(str::to_owned).collect()))
        }
        Kind::Name => match value {
            DeValue::String(text) if is_name(text) => Ok(Value::Text(text.to_string())),
            _ => no(),
        },
        Kind::Text | Kind::OptionalText => text(value).map(Value::Text),
        Kind::Texts => list(value, some_text).map(Value::Texts),
    }
}

/// Whether `text` can name a directory everywhere.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 100
        && !text.starts_with(['.', '-'])
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn list<T>(value: &DeValue, read: impl Fn(&DeValue) -> Result<T, Trouble>) -> Result<Vec<T>, Trouble> {
    match value {
        DeValue::Array(items) => items.iter().map(|item| read(item.get_ref())).collect(),
        other => hint(format!("write `[{}]`", toml_text(other))),
    }
}

fn pair<T>(value: &DeValue, read: impl Fn(&DeValue) -> Result<T, Trouble>) -> Result<[T; 2], Trouble> {
    match value {
        DeValue::Array(_) => list(value, read)?.try_into().or_else(|_| no()),
        other => hint(format!("give both, such as `[{0}, {0}]`", toml_text(other))),
    }
}

fn has_duplicates<T: Ord>(items: &[T]) -> bool {
    items.iter().collect::<BTreeSet<_>>().len() < items.len()
}

fn flag(value: &DeValue) -> Result<bool, Trouble> {
    match value {
        DeValue::Boolean(flag) => Ok(*flag),
        DeValue::String(text) if matches!(&**text, "true" | "false") => hint("remove the quotes"),
        _ => no(),
    }
}

fn text(value: &DeValue) -> Result<String, Trouble> {
    match value {
        DeValue::String(text) if !text.trim().is_empty() => Ok(text.to_string()),
        DeValue::String(_) => no(),
        other => hint(format!("put it in quotes: `\"{}\"`", toml_text(other))),
    }
}

/// A text that may be blank: an answer may end at a line's end.
fn some_text(value: &DeValue) -> Result<String, Trouble> {
    match value {
        DeValue::String(text) if !text.is_empty() => Ok(text.to_string()),
        other => text(other),
    }
}

fn number(value: &DeValue, limits: Limits) -> Result<f64, Trouble> {
    let number = match value {
        DeValue::Float(float) => float_of(float),
        DeValue::Integer(integer) => integer_of(integer).map(|integer| integer as f64),
        DeValue::String(text) if text.parse::<f64>().is_ok() => return hint("remove the quotes"),
        _ => return no(),
    };
    match number {
        // `+ 0.0` turns -0 into 0: equal numbers are then equal texts.
        Some(number) if limits.allow(number) => Ok(number + 0.0),
        _ => no(),
    }
}

fn count(value: &DeValue, min: u64, max: u64) -> Result<u64, Trouble> {
    match value {
        DeValue::Integer(integer) => {
            match integer_of(integer).and_then(|integer| u64::try_from(integer).ok()) {
                Some(count) if (min..=max).contains(&count) => Ok(count),
                _ => no(),
            }
        }
        DeValue::Float(float) => match float_of(float) {
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => hint(format!("write `{number}`")),
            _ => no(),
        },
        DeValue::String(text) if text.parse::<u64>().is_ok() => hint("remove the quotes"),
        _ => no(),
    }
}

fn choice(value: &DeValue, names: &'static [&'static str]) -> Result<&'static str, Trouble> {
    let DeValue::String(text) = value else { return no() };
    match names.iter().find(|name| **name == *text) {
        Some(name) => Ok(name),
        None => {
            Err(Trouble(closest(text, names.iter().copied()).map(|name| format!("did you mean \"{name}\"?"))))
        }
    }
}

/// A list of names, or in one text the form that is printed: `none`, `backbone`, `input_proj+head`.
fn set(value: &DeValue, of: &'static Names) -> Result<Value, Trouble> {
    let names: Vec<&str> = match value {
        DeValue::String(text) if text == NONE => Vec::new(),
        DeValue::String(text) => text.split(['+', ',']).map(str::trim).collect(),
        DeValue::Array(items) => {
            items.iter().map(|item| item.get_ref().as_str()).collect::<Option<_>>().ok_or(Trouble(Some(
                "one value is a flat list of names in quotes; lists of lists belong in [grid]".into(),
            )))?
        }
        _ => return hint(of.usage),
    };
    match of.choose(names) {
        Ok(chosen) => Ok(Value::Set(chosen)),
        Err(name) => hint(match closest(name, of.written()) {
            Some(meant) => format!("there is no \"{name}\"; did you mean \"{meant}\"?"),
            None => format!("there is no \"{name}\""),
        }),
    }
}

fn path(value: &DeValue, dir: &Path) -> Result<Value, Trouble> {
    match value {
        DeValue::String(text) if !text.trim().is_empty() && !text.contains('\0') => {
            Ok(Value::Path { written: text.to_string(), resolved: dir.join(&**text) })
        }
        _ => no(),
    }
}

fn shots(value: &DeValue) -> Result<Value, Trouble> {
    let mut shots = list(value, |item| count(item, 1, u64::from(u32::MAX)))?;
    if shots.is_empty() {
        return hint("to train without evaluating, remove [eval]");
    }
    if has_duplicates(&shots) {
        return hint("name each count once");
    }
    shots.sort_unstable();
    Ok(Value::Counts(shots))
}

fn samples(value: &DeValue) -> Result<Value, Trouble> {
    let one = |item: &DeValue| match item {
        DeValue::Integer(integer) if integer_of(integer) == Some(-1) => Ok(None),
        other => count(other, 1, u64::from(u32::MAX)).map(|count| usize::try_from(count).ok()),
    };
    let samples = match value {
        DeValue::Array(_) => list(value, one)?,
        other => vec![one(other)?],
    };
    if samples.is_empty() || has_duplicates(&samples) {
        return hint("name each number once; -1 = all queries");
    }
    Ok(Value::Samples(samples))
}

/// The integer, if it fits 128 bits.
pub(super) fn integer_of(integer: &DeInteger) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn float_of(float: &DeFloat) -> Option<f64> {
    float.as_str().parse().ok()
}

/// A value as it stands in a message: backquoted TOML, shortened, or what it is.
pub(super) fn shown(value: &DeValue) -> String {
    match value {
        DeValue::Table(_) => "a table".to_owned(),
        DeValue::Array(items) if items.is_empty() => "an empty list".to_owned(),
        other => {
            let text = toml_text(other);
            if text.chars().count() > 60 { format!("a {}", other.type_str()) } else { format!("`{text}`") }
        }
    }
}

/// A value as TOML.
pub(super) fn toml_text(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", &**text),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| toml_text(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(_) => "{ ... }".to_owned(),
    }
}
