//! The `silversmith` program. See the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    silversmith::cli::main()
}
