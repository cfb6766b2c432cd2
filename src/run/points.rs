//! The points of a sweep: finished as soon as the epoch they ask for is on disk.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::error::RunError;
use super::judging::{Judging, Waiting};
use super::options::{Outcome, RunOptions, Stop};
use super::pool::beside_training;
use super::scored::{Scored, finish, write};
use super::session::Session;
use super::site::Site;
use super::stages::{StageTable, corrupt};
use crate::checkpoint;
use crate::device::Device;
use crate::event::Event;
use crate::experiment::{Examined, Flaw, Parameters};
use crate::finite::Finite;
use crate::panics;
use crate::plan::StageProgress;
use crate::store::{
    EpochMetrics, Expected, FORMAT, PointRecord, PointStatus, QueryScore, StageStore, Store, StoreError,
    SweepDir, check_point,
};

/// How each point has ended, in grid order; `None` = not yet.
pub struct PointTable {
    ended: Vec<Option<PointStatus>>,
    /// Points whose questions the judge has.
    asking: Vec<bool>,
    /// Points that ended without some of its answers.
    incomplete: Vec<bool>,
    /// Points that ended without results since the table was opened.
    new_failures: usize,
}

impl PointTable {
    /// Reads which points are already there *for this plan*; damaged ones are set aside and made again.
    ///
    /// A point that diverged stays as it is while its stage says so: the same training would diverge again. One
    /// that failed in another way is outstanding.
    ///
    /// # Errors
    /// A point of a newer format, one that cannot be set aside.
    pub fn open(
        session: &Session,
        store: &Store,
        stages: &StageTable,
        failed: Failed,
        log: &mut dyn FnMut(&Event),
    ) -> Result<Self, RunError> {
        let queries = session.experiment().inputs_examined();
        let dir = store.dir().path();
        let points = &session.spec.points;
        let evaluation = session.experiment().evaluation();
        let names = session.spec.schema.columns;
        let expected = Expected { queries, evaluation: evaluation.as_deref(), names };
        let found: Vec<Result<Option<PointRecord>, StoreError>> =
            points.par_iter().map(|point| check_point(dir, &point.name, &expected)).collect();
        let mut ended = Vec::with_capacity(points.len());
        let mut incomplete = vec![false; points.len()];
        for ((point, planned), found) in points.iter().zip(&session.plan.points).zip(found) {
            let record = match found {
                Ok(record) => record,
                Err(error @ StoreError::NewerFormat { .. }) => return Err(error.into()),
                Err(error) => {
                    let moved_to = store.set_aside_point(&point.name, "damaged")?.display().to_string();
                    let cause = error.to_string();
                    log(&Event::PointDamaged { point: point.name.clone(), cause, moved_to });
                    None
                }
            };
            let stage = &session.plan.stages[planned.stage];
            let same = |record: &PointRecord| {
                record.stage == stage.key.0
                    && record.evaluation == evaluation
                    && point.config.same_but_paths(&record.config)
            };
            if record.as_ref().is_some_and(|record| !same(record)) {
                // Of another configuration or other inputs: no table may show it as this point's result.
                store.set_aside_point(&point.name, "replaced")?;
            }
            let record = record.filter(same);
            if let Some(record) = record.as_ref().filter(|record| record.config != point.config) {
                // The same files by other paths: the record says what `resolved.json` says.
                store.write_point_record(&PointRecord { config: point.config.clone(), ..record.clone() })?;
            }
            let lacks = record.as_ref().is_some_and(|record| record.unanswered > 0);
            incomplete[ended.len()] = lacks;
            let status = record.map(|record| record.status);
            ended.push(status.filter(|status| match status {
                // What is missing is asked again.
                PointStatus::Done => !lacks || failed == Failed::Stay,
                PointStatus::Infeasible => {
                    matches!(reached(session, stages, planned.stage, planned.epoch), Reach::Never(_))
                }
                PointStatus::Failed => failed == Failed::Stay,
                PointStatus::Pending => false,
            }));
        }
        Ok(Self { asking: vec![false; points.len()], incomplete, ended, new_failures: 0 })
    }

    /// For a worker process, which finishes the points of the stages that it trains.
    pub fn join(session: &Session) -> Self {
        let points = session.plan.points.len();
        let no = vec![false; points];
        Self { ended: vec![None; points], asking: no.clone(), incomplete: no, new_failures: 0 }
    }

    /// For a look from outside: what has ended, nothing set aside.
    pub fn glance(session: &Session, dir: &SweepDir) -> Self {
        let evaluation = session.experiment().evaluation();
        let expected = Expected {
            queries: session.experiment().inputs_examined(),
            evaluation: evaluation.as_deref(),
            names: session.spec.schema.columns,
        };
        let status = |point: &crate::spec::Point| {
            let record = check_point(dir.path(), &point.name, &expected).ok()??;
            let same = record.evaluation == evaluation && point.config.same_but_paths(&record.config);
            same.then_some(record.status)
        };
        let ended = session.spec.points.par_iter().map(status).collect();
        Self { ended, ..Self::join(session) }
    }

    /// Per stage, the epochs at which points end that have no results yet.
    pub fn open_epochs(&self, session: &Session) -> Vec<Vec<u32>> {
        let mut open = vec![Vec::new(); session.plan.stages.len()];
        for (point, ended) in session.plan.points.iter().zip(&self.ended) {
            if *ended != Some(PointStatus::Done) {
                open[point.stage].push(point.epoch);
            }
        }
        open
    }

    /// Points that ended without results in this run.
    pub fn new_failures(&self) -> usize {
        self.new_failures
    }

    /// Points that will not get results, as far as `stages` tell: whoever trained them.
    pub fn lost(&self, session: &Session, stages: &StageTable) -> usize {
        let points = session.plan.points.iter();
        let reach = points.map(|point| reached(session, stages, point.stage, point.epoch));
        reach.filter(|reach| matches!(reach, Reach::Never(_) | Reach::Failed(_))).count()
    }

    /// Number of points that need nothing any more.
    pub fn ended(&self) -> usize {
        self.ended.iter().flatten().count()
    }

    /// The counts so far.
    pub fn outcome(&self, stopped: Option<Stop>) -> Outcome {
        let count =
            |wanted: &[PointStatus]| self.ended.iter().flatten().filter(|s| wanted.contains(s)).count();
        let done = count(&[PointStatus::Done]);
        let failed = count(&[PointStatus::Failed, PointStatus::Infeasible]);
        let lacks = |(ended, lacks): &(&Option<PointStatus>, &bool)| ended.is_some() && **lacks;
        let incomplete = self.ended.iter().zip(&self.incomplete).filter(lacks).count();
        Outcome { done, failed, pending: self.ended.len() - done - failed, incomplete, stopped }
    }

    /// Finishes every point (of the stages in `only`) whose epoch is there, and those that will never get it. Those
    /// that a judge is asked about are given to `judging`; [`PointTable::settle`] finishes them.
    ///
    /// # Errors
    /// A store that cannot be read or written.
    pub fn finish_ready(
        &mut self,
        site: Site,
        stages: &StageTable,
        only: Option<&[usize]>,
        judging: Option<&mut Judging>,
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        let Site { session, store, options: RunOptions { device, .. }, .. } = site;
        let reached_ones = self.reached_ones(site, stages, only, log)?;
        let one = |&(index, epoch): &(usize, u32)| -> Result<Ended, RunError> {
            let (record, examined, metrics) = match evaluate(session, stages, index, epoch, *device)? {
                Ok(evaluated) => evaluated,
                Err(cause) => return Ok(Err(Lost::infeasible(format!("evaluation: {cause}")))),
            };
            // Before the point counts as finished: an interrupted export is made again with it.
            export(session, store, stages, session.plan.points[index].stage, epoch)?;
            match examined {
                Examined::Scored(scores) => {
                    let point = Scored { record, scores, unanswered: Vec::new(), metrics };
                    Ok(Ok(Finished::Point(finish(session, store, &point)?)))
                }
                Examined::ToAsk(units) => {
                    Ok(Ok(Finished::Asks(Box::new(Waiting { index, record, units, metrics }))))
                }
            }
        };
        // A defect costs the point that it happens to, and no other.
        let caught = |reached: &(usize, u32)| {
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(reached)));
            tried.unwrap_or_else(|payload| {
                let cause = panics::message_of(payload.as_ref());
                Ok(Err(Lost::failed(format!("its evaluation failed: {cause}"))))
            })
        };
        // A GPU evaluates one model at a time; cores share the models among them.
        let finished: Vec<Result<Ended, RunError>> = match device {
            Device::Cpu => beside_training(|| reached_ones.par_iter().map(caught).collect()),
            Device::Flex | Device::Cuda(..) | Device::Wgpu => reached_ones.iter().map(caught).collect(),
        };
        let mut first_error = Ok(());
        let mut to_ask = Vec::new();
        for ((index, _), finished) in reached_ones.into_iter().zip(finished) {
            match finished {
                Ok(Ok(Finished::Point(event))) => {
                    log(&event);
                    self.ended[index] = Some(PointStatus::Done);
                }
                Ok(Ok(Finished::Asks(waiting))) => {
                    self.asking[index] = true;
                    to_ask.push(*waiting);
                }
                Ok(Err(lost)) => {
                    first_error = first_error.and(self.give_up(site, stages, index, lost, log));
                }
                Err(error) => first_error = first_error.and(Err(error)),
            }
        }
        if let Some(judging) = judging {
            judging.add(to_ask, log);
        }
        first_error
    }

    /// The points (of the stages in `only`) whose epoch is there; gives up those that will never get it.
    fn reached_ones(
        &mut self,
        site: Site,
        stages: &StageTable,
        only: Option<&[usize]>,
        log: &mut dyn FnMut(&Event),
    ) -> Result<Vec<(usize, u32)>, RunError> {
        let session = site.session;
        let mut reached_ones = Vec::new();
        for index in 0..self.ended.len() {
            let planned = session.plan.points[index];
            if self.ended[index].is_some()
                || self.asking[index]
                || only.is_some_and(|only| !only.contains(&planned.stage))
            {
                continue;
            }
            match reached(session, stages, planned.stage, planned.epoch) {
                Reach::Epoch(epoch) => reached_ones.push((index, epoch)),
                Reach::Never(cause) => {
                    self.give_up(site, stages, index, Lost::infeasible(cause), log)?;
                }
                Reach::Failed(cause) => {
                    self.give_up(site, stages, index, Lost::failed(cause), log)?;
                }
                Reach::NotYet => {}
            }
        }
        Ok(reached_ones)
    }

    /// Finishes the points whose questions have all come back, and gives up those of which none was answered.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn settle(
        &mut self,
        site: Site,
        stages: &StageTable,
        judging: &mut Judging,
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        let Site { session, store, .. } = site;
        let Some(live) = session.asked() else { return Ok(()) };
        for (waiting, cause) in judging.settled(log) {
            let Waiting { index, mut record, units, metrics } = waiting;
            let (mut scores, mut unanswered) = (BTreeMap::<usize, Vec<QueryScore>>::new(), Vec::new());
            for unit in &units {
                match live.line(unit, judging.answer(&unit.question)) {
                    Ok(line) => scores.entry(unit.column).or_default().push(line),
                    Err(line) => unanswered.push(line),
                }
            }
            if scores.is_empty() {
                let cause = cause.unwrap_or_else(|| "no answer has a score".to_owned());
                let lost = Lost::failed(format!("the judge gave no answer: {cause}"));
                self.give_up(site, stages, index, lost, log)?;
                continue;
            }
            record.judge = Some(judging.name());
            record.unanswered = unanswered.len();
            self.incomplete[index] = !unanswered.is_empty();
            log(&finish(session, store, &Scored { record, scores, unanswered, metrics })?);
            self.ended[index] = Some(PointStatus::Done);
        }
        Ok(())
    }

    /// Exports every finished point: also those whose exports were damaged since or not asked for at the time.
    ///
    /// # Errors
    /// A store that cannot be read or written.
    pub fn export(&self, session: &Session, store: &Store, stages: &StageTable) -> Result<(), RunError> {
        let points = session.plan.points.par_iter().zip(&self.ended);
        let done = points.filter(|(_, ended)| **ended == Some(PointStatus::Done));
        done.try_for_each(|(point, _)| match reached(session, stages, point.stage, point.epoch) {
            Reach::Epoch(epoch) => export(session, store, stages, point.stage, epoch),
            Reach::Never(_) | Reach::Failed(_) | Reach::NotYet => Ok(()),
        })
    }

    fn give_up(
        &mut self,
        Site { session, store, .. }: Site,
        stages: &StageTable,
        index: usize,
        Lost { status, cause }: Lost,
        log: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        let record = record(session, index, None, status, Some(cause.clone()));
        let metrics = chain_metrics(session, stages, index, session.plan.points[index].epoch);
        let point =
            Scored { record: record.clone(), scores: BTreeMap::new(), unanswered: Vec::new(), metrics };
        write(session, store, &point)?;
        log(&Event::PointFailed { point: record.name, stage: record.stage, error: cause });
        self.ended[index] = Some(status);
        self.new_failures += 1;
        Ok(())
    }
}

/// A point that has its results or waits for the judge's, or how it ended without them.
type Ended = Result<Finished, Lost>;

/// How a point ended that gets no results.
struct Lost {
    status: PointStatus,
    cause: String,
}

impl Lost {
    fn infeasible(cause: String) -> Self {
        Self { status: PointStatus::Infeasible, cause }
    }

    fn failed(cause: String) -> Self {
        Self { status: PointStatus::Failed, cause }
    }
}

enum Finished {
    Point(Event),
    Asks(Box<Waiting>),
}

/// What becomes of points that have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// They are outstanding: a new run tries them again.
    TryAgain,
    /// They failed in this run.
    Stay,
}

enum Reach {
    /// The epoch that stands for the wanted one is there.
    Epoch(u32),
    /// Training diverged before it.
    Never(String),
    /// Training could not go on to it in this run.
    Failed(String),
    NotYet,
}

fn reached(session: &Session, stages: &StageTable, stage: usize, epoch: u32) -> Reach {
    let record = stages.record(stage);
    let progress = record.progress();
    let diverged = |record: &crate::store::StageRecord| record.diverged.clone().unwrap_or_default();
    // An Init stage is complete as it is; others need at least one epoch.
    let begun = epoch == 0 || progress.epochs() > 0;
    let start = session.plan.stages[stage]
        .parent
        .map(|parent| reached(session, stages, parent, session.plan.stages[parent].epochs));
    match (progress.reached(epoch), start) {
        (_, Some(start @ (Reach::Never(_) | Reach::Failed(_)))) => start,
        // The start may be missing although the stage is there: it was damaged and is made again first.
        (Some(epoch), None | Some(Reach::Epoch(_))) if begun => Reach::Epoch(epoch),
        _ if matches!(progress, StageProgress::Diverged(_)) => Reach::Never(diverged(record)),
        _ => match stages.failure(stage) {
            Some(cause) => Reach::Failed(cause.to_owned()),
            None => Reach::NotYet,
        },
    }
}

type Evaluated = (PointRecord, Examined, Vec<EpochMetrics>);

fn evaluate(
    session: &Session,
    stages: &StageTable,
    index: usize,
    epoch: u32,
    device: Device,
) -> Result<Result<Evaluated, String>, RunError> {
    let planned = session.plan.points[index];
    let stage = &session.plan.stages[planned.stage];
    let weights = stages.weights(session, planned.stage, epoch)?;
    let examined = match session.experiment().examine(stage.work, &weights, device) {
        Ok(examined) => examined,
        Err(Flaw::NotFinite(cause)) => return Ok(Err(cause)),
        Err(Flaw::Misfit(cause)) => return Err(corrupt(&stage.key, cause).into()),
    };
    let (start, start_epoch) = stages.start_of(session, planned.stage);
    let before = stages.weights(session, start, start_epoch)?;
    let mut point = record(session, index, Some(epoch), PointStatus::Done, None);
    // What has left zero has moved by no share of anything.
    let movement = checkpoint::compare(&before, &weights)?.movement().into_iter();
    point.movement = movement.filter_map(|(name, share)| Some((name, Finite::new(share)?))).collect();
    Ok(Ok((point, examined, chain_metrics(session, stages, index, epoch))))
}

fn record(
    session: &Session,
    index: usize,
    epoch: Option<u32>,
    status: PointStatus,
    error: Option<String>,
) -> PointRecord {
    let point = &session.spec.points[index];
    let planned = session.plan.points[index];
    let stage = &session.plan.stages[planned.stage];
    let phase = &session.plan.traits(planned.stage).phase;
    let Parameters { trainable, total } = session.parameters(planned.stage);
    PointRecord {
        format: FORMAT,
        name: point.name.clone(),
        axes: point.axes.clone(),
        config: point.config.clone(),
        status,
        error,
        stage: stage.key.0.clone(),
        evaluation: session.experiment().evaluation(),
        trainable,
        total,
        movement: BTreeMap::new(),
        checkpoint: epoch.map(|epoch| StageStore::checkpoint_path(&stage.key, phase, epoch)),
        judge: None,
        unanswered: 0,
        unknown: serde_json::Map::new(),
    }
}

/// The finished epochs of a point's whole chain, up to `epoch` of its last stage.
fn chain_metrics(session: &Session, stages: &StageTable, index: usize, epoch: u32) -> Vec<EpochMetrics> {
    let planned = session.plan.points[index];
    let chain = session.plan.chain(planned);
    let rows = chain.iter().flat_map(|&(stage, until)| {
        let until = if stage == planned.stage { epoch } else { until };
        stages.record(stage).epochs.iter().take(until as usize).map(|epoch| epoch.metrics.clone())
    });
    rows.collect()
}

/// Writes a stage's checkpoint in the formats of `[export]`.
fn export(
    session: &Session,
    store: &Store,
    stages: &StageTable,
    stage: usize,
    epoch: u32,
) -> Result<(), RunError> {
    let formats = &session.spec.export;
    if formats.is_empty() {
        return Ok(());
    }
    if !stages.record(stage).keeps(epoch) {
        return Ok(());
    }
    let (stage, phase) = (&session.plan.stages[stage], &session.plan.traits(stage).phase);
    Ok(store.export(&StageStore::checkpoint_path(&stage.key, phase, epoch), formats)?)
}
