//! PyTorch's files: a pickle describes the objects; a zip holds it as `NAME/data.pkl` with the raw numbers in
//! `NAME/data/<key>`, the old format holds them one after the other.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek, SeekFrom};

use serde_json::Value;
use zip::ZipArchive;
use zip::result::ZipError;

use super::bytes::Element;
use super::error::{Flaw, zip_flaw};
use super::facts::{Facts, Format, Phase};
use super::names::{self, Names};
use super::pickle::{Id, MAX_PICKLE, Node, Pickle, Storage, TensorRef};
use super::torch::legacy;
use super::unpickle::unpickle;
use super::{Array, Checkpoint, Summary};
use crate::spec::group_of;

/// Key of exported checkpoints under which our own facts travel.
pub(super) const FACTS_KEY: &str = "sweep";

pub(super) fn read_checkpoint(reader: impl Read + Seek, length: u64) -> Result<Checkpoint, Flaw> {
    let mut file = TorchFile::open(reader, length)?;
    let found = file.parameters()?;
    let facts = file.facts(&found)?;
    let weights = file.load(found.parameters)?;
    Ok(Checkpoint { weights, facts })
}

pub(super) fn read_summary(reader: impl Read + Seek, length: u64) -> Result<Summary, Flaw> {
    let file = TorchFile::open(reader, length)?;
    let found = file.parameters()?;
    let facts = file.facts(&found)?;
    let shapes = found
        .parameters
        .into_iter()
        .map(|(name, id)| file.shape(&name, id).map(|(shape, _)| (name, shape)))
        .collect::<Result<_, _>>()?;
    Ok(Summary { facts, shapes })
}

/// An opened file with its pickle.
pub(super) struct TorchFile<R> {
    raw: Raw<R>,
    pub(super) pickle: Pickle,
    length: u64,
}

/// Where the numbers are.
enum Raw<R> {
    /// `prefix`: what precedes `data.pkl` in the archive's names.
    Zip {
        archive: ZipArchive<R>,
        prefix: String,
    },
    Places {
        reader: R,
        places: legacy::Places,
    },
}

/// The selector's parameters under our names, and where they were found.
struct Found {
    format: Format,
    /// The dictionary they are in.
    dict: Id,
    parameters: BTreeMap<String, Id>,
    taken_off: Option<String>,
}

impl<R: Read + Seek> TorchFile<R> {
    pub(super) fn open(mut reader: R, length: u64) -> Result<Self, Flaw> {
        let mut start = [0; 2];
        reader.seek(SeekFrom::Start(0))?;
        reader.read_exact(&mut start)?;
        reader.seek(SeekFrom::Start(0))?;
        if start != *b"PK" {
            let (pickle, places) = legacy::open(&mut reader, length)?;
            return Ok(Self { raw: Raw::Places { reader, places }, pickle, length });
        }
        Self::open_zip(ZipArchive::new(reader).map_err(zip_flaw)?, length)
    }

    pub(super) fn open_zip(mut archive: ZipArchive<R>, length: u64) -> Result<Self, Flaw> {
        let name = archive.file_names().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
        let Some(prefix) = name.and_then(|name| name.strip_suffix("data.pkl")).map(str::to_string) else {
            return Err(Flaw::foreign("it is a zip without data.pkl", "expected what `torch.save` writes"));
        };
        check_sizes(&mut archive, length)?;
        let order = format!("{prefix}byteorder");
        if archive.index_for_name(&order).is_some() && entry(&mut archive, &order, 16)? != b"little" {
            return Err(Flaw::foreign("it was saved on a big-endian machine", "save it again on a PC"));
        }
        let pickle = unpickle(&entry(&mut archive, &format!("{prefix}data.pkl"), MAX_PICKLE)?)?;
        Ok(Self { raw: Raw::Zip { archive, prefix }, pickle, length })
    }

    /// The tensors of the dictionary `id` by name, those included that cannot be read.
    fn tensors_of(&self, id: Id) -> Result<Vec<(&str, Id)>, Flaw> {
        let entries = self.pickle.entries(id).ok_or_else(|| {
            let class = match self.pickle.node(id) {
                Node::Opaque(class) => format!(", but an object of class {}", class.replace(' ', ".")),
                _ => String::new(),
            };
            Flaw::foreign(
                format!("it holds no dictionary of tensors{class}"),
                "save `model.state_dict()`, not the model itself",
            )
        })?;
        let is_tensor = |id: Id| matches!(self.pickle.node(id), Node::Tensor(_) | Node::Foreign(_));
        Ok(entries.filter(|(_, value)| is_tensor(*value)).collect())
    }

    fn parameters(&self) -> Result<Found, Flaw> {
        let root = self.pickle.root;
        if matches!(self.pickle.node(root), Node::Tensor(_) | Node::Numpy(_)) {
            return Err(Flaw::foreign("it holds one tensor, not a model", "a checkpoint is a state dict"));
        }
        let (format, dict) =
            match (self.pickle.get(root, "model_state_dict"), self.pickle.get(root, "state_dict")) {
                (Some(dict), _) => (Format::TorchTraining, dict),
                (None, Some(dict)) => (Format::LightningV2, dict),
                (None, None) => (Format::TorchStateDict, root),
            };
        let tensors = self.tensors_of(dict)?;
        let Names { ours, taken_off } = names::ours(tensors.iter().map(|(name, _)| *name))?;
        let ids = tensors.into_iter().filter_map(|(name, id)| Some((ours.get(name)?.clone(), id)));
        let parameters: BTreeMap<String, Id> = ids.collect();
        if parameters.is_empty() {
            return Err(Flaw::foreign(
                "it holds no tensors",
                "expected a state dict, alone or under `model_state_dict` or `state_dict`",
            ));
        }
        Ok(Found { format, dict, parameters, taken_off })
    }

    fn facts(&self, found: &Found) -> Result<Facts, Flaw> {
        let mut facts = match self.pickle.get(self.pickle.root, FACTS_KEY) {
            Some(own) => {
                let own = self.pickle.entries(own).into_iter().flatten();
                let header =
                    own.filter_map(|(key, value)| Some((key.into(), self.pickle.text(value)?.to_string())));
                Facts::from_header(&header.collect())?
            }
            None => Facts::default(),
        };
        facts.format = found.format;
        facts.taken_off = found.taken_off.clone();
        for (name, id) in &found.parameters {
            facts.dtype = facts.dtype.or(self.shape(name, *id)?.1.foreign_name());
        }
        self.beside(found, &mut facts)?;
        if found.format != Format::TorchStateDict {
            for (key, value) in self.pickle.entries(self.pickle.root).into_iter().flatten() {
                self.fact(&mut facts, key, value);
            }
        }
        Ok(facts)
    }

    /// What lies among the tensors and is none.
    ///
    /// # Errors
    /// An object in the place of a parameter.
    fn beside(&self, found: &Found, facts: &mut Facts) -> Result<(), Flaw> {
        let entries = self.pickle.entries(found.dict).into_iter().flatten();
        for (name, value) in entries.filter(|(name, _)| *name != "_metadata") {
            let words = match self.pickle.node(value) {
                Node::Tensor(_) | Node::Foreign(_) => continue,
                _ => self.pickle.json(value, 8, &mut 1000),
            };
            if matches!(self.pickle.node(value), Node::Opaque(_) | Node::Numpy(_)) && group_of(name).is_some()
            {
                return Err(not_a_tensor(name, &super::plain(&words)));
            }
            if facts.extra.len() < 1000 {
                facts.extra.insert(name.to_string(), words);
            }
        }
        Ok(())
    }

    /// Takes over what the top-level key `key` says.
    fn fact(&self, facts: &mut Facts, key: &str, value: Id) {
        let pickle = &self.pickle;
        let mut understood = true;
        match key {
            "model_state_dict" | "state_dict" | "optimizer_state_dict" | FACTS_KEY => {}
            "epoch" => {
                facts.stored_epoch = pickle.int(value);
                let epoch = pickle.int(value).and_then(|epoch| epoch.checked_add(1));
                facts.epoch = epoch.and_then(|epoch| u32::try_from(epoch).ok());
                understood = facts.epoch.is_some();
            }
            "global_step" => facts.global_step = pickle.int(value),
            "phase" => {
                let phase = pickle.text(value).and_then(|text| text.parse::<Phase>().ok());
                understood = phase.is_some();
                facts.phase = phase.or(facts.phase.take());
            }
            "kl_beta" => {
                facts.kl_beta = pickle.number(value);
                understood = facts.kl_beta.is_some();
            }
            "lr" | "learning_rate" => facts.lr = pickle.number(value),
            "metrics" => {
                let entries = pickle.entries(value).into_iter().flatten();
                facts.metrics = entries
                    .filter_map(|(key, value)| Some((key.to_string(), pickle.number(value)?)))
                    .collect();
                facts.kl_beta_end = facts.kl_beta_end.or(facts.metrics.get("beta").copied());
                let entries = pickle.entries(value).into_iter().flatten();
                let others: serde_json::Map<String, Value> = entries
                    .filter(|(_, value)| pickle.number(*value).is_none())
                    .take(1000)
                    .map(|(key, value)| (key.to_string(), pickle.json(value, 8, &mut 1000)))
                    .collect();
                if !others.is_empty() {
                    facts.extra.insert("metrics".into(), Value::Object(others));
                }
            }
            "hyper_parameters" => {
                let number = |key| pickle.get(value, key).and_then(|id| pickle.number(id));
                facts.lr = facts.lr.or(number("lr"));
                facts.kl_beta = facts.kl_beta.or(number("kl_beta"));
                understood = false;
            }
            _ => understood = false,
        }
        if !understood {
            let rest = pickle.json(value, 8, &mut 10_000);
            if rest != Value::Null {
                facts.extra.insert(key.to_string(), rest);
            }
        }
    }

    /// Shape and element type of a tensor or a numpy array.
    fn shape(&self, name: &str, id: Id) -> Result<(Vec<usize>, Element), Flaw> {
        match self.pickle.node(id) {
            Node::Numpy(Some(array)) => Ok((array.form.shape.clone(), array.form.dtype.element)),
            _ => self.tensor(name, id).map(|(tensor, storage)| (tensor.shape.clone(), storage.element)),
        }
    }

    /// A tensor and its storage, with all sizes checked against each other.
    fn tensor(&self, name: &str, id: Id) -> Result<(&TensorRef, &Storage), Flaw> {
        let tensor = match self.pickle.node(id) {
            Node::Tensor(tensor) => tensor,
            Node::Foreign(kind) => return Err(not_a_tensor(name, kind)),
            _ => return Err(Flaw::damaged(format!("`{name}` is not a tensor"))),
        };
        let Node::Storage(storage) = self.pickle.node(tensor.storage) else {
            return Err(Flaw::damaged(format!("`{name}` has no storage")));
        };
        let end = extent(tensor).and_then(|extent| extent.checked_add(tensor.offset));
        if end.is_none_or(|end| end > storage.count) {
            return Err(Flaw::damaged(format!(
                "`{name}` of shape {:?} does not fit into its storage of {} elements",
                tensor.shape, storage.count
            )));
        }
        Ok((tensor, storage))
    }

    /// The values of `tensors`.
    fn load(&mut self, tensors: BTreeMap<String, Id>) -> Result<BTreeMap<String, Array>, Flaw> {
        let mut loader = Loader::new(self);
        tensors.into_iter().map(|(name, id)| Ok((name.clone(), loader.load(&name, id)?))).collect()
    }
}

/// Reads tensors; each storage once.
pub(super) struct Loader<'a, R> {
    file: &'a mut TorchFile<R>,
    raw: HashMap<String, Vec<u8>>,
    /// Bytes that may still be made. Views may overlap or repeat one element, but an honest file holds its numbers
    /// about once.
    budget: u64,
}

impl<'a, R: Read + Seek> Loader<'a, R> {
    pub(super) fn new(file: &'a mut TorchFile<R>) -> Self {
        let budget = file.length.saturating_mul(8);
        Self { file, raw: HashMap::new(), budget }
    }

    /// The values of one tensor or numpy array; `name` is for messages.
    pub(super) fn load(&mut self, name: &str, id: Id) -> Result<Array, Flaw> {
        if let Node::Numpy(Some(array)) = self.file.pickle.node(id) {
            let (form, data) = (array.form.clone(), array.data);
            self.spend(form.size(name)? as u64)?;
            let Node::Bytes(bytes) = self.file.pickle.node(data) else {
                return Err(Flaw::damaged(format!("`{name}` has no numbers")));
            };
            return form.decode(bytes, name);
        }
        let (tensor, storage) = self.file.tensor(name, id)?;
        let count = tensor.shape.iter().product::<usize>() as u64;
        let Some(size) = storage.element.size() else {
            return Err(Element::unreadable(storage.element, name));
        };
        let (key, bytes) = (storage.key.clone(), storage.count.saturating_mul(size));
        self.spend(count.saturating_mul(4))?;
        if !self.raw.contains_key(&key) {
            let data = self.file.raw.storage(&key, bytes as u64)?;
            if data.len() != bytes {
                return Err(Flaw::damaged(format!("storage `{key}` has {} bytes of {bytes}", data.len())));
            }
            self.raw.insert(key.clone(), data);
        }
        let data = &self.raw[&key];
        if data.len() != bytes {
            return Err(Flaw::damaged(format!("storage `{key}` has {} bytes of {bytes}", data.len())));
        }
        let (tensor, storage) = self.file.tensor(name, id)?;
        let mut values = storage.element.decode(&gather(tensor, size, data), name)?;
        if tensor.negated {
            values.iter_mut().for_each(|value| *value = -*value);
        }
        Ok(Array { shape: tensor.shape.clone(), values })
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Flaw> {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.ok_or_else(|| Flaw::damaged("its tensors are larger than the file"))?;
        Ok(())
    }
}

impl<R: Read + Seek> Raw<R> {
    /// The bytes of the storage `key`, at most `limit`.
    fn storage(&mut self, key: &str, limit: u64) -> Result<Vec<u8>, Flaw> {
        match self {
            Self::Zip { archive, prefix } => entry(archive, &format!("{prefix}data/{key}"), limit),
            Self::Places { reader, places } => {
                let (at, bytes) =
                    *places.get(key).ok_or_else(|| Flaw::damaged(format!("it has no storage `{key}`")))?;
                reader.seek(SeekFrom::Start(at))?;
                let mut data = Vec::new();
                reader.by_ref().take(bytes.min(limit)).read_to_end(&mut data)?;
                Ok(data)
            }
        }
    }
}

/// Something else stands where a parameter is expected.
fn not_a_tensor(name: &str, what: &str) -> Flaw {
    Flaw::foreign(
        format!("its `{name}` is {what}"),
        "parameters and embeddings are plain tensors of floating point: convert it with torch and save it again",
    )
}

/// The bytes of a view in row-major order; that it lies within `data` was checked.
fn gather<'a>(tensor: &TensorRef, size: usize, data: &'a [u8]) -> Cow<'a, [u8]> {
    let count = tensor.shape.iter().product::<usize>();
    if count == 0 {
        return Cow::Borrowed(&[]);
    }
    if contiguous(tensor) {
        return Cow::Borrowed(&data[tensor.offset * size..(tensor.offset + count) * size]);
    }
    let mut bytes = Vec::with_capacity(count * size);
    let mut index = vec![0; tensor.shape.len()];
    for _ in 0..count {
        let place: usize = index.iter().zip(&tensor.stride).map(|(index, stride)| index * stride).sum();
        let start = (tensor.offset + place) * size;
        bytes.extend_from_slice(&data[start..start + size]);
        for (index, size) in index.iter_mut().zip(&tensor.shape).rev() {
            *index += 1;
            if *index < *size {
                break;
            }
            *index = 0;
        }
    }
    Cow::Owned(bytes)
}

fn contiguous(tensor: &TensorRef) -> bool {
    let mut expected = 1;
    tensor.shape.iter().zip(&tensor.stride).rev().all(|(size, stride)| {
        let fits = *size <= 1 || *stride == expected;
        expected *= size;
        fits
    })
}

/// Number of storage elements from a view's first to its last, and `None` when that, or the number of its
/// elements, overflows.
fn extent(tensor: &TensorRef) -> Option<usize> {
    let count = tensor.shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size))?;
    if count == 0 {
        return Some(0);
    }
    let mut last = 0usize;
    for (size, stride) in tensor.shape.iter().zip(&tensor.stride) {
        last = last.checked_add((size - 1).checked_mul(*stride)?)?;
    }
    last.checked_add(1)
}

/// Entries are stored, not compressed, and together no longer than the file: nothing can unfold into more.
fn check_sizes<R: Read + Seek>(archive: &mut ZipArchive<R>, length: u64) -> Result<(), Flaw> {
    let mut left = length;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(zip_flaw)?;
        if entry.size() != entry.compressed_size() {
            return Err(Flaw::foreign(
                format!("its entry `{}` is compressed", entry.name()),
                "`torch.save` does not compress; save it again",
            ));
        }
        let rest = left.checked_sub(entry.size());
        left = rest.ok_or_else(|| Flaw::damaged("its entries are longer than the file"))?;
    }
    Ok(())
}

/// The bytes of one entry of at most `limit` bytes; the zip reader checks their CRC.
fn entry<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str, limit: u64) -> Result<Vec<u8>, Flaw> {
    let mut entry = archive.by_name(name).map_err(|error| match error {
        ZipError::FileNotFound => Flaw::damaged(format!("it has no entry `{name}`")),
        other => zip_flaw(other),
    })?;
    if entry.size() > limit {
        return Err(Flaw::damaged(format!("its entry `{name}` has {} bytes of {limit}", entry.size())));
    }
    let mut bytes = Vec::new();
    entry
        .read_to_end(&mut bytes)
        .map_err(|error| Flaw::damaged(format!("its entry `{name}` cannot be read: {error}")))?;
    Ok(bytes)
}
