//! What a word or variable is known to be: pieces of text with the line that each comes from.

use tree_sitter::Node;

/// Nesting that is followed; scripts by people have less.
pub const DEPTH: usize = 40;

/// Bytes and pieces of a value that are followed.
const LONGEST: usize = 16 << 10;
const PIECES: usize = 1_000;

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text, or why it is not known.
    pub text: Result<String, String>,
    /// Line of the script that it was written in.
    pub line: usize,
}

/// Pieces in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value(pub Vec<Piece>);

impl Value {
    /// Text that was written in `line`.
    pub fn known(text: impl Into<String>, line: usize) -> Self {
        Self(vec![Piece { text: Ok(text.into()), line }])
    }

    /// A value that depends on more than the script.
    pub fn unknown(why: impl Into<String>, line: usize) -> Self {
        Self(vec![Piece { text: Err(why.into()), line }])
    }

    /// The text.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn text(&self) -> Result<String, String> {
        self.0.iter().map(|piece| piece.text.clone()).collect()
    }

    /// The value, or that it is too long: doubled a few times, text fills any memory.
    pub fn bounded(self) -> Self {
        let length = |piece: &Piece| piece.text.as_ref().map_or(0, String::len);
        let line = self.line().unwrap_or_default();
        match self.0.len() > PIECES || self.0.iter().map(length).sum::<usize>() > LONGEST {
            true => Self::unknown("it is too long to follow", line),
            false => self,
        }
    }

    /// The line that decides: of the last piece that is not empty.
    pub fn line(&self) -> Option<usize> {
        let full = |piece: &&Piece| piece.text.as_ref().map_or(true, |text| !text.is_empty());
        self.0.iter().rev().find(full).or(self.0.last()).map(|piece| piece.line)
    }
}

/// One word of a command, after expansion.
#[derive(Clone, Debug)]
pub struct Word {
    pub value: Value,
    /// It may be no word at all, or several: an expansion without quotes that is not known.
    pub loose: bool,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    One(Value),
    Many(Vec<Value>),
}

/// Source text with the line that each part of it was written in; the text of `eval` is put together from many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub text: String,
    /// First byte of a part, and its line; parts without line breaks of their own where `fixed`.
    parts: Vec<(usize, usize)>,
    fixed: bool,
}

impl Code {
    /// A file.
    pub fn file(text: &str) -> Self {
        Self::at(text, 1)
    }

    /// Text whose first line is `line` of the file.
    pub fn at(text: &str, line: usize) -> Self {
        let text = text.replace("\r\n", "\n");
        let breaks = text.match_indices('\n').enumerate();
        let parts =
            std::iter::once((0, line)).chain(breaks.map(|(n, (at, _))| (at + 1, line + n + 1))).collect();
        Self { text, parts, fixed: false }
    }

    /// The text of a value, to be run by `eval`; what is not known becomes a variable, which `unknown` is told.
    pub fn of_values(values: &[Value], mut unknown: impl FnMut(&str) -> String) -> Self {
        let mut code = Self { text: String::new(), parts: Vec::new(), fixed: true };
        for (position, value) in values.iter().enumerate() {
            if position > 0 {
                code.text.push(' ');
            }
            for piece in &value.0 {
                code.parts.push((code.text.len(), piece.line));
                match &piece.text {
                    Ok(text) => code.text.push_str(text),
                    Err(why) => code.text += &format!("${{{}}}", unknown(why)),
                }
            }
        }
        code
    }

    /// The line of the byte `at`.
    pub fn line(&self, at: usize) -> usize {
        let after = self.parts.partition_point(|(start, _)| *start <= at);
        self.parts.get(after.saturating_sub(1)).map_or(1, |(_, line)| *line)
    }

    /// A part of it that is kept for later: the body of a function.
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let text = self.text.get(range.clone()).unwrap_or_default();
        if self.fixed {
            let line = self.line(range.start);
            return Self { text: text.to_owned(), parts: vec![(0, line)], fixed: true };
        }
        Self::at(text, self.line(range.start))
    }
}

/// The text of `node`.
pub fn text<'c>(code: &'c Code, node: Node) -> &'c str {
    code.text.get(node.byte_range()).unwrap_or_default()
}

/// The start of `text`, for messages.
pub fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// Whether `text` can be the name of a variable.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
