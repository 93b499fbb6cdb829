//! What reading a batch gives: files that no commit names yet, and how each object ended.

use std::collections::HashSet;

use arrow::array::RecordBatch;

use super::ObjectEnd;
use crate::lake::{DataFile, Table, TableSchema};
use crate::ledger::ObjectRow;
use crate::source::{ObjectId, RawObject};

/// An object, read to its end and verified.
pub(super) struct Parsed {
    pub(super) object: RawObject,
    /// How many rows it has.
    pub(super) count: u64,
    /// How many of them had something rescued.
    pub(super) rescued: u64,
    /// The table, and the schema of the rows; none for an object without rows.
    pub(super) target: Option<(Table, TableSchema)>,
    pub(super) rows: ParsedRows,
}

/// Where the rows of an object are until its batch is committed.
pub(super) enum ParsedRows {
    /// In memory: they go to a file that objects share.
    Memory(Vec<RecordBatch>),
    /// In files of their own.
    Files(Vec<DataFile>),
}

/// A data file of a batch, and whose rows are in it.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) file: DataFile,
    pub(super) schema: TableSchema,
    pub(super) objects: HashSet<ObjectId>,
}

/// A batch, read.
#[derive(Debug)]
pub(super) struct Staged {
    /// The table's state whose schema was extended; none when no object had a column.
    pub(super) base: Option<Table>,
    /// The schema that the files need.
    pub(super) schema: Option<TableSchema>,
    pub(super) files: Vec<StagedFile>,
    pub(super) ingested: Vec<ObjectRow>,
    pub(super) failed: Vec<ObjectRow>,
    /// How each object of the batch ended, in its order.
    pub(super) ends: Vec<ObjectEnd>,
}
