//! What benchmarks share.

#[allow(dead_code, reason = "not every benchmark draws")]
pub(crate) mod chart;

/// Bytes of this process in memory.
pub(crate) fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
