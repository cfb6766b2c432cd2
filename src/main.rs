//! The `sweep` binary: everything is in [`sweep::cli`].

use std::process::ExitCode;

use sweep::selector::Selector;

fn main() -> ExitCode {
    sweep::cli::main(&[&Selector])
}
