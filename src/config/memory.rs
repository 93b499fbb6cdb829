//! How `worker.memory` is shared out (I7): every share in one table, and together they are no more than all of it.
//!
//! A share that pipelines use at the same time is divided among them.

/// A share of `worker.memory`, in 32nds.
type Share = u64;

/// Code, threads, messages in flight, buffers of requests.
const PROCESS: Share = 6;
/// Metadata files of tables on S3.
const METADATA: Share = 2;
/// Rows of objects until their object is verified.
const READING: Share = 4;
/// Windows of compressed files that are read.
const UNPACKING: Share = 2;
/// Names of the objects of a delivery, in each of the lists that its commit needs.
const DELIVERIES: Share = 2;
/// What the ledger knows of object versions.
const LEDGER: Share = 4;
/// The newest row of each key of a merge.
const MERGING: Share = 4;
/// SQL of silver, row by row.
const QUERIES: Share = 3;
/// SQL of gold, beside the merges.
const GOLD: Share = 3;
/// Rows that are sorted when files are rewritten, one table after the other.
const UPKEEP: Share = 2;

/// All of it.
const WHOLE: Share = 32;

// What a worker may hold at the same time is all of it, and no more.
const _: () = assert!(
    PROCESS
        + METADATA
        + READING
        + UNPACKING
        + DELIVERIES
        + LEDGER
        + MERGING
        + QUERIES
        + GOLD
        + UPKEEP
        == WHOLE
);

/// The queries of a command that only reads.
const QUERIES_OF_A_COMMAND: Share = 16;

// Such a command has no ledger, no merge and no objects beside its queries.
const _: () = assert!(PROCESS + METADATA + QUERIES_OF_A_COMMAND <= WHOLE);

/// Bytes of an object version in the memory of the ledger.
const OBJECT_VERSION: u64 = 64;
/// Bytes of an object in memory while its delivery is committed.
const DELIVERED_OBJECT: u64 = 2 * 1024;
/// Bounds on the bytes of one object's rows before it gets files of its own.
const LEAST_OBJECT: u64 = 256 * 1024;
/// See [`LEAST_OBJECT`].
const MOST_OBJECT: u64 = 16 * 1024 * 1024;

/// The shares of one process.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    whole: u64,
    pipelines: u64,
}

impl Memory {
    /// The shares of `whole` bytes, divided among `pipelines`.
    pub fn of(whole: u64, pipelines: usize) -> Self {
        Self { whole, pipelines: pipelines.max(1) as u64 }
    }

    fn share(self, share: Share) -> u64 {
        self.whole / WHOLE * share
    }

    /// Bytes for metadata files of tables on S3.
    pub fn metadata(self) -> u64 {
        self.share(METADATA)
    }

    /// Bytes for the rows of one object, where `at_once` are read at a time.
    pub fn object(self, at_once: usize) -> usize {
        let share = self.share(READING) / at_once.max(1) as u64;
        share.clamp(LEAST_OBJECT, MOST_OBJECT) as usize
    }

    /// Bytes for the windows of compressed files. One file may have a larger one.
    pub fn unpacking(self) -> usize {
        self.share(UNPACKING) as usize
    }

    /// Object versions that the index of one pipeline's ledger has memory for: without a disk it knows no more, with one
    /// it sorts in half of that.
    pub fn object_versions(self) -> usize {
        (self.share(LEDGER) / OBJECT_VERSION / self.pipelines) as usize
    }

    /// Objects of one delivery of one pipeline.
    pub fn delivered_objects(self) -> usize {
        (self.share(DELIVERIES) / DELIVERED_OBJECT / self.pipelines) as usize
    }

    /// Bytes for the rows of one pipeline's merge.
    pub fn merge(self) -> usize {
        (self.share(MERGING) / self.pipelines) as usize
    }

    /// Bytes for the SQL of one pipeline's silver.
    pub fn queries(self) -> usize {
        (self.share(QUERIES) / self.pipelines) as usize
    }

    /// Bytes for the SQL of gold that follows one pipeline.
    pub fn gold(self) -> usize {
        (self.share(GOLD) / self.pipelines) as usize
    }

    /// Bytes for sorting rows when files are rewritten.
    pub fn upkeep(self) -> usize {
        self.share(UPKEEP) as usize
    }

    /// Bytes for the SQL of a command that only reads.
    pub fn queries_of_a_command(self) -> usize {
        self.share(QUERIES_OF_A_COMMAND) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: u64 = 1024 * 1024;

    #[test]
    fn pipelines_share_and_do_not_multiply() {
        for pipelines in [1, 2, 7, 40] {
            for whole in [256, 512, 4_096].map(|mebibytes| mebibytes * MEBIBYTE) {
                let memory = Memory::of(whole, pipelines);
                let at_once = 16;
                let objects = (memory.object(at_once) * at_once) as u64;
                let of_pipelines = memory.merge() as u64
                    + memory.queries() as u64
                    + memory.gold() as u64
                    + memory.object_versions() as u64 * OBJECT_VERSION
                    + memory.delivered_objects() as u64 * DELIVERED_OBJECT;
                let used = memory.share(PROCESS)
                    + memory.metadata()
                    + memory.unpacking() as u64
                    + memory.upkeep() as u64
                    + objects
                    + of_pipelines * pipelines as u64;
                assert!(used <= whole, "{used} of {whole} with {pipelines} pipelines");
            }
        }
    }
}
