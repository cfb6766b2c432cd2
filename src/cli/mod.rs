//! The command line: clap types, one file per subcommand. The only reader of arguments and environment,
//! and the only place that prints.

mod ckpt;
mod clean;
mod compare;
mod completions;
mod deliver;
mod follow;
mod judge;
mod lab;
mod launch;
mod limits;
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
mod wayland;

mod why;
mod worker;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::lab::{data, import_scripts, infer, init};
use crate::experiment::{self, Experiment};
use crate::panics;

const EXIT_CODES: &str = "\
Exit codes:
  0        everything that was asked for is done
  1        some point failed (the others are kept), or a check found something
  2        the request itself is wrong (flags, sweep file, inputs), or results could not be printed
  3        the results directory is held by another run, or written by a newer version
  4        a defect in this program; what was finished is kept
  5        stopped by a budget or limit; the same command goes on
  130/143  interrupted by Ctrl-C or SIGTERM; the same command goes on
  129      the terminal went away (SIGHUP); the same command goes on";

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
    Ckpt(ckpt::CkptArgs),
    Clean(clean::CleanArgs),
    Compare(compare::CompareArgs),
    Completions(completions::CompletionsArgs),
    Data(Box<data::DataArgs>),
    ImportScripts(import_scripts::ImportArgs),
    Infer(Box<infer::InferArgs>),
    Init(init::InitArgs),
    Judge(judge::JudgeArgs),
    Plan(plan::PlanArgs),
    Report(report::ReportArgs),
    Run(run::RunArgs),
    Schema(schema::SchemaArgs),
    Status(status::StatusArgs),
    Table(Box<table::TableArgs>),
    Use(use_point::UseArgs),
    Verify(verify::VerifyArgs),
    Why(why::WhyArgs),
    Worker(worker::WorkerArgs),
}

/// Parses the command line, runs the subcommand and returns the exit code (documented in the README), for a program that
/// can train `experiments`. Of sweep files that name none the first is meant.
pub fn main(experiments: &'static [&'static dyn Experiment]) -> ExitCode {
    experiment::know(experiments);
    ExitCode::from(run_command())
}

fn run_command() -> u8 {
    wayland::hush();
    // A defect anywhere ends with a documented code: whoever started the program must be able to tell.
    let code = std::panic::catch_unwind(command).unwrap_or_else(|payload| {
        let cause = panics::message_of(payload.as_ref());
        output::note(&format!(
            "error: this is a defect in sweep: {cause}\nhint: every finished epoch is kept, and the same command goes on; please report it with the lines above"
        ));
        DEFECT
    });
    output::settle(code)
}

/// The exit code of a panic.
const DEFECT: u8 = 4;

fn is_offered(name: &str) -> bool {
    !lab::COMMANDS.contains(&name) || lab::is_here()
}

/// The command line, whose help has the commands that this program can do something with.
pub(crate) fn offered() -> clap::Command {
    let left_out = lab::COMMANDS.iter().filter(|name| !is_offered(name));
    left_out.fold(Cli::command(), |cli, name| cli.mut_subcommand(name, |command| command.hide(true)))
}

fn command() -> u8 {
    let matches = match offered().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return output::usage(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    output::configure(&cli.output);
    if let Some(name) = matches.subcommand_name().filter(|name| !is_offered(name)) {
        output::note(&format!(
            "error: `{name}` works for the experiment `{}`, which this program does not have\nhint: `sweep` has it",
            lab::EXPERIMENT
        ));
        return 2;
    }
    let outcome: anyhow::Result<u8> = match cli.command {
        Command::Ckpt(args) => ckpt::run(&args),
        Command::Clean(args) => clean::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Data(args) => data::run(&args),
        Command::ImportScripts(args) => import_scripts::run(&args),
        Command::Infer(args) => infer::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Judge(args) => judge::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Report(args) if args.follow => follow::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Table(args) => table::run(&args),
        Command::Use(args) => use_point::run(&args),
        Command::Verify(args) => verify::run(&args),
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
    match error.downcast_ref::<RunError>() {
        Some(RunError::Broken { .. }) => return 1,
        Some(RunError::Slurm(SlurmError::Queued(_))) => return 3,
        _ => {}
    }
    match store_error(error) {
        Some(StoreError::Held { .. } | StoreError::NewerFormat { .. }) => 3,
        _ => 2,
    }
}

/// What is wrong with a results directory, whichever module was asked to use it.
fn store_error(error: &anyhow::Error) -> Option<&crate::store::StoreError> {
    use crate::report::ReportError;
    use crate::run::{RunError, VerifyError};
    use crate::store::UseError;
    let run = || match error.downcast_ref()? {
        RunError::Store(store) => Some(store),
        _ => None,
    };
    let report = || match error.downcast_ref()? {
        ReportError::Store(store) => Some(store),
        _ => None,
    };
    let verify = || match error.downcast_ref()? {
        VerifyError::Store(store) => Some(store),
        _ => None,
    };
    let used = || match error.downcast_ref()? {
        UseError::Store(store) => Some(store),
        _ => None,
    };
    error.downcast_ref().or_else(run).or_else(report).or_else(verify).or_else(used)
}

#[cfg(test)]
mod tests {
    use super::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
