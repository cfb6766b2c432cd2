//! The command line: clap types, one file per subcommand. The only reader of arguments and environment,
//! and the only place that prints.

mod output;
mod report;
mod schema;
mod table;
mod why;

use clap::{Parser, Subcommand};

/// Declarative experiment sweeps: a TOML grid in, a results matrix out.
#[derive(Debug, Parser)]
#[command(name = "sweep", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Schema(schema::SchemaArgs),
    Report(report::ReportArgs),
    Table(Box<table::TableArgs>),
    Why(why::WhyArgs),
}

/// Parses the command line, runs the subcommand and returns the exit code (documented in the README).
pub fn main() -> u8 {
    let cli = Cli::parse();
    let outcome: anyhow::Result<u8> = match cli.command {
        Command::Schema(args) => schema::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Table(args) => table::run(&args),
        Command::Why(args) => why::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        output::note(&format!("error: {error:#}"));
        2
    })
}
