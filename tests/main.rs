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

mod cli;
mod contract;
mod docs;
mod emulator;
mod engines;
mod faults;
mod house;
mod scenarios;
mod support;
