//! Shell scripts, one per configuration -> sweep files. Nothing is executed: a script is parsed and followed as far as
//! its values stand in it; whatever they depend on beside that is listed as unread.
//!
//! ```text
//! text --shell--> [Invocation] (a training command, its words, their lines) --point--> [Point] --sweep_file--> TOML text
//! ```

mod assign;
mod command;
mod condition;
mod flags;
mod grid;
mod point;
mod program;
mod question;
mod shell;
mod sweep_file;
mod value;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use point::{Point, Reading, Setting, read};
pub use sweep_file::{SweepFile, sweep_files};

/// A script and what it is called with.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// As messages and sweep files name it.
    pub name: String,
    /// Absolute, for `$0` and for relative paths.
    pub path: PathBuf,
    pub text: String,
}

/// What is known beside the scripts.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Positional arguments by number, and variables of the environment by name.
    pub values: BTreeMap<String, String>,
    /// The directory that scripts are run from, absolute.
    pub root: PathBuf,
}

/// Something that was not read, or contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// 1 = first.
    pub line: usize,
    pub text: String,
}
