//! What a checkpoint says about a key that a person typed: for filters and for claims.

use serde_json::Value;

use super::facts::{Facts, Phase};
use crate::spec::{FreezeSet, ParamGroup};

/// Keys that every checkpoint may state; beside them any metric, and any key of its configuration with or without
/// the table's name (`train.seed`, `seed`).
pub const FACTS: [&str; 14] = [
    "phase",
    "epoch",
    "kl_beta",
    "kl_beta_end",
    "lr",
    "freeze",
    "data",
    "parent",
    "reference",
    "content",
    "version",
    "device",
    "format",
    "val_loss",
];

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
            "freeze" => return self.freeze.as_ref().map(|freeze| freeze.to_string().into()),
            "freeze_backbone_in_grpo" | "freeze_backbone" => {
                let mut backbone = ParamGroup::ALL.into_iter().filter(|group| group.is_backbone());
                let frozen = |freeze: &FreezeSet| backbone.all(|group| freeze.contains(group));
                return self.freeze.as_ref().map(frozen).map(Value::Bool);
            }
            "reward_mode" => return self.value("reward.mode"),
            "num_layers" => return self.value("model.layers"),
            "data" => return text(&self.data),
            "parent" => return text(&self.parent),
            "reference" => return text(&self.reference),
            "content" => return text(&self.content),
            "version" => return text(&self.version),
            "device" => return text(&self.device),
            "format" => return serde_json::to_value(self.format).ok(),
            "grpo_lr" if self.phase == Some(Phase::Grpo) && self.lr.is_some() => {
                return self.lr.map(Value::from);
            }
            "rce_lr" if self.phase == Some(Phase::Rce) && self.lr.is_some() => {
                return self.lr.map(Value::from);
            }
            _ => {}
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
    use serde_json::json;

    #[test]
    fn keys_are_found_where_people_look_for_them() {
        let facts = Facts {
            phase: Some(Phase::Grpo),
            kl_beta: Some(0.15),
            lr: Some(5e-6),
            metrics: [("val_loss".to_string(), 8.5)].into(),
            config: Some(json!({
                "model": { "hidden": 256, "layers": 1 },
                "rce": { "seed": 3, "lr": 1e-4, "epochs": 5, "weight_decay": 0.01 },
                "grpo": { "seed": 3, "lr": 5e-6, "clip_epsilon": 0.2, "weight_decay": 0.02 },
            })),
            freeze: Some(FreezeSet([ParamGroup::QueryProj].into())),
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
