//! Trajectory JSON as it stands in the file: one pass finds the entries of the top level, so that their
//! values can be parsed by all cores; each value is parsed into typed fields and the rest of it skipped.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer};

use super::error::DataError;

/// One key of the top level and where its value lies in the text.
pub(super) struct Entry<'a> {
    pub key: Cow<'a, str>,
    pub value: Range<usize>,
}

/// A query group of any age, as written.
#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a query group (an object)")]
pub(super) struct RawGroup {
    pub candidate_pool_ids: Option<Vec<u32>>,
    pub pointer_candidates: Option<Vec<RawTrajectory>>,
    pub id_list: Option<Vec<Vec<u32>>>,
    pub score_list: Option<Vec<Option<f64>>>,
}

/// A trajectory as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(expecting = "a trajectory (an object)")]
pub(super) struct RawTrajectory {
    pub pointer: Option<Vec<u32>>,
    pub pointer_pos: Option<Vec<u32>>,
    pub pointer_global: Option<Vec<u32>>,
    pub gen_method: Option<String>,
    pub beam_score: Option<f64>,
    pub logprob_score: Option<f64>,
    #[serde(default, deserialize_with = "number_or_bool")]
    pub vqa_correct: Option<f64>,
    pub vqa_acc_score: Option<f64>,
    pub vqa_gt_prob: Option<f64>,
    pub vqa_rel_score: Option<f64>,
    pub vqa_eval_mode: Option<EvalMode>,
    pub eval_failed: Option<bool>,
}

/// How the judge came to its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EvalMode {
    Vqa,
    Fallback,
    Error,
}

/// `vqa_correct` is 0 or 1, but Python also writes `true` and `false`.
pub(crate) fn number_or_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    struct Number;
    impl<'de> de::Visitor<'de> for Number {
        type Value = Option<f64>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("0 or 1")
        }
        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
            Ok(Some(f64::from(u8::from(value))))
        }
        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok(Some(value as f64))
        }
        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
            Ok(Some(value as f64))
        }
        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
            Ok(Some(value))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Number)
}

/// A file's text with its name, for messages.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a [u8],
}

impl<'a> Source<'a> {
    /// The entries of the top-level object, in file order. Values are delimited, not yet checked.
    pub fn entries(self) -> Result<Vec<Entry<'a>>, DataError> {
        let mut scan = Scanner { text: self.text, at: 0 };
        let mut entries = Vec::new();
        self.expect(&mut scan, b'{', "expected an object with one entry per query")?;
        if scan.peek() == Some(b'}') {
            scan.at += 1;
        } else {
            loop {
                entries.push(self.entry(&mut scan)?);
                match scan.peek() {
                    Some(b',') => scan.at += 1,
                    Some(b'}') => break scan.at += 1,
                    Some(_) => return Err(self.syntax(scan.at, "expected `,` or `}` after a query")),
                    None => return Err(self.syntax(scan.at, "the file ends before its closing `}`")),
                }
            }
        }
        match scan.peek() {
            None => Ok(entries),
            Some(_) => Err(self.syntax(scan.at, "text after the closing `}`")),
        }
    }

    fn entry(self, scan: &mut Scanner<'a>) -> Result<Entry<'a>, DataError> {
        if scan.peek().is_none() {
            return Err(self.syntax(scan.at, "the file ends before its closing `}`"));
        }
        let start = scan.at;
        if scan.peek() != Some(b'"') || !scan.skip_string() {
            return Err(self.syntax(start, "expected a key in double quotes"));
        }
        let key: Cow<'a, str> = match std::str::from_utf8(&self.text[start + 1..scan.at - 1]) {
            Ok(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            _ => Cow::Owned(self.typed(start..scan.at, "")?),
        };
        self.expect(scan, b':', "expected `:` after a key")?;
        scan.peek();
        let start = scan.at;
        if !scan.skip_value() {
            // The value is cut off, or its brackets do not match: a typed parse says where.
            let rest = start..self.text.len();
            return match is_query(&key) {
                true => self.typed::<RawGroup>(rest, &key).map(|_| ()),
                false => self.typed::<de::IgnoredAny>(rest, &key).map(|_| ()),
            }
            .and(Err(self.syntax(self.text.len(), "the file ends inside a value")));
        }
        Ok(Entry { key, value: start..scan.at })
    }

    fn expect(self, scan: &mut Scanner<'_>, wanted: u8, message: &str) -> Result<(), DataError> {
        match scan.peek() {
            Some(byte) if byte == wanted => {
                scan.at += 1;
                Ok(())
            }
            _ => Err(self.syntax(scan.at, message)),
        }
    }

    /// Parses the value of `key` that lies at `range`. On failure it is parsed again with the path to the
    /// field recorded, which is slower.
    pub fn typed<T: Deserialize<'a>>(self, range: Range<usize>, key: &str) -> Result<T, DataError> {
        let start = range.start;
        let slice = &self.text[range];
        serde_json::from_slice(slice).map_err(|error| {
            let mut tracked = serde_json::Deserializer::from_slice(slice);
            let field = match serde_path_to_error::deserialize::<_, T>(&mut tracked) {
                Err(located) if located.path().iter().len() > 0 => format!(", field `{}`", located.path()),
                _ => String::new(),
            };
            let (line, column) = self.position(start);
            let at = offset_of(slice, &error);
            DataError::Json {
                file: self.path.to_path_buf(),
                line: line + error.line().max(1) - 1,
                column: if error.line() <= 1 { column + error.column().max(1) - 1 } else { error.column() },
                message: without_position(&error),
                place: if key.is_empty() { String::new() } else { format!(" (query {key}{field})") },
                hint: hint(slice, at, &error, start + slice.len() == self.text.len()),
            }
        })
    }

    fn syntax(self, at: usize, message: &str) -> DataError {
        let (line, column) = self.position(at);
        let truncated = at >= self.text.len();
        DataError::Json {
            file: self.path.to_path_buf(),
            line,
            column,
            message: message.to_string(),
            place: String::new(),
            hint: if truncated { TRUNCATED } else { "" },
        }
    }

    /// Line and column (bytes) of an offset, both from 1.
    pub fn position(self, at: usize) -> (usize, usize) {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = before.len() - before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1) + 1;
        (line, column)
    }
}

const TRUNCATED: &str = "\nhint: the file is cut off; was the program that wrote it interrupted?";
const NOT_A_NUMBER: &str = "\nhint: NaN and Infinity are not JSON; write null, or leave the field out";

fn hint(slice: &[u8], at: usize, error: &serde_json::Error, to_the_end: bool) -> &'static str {
    let near = &slice[at.saturating_sub(2).min(slice.len())..(at + 8).min(slice.len())];
    let names = |word: &[u8]| near.windows(word.len()).any(|window| window == word);
    if error.is_eof() && to_the_end {
        TRUNCATED
    } else if error.is_syntax() && (names(b"NaN") || names(b"Inf")) {
        NOT_A_NUMBER
    } else {
        ""
    }
}

/// Offset in `slice` of the position that `error` names.
fn offset_of(slice: &[u8], error: &serde_json::Error) -> usize {
    let lines = slice.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let line_start = std::iter::once(0).chain(lines).nth(error.line().max(1) - 1).unwrap_or(slice.len());
    line_start + error.column().max(1) - 1
}

/// serde_json ends its messages with a position in the slice it was given, which is not the one in the file.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_string()
}

/// Whether a key of the top level is a query (an integer); all others are ignored.
pub(super) fn is_query(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

/// Finds where values end; it looks at brackets and strings only.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// The next byte that is not white space, which is not consumed.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Consumes a string whose opening quote is next; false if it does not end.
    fn skip_string(&mut self) -> bool {
        self.at += 1;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return true;
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at = self.text.len();
        false
    }

    /// Consumes a value; false if it does not end.
    fn skip_value(&mut self) -> bool {
        let mut depth = 0_usize;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    if !self.skip_string() {
                        return false;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return true,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return true;
                    }
                }
                b',' if depth == 0 => return true,
                _ => {}
            }
            self.at += 1;
        }
        false
    }
}
