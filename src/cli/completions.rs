//! `sweep completions`: completion scripts for shells.

use clap::CommandFactory;

use super::output;

/// Print a completion script: `source <(sweep completions bash)`
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell to complete in
    shell: clap_complete::Shell,
}

/// Prints the script to stdout.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "sweep", &mut script);
    output::result(&String::from_utf8_lossy(&script));
    Ok(0)
}
