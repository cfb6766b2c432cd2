//! Checkpoints that can say what they are: weights by name and the facts about how they came to be.
//!
//! Families of files are told apart by their first bytes and not by their names: safetensors (ours, whose header
//! carries [`Facts`], and plain ones), PyTorch's zip of a pickle and raw storages (`.pt`), the same zip with
//! Lightning's names (`.ckpt`, "v2 format"), PyTorch's old format; a matrix also comes as numpy wrote it. Nothing in a file is ever executed, and what a file
//! claims about sizes is checked against its length before anything is allocated.

mod base;
mod bytes;
mod claims;
mod compare;
mod distances;
mod error;
mod facts;
mod find;
mod globals;
mod lookup;
mod model;
mod names;
mod numpy;
mod pickle;
mod safetensors_file;
mod torch;
mod torch_read;
mod torch_write;
mod unpickle;
mod weights;

use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

pub use base::{Base, write_onto};
pub use claims::{Claim, ClaimsError, Disagreement, Verdict, check, plain, read_claims};
pub use compare::{Change, Comparison, compare};
pub use distances::{Distances, NEAR, distances};
pub use error::CheckpointError;
pub use facts::{BURN_VERSION, Facts, Format, Frozen, HEADER_FORMAT, Phase};
pub use find::{Found, Latest, epoch_files, find, latest, named};
pub use lookup::{agrees, stated};
pub use model::hidden_and_layers;
pub use safetensors_file::{read_tensors, write_tensors};
pub use torch_write::export;
pub use weights::{Array, Checkpoint, Summary, Weights};

use error::Flaw;
use torch_read::TorchFile;

/// Reads weights and facts of a `.safetensors`, `.pt` or `.ckpt` file. Half and double precision become f32.
/// [`Facts::content`] is computed from what was read; one that the header states must agree with it.
///
/// # Errors
/// Unreadable, truncated or damaged files, foreign formats, and pickles that name anything but plain data and
/// tensors.
pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let file = open(path)?;
    read_from(file, path).map_err(|flaw| flaw.at(path))
}

/// [`read`] for a file that is in memory; `name` is used in messages, and to find a file that it shares parameters with.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(bytes: &[u8], name: &Path) -> Result<Checkpoint, CheckpointError> {
    read_from(Cursor::new(bytes), name).map_err(|flaw| flaw.at(name))
}

/// Reads only the header (safetensors) or the pickle (`.pt`, `.ckpt`): no weights. [`Facts::content`] is what the
/// header states, unchecked.
///
/// # Errors
/// As [`read`], as far as the header shows it.
pub fn read_facts(path: &Path) -> Result<Facts, CheckpointError> {
    read_summary(path).map(|summary| summary.facts)
}

/// [`read_facts`] with the parameters' shapes.
///
/// # Errors
/// As [`read_facts`].
pub fn read_summary(path: &Path) -> Result<Summary, CheckpointError> {
    let file = open(path)?;
    summary_from(file, path).map_err(|flaw| flaw.at(path))
}

/// Reads a file that holds exactly one 2-d float tensor, such as an embedding matrix: `.safetensors`, `.npy`, `.npz`,
/// or a PyTorch file with a tensor or numpy array, alone or as the only one of a dictionary, a list of rows, or a
/// dictionary of rows by id.
///
/// # Errors
/// As [`read`], and for any other number of tensors or dimensions.
pub fn read_matrix(path: &Path) -> Result<Array, CheckpointError> {
    let file = open(path)?;
    matrix_from(file).map_err(|flaw| flaw.at(path))
}

/// [`read_matrix`] for a file that is in memory; `name` is only used in messages.
///
/// # Errors
/// As [`read_matrix`].
pub fn read_matrix_bytes(bytes: &[u8], name: &Path) -> Result<Array, CheckpointError> {
    matrix_from(Cursor::new(bytes)).map_err(|flaw| flaw.at(name))
}

/// Writes `weights` as safetensors whose header carries `facts`, with [`Facts::content`] computed here and
/// [`Facts::format`] that of our files. Equal arguments give equal bytes. The file appears whole or not at all.
///
/// # Errors
/// I/O errors, and arrays whose shape and number of values disagree.
pub fn write(path: &Path, weights: &Weights, facts: &Facts) -> Result<(), CheckpointError> {
    let mut header = facts.of_whole_file().to_header();
    header.insert("content".into(), content_hash(weights));
    write_tensors(path, weights, &header)
}

/// blake3 (hex) over names, shapes and values: equal for equal weights, whatever file they came from.
pub fn content_hash(weights: &Weights) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, array) in weights {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&(array.shape.len() as u64).to_le_bytes());
        for &size in &array.shape {
            hasher.update(&(size as u64).to_le_bytes());
        }
        hasher.update(&bytes::encode(&array.values));
    }
    hasher.finalize().to_hex().to_string()
}

fn open(path: &Path) -> Result<BufReader<fs_err::File>, CheckpointError> {
    fs_err::File::open(path).map(BufReader::new).map_err(CheckpointError::Io)
}

/// The families of files, by their first bytes.
enum Family {
    Safetensors,
    Torch,
    /// A bare pickle: PyTorch's old format, or what `pickle.dump` writes.
    Pickle,
    Npy,
}

fn family(mut reader: impl Read + Seek) -> Result<(Family, u64), Flaw> {
    let length = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    reader.by_ref().take(24).read_to_end(&mut start)?;
    reader.seek(SeekFrom::Start(0))?;
    // First, for its length may begin with any bytes, those of a pickle among them.
    if is_safetensors(&start, length) {
        return Ok((Family::Safetensors, length));
    }
    match start.as_slice() {
        [] => Err(Flaw::damaged("it is empty")),
        [b'P', b'K', 3, 4, ..] => Ok((Family::Torch, length)),
        [0x80, 2..=5, ..] => Ok((Family::Pickle, length)),
        [_, _, _, _, _, _, _, _, b'{', ..] => Ok((Family::Safetensors, length)),
        start if start.starts_with(numpy::MAGIC) => Ok((Family::Npy, length)),
        start => Err(strange(start)),
    }
}

/// Whether a file of `length` bytes that begins with `start` is safetensors: the length of its header fits into it,
/// and the header begins as JSON.
fn is_safetensors(start: &[u8], length: u64) -> bool {
    let Some((size, rest)) = start.split_first_chunk() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*size) <= length.saturating_sub(8)
}

/// What a file is that is none of ours, as far as its first bytes tell.
fn strange(start: &[u8]) -> Flaw {
    if start.iter().all(|byte| *byte == 0) {
        return Flaw::damaged(
            "it begins with zeros: its contents were lost, perhaps when the machine went down",
        );
    }
    if start.starts_with(b"version https://git-lfs") {
        return Flaw::damaged(
            "it is a pointer of git-LFS, not the file itself\nhint: `git lfs pull` in its repository fetches the file",
        );
    }
    if start.starts_with(&[0x1f, 0x8b]) {
        return Flaw::foreign("it is compressed by gzip", "unpack it with gunzip first");
    }
    if start.iter().any(|byte| !byte.is_ascii_whitespace()) && start.trim_ascii().starts_with(b"<") {
        return Flaw::foreign(
            "it is a web page, not a checkpoint",
            "was the download refused? fetch it again",
        );
    }
    Flaw::foreign(
        "it is neither safetensors, nor a PyTorch file, nor an array of numpy",
        "checkpoints are .safetensors, .pt or .ckpt files",
    )
}

fn read_from(mut reader: impl Read + Seek, path: &Path) -> Result<Checkpoint, Flaw> {
    let (family, length) = family(&mut reader)?;
    let mut checkpoint = match family {
        Family::Safetensors => {
            let mut found = safetensors_file::read_checkpoint(reader, length)?;
            base::complete(&mut found, path)?;
            found
        }
        Family::Torch | Family::Pickle => torch_read::read_checkpoint(reader, length)?,
        Family::Npy => return Err(one_array()),
    };
    let content = content_hash(&checkpoint.weights);
    if let Some(stated) = &checkpoint.facts.content
        && *stated != content
    {
        return Err(Flaw::damaged(format!(
            "its header states the content hash {}, its tensors have {}",
            short(stated),
            short(&content)
        )));
    }
    checkpoint.facts.content = Some(content);
    Ok(checkpoint)
}

fn summary_from(mut reader: impl Read + Seek, path: &Path) -> Result<Summary, Flaw> {
    match family(&mut reader)? {
        (Family::Safetensors, length) => {
            let mut summary = safetensors_file::read_summary(reader, length)?;
            base::complete_shapes(&mut summary, path)?;
            Ok(summary)
        }
        (Family::Torch | Family::Pickle, length) => torch_read::read_summary(reader, length),
        (Family::Npy, _) => Err(one_array()),
    }
}

fn one_array() -> Flaw {
    Flaw::foreign("it is an array of numpy, not a model", "checkpoints are .safetensors, .pt or .ckpt files")
}

fn matrix_from(mut reader: impl Read + Seek) -> Result<Array, Flaw> {
    let tensors = match family(&mut reader)? {
        (Family::Safetensors, length) => safetensors_file::read_all(reader, length)?.1,
        (Family::Torch, length) => {
            let archive = zip::ZipArchive::new(reader).map_err(error::zip_flaw)?;
            if numpy::is_npz(&archive) {
                return two_dimensional(numpy::read_npz(archive, length)?);
            }
            return TorchFile::open_zip(archive, length)?.matrix();
        }
        (Family::Pickle, length) => return TorchFile::open(reader, length)?.matrix(),
        (Family::Npy, length) => return two_dimensional(numpy::read_npy(reader, length, "array")?),
    };
    let count = tensors.len();
    let mut tensors = tensors.into_iter();
    match (tensors.next(), count) {
        (Some((_, array)), 1) if array.shape.len() == 2 => Ok(array),
        (Some((name, array)), 1) => Err(Flaw::foreign(
            format!("its tensor `{name}` has the shape {:?}", array.shape),
            "expected one matrix [rows, dim]",
        )),
        _ => {
            Err(Flaw::foreign(format!("it holds {count} tensors"), "expected exactly one matrix [rows, dim]"))
        }
    }
}

fn two_dimensional(array: Array) -> Result<Array, Flaw> {
    match array.shape.len() {
        2 => Ok(array),
        _ => Err(Flaw::foreign(
            format!("its array has the shape {:?}", array.shape),
            "expected one matrix [rows, dim]",
        )),
    }
}

/// The first number of `weights` that is not finite: its parameter, its place in it and its value.
pub fn not_finite(weights: &Weights) -> Option<(&str, usize, f32)> {
    weights.iter().find_map(|(name, array)| {
        let at = array.values.iter().position(|value| !value.is_finite())?;
        Some((name.as_str(), at, array.values[at]))
    })
}

/// The first digits of a hash: what people compare by eye.
pub fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

#[cfg(test)]
mod tests;
