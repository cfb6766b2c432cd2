//! What stage records of earlier versions do not say: it follows from the work that they hold.

use serde_json::{Value, json};

use crate::plan::Traits;

/// The traits of a stage whose record holds the work `kind`: a map with the phase as its only key.
pub fn traits(kind: &Value) -> Traits {
    let (phase, work) = of_kind(kind);
    let params = &work["params"];
    let groups = params["freeze"].as_array().map_or(&[][..], Vec::as_slice);
    // Groups of parameters are called as the first part of the parameters' names is, but for one.
    let frozen = groups.iter().filter_map(Value::as_str).map(|group| match group {
        "cross_attn" => "cross_attn_layers".to_owned(),
        _ => group.to_owned(),
    });
    let whole =
        if params.is_null() { Some(0) } else { params["epochs"].as_u64().map(|epochs| epochs as u32) };
    Traits { phase, lane: String::new(), whole, frozen: frozen.collect() }
}

/// The lane of a stage whose record holds the work `kind`, in a chain that begins with the work `init`.
pub fn lane(kind: &Value, init: &Value) -> String {
    let (phase, work) = of_kind(kind);
    let (_, init) = of_kind(init);
    let freeze = match &work["params"]["freeze"] {
        Value::Null => json!([]),
        freeze => freeze.clone(),
    };
    json!({"phase": phase, "freeze": freeze, "model": init["model"], "dim": init["dim"]}).to_string()
}

fn of_kind(kind: &Value) -> (String, &Value) {
    let only = kind.as_object().and_then(|kinds| kinds.iter().next());
    only.map_or((String::new(), &Value::Null), |(name, work)| (name.to_lowercase(), work))
}
