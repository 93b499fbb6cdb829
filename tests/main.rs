//! One integration binary: contract suites, scenarios, faults, the command line, other engines.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test that cannot go on fails by panicking"
)]
#![allow(clippy::large_futures, reason = "a test is short: nothing wraps it further")]

#[cfg(not(all(feature = "glue", feature = "s3tables", feature = "lambda", feature = "otlp")))]
compile_error!("the tests are for a build with everything: cargo test --all-features");

mod cli;
mod contract;
mod docs;
mod emulator;
mod engines;
mod faults;
mod house;
mod scenarios;
mod support;
