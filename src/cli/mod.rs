//! The command line: clap types, one file per subcommand. The only reader of arguments and environment,
//! and the only place that prints.

mod ckpt;
mod completions;
mod data;
mod data_report;
mod output;
mod plan;
mod plan_text;
mod progress;
mod report;
mod run;
mod schema;
mod status;
mod sweep_file;
mod table;
mod use_point;
mod verify;
mod why;

use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0        everything that was asked for is done
  1        some point failed (the others are kept), or a check found something
  2        the request itself is wrong: flags, sweep file, inputs
  3        the results directory is held by another run, or written by a newer version
  5        stopped by a budget or limit; the same command goes on
  130/143  interrupted by Ctrl-C or SIGTERM; the same command goes on";

/// Declarative experiment sweeps: a TOML grid in, a results matrix out.
#[derive(Debug, Parser)]
#[command(name = "sweep", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    output: output::OutputArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Plan(plan::PlanArgs),
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Table(Box<table::TableArgs>),
    Report(report::ReportArgs),
    Why(why::WhyArgs),
    Verify(verify::VerifyArgs),
    Use(use_point::UseArgs),
    Ckpt(ckpt::CkptArgs),
    Data(data::DataArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
}

/// Parses the command line, runs the subcommand and returns the exit code (documented in the README).
pub fn main() -> u8 {
    let cli = Cli::parse();
    output::configure(&cli.output);
    let outcome: anyhow::Result<u8> = match cli.command {
        Command::Plan(args) => plan::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Table(args) => table::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Use(args) => use_point::run(&args),
        Command::Ckpt(args) => ckpt::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        output::note(&format!("error: {error:#}"));
        exit_code(&error)
    })
}

/// 3 where the results directory is held by another run or written by a newer version, else 2.
fn exit_code(error: &anyhow::Error) -> u8 {
    use crate::run::{RunError, VerifyError};
    use crate::store::StoreError;
    let held = |store: &StoreError| matches!(store, StoreError::Held { .. } | StoreError::NewerFormat { .. });
    let from_run =
        error.downcast_ref::<RunError>().is_some_and(|e| matches!(e, RunError::Store(s) if held(s)));
    let from_verify =
        error.downcast_ref::<VerifyError>().is_some_and(|e| matches!(e, VerifyError::Store(s) if held(s)));
    if from_run || from_verify || error.downcast_ref::<StoreError>().is_some_and(held) { 3 } else { 2 }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
