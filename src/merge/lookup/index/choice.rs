//! Whether a look-up scans the key columns or asks the index. Pure.

/// Fewer rows than these are scanned: that takes some tens of milliseconds, and no disk.
pub(super) const FEW_ROWS: u64 = 500_000;
/// A key in an index costs about as much as so many rows of a scan: a read of a block in each run, and of what the
/// deletes of its file say.
const ROWS_OF_A_KEY: u64 = 32;
/// To cover a row costs a few times what its scan costs. Where more than this part of the rows is new, they are
/// scanned once: a copy-on-write merge of random keys replaces all files each time.
const NEW_PART: u64 = 8;

/// What one look-up would read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// Keys that are looked up, at most.
    pub(super) keys: u64,
    /// Rows of the files that may hold them.
    pub(super) rows: u64,
}

/// Why the keys are scanned, where it is clear without an index.
pub(super) fn scan(Reads { keys, rows }: Reads, few_rows: u64) -> Option<&'static str> {
    if rows < few_rows {
        return Some("the files have few rows");
    }
    (keys.saturating_mul(ROWS_OF_A_KEY) > rows).then_some("the keys are many beside the rows")
}

/// Whether the rows that an index does not cover are few beside all of them.
pub(super) fn few_new(new: u64, rows: u64) -> bool {
    new <= rows / NEW_PART
}

/// Whether files that are not covered will stay: most of their rows were live at the look-up before.
pub(super) fn will_stay(seen_before: u64, new: u64) -> bool {
    seen_before > new / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_less_is_chosen() {
        let reads = |keys, rows| scan(Reads { keys, rows }, FEW_ROWS);
        assert_eq!(reads(1, 499_999), Some("the files have few rows"));
        assert_eq!(reads(10_000, 1_000_000), None);
        assert_eq!(reads(100_000, 1_000_000), Some("the keys are many beside the rows"));
        assert_eq!(reads(100_000, 5_000_000), None);
        assert_eq!(reads(u64::MAX, u64::MAX), None, "it saturates");
    }

    #[test]
    fn files_that_do_not_stay_are_not_covered() {
        assert!(few_new(10_000, 1_000_000) && !few_new(1_000_000, 1_000_000));
        assert!(will_stay(600_000, 1_000_000) && !will_stay(0, 1_000_000));
    }
}
