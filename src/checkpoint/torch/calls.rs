//! What the calls in a pickle would return, made here: REDUCE, NEWOBJ, BUILD and persistent storages.

use super::super::error::Flaw;
use super::super::globals::{foreign_tensor, storage_element};
use super::super::numpy::{Dtype, Form};
use super::super::pickle::{Id, Node, NumpyRef, Storage, TensorRef, long};
use super::super::unpickle::Machine;

impl Machine<'_> {
    /// REDUCE and NEWOBJ.
    pub(in super::super) fn call(&mut self, callable: Id, arguments: Id) -> Result<(), Flaw> {
        let Node::Tuple(arguments) = &self.nodes[arguments as usize] else {
            return Err(Flaw::damaged("a call of something that is not a class"));
        };
        // No call that is understood has more; what is copied here must not grow with the tuple.
        let arguments: Vec<Id> = arguments.iter().copied().take(16).collect();
        match &self.nodes[callable as usize] {
            Node::Global(name) => {
                let name = name.clone();
                self.call_global(&name, &arguments)
            }
            // What an opaque thing returns is opaque.
            Node::Opaque(name) => {
                let name = name.clone();
                self.push(Node::Opaque(name))
            }
            _ => Err(Flaw::damaged("a call of something that is not a class")),
        }
    }

    fn call_global(&mut self, name: &std::sync::Arc<str>, arguments: &[Id]) -> Result<(), Flaw> {
        let argument = |index: usize| {
            arguments.get(index).copied().ok_or_else(|| Flaw::damaged("a call with too few arguments"))
        };
        let node = match &**name {
            "collections OrderedDict" | "collections defaultdict" => Node::Dict(Vec::new()),
            "torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor" => self.tensor(arguments)?,
            "torch._utils _rebuild_tensor_v3" => Node::Foreign(self.typed(arguments).into()),
            "torch._tensor _rebuild_from_type_v2" => return self.tensor_of_type(arguments),
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
                Node::Text(text) => {
                    let bytes: Vec<u8> = text.chars().map(|letter| letter as u8).collect();
                    self.may_copy(bytes.len())?;
                    Node::Bytes(bytes)
                }
                _ => return Err(Flaw::damaged("bytes that are not a text")),
            },
            "numpy dtype" => match &self.nodes[argument(0)? as usize] {
                Node::Text(name) => Node::NumpyType(Dtype::parse(name)),
                _ => Node::Opaque("numpy dtype".into()),
            },
            "numpy.core.multiarray scalar" | "numpy._core.multiarray scalar" => {
                match (
                    &self.nodes[argument(0)? as usize],
                    arguments.get(1).map(|id| &self.nodes[*id as usize]),
                ) {
                    (Node::NumpyType(dtype), Some(Node::Bytes(bytes))) => numpy_scalar(*dtype, bytes),
                    _ => Node::Opaque("numpy scalar".into()),
                }
            }
            "numpy.core.multiarray _reconstruct" | "numpy._core.multiarray _reconstruct" => Node::Numpy(None),
            "numpy.core.numeric _frombuffer" | "numpy._core.numeric _frombuffer" => {
                self.array_of_buffer(arguments)
            }
            "builtins getattr"
            | "__builtin__ getattr"
            | "copy_reg _reconstructor"
            | "copyreg _reconstructor" => match arguments.first().map(|id| &self.nodes[*id as usize]) {
                Some(Node::Global(class) | Node::Opaque(class)) => Node::Opaque(class.clone()),
                _ => Node::Opaque(name.clone()),
            },
            other => match foreign_tensor(other) {
                Some(kind) => Node::Foreign(kind.into()),
                None => Node::Opaque(name.clone()),
            },
        };
        self.push(node)
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks, metadata)`; the first version
    /// ends after the stride.
    fn tensor(&self, arguments: &[Id]) -> Result<Node, Flaw> {
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
        let [storage, offset, size, stride, rest @ ..] = arguments else { return Err(wrong()) };
        let start = match &self.nodes[*storage as usize] {
            Node::Storage(storage) => storage.start,
            Node::Foreign(kind) => return Ok(Node::Foreign(kind.clone())),
            _ => return Err(wrong()),
        };
        let negated = match rest {
            [] | [_] | [_, _] => false,
            [_, _, metadata] => match self.negated(*metadata) {
                Ok(negated) => negated,
                Err(what) => return Ok(Node::Foreign(what.into())),
            },
            _ => return Ok(Node::Foreign("a tensor with more to it than this program knows".into())),
        };
        let tensor = TensorRef {
            storage: *storage,
            offset: number(offset)?.checked_add(start).ok_or_else(wrong)?,
            shape: numbers(size)?,
            stride: numbers(stride)?,
            negated,
        };
        if tensor.shape.len() == tensor.stride.len() {
            Ok(Node::Tensor(Box::new(tensor)))
        } else {
            Err(wrong())
        }
    }

    /// Whether a tensor's metadata say that its values have the other sign. Whatever else they say is not known, and
    /// may change what the numbers mean.
    fn negated(&self, metadata: Id) -> Result<bool, String> {
        let entries = match &self.nodes[metadata as usize] {
            Node::None => return Ok(false),
            Node::Dict(entries) if entries.len() <= 16 => entries,
            _ => return Err("a tensor with metadata that are no small dictionary".into()),
        };
        let mut negated = false;
        for (key, value) in entries {
            match (&self.nodes[*key as usize], &self.nodes[*value as usize]) {
                (Node::Text(key), Node::Bool(value)) if key == "neg" => negated = *value,
                (Node::Text(_), Node::Bool(false) | Node::None) => {}
                (Node::Text(key), _) => {
                    let key: String = key.chars().take(40).collect();
                    return Err(format!("a tensor with the mark `{key}`, which this program does not know"));
                }
                _ => return Err("a tensor with a mark that has no name".into()),
            }
        }
        Ok(negated)
    }

    /// `_rebuild_tensor_v3(storage, ..., backward_hooks, dtype, metadata)`: types that have no storage class (fp8, ...).
    fn typed(&self, arguments: &[Id]) -> String {
        let name = arguments.get(6).map(|id| &self.nodes[*id as usize]);
        match name {
            Some(Node::Global(name)) => {
                format!("a tensor of type {}", name.rsplit(' ').next().unwrap_or(name))
            }
            _ => "a tensor of an unknown type".into(),
        }
    }

    /// `_rebuild_from_type_v2(function, type, arguments, state)`: a tensor with attributes, or a subclass, whose numbers
    /// may mean anything.
    fn tensor_of_type(&mut self, arguments: &[Id]) -> Result<(), Flaw> {
        let wrong = || Flaw::damaged("a tensor without function, type and arguments");
        let [function, class, inner, ..] = arguments else { return Err(wrong()) };
        let (Node::Global(function), Node::Global(class)) =
            (&self.nodes[*function as usize], &self.nodes[*class as usize])
        else {
            return Err(wrong());
        };
        let (function, class) = (function.clone(), class.clone());
        let plain =
            matches!(&*class, "torch Tensor" | "torch.nn.parameter Parameter" | "torch.nn.parameter Buffer");
        let Node::Tuple(inner) = &self.nodes[*inner as usize] else { return Err(wrong()) };
        let inner: Vec<Id> = inner.iter().copied().take(16).collect();
        match plain && &*function != "torch._tensor _rebuild_from_type_v2" {
            true => self.call_global(&function, &inner),
            false => self.push(Node::Foreign(format!("a {}", class.replace(' ', ".")).into())),
        }
    }

    /// `_frombuffer(bytes, dtype, shape, order)`
    fn array_of_buffer(&self, arguments: &[Id]) -> Node {
        let [data, dtype, shape, order, ..] = arguments else { return Node::Numpy(None) };
        let fortran = matches!(&self.nodes[*order as usize], Node::Text(order) if order == "F");
        Node::Numpy(self.numpy(*shape, *dtype, fortran, *data))
    }

    fn numpy(&self, shape: Id, dtype: Id, fortran: bool, data: Id) -> Option<Box<NumpyRef>> {
        let (Node::NumpyType(dtype), Node::Bytes(_)) =
            (&self.nodes[dtype as usize], &self.nodes[data as usize])
        else {
            return None;
        };
        let Node::Tuple(sizes) = &self.nodes[shape as usize] else { return None };
        let size = |id: &Id| match &self.nodes[*id as usize] {
            Node::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        let shape =
            sizes.iter().take(17).map(size).collect::<Option<Vec<_>>>().filter(|shape| shape.len() <= 16)?;
        Some(Box::new(NumpyRef { form: Form { dtype: *dtype, shape, fortran }, data }))
    }

    /// BUILD. The state of an opaque object and of a dictionary (`_metadata` of a state dict) is nothing we need.
    pub(in super::super) fn set_state(&mut self, object: Id, state: Id) {
        let parts: Vec<Id> = match &self.nodes[state as usize] {
            Node::Tuple(parts) => parts.iter().copied().take(9).collect(),
            _ => Vec::new(),
        };
        let made = match (&self.nodes[object as usize], parts.as_slice()) {
            // (version, order, ...)
            (Node::NumpyType(dtype), [_, order, ..]) => {
                let big = matches!(&self.nodes[*order as usize], Node::Text(order) if order == ">");
                Node::NumpyType(Dtype { big, ..*dtype })
            }
            // (version, shape, dtype, is_fortran, data)
            (Node::Numpy(None), [_, shape, dtype, fortran, data]) => {
                let fortran = matches!(self.nodes[*fortran as usize], Node::Bool(true));
                Node::Numpy(self.numpy(*shape, *dtype, fortran, *data))
            }
            (Node::Numpy(_), _) => Node::Numpy(None),
            (Node::Tensor(_), _) => Node::Foreign("a tensor with a state of its own".into()),
            _ => return,
        };
        self.nodes[object as usize] = made;
    }

    /// BINPERSID: `("storage", type, key, location, number of elements)`; in old files a view of it follows, or it is
    /// `("module", class, ...)`.
    pub(in super::super) fn persistent(&mut self) -> Result<(), Flaw> {
        let wrong = || Flaw::damaged("a storage without type, key and size");
        let id = self.pop()?;
        let Node::Tuple(parts) = &self.nodes[id as usize] else { return Err(wrong()) };
        if let [kind, class, _, _] = parts.as_slice()
            && matches!(&self.nodes[*kind as usize], Node::Text(kind) if kind == "module")
        {
            let class = *class;
            self.stack.push(class);
            return Ok(());
        }
        let [_, class, key, _, count, view @ ..] = parts.as_slice() else { return Err(wrong()) };
        let (Node::Global(class), Node::Text(key), Node::Int(count)) =
            (&self.nodes[*class as usize], &self.nodes[*key as usize], &self.nodes[*count as usize])
        else {
            return Err(wrong());
        };
        let known = class.strip_prefix("torch ").or_else(|| class.strip_prefix("torch.storage "));
        let Some((element, width)) = known.and_then(storage_element) else {
            let class = class.replace(' ', ".");
            return self.push(Node::Foreign(format!("a tensor over a {class}").into()));
        };
        let count = usize::try_from(*count).map_err(|_| wrong())?;
        let start = match view.first().map(|id| &self.nodes[*id as usize]) {
            None | Some(Node::None) => 0,
            // (key, offset, size)
            Some(Node::Tuple(view)) => match view.get(1).map(|id| &self.nodes[*id as usize]) {
                Some(Node::Int(offset)) => usize::try_from(*offset).map_err(|_| wrong())?,
                _ => return Err(wrong()),
            },
            Some(_) => return Err(wrong()),
        };
        // Keys are short numbers; a long one would be copied with every storage.
        let key = if key.len() <= 64 { key.clone() } else { return Err(wrong()) };
        self.push(Node::Storage(Box::new(Storage { element, key, count, width, start })))
    }
}

/// `np.float64(...)` and its kin, which metrics are often made of.
fn numpy_scalar(dtype: Dtype, bytes: &[u8]) -> Node {
    use super::super::bytes::Element;
    let mut bytes = bytes.to_vec();
    if dtype.big {
        bytes.reverse();
    }
    let name = match dtype.element {
        Element::F64 => {
            return bytes.try_into().map_or(Node::None, |bytes| Node::Float(f64::from_le_bytes(bytes)));
        }
        Element::F16 | Element::F32 if dtype.element.size() == Some(bytes.len()) => {
            let value = dtype.element.decode(&bytes, "").ok().and_then(|values| values.first().copied());
            return value.map_or(Node::None, |value| Node::Float(value.into()));
        }
        Element::Other { name: "int8" | "int16" | "int32" | "int64" } => return long(&bytes),
        // Unsigned: the sign is that of a further byte.
        Element::Other { name: "uint8" | "uint16" | "uint32" } => {
            bytes.push(0);
            return long(&bytes);
        }
        Element::Other { name: "bool" } => return Node::Bool(bytes.first().is_some_and(|byte| *byte != 0)),
        Element::Other { name } => name,
        Element::F16 | Element::BF16 | Element::F32 => "float",
    };
    Node::Opaque(format!("numpy {name}").into())
}
