//! `[keep]`: what stays on disk of what a run computes. It decides no result and enters no identity.

use serde::{Deserialize, Serialize};

use super::Value;
use super::choice::choice;
use super::value::Field;

/// `[keep]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeepParams {
    pub weights: KeepWeights,
    pub optimizer: KeepOptimizer,
}

/// Which weights stay. Those that another stage starts from or is measured against always do, and those of the last
/// epoch while its stage has epochs to train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeepWeights {
    /// Those of every epoch.
    All,
    /// Those that points refer to.
    #[default]
    Points,
    /// Those of so many points with the best scores, and of the baseline.
    Best(u32),
}

choice! {
    /// Which optimizer states stay.
    KeepOptimizer {
        /// That of the last epoch of every stage that a longer run can go on from.
        All = "all",
        /// Only while a stage has epochs to train.
        Unfinished = "unfinished",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro writes the enum")]
impl Default for KeepOptimizer {
    fn default() -> Self {
        Self::All
    }
}

impl KeepWeights {
    /// What `text` means in a sweep file.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::All),
            "points" => Some(Self::Points),
            _ => match text.strip_prefix("best ")?.trim().parse() {
                Ok(count) if count > 0 => Some(Self::Best(count)),
                _ => None,
            },
        }
    }

    /// As it is written in a sweep file.
    pub fn name(self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Points => "points".to_owned(),
            Self::Best(count) => format!("best {count}"),
        }
    }
}

impl TryFrom<String> for KeepWeights {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is none of \"all\", \"points\" and \"best N\""))
    }
}

impl From<KeepWeights> for String {
    fn from(keep: KeepWeights) -> Self {
        keep.name()
    }
}

impl Field for KeepWeights {
    fn to_value(&self) -> Value {
        Value::Text(self.name())
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Self::parse(text),
            _ => None,
        }
    }
}
