//! A change to a table, and its preparation: all files of the new snapshot, before the swap.

mod append;
pub(in crate::lake) mod expire;
mod manifests;
mod overwrite;
mod replace;
mod row_delta;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::TableRequirement;
use iceberg::spec::{
    DataFile, ManifestFile, ManifestListWriter, Operation, SnapshotSummaryCollector, Summary,
    TableMetadata, TableMetadataBuildResult, TableMetadataBuilder,
};

use crate::lake::catalog::Proposal;
use crate::lake::error::Doing;
use crate::lake::read::plan::SURE_BOUNDS;
use crate::lake::table::MAIN;
use crate::lake::write::AdoptedFile;
use crate::lake::write::position_deletes::DeleteFiles;
use crate::lake::write::uncommitted::{Uncommitted, Written};
use crate::lake::{Lake, LakeError, Properties, SequenceNumber, SnapshotId, Table, TableSchema};
use crate::telemetry::metrics::Layer;
use append::Append;
use manifests::Manifests;
use overwrite::Overwrite;
pub use overwrite::Removed;
pub use replace::Replacement;
use row_delta::RowDelta;

/// What a commit records about itself.
#[derive(Debug, Clone)]
pub struct CommitProperties {
    /// The layer that commits, for the metrics.
    pub layer: Layer,
    /// Set in the snapshot's summary …
    pub summary: Properties,
    /// … and set as table properties, in the same commit.
    pub table: Properties,
}

impl CommitProperties {
    /// Properties of the snapshot alone.
    pub fn of_snapshot(layer: Layer, summary: Properties) -> Self {
        Self { layer, summary, table: Properties::new() }
    }

    /// The same properties on the snapshot and on the table.
    pub fn of_both(layer: Layer, properties: Properties) -> Self {
        Self { layer, summary: properties.clone(), table: properties }
    }
}

/// A change to a table: one snapshot. It owns the files that it adds.
#[derive(Debug)]
pub struct Change {
    action: Action,
    schema: Option<TableSchema>,
    properties: CommitProperties,
    attached: Option<Uncommitted>,
}

#[derive(Debug)]
enum Action {
    Append(Append),
    Overwrite(Overwrite),
    RowDelta(Box<RowDelta>),
    Replace(Replacement),
}

impl Change {
    /// Adds files.
    pub fn append(files: Uncommitted, properties: CommitProperties) -> Self {
        Self::of(Action::Append(Append { files, adopted: vec![] }), properties)
    }

    /// Adds files, and others (`adopted`) that another commit names already: these stay, however this commit
    /// ends.
    pub fn adopt(
        files: Uncommitted,
        adopted: Vec<AdoptedFile>,
        properties: CommitProperties,
    ) -> Self {
        Self::of(Action::Append(Append { files, adopted }), properties)
    }

    /// Adds files and removes others.
    pub fn overwrite(files: Uncommitted, removed: Removed, properties: CommitProperties) -> Self {
        Self::of(Action::Overwrite(Overwrite { files, removed }), properties)
    }

    /// Adds data files and position deletes, and removes data files and delete files, by path. What it removes, and
    /// the data files that the deletes are for, must be live in the state that the change is prepared on.
    pub fn row_delta(
        files: Uncommitted,
        deletes: DeleteFiles,
        removed: BTreeSet<String>,
        properties: CommitProperties,
    ) -> Self {
        Self::of(Action::RowDelta(Box::new(RowDelta { files, deletes, removed })), properties)
    }

    /// Adds files that hold the rows of others, and removes these.
    pub fn replace(replacement: Replacement, properties: CommitProperties) -> Self {
        Self::of(Action::Replace(replacement), properties)
    }

    fn of(action: Action, properties: CommitProperties) -> Self {
        Self { action, schema: None, properties, attached: None }
    }

    /// The same, and the table gets this schema.
    pub fn with_schema(mut self, schema: Option<TableSchema>) -> Self {
        self.schema = schema;
        self
    }

    /// The same, with files of another table that this commit's properties name: they stay if it is committed, and
    /// are deleted if it is not.
    pub fn with_attached(mut self, files: Uncommitted) -> Self {
        self.attached = Some(files);
        self
    }

    pub(super) fn layer(&self) -> Layer {
        self.properties.layer
    }

    /// The files that it adds.
    fn added(&self) -> impl Iterator<Item = Added<'_>> {
        let (files, adopted) = match &self.action {
            Action::Append(append) => (&append.files, append.adopted.as_slice()),
            Action::Overwrite(overwrite) => (&overwrite.files, [].as_slice()),
            Action::RowDelta(delta) => (&delta.files, [].as_slice()),
            Action::Replace(replacement) => (&replacement.files, [].as_slice()),
        };
        let sequence = |file: &DataFile| match &self.action {
            Action::Replace(replacement) => replacement.sequence_of(file.file_path()),
            Action::Append(_) | Action::Overwrite(_) | Action::RowDelta(_) => None,
        };
        let adopted = adopted.iter().map(|adopted| (&adopted.file, adopted.spec_id));
        let all = files.with_specs().chain(adopted);
        all.map(move |(file, spec_id)| Added { file, spec_id, sequence: sequence(file) })
    }

    fn deletes(&self) -> Option<&DeleteFiles> {
        match &self.action {
            Action::RowDelta(delta) => Some(&delta.deletes),
            Action::Append(_) | Action::Overwrite(_) | Action::Replace(_) => None,
        }
    }

    fn removal(&self) -> Removal<'_> {
        let paths = match &self.action {
            Action::Append(_) => return Removal::Nothing,
            Action::Overwrite(Overwrite { removed: Removed::All, .. }) => return Removal::All,
            Action::Overwrite(Overwrite { removed: Removed::Files(paths), .. }) => paths,
            Action::RowDelta(delta) => &delta.removed,
            Action::Replace(replacement) => &replacement.removed,
        };
        // No manifest is read for nothing.
        if paths.is_empty() { Removal::Nothing } else { Removal::Files(paths) }
    }

    fn rewrites_manifests(&self) -> bool {
        matches!(&self.action, Action::Replace(replacement) if replacement.manifests)
    }

    fn operation(&self) -> Operation {
        match &self.action {
            Action::Append(_) => Operation::Append,
            Action::Overwrite(_) => Operation::Overwrite,
            Action::RowDelta(delta) => delta.operation(),
            Action::Replace(_) => Operation::Replace,
        }
    }

    /// The files that it owns: those to add, and those attached.
    pub(super) fn into_files(self) -> (Uncommitted, Option<Uncommitted>) {
        let files = match self.action {
            Action::Append(append) => append.files,
            Action::Overwrite(overwrite) => overwrite.files,
            Action::RowDelta(delta) => delta.into_files(),
            Action::Replace(replacement) => replacement.files,
        };
        (files, self.attached)
    }

    /// Deletes the files that it owns.
    pub(super) async fn discard(self) {
        let (files, attached) = self.into_files();
        files.discard().await;
        if let Some(attached) = attached {
            attached.discard().await;
        }
    }
}

/// A file that a change adds.
pub(in crate::lake) struct Added<'a> {
    pub(in crate::lake) file: &'a DataFile,
    pub(in crate::lake) spec_id: i32,
    /// Its data sequence number; none for that of the commit.
    pub(in crate::lake) sequence: Option<SequenceNumber>,
}

/// What a change removes from the table, entry by entry of its manifests.
#[derive(Debug, Clone, Copy)]
pub(in crate::lake) enum Removal<'a> {
    Nothing,
    Files(&'a BTreeSet<String>),
    All,
}

/// A snapshot whose files are all written, waiting for the swap.
#[derive(Debug)]
pub(in crate::lake) struct Prepared {
    pub(in crate::lake) snapshot: SnapshotId,
    pub(in crate::lake) proposal: Proposal,
    /// Metadata files of this proposal.
    pub(in crate::lake) wrote: Written,
}

pub(in crate::lake) async fn prepare(
    lake: &Lake,
    table: &Table,
    change: &Change,
    expired: &[i64],
) -> Result<Prepared, LakeError> {
    let name = table.name();
    lake.check_writable(table)?;
    let metadata = &*with_schema(table, change)?;
    let mut snapshot_id = lake.ambient.snapshot_id();
    while metadata.snapshot_by_id(snapshot_id).is_some() {
        snapshot_id = lake.ambient.snapshot_id();
    }

    let mut manifests = Manifests::new(lake, table, metadata, snapshot_id);
    manifests.add(change.added()).await?;
    manifests.carry_over(change.removal(), change.deletes()).await?;
    if let Some(deletes) = change.deletes() {
        manifests.add_deletes(deletes).await?;
    }
    match change.rewrites_manifests() {
        true => manifests.merge_all().await?,
        false => manifests.merge_small().await?,
    }
    let (manifests, collector, mut wrote) = manifests.finish();

    let manifest_list =
        format!("{}/metadata/snap-{snapshot_id}-{}.avro", table.location(), lake.ambient.uuid());
    wrote.push(manifest_list.clone());
    write_manifest_list(lake, table, metadata, snapshot_id, &manifest_list, manifests).await?;

    let snapshot = iceberg::spec::Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(metadata.next_sequence_number())
        // The spec requires times that do not go back; the crate refuses more than a minute of it.
        .with_timestamp_ms(
            lake.ambient.now().timestamp_millis().max(metadata.last_updated_ms() + 1),
        )
        .with_manifest_list(manifest_list)
        .with_summary(summary(metadata, change, &collector))
        .with_schema_id(metadata.current_schema_id())
        .build();

    let location = lake.next_metadata_location(table)?;
    let mut builder =
        table.metadata().clone().into_builder(Some(table.metadata_location().to_owned()));
    if let Some(schema) = &change.schema {
        builder = builder
            .add_current_schema(schema.iceberg().as_ref().clone())
            .doing(name, "changing its schema")?;
    }
    let builder = builder
        .set_branch_snapshot(snapshot, MAIN)
        .and_then(|b| b.set_properties(properties(table, change)))
        .doing(name, "making its new metadata")?;
    let built =
        without(builder, metadata, expired).build().doing(name, "making its new metadata")?;
    let proposal = proposal(table, built, location.to_string());
    if !lake.catalog.writes_metadata() {
        wrote.push(proposal.metadata_location.clone());
    }
    lake.write_metadata(name, &proposal).await?;
    Ok(Prepared { snapshot: SnapshotId(snapshot_id), proposal, wrote })
}

/// The metadata without these snapshots, and without what is known about them.
fn without(
    builder: TableMetadataBuilder,
    metadata: &TableMetadata,
    expired: &[i64],
) -> TableMetadataBuilder {
    let mut builder = builder.remove_snapshots(expired);
    for id in expired {
        if metadata.statistics_for_snapshot(*id).is_some() {
            builder = builder.remove_statistics(*id);
        }
        if metadata.partition_statistics_for_snapshot(*id).is_some() {
            builder = builder.remove_partition_statistics(*id);
        }
    }
    builder
}

fn proposal(base: &Table, built: TableMetadataBuildResult, metadata_location: String) -> Proposal {
    Proposal {
        requirements: requirements(base.metadata()),
        updates: built.changes,
        metadata: Arc::new(built.metadata),
        metadata_location,
    }
}

/// The table properties that a commit sets. An older table gets the property that says from when on its bounds
/// are sure.
fn properties(table: &Table, change: &Change) -> HashMap<String, String> {
    let mut properties: HashMap<_, _> = change.properties.table.clone().into_iter().collect();
    if table.property(SURE_BOUNDS).is_none() {
        let sequence = table.metadata().next_sequence_number();
        properties.insert(SURE_BOUNDS.to_owned(), sequence.to_string());
    }
    properties
}

/// What a change asserts of the state that it was prepared on: no snapshot, column or layout came in between.
fn requirements(base: &TableMetadata) -> Vec<TableRequirement> {
    vec![
        TableRequirement::UuidMatch { uuid: base.uuid() },
        TableRequirement::RefSnapshotIdMatch {
            r#ref: MAIN.to_owned(),
            snapshot_id: base.current_snapshot_id(),
        },
        TableRequirement::CurrentSchemaIdMatch { current_schema_id: base.current_schema_id() },
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id: base.last_column_id(),
        },
        TableRequirement::DefaultSpecIdMatch { default_spec_id: base.default_partition_spec_id() },
    ]
}

/// The metadata as the manifests must see it: with the schema that the change brings.
fn with_schema<'a>(table: &'a Table, change: &Change) -> Result<Cow<'a, TableMetadata>, LakeError> {
    let metadata = table.metadata();
    let Some(schema) = &change.schema else { return Ok(Cow::Borrowed(metadata)) };
    let built = metadata
        .clone()
        .into_builder(Some(table.metadata_location().to_owned()))
        .add_current_schema(schema.iceberg().as_ref().clone())
        .and_then(|b| b.build())
        .doing(table.name(), "changing its schema")?;
    Ok(Cow::Owned(built.metadata))
}

async fn write_manifest_list(
    lake: &Lake,
    table: &Table,
    metadata: &TableMetadata,
    snapshot_id: i64,
    path: &str,
    manifests: Vec<ManifestFile>,
) -> Result<(), LakeError> {
    const DOING: &str = "writing a manifest list";
    let name = table.name();
    let output = lake.files.new_output(path).doing(name, DOING)?;
    let writer = output.writer().await.doing(name, DOING)?;
    let mut list = ManifestListWriter::v2(
        writer,
        snapshot_id,
        metadata.current_snapshot_id(),
        metadata.next_sequence_number(),
    );
    list.add_manifests(manifests.into_iter()).doing(name, DOING)?;
    list.close().await.doing(name, DOING)
}

/// The summary with its running totals. The crate's own totals treat every overwrite as a truncation.
fn summary(
    metadata: &TableMetadata,
    change: &Change,
    collector: &SnapshotSummaryCollector,
) -> Summary {
    let mut entries: HashMap<String, String> = collector.build();
    let before = metadata.current_snapshot().map(|s| &s.summary().additional_properties);
    for (total, plus, minus) in [
        ("total-data-files", "added-data-files", "deleted-data-files"),
        ("total-delete-files", "added-delete-files", "removed-delete-files"),
        ("total-records", "added-records", "deleted-records"),
        ("total-files-size", "added-files-size", "removed-files-size"),
        ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
        ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
    ] {
        let number = |key: &str| entries.get(key).and_then(|v| v.parse::<i64>().ok()).unwrap_or(0);
        // Where another engine kept no total, there is none to continue.
        let base = match before {
            None => Some(0),
            Some(before) => before.get(total).and_then(|v| v.parse::<i64>().ok()),
        };
        if let Some(base) = base {
            let value = (base + number(plus) - number(minus)).max(0);
            entries.insert(total.to_owned(), value.to_string());
        }
    }
    entries.extend(change.properties.summary.clone());
    Summary { operation: change.operation(), additional_properties: entries }
}
