//! Rows that wait for a file of their partition.

use std::collections::HashMap;

use arrow::record_batch::RecordBatch;
use iceberg::spec::Struct;

/// Batches by partition, in the order in which they came.
#[derive(Default)]
pub(super) struct Waiting {
    by_partition: HashMap<Struct, Rows>,
    bytes: usize,
}

#[derive(Default)]
struct Rows {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, partition: Struct, batch: RecordBatch) {
        let bytes = batch.get_array_memory_size();
        let rows = self.by_partition.entry(partition).or_default();
        rows.batches.push(batch);
        rows.bytes += bytes;
        self.bytes += bytes;
    }

    /// Bytes that they hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the partition that holds most.
    pub(super) fn take_largest(&mut self) -> Option<(Struct, Vec<RecordBatch>)> {
        let largest = self.by_partition.iter().max_by_key(|(_, rows)| rows.bytes);
        let partition = largest.map(|(partition, _)| partition.clone())?;
        let rows = self.by_partition.remove(&partition)?;
        self.bytes -= rows.bytes;
        Some((partition, rows.batches))
    }
}
