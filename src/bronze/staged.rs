//! An object on its way from the raw store to a batch, and what reading a batch gives: files that no
//! commit names yet, and how each object ended.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use super::ObjectEnd;
use crate::format::layout::Layout;
use crate::format::{Input, RowReader};
use crate::lake::{Table, TableSchema, Uncommitted};
use crate::ledger::{Attempt, Known, ObjectOutcome, ObjectRow};
use crate::source::{ObjectId, RawObject, Requested};

/// An object of which the first bytes were read, and its header and sample if unpacking it takes no memory to speak
/// of.
pub(super) enum Begun {
    Open(OpenObject),
    Packed(PackedObject),
}

/// What the request for an object says beside its location.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// See [`Requested::sequence`].
    pub(super) sequence: Option<String>,
    /// See [`Requested::again`].
    pub(super) again: Option<DateTime<Utc>>,
}

impl Asked {
    /// Of an object that was opened.
    pub(super) fn of(requested: &Requested, object: &RawObject) -> Self {
        let sequence = requested.sequence(object).map(str::to_owned);
        Self { sequence, again: requested.again() }
    }

    /// Whether what was ingested at this time stays: then the object is known.
    pub(super) fn leaves(&self, ingested_at: DateTime<Utc>) -> bool {
        stays(ingested_at, self.again)
    }
}

/// Whether what was ingested at this time stays, where what was ingested before `again` is replaced.
fn stays(ingested_at: DateTime<Utc>, again: Option<DateTime<Utc>>) -> bool {
    again.is_none_or(|again| again <= ingested_at)
}

/// An object that takes memory once it is opened.
pub(super) struct PackedObject {
    pub(super) object: RawObject,
    pub(super) asked: Asked,
    pub(super) input: Input,
    /// Bytes that unpacking it takes.
    pub(super) memory: u64,
}

/// An object whose header and sample were read.
pub(super) struct OpenObject {
    pub(super) object: RawObject,
    pub(super) asked: Asked,
    pub(super) reader: Box<dyn RowReader>,
}

/// An object with a column of the table, or none, for each of its own.
pub(super) struct LaidOut {
    pub(super) object: RawObject,
    pub(super) asked: Asked,
    pub(super) reader: Box<dyn RowReader>,
    pub(super) layout: Layout,
    /// The table, and the schema of the object's rows; none for an object without rows.
    pub(super) target: Option<(Table, TableSchema)>,
}

/// An object, read to its end and verified.
pub(super) struct Parsed {
    pub(super) object: RawObject,
    pub(super) asked: Asked,
    /// How many rows it has.
    pub(super) count: u64,
    /// How many of them had something rescued.
    pub(super) rescued: u64,
    /// The table, and the schema of the rows; none for an object without rows.
    pub(super) target: Option<(Table, TableSchema)>,
    pub(super) rows: ParsedRows,
}

impl Parsed {
    /// Deletes what was written of it.
    pub(super) async fn discard(self) {
        if let ParsedRows::Files(files) = self.rows {
            files.discard().await;
        }
    }
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

/// How the reading of a batch ended.
pub(super) enum ReadBatch {
    /// It is read.
    Staged(Box<Staged>),
    /// It is to be read again, with these columns for cells that do not fit.
    Needs(BTreeSet<String>),
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
    /// Of those ingested, the ones that replace what was ingested of them before this time.
    pub(super) again: HashMap<ObjectId, DateTime<Utc>>,
    /// How each object of the batch ended, in its order.
    pub(super) ends: Vec<ObjectEnd>,
    /// What the commit of a delivery says beside.
    pub(super) attached: Option<Attached>,
}

/// What the commit of a delivery says beside its objects' rows.
#[derive(Debug)]
pub(super) struct Attached {
    /// Its folder.
    pub(super) folder: String,
    /// How the ledger names it. Once that is known, another worker has committed it.
    pub(super) id: ObjectId,
    /// Rows of the ledger that are durable with the commit.
    pub(super) rows: Vec<ObjectRow>,
    /// How many of them are of objects that could not be ingested.
    pub(super) failed: usize,
}

impl Staged {
    /// Of what the ledger knows of the batch's objects: those that stay as they are, and those whose rows are replaced.
    pub(super) fn known(&self, known: Known) -> (HashSet<ObjectId>, HashSet<ObjectId>) {
        let ingested = known.into_iter().filter(|(_, a)| a.outcome == ObjectOutcome::Ingested);
        let (stay, go): (Vec<_>, Vec<_>) = ingested
            .partition(|(id, attempt)| stays(attempt.finished_at, self.again.get(id).copied()));
        let ids = |of: Vec<(ObjectId, Attempt)>| of.into_iter().map(|(id, _)| id).collect();
        (ids(stay), ids(go))
    }
}
