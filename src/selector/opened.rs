//! The selector behind the contract: its inputs, read and checked, and its works.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::chains::StageWorks;
use super::data::{self, Dataset};
use super::evaluate::{EvalQuery, Live, Logged, leaks, references};
use super::learn::{
    EngineParams, Layout, MemberEvent, MemberJob, MemberParams, Progress, Query, RewardTable, Shape, State,
    fresh_weights, members_that_fit, scores_of, train_cohort,
};
use super::notices::Notices;
use super::params::ModelParams;
use super::reward::RewardParams;
use super::stage::{GRPO, Lane, Origin, RCE, StageKind};
use crate::checkpoint::{self, Array, Facts, Frozen, Weights};
use crate::device::Device;
use crate::experiment::{
    Asked, Cancel, Chains, CohortEnd, Continuation, Examined, Flaw, Job, Misfit, Opened, Parameters, Report,
    Snapshot,
};
use crate::figure::EpochMetrics;
use crate::plan::Link;
use crate::record::{Leaks, ReferenceResult, SignalHealth};
use crate::selector::{FreezeSet, ParamGroup};
use crate::spec::EvalParams;

/// Training groups walked through per measurement.
const STEPS: usize = 24;

/// The inputs of a sweep, read and checked, and what the plan's works are.
pub struct Inputs {
    pub dataset: Dataset,
    pub works: StageWorks,
    /// Of all points.
    pub chains: Vec<Vec<Link>>,
    pub notices: Notices,
    /// Of all points.
    pub rewards: Vec<(RewardParams, Arc<RewardTable>)>,
    /// Warm-start weights by content hash.
    pub starts: HashMap<String, Weights>,
    pub evaluation: Evaluation,
    /// Content hashes by key.
    pub hashes: BTreeMap<String, String>,
}

/// The selector, ready to train.
pub struct Ready {
    pub inputs: Inputs,
    /// Length S of a trajectory.
    length: usize,
    /// Per training group, all trajectories' labels.
    labels: Vec<Vec<u32>>,
}

/// How points are evaluated: with logged sequences or by a judge that is asked; neither without `[eval]`.
pub struct Evaluation {
    pub params: Option<EvalParams>,
    pub logged: Option<Logged>,
    pub live: Option<Live>,
}

impl Evaluation {
    /// The queries that points are evaluated on.
    pub fn queries(&self) -> &[EvalQuery] {
        match (&self.logged, &self.live) {
            (Some(logged), _) => logged.queries(),
            (None, Some(live)) => live.queries(),
            (None, None) => &[],
        }
    }
}

impl Ready {
    /// Over checked inputs.
    pub fn new(inputs: Inputs) -> Self {
        let labels_of = |group: &data::Group| {
            group.trajectories.iter().flat_map(|trajectory| trajectory.pointer.iter().copied()).collect()
        };
        let labels = inputs.dataset.train.iter().map(labels_of).collect();
        Self { length: inputs.dataset.steps(), labels, inputs }
    }

    /// The shape of a model.
    pub fn layout(&self, model: &ModelParams) -> Layout {
        Layout::new(Shape::new(self.inputs.dataset.embeddings.dim, model))
    }

    fn layout_of(&self, work: usize) -> Layout {
        self.layout(self.inputs.works.model(work))
    }

    /// What a cohort has in common.
    fn engine<'a>(&'a self, model: &'a ModelParams, freeze: &'a FreezeSet) -> EngineParams<'a> {
        EngineParams {
            shape: Shape::new(self.inputs.dataset.embeddings.dim, model),
            model,
            freeze,
            embeddings: &self.inputs.dataset.embeddings,
            train: &self.inputs.dataset.train,
            validation: &self.inputs.dataset.validation,
            labels: &self.labels,
            length: self.length,
        }
    }

    /// The rewards under one `[reward]`; every one of the sweep's points is there.
    fn rewards(&self, params: &RewardParams) -> Arc<RewardTable> {
        let found = self.inputs.rewards.iter().find(|(known, _)| known == params);
        found.map(|(_, table)| Arc::clone(table)).unwrap_or_default()
    }

    /// What a work trains, and with which rewards; `None` where it trains nothing.
    fn member(&self, work: usize) -> Option<(MemberParams, Arc<RewardTable>)> {
        match self.inputs.works.kind(work) {
            StageKind::Init { .. } => None,
            StageKind::Rce { reward, params, .. } => {
                Some((MemberParams::Rce(params.clone()), self.rewards(reward)))
            }
            StageKind::Grpo { reward, params, .. } => {
                Some((MemberParams::Grpo(params.clone()), self.rewards(reward)))
            }
        }
    }

    /// A job as the trainer takes it.
    fn member_job(&self, job: &Job, layout: &Layout, known: &mut Flats) -> Result<Option<MemberJob>, Misfit> {
        let Some((params, rewards)) = self.member(job.work) else { return Ok(None) };
        let misfit = |cause: String| Misfit { id: job.id, cause };
        let mut flat = |weights: &Arc<Weights>| known.of(weights, layout).map_err(misfit);
        let start = flat(&job.start)?;
        let reference = job.reference.as_ref().map_or_else(|| Ok(Arc::clone(&start)), &mut flat)?;
        let progress = match &job.resume {
            None => None,
            Some((weights, state)) => {
                let parameters = flat(weights)?.to_vec();
                let frozen = self.inputs.works.kind(job.work).frozen();
                Some(progress_of(state.clone(), (layout, &frozen), parameters).map_err(misfit)?)
            }
        };
        let (id, last_epoch) = (job.id, job.last_epoch);
        Ok(Some(MemberJob { id, params, rewards, start, reference, last_epoch, progress }))
    }
}

/// Weights as the trainer takes them: those that are one allocation stay one.
#[derive(Default)]
struct Flats(Vec<(Arc<Weights>, Arc<Vec<f32>>)>);

impl Flats {
    fn of(&mut self, weights: &Arc<Weights>, layout: &Layout) -> Result<Arc<Vec<f32>>, String> {
        if let Some((_, flat)) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, weights)) {
            return Ok(Arc::clone(flat));
        }
        let flat = Arc::new(layout.flatten(weights)?);
        self.0.push((Arc::clone(weights), Arc::clone(&flat)));
        Ok(flat)
    }
}

impl Opened for Ready {
    fn chains(&self) -> Chains {
        self.inputs.works.told(self.inputs.chains.clone())
    }

    fn inputs(&self) -> &BTreeMap<String, String> {
        &self.inputs.hashes
    }

    fn steps(&self) -> u64 {
        self.inputs.dataset.train.len() as u64
    }

    fn parameters(&self, work: usize) -> Parameters {
        let layout = self.layout_of(work);
        let trainable = match self.inputs.works.kind(work) {
            StageKind::Init { .. } => 0,
            kind => layout.trainable(&kind.frozen()),
        };
        Parameters { trainable, total: layout.total }
    }

    fn initial(&self, work: usize) -> Weights {
        match self.inputs.works.kind(work) {
            StageKind::Init { model, origin: Origin::Fresh { seed }, .. } => {
                let layout = self.layout(model);
                layout.name_arrays(&fresh_weights(&layout, *seed))
            }
            StageKind::Init { origin: Origin::Checkpoint { content }, .. } => {
                self.inputs.starts.get(content).cloned().unwrap_or_default()
            }
            StageKind::Rce { .. } | StageKind::Grpo { .. } => Weights::new(),
        }
    }

    fn check(&self, work: usize, state: Continuation) -> Result<(), String> {
        let layout = self.layout_of(work);
        let parameters = vec![0.0; layout.total];
        progress_of(state, (&layout, &self.inputs.works.kind(work).frozen()), parameters).map(drop)
    }

    fn train(
        &self,
        jobs: &[Job],
        device: Device,
        cancel: &Cancel,
        report: &mut dyn FnMut(Vec<Report>) -> bool,
    ) -> Result<CohortEnd, Misfit> {
        let Some(first) = jobs.first() else { return Ok(CohortEnd::Finished) };
        let (model, freeze) =
            (self.inputs.works.model(first.work), self.inputs.works.kind(first.work).frozen());
        let layout = Arc::new(self.layout(model));
        let mut known = Flats::default();
        let mut members = Vec::with_capacity(jobs.len());
        for job in jobs {
            members.extend(self.member_job(job, &layout, &mut known)?);
        }
        drop(known);
        let reported = |event: MemberEvent| match event {
            MemberEvent::Epoch { id, progress, metrics, stopped, .. } => {
                let (layout, freeze) = (Arc::clone(&layout), freeze.clone());
                Report::Epoch { id, metrics, stopped, snapshot: Box::new(Taken { progress, layout, freeze }) }
            }
            MemberEvent::Diverged { id, epoch, cause } => {
                Report::Diverged { id, epoch, cause: cause.to_string() }
            }
        };
        let mut events =
            |events: Vec<MemberEvent>| report(events.into_iter().map(reported).collect::<Vec<Report>>());
        Ok(train_cohort(self.engine(model, &freeze), device, &members, cancel, &mut events))
    }

    /// From [`STEPS`] steps that start at the initial weights. Validation and checkpoints, a few percent of a run, are not
    /// counted: part of what they cost is paid once, and would weigh too much in so few steps.
    fn measure(&self, works: &[(usize, usize)], device: Device) -> Option<f64> {
        let (first, _) = *works.first()?;
        let (model, freeze) = (self.inputs.works.model(first), self.inputs.works.kind(first).frozen());
        let layout = self.layout(model);
        let mut starts: HashMap<usize, Arc<Vec<f32>>> = HashMap::new();
        let job = |(id, &(work, origin)): (usize, &(usize, usize))| {
            let (params, rewards) = self.member(work)?;
            let flat = || Arc::new(layout.flatten(&self.initial(origin)).unwrap_or_default());
            let start = Arc::clone(starts.entry(origin).or_insert_with(flat));
            let reference = Arc::clone(&start);
            Some(MemberJob { id, params, rewards, start, reference, last_epoch: 1, progress: None })
        };
        let jobs: Vec<MemberJob> = works.iter().enumerate().filter_map(job).collect();
        let params = self.engine(model, &freeze);
        // The first steps touch fresh memory and start the worker threads: they are not what most steps cost.
        seconds(params, device, &jobs, 2);
        let steps = STEPS.min(params.train.len());
        let seconds = seconds(params, device, &jobs, steps)?;
        Some(seconds / (steps * jobs.len()) as f64)
    }

    fn room(&self, work: usize, device: Device) -> usize {
        let freeze = self.inputs.works.kind(work).frozen();
        members_that_fit(&self.engine(self.inputs.works.model(work), &freeze), device)
    }

    fn data_bytes(&self) -> u64 {
        let data = &self.inputs.dataset;
        let queries = self.inputs.evaluation.queries().iter().map(|query| query.pool.len() * 4 + 16_384);
        let groups = data.groups().map(|group| group.pool.len() * 4 + group.trajectories.len() * 160);
        (data.embeddings.values.len() * 4 + groups.sum::<usize>() + queries.sum::<usize>()) as u64
    }

    /// Members keep parameters and two moments each; starts, frozen projections and, per core, the work space of a
    /// step and of an evaluation come on top.
    fn training_bytes(&self, work: usize, jobs: usize, starts: usize) -> u64 {
        let Lane { model, dim, freeze, .. } = self.inputs.works.lane(work);
        let total = self.layout(&model).total;
        let rows = self.inputs.dataset.embeddings.rows;
        let pool = self.inputs.dataset.groups().map(|group| group.pool.len()).max().unwrap_or(0);
        let shared = if freeze.contains(ParamGroup::InputProj) { rows * model.hidden } else { 0 };
        let cores = rayon::current_num_threads().min(jobs.max(1));
        let per_core = total + pool * (3 * model.hidden + dim) + 2 * rows * model.hidden;
        // The member that is being reported is there twice: as it trains and as it is written.
        let values = 3 * total * (jobs + 2) + starts * (total + shared) + cores * per_core;
        4 * values as u64
    }

    fn about(&self, work: usize) -> String {
        match self.inputs.works.kind(work) {
            StageKind::Init { origin: Origin::Fresh { seed }, .. } => format!("fresh weights of seed {seed}"),
            StageKind::Init { origin: Origin::Checkpoint { content }, .. } => {
                format!("checkpoint {}", checkpoint::short(content))
            }
            kind if kind.frozen().is_empty() => kind.name().to_owned(),
            kind => format!("{}, {} frozen", kind.name(), kind.frozen()),
        }
    }

    fn notices(&self) -> Vec<String> {
        let health = data::signal_health(&self.inputs.dataset, &self.inputs.notices.reward);
        self.inputs.notices.sentences(|model| self.layout(model), &health, &self.leaks())
    }

    /// Under the first point's rewards.
    fn health(&self) -> Option<SignalHealth> {
        Some(data::signal_health(&self.inputs.dataset, &self.inputs.notices.reward))
    }

    fn leaks(&self) -> Leaks {
        leaks(&self.inputs.dataset, self.inputs.evaluation.queries())
    }

    fn asked(&self) -> Option<&dyn Asked> {
        self.inputs.evaluation.live.as_ref().map(|live| live as &dyn Asked)
    }

    /// Numbers of demonstrations.
    fn columns(&self) -> Vec<usize> {
        self.inputs.evaluation.params.as_ref().map_or_else(Vec::new, |params| params.shots.clone())
    }

    fn evaluation(&self) -> Option<String> {
        let Evaluation { params, live, .. } = &self.inputs.evaluation;
        let eval = params.as_ref()?;
        let source = match live {
            Some(live) => Some(live.hash()),
            None => self.inputs.hashes.get("eval.logged").cloned(),
        };
        let what = (&eval.shots, &eval.samples, eval.score, source);
        let canonical = serde_json::to_vec(&what).expect("numbers, lists and names always become JSON");
        Some(blake3::hash(&canonical).to_hex()[..32].to_owned())
    }

    fn inputs_examined(&self) -> usize {
        self.inputs.evaluation.queries().len()
    }

    fn examine(&self, work: usize, weights: &Weights, device: Device) -> Result<Examined, Flaw> {
        let Evaluation { logged, live, .. } = &self.inputs.evaluation;
        let queries: Vec<Query> = (self.inputs.evaluation.queries().iter())
            .map(|query| Query { row: query.query_id as usize, pool: &query.pool })
            .collect();
        if queries.is_empty() {
            return Ok(Examined::Scored(BTreeMap::new()));
        }
        let model = self.inputs.works.model(work);
        let layout = self.layout(model);
        let flat = layout.flatten(weights).map_err(Flaw::Misfit)?;
        let logits =
            scores_of(device, &layout, &flat, &self.inputs.dataset.embeddings, &queries, model.temperature);
        let examined = match (logged, live) {
            (Some(logged), _) => logged.select(&logits).map(Examined::Scored),
            (None, Some(live)) => live.choose(&logits).map(Examined::ToAsk),
            (None, None) => Ok(Examined::Scored(BTreeMap::new())),
        };
        examined.map_err(|cause| Flaw::NotFinite(cause.to_string()))
    }

    fn references(&self) -> Vec<ReferenceResult> {
        let logged = self.inputs.evaluation.logged.as_ref();
        logged.map_or_else(Vec::new, |logged| references(logged, &self.inputs.dataset.embeddings))
    }

    fn facts(&self, chain: &[usize], last: Option<&EpochMetrics>) -> Facts {
        let mut facts = Facts {
            phase: Some(checkpoint::Phase::INIT),
            config: Some(self.config_of(chain)),
            ..Facts::default()
        };
        match chain.first().map(|work| self.inputs.works.kind(*work)) {
            None | Some(StageKind::Init { .. }) => {}
            Some(StageKind::Rce { data, params, .. }) => {
                facts.phase = Some(RCE);
                facts.data = Some(data.clone());
                facts.lr = Some(params.lr);
                facts.frozen = Some(Frozen::default());
            }
            Some(StageKind::Grpo { data, params, .. }) => {
                facts.phase = Some(GRPO);
                facts.data = Some(data.clone());
                facts.lr = Some(params.lr);
                facts.kl_beta = Some(params.kl_beta);
                facts.frozen =
                    Some(Frozen(params.freeze.0.iter().map(|group| group.name().to_owned()).collect()));
            }
        }
        facts.kl_beta_end = last.and_then(|metrics| metrics.get("beta"));
        facts
    }
}

impl Ready {
    /// The configuration of a whole chain, as JSON.
    fn config_of(&self, chain: &[usize]) -> serde_json::Value {
        let mut config = serde_json::Map::new();
        for &work in chain {
            match self.inputs.works.kind(work) {
                StageKind::Init { model, origin, .. } => {
                    config.insert("model".into(), to_json(model));
                    config.insert("origin".into(), to_json(origin));
                }
                StageKind::Rce { reward, params, .. } => {
                    config.insert("reward".into(), to_json(reward));
                    config.insert("rce".into(), to_json(params));
                }
                StageKind::Grpo { reward, reference, params, .. } => {
                    config.insert("reward".into(), to_json(reward));
                    config.insert("reference".into(), to_json(reference));
                    config.insert("grpo".into(), to_json(params));
                }
            }
        }
        config.into()
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn seconds(params: EngineParams, device: Device, jobs: &[MemberJob], steps: usize) -> Option<f64> {
    let steps = steps.min(params.train.len());
    let part = EngineParams {
        train: &params.train[..steps],
        labels: &params.labels[..steps],
        validation: &[],
        ..params
    };
    let mut seconds = None;
    train_cohort(part, device, jobs, &Cancel::default(), &mut |events| {
        if let Some(MemberEvent::Epoch { metrics, .. }) = events.last() {
            seconds = metrics.get("seconds");
        }
        true
    });
    seconds
}

/// A member after an epoch.
struct Taken {
    progress: Progress,
    layout: Arc<Layout>,
    freeze: FreezeSet,
}

impl Snapshot for Taken {
    fn weights(&self) -> Weights {
        self.layout.name_arrays(&self.progress.state.parameters)
    }

    fn state(self: Box<Self>) -> Continuation {
        let Self { progress, layout, freeze } = *self;
        let State { parameters: _, first, second, steps } = progress.state;
        let array = |values: Vec<f32>| {
            let values = layout.pack(&freeze, values);
            Array { shape: vec![values.len()], values }
        };
        Continuation {
            epoch: progress.epoch,
            tensors: [("first".to_owned(), array(first)), ("second".to_owned(), array(second))].into(),
            numbers: [
                ("steps".to_owned(), steps),
                ("beta".to_owned(), progress.beta.to_bits()),
                ("best_val_loss".to_owned(), progress.best_val_loss.to_bits()),
                ("stale_epochs".to_owned(), u64::from(progress.stale_epochs)),
            ]
            .into(),
        }
    }
}

/// [`Taken::state`] read back; `parameters` are those of the epoch's checkpoint.
///
/// # Errors
/// What is missing or does not fit, in words.
fn progress_of(
    mut state: Continuation,
    (layout, frozen): (&Layout, &FreezeSet),
    parameters: Vec<f32>,
) -> Result<Progress, String> {
    let strange = || "its moments are not those of the weights beside it".to_owned();
    let mut moments = |name: &str| layout.unpack(frozen, state.take(name)?).ok_or_else(strange);
    let (first, second) = (moments("first")?, moments("second")?);
    let steps = state.number("steps")?;
    Ok(Progress {
        epoch: state.epoch,
        state: State { parameters, first, second, steps },
        beta: f64::from_bits(state.number("beta")?),
        best_val_loss: f64::from_bits(state.number("best_val_loss")?),
        stale_epochs: state.number("stale_epochs")? as u32,
    })
}
