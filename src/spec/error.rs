//! What a user sees when a sweep file (or `--set`, `--where`) is wrong: message, place with a caret, way out.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

/// Why a sweep cannot be composed. Its `Display` is the whole message for the user.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The sweep file cannot be read at all.
    #[error("cannot read sweep file `{}`: {reason}{}", path.display(), hint_line(hint.as_deref()))]
    Read {
        /// The path as given.
        path: PathBuf,
        /// What the operating system said, or that the text is not UTF-8.
        reason: String,
        /// A way out, if there is one.
        hint: Option<String>,
    },
    /// The request is wrong: one or more mistakes, in the order of the file.
    #[error("{0}")]
    Invalid(Diagnostics),
}

impl From<Diagnostic> for SpecError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Invalid(Diagnostics(vec![diagnostic]))
    }
}

/// At least one mistake; printed one below the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

/// More mistakes than this are only counted.
const SHOWN: usize = 12;

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n\nerror: ")?;
            }
            diagnostic.fmt(f)?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n\n... and {more} more"),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, with key and value.
    pub message: String,
    /// Where, if it is at one place.
    pub place: Option<Box<Place>>,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, hint: None }
    }

    pub(super) fn at(mut self, origin: &Origin) -> Self {
        self.place = Some(Box::new(origin.place()));
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The position to sort by: mistakes on the command line after those in the file.
    pub(super) fn order(&self) -> (usize, usize) {
        match &self.place {
            None => (0, 0),
            Some(place) => place.line.map_or((usize::MAX, 0), |line| (line, place.column)),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(place) = &self.place {
            write!(f, "\n{place}")?;
        }
        f.write_str(&hint_line(self.hint.as_deref()))
    }
}

fn hint_line(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!("\nhint: {hint}"))
}

/// A place in the sweep file, or in an argument, with what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The sweep file, or `--set` / `--where`.
    pub file: String,
    /// 1-based; `None` in an argument.
    pub line: Option<usize>,
    /// 1-based, in characters.
    pub column: usize,
    /// The source line, shortened around the column when it is very long.
    pub text: String,
    /// What precedes the caret line's first `^`: blanks and the line's own tabs.
    indent: String,
    /// Characters underlined, at least 1.
    width: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.map(|line| line.to_string()).unwrap_or_default();
        let blank = " ".repeat(number.len().max(1));
        let number = if number.is_empty() { blank.clone() } else { number };
        write!(f, "{blank}--> {}", self.file)?;
        if self.line.is_some() {
            write!(f, ":{number}:{}", self.column)?;
        }
        write!(f, "\n{blank} |\n{number} | {}", self.text)?;
        write!(f, "\n{blank} | {}{}", self.indent, "^".repeat(self.width))
    }
}

/// A text that values come from: the sweep file, or one argument.
#[derive(Debug)]
pub(super) struct Source {
    /// The file's path, or `--set` / `--where`.
    pub name: String,
    pub text: String,
    pub is_file: bool,
}

/// Where a value or key stands; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub source: Rc<Source>,
    pub span: Range<usize>,
}

/// Longest source line that is shown whole, in characters.
const LINE_LIMIT: usize = 120;

impl Origin {
    /// 1-based line of the start.
    pub fn line(&self) -> usize {
        self.before().matches('\n').count() + 1
    }

    fn before(&self) -> &str {
        self.source.text.get(..self.span.start).unwrap_or(&self.source.text)
    }

    /// The place in words for a second place of a message: `line 7`, or the argument.
    pub fn brief(&self) -> String {
        if self.source.is_file { format!("line {}", self.line()) } else { self.source.name.clone() }
    }

    fn place(&self) -> Place {
        let before = self.before();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = self.source.text.get(start..).unwrap_or_default();
        let line: Vec<char> = rest.lines().next().unwrap_or_default().chars().collect();
        let column = before[start..].chars().count();
        let wanted = self.source.text.get(self.span.clone()).unwrap_or_default();
        let width = wanted.lines().next().unwrap_or_default().chars().count();
        let (text, shift) = shorten(&line, column);
        let shown = text.chars().count();
        let column_shown = column - shift.min(column);
        Place {
            file: self.source.name.clone(),
            line: self.source.is_file.then(|| self.line()),
            column: column + 1,
            indent: text.chars().take(column_shown).map(|c| if c == '\t' { '\t' } else { ' ' }).collect(),
            width: width.min(shown.saturating_sub(column_shown)).max(1),
            text,
        }
    }
}

/// Cuts a very long line to a window around `column`; returns it and how far it moved to the left.
fn shorten(line: &[char], column: usize) -> (String, usize) {
    if line.len() <= LINE_LIMIT {
        return (line.iter().collect(), 0);
    }
    let start = column.saturating_sub(LINE_LIMIT / 2).min(line.len() - LINE_LIMIT);
    let end = start + LINE_LIMIT;
    let mut text = String::new();
    if start > 0 {
        text.push_str("...");
    }
    text.extend(&line[start..end]);
    if end < line.len() {
        text.push_str("...");
    }
    (text, start.saturating_sub(if start > 0 { 3 } else { 0 }))
}
