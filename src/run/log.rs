//! What has happened, said to whoever looks on and written into `events.jsonl`.

use std::time::Instant;

use super::options::Outcome;
use crate::event::Event;
use crate::store::Store;

/// Appends `event` to the log and shows it.
pub(super) fn logged(store: &Store, event: &Event, sink: &mut dyn FnMut(&Event)) {
    if let Ok(line) = serde_json::to_string(&Stamped { time: unix_time(), data: event.clone() }) {
        store.append_event(&line);
    }
    sink(event);
}

/// The last event of a run.
pub(super) fn finished(outcome: &Outcome, began: Instant) -> Event {
    Event::Finished {
        done: outcome.done,
        failed: outcome.failed,
        pending: outcome.pending,
        interrupted: outcome.stopped.is_some(),
        seconds: began.elapsed().into(),
    }
}

/// A line of `events.jsonl`.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Stamped {
    /// Seconds since 1970.
    pub time: f64,
    pub data: Event,
}

pub(super) fn unix_time() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_secs_f64())
}
