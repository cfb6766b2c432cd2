//! The one writer for stdout, which carries results, and the one for stderr, which carries everything else.
//!
//! What cannot be said on stderr is dropped: a night does not end with its terminal. What cannot be written to stdout
//! is remembered and said at the end ([`settle`]), after all work is done; only a closed pipe (`| head`) is nobody's
//! fault. A descriptor that was closed before the start (`>&-`) is `/dev/null` to a program, and so no error.
#![expect(clippy::disallowed_methods, reason = "the one place that has stdout and stderr")]

use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

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
        Color::Auto => {
            terminal && !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}

/// A terminal that knows no control codes.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Whether results are read on a terminal.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether results may be coloured.
pub fn colour_results() -> bool {
    coloured(is_terminal())
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
        false if std::io::stderr().is_terminal() && !is_dumb() => ProgressStyle::Bar,
        false => ProgressStyle::Lines,
    }
}

/// Columns of the terminal that results go to; 100 when it is none.
pub fn width() -> u16 {
    match is_terminal() {
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
    Screen { width: width(), height: if is_terminal() { lines() } else { None } }
}

/// What has become of stdout.
#[derive(Debug, Default)]
enum Stdout {
    #[default]
    Open,
    /// Its reader has gone away.
    Closed,
    /// It could not be written, and why.
    Failed(String),
}

static STDOUT: Mutex<Stdout> = Mutex::new(Stdout::Open);

fn stdout_state() -> MutexGuard<'static, Stdout> {
    STDOUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a result to stdout; after a failure nothing more is tried.
pub fn result(text: &str) {
    result_bytes(text.as_bytes());
}

/// [`result`] for bytes.
pub fn result_bytes(bytes: &[u8]) {
    let mut state = stdout_state();
    if !matches!(*state, Stdout::Open) {
        return;
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => *state = Stdout::Closed,
        Err(error) if has_hung_up(&error, &stdout) => *state = Stdout::Closed,
        Err(error) => *state = Stdout::Failed(error.to_string()),
    }
}

/// Whether `error` says that stdout is a terminal that has hung up: its reader has gone away like that of a pipe. Such
/// a terminal no longer says that it is one; that it is a device tells it from a disk that fails.
fn has_hung_up(error: &std::io::Error, stdout: &impl AsFd) -> bool {
    const EIO: i32 = 5;
    let is_device = || {
        let file = stdout.as_fd().try_clone_to_owned().map(std::fs::File::from);
        file.and_then(|file| file.metadata()).is_ok_and(|meta| meta.file_type().is_char_device())
    };
    error.raw_os_error() == Some(EIO) && is_device()
}

/// Whether anybody can still read results: a command that only shows something need not go on without.
pub fn is_read() -> bool {
    matches!(*stdout_state(), Stdout::Open)
}

/// The exit code of a command that has earned `code`: 2 instead of 0 if results could not be written.
pub fn settle(code: u8) -> u8 {
    let Stdout::Failed(cause) = &*stdout_state() else { return code };
    note(&format!(
        "error: cannot write results to stdout: {cause}\nhint: what was computed is kept; the same command prints it once there is room"
    ));
    if code == 0 { 2 } else { code }
}

/// Writes a line of progress or a message to stderr, if it can be written.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// What the parser of the command line has to say: help, a version, a mistake. Returns the exit code.
pub fn usage(error: &clap::Error) -> u8 {
    let text = error.render();
    let shown = |terminal| if coloured(terminal) { text.ansi().to_string() } else { text.to_string() };
    if error.use_stderr() {
        note(shown(std::io::stderr().is_terminal()).trim_end());
    } else {
        result(&shown(std::io::stdout().is_terminal()));
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}
