//! Checkpoints for PyTorch: a zip of a pickle (protocol 2) and raw storages, as `torch.save` writes it, such that
//! `torch.load(weights_only=True)` reads it. Equal arguments give equal bytes.
//!
//! Our facts travel under the extra key `sweep`, a dictionary of strings: importing the file gives them back.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::bytes::encode;
use super::error::CheckpointError;
use super::facts::{Facts, Phase};
use super::model::sizes;
use super::names::V2_LAYER;
use super::safetensors_file::encode_plain;
use super::torch_read::FACTS_KEY;
use super::{Array, Checkpoint, Weights};
use crate::disk;
use crate::spec::ExportFormat;
use crate::spec::files;

/// Writes `checkpoint` in a format of other programs: [`ExportFormat::V2`] `{epoch, global_step, state_dict,
/// hyper_parameters}` with Lightning's names, [`ExportFormat::Pt`] `{epoch, phase, model_state_dict, kl_beta,
/// metrics}`; epochs count from 0 there, what is not known is `None`. [`ExportFormat::Safetensors`]: the weights
/// alone. A file that has just these bytes already is left as it is.
///
/// # Errors
/// I/O errors, and arrays whose shape and number of values disagree.
pub fn export(path: &Path, checkpoint: &Checkpoint, format: ExportFormat) -> Result<(), CheckpointError> {
    let torch = |fields| {
        encode_torch(checkpoint, fields)
            .map_err(|what| CheckpointError::Unwritable { path: path.to_path_buf(), what })
    };
    let bytes = match format {
        ExportFormat::V2 => torch(v2_fields)?,
        ExportFormat::Pt => torch(training_fields)?,
        ExportFormat::Safetensors => encode_plain(path, &checkpoint.weights)?,
    };
    if fs_err::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    disk::write(path, &bytes).map_err(CheckpointError::Io)
}

fn encode_torch(checkpoint: &Checkpoint, fields: fn(&mut Pickler, &Checkpoint)) -> Result<Vec<u8>, String> {
    let Checkpoint { weights, facts } = checkpoint;
    for (name, array) in weights {
        if array.shape.iter().product::<usize>() != array.values.len() {
            return Err(format!(
                "`{name}` has the shape {:?} and {} values",
                array.shape,
                array.values.len()
            ));
        }
    }
    let mut pickle = Pickler::new();
    let epoch = facts.stored_epoch.or(facts.epoch.map(|epoch| i64::from(epoch) - 1));
    pickle.key_json("epoch", &json!(epoch));
    fields(&mut pickle, checkpoint);
    pickle.key_json(FACTS_KEY, &json!(facts.of_whole_file().to_header()));
    archive(pickle.finish(), weights).map_err(|error| error.to_string())
}

fn v2_fields(pickle: &mut Pickler, Checkpoint { weights, facts }: &Checkpoint) {
    pickle.key_json("global_step", &json!(facts.global_step.unwrap_or(0)));
    let names = weights.iter().map(|(name, array)| (their_name(name), array));
    pickle.state_dict("state_dict", names);
    pickle.key_json("hyper_parameters", &hyper_parameters(weights, facts));
}

fn training_fields(pickle: &mut Pickler, Checkpoint { weights, facts }: &Checkpoint) {
    pickle.key_json("phase", &json!(facts.phase));
    pickle.state_dict("model_state_dict", weights.iter().map(|(name, array)| (name.clone(), array)));
    pickle.key_number("kl_beta", facts.kl_beta);
    pickle.metrics(&facts.metrics);
}

/// What Lightning would have been constructed with, as far as weights and configuration say; what the file had
/// when it was imported comes back as it was.
fn hyper_parameters(weights: &Weights, facts: &Facts) -> Value {
    let size = |name: &str, axis: usize| weights.get(name).and_then(|array| array.shape.get(axis).copied());
    let (hidden, layers) = sizes(weights);
    let model = facts.config.as_ref().and_then(|config| config.get("model"));
    let mut values = json!({
        "d_model": size("input_proj.weight", 1).or(hidden),
        "hidden_dim": hidden,
        "num_heads": model.and_then(|model| model.get("heads")).cloned().unwrap_or(json!(1)),
        "num_layers": layers,
    });
    if let Some(dropout) = model.and_then(|model| model.get("dropout")) {
        values["dropout"] = dropout.clone();
    }
    if let Some(lr) = facts.lr {
        values["lr"] = json!(lr);
    }
    if facts.phase.as_ref().is_some_and(Phase::is_last)
        && let Some(kl_beta) = facts.kl_beta
    {
        values["kl_beta"] = json!(kl_beta);
    }
    for (key, value) in facts.extra.get("hyper_parameters").and_then(Value::as_object).into_iter().flatten() {
        values[key] = value.clone();
    }
    values
}

/// Our name of a parameter -> the v2 format's.
fn their_name(name: &str) -> String {
    let nested = files().map(|files| files.nested).find(|nested| !nested.is_empty()).unwrap_or_default();
    for (theirs, ours) in V2_LAYER {
        if let Some(rest) = name.strip_prefix(ours) {
            return format!("{nested}{theirs}{rest}");
        }
    }
    format!("{nested}{name}")
}

/// The zip: storages are numbered in the order of the names and begin at multiples of 64 bytes, as torch's do.
fn archive(pickle: Vec<u8>, weights: &Weights) -> zip::result::ZipResult<Vec<u8>> {
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(64);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), options.large_file(bytes.len() > u32::MAX as usize))?;
        zip.write_all(bytes).map_err(zip::result::ZipError::Io)
    };
    add("data.pkl", &pickle)?;
    add(".format_version", b"1")?;
    add(".storage_alignment", b"64")?;
    add("byteorder", b"little")?;
    for (key, array) in weights.values().enumerate() {
        add(&format!("data/{key}"), &encode(&array.values))?;
    }
    add("version", b"3\n")?;
    Ok(zip.finish()?.into_inner())
}

/// Writes one dictionary, key by key. Nothing is memoized: every value stands where it is used.
struct Pickler {
    bytes: Vec<u8>,
}

impl Pickler {
    fn new() -> Self {
        // PROTO 2, EMPTY_DICT, MARK
        Self { bytes: vec![0x80, 2, b'}', b'('] }
    }

    fn finish(mut self) -> Vec<u8> {
        // SETITEMS, STOP
        self.bytes.extend(b"u.");
        self.bytes
    }

    fn key_json(&mut self, key: &str, value: &Value) {
        self.text(key);
        self.json(value);
    }

    fn key_number(&mut self, key: &str, value: Option<f64>) {
        self.text(key);
        match value {
            Some(value) => self.float(value),
            None => self.bytes.push(b'N'),
        }
    }

    fn metrics(&mut self, metrics: &BTreeMap<String, f64>) {
        self.text("metrics");
        self.bytes.extend(b"}(");
        for (key, value) in metrics {
            self.key_number(key, Some(*value));
        }
        self.bytes.push(b'u');
    }

    /// An `OrderedDict` of tensors, each on its own storage; the n-th has the storage key n.
    fn state_dict<'a>(&mut self, key: &str, tensors: impl Iterator<Item = (String, &'a Array)>) {
        self.text(key);
        self.ordered_dict();
        self.bytes.push(b'(');
        for (storage, (name, array)) in tensors.enumerate() {
            self.text(&name);
            self.tensor(storage, array);
        }
        self.bytes.push(b'u');
    }

    /// `_rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict())`
    fn tensor(&mut self, storage: usize, array: &Array) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.extend(b"((");
        self.text("storage");
        self.global("torch", "FloatStorage");
        self.text(&storage.to_string());
        self.text("cpu");
        self.int(array.values.len() as i64);
        // TUPLE, BINPERSID, offset 0
        self.bytes.extend([b't', b'Q', b'K', 0]);
        let mut stride = vec![1; array.shape.len()];
        for axis in (1..array.shape.len()).rev() {
            stride[axis - 1] = stride[axis] * array.shape[axis].max(1);
        }
        for sizes in [&array.shape, &stride] {
            self.bytes.push(b'(');
            sizes.iter().for_each(|size| self.int(*size as i64));
            self.bytes.push(b't');
        }
        // NEWFALSE: requires no gradient
        self.bytes.push(0x89);
        self.ordered_dict();
        self.bytes.extend(b"tR");
    }

    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.bytes.extend(b")R");
    }

    fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.bytes());
    }

    fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(small) => {
                self.bytes.push(b'J');
                self.bytes.extend(small.to_le_bytes());
            }
            Err(_) => {
                self.bytes.extend([0x8a, 8]);
                self.bytes.extend(value.to_le_bytes());
            }
        }
    }

    fn float(&mut self, value: f64) {
        self.bytes.push(b'G');
        self.bytes.extend(value.to_be_bytes());
    }

    fn json(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes.push(b'N'),
            Value::Bool(true) => self.bytes.push(0x88),
            Value::Bool(false) => self.bytes.push(0x89),
            Value::Number(number) => match number.as_i64() {
                Some(integer) => self.int(integer),
                None => self.float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.bytes.extend(b"](");
                items.iter().for_each(|item| self.json(item));
                self.bytes.push(b'e');
            }
            Value::Object(entries) => {
                self.bytes.extend(b"}(");
                entries.iter().for_each(|(key, value)| self.key_json(key, value));
                self.bytes.push(b'u');
            }
        }
    }
}
