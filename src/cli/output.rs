//! stdout carries results, stderr everything else; a closed pipe is not an error.
#![expect(clippy::print_stderr, reason = "the one place that prints")]

use std::io::Write;

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
