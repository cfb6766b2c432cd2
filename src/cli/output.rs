//! stdout carries results, stderr everything else; a closed pipe is not an error.
#![expect(clippy::print_stderr, reason = "the one place that prints")]

use std::io::{IsTerminal, Write};

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

/// Columns of the terminal that stdout is; 100 where it is none.
pub fn width() -> u16 {
    comfy_table::Table::new().width().unwrap_or(100)
}

/// Whether stdout takes colours: a terminal, and `NO_COLOR` unset.
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
