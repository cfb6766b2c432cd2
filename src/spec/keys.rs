//! Keys, and the table of the program's own. Parsing, defaults, axes, names of points, `--set`, suggestions, the JSON
//! schema and the documentation are all driven by it and by the experiment's.

use super::kind::{Kind, Limits};
use super::settings::Settings;
use super::table::{OwnTable, Table};
use super::value::Field;
use super::{ExportFormat, JudgeApi, KeepOptimizer, ScoreField, Value};

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
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub table: Table,
    pub name: &'static str,
    /// Where the value enters, in letters that the experiment gives a meaning.
    pub scope: &'static str,
    pub kind: Kind,
    /// What stands before the value in the name of a point.
    pub short: &'static str,
    pub lab: &'static [LabName],
    /// One line for people.
    pub doc: &'static str,
    /// It is younger than records that lack it: it is written only where it differs from its default, so that a new key
    /// changes no identity.
    pub came_later: bool,
    pub(super) place: Place,
}

/// Where the value of a key is kept while a sweep file is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// In a struct of the program's.
    Core { get: fn(&Settings) -> Value, set: fn(&mut Settings, &Value) },
    /// By its key; this is its default.
    Own(fn() -> Value),
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table && self.name == other.name
    }
}

impl Key {
    /// A key of an experiment in its table `table`. `default` must be a value that `kind` allows, or an empty path where
    /// the key has to be given.
    pub const fn new(
        table: &'static OwnTable,
        name: &'static str,
        kind: Kind,
        default: fn() -> Value,
        doc: &'static str,
    ) -> Self {
        let (table, place) = (Table::Own(table), Place::Own(default));
        Self { table, name, scope: "", kind, short: "", lab: &[], doc, came_later: false, place }
    }

    /// With where the value enters: letters that the experiment gives a meaning.
    #[must_use]
    pub const fn scoped(mut self, scope: &'static str) -> Self {
        self.scope = scope;
        self
    }

    /// With the names that scripts use for it.
    #[must_use]
    pub const fn called(mut self, lab: &'static [LabName]) -> Self {
        self.lab = lab;
        self
    }

    /// With what stands before its value in the names of points, where it is an axis.
    #[must_use]
    pub const fn short(mut self, short: &'static str) -> Self {
        self.short = short;
        self
    }

    /// As one that is younger than results that are kept.
    #[must_use]
    pub const fn later(mut self) -> Self {
        self.came_later = true;
        self
    }

    /// `train.kl_beta`; keys above the first table have no prefix.
    pub fn dotted(&self) -> String {
        match self.table {
            Table::Top => self.name.to_owned(),
            table => format!("{}.{}", table.name(), self.name),
        }
    }

    /// Whether `dotted` is its dotted name.
    pub(super) fn is_called(&self, dotted: &str) -> bool {
        let bare = dotted.strip_suffix(self.name);
        bare.is_some_and(|rest| match self.table {
            Table::Top => rest.is_empty(),
            table => rest.strip_suffix('.') == Some(table.name()),
        })
    }

    /// The default, as it would be written; `None` for the keys that must be given.
    pub fn default(&self) -> Option<Value> {
        let default = self.raw_default();
        (!is_empty(&default)).then_some(default)
    }

    pub(super) fn raw_default(&self) -> Value {
        match self.place {
            Place::Core { get, .. } => get(&Settings::default()),
            Place::Own(default) => default(),
        }
    }

    /// Whether the file must give it (where it gives the table at all).
    pub fn is_required(&self) -> bool {
        // Of the ways to evaluate one is needed, whichever.
        self.table != Table::Eval
            && matches!(self.kind, Kind::Path | Kind::Text)
            && is_empty(&self.raw_default())
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
fn assign<F: Field>(field: &mut F, value: &Value) {
    *field = F::from_value(value).expect("kind and field of a key agree, tested for every key");
}

const POSITIVE: Kind = Kind::Number(Limits::Positive);
const SHARE: Kind = Kind::Number(Limits::Unit);
const SEQUENCES: Kind = Kind::Count { min: 0, max: 1_024 };

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
            came_later: false,
            place: Place::Core {
                get: |settings| settings.$($path).+.to_value(),
                set: |settings, value| assign(&mut settings.$($path).+, value),
            },
        }
    };
}

/// Every key of the program's own.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    key!(Top name => name, "", Kind::Name, "", [],
        "Name of the sweep and of its results directory; the file's name without `.toml` when absent."),
    key!(Top experiment => experiment, "", Kind::Name, "", [],
        "What is trained, where the program can train several things; the first of them when absent."),

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
