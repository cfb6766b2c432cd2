//! The one table of keys. Parsing, defaults, axes, names of points, `--set`, suggestions, the JSON schema and
//! the documentation are all driven by it.

use std::fmt;

use super::settings::Settings;
use super::value::{FREEZE_NAMES, Field};
use super::{
    ExportFormat, JudgeApi, KeepOptimizer, Normalize, Quality, Reference, RewardForm, RewardMode, ScoreField,
    Value,
};

/// A table of the sweep file that holds plain keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Keys above the first table header.
    Top,
    Data,
    Build,
    Reward,
    Model,
    Train,
    Eval,
    Endpoint,
    Command,
    Items,
    Export,
    Keep,
    Slurm,
}

impl Table {
    /// All tables, in the order in which they are documented.
    pub const ALL: [Self; 13] = [
        Self::Top,
        Self::Data,
        Self::Build,
        Self::Reward,
        Self::Model,
        Self::Train,
        Self::Eval,
        Self::Endpoint,
        Self::Command,
        Self::Items,
        Self::Export,
        Self::Keep,
        Self::Slurm,
    ];

    /// The tables inside this one.
    pub fn inner(self) -> &'static [Self] {
        match self {
            Self::Data => &[Self::Build],
            Self::Eval => &[Self::Endpoint, Self::Command, Self::Items],
            _ => &[],
        }
    }

    /// Whether it stands in another one.
    pub fn is_inner(self) -> bool {
        Self::ALL.iter().any(|table| table.inner().contains(&self))
    }

    /// The name in the file; empty for [`Table::Top`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Top => "",
            Self::Data => "data",
            Self::Build => "data.build",
            Self::Reward => "reward",
            Self::Model => "model",
            Self::Train => "train",
            Self::Eval => "eval",
            Self::Endpoint => "eval.endpoint",
            Self::Command => "eval.command",
            Self::Items => "eval.items",
            Self::Export => "export",
            Self::Keep => "keep",
            Self::Slurm => "slurm",
        }
    }

    /// The table called `name` in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table != Self::Top && table.name() == name)
    }

    /// Whether its keys may be axes.
    pub fn has_axes(self) -> bool {
        matches!(self, Self::Reward | Self::Model | Self::Train)
    }

    /// One line for people: what the table is about.
    pub fn doc(self) -> &'static str {
        match self {
            Self::Top => "the sweep itself",
            Self::Data => "where the query groups come from and which of them are used",
            Self::Build => {
                "how the query groups are made where they are missing: pools and sequences for a judge to score"
            }
            Self::Reward => "how a trajectory's scores become one number",
            Self::Model => "shape and fixed constants of the selector",
            Self::Train => "initialisation, RCE (phase 1) and GRPO (phase 2)",
            Self::Eval => "how points are scored; without it the matrix has no shot columns",
            Self::Endpoint => {
                "a server that answers questions, by OpenAI's protocol; each question is asked once"
            }
            Self::Command => "a program that answers and scores questions; each question is asked once",
            Self::Items => "what questions are made of",
            Self::Export => "checkpoints in foreign formats",
            Self::Keep => "what stays on disk of what a run computes",
            Self::Slurm => "how jobs are submitted to a cluster",
        }
    }
}

/// The values a number may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// any finite number
    Finite,
    /// `x >= 0`
    NonNegative,
    /// `x > 0`
    Positive,
    /// `0 < x < 1`
    InsideUnit,
    /// `0 <= x < 1`
    BelowOne,
    /// `0 <= x <= 1`
    Unit,
}

impl Limits {
    /// Whether `number` is allowed.
    pub fn allow(self, number: f64) -> bool {
        number.is_finite()
            && match self {
                Self::Finite => true,
                Self::NonNegative => number >= 0.0,
                Self::Positive => number > 0.0,
                Self::InsideUnit => number > 0.0 && number < 1.0,
                Self::BelowOne => (0.0..1.0).contains(&number),
                Self::Unit => (0.0..=1.0).contains(&number),
            }
    }

    /// In words, to follow "number" or "numbers".
    fn words(self) -> &'static str {
        match self {
            Self::Finite => "",
            Self::NonNegative => ", 0 or more",
            Self::Positive => " greater than 0",
            Self::InsideUnit => " between 0 and 1, both excluded",
            Self::BelowOne => " from 0 to below 1",
            Self::Unit => " from 0 to 1",
        }
    }
}

/// Type and limits of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Flag,
    /// Whole number in `min..=max`.
    Count {
        min: u64,
        max: u64,
    },
    Number(Limits),
    /// One of the names.
    Choice(&'static [&'static str]),
    /// Two numbers; `ascending`: the first below the second.
    NumberPair {
        limits: Limits,
        ascending: bool,
    },
    /// Two whole numbers, each 1 or more.
    CountPair,
    /// A list of parameter groups.
    Freeze,
    Path,
    /// A path or `"none"`.
    OptionalPath,
    /// A number of epochs, 1 or more, or `"off"`.
    Patience,
    /// Distinct whole numbers, 1 or more.
    Shots,
    /// A number of queries, -1 for all, or a list of such numbers.
    Samples,
    /// Which weights stay on disk.
    KeptWeights,
    /// A list of the names.
    Choices(&'static [&'static str]),
    /// A name that can be a directory.
    Name,
    /// Any text.
    Text,
    /// A text that may be absent.
    OptionalText,
    /// A list of texts.
    Texts,
}

impl Kind {
    /// Whether one value is itself a list, so that a list of values is a list of lists.
    pub fn is_list(self) -> bool {
        matches!(
            self,
            Self::NumberPair { .. }
                | Self::CountPair
                | Self::Freeze
                | Self::Shots
                | Self::Samples
                | Self::Choices(_)
                | Self::Texts
        )
    }
}

/// What a value must be, to follow "must be".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Count { min: 0, max: u64::MAX } => f.write_str("a whole number, 0 or more"),
            Self::Count { min, max } if *max >= u64::from(u32::MAX) => {
                write!(f, "a whole number, {min} or more")
            }
            Self::Count { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Number(limits) => write!(f, "a number{}", limits.words()),
            Self::Choice(names) => write!(f, "one of {}", quoted(names)),
            Self::NumberPair { limits, ascending } => {
                let order = if *ascending { ", the smaller one first" } else { "" };
                write!(f, "a list of two numbers{}{order}", limits.words())
            }
            Self::CountPair => f.write_str("a list of two whole numbers, 1 or more"),
            Self::Freeze => write!(f, "a list of {}", quoted(FREEZE_NAMES)),
            Self::Path => f.write_str("a path in quotes"),
            Self::OptionalPath => f.write_str("a path in quotes, or \"none\""),
            Self::Patience => f.write_str("a whole number of epochs, 1 or more, or \"off\""),
            Self::KeptWeights => f.write_str("\"all\", \"points\" or \"best N\" with a number N of points"),
            Self::Shots => f.write_str("a list of different whole numbers, 1 or more"),
            Self::Samples => {
                f.write_str("a whole number, 1 or more, or -1 for all, or a list of such numbers")
            }
            Self::Choices(names) => write!(f, "a list of {}", quoted(names)),
            Self::Name => f.write_str(
                "a text of letters, digits, `_`, `-`, `.`, at most 100 bytes, not starting with `.` or `-`",
            ),
            Self::Text | Self::OptionalText => f.write_str("a text in quotes, not empty"),
            Self::Texts => f.write_str("a list of texts in quotes"),
        }
    }
}

/// `"a", "b"`.
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// How the value under a name of the lab's becomes the value of our key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabForm {
    /// The same value.
    Same,
    /// A switch with the opposite meaning.
    Inverted,
    /// The first or second (0, 1) of a pair.
    Element(usize),
    /// A switch that stands for the second value, and for the first when off.
    Switch(&'static str, &'static str),
}

/// A name that the lab's scripts use for a key.
#[derive(Clone, Copy, Debug)]
pub struct LabName {
    pub name: &'static str,
    pub form: LabForm,
}

/// One key of the sweep file.
#[derive(Debug)]
pub struct Key {
    pub table: Table,
    pub name: &'static str,
    /// Where the value enters: letters of D data, M model, R phase 1 (RCE), G phase 2 (GRPO), E evaluation.
    pub scope: &'static str,
    pub kind: Kind,
    /// What stands before the value in the name of a point.
    pub short: &'static str,
    pub lab: &'static [LabName],
    /// One line for people.
    pub doc: &'static str,
    pub(super) get: fn(&Settings) -> Value,
    pub(super) set: fn(&mut Settings, &Value),
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table && self.name == other.name
    }
}

impl Key {
    /// `train.kl_beta`; keys above the first table have no prefix.
    pub fn dotted(&self) -> String {
        match self.table {
            Table::Top => self.name.to_owned(),
            table => format!("{}.{}", table.name(), self.name),
        }
    }

    /// The default, as it would be written; `None` for the keys that must be given.
    pub fn default(&self) -> Option<Value> {
        let default = (self.get)(&Settings::default());
        (!is_empty(&default)).then_some(default)
    }

    /// Whether the file must give it (where it gives the table at all).
    pub fn is_required(&self) -> bool {
        // Of the ways to evaluate one is needed, whichever.
        self.table != Table::Eval
            && matches!(self.kind, Kind::Path | Kind::Text)
            && is_empty(&(self.get)(&Settings::default()))
    }

    /// Whether it may be swept.
    pub fn is_axis(&self) -> bool {
        self.table.has_axes()
    }
}

/// Whether a default stands for "not given".
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Path { written, .. } => written.is_empty(),
        // Of the sweep's name the file's name is the default.
        Value::Text(text) => text.is_empty(),
        _ => false,
    }
}

/// Sets one field of [`Settings`] from a value that the key's kind has checked.
pub(super) fn assign<F: Field>(field: &mut F, value: &Value) {
    *field = F::from_value(value).expect("kind and field of a key agree, tested for every key");
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
const SHARE: Kind = Kind::Number(Limits::Unit);
const SEQUENCES: Kind = Kind::Count { min: 0, max: 1_024 };
const EPOCHS: Kind = Kind::Count { min: 0, max: u32::MAX as u64 };

/// One row of [`KEYS`]: table, path of the struct in [`Settings`] and field, scope, kind, short, lab's names, doc.
macro_rules! key {
    ($table:ident $($path:ident).+ => $name:ident, $scope:literal, $kind:expr, $short:literal, [$($lab:expr),*], $doc:literal) => {
        Key {
            table: Table::$table,
            name: stringify!($name),
            scope: $scope,
            kind: $kind,
            short: $short,
            lab: &[$($lab),*],
            doc: $doc,
            get: |settings| settings.$($path).+.to_value(),
            set: |settings, value| assign(&mut settings.$($path).+, value),
        }
    };
}

/// Every key of the sweep file outside `[grid]`, `[[exclude]]`, `[[include]]` and `[baseline]`, whose keys are these.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    key!(Top name => name, "", Kind::Name, "", [],
        "Name of the sweep and of its results directory; the file's name without `.toml` when absent."),

    key!(Data point.data.trajectories => trajectories, "D", Kind::Path, "", [same("beam_data")],
        "Trajectory JSON: query groups with scored demonstration sequences. Relative to the sweep file."),
    key!(Data point.data.embeddings => embeddings, "D", Kind::Path, "", [same("img_emb")],
        "Embedding matrix [N, d] (.safetensors or .pt); the row is the global id. Relative to the sweep file."),
    key!(Data point.data.train_fraction => train_fraction, "D", Kind::Number(Limits::InsideUnit), "", [],
        "Share of the queries, in numeric order, that is trained on; the rest validates."),
    key!(Data point.data.keep_fallback => keep_fallback, "D", Kind::Flag, "", [lab("SKIP_FALLBACK_REWARD", LabForm::Inverted)],
        "Keep trajectories whose answer was judged by the fallback."),
    key!(Data point.data.require_positive => require_positive, "D", Kind::Flag, "", [same("REQUIRE_POSITIVE_QUERY")],
        "Keep only queries with at least one correct trajectory."),

    key!(Build build.seed => seed, "", Kind::Count { min: 0, max: u64::MAX }, "", [],
        "Seed of the split, the pools and the sequences; each query and method has its own random numbers."),
    key!(Build build.train_share => train_share, "", SHARE, "", [],
        "Share of the items that are training queries, where the items have no `split`."),
    key!(Build build.eval_share => eval_share, "", SHARE, "", [],
        "Share of the items that are evaluation queries; the rest are demonstrations alone."),
    key!(Build build.pool => pool, "", Kind::Count { min: 1, max: 65_536 }, "", [],
        "Candidates K of a query."),
    key!(Build build.pool_nearest => pool_nearest, "", SHARE, "", [],
        "Share of a pool that are the query's nearest items by cosine; the others are drawn at random."),
    key!(Build build.length => length, "", Kind::Count { min: 1, max: 1_024 }, "", [],
        "Demonstrations S of a training sequence."),
    key!(Build build.random => random, "", SEQUENCES, "", [],
        "Sequences a query that are drawn at random."),
    key!(Build build.retrieval => retrieval, "", SEQUENCES, "", [],
        "Sequences a query of the nearest candidates, nearest first; the n-th begins with the n-th nearest."),
    key!(Build build.sample => sample, "", SEQUENCES, "", [],
        "Sequences a query that are drawn by similarity."),
    key!(Build build.temperature => temperature, "", POSITIVE, "", [],
        "Cosines are divided by this where sequences are drawn by similarity: the lower, the nearer."),
    key!(Build build.policy => policy, "", Kind::OptionalPath, "", [],
        "Checkpoint whose own sequences are scored too; \"none\" = no such sequences. Relative to the sweep file."),
    key!(Build build.beam => beam, "", SEQUENCES, "", [],
        "Sequences a query that the policy finds most probable (beam search)."),
    key!(Build build.policy_sample => policy_sample, "", SEQUENCES, "", [],
        "Sequences a query that are drawn by the policy."),
    key!(Build build.policy_temperature => policy_temperature, "", POSITIVE, "", [],
        "The policy's logits are divided by this where it draws sequences."),
    key!(Build build.require_mixed => require_mixed, "", Kind::Flag, "", [],
        "Keep only queries with both right and wrong sequences."),
    key!(Build build.balance => balance, "", Kind::Flag, "", [],
        "Of a query with both keep as many wrong sequences as right ones."),
    key!(Build build.eval_file => eval_file, "", Kind::OptionalPath, "", [],
        "Where the evaluation queries' scored sequences are written, for `eval.logged`; \"none\" = nowhere. Relative to the sweep file."),
    key!(Build build.eval_shots => eval_shots, "", Kind::Shots, "", [],
        "Numbers of demonstrations of the sequences in `eval_file`."),

    key!(Reward point.reward.mode => mode, "D", Kind::Choice(RewardMode::NAMES), "", [same("REWARD_MODE")],
        "Formula of the reward: hard = vqa_correct, soft = vqa_acc_score, gtprob = vqa_gt_prob, rel = vqa_rel_score."),
    key!(Reward point.reward.hard_weight => hard_weight, "D", FINITE, "hard", [same("HARD_WEIGHT")],
        "Weight of vqa_correct."),
    key!(Reward point.reward.soft_weight => soft_weight, "D", FINITE, "soft", [same("SOFT_WEIGHT")],
        "Weight of vqa_acc_score (or vqa_gt_prob)."),
    key!(Reward point.reward.rel_weight => rel_weight, "D", FINITE, "rel", [same("REL_WEIGHT")],
        "Weight of vqa_rel_score."),
    key!(Reward point.reward.alpha => alpha, "D", FINITE, "alpha", [],
        "Weight of the quality (mode \"legacy\" only)."),
    key!(Reward point.reward.beta => beta, "D", FINITE, "beta", [],
        "Weight of the correctness (mode \"legacy\" only)."),
    key!(Reward point.reward.quality => quality, "D", Kind::Choice(Quality::NAMES), "", [],
        "What counts as quality (mode \"legacy\" only)."),
    key!(Reward point.reward.normalize => normalize, "D", Kind::Choice(Normalize::NAMES), "", [same("normalize_method")],
        "How rewards are normalized within a query group."),
    key!(Reward point.reward.clamp => clamp, "D", POSITIVE, "clamp", [],
        "Normalized rewards stay within plus and minus this (normalize = \"z_score_clamp\" only)."),

    key!(Model point.model.hidden => hidden, "M", Kind::Count { min: 1, max: 65_536 }, "hid", [],
        "Width of the hidden layers; when it equals the width of the embeddings there is no input projection."),
    key!(Model point.model.layers => layers, "M", Kind::Count { min: 1, max: 1_024 }, "lay", [same("NUM_LAYERS")],
        "Cross-attention layers."),
    key!(Model point.model.heads => heads, "M", Kind::Count { min: 1, max: 65_536 }, "heads", [],
        "Attention heads; must divide `hidden`."),
    key!(Model point.model.dropout => dropout, "M", DROPOUT, "drop", [],
        "Dropout on the hidden query and candidates while training."),
    key!(Model point.model.attn_dropout => attn_dropout, "M", DROPOUT, "adrop", [],
        "Dropout on the attention weights while training."),
    key!(Model point.model.temperature => temperature, "M", POSITIVE, "temp", [],
        "The cosine similarities are divided by this to give logits."),

    key!(Train point.train.init => init, "M", Kind::OptionalPath, "init", [same("SFT_CKPT")],
        "Checkpoint to start from (.safetensors, .pt, .ckpt); \"none\" = fresh weights. Relative to the sweep file."),
    key!(Train point.train.seed => seed, "M", Kind::Count { min: 0, max: u64::MAX }, "s", [],
        "Seed of initial weights, visiting order and dropout."),
    key!(Train point.train.rce_epochs => rce_epochs, "R", EPOCHS, "rce", [same("RCE_EPOCHS")],
        "Epochs of reward-weighted cross-entropy (phase 1)."),
    key!(Train point.train.rce_lr => rce_lr, "R", POSITIVE, "rcelr", [same("RCE_LR")],
        "Learning rate of phase 1."),
    key!(Train point.train.rce_reward => rce_reward, "R", Kind::Choice(RewardForm::NAMES), "",
        [lab("RCE_USE_NORMALIZED_REWARD", LabForm::Switch("raw", "normalized"))],
        "Whether phase 1 weighs trajectories by raw or by normalized rewards."),
    key!(Train point.train.rce_temperature => rce_temperature, "R", Kind::NumberPair { limits: Limits::Positive, ascending: false }, "tau",
        [lab("RCE_TEMP_START", LabForm::Element(0)), lab("RCE_TEMP_END", LabForm::Element(1))],
        "Softmax temperature of phase 1 at its first and last step."),
    key!(Train point.train.rce_top1_only => rce_top1_only, "R", Kind::Flag, "top1", [same("USE_TOP1_ONLY")],
        "Phase 1 learns only the best trajectory of each group."),
    key!(Train point.train.grpo_epochs => grpo_epochs, "G", EPOCHS, "ep", [same("GRPO_EPOCHS")],
        "Epochs of GRPO (phase 2); 0 = phase 1 only."),
    key!(Train point.train.grpo_lr => grpo_lr, "G", POSITIVE, "lr", [same("GRPO_LR")],
        "Learning rate of phase 2."),
    key!(Train point.train.kl_beta => kl_beta, "G", NON_NEGATIVE, "kl", [same("KL_BETA")],
        "Weight of the KL term in phase 2."),
    key!(Train point.train.clip_epsilon => clip_epsilon, "G", POSITIVE, "clip", [],
        "The probability ratio is clipped to 1 minus and plus this."),
    key!(Train point.train.reference => reference, "G", Kind::Choice(Reference::NAMES), "ref", [],
        "The policy that KL is measured against: the model after phase 1 (\"warmup\") or before it (\"init\")."),
    key!(Train point.train.adaptive_kl => adaptive_kl, "G", Kind::Flag, "adaptkl", [lab("DISABLE_ADAPTIVE_KL", LabForm::Inverted)],
        "Let kl_beta follow the measured KL."),
    key!(Train point.train.kl_target => kl_target, "G", Kind::NumberPair { limits: Limits::NonNegative, ascending: true }, "klt", [],
        "Adaptive KL: kl_beta shrinks when the KL is below the first, grows when it is above the second."),
    key!(Train point.train.top_k => top_k, "G", Kind::CountPair, "topk",
        [lab("GRPO_EARLY_TOP_K", LabForm::Element(0)), lab("GRPO_LATE_TOP_K", LabForm::Element(1))],
        "Trajectories kept per group in the first epoch of phase 2 and in later ones."),
    key!(Train point.train.freeze => freeze, "G", Kind::Freeze, "", [lab("FREEZE_BACKBONE_IN_GRPO", LabForm::Switch("none", "backbone"))],
        "Parameter groups that phase 2 leaves as they are; \"backbone\" = the three projections, \"head\" = the rest."),
    key!(Train point.train.weight_decay => weight_decay, "RG", NON_NEGATIVE, "wd", [],
        "Weight decay of AdamW."),
    key!(Train point.train.warmup_steps => warmup_steps, "RG", Kind::Count { min: 0, max: u32::MAX as u64 }, "warm", [],
        "Steps at the start of each phase over which the learning rate grows linearly to its value; 0 = from the first step."),
    key!(Train point.train.grad_clip => grad_clip, "RG", POSITIVE, "gclip", [],
        "Gradients are scaled down to this global norm."),
    key!(Train point.train.shuffle => shuffle, "RG", Kind::Flag, "shuffle", [],
        "Visit the groups in a new order each epoch; false = numeric order of their ids."),
    key!(Train point.train.early_stop => early_stop, "RG", Kind::Patience, "stop", [],
        "A phase stops after this many epochs without a lower validation loss."),

    key!(Eval eval.logged => logged, "E", Kind::Path, "", [],
        "Demonstration sequences (JSON lines) that a judge model has already scored. Relative to the sweep file."),
    key!(Eval eval.shots => shots, "E", Kind::Shots, "", [],
        "Numbers of demonstrations to evaluate with."),
    key!(Eval eval.samples => samples, "E", Kind::Samples, "", [],
        "How many queries to evaluate on, in file order; -1 = all; a list gives one set of columns each."),
    key!(Eval eval.score => score, "E", Kind::Choice(ScoreField::NAMES), "", [],
        "The score that accuracy is the mean of; token_f1 is for [eval.endpoint] alone."),
    key!(Eval eval.queries => queries, "E", Kind::Path, "", [],
        "For [eval.endpoint] and [eval.command]: the queries to evaluate on, JSON lines with query_id and candidate_pool_ids (a file for `logged` will do); the validation queries when absent. Relative to the sweep file."),
    key!(Eval eval.judge_noise => judge_noise, "E", Kind::Count { min: 0, max: u32::MAX as u64 }, "", [],
        "How many questions are asked a second time, to see how many answers and scores change; 0 = none."),

    key!(Endpoint endpoint.url => url, "E", Kind::Text, "", [],
        "Address of the API, mostly ending in /v1. It is no part of a question's identity."),
    key!(Endpoint endpoint.model => model, "E", Kind::Text, "", [],
        "The model, as the server names it in its answers; another one ends the evaluation."),
    key!(Endpoint endpoint.api => api, "E", Kind::Choice(JudgeApi::NAMES), "", [],
        "Which way of asking: \"chat\" or plain \"completions\"."),
    key!(Endpoint endpoint.system => system, "E", Kind::OptionalText, "", [],
        "What the prompt begins with: the system message of a chat."),
    key!(Endpoint endpoint.demonstration => demonstration, "E", Kind::Text, "", [],
        "Text of one demonstration; {question}, {answer} and {image} stand for its parts."),
    key!(Endpoint endpoint.query => query, "E", Kind::Text, "", [],
        "Text of the query, behind the demonstrations; {question} and {image} stand for its parts."),
    key!(Endpoint endpoint.max_tokens => max_tokens, "E", Kind::Count { min: 1, max: u32::MAX as u64 }, "", [],
        "Longest answer, in tokens."),
    key!(Endpoint endpoint.stop => stop, "E", Kind::Texts, "", [],
        "Texts at which an answer ends."),
    key!(Endpoint endpoint.logprobs => logprobs, "E", Kind::Flag, "", [],
        "Also ask how probable the accepted answer is (score = \"vqa_gt_prob\"); for servers that echo prompts with log-probabilities."),
    key!(Endpoint endpoint.fields => fields, "E", Kind::OptionalText, "", [],
        "Further fields of the request, as a JSON object in one text."),
    key!(Endpoint endpoint.max_image_bytes => max_image_bytes, "E", Kind::Count { min: 1, max: 1 << 30 }, "", [],
        "Largest image file that is sent."),
    key!(Endpoint endpoint.concurrency => concurrency, "", Kind::Count { min: 1, max: 4_096 }, "", [],
        "Questions that are asked at a time."),
    key!(Endpoint endpoint.timeout => timeout, "", POSITIVE, "", [],
        "Seconds that one answer may take."),
    key!(Endpoint endpoint.retries => retries, "", Kind::Count { min: 0, max: 100 }, "", [],
        "Further attempts at a question that failed in a way that may pass."),
    key!(Endpoint endpoint.key_env => key_env, "", Kind::OptionalText, "", [],
        "Name of the environment variable that holds the API key."),

    key!(Command command.program => program, "E", Kind::Texts, "", [],
        "The program and its arguments. It runs in the sweep file's directory, reads lines {\"id\", \"query_id\", \"demonstrations\"} and writes lines {\"id\", \"score\", \"answer\"}."),
    key!(Command command.version => version, "E", Kind::OptionalText, "", [],
        "What this version of the program is called; with another one every question is asked anew."),
    key!(Command command.batch => batch, "", Kind::Count { min: 1, max: 65_536 }, "", [],
        "Questions that the program is given at a time."),
    key!(Command command.patience => patience, "", POSITIVE, "", [],
        "Seconds that one answer may take."),

    key!(Items items.file => file, "E", Kind::Path, "", [],
        "JSON lines with id, question, answers (one or more texts) and, if there is one, image (a path or an address). Relative to the sweep file."),

    key!(Export export.formats => formats, "", Kind::Choices(ExportFormat::NAMES), "", [],
        "Formats in which `run` also writes every point's checkpoint: \"v2\" (Lightning-like .ckpt), \"pt\" (training checkpoint), \"safetensors\" (weights alone, .plain.safetensors)."),

    key!(Keep keep.weights => weights, "", Kind::KeptWeights, "", [],
        "Which weights stay on disk: \"all\" epochs, those that \"points\" refer to, or those of the \"best N\" points and the baseline. What another stage starts from always stays."),
    key!(Keep keep.optimizer => optimizer, "", Kind::Choice(KeepOptimizer::NAMES), "", [],
        "Which optimizer states stay on disk: \"all\" that a longer run could go on from, or only those of \"unfinished\" stages."),

    key!(Slurm slurm.partition => partition, "", Kind::OptionalText, "", [],
        "Partition to submit to; the cluster's default when absent."),
    key!(Slurm slurm.time => time, "", Kind::OptionalText, "", [],
        "Time limit, as `sbatch --time` takes it."),
    key!(Slurm slurm.gres => gres, "", Kind::OptionalText, "", [],
        "Resources, as `sbatch --gres` takes them (\"gpu:1\")."),
    key!(Slurm slurm.extra => extra, "", Kind::Texts, "", [],
        "Further arguments of `sbatch`, one text each."),
];

/// The keys of one table, in the order of [`KEYS`].
pub fn keys_of(table: Table) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.table == table)
}

/// Why a name is no key.
#[derive(Debug, PartialEq)]
pub(super) enum Unresolved {
    Unknown,
    /// The dotted names it could mean.
    Ambiguous(Vec<String>),
}

/// The key called `name`, dotted or bare, among those that `accept` lets through.
pub(super) fn resolve(name: &str, accept: impl Fn(&Key) -> bool) -> Result<&'static Key, Unresolved> {
    let candidates: Vec<&'static Key> =
        KEYS.iter().filter(|key| accept(key) && (key.dotted() == name || is_bare(key, name))).collect();
    match candidates[..] {
        [key] => Ok(key),
        [] => Err(Unresolved::Unknown),
        _ => Err(Unresolved::Ambiguous(candidates.iter().map(|key| key.dotted()).collect())),
    }
}

/// Whether `name` alone is enough. Names of [data.build] are short, and none of them may take a name from another table.
fn is_bare(key: &Key, name: &str) -> bool {
    key.name == name && key.table != Table::Build
}

/// The key that the lab calls `name`, in any case of letters.
pub(super) fn lab_key(name: &str) -> Option<(&'static Key, LabForm)> {
    KEYS.iter().find_map(|key| {
        let lab = key.lab.iter().find(|lab| lab.name.eq_ignore_ascii_case(name))?;
        Some((key, lab.form))
    })
}

/// "did you mean": the one of `candidates` that is close to `name`, if any is.
pub(super) fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
