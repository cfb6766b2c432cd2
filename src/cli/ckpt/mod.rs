//! `sweep ckpt`: what is this checkpoint, where does it come from, how far is it from that one.

mod diff;
mod latest;
mod ls;
mod show;
mod table;
mod transfer;
mod verify;

use clap::Subcommand;

/// Looks into checkpoints: `.safetensors`, `.pt` and `.ckpt`, this program's and others'
#[derive(Debug, clap::Args)]
pub struct CkptArgs {
    #[command(subcommand)]
    command: CkptCommand,
}

#[derive(Debug, Subcommand)]
enum CkptCommand {
    Show(show::ShowArgs),
    Ls(ls::LsArgs),
    Latest(latest::LatestArgs),
    Diff(diff::DiffArgs),
    Verify(verify::VerifyArgs),
    Export(transfer::ExportArgs),
    Import(transfer::ImportArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever makes the request impossible; failed checks are exit code 1.
pub fn run(args: &CkptArgs) -> anyhow::Result<u8> {
    match &args.command {
        CkptCommand::Show(args) => show::run(args),
        CkptCommand::Ls(args) => ls::run(args),
        CkptCommand::Latest(args) => latest::run(args),
        CkptCommand::Diff(args) => diff::run(args),
        CkptCommand::Verify(args) => verify::run(args),
        CkptCommand::Export(args) => transfer::export(args),
        CkptCommand::Import(args) => transfer::import(args),
    }
}
