//! The `silversmith` program. The library's documentation says what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    silversmith::cli::main()
}
