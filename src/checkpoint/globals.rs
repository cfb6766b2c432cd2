//! The classes and functions that a pickle may name. None of them is ever called; anything else is refused.

use super::bytes::Element;

/// Globals that mean something here.
pub(super) fn known(module: &str, name: &str) -> bool {
    match module {
        "collections" => matches!(name, "OrderedDict" | "defaultdict"),
        "torch._utils" => {
            matches!(name, "_rebuild_tensor_v2" | "_rebuild_parameter" | "_rebuild_parameter_with_state")
        }
        "torch" => name == "Size" || storage_element(name).is_some(),
        "_codecs" => name == "encode",
        "numpy" => name == "dtype",
        "numpy.core.multiarray" | "numpy._core.multiarray" => name == "scalar",
        "builtins" | "__builtin__" => name == "set",
        _ => false,
    }
}

/// Classes that stay opaque: parts of configurations and of trainers' bookkeeping.
pub(super) fn harmless(module: &str, name: &str) -> bool {
    let package = module.split('.').next().unwrap_or(module);
    match package {
        "argparse" => name == "Namespace",
        "pathlib" => name.ends_with("Path"),
        "torch" => {
            module == "torch" && (name == "device" || name.starts_with("float") || name.starts_with("int"))
                || name == "TorchVersion"
        }
        "collections" => matches!(name, "Counter" | "deque"),
        "builtins" | "__builtin__" => {
            matches!(name, "dict" | "list" | "int" | "float" | "str" | "bool" | "tuple")
        }
        "typing" => name == "Any",
        "omegaconf" | "pytorch_lightning" | "lightning" | "lightning_fabric" => true,
        _ => false,
    }
}

/// Element type of a `torch.*Storage` class.
pub(super) fn storage_element(class: &str) -> Option<Element> {
    Some(match class {
        "FloatStorage" => Element::F32,
        "DoubleStorage" => Element::F64,
        "HalfStorage" => Element::F16,
        "BFloat16Storage" => Element::BF16,
        "LongStorage" => Element::Other { name: "int64" },
        "IntStorage" => Element::Other { name: "int32" },
        "ShortStorage" => Element::Other { name: "int16" },
        "CharStorage" => Element::Other { name: "int8" },
        "ByteStorage" => Element::Other { name: "uint8" },
        "BoolStorage" => Element::Other { name: "bool" },
        _ => return None,
    })
}
