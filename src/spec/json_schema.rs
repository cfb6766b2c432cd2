//! The JSON Schema (draft 4) of the sweep file, generated from the table of keys.

use serde_json::{Map, Value as Json, json};

use super::keys::Key;
use super::kind::{Kind, Limits};
use super::schema::Schema;
use super::table::Table;

/// The schema of the sweep files of an experiment, for editors and for `sweep schema`.
pub fn json_schema(of: &'static Schema) -> Json {
    let mut properties = Map::new();
    for table in of.all_tables() {
        match table {
            Table::Top => {
                properties.extend(of.keys_of(table).map(|key| (key.name.to_owned(), property(key))))
            }
            table if table.is_inner() => {}
            table => drop(properties.insert(table.name().to_owned(), section(of, table))),
        }
    }
    let tables: Vec<&str> = of.tables.iter().map(|table| table.name).collect();
    let needed = |table: &&str| of.keys.iter().any(|key| key.table.name() == *table && key.is_required());
    let required: Vec<&str> = tables.iter().copied().filter(needed).collect();
    let (axes, conditions) = (reference("axes"), reference("condition"));
    properties.insert("grid".to_owned(), axes);
    properties.insert("exclude".to_owned(), described(list_of(&conditions), "Drops the points that match."));
    properties.insert("include".to_owned(), described(list_of(&conditions), "Adds points."));
    properties.insert("baseline".to_owned(), reference("point"));
    json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "title": "sweep file",
        "description": format!("A grid of experiments: base values in {}, axes in [grid].", of.own_tables(|_| true)),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
        "definitions": {
            "axes": axes_definition(of),
            "zip": axis_table(of, "Axes that advance together: equally many values each.", axis),
            "condition": axis_table(of, "Values of some keys; of a list of values, any will do.", condition),
            "point": axis_table(of, "The point that tables compare against; only the seed may be left open.", value),
        }
    })
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/definitions/{name}") })
}

fn described(mut schema: Json, doc: &str) -> Json {
    schema["description"] = json!(doc);
    schema
}

fn list_of(items: &Json) -> Json {
    json!({ "type": "array", "items": items })
}

/// A table of plain keys.
fn section(of: &'static Schema, table: Table) -> Json {
    let mut properties: Map<String, Json> =
        of.keys_of(table).map(|key| (key.name.to_owned(), property(key))).collect();
    for inner in of.inner(table) {
        let name = inner.name().trim_start_matches(table.name()).trim_start_matches('.');
        properties.insert(name.to_owned(), section(of, inner));
    }
    let required: Vec<&str> = of.keys_of(table).filter(|key| key.is_required()).map(|key| key.name).collect();
    let mut schema = object(table.doc(), properties);
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if table == Table::Eval {
        let ways = ["logged", "endpoint", "command"];
        schema["anyOf"] = json!(ways.map(|way| json!({ "required": [way] })));
    }
    schema
}

fn object(doc: &str, properties: Map<String, Json>) -> Json {
    json!({ "type": "object", "description": doc, "properties": properties, "additionalProperties": false })
}

/// A key with its documentation and default.
fn property(key: &Key) -> Json {
    let mut schema = described(value(key), key.doc);
    if let Some(default) = key.default().filter(|_| key.table != Table::Top) {
        schema["default"] = default.json();
    }
    schema
}

/// A table whose keys are axes, bare and below the names of their tables.
fn axis_table(schema: &'static Schema, doc: &str, of: fn(&Key) -> Json) -> Json {
    let mut properties = Map::new();
    for table in schema.all_tables().filter(|table| table.has_axes()) {
        let inner: Map<String, Json> =
            schema.keys_of(table).map(|key| (key.name.to_owned(), described(of(key), key.doc))).collect();
        properties.insert(table.name().to_owned(), object(table.doc(), inner));
    }
    for key in schema.all_keys().filter(|key| key.is_axis()) {
        properties.insert(key.name.to_owned(), described(of(key), key.doc));
    }
    object(doc, properties)
}

fn axes_definition(of: &'static Schema) -> Json {
    let mut axes =
        axis_table(of, "Axes: every combination of their values is a point, the last axis fastest.", axis);
    axes["properties"]["zip"] = described(list_of(&reference("zip")), "Axes that advance together.");
    axes
}

/// The values of an axis: a list, or a range of numbers.
fn axis(key: &Key) -> Json {
    let list = json!({ "type": "array", "items": value(key), "minItems": 1 });
    if !matches!(key.kind, Kind::Number(_) | Kind::Count { .. }) {
        return list;
    }
    let range = json!({
        "type": "object",
        "properties": {
            "from": value(key),
            "to": value(key),
            "count": { "type": "integer", "minimum": 2, "maximum": 1_000_000 },
            "scale": { "enum": ["linear", "log"] },
        },
        "required": ["from", "to", "count"],
        "additionalProperties": false,
    });
    json!({ "anyOf": [list, range] })
}

/// One value, or a list of values.
fn condition(key: &Key) -> Json {
    json!({ "anyOf": [value(key), { "type": "array", "items": value(key), "minItems": 1 }] })
}

/// One value of a key.
fn value(key: &Key) -> Json {
    let count = |min: u64, max: u64| match max {
        u64::MAX => json!({ "type": "integer", "minimum": min }),
        max => json!({ "type": "integer", "minimum": min, "maximum": max }),
    };
    let text = json!({ "type": "string", "minLength": 1 });
    match key.kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Count { min, max } => count(min, max),
        Kind::Number(limits) => number(limits),
        Kind::Choice(names) => json!({ "enum": names }),
        Kind::NumberPair { limits, .. } => {
            json!({ "type": "array", "items": number(limits), "minItems": 2, "maxItems": 2 })
        }
        Kind::CountPair => {
            json!({ "type": "array", "items": count(1, u32::MAX.into()), "minItems": 2, "maxItems": 2 })
        }
        Kind::Set(names) => json!({ "anyOf": [
            { "type": "array", "items": { "enum": names.written() } },
            { "type": "string", "minLength": 1 },
        ] }),
        Kind::Path | Kind::OptionalPath | Kind::Text | Kind::OptionalText => text,
        Kind::Patience => json!({ "anyOf": [count(1, u32::MAX.into()), { "enum": ["off", false] }] }),
        Kind::KeptWeights => {
            json!({ "type": "string", "pattern": "^(all|points|best [1-9][0-9]*)$" })
        }
        Kind::Shots => {
            json!({ "type": "array", "items": count(1, u32::MAX.into()), "minItems": 1, "uniqueItems": true })
        }
        Kind::Samples => {
            let one = json!({ "anyOf": [count(1, u32::MAX.into()), { "enum": [-1] }] });
            json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "uniqueItems": true }] })
        }
        Kind::Choices(names) => json!({ "type": "array", "items": { "enum": names }, "uniqueItems": true }),
        Kind::Name => {
            json!({ "type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^.\\-/\\s][^/\\s]*$" })
        }
        Kind::Texts => json!({ "type": "array", "items": text }),
    }
}

fn number(limits: Limits) -> Json {
    match limits {
        Limits::Finite => json!({ "type": "number" }),
        Limits::NonNegative => json!({ "type": "number", "minimum": 0 }),
        Limits::Positive => json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true }),
        Limits::InsideUnit => {
            json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1, "exclusiveMaximum": true })
        }
        Limits::Unit => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Limits::BelowOne => json!({ "type": "number", "minimum": 0, "maximum": 1, "exclusiveMaximum": true }),
    }
}
