//! What a checkpoint says about itself, and how that is written in a safetensors header.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::error::Flaw;
use crate::spec::{files, frozen_groups, frozen_key, phase_order};
use crate::text::quoted;

/// `format` in the header of our files; the number grows when older programs could misread a newer file.
pub const HEADER_FORMAT: &str = "sweep-checkpoint-1";
/// The same of a file that shares parameters with another ([`Facts::base`]), which older programs cannot follow.
const HEADER_FORMAT_SHARED: &str = "sweep-checkpoint-2";
const HEADER_FAMILY: &str = "sweep-checkpoint-";

/// Version of burn that this program computes with (pinned in `Cargo.toml`).
pub const BURN_VERSION: &str = "0.21.0";

/// Where a checkpoint came from, as far as its file says. `None` = the file does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Facts {
    pub format: Format,
    pub phase: Option<Phase>,
    /// Finished epochs of the phase: 1-based, 0 for initial weights.
    pub epoch: Option<u32>,
    /// The number in the file, where it counts from 0 (PyTorch formats).
    pub stored_epoch: Option<i64>,
    pub global_step: Option<i64>,
    /// KL_BETA at the start of the phase (a PyTorch file states only one), and at the end of the epoch.
    pub kl_beta: Option<f64>,
    pub kl_beta_end: Option<f64>,
    /// Learning rate of the phase.
    pub lr: Option<f64>,
    /// Groups of parameters that the phase left as they were.
    #[serde(flatten)]
    pub frozen: Option<Frozen>,
    /// The configuration that led here.
    pub config: Option<Value>,
    /// [`Facts::content`] of the checkpoint that training went on from.
    pub parent: Option<String>,
    /// [`Facts::content`] of the reference policy.
    pub reference: Option<String>,
    /// Digest of the training data.
    pub data: Option<String>,
    /// Version of the program that wrote it.
    pub version: Option<String>,
    pub burn: Option<String>,
    /// Kind of device it was computed on (`cpu`, `cuda`).
    pub device: Option<String>,
    /// Figures of the epoch: `train_loss`, `val_loss`, `kl`, ...
    pub metrics: BTreeMap<String, f64>,
    /// What preceded the parameters' names in the file and was taken off (`module._orig_mod.`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_off: Option<String>,
    /// The file, relative to this one's place, that holds the parameters which are not in this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Element type in the file, where it is not float32.
    pub dtype: Option<String>,
    /// Hash of the weights ([`super::content_hash`]).
    pub content: Option<String>,
    /// Whatever else the file says (`hyper_parameters`, ...).
    pub extra: BTreeMap<String, Value>,
}

/// Kinds of checkpoint files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Ours: safetensors with facts.
    #[default]
    Sweep,
    /// Safetensors without.
    Safetensors,
    /// PyTorch training checkpoint: `{epoch, phase, model_state_dict, kl_beta, metrics}`.
    TorchTraining,
    /// A state dict alone, as `torch.save` writes it.
    TorchStateDict,
    /// Lightning-like `{epoch, global_step, state_dict, hyper_parameters}`, "v2 format".
    LightningV2,
}

/// For people.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sweep => "sweep safetensors",
            Self::Safetensors => "plain safetensors",
            Self::TorchTraining => "PyTorch training checkpoint",
            Self::TorchStateDict => "PyTorch state dict",
            Self::LightningV2 => "Lightning checkpoint (v2 format)",
        })
    }
}

/// Names of groups of parameters that were left as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frozen(pub Vec<String>);

impl Frozen {
    /// Whether all the groups that `name` (a group or an alias) stands for are among them; `None` where it is neither.
    pub fn holds(&self, name: &str) -> Option<bool> {
        let wanted = frozen_groups([name])?;
        Some(wanted.members().iter().all(|group| self.0.iter().any(|own| own == group)))
    }
}

/// Under the name of the key: `"freeze": [...]`.
impl Serialize for Frozen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(frozen_key(), &self.0)?;
        map.end()
    }
}

/// As sweep files have it: `none`, `backbone`, or names joined by `+`.
impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match frozen_groups(self.0.iter().map(String::as_str)) {
            Some(chosen) => chosen.fmt(f),
            None if self.0.is_empty() => f.write_str("none"),
            None => f.write_str(&self.0.join("+")),
        }
    }
}

/// What the weights were last trained by, as its experiment calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Phase(Cow<'static, str>);

impl Phase {
    /// Nothing yet.
    pub const INIT: Self = Self::called("init");

    /// The phase called `name`.
    pub const fn called(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The phase that this program writes as `text`; of those that are known, in whatever case.
    pub fn of(text: &str) -> Self {
        text.parse().unwrap_or_else(|_| Self(Cow::Owned(text.to_owned())))
    }

    /// As the experiment calls it.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether its experiment trains nothing after it.
    pub fn is_last(&self) -> bool {
        files().any(|files| files.phases.last().is_some_and(|last| *last == self.0))
    }

    /// Initial weights first, then in the order of training, then what no experiment of this program has.
    fn order(&self) -> (bool, Option<usize>) {
        let place = phase_order(&self.0);
        (*self != Self::INIT && place.is_none(), place)
    }
}

impl Ord for Phase {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Phase {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Only those that are known.
impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let known = || std::iter::once("init").chain(files().flat_map(|files| files.phases.iter().copied()));
        let found = known().find(|name| *name == lower);
        found.map(Self::called).ok_or_else(|| {
            format!(
                "unknown phase `{text}`; phases are {}",
                known().map(quoted).collect::<Vec<_>>().join(", ")
            )
        })
    }
}

impl Facts {
    /// The header of our safetensors files. `format`, `phase`, `epoch`, `kl_beta`, `kl_beta_end`, `config`,
    /// `parent`, `data` and `version` are always there (empty where unknown), the others where known.
    pub(super) fn to_header(&self) -> BTreeMap<String, String> {
        let number = |value: Option<f64>| value.map(|value| value.to_string());
        let format = if self.base.is_some() { HEADER_FORMAT_SHARED } else { HEADER_FORMAT };
        let always = [
            ("format", Some(format.to_string())),
            ("phase", self.phase.as_ref().map(ToString::to_string)),
            ("epoch", self.epoch.map(|epoch| epoch.to_string())),
            ("kl_beta", number(self.kl_beta)),
            ("kl_beta_end", number(self.kl_beta_end)),
            ("config", self.config.as_ref().map(Value::to_string)),
            ("parent", self.parent.clone()),
            ("data", self.data.clone()),
            ("version", self.version.clone()),
        ];
        let sometimes = [
            ("stored_epoch", self.stored_epoch.map(|epoch| epoch.to_string())),
            ("global_step", self.global_step.map(|step| step.to_string())),
            ("lr", number(self.lr)),
            (frozen_key(), self.frozen.as_ref().map(|frozen| serde_json::json!(frozen.0).to_string())),
            ("reference", self.reference.clone()),
            ("base", self.base.as_ref().map(|base| base.display().to_string())),
            ("burn", self.burn.clone()),
            ("device", self.device.clone()),
            ("metrics", (!self.metrics.is_empty()).then(|| metrics_json(&self.metrics).to_string())),
            ("extra", (!self.extra.is_empty()).then(|| serde_json::json!(self.extra).to_string())),
        ];
        let always = always.into_iter().map(|(key, value)| (key, Some(value.unwrap_or_default())));
        always.chain(sometimes).filter_map(|(key, value)| Some((key.to_string(), value?))).collect()
    }

    /// The same for a file that holds all parameters itself.
    pub(super) fn of_whole_file(&self) -> Self {
        Self { base: None, ..self.clone() }
    }

    /// The facts of a safetensors header. Files of other programs may use the same keys for something else:
    /// there, what does not parse is kept as it is.
    pub(super) fn from_header(header: &BTreeMap<String, String>) -> Result<Self, Flaw> {
        match header.get("format").map(String::as_str) {
            Some(HEADER_FORMAT | HEADER_FORMAT_SHARED) => {
                let mut facts = Self { format: Format::Sweep, ..Self::default() };
                for (key, value) in header.iter().filter(|(key, value)| !value.is_empty() && *key != "format")
                {
                    facts.set(key, value).map_err(|what| Flaw::damaged(format!("its header says {what}")))?;
                }
                Ok(facts)
            }
            Some(other) if other.starts_with(HEADER_FAMILY) => Err(Flaw::foreign(
                format!(
                    "its header format is `{other}`, this program knows `{HEADER_FORMAT}` and `{HEADER_FORMAT_SHARED}`"
                ),
                "use the version of sweep that wrote it, or a newer one",
            )),
            _ => {
                let mut facts = Self { format: Format::Safetensors, ..Self::default() };
                for (key, value) in header {
                    if key == "content" || key == "base" || facts.set(key, value).is_err() {
                        facts.extra.insert(key.clone(), Value::String(value.clone()));
                    }
                }
                Ok(facts)
            }
        }
    }

    /// Sets the field that the header key `key` stands for.
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        fn parse<T: FromStr>(key: &str, value: &str) -> Result<Option<T>, String> {
            value.parse().map(Some).map_err(|_| format!("{key} = `{value}`"))
        }
        let json =
            || serde_json::from_str::<Value>(value).map_err(|error| format!("{key} = `{value}`: {error}"));
        let text = || Some(value.to_string());
        match key {
            // In other programs' files what is no phase of the lab's may be anything.
            "phase" if self.format == Format::Sweep => self.phase = Some(Phase::of(value)),
            "phase" => self.phase = parse(key, value)?,
            "epoch" => self.epoch = parse(key, value)?,
            "stored_epoch" => self.stored_epoch = parse(key, value)?,
            "global_step" => self.global_step = parse(key, value)?,
            "kl_beta" => self.kl_beta = parse(key, value)?,
            "kl_beta_end" => self.kl_beta_end = parse(key, value)?,
            "lr" => self.lr = parse(key, value)?,
            _ if key == frozen_key() => {
                let groups = serde_json::from_str(value);
                self.frozen = Some(Frozen(groups.map_err(|error| format!("{key} = `{value}`: {error}"))?));
            }
            "config" => self.config = Some(json()?),
            "parent" => self.parent = text(),
            "reference" => self.reference = text(),
            "data" => self.data = text(),
            "version" => self.version = text(),
            "burn" => self.burn = text(),
            "device" => self.device = text(),
            "content" => self.content = text(),
            "base" => self.base = Some(value.into()),
            "metrics" => self.metrics = metrics_from(&json()?).ok_or_else(|| format!("{key} = `{value}`"))?,
            "extra" => match json()? {
                Value::Object(extra) => self.extra = extra.into_iter().collect(),
                _ => return Err(format!("{key} = `{value}`")),
            },
            // A key that a later version of the same format added.
            _ => {
                self.extra.insert(key.to_string(), Value::String(value.to_string()));
            }
        }
        Ok(())
    }
}

/// JSON has no NaN and no infinity: those are strings.
fn metrics_json(metrics: &BTreeMap<String, f64>) -> Value {
    let entry = |(key, value): (&String, &f64)| {
        let number = serde_json::Number::from_f64(*value);
        (key.clone(), number.map_or_else(|| Value::String(value.to_string()), Value::Number))
    };
    Value::Object(metrics.iter().map(entry).collect::<Map<_, _>>())
}

fn metrics_from(json: &Value) -> Option<BTreeMap<String, f64>> {
    json.as_object()?
        .iter()
        .map(|(key, value)| {
            let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            Some((key.clone(), number?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Facts {
        Facts {
            format: Format::Sweep,
            phase: Some(Phase::of("grpo")),
            epoch: Some(3),
            stored_epoch: Some(2),
            global_step: Some(57),
            kl_beta: Some(0.15),
            kl_beta_end: Some(0.1 + 0.2),
            lr: Some(5e-6),
            frozen: Some(Frozen(vec!["input_proj".into(), "query_proj".into()])),
            config: Some(serde_json::json!({ "train": { "kl_beta": 0.15 } })),
            parent: Some("ab".into()),
            reference: Some("cd".into()),
            data: Some("ef".into()),
            version: Some("0.1.0".into()),
            burn: Some(BURN_VERSION.into()),
            device: Some("cpu".into()),
            metrics: [("kl".to_string(), f64::INFINITY), ("val_loss".to_string(), 8.125)].into(),
            taken_off: None,
            base: Some("../ab/init.safetensors".into()),
            dtype: None,
            content: None,
            extra: [("note".to_string(), serde_json::json!([1, "x"]))].into(),
        }
    }

    #[test]
    fn facts_survive_the_header() {
        assert_eq!(Facts::from_header(&full().to_header()).unwrap(), full());
        let empty = Facts::default();
        let header = empty.to_header();
        for key in
            ["format", "phase", "epoch", "kl_beta", "kl_beta_end", "config", "parent", "data", "version"]
        {
            assert!(header.contains_key(key), "{key} is promised to other programs");
        }
        assert_eq!(Facts::from_header(&header).unwrap(), empty);
    }

    #[test]
    fn a_newer_format_is_refused_and_a_broken_value_is_named() {
        let mut header = full().to_header();
        header.insert("kl_beta".into(), "high".into());
        let flaw = format!("{:?}", Facts::from_header(&header).unwrap_err());
        assert!(flaw.contains("kl_beta = `high`"), "{flaw}");
        header.insert("format".into(), "sweep-checkpoint-3".into());
        let flaw = format!("{:?}", Facts::from_header(&header).unwrap_err());
        assert!(flaw.contains("sweep-checkpoint-3"), "{flaw}");
    }

    #[test]
    fn a_plain_file_may_say_what_it_likes() {
        let header = [("format", "pt"), ("epoch", "five"), ("kl_beta", "0.2")];
        let header = header.map(|(key, value)| (key.to_string(), value.to_string())).into();
        let facts = Facts::from_header(&header).unwrap();
        assert_eq!((facts.format, facts.epoch, facts.kl_beta), (Format::Safetensors, None, Some(0.2)));
        assert_eq!(facts.extra["epoch"], "five");
    }

    #[test]
    fn burn_version_is_the_pinned_one() {
        let manifest = include_str!("../../Cargo.toml");
        assert!(manifest.contains(&format!("burn = {{ version = \"={BURN_VERSION}\"")));
    }
}
