//! PyTorch's zip: `NAME/data.pkl` describes the objects, `NAME/data/<key>` holds the raw numbers.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek};

use serde_json::Value;
use zip::ZipArchive;
use zip::result::ZipError;

use super::bytes::Element;
use super::error::Flaw;
use super::facts::{Facts, Format, Phase};
use super::pickle::{Id, Node, Pickle, Storage, TensorRef};
use super::unpickle::unpickle;
use super::{Array, Checkpoint, Summary};

/// Longest pickle that is read: that of a model of 50,000 tensors. Reading takes up to 128 bytes per byte of pickle.
const MAX_PICKLE: u64 = 16 << 20;
/// Where Lightning keeps the selector, and what precedes its names there.
pub(super) const V2_PREFIX: &str = "lever_lm.pointer_selector.";
/// Names of layer 0 in the v2 format and here.
pub(super) const V2_LAYER: [(&str, &str); 2] =
    [("cross_attn.", "cross_attn_layers.0."), ("attn_norm.", "attn_norms.0.")];
/// Key of exported checkpoints under which our own facts travel.
pub(super) const FACTS_KEY: &str = "sweep";

pub(super) fn read_checkpoint(reader: impl Read + Seek, length: u64) -> Result<Checkpoint, Flaw> {
    let mut file = TorchFile::open(reader, length)?;
    let (format, tensors) = file.parameters()?;
    let facts = file.facts(format, &tensors)?;
    let weights = file.load(tensors)?;
    Ok(Checkpoint { weights, facts })
}

pub(super) fn read_summary(reader: impl Read + Seek, length: u64) -> Result<Summary, Flaw> {
    let file = TorchFile::open(reader, length)?;
    let (format, tensors) = file.parameters()?;
    let facts = file.facts(format, &tensors)?;
    let shapes = tensors
        .into_iter()
        .map(|(name, id)| file.tensor(&name, id).map(|(tensor, _)| (name, tensor.shape.clone())))
        .collect::<Result<_, _>>()?;
    Ok(Summary { facts, shapes })
}

/// A tensor saved alone (under the empty name), or those of a dictionary.
pub(super) fn read_any(reader: impl Read + Seek, length: u64) -> Result<BTreeMap<String, Array>, Flaw> {
    let mut file = TorchFile::open(reader, length)?;
    let root = file.pickle.root;
    let tensors = match file.pickle.node(root) {
        Node::Tensor(_) => [(String::new(), root)].into(),
        _ => file.tensors_of(root)?.into_iter().map(|(name, id)| (name.to_string(), id)).collect(),
    };
    file.load(tensors)
}

/// An opened archive with its pickle.
struct TorchFile<R> {
    archive: ZipArchive<R>,
    /// What precedes `data.pkl` in the archive's names.
    prefix: String,
    pickle: Pickle,
    length: u64,
}

impl<R: Read + Seek> TorchFile<R> {
    fn open(reader: R, length: u64) -> Result<Self, Flaw> {
        let mut archive = ZipArchive::new(reader).map_err(zip_flaw)?;
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
        Ok(Self { archive, prefix, pickle, length })
    }

    /// The tensors of the dictionary `id` by name.
    fn tensors_of(&self, id: Id) -> Result<Vec<(&str, Id)>, Flaw> {
        let entries = self.pickle.entries(id).ok_or_else(|| {
            Flaw::foreign(
                "it holds no dictionary of tensors",
                "save `model.state_dict()`, not the model itself",
            )
        })?;
        Ok(entries.filter(|(_, value)| matches!(self.pickle.node(*value), Node::Tensor(_))).collect())
    }

    /// The selector's parameters under our names, and the kind of file that they came from.
    fn parameters(&self) -> Result<(Format, BTreeMap<String, Id>), Flaw> {
        let root = self.pickle.root;
        if matches!(self.pickle.node(root), Node::Tensor(_)) {
            return Err(Flaw::foreign("it holds one tensor, not a model", "a checkpoint is a state dict"));
        }
        let (format, dict) =
            match (self.pickle.get(root, "model_state_dict"), self.pickle.get(root, "state_dict")) {
                (Some(dict), _) => (Format::TorchTraining, dict),
                (None, Some(dict)) => (Format::LightningV2, dict),
                (None, None) => (Format::TorchStateDict, root),
            };
        let tensors = self.tensors_of(dict)?;
        let prefixed = tensors.iter().any(|(name, _)| name.starts_with(V2_PREFIX));
        let mut parameters = BTreeMap::new();
        for (name, id) in tensors {
            let Some(name) = (if prefixed { name.strip_prefix(V2_PREFIX) } else { Some(name) }) else {
                continue;
            };
            if parameters.insert(our_name(name), id).is_some() {
                return Err(Flaw::damaged(format!("it holds `{name}` twice")));
            }
        }
        if parameters.is_empty() {
            return Err(Flaw::foreign(
                "it holds no tensors",
                "expected a state dict, alone or under `model_state_dict` or `state_dict`",
            ));
        }
        Ok((format, parameters))
    }

    fn facts(&self, format: Format, parameters: &BTreeMap<String, Id>) -> Result<Facts, Flaw> {
        let mut facts = match self.pickle.get(self.pickle.root, FACTS_KEY) {
            Some(own) => {
                let own = self.pickle.entries(own).into_iter().flatten();
                let header =
                    own.filter_map(|(key, value)| Some((key.into(), self.pickle.text(value)?.to_string())));
                Facts::from_header(&header.collect())?
            }
            None => Facts::default(),
        };
        facts.format = format;
        for (name, id) in parameters {
            facts.dtype = facts.dtype.or(self.tensor(name, *id)?.1.element.foreign_name());
        }
        if format != Format::TorchStateDict {
            for (key, value) in self.pickle.entries(self.pickle.root).into_iter().flatten() {
                self.fact(&mut facts, key, value);
            }
        }
        Ok(facts)
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
                facts.phase = phase.or(facts.phase);
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

    /// A tensor and its storage, with all sizes checked against each other.
    fn tensor(&self, name: &str, id: Id) -> Result<(&TensorRef, &Storage), Flaw> {
        let Node::Tensor(tensor) = self.pickle.node(id) else {
            return Err(Flaw::damaged(format!("`{name}` is not a tensor")));
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
        let mut raw: HashMap<String, Vec<u8>> = HashMap::new();
        // Views may overlap or repeat one element, but an honest file holds its numbers about once.
        let mut budget = self.length.saturating_mul(8);
        let mut arrays = BTreeMap::new();
        for (name, id) in tensors {
            let (tensor, storage) = self.tensor(&name, id)?;
            let count = tensor.shape.iter().product::<usize>() as u64;
            let left = budget.checked_sub(count.saturating_mul(4));
            budget = left.ok_or_else(|| Flaw::damaged("its tensors are larger than the file"))?;
            let Some(size) = storage.element.size() else {
                return Err(Element::unreadable(storage.element, &name));
            };
            let (key, bytes) = (storage.key.clone(), storage.count.saturating_mul(size));
            if !raw.contains_key(&key) {
                let path = format!("{}data/{key}", self.prefix);
                raw.insert(key.clone(), entry(&mut self.archive, &path, bytes as u64)?);
            }
            let data = &raw[&key];
            if data.len() != bytes {
                return Err(Flaw::damaged(format!("storage `{key}` has {} bytes of {bytes}", data.len())));
            }
            let (tensor, storage) = self.tensor(&name, id)?;
            let values = storage.element.decode(&gather(tensor, size, data), &name)?;
            arrays.insert(name, Array { shape: tensor.shape.clone(), values });
        }
        Ok(arrays)
    }
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

/// The v2 format's name for a parameter -> ours.
fn our_name(name: &str) -> String {
    for (theirs, ours) in V2_LAYER {
        if let Some(rest) = name.strip_prefix(theirs) {
            return format!("{ours}{rest}");
        }
    }
    name.to_string()
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

fn zip_flaw(error: ZipError) -> Flaw {
    match error {
        ZipError::Io(error) if error.raw_os_error().is_some() => Flaw::Io(error),
        ZipError::InvalidArchive(what) => {
            Flaw::damaged(format!("it is cut short or no longer a zip ({what})"))
        }
        other => Flaw::damaged(format!("as a zip: {other}")),
    }
}
