//! A table as it was loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeZone, Utc};
use iceberg::Runtime;
use iceberg::io::FileIO;
use iceberg::spec::{Operation, SnapshotRef, TableMetadata};

use super::catalog::Pointer;
use super::error::Doing;
use super::{LakeError, SequenceNumber, SnapshotId, TableName, TableSchema};

/// The branch that silversmith reads and writes.
pub(super) const MAIN: &str = "main";

/// Properties, by key: of a table, or of a snapshot (its summary).
pub type Properties = BTreeMap<String, String>;

/// One state of a table: a metadata file and the catalog's token for it. It never changes; [`super::Lake::load`]
/// loads a newer one.
#[derive(Debug, Clone)]
pub struct Table {
    name: TableName,
    inner: iceberg::table::Table,
    pointer: Pointer,
    schema: TableSchema,
}

/// One snapshot: what positions and users need of it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The snapshot's id.
    pub id: SnapshotId,
    /// The snapshot that it was made from.
    pub parent: Option<SnapshotId>,
    /// Its sequence number.
    pub sequence: SequenceNumber,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// `append`, `overwrite`, `delete` or `replace`.
    pub operation: String,
    /// Its summary, silversmith's properties included.
    pub summary: Properties,
}

impl Snapshot {
    /// Whether it changed no row: files were rewritten.
    pub fn is_rewrite(&self) -> bool {
        self.operation == Operation::Replace.as_str()
    }
}

impl Table {
    pub(super) fn new(
        name: TableName,
        metadata: Arc<TableMetadata>,
        pointer: Pointer,
        files: &FileIO,
    ) -> Result<Self, LakeError> {
        let schema = TableSchema::new(&name, metadata.current_schema().clone())?;
        let runtime = Runtime::try_current().doing(&name, "finding the runtime")?;
        let inner = iceberg::table::Table::builder()
            .file_io(files.clone())
            .metadata_location(pointer.metadata_location.clone())
            .metadata(metadata)
            .identifier(name.ident().doing(&name, "reading its name")?)
            .runtime(runtime)
            .build()
            .doing(&name, "opening it")?;
        Ok(Self { name, inner, pointer, schema })
    }

    /// The table's name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The table's UUID: a different one means another table under the same name.
    pub fn uuid(&self) -> String {
        self.metadata().uuid().to_string()
    }

    /// The current schema.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The highest field id ever used.
    pub fn last_column_id(&self) -> i32 {
        self.metadata().last_column_id()
    }

    /// The highest sequence number ever assigned, rolled back or not.
    pub fn last_sequence(&self) -> SequenceNumber {
        SequenceNumber(self.metadata().last_sequence_number())
    }

    /// A table property.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.metadata().properties().get(key).map(String::as_str)
    }

    /// All table properties that silversmith has set.
    pub fn own_properties(&self) -> Properties {
        self.metadata()
            .properties()
            .iter()
            .filter(|(key, _)| key.starts_with("silversmith."))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// The current snapshot.
    pub fn current(&self) -> Option<Snapshot> {
        self.metadata().current_snapshot().map(view)
    }

    /// A snapshot by id.
    pub fn snapshot(&self, id: SnapshotId) -> Option<Snapshot> {
        self.metadata().snapshot_by_id(id.0).map(view)
    }

    /// All snapshots in the metadata, oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let mut all: Vec<_> = self.metadata().snapshots().map(view).collect();
        all.sort_by_key(|s| (s.sequence, s.id));
        all
    }

    /// The snapshot that was current at a time, by the snapshot log.
    pub fn current_at(&self, at: DateTime<Utc>) -> Option<Snapshot> {
        let log = self.metadata().history();
        let entry = log.iter().rev().find(|entry| entry.timestamp_ms() <= at.timestamp_millis())?;
        self.snapshot(SnapshotId(entry.snapshot_id))
    }

    /// The current snapshot and those it was made from, newest first, as far as they have not expired.
    pub(super) fn line(&self) -> impl Iterator<Item = &SnapshotRef> {
        line(self.metadata(), self.metadata().current_snapshot())
    }

    /// The current snapshot and those it was made from, newest first, as far as they have not expired. Each is
    /// made as it is reached: a caller that needs the newest pays for these.
    pub fn ancestors(&self) -> impl Iterator<Item = Snapshot> {
        self.line().map(view)
    }

    /// Those of [`Table::ancestors`] whose sequence number is above `above`.
    pub fn newer_than(&self, above: SequenceNumber) -> impl Iterator<Item = Snapshot> {
        self.ancestors().take_while(move |snapshot| snapshot.sequence > above)
    }

    /// How many [`Table::ancestors`] there are.
    pub fn history_length(&self) -> usize {
        self.line().count()
    }

    /// Whether nothing of the current snapshot's history has expired.
    pub fn has_whole_history(&self) -> bool {
        self.line().last().is_none_or(|oldest| oldest.parent_snapshot_id().is_none())
    }

    /// The sequence number of the oldest of [`Table::ancestors`].
    pub fn oldest_sequence(&self) -> SequenceNumber {
        self.line()
            .last()
            .map_or(SequenceNumber::default(), |s| SequenceNumber(s.sequence_number()))
    }

    /// Where the table's files go.
    pub fn location(&self) -> &str {
        self.metadata().location()
    }

    /// The metadata file that this state was read from.
    pub fn metadata_location(&self) -> &str {
        &self.pointer.metadata_location
    }

    /// Whether a metadata file is this state or one that it was made from.
    pub(super) fn descends_from(&self, metadata_location: &str) -> bool {
        self.metadata_location() == metadata_location
            || self.metadata().metadata_log().iter().any(|l| l.metadata_file == metadata_location)
    }

    pub(super) fn pointer(&self) -> &Pointer {
        &self.pointer
    }

    pub(super) fn metadata(&self) -> &TableMetadata {
        self.inner.metadata()
    }

    pub(super) fn inner(&self) -> &iceberg::table::Table {
        &self.inner
    }
}

/// A snapshot and those it was made from, newest first.
pub(super) fn line<'a>(
    metadata: &'a TableMetadata,
    tip: Option<&'a SnapshotRef>,
) -> impl Iterator<Item = &'a SnapshotRef> {
    let parent = |snapshot: &&SnapshotRef| metadata.snapshot_by_id(snapshot.parent_snapshot_id()?);
    std::iter::successors(tip, move |snapshot| parent(snapshot))
}

pub(super) fn view(snapshot: &SnapshotRef) -> Snapshot {
    let summary = snapshot.summary();
    Snapshot {
        id: SnapshotId(snapshot.snapshot_id()),
        parent: snapshot.parent_snapshot_id().map(SnapshotId),
        sequence: SequenceNumber(snapshot.sequence_number()),
        at: Utc.timestamp_millis_opt(snapshot.timestamp_ms()).single().unwrap_or_default(),
        operation: summary.operation.as_str().to_owned(),
        summary: summary
            .additional_properties
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}
