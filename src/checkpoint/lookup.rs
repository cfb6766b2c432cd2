//! What a checkpoint says about a key that a person typed: for filters and for claims.

use serde_json::Value;

use super::facts::Facts;
use crate::spec::{files, frozen_key};

/// Keys that every checkpoint may state; beside them any metric, and any key of its configuration with or without
/// the table's name (`train.seed`, `seed`).
pub fn stated() -> [&'static str; 14] {
    [
        "phase",
        "epoch",
        "kl_beta",
        "kl_beta_end",
        "lr",
        frozen_key(),
        "data",
        "parent",
        "reference",
        "content",
        "version",
        "device",
        "format",
        "val_loss",
    ]
}

impl Facts {
    /// What the checkpoint says about `key`; the lab's upper-case names (`KL_BETA`) are accepted.
    pub fn value(&self, key: &str) -> Option<Value> {
        let key = key.to_ascii_lowercase();
        let text = |value: &Option<String>| value.clone().map(Value::String);
        match key.as_str() {
            "phase" => return self.phase.as_ref().map(|phase| phase.to_string().into()),
            "epoch" => return self.epoch.map(Value::from),
            "global_step" => return self.global_step.map(Value::from),
            "kl_beta" if self.kl_beta.is_some() => return self.kl_beta.map(Value::from),
            "kl_beta_end" => return self.kl_beta_end.map(Value::from),
            "lr" | "learning_rate" if self.lr.is_some() => return self.lr.map(Value::from),
            "data" => return text(&self.data),
            "parent" => return text(&self.parent),
            "reference" => return text(&self.reference),
            "content" => return text(&self.content),
            "version" => return text(&self.version),
            "device" => return text(&self.device),
            "format" => return serde_json::to_value(self.format).ok(),
            _ if key == frozen_key() => return self.frozen.as_ref().map(|frozen| frozen.to_string().into()),
            _ => {}
        }
        if let Some((_, set)) = files().flat_map(|files| files.switches).find(|(name, _)| *name == key) {
            return self.frozen.as_ref().and_then(|frozen| frozen.holds(set)).map(Value::Bool);
        }
        if let Some((_, now)) = files().flat_map(|files| files.renamed).find(|(name, _)| *name == key) {
            return self.value(now);
        }
        // The rate of the last phase is stated itself.
        let last = self.phase.as_ref().zip(key.strip_suffix("_lr"));
        if last.is_some_and(|(phase, named)| phase.name() == named) && self.lr.is_some() {
            return self.lr.map(Value::from);
        }
        let metric = self.metrics.get(&key).map(|value| Value::from(*value));
        metric
            .or_else(|| self.config.as_ref().and_then(|config| self.configured(config, &key)))
            .or_else(|| self.extra.get("hyper_parameters").and_then(|values| values.get(&key)).cloned())
            .or_else(|| self.extra.get(&key).cloned())
    }

    /// `key` in the configuration: `table.key`; `train.key` and `rce_key`, `grpo_key` as in sweep files; or a key that
    /// all tables that have it agree on, the last phase's table first.
    fn configured(&self, config: &Value, key: &str) -> Option<Value> {
        let plain = |value: &Value| (!value.is_object()).then(|| value.clone());
        if let Some(value) = config.get(key).and_then(plain) {
            return Some(value);
        }
        if let Some((table, rest)) = key.split_once('.') {
            let found = config.get(table).and_then(|table| self.configured(table, rest));
            return found.or_else(|| if table == "train" { self.configured(config, rest) } else { None });
        }
        let phase = self.phase.as_ref().map(ToString::to_string).unwrap_or_default();
        let last = config.get(&phase).and_then(|table| table.get(key));
        let named = key.split_once('_').and_then(|(table, rest)| config.get(table)?.get(rest));
        let found = last.or(named).cloned();
        found.or_else(|| {
            let mut others = config.as_object()?.values().filter_map(|table| table.as_object()?.get(key));
            let value = others.next()?;
            others.all(|other| other == value).then(|| value.clone())
        })
    }
}

/// Whether what the file says and what a person wrote are the same: numbers by value (`5e-6` = `0.000005`), hashes by
/// their first digits, the rest as text without regard to case.
pub fn agrees(stated: &Value, written: &str) -> bool {
    let written = written.trim();
    match stated {
        Value::Number(number) => written
            .parse::<f64>()
            .is_ok_and(|written| number.as_f64().is_some_and(|stated| same_number(stated, written))),
        Value::String(text) => {
            let hash = text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            text.eq_ignore_ascii_case(written)
                || hash && written.len() >= 6 && text.starts_with(&written.to_ascii_lowercase())
        }
        Value::Bool(value) => {
            let words = if *value { ["true", "yes", "1"] } else { ["false", "no", "0"] };
            words.iter().any(|word| written.eq_ignore_ascii_case(word))
        }
        Value::Null => matches!(written, "" | "none" | "null" | "None"),
        other => serde_json::from_str::<Value>(written).is_ok_and(|written| *other == written),
    }
}

/// Equal up to the rounding of a decimal that was computed instead of typed.
pub(super) fn same_number(one: f64, other: f64) -> bool {
    one == other || (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Frozen, Phase};
    use serde_json::json;

    #[test]
    fn keys_are_found_where_people_look_for_them() {
        let facts = Facts {
            phase: Some(Phase::of("grpo")),
            kl_beta: Some(0.15),
            lr: Some(5e-6),
            metrics: [("val_loss".to_string(), 8.5)].into(),
            config: Some(json!({
                "model": { "hidden": 256, "layers": 1 },
                "rce": { "seed": 3, "lr": 1e-4, "epochs": 5, "weight_decay": 0.01 },
                "grpo": { "seed": 3, "lr": 5e-6, "clip_epsilon": 0.2, "weight_decay": 0.02 },
            })),
            frozen: Some(Frozen(vec!["query_proj".into()])),
            ..Facts::default()
        };
        for (key, value) in [
            ("KL_BETA", json!(0.15)),
            ("val_loss", json!(8.5)),
            ("seed", json!(3)),
            ("train.seed", json!(3)),
            ("grpo_lr", json!(5e-6)),
            ("rce_lr", json!(1e-4)),
            ("hidden", json!(256)),
            ("rce_epochs", json!(5)),
            ("train.rce_epochs", json!(5)),
            ("clip_epsilon", json!(0.2)),
            ("weight_decay", json!(0.02)),
            ("phase", json!("grpo")),
            ("FREEZE_BACKBONE_IN_GRPO", json!(false)),
            ("NUM_LAYERS", json!(1)),
        ] {
            assert_eq!(facts.value(key), Some(value), "{key}");
        }
        assert_eq!(facts.value("kl_beat"), None);
    }

    #[test]
    fn numbers_agree_by_value_and_hashes_by_prefix() {
        assert!(
            agrees(&json!(5e-6), "0.000005") && agrees(&json!(0.15), " 0.150 ") && agrees(&json!(3), "3")
        );
        assert!(!agrees(&json!(0.1), "0.15") && !agrees(&json!(0.1), "low"));
        let hash = json!("ab34".repeat(16));
        assert!(agrees(&hash, "AB34ab34") && !agrees(&hash, "ab3") && !agrees(&hash, "ab35ab34"));
        assert!(agrees(&json!("backbone"), "Backbone") && agrees(&Value::Null, "none"));
    }
}
