//! What a user sees when a sweep file (or `--set`, `--where`) is wrong: message, place with a caret, way out.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

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
    /// The source line.
    pub text: String,
    /// What is underlined: bytes of `text`.
    span: Range<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snippet = Snippet::source(&self.text).line_start(self.line.unwrap_or(1)).path(&self.file);
        let snippet = snippet.annotation(AnnotationKind::Primary.span(self.span.clone()));
        let group = Group::with_level(Level::ERROR).element(snippet);
        let shown = Renderer::plain().term_width(WIDTH).render(&[group]);
        match self.line {
            Some(_) => f.write_str(&shown),
            // An argument is one line, which has no number.
            None => f.write_str(
                &shown.replacen(&format!(":1:{}\n", self.column), "\n", 1).replacen("\n1 |", "\n  |", 1),
            ),
        }
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

/// Columns for a source line and what stands before it; of a longer one, what is around the mistake is shown.
const WIDTH: usize = 120;

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
        let line = self.source.text[start..].lines().next().unwrap_or_default();
        let [from, to] =
            [self.span.start, self.span.end].map(|at| line.floor_char_boundary(at.saturating_sub(start)));
        Place {
            file: self.source.name.clone(),
            line: self.source.is_file.then(|| self.line()),
            column: before[start..].chars().count() + 1,
            text: line.to_owned(),
            span: from..to.max(from),
        }
    }
}
