//! The value of one key, whatever its type, and how it moves in and out of the typed structs.

use std::fmt;
use std::path::{Component, PathBuf};

use serde_json::json;

use super::ExportFormat;
use super::set::{Chosen, NONE};

/// A checked value of one key of the sweep file. Its `Display` is TOML.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Flag(bool),
    Count(u64),
    Number(f64),
    Text(String),
    /// A path as written, and resolved against the directory of the sweep file.
    Path {
        written: String,
        resolved: PathBuf,
    },
    /// An optional key that is switched off (`"none"`, `"off"`), by the word it is written with.
    Absent(&'static str),
    Numbers(Vec<f64>),
    Counts(Vec<u64>),
    Texts(Vec<String>),
    Set(Chosen),
    /// Numbers of queries, `None` = all (written `-1`).
    Samples(Vec<Option<usize>>),
}

impl Value {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// The default of a path that has to be given.
    pub fn no_path() -> Self {
        Self::Path { written: String::new(), resolved: PathBuf::new() }
    }

    /// Equal for values that mean the same, different for all others.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Path { resolved, .. } => {
                let parts = resolved.components().filter(|part| *part != Component::CurDir);
                parts.collect::<PathBuf>().display().to_string()
            }
            other => other.to_string(),
        }
    }

    /// As the records of a run have it: paths resolved, `null` where an optional key is switched off.
    pub fn record(&self) -> serde_json::Value {
        match self {
            Self::Path { resolved, .. } => json!(resolved),
            Self::Absent(_) => serde_json::Value::Null,
            other => other.json(),
        }
    }

    /// As JSON, the same on every machine: paths as written, sets as lists of names.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Self::Flag(flag) => json!(flag),
            Self::Count(count) => json!(count),
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Path { written, .. } => json!(written),
            Self::Absent(word) => json!(word),
            Self::Numbers(numbers) => json!(numbers),
            Self::Counts(counts) => json!(counts),
            Self::Texts(texts) => json!(texts),
            Self::Set(set) => json!(set.members()),
            Self::Samples(samples) => {
                json!(samples.iter().map(|n| n.map_or(json!(-1), |n| json!(n))).collect::<Vec<_>>())
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => f.write_str(&number_text(*number)),
            Self::Numbers(numbers) => {
                let texts: Vec<String> = numbers.iter().map(|number| number_text(*number)).collect();
                write!(f, "[{}]", texts.join(", "))
            }
            other => match other.json() {
                serde_json::Value::Array(items) => {
                    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
                    write!(f, "[{}]", texts.join(", "))
                }
                json => write!(f, "{json}"),
            },
        }
    }
}

/// The shortest decimal that reads back as `number`, with an exponent where zeros would hide the digits:
/// `0.15`, `5e-6`, `200`.
pub fn number_text(number: f64) -> String {
    let magnitude = number.abs();
    if number == 0.0 || (1e-3..1e6).contains(&magnitude) {
        format!("{number}")
    } else {
        format!("{number:e}")
    }
}

/// A field of a typed struct that a key can read and write.
pub trait Field: Sized {
    fn to_value(&self) -> Value;
    /// `None` when the value is of another type; the key's kind rules that out.
    fn from_value(value: &Value) -> Option<Self>;
}

/// Implements [`Field`] for a type held by one variant of [`Value`].
macro_rules! plain_field {
    ($type:ty, $variant:ident, $value:ident => $to:expr, $from:ident => $into:expr) => {
        impl Field for $type {
            fn to_value(&self) -> Value {
                let $value = self;
                Value::$variant($to)
            }
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant($from) => $into,
                    _ => None,
                }
            }
        }
    };
}

plain_field!(bool, Flag, v => *v, v => Some(*v));
plain_field!(f64, Number, v => *v, v => Some(*v));
plain_field!(u64, Count, v => *v, v => Some(*v));
plain_field!(u32, Count, v => u64::from(*v), v => u32::try_from(*v).ok());
plain_field!(usize, Count, v => *v as u64, v => usize::try_from(*v).ok());
plain_field!(String, Text, v => v.clone(), v => Some(v.clone()));
plain_field!([f64; 2], Numbers, v => v.to_vec(), v => v.as_slice().try_into().ok());
plain_field!([usize; 2], Counts, v => v.iter().map(|n| *n as u64).collect(),
    v => counts(v)?.try_into().ok());
plain_field!(Vec<usize>, Counts, v => v.iter().map(|n| *n as u64).collect(), v => counts(v));
plain_field!(Vec<String>, Texts, v => v.clone(), v => Some(v.clone()));
plain_field!(Vec<Option<usize>>, Samples, v => v.clone(), v => Some(v.clone()));
plain_field!(Vec<ExportFormat>, Texts, v => v.iter().map(|f| f.name().to_owned()).collect(),
    v => v.iter().map(|name| ExportFormat::from_name(name)).collect());

fn counts(values: &[u64]) -> Option<Vec<usize>> {
    values.iter().map(|value| usize::try_from(*value).ok()).collect()
}

impl Field for PathBuf {
    fn to_value(&self) -> Value {
        Value::Path { written: self.display().to_string(), resolved: self.clone() }
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Path { resolved, .. } => Some(resolved.clone()),
            _ => None,
        }
    }
}

/// `train.init`: `"none"` or a path.
impl Field for Option<PathBuf> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Absent(NONE), PathBuf::to_value)
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Absent(_) => Some(None),
            other => PathBuf::from_value(other).map(Some),
        }
    }
}

/// `train.early_stop`: `"off"` or a number of epochs.
impl Field for Option<u32> {
    fn to_value(&self) -> Value {
        self.map_or(Value::Absent(OFF), |epochs| Value::Count(epochs.into()))
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Absent(_) => Some(None),
            other => u32::from_value(other).map(Some),
        }
    }
}

/// Keys of `[slurm]` that the cluster has its own default for.
impl Field for Option<String> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Absent(NONE), String::to_value)
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Absent(_) => Some(None),
            other => String::from_value(other).map(Some),
        }
    }
}

/// How "no early stopping" is written.
pub(super) const OFF: &str = "off";
