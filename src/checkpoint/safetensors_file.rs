//! Safetensors: 8 bytes header length, a JSON header, the tensors' bytes without gaps.
//!
//! Header checks (offsets, shapes, overflow) are the `safetensors` crate's; the lengths are held against the
//! file's before anything is read. The header is written here because the crate keeps its metadata in a hash map,
//! whose order changes from run to run.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::{Map, Value, json};

use super::bytes::{Element, encode};
use super::error::{CheckpointError, Flaw};
use super::facts::{Facts, Format};
use super::names::{self, Names};
use super::{Array, Checkpoint, Summary, Weights};
use crate::disk;

/// Longest header that is believed (the reference implementation's limit is 100 MB; ours are below 100 kB).
const MAX_HEADER: u64 = 32 << 20;

/// Reads all tensors of a `.safetensors` file, and the string pairs of its header. All tensors must be floating
/// point; half and double precision become f32.
///
/// # Errors
/// Unreadable, truncated or inconsistent files, and other element types.
pub fn read_tensors(path: &Path) -> Result<(Weights, BTreeMap<String, String>), CheckpointError> {
    let file = fs_err::File::open(path).map_err(CheckpointError::Io)?;
    let length = file.metadata().map_err(CheckpointError::Io)?.len();
    let (header, tensors) = read_all(file, length).map_err(|flaw| flaw.at(path))?;
    Ok((tensors, strings(&header)))
}

/// Writes `tensors` as f32 safetensors with `metadata` in the header. Equal arguments give equal bytes; the file
/// appears whole or not at all.
///
/// # Errors
/// I/O errors, and arrays whose shape and number of values disagree.
pub fn write_tensors(
    path: &Path,
    tensors: &Weights,
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let header = header(path, tensors, metadata)?;
    disk::write_with(path, |writer| fill(writer, &header, tensors)).map_err(CheckpointError::Io)
}

/// The bytes of a file `path` with weights and nothing else.
pub(super) fn encode_plain(path: &Path, weights: &Weights) -> Result<Vec<u8>, CheckpointError> {
    let header = header(path, weights, &BTreeMap::new())?;
    let mut bytes = Vec::new();
    fill(&mut bytes, &header, weights).map_err(CheckpointError::Io)?;
    Ok(bytes)
}

fn fill(writer: &mut impl Write, header: &[u8], tensors: &Weights) -> std::io::Result<()> {
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(header)?;
    tensors.values().try_for_each(|array| writer.write_all(&encode(&array.values)))
}

/// The JSON header, padded so that the tensors begin at a multiple of 8 bytes.
fn header(
    path: &Path,
    tensors: &Weights,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, CheckpointError> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), json!(metadata));
    }
    let mut offset = 0;
    for (name, array) in tensors {
        if array.shape.iter().product::<usize>() != array.values.len() {
            return Err(CheckpointError::Unwritable {
                path: path.to_path_buf(),
                what: format!("`{name}` has the shape {:?} and {} values", array.shape, array.values.len()),
            });
        }
        let end = offset + 4 * array.values.len();
        entries.insert(
            name.clone(),
            json!({ "dtype": "F32", "shape": array.shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

pub(super) fn read_checkpoint(reader: impl Read, length: u64) -> Result<Checkpoint, Flaw> {
    let (header, mut weights) = read_all(reader, length)?;
    let mut facts = facts_of(&header)?;
    if facts.format != Format::Sweep {
        let Names { ours, taken_off } = names::ours(weights.keys().map(String::as_str))?;
        facts.taken_off = taken_off;
        weights =
            weights.into_iter().filter_map(|(name, array)| Some((ours.get(&name)?.clone(), array))).collect();
    }
    Ok(Checkpoint { weights, facts })
}

pub(super) fn read_summary(mut reader: impl Read, length: u64) -> Result<Summary, Flaw> {
    let header = read_header(&mut reader, length)?;
    let mut facts = facts_of(&header)?;
    let mut shapes: BTreeMap<String, Vec<usize>> =
        header.tensors().into_iter().map(|(name, info)| (name, info.shape.clone())).collect();
    if facts.format != Format::Sweep {
        let Names { ours, taken_off } = names::ours(shapes.keys().map(String::as_str))?;
        facts.taken_off = taken_off;
        shapes =
            shapes.into_iter().filter_map(|(name, shape)| Some((ours.get(&name)?.clone(), shape))).collect();
    }
    Ok(Summary { facts, shapes })
}

/// The header and every tensor.
pub(super) fn read_all(mut reader: impl Read, length: u64) -> Result<(Metadata, Weights), Flaw> {
    let header = read_header(&mut reader, length)?;
    let mut infos: Vec<(String, &TensorInfo)> = header.tensors().into_iter().collect();
    infos.sort_by(|(left_name, left), (right_name, right)| {
        left.data_offsets.cmp(&right.data_offsets).then(left_name.cmp(right_name))
    });
    let mut tensors = BTreeMap::new();
    let mut bytes = Vec::new();
    for (name, info) in infos {
        // Offsets are contiguous and end with the file: checked with the header.
        bytes.resize(info.data_offsets.1 - info.data_offsets.0, 0);
        reader.read_exact(&mut bytes)?;
        let values = element(info.dtype).decode(&bytes, &name)?;
        tensors.insert(name, Array { shape: info.shape.clone(), values });
    }
    Ok((header, tensors))
}

fn read_header(reader: &mut impl Read, length: u64) -> Result<Metadata, Flaw> {
    let mut size = [0; 8];
    reader.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    let rest = length.saturating_sub(8);
    if size > rest.min(MAX_HEADER) {
        return Err(Flaw::damaged(format!("its header claims {size} bytes of {rest}")));
    }
    let mut json = Vec::new();
    reader.take(size).read_to_end(&mut json)?;
    let header: Metadata = serde_json::from_slice(&json)
        .map_err(|error| Flaw::damaged(format!("its header is not safetensors: {error}")))?;
    let data = header.data_len() as u64;
    if data != rest - size {
        return Err(Flaw::damaged(format!(
            "its header describes {data} bytes of tensors, {} follow",
            rest - size
        )));
    }
    Ok(header)
}

fn strings(header: &Metadata) -> BTreeMap<String, String> {
    header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn facts_of(header: &Metadata) -> Result<Facts, Flaw> {
    let mut facts = Facts::from_header(&strings(header))?;
    facts.dtype = header.tensors().values().map(|info| element(info.dtype)).find_map(Element::foreign_name);
    Ok(facts)
}

fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::BOOL => Element::Other { name: "bool" },
        Dtype::U8 => Element::Other { name: "uint8" },
        Dtype::I8 => Element::Other { name: "int8" },
        Dtype::I16 => Element::Other { name: "int16" },
        Dtype::U16 => Element::Other { name: "uint16" },
        Dtype::I32 => Element::Other { name: "int32" },
        Dtype::U32 => Element::Other { name: "uint32" },
        Dtype::I64 => Element::Other { name: "int64" },
        Dtype::U64 => Element::Other { name: "uint64" },
        Dtype::F8_E4M3 => Element::Other { name: "float8_e4m3" },
        Dtype::F8_E5M2 => Element::Other { name: "float8_e5m2" },
        Dtype::F8_E8M0 => Element::Other { name: "float8_e8m0" },
        _ => Element::Other { name: "an unusual type" },
    }
}
