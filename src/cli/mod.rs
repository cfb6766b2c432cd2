//! The command line: clap types, one file per subcommand. The only reader of arguments and environment,
//! and the only place that prints.

mod ckpt;
mod data;
mod data_report;
mod launch;
mod limits;
mod output;
mod progress;
mod report;
mod run;
mod schema;
mod sweep_file;
mod table;
mod use_point;
mod why;
mod worker;

use clap::{Parser, Subcommand};

/// Declarative experiment sweeps: a TOML grid in, a results matrix out.
#[derive(Debug, Parser)]
#[command(name = "sweep", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    output: output::OutputArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ckpt(ckpt::CkptArgs),
    Data(data::DataArgs),
    Report(report::ReportArgs),
    Run(run::RunArgs),
    Schema(schema::SchemaArgs),
    Use(use_point::UseArgs),
    Why(why::WhyArgs),
    Table(Box<table::TableArgs>),
    Worker(worker::WorkerArgs),
}

/// Parses the command line, runs the subcommand and returns the exit code (documented in the README).
pub fn main() -> u8 {
    let cli = Cli::parse();
    output::configure(&cli.output);
    let outcome: anyhow::Result<u8> = match cli.command {
        Command::Ckpt(args) => ckpt::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Table(args) => table::run(&args),
        Command::Use(args) => use_point::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Worker(args) => worker::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        output::note(&format!("error: {error:#}"));
        exit_code(&error)
    })
}

/// 3 where the results directory is held by another run or written by a newer version, 1 where a run broke off
/// after it had begun, else 2.
fn exit_code(error: &anyhow::Error) -> u8 {
    use crate::run::{RunError, SlurmError};
    use crate::store::StoreError;
    let held = |store: &StoreError| matches!(store, StoreError::Held { .. } | StoreError::NewerFormat { .. });
    match error.downcast_ref::<RunError>() {
        Some(RunError::Broken(_)) => 1,
        Some(RunError::Store(store)) if held(store) => 3,
        Some(RunError::Slurm(SlurmError::Queued(_))) => 3,
        _ if error.downcast_ref::<StoreError>().is_some_and(held) => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
