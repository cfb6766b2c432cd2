//! `sweep ckpt latest`: the checkpoint that the lab's scripts would take.

use std::path::PathBuf;

use crate::checkpoint;
use crate::cli::output;

/// Prints the newest checkpoint of a directory: the highest grpo_epoch*, else the highest rce_epoch*
#[derive(Debug, clap::Args)]
pub(super) struct LatestArgs {
    /// Directory with rce_epochN and grpo_epochN files
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(args: &LatestArgs) -> anyhow::Result<u8> {
    let directory = args.directory.display();
    let latest = checkpoint::latest(&args.directory)?;
    for error in &latest.passed_over {
        output::note(&format!("warning: passed over: {error}"));
    }
    match latest.path {
        Some(path) => {
            output::result(&format!("{}\n", path.display()));
            Ok(0)
        }
        None => {
            output::note(&format!(
                "no {} checkpoint in `{directory}`\nhint: `sweep ckpt ls {directory}` lists what lies below it",
                checkpoint::epoch_files()
            ));
            Ok(1)
        }
    }
}
