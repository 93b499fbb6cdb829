//! Any bytes as a file of Parquet.
#![no_main]

#[path = "../properties.rs"]
mod properties;

// The fuzzer's hook ends the process at each panic. Those of the crate that reads Parquet are caught, and are no
// finding.
libfuzzer_sys::fuzz_target!(
    init: drop(std::panic::take_hook()),
    |data: &[u8]| properties::parquet(data)
);
