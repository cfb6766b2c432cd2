//! `sweep schema`: the JSON Schema of the sweep file.

use anyhow::Context;

use super::output;
use crate::spec;

/// Print the JSON Schema (draft 4) of the sweep file, for editors and checkers
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {
    /// Of the sweep files of this experiment, where the program has several
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
}

/// Prints the schema to stdout.
pub fn run(args: &SchemaArgs) -> anyhow::Result<u8> {
    let first = spec::known().first().copied();
    let found = args.experiment.as_deref().map_or(first, spec::schema_of);
    let schema = found.with_context(|| {
        let names: Vec<&str> = spec::known().iter().map(|schema| schema.name).collect();
        format!("no such experiment; this program has {}", names.join(", "))
    })?;
    let text = serde_json::to_string_pretty(&spec::json_schema(schema))?;
    output::result(&format!("{text}\n"));
    Ok(0)
}
