//! Any bytes as a CSV file, in any dialect.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::csv(data));
