//! The JSON Schema accepts what the parser accepts, as far as a schema can tell.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::HEAD;
use crate::selector::SCHEMA;
use crate::spec::json_schema;

/// Checks `value` against the part of draft 4 that the schema uses; an unknown keyword is an error, so that
/// nothing goes unchecked.
#[expect(clippy::too_many_lines, reason = "one flat match")]
fn check(root: &Json, schema: &Json, value: &Json, path: &str) -> Result<(), String> {
    let fail = |what: String| Err(format!("{path}: {what}"));
    for (keyword, rule) in schema.as_object().unwrap() {
        let number = || value.as_f64();
        let items = || value.as_array().map_or(&[][..], Vec::as_slice);
        let length = value.as_str().map_or(0, |text| text.chars().count());
        let is_exclusive = |side: &str| schema.get(side) == Some(&json!(true));
        let ok = match keyword.as_str() {
            "$ref" => {
                let name = rule.as_str().unwrap().rsplit('/').next().unwrap();
                check(root, &root["definitions"][name], value, path)?;
                true
            }
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "number" => value.is_number(),
                "integer" => value.is_u64() || value.is_i64(),
                other => return fail(format!("unknown type {other}")),
            },
            "properties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(name) {
                        check(root, rule, item, &format!("{path}.{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                match value.as_object().into_iter().flatten().find(|(name, _)| !known.contains_key(*name)) {
                    Some((name, _)) => return fail(format!("unknown {name}")),
                    None => true,
                }
            }
            "required" => {
                rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "items" => {
                items().iter().try_for_each(|item| check(root, rule, item, path))?;
                true
            }
            "minItems" => items().len() as u64 >= rule.as_u64().unwrap(),
            "maxItems" => items().len() as u64 <= rule.as_u64().unwrap(),
            "uniqueItems" => (1..items().len()).all(|n| !items()[..n].contains(&items()[n])),
            "anyOf" => rule.as_array().unwrap().iter().any(|rule| check(root, rule, value, path).is_ok()),
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => number().is_some_and(|number| {
                let limit = rule.as_f64().unwrap();
                number > limit || number == limit && !is_exclusive("exclusiveMinimum")
            }),
            "maximum" => number().is_some_and(|number| {
                let limit = rule.as_f64().unwrap();
                number < limit || number == limit && !is_exclusive("exclusiveMaximum")
            }),
            "minLength" => length as u64 >= rule.as_u64().unwrap(),
            "maxLength" => length as u64 <= rule.as_u64().unwrap(),
            "exclusiveMinimum" | "exclusiveMaximum" | "description" | "title" | "default" | "$schema"
            | "pattern" | "definitions" => true,
            other => return fail(format!("keyword {other} is not checked")),
        };
        if !ok {
            return fail(format!("{value} does not satisfy {keyword} {rule}"));
        }
    }
    Ok(())
}

fn accepts(text: &str) -> Result<(), String> {
    let value: toml::Table = text.parse().unwrap();
    let schema = json_schema(&SCHEMA);
    check(&schema, &schema, &serde_json::to_value(value).unwrap(), "")
}

#[test]
fn accepts_the_shipped_sweeps() {
    let sweeps = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps");
    let mut count = 0;
    for entry in std::fs::read_dir(sweeps).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            // One of a program of its own.
            if !text.contains("\nexperiment = ") {
                accepts(&text).unwrap();
                count += 1;
            }
        }
    }
    assert!(count >= 6, "only {count} sweeps are shipped");
}

#[test]
fn agrees_with_the_parser() {
    for (body, is_right) in [
        ("", true),
        ("[train]\nkl_beta = 0\n", true),
        ("[train]\nkl_beat = 0.1\n", false),
        ("[train]\nkl_beta = -0.1\n", false),
        ("[train]\nrce_epochs = 1.5\n", false),
        ("[train]\nfreeze = [\"backbon\"]\n", false),
        ("[train]\nearly_stop = \"off\"\ninit = \"none\"\n", true),
        ("[model]\ndropout = 1\n", false),
        ("[data.x]\ny = 1\n", false),
        ("[grid]\nkl_beta = []\n", false),
        ("[grid]\nkl_beta = 0.1\n", false),
        ("[grid]\ntrain.kl_beta = [0.1]\ntop_k = [[1, 2]]\n", true),
        ("[grid]\nkl_beta = { from = 0, to = 1, count = 3 }\n", true),
        ("[grid]\nkl_beta = { from = 0, to = 1, step = 3 }\n", false),
        ("[grid]\nfreeze = [[], \"head\"]\n[[grid.zip]]\nkl_beta = [0.1, 0.2]\nseed = [1, 2]\n", true),
        ("[grid]\nlogged = [\"x\"]\n", false),
        ("[grid]\nkl_beta = [0.1, 0.2]\n[[exclude]]\nkl_beta = 0.1\n[baseline]\nkl_beta = 0.2\n", true),
        ("[grid]\nkl_beta = [0.1, 0.2]\n[exclude]\nkl_beta = 0.1\n", false),
        ("[grid]\nseed = [0, 1]\n[[include]]\nkl_beta = [0.3, 0.4]\n", true),
        ("[eval]\nlogged = \"x\"\nsamples = [100, -1]\n", true),
        ("[eval]\nshots = [1]\n", false),
        ("[eval]\nlogged = \"x\"\nshots = [1, 1]\n", false),
        ("[eval.command]\nprogram = [\"x\"]\n", true),
        (
            "[eval]\njudge_noise = 9\n[eval.items]\nfile = \"x\"\n[eval.endpoint]\nurl = \"http://x\"\nmodel = \"m\"\n",
            true,
        ),
        ("[eval.items]\nfile = \"x\"\n[eval.endpoint]\nurl = \"http://x\"\n", false),
        ("[eval.endpoint.more]\nx = 1\n", false),
        ("[export]\nformats = [\"v2\"]\n[slurm]\nextra = [\"--mem=1G\"]\n", true),
    ] {
        let schema = accepts(&format!("{HEAD}{body}"));
        assert_eq!(schema.is_ok(), is_right, "{body}: {schema:?}");
        assert_eq!(super::with(body, &[], &[]).is_ok(), is_right, "{body}");
    }
}

#[test]
fn says_what_it_is() {
    let schema = json_schema(&SCHEMA);
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-04/schema#");
    assert_eq!(schema["properties"]["train"]["properties"]["kl_beta"]["default"], 0.15);
    let beta = &schema["properties"]["train"]["properties"]["grpo_lr"];
    assert_eq!((&beta["minimum"], &beta["exclusiveMinimum"]), (&json!(0), &json!(true)));
}
