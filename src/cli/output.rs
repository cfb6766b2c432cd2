//! stdout carries results, stderr everything else; a closed pipe is not an error.
#![expect(clippy::print_stderr, reason = "the one place that prints")]

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use clap::ValueEnum;

use crate::report::Screen;

/// Flags that every subcommand has.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct OutputArgs {
    /// When to use colour [env: SWEEP_COLOR, NO_COLOR]
    #[arg(long, global = true, value_enum, default_value = "auto", env = "SWEEP_COLOR", hide_env = true)]
    color: Color,
    /// Show no progress, only messages
    #[arg(long, global = true, env = "SWEEP_NO_PROGRESS")]
    no_progress: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

static ARGS: OnceLock<OutputArgs> = OnceLock::new();

/// Remembers the flags; called once, before anything is printed.
pub fn configure(args: &OutputArgs) {
    let _ = ARGS.set(*args);
}

fn coloured(terminal: bool) -> bool {
    match ARGS.get().map_or(Color::Auto, |args| args.color) {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

/// Whether results may be coloured.
pub fn colour_results() -> bool {
    coloured(std::io::stdout().is_terminal())
}

/// How progress is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressStyle {
    Bar,
    Lines,
    Hidden,
}

/// A bar on a terminal, lines otherwise.
pub fn progress_style() -> ProgressStyle {
    match ARGS.get().is_some_and(|args| args.no_progress) {
        true => ProgressStyle::Hidden,
        false if std::io::stderr().is_terminal() => ProgressStyle::Bar,
        false => ProgressStyle::Lines,
    }
}

/// Columns of the terminal that results go to; 100 when it is none.
pub fn width() -> u16 {
    match std::io::stdout().is_terminal() {
        true => std::env::var("COLUMNS")
            .ok()
            .and_then(|text| text.parse().ok())
            .or_else(|| comfy_table::Table::new().width())
            .unwrap_or(100),
        false => 100,
    }
}

/// The terminal that results go to; what is none has no last line.
pub fn screen() -> Screen {
    let lines = || {
        let set = std::env::var("LINES").ok().and_then(|text| text.parse().ok());
        set.or_else(|| console::Term::stdout().size_checked().map(|(lines, _)| lines))
    };
    Screen { width: width(), height: if std::io::stdout().is_terminal() { lines() } else { None } }
}

/// Writes a result to stdout. A reader that has gone away (`| head`) ends the program quietly.
pub fn result(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes a line of progress or a message to stderr.
pub fn note(text: &str) {
    eprintln!("{text}");
}
