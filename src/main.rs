//! The `sweep` binary: everything is in [`sweep::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(sweep::cli::main())
}
