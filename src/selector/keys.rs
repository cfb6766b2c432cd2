//! The tables and keys of the selector's sweep files.

use serde_json::Value as Json;

use super::figures::FIGURES;
use super::params::{Params, Reference, RewardForm};
use super::reward::{Normalize, Quality, RewardMode};
use crate::selector::{FreezeSet, ParamGroup};
use crate::spec::{
    Alias, Clash, Columns, Config, Field, Key, Kind, LabForm, LabName, Limits, Names, OwnTable, Point,
    Schema, Table, Value,
};
use crate::spec::{Files, Group};

/// What a sweep file of the selector may say.
pub static SCHEMA: Schema = Schema {
    name: "selector",
    nameless: true,
    tables: TABLES,
    keys: KEYS,
    axes: &["kl_beta", "grpo_lr", "freeze", "seed"],
    figures: FIGURES,
    columns: Columns {
        id: |shots| format!("shot_{shots}"),
        title: |shots| format!("Shot {shots}"),
        unit: "demonstrations",
        field: "shot",
        noun: "shot count",
        inputs: ["query", "queries"],
        chosen: "demonstrations",
        logged: "trajectory",
    },
    shares: &[Table::Build, Table::Eval, Table::Endpoint, Table::Command, Table::Items],
    signal: "reward",
    files: &FILES,
    clash,
    clashing: &[
        "model.heads",
        "model.hidden",
        "train.freeze",
        "train.grpo_epochs",
        "train.rce_epochs",
        "train.init",
    ],
    idle,
};

/// The lab's names in files of weights.
static FILES: Files = Files {
    phases: &["rce", "grpo"],
    groups: &PARAM_GROUPS,
    always: &["query_proj.weight", "cand_proj.weight"],
    nested: "lever_lm.pointer_selector.",
    frozen: "freeze",
    switches: &[("freeze_backbone_in_grpo", "backbone"), ("freeze_backbone", "backbone")],
    renamed: &[("reward_mode", "reward.mode"), ("num_layers", "model.layers")],
    stated: &["train_loss", "rce_loss", "grpo_loss", "ppo_loss", "kl", "mean_ratio", "beta"],
};

static PARAM_GROUPS: [Group; 5] = [
    ParamGroup::InputProj.told(),
    ParamGroup::QueryProj.told(),
    ParamGroup::CandProj.told(),
    ParamGroup::CrossAttn.told(),
    ParamGroup::AttnNorms.told(),
];

static TABLES: &[&OwnTable] = &[&DATA, &REWARD, &MODEL, &TRAIN];

static DATA: OwnTable = OwnTable {
    name: "data",
    doc: "where the query groups come from and which of them are used",
    axes: false,
};
static REWARD: OwnTable =
    OwnTable { name: "reward", doc: "how a trajectory's scores become one number", axes: true };
static MODEL: OwnTable =
    OwnTable { name: "model", doc: "shape and fixed constants of the selector", axes: true };
static TRAIN: OwnTable =
    OwnTable { name: "train", doc: "initialisation, RCE (phase 1) and GRPO (phase 2)", axes: true };

/// What can be frozen: the five groups, and two aliases.
static FREEZABLE: Names = Names {
    members: &["input_proj", "query_proj", "cand_proj", "cross_attn", "attn_norms"],
    aliases: &[
        Alias { name: "backbone", members: &["input_proj", "query_proj", "cand_proj"], label: "frozen" },
        Alias { name: "head", members: &["cross_attn", "attn_norms"], label: "head" },
    ],
    empty: "unfrozen",
    usage: "write `[\"backbone\"]` to freeze the projections, `[]` to freeze nothing",
};

impl Field for FreezeSet {
    fn to_value(&self) -> Value {
        let names = FREEZABLE.choose(self.0.iter().map(|group| group.name()));
        Value::Set(names.expect("groups have the names of the table, tested"))
    }

    fn from_value(value: &Value) -> Option<Self> {
        let Value::Set(chosen) = value else { return None };
        let named = |group: &ParamGroup| chosen.members().contains(&group.name());
        Some(Self(ParamGroup::ALL.into_iter().filter(named).collect()))
    }
}

const fn same(name: &'static str) -> LabName {
    LabName { name, form: LabForm::Same }
}

const fn lab(name: &'static str, form: LabForm) -> LabName {
    LabName { name, form }
}

const POSITIVE: Kind = Kind::Number(Limits::Positive);
const NON_NEGATIVE: Kind = Kind::Number(Limits::NonNegative);
const FINITE: Kind = Kind::Number(Limits::Finite);
const DROPOUT: Kind = Kind::Number(Limits::BelowOne);
const EPOCHS: Kind = Kind::Count { min: 0, max: u32::MAX as u64 };

/// Rows of the table of keys: table, field of [`Params`], where the value enters (D data, M model, R phase 1, G phase 2),
/// kind, short name, the lab's names, documentation; `later` for keys that are younger than results.
macro_rules! keys {
    ($(($table:ident $group:ident.$name:ident, $scope:literal, $kind:expr, $short:literal, [$($lab:expr),*], $doc:literal $(; $later:ident)?)),+ $(,)?) => {
        static KEYS: &[Key] = &[$(
            Key::new(&$table, stringify!($name), $kind, || Params::default().$group.$name.to_value(), $doc)
                .scoped($scope)
                .short($short)
                .called(&[$($lab),*])
                $(.$later())?
        ),+];

        /// Sets the field of each key from what records have.
        static FIELDS: &[fn(&mut Params, &Json) -> bool] =
            &[$(|params, value| put(&mut params.$group.$name, value)),+];
    };
}

fn put<T: serde::de::DeserializeOwned>(field: &mut T, value: &Json) -> bool {
    match T::deserialize(value) {
        Ok(value) => *field = value,
        Err(_) => return false,
    }
    true
}

keys! {
    (DATA data.trajectories, "D", Kind::Path, "", [same("beam_data")],
        "Trajectory JSON: query groups with scored demonstration sequences. Relative to the sweep file."),
    (DATA data.embeddings, "D", Kind::Path, "", [same("img_emb")],
        "Embedding matrix [N, d] (.safetensors or .pt); the row is the global id. Relative to the sweep file."),
    (DATA data.train_fraction, "D", Kind::Number(Limits::InsideUnit), "", [],
        "Share of the queries, in numeric order, that is trained on; the rest validates."),
    (DATA data.keep_fallback, "D", Kind::Flag, "", [lab("SKIP_FALLBACK_REWARD", LabForm::Inverted)],
        "Keep trajectories whose answer was judged by the fallback."),
    (DATA data.require_positive, "D", Kind::Flag, "", [same("REQUIRE_POSITIVE_QUERY")],
        "Keep only queries with at least one correct trajectory."),

    (REWARD reward.mode, "D", Kind::Choice(RewardMode::NAMES), "", [same("REWARD_MODE")],
        "Formula of the reward: hard = vqa_correct, soft = vqa_acc_score, gtprob = vqa_gt_prob, rel = vqa_rel_score."),
    (REWARD reward.hard_weight, "D", FINITE, "hard", [same("HARD_WEIGHT")],
        "Weight of vqa_correct."),
    (REWARD reward.soft_weight, "D", FINITE, "soft", [same("SOFT_WEIGHT")],
        "Weight of vqa_acc_score (or vqa_gt_prob)."),
    (REWARD reward.rel_weight, "D", FINITE, "rel", [same("REL_WEIGHT")],
        "Weight of vqa_rel_score."),
    (REWARD reward.alpha, "D", FINITE, "alpha", [],
        "Weight of the quality (mode \"legacy\" only)."),
    (REWARD reward.beta, "D", FINITE, "beta", [],
        "Weight of the correctness (mode \"legacy\" only)."),
    (REWARD reward.quality, "D", Kind::Choice(Quality::NAMES), "", [],
        "What counts as quality (mode \"legacy\" only)."),
    (REWARD reward.normalize, "D", Kind::Choice(Normalize::NAMES), "", [same("normalize_method")],
        "How rewards are normalized within a query group."),
    (REWARD reward.clamp, "D", POSITIVE, "clamp", [],
        "Normalized rewards stay within plus and minus this (normalize = \"z_score_clamp\" only)."),

    (MODEL model.hidden, "M", Kind::Count { min: 1, max: 65_536 }, "hid", [],
        "Width of the hidden layers; when it equals the width of the embeddings there is no input projection."),
    (MODEL model.layers, "M", Kind::Count { min: 1, max: 1_024 }, "lay", [same("NUM_LAYERS")],
        "Cross-attention layers."),
    (MODEL model.heads, "M", Kind::Count { min: 1, max: 65_536 }, "heads", [],
        "Attention heads; must divide `hidden`."),
    (MODEL model.dropout, "M", DROPOUT, "drop", [],
        "Dropout on the hidden query and candidates while training."),
    (MODEL model.attn_dropout, "M", DROPOUT, "adrop", [],
        "Dropout on the attention weights while training."),
    (MODEL model.temperature, "M", POSITIVE, "temp", [],
        "The cosine similarities are divided by this to give logits."),

    (TRAIN train.init, "M", Kind::OptionalPath, "init", [same("SFT_CKPT")],
        "Checkpoint to start from (.safetensors, .pt, .ckpt); \"none\" = fresh weights. Relative to the sweep file."),
    (TRAIN train.seed, "M", Kind::Count { min: 0, max: u64::MAX }, "s", [],
        "Seed of initial weights, visiting order and dropout."),
    (TRAIN train.rce_epochs, "R", EPOCHS, "rce", [same("RCE_EPOCHS")],
        "Epochs of reward-weighted cross-entropy (phase 1)."),
    (TRAIN train.rce_lr, "R", POSITIVE, "rcelr", [same("RCE_LR")],
        "Learning rate of phase 1."),
    (TRAIN train.rce_reward, "R", Kind::Choice(RewardForm::NAMES), "",
        [lab("RCE_USE_NORMALIZED_REWARD", LabForm::Switch("raw", "normalized"))],
        "Whether phase 1 weighs trajectories by raw or by normalized rewards."),
    (TRAIN train.rce_temperature, "R", Kind::NumberPair { limits: Limits::Positive, ascending: false }, "tau",
        [lab("RCE_TEMP_START", LabForm::Element(0)), lab("RCE_TEMP_END", LabForm::Element(1))],
        "Softmax temperature of phase 1 at its first and last step."),
    (TRAIN train.rce_top1_only, "R", Kind::Flag, "top1", [same("USE_TOP1_ONLY")],
        "Phase 1 learns only the best trajectory of each group."),
    (TRAIN train.grpo_epochs, "G", EPOCHS, "ep", [same("GRPO_EPOCHS")],
        "Epochs of GRPO (phase 2); 0 = phase 1 only."),
    (TRAIN train.grpo_lr, "G", POSITIVE, "lr", [same("GRPO_LR")],
        "Learning rate of phase 2."),
    (TRAIN train.kl_beta, "G", NON_NEGATIVE, "kl", [same("KL_BETA")],
        "Weight of the KL term in phase 2."),
    (TRAIN train.clip_epsilon, "G", POSITIVE, "clip", [],
        "The probability ratio is clipped to 1 minus and plus this."),
    (TRAIN train.reference, "G", Kind::Choice(Reference::NAMES), "ref", [],
        "The policy that KL is measured against: the model after phase 1 (\"warmup\") or before it (\"init\")."),
    (TRAIN train.adaptive_kl, "G", Kind::Flag, "adaptkl", [lab("DISABLE_ADAPTIVE_KL", LabForm::Inverted)],
        "Let kl_beta follow the measured KL."),
    (TRAIN train.kl_target, "G", Kind::NumberPair { limits: Limits::NonNegative, ascending: true }, "klt", [],
        "Adaptive KL: kl_beta shrinks when the KL is below the first, grows when it is above the second."),
    (TRAIN train.top_k, "G", Kind::CountPair, "topk",
        [lab("GRPO_EARLY_TOP_K", LabForm::Element(0)), lab("GRPO_LATE_TOP_K", LabForm::Element(1))],
        "Trajectories kept per group in the first epoch of phase 2 and in later ones."),
    (TRAIN train.freeze, "G", Kind::Set(&FREEZABLE), "", [lab("FREEZE_BACKBONE_IN_GRPO", LabForm::Switch("none", "backbone"))],
        "Parameter groups that phase 2 leaves as they are; \"backbone\" = the three projections, \"head\" = the rest."),
    (TRAIN train.weight_decay, "RG", NON_NEGATIVE, "wd", [],
        "Weight decay of AdamW."),
    (TRAIN train.warmup_steps, "RG", Kind::Count { min: 0, max: u32::MAX as u64 }, "warm", [],
        "Steps at the start of each phase over which the learning rate grows linearly to its value; 0 = from the first step."; later),
    (TRAIN train.grad_clip, "RG", POSITIVE, "gclip", [],
        "Gradients are scaled down to this global norm."),
    (TRAIN train.shuffle, "RG", Kind::Flag, "shuffle", [],
        "Visit the groups in a new order each epoch; false = numeric order of their ids."),
    (TRAIN train.early_stop, "RG", Kind::Patience, "stop", [],
        "A phase stops after this many epochs without a lower validation loss."),
}

/// Reads the values of points one after the other: what a point has in common with the one before is not read again.
#[derive(Default)]
pub struct Reader<'c> {
    last: Option<Last<'c>>,
}

struct Last<'c> {
    shared: Config,
    /// What is shared, and what the last point had.
    common: Params,
    params: Params,
    /// Its own values: place, key, value.
    own: Vec<(u32, Option<usize>, Option<&'c Json>)>,
}

impl<'c> Reader<'c> {
    /// The values of `config`.
    ///
    /// # Errors
    /// The key whose value does not fit, dotted: that of a record that is damaged.
    pub fn read(&mut self, config: &'c Config) -> Result<&Params, String> {
        let (shared, own) = config.parts();
        let last = match self.last.take().filter(|last| last.shared.shares(&shared)) {
            Some(mut last) => {
                if !last.own.iter().map(|(place, ..)| place).eq(own.iter().map(|(place, _)| place)) {
                    last.own.clear();
                    last.params.clone_from(&last.common);
                }
                self.last.insert(last)
            }
            None => {
                let mut params = Params::default();
                for (table, name, value) in shared.entries() {
                    set(&mut params, table, name, value)?;
                }
                self.last.insert(Last { shared, common: params.clone(), params, own: Vec::new() })
            }
        };
        if last.own.is_empty() {
            let key = |place: u32| {
                let (table, name) = config.key_at(place);
                place_of(table, name)
            };
            last.own = own.iter().map(|(place, _)| (*place, key(*place), None)).collect();
            // Nothing is known to be set yet.
            last.params.clone_from(&last.common);
        }
        for ((_, key, before), (_, value)) in last.own.iter_mut().zip(own) {
            let same = match (&before, value) {
                (Some(before), Some(value)) => std::ptr::eq(*before, &**value),
                _ => false,
            };
            let (Some(at), false) = (*key, same) else { continue };
            let default = || KEYS[at].default().map_or(Json::Null, |default| default.record());
            let fits = match value {
                Some(value) => FIELDS[at](&mut last.params, value),
                None => FIELDS[at](&mut last.params, &default()),
            };
            if !fits {
                let value = value.as_deref().cloned().unwrap_or_default();
                return Err(format!("{} = {value}", KEYS[at].dotted()));
            }
            *before = value.as_deref();
        }
        Ok(&last.params)
    }
}

impl Params {
    /// The values of one point.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn of(config: &Config) -> Result<Self, String> {
        Reader::default().read(config).cloned()
    }
}

fn place_of(table: &str, name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.name == name && key.table.name() == table)
}

/// As a point has them.
impl From<&Params> for Config {
    fn from(params: &Params) -> Self {
        let json = serde_json::to_value(params).and_then(serde_json::from_value);
        json.expect("tables of plain values")
    }
}

/// A key that is not known is a later version's.
fn set(params: &mut Params, table: &str, name: &str, value: &Json) -> Result<(), String> {
    match place_of(table, name) {
        Some(at) if !FIELDS[at](params, value) => Err(format!("{} = {value}", KEYS[at].dotted())),
        _ => Ok(()),
    }
}

fn clash(config: &Config) -> Option<Clash> {
    let Params { model, train, .. } = Params::of(config).ok()?;
    if !model.hidden.is_multiple_of(model.heads) {
        return Some(Clash {
            message: format!(
                "`model.heads` = {} does not divide `model.hidden` = {}",
                model.heads, model.hidden
            ),
            hint: "every head gets an equal share of the hidden width",
            keys: &["model.heads", "model.hidden"],
        });
    }
    if train.grpo_epochs > 0 && ParamGroup::ALL.iter().all(|group| train.freeze.contains(*group)) {
        return Some(Clash {
            message: format!("everything is frozen, but `train.grpo_epochs` = {}", train.grpo_epochs),
            hint: "leave a parameter group out of `freeze`, or set grpo_epochs = 0",
            keys: &["train.freeze", "train.grpo_epochs"],
        });
    }
    if train.rce_epochs == 0 && train.grpo_epochs == 0 && train.init.is_none() {
        return Some(Clash {
            message: "nothing is trained: `train.rce_epochs` and `train.grpo_epochs` are 0, and there is no `train.init`"
                .to_owned(),
            hint: "give epochs to one of the phases, or a checkpoint to evaluate as it is",
            keys: &["train.grpo_epochs", "train.rce_epochs"],
        });
    }
    None
}

/// Axes that change nothing in any point: what they vary belongs to a phase that has no epochs.
fn idle(points: &[Point], varying: &[&'static Key]) -> Vec<String> {
    let any = |key: &str| points.iter().any(|point| point.config.get(key).is_some_and(|epochs| *epochs != 0));
    let (rce, grpo) = (any("train.rce_epochs"), any("train.grpo_epochs"));
    let mut warnings = Vec::new();
    for key in varying {
        let idle = match key.scope {
            "R" => (!rce).then_some("train.rce_epochs"),
            "G" => (!grpo).then_some("train.grpo_epochs"),
            _ => None,
        };
        if let Some(epochs) = idle {
            warnings.push(format!(
                "axis `{}` changes nothing: `{epochs}` is 0 in every point, so points that differ only in it are the same",
                key.dotted()
            ));
        }
    }
    warnings
}
