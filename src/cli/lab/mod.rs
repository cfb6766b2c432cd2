//! What only the lab's experiment, the selector, needs of the command line: its commands, and its words in those that
//! all experiments share.

pub mod data;
mod data_build;
mod data_embed;
mod data_report;
mod endpoint_flags;
pub mod import_scripts;
pub mod infer;
pub mod init;
pub mod supply;

use std::path::Path;

use super::output;
use crate::selector::SCHEMA;
use crate::spec::{self, ExportFormat};
use crate::store;
use crate::text::quoted;

/// The experiment that all this is about.
pub const EXPERIMENT: &str = SCHEMA.name;

/// The commands that know its data, its scripts and its judge.
pub const COMMANDS: [&str; 5] = ["data", "import-scripts", "infer", "init", "judge"];

/// Whether this program has it.
pub fn is_here() -> bool {
    spec::schema_of(EXPERIMENT).is_some()
}

/// What `why` calls a score column besides `--column`.
pub const COLUMN: &str = "shot";

/// What `plan --json` calls the parameters that a cohort leaves as they are.
pub const FROZEN: &str = "freeze";

/// How the lab's inference script takes the checkpoint `path`: in the v2 format, where `run` ([export]) or `ckpt export`
/// has made it.
pub fn tell_scripts(path: &Path) {
    let exported = store::export_path(path, ExportFormat::V2);
    let script = if exported.is_file() { exported.as_path() } else { path };
    if script == path {
        output::note(&format!(
            "hint: scripts that want the v2 format: sweep ckpt export {} --to v2, then this again (for every point: `[export] formats = [\"v2\"]` in the sweep file)",
            quoted(&path.display().to_string())
        ));
    }
    output::result(&format!("export LEVER_LM_CHECKPOINT_PATH={}\n", quoted(&script.display().to_string())));
}
