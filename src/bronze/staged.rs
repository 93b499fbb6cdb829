//! An object on its way from the raw store to a batch, and what reading a batch gives: files that no
//! commit names yet, and how each object ended.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::ObjectEnd;
use crate::format::RowReader;
use crate::format::layout::Layout;
use crate::lake::{Table, TableSchema, Uncommitted};
use crate::ledger::ObjectRow;
use crate::source::{ObjectId, RawObject};

/// An object of which the first bytes were read, and its header and sample if unpacking it takes no memory to speak
/// of.
pub(super) enum Begun {
    Open(OpenObject),
    Packed(PackedObject),
}

/// An object that takes memory once it is opened.
pub(super) struct PackedObject {
    pub(super) object: RawObject,
    /// See [`crate::source::Requested::sequence`].
    pub(super) sequence: Option<String>,
    pub(super) input: Box<dyn Read + Send>,
    /// Bytes that unpacking it takes.
    pub(super) memory: u64,
}

/// An object whose header and sample were read.
pub(super) struct OpenObject {
    pub(super) object: RawObject,
    /// See [`crate::source::Requested::sequence`].
    pub(super) sequence: Option<String>,
    pub(super) reader: Box<dyn RowReader>,
}

/// An object with a column of the table, or none, for each of its own.
pub(super) struct LaidOut {
    pub(super) object: RawObject,
    /// See [`crate::source::Requested::sequence`].
    pub(super) sequence: Option<String>,
    pub(super) reader: Box<dyn RowReader>,
    pub(super) layout: Layout,
    /// The table, and the schema of the object's rows; none for an object without rows.
    pub(super) target: Option<(Table, TableSchema)>,
}

/// An object, read to its end and verified.
pub(super) struct Parsed {
    pub(super) object: RawObject,
    /// See [`crate::source::Requested::sequence`].
    pub(super) sequence: Option<String>,
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
    Files(Uncommitted),
}

/// Which objects' rows are in a data file of a batch.
#[derive(Debug)]
pub(super) struct FileContents {
    pub(super) path: String,
    pub(super) schema: TableSchema,
    pub(super) objects: Arc<HashSet<ObjectId>>,
}

/// A batch, read.
#[derive(Debug)]
pub(super) struct Staged {
    /// The table's state whose schema was extended; none when no object had a column.
    pub(super) base: Option<Table>,
    /// The schema that the files need.
    pub(super) schema: Option<TableSchema>,
    pub(super) files: Uncommitted,
    pub(super) contents: Vec<FileContents>,
    pub(super) ingested: Vec<ObjectRow>,
    pub(super) failed: Vec<ObjectRow>,
    /// How each object of the batch ended, in its order.
    pub(super) ends: Vec<ObjectEnd>,
}
