//! Everything a run reads before it trains: data, rewards, evaluation file, warm-start checkpoints; and the
//! plan made from them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::RunError;
use crate::checkpoint::{self, Weights};
use crate::plan::Plan;
use crate::selector::data::{self, Dataset};
use crate::selector::evaluate::{EvalQuery, Live, Logged, leaks};
use crate::selector::learn::{EngineParams, Layout, RewardTable, Shape, fresh_weights};
use crate::selector::{self, Inputs, Lane, Origin, StageKind, Works};
use crate::spec::{FreezeSet, ModelParams, PointConfig, RewardParams, SweepSpec};
use crate::store::{Leaks, SignalHealth};
use crate::text::thousands;

/// The inputs of a sweep, read and checked, and its plan.
pub struct Session {
    pub spec: SweepSpec,
    pub dataset: Dataset,
    pub logged: Option<Logged>,
    /// Where a judge is asked while the sweep runs.
    pub live: Option<Live>,
    pub plan: Plan,
    /// What the plan's works are.
    works: Works,
    /// Content hashes by key, for provenance.
    pub inputs: BTreeMap<String, String>,
    /// Length S of a trajectory.
    length: usize,
    /// Per training group, all trajectories' labels.
    labels: Vec<Vec<u32>>,
    rewards: Vec<(RewardParams, Arc<RewardTable>)>,
    /// Warm-start weights by content hash.
    starts: HashMap<String, Weights>,
}

impl Session {
    /// Reads and checks everything `spec` refers to, and plans.
    ///
    /// # Errors
    /// Whatever is wrong with an input; nothing has been written then.
    pub fn load(spec: SweepSpec, share: bool) -> Result<Self, RunError> {
        let first = spec.points.first().ok_or(RunError::NoPoints)?;
        let dataset = data::load(&first.config.data)?;
        let mut inputs = BTreeMap::from([
            ("data.trajectories".to_owned(), hash_file(&first.config.data.trajectories)?),
            ("data.embeddings".to_owned(), hash_file(&first.config.data.embeddings)?),
            ("data".to_owned(), dataset.digest.clone()),
        ]);
        let (mut logged, mut live) = (None, None);
        if let Some(eval) = &spec.eval {
            let files =
                [("eval.logged", &eval.logged), ("eval.queries", &eval.queries), ("eval.items", &eval.items)];
            for (key, path) in files.into_iter().filter(|(_, path)| !path.as_os_str().is_empty()) {
                inputs.insert(key.to_owned(), hash_file(path)?);
            }
            match eval.is_live() {
                true => live = Some(Live::load(eval, &dataset)?),
                false => logged = Some(Logged::load(eval, &dataset.embeddings)?),
            }
        }
        let rewards = reward_tables(&spec, &dataset)?;
        let (starts, hashes) = warm_starts(&spec, dataset.embeddings.dim)?;
        for (path, content) in &hashes {
            inputs.insert(format!("train.init:{}", path.display()), content.clone());
        }
        let facts = Inputs {
            dim: dataset.embeddings.dim,
            data: dataset.digest.clone(),
            train_groups: dataset.train.len(),
            checkpoints: hashes,
        };
        let (plan, works) = selector::plan(&spec.points, &facts, share);
        let labels = dataset.train.iter().map(labels_of).collect();
        let length = dataset.steps();
        Ok(Self { spec, dataset, logged, live, plan, works, inputs, length, labels, rewards, starts })
    }

    /// What the stage at `stage` of the plan does.
    pub fn kind(&self, stage: usize) -> &StageKind {
        self.works.kind(self.plan.stages[stage].work)
    }

    /// The model that the stage at `stage` trains.
    pub fn model(&self, stage: usize) -> &ModelParams {
        self.works.model(self.plan.stages[stage].work)
    }

    /// What the stages have equal that train together with the one at `stage`.
    pub fn lane(&self, stage: usize) -> Lane {
        self.works.lane(self.plan.stages[stage].work)
    }

    /// The shape of a point's model.
    pub fn layout(&self, model: &ModelParams) -> Layout {
        Layout::new(Shape::new(self.dataset.embeddings.dim, model))
    }

    /// What a cohort has in common.
    pub fn engine<'a>(&'a self, model: &'a ModelParams, freeze: &'a FreezeSet) -> EngineParams<'a> {
        EngineParams {
            shape: Shape::new(self.dataset.embeddings.dim, model),
            model,
            freeze,
            embeddings: &self.dataset.embeddings,
            train: &self.dataset.train,
            validation: &self.dataset.validation,
            labels: &self.labels,
            length: self.length,
        }
    }

    /// The rewards under one `[reward]`; every one of the sweep's points is there.
    pub fn rewards(&self, params: &RewardParams) -> Arc<RewardTable> {
        let found = self.rewards.iter().find(|(known, _)| known == params);
        found.map(|(_, table)| Arc::clone(table)).unwrap_or_default()
    }

    /// Initial weights of an `Init` stage.
    pub fn initial_weights(&self, kind: &StageKind) -> Weights {
        match kind {
            StageKind::Init { model, origin: Origin::Fresh { seed }, .. } => {
                let layout = self.layout(model);
                layout.name_arrays(&fresh_weights(&layout, *seed))
            }
            StageKind::Init { origin: Origin::Checkpoint { content }, .. } => {
                self.starts.get(content).cloned().unwrap_or_default()
            }
            StageKind::Rce { .. } | StageKind::Grpo { .. } => Weights::new(),
        }
    }

    /// The queries that points are evaluated on; none without `[eval]`.
    pub fn queries(&self) -> &[EvalQuery] {
        match (&self.logged, &self.live) {
            (Some(logged), _) => logged.queries(),
            (None, Some(live)) => live.queries(),
            (None, None) => &[],
        }
    }

    /// Identity of the evaluation: what decides selections and scores besides the weights. `None` without one.
    pub fn evaluation(&self) -> Option<String> {
        let eval = self.spec.eval.as_ref()?;
        let source = match &self.live {
            Some(live) => Some(live.hash()),
            None => self.inputs.get("eval.logged").cloned(),
        };
        let what = (&eval.shots, &eval.samples, eval.score, source);
        let canonical = serde_json::to_vec(&what).expect("numbers, lists and names always become JSON");
        Some(blake3::hash(&canonical).to_hex()[..32].to_owned())
    }

    /// Health of the reward signal under the first point's rewards.
    pub fn health(&self) -> Option<SignalHealth> {
        self.spec.points.first().map(|point| data::signal_health(&self.dataset, &point.config.reward))
    }

    /// Evaluation queries that training will see.
    pub fn leaks(&self) -> Leaks {
        leaks(&self.dataset, self.queries())
    }

    /// What a careful person wants to know before training starts: rewards RCE uses, what is frozen and how
    /// much is trained, where the weights come from.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.spec.warnings.clone();
        let configs = || self.spec.points.iter().map(|point| &point.config);
        let rce: Vec<&str> =
            distinct(configs().filter(|c| c.train.rce_epochs > 0).map(|c| match c.train.rce_reward {
                crate::spec::RewardForm::Raw => "raw",
                crate::spec::RewardForm::Normalized => "normalized",
            }));
        if !rce.is_empty() {
            notices.push(format!("RCE weighs trajectories by {} rewards", rce.join(" and by ")));
        }
        notices.push(format!("weights: {}", distinct(configs().map(origin_text)).join("; ")));
        let freezes = distinct(configs().filter(|c| c.train.grpo_epochs > 0).map(|c| {
            let layout = self.layout(&c.model);
            let (some, all) = (layout.trainable(&c.train.freeze), layout.total);
            format!(
                "GRPO trains {} / {} parameters ({:.1}%), frozen: {}",
                thousands(some),
                thousands(all),
                100.0 * some as f64 / all as f64,
                c.train.freeze
            )
        }));
        notices.extend(freezes);
        if let Some(health) = self.health()
            && 2 * health.flat_groups > health.groups
        {
            notices.push(format!(
                "warning: {} of {} training groups have equal rewards throughout and teach GRPO nothing (see `sweep data check`)",
                health.flat_groups, health.groups
            ));
        }
        notices.extend(self.leaks().sentences().into_iter().map(|found| format!("warning: {found}")));
        notices
    }
}

fn origin_text(config: &PointConfig) -> String {
    match &config.train.init {
        None => "fresh, drawn from the seed".to_owned(),
        Some(path) => format!("from `{}`", path.display()),
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

fn labels_of(group: &data::Group) -> Vec<u32> {
    group.trajectories.iter().flat_map(|trajectory| trajectory.pointer.iter().copied()).collect()
}

fn reward_tables(
    spec: &SweepSpec,
    dataset: &Dataset,
) -> Result<Vec<(RewardParams, Arc<RewardTable>)>, RunError> {
    let mut tables: Vec<(RewardParams, Arc<RewardTable>)> = Vec::new();
    for point in &spec.points {
        let params = &point.config.reward;
        if tables.iter().any(|(known, _)| known == params) {
            continue;
        }
        data::check_rewards(dataset, params)?;
        let mut table = RewardTable::default();
        for group in &dataset.train {
            let rewards = data::rewards(group, params);
            table.raw.push(rewards.raw);
            table.normalized.push(rewards.normalized);
        }
        table.validation = dataset.validation.iter().map(|group| data::rewards(group, params).raw).collect();
        tables.push((params.clone(), Arc::new(table)));
    }
    Ok(tables)
}

/// Weights by content hash, and the content hash of every path.
type WarmStarts = (HashMap<String, Weights>, HashMap<PathBuf, String>);

/// Reads every warm-start checkpoint once and checks that it fits the models that use it.
fn warm_starts(spec: &SweepSpec, dim: usize) -> Result<WarmStarts, RunError> {
    let (mut starts, mut hashes) = (HashMap::new(), HashMap::new());
    let mut checked: Vec<(&PathBuf, &ModelParams)> = Vec::new();
    for point in &spec.points {
        let Some(path) = &point.config.train.init else { continue };
        if !hashes.contains_key(path) {
            let weights = checkpoint::read(path)?.weights;
            if let Some((name, at, value)) = checkpoint::not_finite(&weights) {
                let cause = format!("its parameter `{name}` holds {value} (value {at}, counted from 0)");
                return Err(RunError::NotFinite { path: path.clone(), cause });
            }
            // The weights' hash, not the file's: the same weights in another format are the same start.
            let content = checkpoint::content_hash(&weights);
            hashes.insert(path.clone(), content.clone());
            starts.insert(content, weights);
        }
        let pair = (path, &point.config.model);
        if !checked.contains(&pair) {
            let layout = Layout::new(Shape::new(dim, pair.1));
            let fits = layout.flatten(&starts[&hashes[path]]);
            fits.map_err(|cause| RunError::WarmStart { path: path.clone(), cause })?;
            checked.push(pair);
        }
    }
    Ok((starts, hashes))
}

/// Content hash (blake3, hex) of a file.
pub(super) fn hash_file(path: &Path) -> Result<String, RunError> {
    let mut hasher = blake3::Hasher::new();
    let mut file = fs_err::File::open(path)?;
    hasher.update_reader(&mut file)?;
    Ok(hasher.finalize().to_hex().to_string())
}
