//! What the program's own keys set: all that holds for the whole sweep.

use std::path::PathBuf;

use super::{BuildParams, CommandParams, EndpointParams, EvalParams, ExportFormat, KeepParams, SlurmParams};

/// The target of the program's own keys. Its default holds their defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// Empty = the file's name.
    pub name: String,
    /// Empty = the program's first.
    pub experiment: String,
    pub build: BuildParams,
    pub eval: EvalParams,
    pub endpoint: EndpointParams,
    pub command: CommandParams,
    pub items: ItemsParams,
    pub export: ExportParams,
    pub keep: KeepParams,
    pub slurm: SlurmParams,
}

/// `[eval.items]`
#[derive(Clone, Debug, Default)]
pub(super) struct ItemsParams {
    pub file: PathBuf,
}

/// `[export]`
#[derive(Clone, Debug, Default)]
pub(super) struct ExportParams {
    pub formats: Vec<ExportFormat>,
}
