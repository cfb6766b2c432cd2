//! A reader of the pickles that `torch.save` writes, which executes nothing.
//!
//! Why our own: burn-store 0.21's reader fills a tensor whose storage is missing or too short with zeros, ignores
//! strides, clones whole object trees at every memo reference (a few bytes can ask for any amount of memory) and
//! takes buffer lengths from the file unchecked. Here every opcode makes at most one node in an arena, containers
//! hold node numbers, so time and memory are linear in the pickle's length, and there is no recursion.
//!
//! Tensors, storages, dictionaries and numpy's arrays are understood; objects of all other classes stay opaque: they
//! are named and never made. What a pickle can only name to run code is refused by name, as a service to whoever
//! would load it with torch.

use std::collections::HashMap;

use super::error::Flaw;
use super::globals::runs_code;
use super::pickle::{Id, Node, Pickle, long};

/// Most nodes that one pickle may make. A model of 100,000 tensors needs about a million.
const MAX_NODES: usize = 2_000_000;
/// Longest name of a module or class: it is copied wherever it is used.
const MAX_NAME: usize = 256;

/// Reads a pickle of protocol 2 to 5.
///
/// # Errors
/// [`Flaw::Refused`] for globals that run code, [`Flaw::Damaged`] for anything malformed.
pub(super) fn unpickle(bytes: &[u8]) -> Result<Pickle, Flaw> {
    unpickle_first(bytes).map(|(pickle, _)| pickle)
}

/// The first of several pickles, and its length.
///
/// # Errors
/// As [`unpickle`].
pub(super) fn unpickle_first(bytes: &[u8]) -> Result<(Pickle, usize), Flaw> {
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok((Pickle::new(machine.nodes, root), machine.at)),
            Err(Flaw::Damaged(what)) => return Err(Flaw::damaged(format!("its pickle, byte {at}: {what}"))),
            Err(other) => return Err(other),
        }
    }
}

pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Bytes of texts that were copied as bytes.
    copied: usize,
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
    #[expect(clippy::too_many_lines, reason = "one flat match")]
    fn build(&mut self, opcode: u8) -> Result<(), Flaw> {
        match opcode {
            b'X' | b'T' | 0x8c | b'U' | 0x8d => {
                let length = self.length(opcode)?;
                let text = std::str::from_utf8(self.take(length)?)
                    .map_err(|_| Flaw::damaged("a text that is not UTF-8"))?
                    .to_string();
                self.push(Node::Text(text))
            }
            b'B' | b'C' | 0x8e | 0x96 => {
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
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                self.set_state(object, state);
                Ok(())
            }
            // Sets of protocol 4, as lists.
            0x8f => self.push(Node::List(Vec::new())),
            0x90 => {
                let items = self.pop_mark()?;
                self.append(items)
            }
            0x91 => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))
            }
            // NEWOBJ_EX: with keyword arguments, which an opaque object does not need.
            0x92 => {
                let parts = self.pop_many(3)?;
                self.call(parts[0], parts[1])
            }
            0x8b => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                let node = long(self.take(length)?);
                self.push(node)
            }
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
            0x8d | 0x8e | 0x96 => usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX),
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

    pub(super) fn push(&mut self, node: Node) -> Result<(), Flaw> {
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

    pub(super) fn pop(&mut self) -> Result<Id, Flaw> {
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
            Node::Opaque(_) | Node::Foreign(_) => {}
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
            Node::Opaque(_) | Node::Foreign(_) => {}
            _ => return Err(Flaw::damaged("entries for something that is not a dictionary")),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Flaw> {
        if module.len().max(name.len()) > MAX_NAME {
            return Err(Flaw::damaged(format!(
                "the name of a class has {} letters",
                module.len().max(name.len())
            )));
        }
        if runs_code(module, name) {
            return Err(Flaw::Refused(format!("{module}.{name}")));
        }
        self.push(Node::Global(format!("{module} {name}").into()))
    }

    /// Room for `count` more bytes that are copied from a text: each text may be copied once.
    pub(super) fn may_copy(&mut self, count: usize) -> Result<(), Flaw> {
        self.copied += count;
        match self.copied > self.bytes.len() {
            true => Err(Flaw::damaged("its texts are larger than itself")),
            false => Ok(()),
        }
    }

    /// STACK_GLOBAL: module and name are texts on the stack.
    fn stack_global(&mut self) -> Result<(), Flaw> {
        let names = self.pop_many(2)?;
        match (&self.nodes[names[0] as usize], &self.nodes[names[1] as usize]) {
            (Node::Text(module), Node::Text(name)) if module.len().max(name.len()) <= MAX_NAME => {
                let (module, name) = (module.clone(), name.clone());
                self.global(&module, &name)
            }
            _ => Err(Flaw::damaged("a global without a name")),
        }
    }
}
