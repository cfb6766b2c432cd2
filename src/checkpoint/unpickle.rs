//! A reader of the pickles that `torch.save` writes, which executes nothing.
//!
//! Why our own: burn-store 0.21's reader fills a tensor whose storage is missing or too short with zeros, ignores
//! strides, clones whole object trees at every memo reference (a few bytes can ask for any amount of memory) and
//! takes buffer lengths from the file unchecked. Here every opcode makes at most one node in an arena, containers
//! hold node numbers, so time and memory are linear in the pickle's length, and there is no recursion.
//!
//! Only globals on a short list are accepted: tensors, storages, ordered dictionaries, numpy scalars, and some
//! classes that configurations are made of, which stay opaque. Anything else is refused by name.

use std::collections::HashMap;

use super::error::Flaw;
use super::globals::{harmless, known, storage_element};
use super::pickle::{Id, Node, Pickle, Storage, TensorRef};

/// Most nodes that one pickle may make. A model of 100,000 tensors needs about a million.
const MAX_NODES: usize = 2_000_000;

/// Reads a pickle of protocol 2 to 5.
///
/// # Errors
/// [`Flaw::Refused`] for globals that are not on the list, [`Flaw::Damaged`] for anything malformed.
pub(super) fn unpickle(bytes: &[u8]) -> Result<Pickle, Flaw> {
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(Pickle::new(machine.nodes, root)),
            Err(Flaw::Damaged(what)) => return Err(Flaw::damaged(format!("its pickle, byte {at}: {what}"))),
            Err(other) => return Err(other),
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    /// One opcode; the root at STOP. Scalars and stack operations here, the rest in [`Machine::build`].
    fn step(&mut self) -> Result<Option<Id>, Flaw> {
        let opcode = self.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => match self.byte()? {
                2..=5 => {}
                other => return Err(Flaw::damaged(format!("protocol {other}"))),
            },
            0x95 => _ = self.take(8)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => _ = self.pop()?,
            b'1' => _ = self.pop_mark()?,
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'K' => {
                let value = self.byte()?;
                self.push(Node::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()))?;
            }
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()))?;
            }
            0x8a => {
                let length = self.byte()?.into();
                let digits = self.take(length)?;
                let node = long(digits);
                self.push(node)?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(value))?;
            }
            b'q' => {
                let key = self.byte()?.into();
                self.remember(key)?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key)?;
            }
            0x94 => self.remember(u32::try_from(self.memo.len()).unwrap_or(u32::MAX))?,
            b'h' => {
                let key = self.byte()?.into();
                self.recall(key)?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }
            _ => self.build(opcode)?,
        }
        Ok(None)
    }

    /// Opcodes that make texts, containers and objects.
    fn build(&mut self, opcode: u8) -> Result<(), Flaw> {
        match opcode {
            b'X' | b'T' | 0x8c | b'U' | 0x8d => {
                let length = self.length(opcode)?;
                let text = std::str::from_utf8(self.take(length)?)
                    .map_err(|_| Flaw::damaged("a text that is not UTF-8"))?
                    .to_string();
                self.push(Node::Text(text))
            }
            b'B' | b'C' | 0x8e => {
                let length = self.length(opcode)?;
                let bytes = self.take(length)?.to_vec();
                self.push(Node::Bytes(bytes))
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b']' => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Node::Tuple(items))
            }
            b'a' => {
                let items = self.pop_many(1)?;
                self.append(items)
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(&items)
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.global(&module, &name)
            }
            0x93 => self.stack_global(),
            b'R' | 0x81 => {
                let parts = self.pop_many(2)?;
                self.call(parts[0], parts[1])
            }
            // The state of an object (`_metadata` of a state dict, a dtype's byte order): nothing we need.
            b'b' => self.pop().and_then(|_| self.top()).map(drop),
            b'Q' => self.persistent(),
            _ => Err(Flaw::damaged(format!("unexpected opcode {opcode:#04x}"))),
        }
    }

    fn byte(&mut self) -> Result<u8, Flaw> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Flaw> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| Flaw::damaged("it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The length that precedes a text or bytes.
    fn length(&mut self, opcode: u8) -> Result<usize, Flaw> {
        Ok(match opcode {
            0x8c | b'U' | b'C' => self.byte()?.into(),
            0x8d | 0x8e => usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX),
            _ => usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX),
        })
    }

    /// A text up to the end of the line.
    fn line(&mut self) -> Result<String, Flaw> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n');
        let line = length.and_then(|length| std::str::from_utf8(&rest[..length]).ok());
        let line = line.ok_or_else(|| Flaw::damaged("a name without an end"))?;
        self.at += line.len() + 1;
        Ok(line.to_string())
    }

    fn push(&mut self, node: Node) -> Result<(), Flaw> {
        if self.nodes.len() >= MAX_NODES {
            return Err(Flaw::damaged(format!("more than {MAX_NODES} values")));
        }
        // The limit is far below 2^32.
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
        Ok(())
    }

    /// The lowest stack height that an opcode may take from: what lies below a mark is not its own.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, Flaw> {
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
        Ok(self.stack.split_off(start.ok_or_else(|| Flaw::damaged("an empty stack"))?))
    }

    fn pop(&mut self) -> Result<Id, Flaw> {
        Ok(self.pop_many(1)?[0])
    }

    fn top(&self) -> Result<Id, Flaw> {
        let own = self.stack.len() > self.floor();
        self.stack.last().copied().filter(|_| own).ok_or_else(|| Flaw::damaged("an empty stack"))
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Flaw> {
        let height = self.marks.pop().ok_or_else(|| Flaw::damaged("an end without a beginning"))?;
        Ok(self.stack.split_off(height))
    }

    fn remember(&mut self, key: u32) -> Result<(), Flaw> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), Flaw> {
        let id = *self.memo.get(&key).ok_or_else(|| Flaw::damaged(format!("unknown reference {key}")))?;
        self.stack.push(id);
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), Flaw> {
        let list = self.top()?;
        match &mut self.nodes[list as usize] {
            Node::List(list) => list.extend(items),
            Node::Opaque(_) => {}
            _ => return Err(Flaw::damaged("items for something that is not a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), Flaw> {
        let dict = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.nodes[dict as usize] {
            Node::Dict(entries) if rest.is_empty() => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            Node::Opaque(_) => {}
            _ => return Err(Flaw::damaged("entries for something that is not a dictionary")),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Flaw> {
        if !known(module, name) && !harmless(module, name) {
            return Err(Flaw::Refused(format!("{module}.{name}")));
        }
        self.push(Node::Global(format!("{module} {name}")))
    }

    /// STACK_GLOBAL: module and name are texts on the stack.
    fn stack_global(&mut self) -> Result<(), Flaw> {
        let names = self.pop_many(2)?;
        match (&self.nodes[names[0] as usize], &self.nodes[names[1] as usize]) {
            (Node::Text(module), Node::Text(name)) => {
                let (module, name) = (module.clone(), name.clone());
                self.global(&module, &name)
            }
            _ => Err(Flaw::damaged("a global without a name")),
        }
    }

    /// REDUCE and NEWOBJ: what the call would return, made here.
    fn call(&mut self, callable: Id, arguments: Id) -> Result<(), Flaw> {
        let (Node::Global(name), Node::Tuple(arguments)) =
            (&self.nodes[callable as usize], &self.nodes[arguments as usize])
        else {
            return Err(Flaw::damaged("a call of something that is not a class"));
        };
        let argument = |index: usize| {
            arguments.get(index).copied().ok_or_else(|| Flaw::damaged("a call with too few arguments"))
        };
        let node = match name.as_str() {
            "collections OrderedDict" | "collections defaultdict" => Node::Dict(Vec::new()),
            "torch._utils _rebuild_tensor_v2" => Node::Tensor(Box::new(self.tensor(arguments)?)),
            "torch._utils _rebuild_parameter"
            | "torch._utils _rebuild_parameter_with_state"
            | "torch Size"
            | "builtins set"
            | "__builtin__ set" => {
                let same = argument(0)?;
                self.stack.push(same);
                return Ok(());
            }
            "_codecs encode" => match &self.nodes[argument(0)? as usize] {
                // Protocol 2 has no bytes: they are Latin-1 texts.
                Node::Text(text) => Node::Bytes(text.chars().map(|letter| letter as u8).collect()),
                _ => return Err(Flaw::damaged("bytes that are not a text")),
            },
            "numpy dtype" => match &self.nodes[argument(0)? as usize] {
                Node::Text(name) => Node::NumpyType(name.clone()),
                _ => return Err(Flaw::damaged("a numpy type without a name")),
            },
            "numpy.core.multiarray scalar" | "numpy._core.multiarray scalar" => {
                match (&self.nodes[argument(0)? as usize], &self.nodes[argument(1)? as usize]) {
                    (Node::NumpyType(name), Node::Bytes(bytes)) => numpy_scalar(name, bytes),
                    _ => return Err(Flaw::damaged("a numpy number without a type")),
                }
            }
            other => Node::Opaque(other.to_string()),
        };
        self.push(node)
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, ...)`
    fn tensor(&self, arguments: &[Id]) -> Result<TensorRef, Flaw> {
        let wrong = || Flaw::damaged("a tensor without storage, offset, size and stride");
        let number = |id: &Id| match &self.nodes[*id as usize] {
            Node::Int(value) => usize::try_from(*value).map_err(|_| wrong()),
            _ => Err(wrong()),
        };
        let numbers = |id: &Id| match &self.nodes[*id as usize] {
            Node::Tuple(items) | Node::List(items) if items.len() <= 16 => {
                items.iter().map(number).collect::<Result<Vec<_>, _>>()
            }
            _ => Err(wrong()),
        };
        let [storage, offset, size, stride, ..] = arguments else { return Err(wrong()) };
        if !matches!(self.nodes[*storage as usize], Node::Storage(_)) {
            return Err(wrong());
        }
        let tensor = TensorRef {
            storage: *storage,
            offset: number(offset)?,
            shape: numbers(size)?,
            stride: numbers(stride)?,
        };
        if tensor.shape.len() == tensor.stride.len() { Ok(tensor) } else { Err(wrong()) }
    }

    /// BINPERSID: `("storage", type, key, location, number of elements)`
    fn persistent(&mut self) -> Result<(), Flaw> {
        let wrong = || Flaw::damaged("a storage without type, key and size");
        let id = self.pop()?;
        let Node::Tuple(parts) = &self.nodes[id as usize] else { return Err(wrong()) };
        let [_, class, key, _, count] = parts.as_slice() else { return Err(wrong()) };
        let (Node::Global(class), Node::Text(key), Node::Int(count)) =
            (&self.nodes[*class as usize], &self.nodes[*key as usize], &self.nodes[*count as usize])
        else {
            return Err(wrong());
        };
        let element = class.strip_prefix("torch ").and_then(storage_element).ok_or_else(wrong)?;
        let count = usize::try_from(*count).map_err(|_| wrong())?;
        let storage = Storage { element, key: key.clone(), count };
        self.push(Node::Storage(storage))
    }
}

/// A little-endian two's complement integer; beyond 64 bits it is of no use here.
fn long(digits: &[u8]) -> Node {
    if digits.len() > 8 {
        return Node::Opaque("int".into());
    }
    let sign = if digits.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut bytes = [sign; 8];
    bytes[..digits.len()].copy_from_slice(digits);
    Node::Int(i64::from_le_bytes(bytes))
}

/// `np.float64(...)` and its kin, which metrics are often made of.
fn numpy_scalar(name: &str, bytes: &[u8]) -> Node {
    let opaque = || Node::Opaque(format!("numpy {name}"));
    match name {
        "f8" => bytes.try_into().map_or_else(|_| opaque(), |bytes| Node::Float(f64::from_le_bytes(bytes))),
        "f4" => {
            bytes.try_into().map_or_else(|_| opaque(), |bytes| Node::Float(f32::from_le_bytes(bytes).into()))
        }
        "i8" | "i4" | "i2" | "i1" => long(bytes),
        "b1" => Node::Bool(bytes.first().is_some_and(|byte| *byte != 0)),
        _ => opaque(),
    }
}
