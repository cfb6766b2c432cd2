//! The table of keys agrees with the structs, and every key does something.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use super::{HEAD, spec, values};
use crate::selector::{Normalize, Params, Quality, Reference, RewardForm, RewardMode, SCHEMA};
use crate::spec::values::Values;
use crate::spec::{ExportFormat, JudgeApi, Key, Kind, LoadOptions, ScoreField, Table, Value, parse};

/// Two values that differ from each other and, the first one, from the default; as TOML.
fn two_values(key: &Key) -> [String; 2] {
    let pair = |first: &str, second: &str| [first.to_owned(), second.to_owned()];
    match key.kind {
        Kind::Flag if key.name == "shuffle" => pair("false", "true"),
        Kind::Flag => pair("true", "false"),
        Kind::Count { .. } if key.name == "heads" => pair("2", "4"),
        Kind::Count { .. } => pair("7", "9"),
        Kind::Number(_) | Kind::Samples => {
            pair(if key.kind == Kind::Samples { "7" } else { "0.375" }, "0.75")
        }
        Kind::Choice(names) | Kind::Choices(names) => {
            pair(&format!("{:?}", names[1]), &format!("{:?}", names[0]))
        }
        Kind::NumberPair { .. } => pair("[0.25, 0.75]", "[0.5, 1]"),
        Kind::CountPair => pair("[2, 7]", "[3, 9]"),
        Kind::Set(_) => pair("[\"cross_attn\"]", "[]"),
        Kind::Path | Kind::OptionalPath => pair("\"one.pt\"", "\"two.pt\""),
        Kind::Patience => pair("2", "\"off\""),
        Kind::KeptWeights => pair("\"all\"", "\"best 3\""),
        Kind::Shots => pair("[1, 3]", "[2]"),
        Kind::Text if key.name == "url" => pair("\"http://one\"", "\"http://two\""),
        Kind::Text if key.name == "query" => pair("\"one {question}\"", "\"two {question}\""),
        Kind::OptionalText if key.name == "fields" => pair("'{\"top_k\": 1}'", "'{}'"),
        Kind::Name | Kind::Text | Kind::OptionalText => pair("\"one\"", "\"two\""),
        Kind::Texts => pair("[\"one\"]", "[]"),
    }
}

#[test]
fn every_axis_alone_changes_the_resolved_configuration() {
    for key in SCHEMA.all_keys().filter(|key| key.is_axis()) {
        let [first, second] = two_values(key);
        for name in [key.name.to_owned(), key.dotted()] {
            let spec = spec(&format!("[grid]\n{name} = [{first}, {second}]\n"));
            assert_eq!(spec.axes, [key.dotted()]);
            assert_eq!(spec.points.len(), 2, "{name}");
            let json = |index: usize| serde_json::to_value(&spec.points[index].config).unwrap();
            let (before, after) = (json(0), json(1));
            assert_ne!(before, after, "{name} changes nothing");
            let (table, field) = (key.table.name(), key.name);
            let (mut before, after) = (before, after);
            assert!(
                !before[table][field].is_null() || !after[table][field].is_null(),
                "{name} is called otherwise"
            );
            before[table][field] = after[table][field].clone();
            assert_eq!(before, after, "{name} changes something else");
        }
    }
}

#[test]
fn every_key_of_the_file_is_read() {
    for table in SCHEMA.all_tables() {
        for key in SCHEMA.keys_of(table) {
            let [mut value, _] = two_values(key);
            if key.name == "experiment" {
                value = "\"selector\"".to_owned();
            }
            if matches!(key.kind, Kind::Choices(_)) {
                value = format!("[{value}]");
            }
            let mut text = String::new();
            if key.name != "name" {
                text.push_str("name = \"t\"\n");
            }
            writeln!(text, "{} = {value}", key.dotted()).unwrap();
            let needed = |other: &&Key| other.is_required() && (other.table.is_own() || other.table == table);
            for required in SCHEMA.all_keys().filter(needed).filter(|other| *other != key) {
                let value = if required.name == "url" { "http://required" } else { "required" };
                writeln!(text, "{} = \"{value}\"", required.dotted()).unwrap();
            }
            text.push_str(match (table, key.name) {
                (Table::Build, _) => {
                    "eval.command.program = [\"required\"]\neval.items.file = \"required\"\n"
                }
                (Table::Eval, "logged") => "",
                (Table::Eval, _) => "eval.logged = \"required\"\n",
                (Table::Endpoint, "logprobs") => {
                    "eval.endpoint.api = \"completions\"\neval.items.file = \"required\"\n"
                }
                (Table::Endpoint, _) => "eval.items.file = \"required\"\n",
                (Table::Command, "program") => "",
                (Table::Command, _) => "eval.command.program = [\"required\"]\n",
                (Table::Items, _) => "eval.command.program = [\"required\"]\n",
                _ => "",
            });
            let draft = crate::spec::document::read(&text, "t.toml", Path::new("").to_owned()).unwrap();
            let found = draft.settings.get(key);
            assert_ne!(found, Values::of(&SCHEMA).get(key), "{} has no effect", key.dotted());
            parse(&text, Path::new("t.toml"), &LoadOptions::default()).unwrap();
        }
    }
}

#[test]
fn the_table_has_every_field_once() {
    let mut config = Params::default();
    // What came later is not written at its default.
    config.train.warmup_steps = 1;
    let config = serde_json::to_value(config).unwrap();
    for (table, fields) in config.as_object().unwrap() {
        let table = SCHEMA.table(table).unwrap();
        let fields: Vec<&String> = fields.as_object().unwrap().keys().collect();
        let keys: Vec<&str> = SCHEMA.keys_of(table).map(|key| key.name).collect();
        assert_eq!(fields, keys, "in the order of the struct");
    }
    let distinct: HashSet<String> = SCHEMA.all_keys().map(Key::dotted).collect();
    assert_eq!(distinct.len(), SCHEMA.all_keys().count());
}

#[test]
fn defaults_are_within_the_limits() {
    let mut text = HEAD.to_owned();
    let filled = |table: &Table| {
        !table.is_inner() && !matches!(table, Table::Top | Table::Eval) && table.name() != "data"
    };
    for table in SCHEMA.all_tables().filter(filled) {
        writeln!(text, "[{}]", table.name()).unwrap();
        for key in SCHEMA.keys_of(table).filter(|key| key.kind != Kind::OptionalText) {
            writeln!(text, "{} = {}", key.name, key.default().unwrap()).unwrap();
        }
    }
    let given = parse(&text, Path::new("sweeps/t.toml"), &LoadOptions::default()).unwrap();
    assert_eq!(given.points, spec("").points);
}

#[test]
fn values_pass_through_every_key() {
    for key in SCHEMA.all_keys() {
        let mut settings = Values::of(&SCHEMA);
        let value = settings.get(key);
        if !matches!(value, Value::Absent(_)) {
            settings.set(key, &value);
            assert_eq!(settings.get(key), value, "{}", key.dotted());
        }
    }
}

#[test]
fn names_of_choices_are_those_of_the_files() {
    fn check<T: serde::Serialize>(names: &[&str], from_name: fn(&str) -> Option<T>) {
        for name in names {
            assert_eq!(serde_json::to_value(from_name(name)).unwrap(), *name);
        }
    }
    check(RewardMode::NAMES, RewardMode::from_name);
    check(Quality::NAMES, Quality::from_name);
    check(Normalize::NAMES, Normalize::from_name);
    check(RewardForm::NAMES, RewardForm::from_name);
    check(Reference::NAMES, Reference::from_name);
    check(ScoreField::NAMES, ScoreField::from_name);
    check(JudgeApi::NAMES, JudgeApi::from_name);
    check(ExportFormat::NAMES, ExportFormat::from_name);
}

#[test]
fn the_lab_defaults() {
    let config = values(&spec("").points[0]);
    assert_eq!((config.train.rce_epochs, config.train.grpo_epochs), (5, 0));
    assert_eq!((config.train.rce_lr, config.train.grpo_lr, config.train.kl_beta), (1e-4, 5e-6, 0.15));
    assert_eq!((config.data.train_fraction, config.model.layers), (0.8, 1));
    assert!(!config.data.keep_fallback && !config.data.require_positive && !config.train.adaptive_kl);
}
