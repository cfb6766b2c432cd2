//! `selections.jsonl` as bytes: one line per query and score column, in the words of the experiment.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserializer, Serialize, Serializer};

use super::{QueryScore, Unanswered};
use crate::finite::Finite;
use crate::spec::Columns;

/// The lines with a score.
pub fn selections_jsonl<'a>(scores: impl IntoIterator<Item = &'a QueryScore>, names: Columns) -> Vec<u8> {
    lines(scores.into_iter().map(|row| Line { row, names }))
}

/// The lines without one.
pub fn unanswered_jsonl(rows: &[Unanswered], names: Columns) -> Vec<u8> {
    lines(rows.iter().map(|row| Line { row, names }))
}

fn lines(rows: impl Iterator<Item = impl Serialize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, &row).expect("writing to memory does not fail");
        bytes.push(b'\n');
    }
    bytes
}

/// A row and what the experiment calls its fields.
struct Line<'a, T> {
    row: &'a T,
    names: Columns,
}

impl Serialize for Line<'_, QueryScore> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let QueryScore { query_id, column, selection, logged, score, log_prob, answer } = self.row;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("query_id", query_id)?;
        map.serialize_entry(self.names.field, column)?;
        map.serialize_entry("selection", selection)?;
        if let Some(logged) = logged {
            map.serialize_entry(self.names.logged, logged)?;
        }
        map.serialize_entry("score", score)?;
        map.serialize_entry("log_prob", log_prob)?;
        if let Some(answer) = answer {
            map.serialize_entry("answer", answer)?;
        }
        map.end()
    }
}

impl Serialize for Line<'_, Unanswered> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Unanswered { query_id, column, selection, log_prob } = self.row;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("query_id", query_id)?;
        map.serialize_entry(self.names.field, column)?;
        map.serialize_entry("selection", selection)?;
        map.serialize_entry("score", &())?;
        map.serialize_entry("log_prob", log_prob)?;
        map.end()
    }
}

/// One line, with its score or without.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_line(
    line: &str,
    names: Option<Columns>,
) -> serde_json::Result<Result<QueryScore, Unanswered>> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let row = Names(names).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(row)
}

/// What the experiment calls the fields; `None` for one that this program does not have: whatever its name, the one
/// number that has no other meaning is that of the column.
struct Names(Option<Columns>);

impl<'de> DeserializeSeed<'de> for Names {
    type Value = Result<QueryScore, Unanswered>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Result<QueryScore, Unanswered>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was chosen for a query")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut query_id, mut column, mut selection) = (None, None, None);
        let (mut logged, mut score, mut log_prob, mut answer) = (None, None, None, None);
        let is =
            |key: &str, name: fn(Columns) -> &'static str| self.0.is_some_and(|names| key == name(names));
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match &*key {
                "query_id" => query_id = Some(map.next_value()?),
                "selection" => selection = Some(map.next_value()?),
                "score" => score = Some(map.next_value::<Option<Finite>>()?),
                "log_prob" => log_prob = Some(map.next_value()?),
                "answer" => answer = map.next_value()?,
                key if is(key, |names| names.field) => column = Some(map.next_value()?),
                key if is(key, |names| names.logged) => logged = map.next_value()?,
                _ if self.0.is_none() && column.is_none() => column = Some(map.next_value()?),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        let missing = Error::missing_field;
        let query_id = query_id.ok_or_else(|| missing("query_id"))?;
        let field = self.0.map_or("column", |names| names.field);
        let column = column.ok_or_else(|| missing(field))?;
        let selection = selection.ok_or_else(|| missing("selection"))?;
        let log_prob = log_prob.ok_or_else(|| missing("log_prob"))?;
        Ok(match score.ok_or_else(|| missing("score"))? {
            Some(score) => Ok(QueryScore { query_id, column, selection, logged, score, log_prob, answer }),
            None => Err(Unanswered { query_id, column, selection, log_prob }),
        })
    }
}
