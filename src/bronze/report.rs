//! What a batch, or a step of many, did.

use super::ObjectEnd;
use crate::lake::SnapshotId;
use crate::reason::Reason;
use crate::source::RawObject;

/// A batch that was ingested.
#[derive(Debug, Clone)]
pub struct IngestedBatch {
    /// What was done.
    pub report: BronzeReport,
    /// How each object ended, in the order of the batch.
    pub ends: Vec<ObjectEnd>,
    /// Objects that no request was for, and that were not ingested: the ledger says why.
    pub unrequested: Vec<Unrequested>,
    /// Objects that no request was for, and that waited until now.
    pub released: usize,
}

/// An object of a delivery, or of its folder, that ended with the request for another one.
#[derive(Debug, Clone)]
pub struct Unrequested {
    /// Which.
    pub object: RawObject,
    /// Why it was not ingested.
    pub reason: Reason,
    /// The error in full.
    pub error: String,
    /// The index of the request in the batch.
    pub cause: usize,
}

/// What a step did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct BronzeReport {
    /// Objects that were listed and match the pipeline.
    pub listed: usize,
    /// Of these, known before: nothing was done about them.
    pub known: usize,
    /// Objects whose rows are in bronze now.
    pub ingested: usize,
    /// Objects that were rejected or missing.
    pub failed: usize,
    /// Rows appended.
    pub rows: u64,
    /// Of these, with something rescued.
    pub rescued: u64,
    /// Objects that could not be read; the next listing tries again.
    pub postponed: usize,
    /// Objects that wait, from now on, for their delivery to be complete.
    pub waiting: usize,
    /// Bytes of the objects that were ingested, as they are stored.
    pub bytes: u64,
    /// The snapshots that were committed.
    pub snapshots: Vec<SnapshotId>,
}

impl BronzeReport {
    /// Adds what a batch of the same step did. The listing counts what is listed.
    pub(super) fn add(&mut self, batch: BronzeReport) {
        self.known += batch.known;
        self.ingested += batch.ingested;
        self.failed += batch.failed;
        self.rows += batch.rows;
        self.rescued += batch.rescued;
        self.postponed += batch.postponed;
        self.waiting += batch.waiting;
        self.bytes += batch.bytes;
        self.snapshots.extend(batch.snapshots);
    }
}
