//! What the names in a pickle stand for. None of them is ever called.

use super::bytes::Element;

/// Functions and modules that a checkpoint names only to run code when Python loads it. The list need not be complete:
/// nothing is executed here, whatever the name; who reads the message does not load the file with torch.
pub(super) fn runs_code(module: &str, name: &str) -> bool {
    let package = module.split('.').next().unwrap_or(module);
    match package {
        "os" | "posix" | "nt" | "subprocess" | "sys" | "importlib" | "runpy" | "pty" | "ctypes"
        | "socket" | "shutil" | "commands" | "popen2" | "code" | "codeop" | "imp" | "pkgutil"
        | "zipimport" | "marshal" | "pickle" | "_pickle" | "cPickle" | "webbrowser" | "pdb" | "bdb"
        | "timeit" | "pip" => true,
        "types" | "new" => matches!(name, "CodeType" | "FunctionType" | "MethodType" | "LambdaType"),
        "operator" | "_operator" => matches!(name, "attrgetter" | "methodcaller"),
        "torch" => matches!(
            (module, name),
            ("torch" | "torch.serialization", "load")
                | ("torch.jit", _)
                | ("torch.hub" | "torch.utils.cpp_extension", _)
        ),
        "builtins" | "__builtin__" => !harmless_builtin(name),
        _ => false,
    }
}

/// Classes of Python itself, `getattr` (an enum's member in Python 3.11) and the exceptions.
fn harmless_builtin(name: &str) -> bool {
    matches!(
        name,
        "dict"
            | "list"
            | "int"
            | "long"
            | "float"
            | "complex"
            | "str"
            | "unicode"
            | "bool"
            | "tuple"
            | "set"
            | "frozenset"
            | "bytes"
            | "bytearray"
            | "object"
            | "slice"
            | "range"
            | "xrange"
            | "type"
            | "NoneType"
            | "Ellipsis"
            | "NotImplemented"
            | "property"
            | "getattr"
            | "print"
            | "len"
            | "max"
            | "min"
            | "sum"
            | "abs"
    ) || name.ends_with("Error")
        || name.ends_with("Exception")
        || name.ends_with("Warning")
}

/// What a function that makes tensors makes, where it is not one that is read: in words for a message.
pub(super) fn foreign_tensor(global: &str) -> Option<String> {
    let (module, name) = global.split_once(' ')?;
    if !module.starts_with("torch") {
        return None;
    }
    let kind = match name {
        "_rebuild_qtensor" => "a quantized tensor",
        "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => "a sparse tensor",
        "_rebuild_nested_tensor" => "a nested tensor",
        "_rebuild_meta_tensor_no_storage" => "a tensor without values (meta)",
        "_load_from_bytes" => "a tensor pickled without torch.save",
        _ if name.starts_with("_rebuild") || name.ends_with("_from_numpy") => "a tensor of an unknown kind",
        _ => return None,
    };
    Some(format!("{kind} ({module}.{name})"))
}

/// Element type of a `torch.*Storage` class, and its size in bytes.
pub(super) fn storage_element(class: &str) -> Option<(Element, u64)> {
    let other = |name, width| (Element::Other { name }, width);
    Some(match class {
        "FloatStorage" => (Element::F32, 4),
        "DoubleStorage" => (Element::F64, 8),
        "HalfStorage" => (Element::F16, 2),
        "BFloat16Storage" => (Element::BF16, 2),
        "LongStorage" => other("int64", 8),
        "IntStorage" => other("int32", 4),
        "ShortStorage" => other("int16", 2),
        "CharStorage" => other("int8", 1),
        "ByteStorage" => other("uint8", 1),
        "BoolStorage" => other("bool", 1),
        "ComplexFloatStorage" => other("complex64", 8),
        "ComplexDoubleStorage" => other("complex128", 16),
        "QInt8Storage" => other("qint8", 1),
        "QUInt8Storage" => other("quint8", 1),
        "QInt32Storage" => other("qint32", 4),
        "UntypedStorage" => other("raw bytes", 1),
        _ => return None,
    })
}
