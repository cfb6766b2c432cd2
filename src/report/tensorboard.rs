//! TensorBoard event files: scalars of every epoch, final scores and hyper-parameters per point.
//!
//! A file is a sequence of TFRecords (little-endian length, masked CRC-32C of the length, payload, masked
//! CRC-32C of the payload); a payload is an `Event` protocol buffer, of which few fields are needed. Wall times
//! are 0: the files are a function of the results, byte for byte.

use std::path::PathBuf;

use super::axes::axis_text;
use super::matrix::{Matrix, Row};
use super::words::only_score;
use crate::figure::EpochFigure;
use crate::spec::figures_of;
use crate::store::{PointResult, SweepResults};

/// One event file per finished point: its path below the log directory, and its bytes.
pub fn event_files(results: &SweepResults, matrix: &Matrix) -> Vec<(PathBuf, Vec<u8>)> {
    let figures = figures_of(&results.experiment);
    results
        .points
        .iter()
        .zip(&matrix.points)
        .filter(|(point, _)| !point.metrics.is_empty())
        .map(|(point, row)| {
            // Viewers order the files of a directory by this number, a time stamp elsewhere.
            let place = PathBuf::from(&point.name).join("events.out.tfevents.0000000000.sweep");
            (place, event_file(figures, point, row, matrix))
        })
        .collect()
}

fn event_file(figures: &'static [EpochFigure], point: &PointResult, row: &Row, matrix: &Matrix) -> Vec<u8> {
    let mut file = Vec::new();
    let mut version = Message::default();
    version.text(3, "brain.Event:2");
    record(&mut file, &version.0);
    record(&mut file, &summary_event(0, &hyper_parameters(point)));
    record(&mut file, &summary_event(0, &session_end()));
    for (index, epoch) in point.metrics.iter().enumerate() {
        let mut summary = Message::default();
        for (tag, value) in epoch.results(figures).filter_map(|(tag, value)| Some((tag, value?))) {
            summary.message(1, &scalar(&format!("{}/{tag}", epoch.phase), value));
        }
        record(&mut file, &summary_event(index as u64 + 1, &summary));
    }
    let mut last = Message::default();
    let scores =
        matrix.score_columns.iter().zip(&row.scores).map(|(column, score)| (column.as_str(), *score));
    let average = Some(("average", row.average)).filter(|_| only_score(&matrix.score_columns).is_none());
    for (tag, value) in scores.chain(average) {
        if let Some(value) = value {
            last.message(1, &scalar(&format!("accuracy/{tag}"), value));
        }
    }
    record(&mut file, &summary_event(point.metrics.len() as u64, &last));
    file
}

/// `Summary.Value { tag, simple_value }`
fn scalar(tag: &str, value: f64) -> Message {
    let mut message = Message::default();
    message.text(1, tag);
    message.float(2, value as f32);
    message
}

/// `Event { step, summary }`
fn summary_event(step: u64, summary: &Message) -> Vec<u8> {
    let mut event = Message::default();
    event.integer(2, step);
    event.message(5, summary);
    event.0
}

/// The hparams plugin's `session_start_info`: one value per axis.
fn hyper_parameters(point: &PointResult) -> Message {
    let mut start = Message::default();
    for (key, value) in &point.axes {
        let mut shown = Message::default();
        match value.as_f64() {
            Some(number) => shown.double(2, number),
            None => shown.text(3, &axis_text(key, value)),
        }
        let mut entry = Message::default();
        entry.text(1, key);
        entry.message(2, &shown);
        start.message(1, &entry);
    }
    start.text(4, &point.name);
    let mut data = Message::default();
    data.message(3, &start);
    plugin_summary("_hparams_/session_start_info", &data)
}

/// The hparams plugin's `session_end_info` with status success.
fn session_end() -> Message {
    let mut end = Message::default();
    end.integer(1, 1);
    let mut data = Message::default();
    data.message(4, &end);
    plugin_summary("_hparams_/session_end_info", &data)
}

/// `Summary { value { tag, metadata { plugin_data { plugin_name: "hparams", content } }, tensor } }`; the
/// reader wants a tensor to be there and does not look at it.
fn plugin_summary(tag: &str, content: &Message) -> Message {
    let mut plugin = Message::default();
    plugin.text(1, "hparams");
    plugin.bytes(2, &content.0);
    let mut metadata = Message::default();
    metadata.message(1, &plugin);
    let mut tensor = Message::default();
    tensor.integer(1, 1);
    tensor.message(2, &Message::default());
    tensor.bytes(5, &0.0_f32.to_le_bytes());
    let mut value = Message::default();
    value.text(1, tag);
    value.message(8, &tensor);
    value.message(9, &metadata);
    let mut summary = Message::default();
    summary.message(1, &value);
    summary
}

/// A protocol buffer under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn text(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn message(&mut self, field: u64, value: &Message) {
        self.bytes(field, &value.0);
    }
}

fn record(file: &mut Vec<u8>, payload: &[u8]) {
    let length = (payload.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked_crc(&length).to_le_bytes());
    file.extend(payload);
    file.extend(masked_crc(payload).to_le_bytes());
}

/// TFRecord's checksum: CRC-32C, rotated and offset so that checksums of checksums stay useful.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C (Castagnoli), bit by bit: event files are small.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnolis() {
        // RFC 3720, B.4
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn varints_take_seven_bits_a_byte() {
        let mut message = Message::default();
        message.integer(1, 300);
        assert_eq!(message.0, [0x08, 0xAC, 0x02]);
    }
}
