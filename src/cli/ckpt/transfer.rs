//! `sweep ckpt export` and `import`: between this program's checkpoints and the lab's.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::checkpoint;
use crate::cli::deliver::deliver_file;
use crate::cli::output;
use crate::spec::ExportFormat;

/// Writes a checkpoint in another program's format; every bit of the weights is kept
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Checkpoint of any format
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// v2: the Lightning-like .ckpt of the lab's inference script; pt: the training format; safetensors: weights alone
    #[arg(long, value_parser = formats())]
    to: ExportFormat,
    /// Where to [default: beside FILE, with the format's extension]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace a file that is already there
    #[arg(long)]
    force: bool,
}

/// Turns a .pt, .ckpt or plain .safetensors file into a checkpoint that says what it is
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// Checkpoint of any format
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to [default: beside FILE, with the extension .safetensors]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace a file that is already there
    #[arg(long)]
    force: bool,
}

fn formats() -> impl TypedValueParser<Value = ExportFormat> {
    PossibleValuesParser::new(ExportFormat::NAMES)
        .try_map(|name| ExportFormat::from_name(&name).ok_or("no such format"))
}

pub(super) fn export(args: &ExportArgs) -> anyhow::Result<u8> {
    let checkpoint = checkpoint::read(&args.file)?;
    let target = target(&args.file, args.output.as_ref(), args.to.extension(), args.force)?;
    deliver_file(&target, |place| Ok(checkpoint::export(place, &checkpoint, args.to)?))?;
    output::result(&format!("{}\n", target.display()));
    Ok(0)
}

pub(super) fn import(args: &ImportArgs) -> anyhow::Result<u8> {
    let mut checkpoint = checkpoint::read(&args.file)?;
    let target = target(&args.file, args.output.as_ref(), "safetensors", args.force)?;
    // Our files count epochs from 1, whatever the other one did.
    checkpoint.facts.stored_epoch = None;
    deliver_file(&target, |place| Ok(checkpoint::write(place, &checkpoint.weights, &checkpoint.facts)?))?;
    output::result(&format!("{}\n", target.display()));
    Ok(0)
}

/// The file to write; never the one that is read, and none that exists without `--force`.
fn target(file: &Path, output: Option<&PathBuf>, extension: &str, force: bool) -> anyhow::Result<PathBuf> {
    let target = output.cloned().unwrap_or_else(|| file.with_extension(extension));
    let same = |path: &Path| fs_err::canonicalize(path).ok();
    if same(&target).is_some_and(|target| Some(target) == same(file)) {
        bail!("`{}` would be overwritten by itself\nhint: say where to with -o PATH", file.display());
    }
    // A device or FIFO is written into, not replaced.
    let file_or_link = |found: &std::fs::Metadata| found.is_file() || found.is_symlink() || found.is_dir();
    if !force && target.symlink_metadata().is_ok_and(|found| file_or_link(&found)) {
        bail!("`{}` exists\nhint: say where to with -o PATH, or replace it with --force", target.display());
    }
    Ok(target)
}
