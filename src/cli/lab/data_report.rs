//! What `sweep data check` prints, as a value: text for people, JSON for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::finite::Finite;
use crate::selector::data::{self, Dataset, Dropped, Embeddings, Inspection, MethodShare};
use crate::selector::evaluate::{Logged, references};
use crate::selector::{DataParams, RewardMode, RewardParams, Score};
use crate::spec::{EvalParams, ScoreField};
use crate::store::{Leaks, SignalHealth};

/// The findings about one data set.
#[derive(Debug, Serialize)]
pub struct Report {
    trajectories: PathBuf,
    /// `null` where none was given.
    embeddings: Option<PathBuf>,
    /// Queries by age of the format: `newest`, `older`, `oldest`.
    ages: BTreeMap<data::Age, usize>,
    queries: Split,
    /// After the filters.
    kept_queries: Split,
    read_trajectories: usize,
    kept_trajectories: usize,
    dropped: Dropped,
    /// K, smallest and largest.
    candidates: [usize; 2],
    /// S
    demonstrations: usize,
    /// Rows and columns of the matrix.
    matrix: Option<[usize; 2]>,
    /// Kept trajectories with known correctness, all and by `gen_method`.
    right: MethodShare,
    methods: BTreeMap<String, MethodShare>,
    rewards: Vec<RewardReport>,
    /// `null` without `[eval]`.
    evaluation: Option<EvalReport>,
    /// Evaluation queries that training would see.
    leaks: Leaks,
    /// Identity of the data set.
    digest: String,
    /// Usable, but perhaps not meant; `hint:` on its own line.
    pub warnings: Vec<String>,
    /// Not usable.
    pub errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Split {
    train: usize,
    validation: usize,
}

#[derive(Debug, Serialize)]
struct RewardReport {
    params: RewardParams,
    /// `null` where a score that the mode needs is missing.
    health: Option<SignalHealth>,
}

#[derive(Debug, Serialize)]
struct EvalReport {
    logged: PathBuf,
    /// The logged field that the means are of.
    score: ScoreField,
    queries: usize,
    /// Mean score per shot count of the policies that need no training.
    references: BTreeMap<String, BTreeMap<usize, f64>>,
}

impl Report {
    /// Gathers what is to be said of a data set under one or several reward settings.
    pub fn new(data: &DataParams, inspection: &Inspection, rewards: &[RewardParams]) -> Self {
        let Inspection { dataset, facts } = inspection;
        let has_matrix = dataset.embeddings.rows > 0;
        let pools = || dataset.groups().map(|group| group.pool.len());
        let mut report = Report {
            trajectories: data.trajectories.clone(),
            embeddings: has_matrix.then(|| data.embeddings.clone()),
            ages: facts.ages.clone(),
            queries: Split { train: facts.train_queries, validation: facts.queries - facts.train_queries },
            kept_queries: Split { train: dataset.train.len(), validation: dataset.validation.len() },
            read_trajectories: facts.trajectories,
            kept_trajectories: dataset.groups().map(|group| group.trajectories.len()).sum(),
            dropped: dataset.dropped.clone(),
            candidates: [pools().min().unwrap_or(0), pools().max().unwrap_or(0)],
            demonstrations: dataset.steps(),
            matrix: has_matrix.then_some([dataset.embeddings.rows, dataset.embeddings.dim]),
            right: right(dataset),
            methods: facts.methods.clone(),
            rewards: Vec::new(),
            evaluation: None,
            leaks: Leaks::default(),
            digest: dataset.digest.clone(),
            warnings: general_warnings(dataset),
            errors: Vec::new(),
        };
        for params in rewards {
            report.add_reward(dataset, params);
        }
        report
    }

    fn add_reward(&mut self, dataset: &Dataset, params: &RewardParams) {
        let health = match data::check_rewards(dataset, params) {
            Ok(()) => Some(data::signal_health(dataset, params)),
            Err(error) => {
                self.errors.push(error.to_string());
                None
            }
        };
        if let Some(health) = &health
            && 2 * health.flat_groups > health.groups
        {
            self.warnings.push(flat_warning(dataset, params, health));
        }
        self.rewards.push(RewardReport { params: params.clone(), health });
    }

    /// Adds the evaluation file and the range in which a selector can move on it.
    pub fn add_evaluation(&mut self, params: &EvalParams, logged: &Logged, embeddings: &Embeddings) {
        let mean = |scores: &Vec<Finite>| {
            scores.iter().map(|score| score.get()).sum::<f64>() / scores.len().max(1) as f64
        };
        let references = references(logged, embeddings)
            .into_iter()
            .map(|one| (one.name, one.scores.iter().map(|(shot, scores)| (*shot, mean(scores))).collect()));
        self.evaluation = Some(EvalReport {
            logged: params.logged.clone(),
            score: params.score,
            queries: logged.question_count(),
            references: references.collect(),
        });
    }

    /// Adds what evaluation and training have in common, which should be nothing.
    pub fn add_leaks(&mut self, leaks: Leaks) {
        let hint = "hint: evaluate on queries that are not in the training data";
        self.warnings.extend(leaks.sentences().into_iter().map(|found| format!("{found}\n{hint}")));
        self.leaks = leaks;
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.trajectories.display());
        let mut line = |label: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {label:<14} {value}");
        };
        let ages: Vec<String> = self.ages.iter().map(|(age, count)| age_text(*age, *count)).collect();
        line("format", ages.join("; "));
        let Split { train, validation } = self.queries;
        line("queries", format!("{}: {train} for training, {validation} for validation", train + validation));
        line("trajectories", format!("{} read, {} kept", self.read_trajectories, self.kept_trajectories));
        let reasons = self.dropped.reasons();
        if reasons.is_empty() {
            line("dropped", "nothing".into());
        }
        for (position, (reason, count)) in reasons.iter().enumerate() {
            line(if position == 0 { "dropped" } else { "" }, format!("{count} {reason}"));
        }
        if !reasons.is_empty() {
            let Split { train, validation } = self.kept_queries;
            line("left", format!("{train} queries for training, {validation} for validation"));
        }
        if self.dropped.non_integer_keys > 0 {
            line("other keys", format!("{} (not an integer, ignored)", self.dropped.non_integer_keys));
        }
        line("sizes", self.sizes());
        if self.right.judged > 0 {
            line("right answers", share(&self.right));
            for (method, one) in &self.methods {
                line(&format!("  {method}"), share(one));
            }
        }
        line("digest", self.digest.chars().take(16).collect());
        for reward in &self.rewards {
            text.push_str(&reward.text());
        }
        if let Some(evaluation) = &self.evaluation {
            text.push_str(&evaluation.text());
            if self.leaks.sentences().is_empty() {
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "  {:<14} none of the {} queries is a training query or in its own pool",
                    "overlap", self.leaks.queries
                );
            }
        }
        text
    }

    fn sizes(&self) -> String {
        let [fewest, most] = self.candidates;
        let candidates = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
        let matrix = match self.matrix {
            Some([rows, dim]) => format!(", N = {rows} embeddings of d = {dim}"),
            None => "; ids not compared with a matrix (--embeddings PATH)".to_string(),
        };
        format!("K = {candidates} candidates, S = {} demonstrations{matrix}", self.demonstrations)
    }
}

impl RewardReport {
    fn text(&self) -> String {
        let mode = label(&self.params);
        let Some(health) = &self.health else {
            return format!("reward {mode}: cannot be computed\n");
        };
        let percent = 100.0 * health.flat_groups as f64 / health.groups.max(1) as f64;
        let mut text = format!("reward {mode} in the {} training groups\n", health.groups);
        let flat = format!(
            "{} groups ({percent:.1}%): all rewards equal, nothing to tell apart",
            health.flat_groups
        );
        let _ = writeln!(text, "  {:<14} {flat}", "no signal");
        let _ = writeln!(text, "  {:<14} {:.3} (mean of largest - smallest)", "range", health.mean_range);
        let _ = writeln!(text, "  distinct rewards in a group, and how many groups have as many:");
        let most = health.distinct.values().copied().max().unwrap_or(1).max(1);
        for (distinct, groups) in &health.distinct {
            let bar = "#".repeat((40 * groups).div_ceil(most));
            let _ = writeln!(text, "  {distinct:>4} {groups:>6} {bar}");
        }
        text
    }
}

impl EvalReport {
    fn text(&self) -> String {
        let mut text = format!("{}\n  {:<14} {}\n", self.logged.display(), "queries", self.queries);
        let score = self.score.name();
        let _ = writeln!(text, "  {:<14} {score} (means below)", "score");
        let shots: BTreeSet<usize> = self.references.values().flat_map(BTreeMap::keys).copied().collect();
        let heads: String = shots.iter().map(|shot| format!("{:>9}", format!("{shot}-shot"))).collect();
        let _ = writeln!(text, "  {:<14}{heads}", "no training");
        for name in ["random", "nearest", "oracle"] {
            let means = self.references.get(name).into_iter().flat_map(BTreeMap::values);
            let means: String = means.map(|mean| format!("{mean:>9.3}")).collect();
            let _ = writeln!(text, "    {name:<12}{means}");
        }
        text
    }
}

fn age_text(age: data::Age, count: usize) -> String {
    let what = match age {
        data::Age::Newest => "newest (candidate_pool_ids, local ids)",
        data::Age::Older => "older (global ids, pool = ids used)",
        data::Age::Oldest => "oldest (id_list and score_list)",
    };
    format!("{what} in {count}")
}

/// The mode, and whatever else is not at its default.
fn label(params: &RewardParams) -> String {
    let fields = |params: &RewardParams| match serde_json::to_value(params) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let defaults = fields(&RewardParams::default());
    let special =
        fields(params).into_iter().filter(|(key, value)| key != "mode" && defaults.get(key) != Some(value));
    let special: Vec<String> = special.map(|(key, value)| format!("{key} {value}")).collect();
    let mode = params.mode.name();
    if special.is_empty() { mode.to_owned() } else { format!("{mode} ({})", special.join(", ")) }
}

fn share(one: &MethodShare) -> String {
    format!("{:.3} of {}", one.right as f64 / one.judged.max(1) as f64, one.judged)
}

fn right(dataset: &Dataset) -> MethodShare {
    let mut share = MethodShare::default();
    for correct in dataset.groups().flat_map(|group| &group.trajectories).filter_map(|one| one.correct) {
        share.judged += 1;
        share.right += usize::from(correct == 1.0);
    }
    share
}

fn general_warnings(dataset: &Dataset) -> Vec<String> {
    let mut warnings = Vec::new();
    if dataset.validation.is_empty() {
        warnings.push("no query is left for validation: there will be no val_loss".to_string());
    }
    warnings
}

fn flat_warning(dataset: &Dataset, params: &RewardParams, health: &SignalHealth) -> String {
    let graded = dataset.train.iter().flat_map(|group| &group.trajectories).all(|one| one.gt_prob.is_some());
    let hint = match params.mode {
        RewardMode::Legacy if params.alpha == 0.0 && params.beta == 0.0 => {
            "legacy rewards are 0 unless alpha or beta is given"
        }
        RewardMode::Legacy => "require_positive leaves out the queries without a right answer",
        mode if graded && mode.terms(params).iter().all(|(_, score)| *score != Score::GtProb) => {
            "a reward with `vqa_gt_prob` is graded (mode hard01_plus_gtprob), or leave flat queries out (require_positive)"
        }
        _ => "require_positive leaves out the queries without a right answer",
    };
    format!(
        "{} of {} training groups carry no signal under `{}`\nhint: {hint}",
        health.flat_groups,
        health.groups,
        params.mode.name()
    )
}
