//! Types of values, and their limits.

use std::fmt;

use super::set::Names;

/// The values a number may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// any finite number
    Finite,
    /// `x >= 0`
    NonNegative,
    /// `x > 0`
    Positive,
    /// `0 < x < 1`
    InsideUnit,
    /// `0 <= x < 1`
    BelowOne,
    /// `0 <= x <= 1`
    Unit,
}

impl Limits {
    /// Whether `number` is allowed.
    pub fn allow(self, number: f64) -> bool {
        number.is_finite()
            && match self {
                Self::Finite => true,
                Self::NonNegative => number >= 0.0,
                Self::Positive => number > 0.0,
                Self::InsideUnit => number > 0.0 && number < 1.0,
                Self::BelowOne => (0.0..1.0).contains(&number),
                Self::Unit => (0.0..=1.0).contains(&number),
            }
    }

    /// In words, to follow "number" or "numbers".
    fn words(self) -> &'static str {
        match self {
            Self::Finite => "",
            Self::NonNegative => ", 0 or more",
            Self::Positive => " greater than 0",
            Self::InsideUnit => " between 0 and 1, both excluded",
            Self::BelowOne => " from 0 to below 1",
            Self::Unit => " from 0 to 1",
        }
    }
}

/// Type and limits of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Flag,
    /// Whole number in `min..=max`.
    Count {
        min: u64,
        max: u64,
    },
    Number(Limits),
    /// One of the names.
    Choice(&'static [&'static str]),
    /// Two numbers; `ascending`: the first below the second.
    NumberPair {
        limits: Limits,
        ascending: bool,
    },
    /// Two whole numbers, each 1 or more.
    CountPair,
    /// A list of some of the names.
    Set(&'static Names),
    Path,
    /// A path or `"none"`.
    OptionalPath,
    /// A number of epochs, 1 or more, or `"off"`.
    Patience,
    /// Distinct whole numbers, 1 or more.
    Shots,
    /// A number of queries, -1 for all, or a list of such numbers.
    Samples,
    /// Which weights stay on disk.
    KeptWeights,
    /// A list of the names.
    Choices(&'static [&'static str]),
    /// A name that can be a directory.
    Name,
    /// Any text.
    Text,
    /// A text that may be absent.
    OptionalText,
    /// A list of texts.
    Texts,
}

impl Kind {
    /// Whether one value is itself a list, so that a list of values is a list of lists.
    pub fn is_list(self) -> bool {
        matches!(
            self,
            Self::NumberPair { .. }
                | Self::CountPair
                | Self::Set(_)
                | Self::Shots
                | Self::Samples
                | Self::Choices(_)
                | Self::Texts
        )
    }
}

/// What a value must be, to follow "must be".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Count { min: 0, max: u64::MAX } => f.write_str("a whole number, 0 or more"),
            Self::Count { min, max } if *max >= u64::from(u32::MAX) => {
                write!(f, "a whole number, {min} or more")
            }
            Self::Count { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Number(limits) => write!(f, "a number{}", limits.words()),
            Self::Choice(names) => write!(f, "one of {}", quoted(names)),
            Self::NumberPair { limits, ascending } => {
                let order = if *ascending { ", the smaller one first" } else { "" };
                write!(f, "a list of two numbers{}{order}", limits.words())
            }
            Self::CountPair => f.write_str("a list of two whole numbers, 1 or more"),
            Self::Set(names) => write!(f, "a list of {}", quoted(&names.written())),
            Self::Path => f.write_str("a path in quotes"),
            Self::OptionalPath => f.write_str("a path in quotes, or \"none\""),
            Self::Patience => f.write_str("a whole number of epochs, 1 or more, or \"off\""),
            Self::KeptWeights => f.write_str("\"all\", \"points\" or \"best N\" with a number N of points"),
            Self::Shots => f.write_str("a list of different whole numbers, 1 or more"),
            Self::Samples => {
                f.write_str("a whole number, 1 or more, or -1 for all, or a list of such numbers")
            }
            Self::Choices(names) => write!(f, "a list of {}", quoted(names)),
            Self::Name => f.write_str(
                "a text of letters, digits, `_`, `-`, `.`, at most 100 bytes, not starting with `.` or `-`",
            ),
            Self::Text | Self::OptionalText => f.write_str("a text in quotes, not empty"),
            Self::Texts => f.write_str("a list of texts in quotes"),
        }
    }
}

/// `"a", "b"`.
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
