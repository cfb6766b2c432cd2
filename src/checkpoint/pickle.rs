//! What a pickle holds, as plain values.

use std::sync::Arc;

use serde_json::Value;

use super::bytes::Element;
use super::numpy::{Dtype, Form};

/// Number of a node.
pub(super) type Id = u32;

/// A Python value.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// In the order of insertion; the last of equal keys counts.
    Dict(Vec<(Id, Id)>),
    /// `module name`
    Global(Arc<str>),
    Storage(Box<Storage>),
    Tensor(Box<TensorRef>),
    NumpyType(Dtype),
    /// `None` = an array of objects, or one whose state has not come yet.
    Numpy(Option<Box<NumpyRef>>),
    /// A tensor (or storage) of a kind that is not read, and why.
    Foreign(Arc<str>),
    /// An object whose class we know nothing of and whose contents we do not need.
    Opaque(Arc<str>),
}

/// One file of raw numbers in the archive.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) element: Element,
    /// File name below `data/`.
    pub(super) key: String,
    /// Number of elements.
    pub(super) count: usize,
    /// Bytes per element.
    pub(super) width: u64,
    /// First element that views count from: 0 but in old files.
    pub(super) start: usize,
}

/// A view into a storage.
#[derive(Debug)]
pub(super) struct TensorRef {
    pub(super) storage: Id,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
    /// The values are the stored ones with the other sign (PyTorch's lazy negative bit).
    pub(super) negated: bool,
}

/// A numpy array.
#[derive(Debug)]
pub(super) struct NumpyRef {
    pub(super) form: Form,
    /// Its numbers: a node of bytes.
    pub(super) data: Id,
}

/// A pickle, read.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    pub(super) root: Id,
}

impl Pickle {
    /// `root` and every number inside `nodes` are below its length.
    pub(super) fn new(nodes: Vec<Node>, root: Id) -> Self {
        Self { nodes, root }
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A number as f64: Python floats, ints and bools, numpy scalars.
    pub(super) fn number(&self, id: Id) -> Option<f64> {
        match self.node(id) {
            Node::Float(value) => Some(*value),
            Node::Int(value) => Some(*value as f64),
            Node::Bool(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    /// All storages that are named.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// All entries of a dictionary.
    pub(super) fn pairs(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entries of a dictionary whose keys are strings; other keys are left out.
    pub(super) fn entries(&self, id: Id) -> Option<impl Iterator<Item = (&str, Id)>> {
        match self.node(id) {
            Node::Dict(entries) => {
                Some(entries.iter().filter_map(|(key, value)| Some((self.text(*key)?, *value))))
            }
            _ => None,
        }
    }

    /// The value under a string key of a dictionary.
    pub(super) fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.entries(id)?.filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// For people and for headers; tensors and objects become a note in angle brackets. Values below `depth`
    /// levels, or after `budget` values, are left out, so that shared nodes cannot multiply without end.
    pub(super) fn json(&self, id: Id, depth: usize, budget: &mut usize) -> Value {
        if depth == 0 || *budget == 0 {
            return Value::String("<...>".into());
        }
        *budget -= 1;
        match self.node(id) {
            Node::None => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::from(*value),
            Node::Float(value) => serde_json::Number::from_f64(*value)
                .map_or_else(|| Value::String(value.to_string()), Value::Number),
            Node::Text(text) => Value::String(text.clone()),
            Node::Bytes(bytes) => Value::String(format!("<{} bytes>", bytes.len())),
            Node::Tuple(items) | Node::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    if *budget == 0 {
                        break;
                    }
                    values.push(self.json(*item, depth - 1, budget));
                }
                Value::Array(values)
            }
            Node::Dict(entries) => {
                let mut map = serde_json::Map::new();
                for (key, value) in entries {
                    if *budget == 0 {
                        break;
                    }
                    let name = match self.node(*key) {
                        Node::Text(text) => text.clone(),
                        Node::Int(number) => number.to_string(),
                        _ => continue,
                    };
                    map.insert(name, self.json(*value, depth - 1, budget));
                }
                Value::Object(map)
            }
            Node::Tensor(tensor) => Value::String(format!("<tensor {:?}>", tensor.shape)),
            Node::Storage(storage) => Value::String(format!("<storage of {}>", storage.count)),
            Node::Numpy(Some(array)) => Value::String(format!("<numpy array {:?}>", array.form.shape)),
            Node::Numpy(None) => Value::String("<numpy array of objects>".into()),
            Node::NumpyType(_) => Value::String("<numpy.dtype>".into()),
            Node::Foreign(kind) => Value::String(format!("<{kind}>")),
            Node::Global(name) | Node::Opaque(name) => Value::String(format!("<{}>", name.replace(' ', "."))),
        }
    }
}

/// Longest pickle that is read: that of a model of 50,000 tensors. Reading takes up to 128 bytes per byte of pickle.
pub(super) const MAX_PICKLE: u64 = 16 << 20;

/// A little-endian two's complement integer; beyond 64 bits it is of no use here.
pub(super) fn long(digits: &[u8]) -> Node {
    if digits.len() > 8 {
        return Node::Opaque("int".into());
    }
    let sign = if digits.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut bytes = [sign; 8];
    bytes[..digits.len()].copy_from_slice(digits);
    Node::Int(i64::from_le_bytes(bytes))
}
