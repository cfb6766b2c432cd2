//! Reads `events.jsonl` while other processes append to it.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::log::Stamped;
use crate::event::Event;
use crate::experiment::Cancel;

/// A place in the log.
pub struct Tail {
    path: PathBuf,
    offset: u64,
}

impl Tail {
    /// From the present end of the log on.
    pub fn from_end(path: PathBuf) -> Self {
        let offset = fs_err::metadata(&path).map_or(0, |meta| meta.len());
        Self { path, offset }
    }

    /// Shows `sink` what other processes have logged since the last call and counts their steps (`steps` per epoch);
    /// returns whether a stage or a point of them failed.
    pub fn relay(&mut self, cancel: &Cancel, steps: u64, sink: &mut dyn FnMut(&Event)) -> bool {
        let mut failed = false;
        for event in self.events() {
            match &event {
                Event::EpochDone { .. } => cancel.count_steps(steps),
                Event::PointFailed { .. } | Event::StageFailed { .. } | Event::StageDiverged { .. } => {
                    failed = true;
                }
                _ => {}
            }
            sink(&event);
        }
        failed
    }

    /// The events since the last call. Lines that are not events (of another version) are passed over.
    fn events(&mut self) -> Vec<Event> {
        let mut text = Vec::new();
        let read = fs_err::File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_to_end(&mut text)
        });
        if read.is_err() {
            return Vec::new();
        }
        // A line without its end is still being written.
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        self.offset += whole as u64;
        let lines = text[..whole].split(|&byte| byte == b'\n');
        lines.filter_map(|line| Some(serde_json::from_slice::<Stamped>(line).ok()?.data)).collect()
    }
}
