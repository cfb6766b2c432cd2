//! `sweep schema`: the JSON Schema of the sweep file.

use super::output;
use crate::spec;

/// Print the JSON Schema (draft 4) of the sweep file, for editors and checkers
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {}

/// Prints the schema to stdout.
pub fn run(_args: &SchemaArgs) -> anyhow::Result<u8> {
    let text = serde_json::to_string_pretty(&spec::schema())?;
    output::result(&format!("{text}\n"));
    Ok(0)
}
