//! All that the plain keys of a sweep file set: what one point is, and what holds for the whole sweep.

use std::path::PathBuf;

use super::{
    BuildParams, CommandParams, EndpointParams, EvalParams, ExportFormat, KeepParams, PointConfig,
    SlurmParams,
};

/// The target of every key in [`super::KEYS`]. Its default holds the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// Empty = the file's name.
    pub name: String,
    pub point: PointConfig,
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
