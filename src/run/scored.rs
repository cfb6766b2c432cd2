//! A finished point, as it is written.

use std::collections::BTreeMap;

use super::error::RunError;
use super::session::Session;
use crate::event::Event;
use crate::finite::Finite;
use crate::store::{EpochMetrics, PointFiles, PointRecord, QueryScore, Store, Unanswered};

/// Everything that is written of a finished point.
pub struct Scored {
    pub record: PointRecord,
    pub scores: BTreeMap<usize, Vec<QueryScore>>,
    pub unanswered: Vec<Unanswered>,
    pub metrics: Vec<EpochMetrics>,
}

/// Writes a point.
///
/// # Errors
/// A store that cannot be written.
pub fn write(session: &Session, store: &Store, point: &Scored) -> Result<(), RunError> {
    let figures = session.figures();
    // Without a number of its own an experiment is evaluated on all inputs.
    let all = if session.experiment().columns().is_empty() { &[][..] } else { &[None] };
    let samples = session.spec.eval.as_ref().map_or(all, |eval| &eval.samples);
    let names = session.spec.schema.columns;
    let Scored { record, scores, unanswered, metrics } = point;
    Ok(store.write_point(PointFiles { record, figures, metrics, names, scores, unanswered, samples })?)
}

/// Writes a point and returns what is to be said of it.
///
/// # Errors
/// A store that cannot be written.
pub fn finish(session: &Session, store: &Store, point: &Scored) -> Result<Event, RunError> {
    write(session, store, point)?;
    let Scored { record, scores, metrics, .. } = point;
    let average = average(session, scores);
    let val_loss = metrics.last().and_then(|epoch| epoch.finite("val_loss"));
    Ok(Event::PointDone { point: record.name.clone(), stage: record.stage.clone(), average, val_loss })
}

fn average(session: &Session, scores: &BTreeMap<usize, Vec<QueryScore>>) -> Option<Finite> {
    if session.experiment().columns().is_empty() {
        return None;
    }
    let means: Vec<f64> = scores
        .values()
        .map(|column| column.iter().map(|query| query.score.get()).sum::<f64>() / column.len().max(1) as f64)
        .collect();
    Finite::new(means.iter().sum::<f64>() / means.len() as f64)
}
