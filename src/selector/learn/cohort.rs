//! The cohort trainer: one loop for a single run and for many at once.

use std::sync::Arc;

use rayon::prelude::*;

use super::engine::{Engine, scores_of};
use super::host::State;
use super::loss::{advantages, entropy, rce_weights, sequence_log_probs, top_k};
use super::random::{Purpose, Stream};
use super::task::{Diverged, EpochTask, GrpoGroup, Objective, Start, StepRecord};
use super::{EngineParams, EpochResult, Layout, Phase, Query};
use crate::device::Device;
use crate::experiment::{Cancel, CohortEnd};
use crate::figure::EpochMetrics;
use crate::finite::Finite;
use crate::selector::FIGURES;
use crate::selector::RewardForm;
use crate::selector::{GrpoParams, Optimizer, RceParams};

/// Rewards of a data set under one `[reward]`, per group and trajectory.
#[derive(Clone, Debug, Default)]
pub struct RewardTable {
    /// Training groups.
    pub raw: Vec<Vec<f64>>,
    pub normalized: Vec<Vec<f64>>,
    /// Validation groups, raw.
    pub validation: Vec<Vec<f64>>,
}

/// What a member trains.
#[derive(Clone, Debug)]
pub enum MemberParams {
    Rce(RceParams),
    Grpo(GrpoParams),
}

impl MemberParams {
    /// The phase these parameters are for.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Rce(_) => Phase::Rce,
            Self::Grpo(_) => Phase::Grpo,
        }
    }

    fn seed_and_shuffle(&self) -> (u64, bool) {
        match self {
            Self::Rce(params) => (params.seed, params.shuffle),
            Self::Grpo(params) => (params.seed, params.shuffle),
        }
    }

    fn early_stop(&self) -> Option<u32> {
        match self {
            Self::Rce(params) => params.early_stop,
            Self::Grpo(params) => params.early_stop,
        }
    }

    fn optimizer(&self) -> Optimizer {
        match self {
            Self::Rce(params) => params.optimizer(),
            Self::Grpo(params) => params.optimizer(),
        }
    }
}

/// One branch to train.
#[derive(Clone, Debug)]
pub struct MemberJob {
    /// The caller's number for it.
    pub id: usize,
    pub params: MemberParams,
    pub rewards: Arc<RewardTable>,
    /// Parameters the stage starts from, flat; frozen ones keep these values. Members with equal starts
    /// should share the allocation.
    pub start: Arc<Vec<f32>>,
    /// GRPO: parameters of the reference policy.
    pub reference: Arc<Vec<f32>>,
    /// Train up to and including this epoch (1-based).
    pub last_epoch: u32,
    /// Where an earlier run stopped.
    pub progress: Option<Progress>,
}

impl MemberJob {
    /// Where the member begins.
    fn begin(&self) -> Start<'_> {
        Start { weights: &self.start, state: self.progress.as_ref().map(|progress| &progress.state) }
    }
}

/// A member's state after a finished epoch: all that the next epoch depends on.
#[derive(Clone, Debug)]
pub struct Progress {
    /// 1-based.
    pub epoch: u32,
    pub state: State,
    /// KL_BETA at the end of the epoch.
    pub beta: f64,
    /// Lowest val_loss so far, and epochs since (early stopping).
    pub best_val_loss: f64,
    pub stale_epochs: u32,
}

/// What the trainer tells its caller.
#[derive(Debug)]
pub enum MemberEvent {
    /// A finished epoch: state and figures.
    Epoch {
        id: usize,
        progress: Progress,
        metrics: EpochMetrics,
        steps: Vec<StepRecord>,
        /// The member has stopped early: there will be no further epoch.
        stopped: bool,
    },
    /// A number was not finite; the member has left.
    Diverged { id: usize, epoch: u32, cause: Diverged },
}

/// Most members whose finished epoch is reported in one call: enough to keep the cores of a large machine busy
/// with writing, few enough that their copies (6 MB each at the lab's size) do not add up.
const REPORTED_AT_ONCE: usize = 16;

/// Trains all `jobs` (equal phase, equal next epoch) on `device` to their last epochs. `report` is called
/// after every epoch, for up to [`REPORTED_AT_ONCE`] members at a time, and returns whether to go on.
pub fn train_cohort(
    params: EngineParams,
    device: Device,
    jobs: &[MemberJob],
    cancel: &Cancel,
    report: &mut dyn FnMut(Vec<MemberEvent>) -> bool,
) -> CohortEnd {
    let Some(first) = jobs.first() else { return CohortEnd::Finished };
    let phase = first.params.phase();
    let mut epoch = first.progress.as_ref().map_or(1, |progress| progress.epoch + 1);
    let references = reference_log_probs(&params, device, jobs);
    let starts: Vec<Start> = jobs.iter().map(MemberJob::begin).collect();
    let mut engine = Engine::new(params, device, &starts);
    let mut members: Vec<MemberProgress> = jobs.iter().map(MemberProgress::new).collect();
    while members.iter().zip(jobs).any(|(member, job)| member.wants(job, epoch)) {
        let began = std::time::Instant::now();
        let kept: Vec<Vec<GrpoGroup>> = jobs
            .iter()
            .zip(&references)
            .map(|(job, reference)| keep_top(&params, job, reference, epoch))
            .collect();
        let tasks: Vec<Option<EpochTask>> = members
            .iter()
            .zip(jobs)
            .zip(&kept)
            .map(|((member, job), kept)| {
                member.wants(job, epoch).then(|| task(&params, job, kept, epoch, member.beta))
            })
            .collect();
        let Some(results) = engine.train_epoch((phase, epoch), &tasks, cancel) else {
            return CohortEnd::Cancelled;
        };
        let finished = |&member: &usize| tasks[member].is_some() && results[member].is_ok();
        let trained: Vec<usize> = (0..jobs.len()).filter(finished).collect();
        let scores = engine.validation_scores(&trained);
        let seconds = began.elapsed().as_secs_f64();
        let ends: Vec<EpochEnd> = (results.iter().enumerate())
            .filter_map(|(index, result)| {
                let task = tasks[index].as_ref()?;
                Some(EpochEnd { index, job: &jobs[index], task, kept: &kept[index], epoch, seconds, result })
            })
            .collect();
        let scores_of = |end: &EpochEnd| trained.iter().position(|&member| member == end.index);
        let figures: Vec<Result<EpochMetrics, Diverged>> = ends
            .par_iter()
            .map(|end| end.metrics(&params, scores_of(end).map(|at| &scores[at][..])))
            .collect();
        for (ends, figures) in ends.chunks(REPORTED_AT_ONCE).zip(figures.chunks(REPORTED_AT_ONCE)) {
            if !report(events(&params, (ends, figures), &mut engine, &mut members)) {
                return CohortEnd::Cancelled;
            }
        }
        epoch += 1;
    }
    CohortEnd::Finished
}

/// Moves members past a finished epoch, or out of the cohort, and says what there is to report.
fn events(
    params: &EngineParams,
    (ends, figures): (&[EpochEnd], &[Result<EpochMetrics, Diverged>]),
    engine: &mut Engine,
    members: &mut [MemberProgress],
) -> Vec<MemberEvent> {
    let indices: Vec<usize> = ends.iter().map(|end| end.index).collect();
    let states = engine.states_of(&indices);
    let one = |((end, figures), state): ((&EpochEnd, &Result<EpochMetrics, Diverged>), State)| {
        let member = &mut members[end.index];
        // An update by the very last step shows in the weights alone where nothing is validated.
        let whole = state.parameters.iter().all(|value| value.is_finite());
        let outcome = figures.clone().and_then(|metrics| match whole {
            true => Ok(metrics),
            false => Err(end.broken(params, "a weight")),
        });
        match outcome {
            Ok(metrics) => member.event(end, state, metrics),
            Err(cause) => {
                member.left = true;
                MemberEvent::Diverged { id: end.job.id, epoch: end.epoch, cause }
            }
        }
    };
    ends.iter().zip(figures).zip(states).map(one).collect()
}

/// What changes from epoch to epoch besides the engine's state.
struct MemberProgress {
    beta: f64,
    best_val_loss: f64,
    stale_epochs: u32,
    /// Stopped early or diverged.
    left: bool,
}

impl MemberProgress {
    fn new(job: &MemberJob) -> Self {
        let fresh_beta = match &job.params {
            MemberParams::Rce(_) => 0.0,
            MemberParams::Grpo(params) => params.kl_beta,
        };
        let (beta, best_val_loss, stale_epochs) = job
            .progress
            .as_ref()
            .map_or((fresh_beta, f64::INFINITY, 0), |p| (p.beta, p.best_val_loss, p.stale_epochs));
        let left = job.params.early_stop().is_some_and(|patience| stale_epochs >= patience);
        Self { beta, best_val_loss, stale_epochs, left }
    }

    fn wants(&self, job: &MemberJob, epoch: u32) -> bool {
        !self.left && epoch <= job.last_epoch
    }

    fn advance(&mut self, job: &MemberJob, metrics: &EpochMetrics) {
        self.beta = metrics.get("beta").unwrap_or(0.0);
        match metrics.get("val_loss") {
            Some(loss) if loss < self.best_val_loss => (self.best_val_loss, self.stale_epochs) = (loss, 0),
            _ => self.stale_epochs += 1,
        }
        self.left = job.params.early_stop().is_some_and(|patience| self.stale_epochs >= patience);
    }

    /// Moves past a finished epoch and says what there is to report of it.
    fn event(&mut self, end: &EpochEnd, state: State, metrics: EpochMetrics) -> MemberEvent {
        self.advance(end.job, &metrics);
        let progress = Progress {
            epoch: metrics.epoch,
            state,
            beta: self.beta,
            best_val_loss: self.best_val_loss,
            stale_epochs: self.stale_epochs,
        };
        let steps = end.result.clone().unwrap_or_default();
        MemberEvent::Epoch { id: end.job.id, progress, metrics, steps, stopped: self.left }
    }
}

/// Log-probabilities per training group and trajectory.
type LogProbs = Arc<Vec<Vec<f32>>>;

/// Per job and training group, the log-probabilities of all trajectories under the reference policy;
/// computed once per distinct policy. Empty for RCE.
fn reference_log_probs(params: &EngineParams, device: Device, jobs: &[MemberJob]) -> Vec<Arc<Vec<Vec<f32>>>> {
    let layout = Layout::new(params.shape);
    let queries: Vec<Query> = params.train.iter().map(Query::of_group).collect();
    let mut known: Vec<(Arc<Vec<f32>>, LogProbs)> = Vec::new();
    let mut all = Vec::with_capacity(jobs.len());
    for job in jobs {
        if job.params.phase() == Phase::Rce {
            all.push(Arc::default());
            continue;
        }
        let same = |(policy, _): &&(Arc<Vec<f32>>, LogProbs)| Arc::ptr_eq(policy, &job.reference);
        if let Some((_, log_probs)) = known.iter().find(same) {
            all.push(Arc::clone(log_probs));
            continue;
        }
        let temperature = params.model.temperature;
        let scores = scores_of(device, &layout, &job.reference, params.embeddings, &queries, temperature);
        let log_probs: Vec<Vec<f32>> = scores
            .iter()
            .zip(params.labels)
            .map(|(scores, labels)| sequence_log_probs(scores, labels, params.length))
            .collect();
        let log_probs = Arc::new(log_probs);
        known.push((Arc::clone(&job.reference), Arc::clone(&log_probs)));
        all.push(log_probs);
    }
    all
}

/// The trajectories GRPO keeps in `epoch`: the top k by normalized reward.
fn keep_top(params: &EngineParams, job: &MemberJob, reference: &[Vec<f32>], epoch: u32) -> Vec<GrpoGroup> {
    let MemberParams::Grpo(grpo) = &job.params else { return Vec::new() };
    let k = grpo.top_k[usize::from(epoch > 1)];
    let one = |((rewards, labels), reference): ((&Vec<f64>, &Vec<u32>), &Vec<f32>)| {
        let kept = top_k(rewards, k);
        let chosen: Vec<f64> = kept.iter().map(|&i| rewards[i]).collect();
        let (advantages, figures) = advantages(&chosen);
        let labels = kept.iter().flat_map(|&i| &labels[i * params.length..(i + 1) * params.length]);
        GrpoGroup {
            kept: kept.iter().map(|&i| i as u32).collect(),
            labels: labels.copied().collect(),
            advantages,
            reference: kept.iter().map(|&i| reference[i]).collect(),
            figures,
        }
    };
    job.rewards.normalized.iter().zip(params.labels).zip(reference).map(one).collect()
}

fn task<'a>(
    params: &EngineParams,
    job: &'a MemberJob,
    kept: &'a [GrpoGroup],
    epoch: u32,
    beta: f64,
) -> EpochTask<'a> {
    let (seed, shuffle) = job.params.seed_and_shuffle();
    let count = params.train.len();
    let order = if shuffle {
        Stream::new(seed, Purpose::Order { phase: job.params.phase(), epoch }).permutation(count)
    } else {
        (0..count as u32).collect()
    };
    let objective = match &job.params {
        MemberParams::Rce(rce) => Objective::Rce {
            rewards: match rce.reward {
                RewardForm::Raw => &job.rewards.raw,
                RewardForm::Normalized => &job.rewards.normalized,
            },
            temperature: rce.temperature,
            first_step: (epoch as usize - 1) * count,
            total_steps: rce.epochs as usize * count,
            top1_only: rce.top1_only,
        },
        MemberParams::Grpo(grpo) => Objective::Grpo {
            groups: kept,
            clip_epsilon: grpo.clip_epsilon,
            kl_beta: beta,
            kl_target: grpo.kl_target,
        },
    };
    EpochTask { seed, order, objective, optimizer: job.params.optimizer() }
}

/// A member's epoch that has come to its end.
struct EpochEnd<'a> {
    /// The member's place in the cohort.
    index: usize,
    job: &'a MemberJob,
    task: &'a EpochTask<'a>,
    kept: &'a [GrpoGroup],
    epoch: u32,
    seconds: f64,
    result: &'a EpochResult,
}

impl EpochEnd<'_> {
    /// The epoch's figures, or why there are none; `scores` are those of the validation groups.
    fn metrics(&self, params: &EngineParams, scores: Option<&[Vec<f32>]>) -> Result<EpochMetrics, Diverged> {
        let steps = self.result.as_ref().map_err(Clone::clone)?;
        let scores = scores.unwrap_or_default();
        let val_loss = validation_loss(params, &self.job.rewards.validation, scores);
        // The last step's update broke the weights: no later step was there to notice.
        let val_loss = match val_loss {
            Some(loss) => Some(Finite::new(loss).ok_or_else(|| self.broken(params, "validation loss"))?),
            None => None,
        };
        let empty = EpochMetrics::new(FIGURES, self.job.params.phase().name(), self.epoch);
        let figures =
            figures(empty, self.task, self.kept, steps).ok_or_else(|| self.broken(params, "a figure"))?;
        let entropy = scores.iter().map(|scores| entropy(scores)).sum::<f64>() / scores.len() as f64;
        Ok(figures
            .with("val_loss", val_loss)
            .with("entropy", Finite::new(entropy))
            .with("seconds", Finite::new(self.seconds)))
    }

    /// What is not finite after the last step.
    fn broken(&self, params: &EngineParams, what: &'static str) -> Diverged {
        let last = self.task.order.last().map_or(0, |&group| params.train[group as usize].query_id);
        Diverged { step: self.result.as_ref().map_or(0, Vec::len), query_id: last, what }
    }
}

/// The figures of an epoch's steps: means, except advantage max (maximum) and beta (at the end). `None` where one that
/// training goes on from is not finite; others that are not are left out.
fn figures(
    empty: EpochMetrics,
    task: &EpochTask,
    kept: &[GrpoGroup],
    steps: &[StepRecord],
) -> Option<EpochMetrics> {
    let count = steps.len() as f64;
    let mean = |field: fn(&StepRecord) -> f64| steps.iter().map(field).sum::<f64>() / count;
    let clip = task.optimizer.grad_clip;
    let clipped = steps.iter().filter(|step| step.grad_norm > clip).count() as f64 / count;
    let common = empty
        .with("train_loss", Some(Finite::new(mean(|step| step.loss))?))
        .with("grad_norm", Some(Finite::new(mean(|step| step.grad_norm))?))
        .with("clipped_share", Finite::new(clipped));
    Some(match &task.objective {
        Objective::Rce { .. } => {
            let last = steps.len().saturating_sub(1);
            common.with("temperature", Finite::new(task.objective.temperature(last)))
        }
        Objective::Grpo { .. } => {
            let over = |field: fn(&GrpoGroup) -> f64| kept.iter().map(field).sum::<f64>() / kept.len() as f64;
            let largest = kept.iter().map(|group| group.figures.max).fold(f64::NEG_INFINITY, f64::max);
            let last = steps.last().copied().unwrap_or_default();
            let beta = Finite::new(task.objective.next_beta(last.beta, last.kl))?;
            common
                .with("ppo_loss", Finite::new(mean(|step| step.ppo)))
                .with("kl", Finite::new(mean(|step| step.kl)))
                .with("mean_ratio", Finite::new(mean(|step| step.mean_ratio)))
                .with("advantage_mean", Finite::new(over(|group| group.figures.mean)))
                .with("advantage_std", Finite::new(over(|group| group.figures.std)))
                .with("advantage_max", Finite::new(largest))
                .with("beta", Some(beta))
        }
    })
}

/// RCE loss on the validation groups: raw rewards, tau = 1, evaluation mode. `None` without such groups.
fn validation_loss(params: &EngineParams, rewards: &[Vec<f64>], scores: &[Vec<f32>]) -> Option<f64> {
    let one = |((group, rewards), scores): ((&crate::selector::data::Group, &Vec<f64>), &Vec<f32>)| {
        let labels: Vec<u32> = group.trajectories.iter().flat_map(|t| t.pointer.iter().copied()).collect();
        let log_probs = sequence_log_probs(scores, &labels, params.length);
        let weights = rce_weights(rewards, 1.0);
        -weights.iter().zip(log_probs).map(|(w, lp)| f64::from(*w) * f64::from(lp)).sum::<f64>()
    };
    let losses: Vec<f64> = params.validation.iter().zip(rewards).zip(scores).map(one).collect();
    (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
}
