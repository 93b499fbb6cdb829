//! A change to a table, and its preparation: all files of the new snapshot, before the swap.

mod manifests;

use std::collections::{BTreeSet, HashMap};

use iceberg::TableRequirement;
use iceberg::spec::{
    DataFile, ManifestFile, ManifestListWriter, SnapshotReference, SnapshotRetention,
    SnapshotSummaryCollector, Summary, TableMetadata,
};

use crate::lake::catalog::Proposal;
use crate::lake::error::Doing;
use crate::lake::read::plan::SURE_BOUNDS;
use crate::lake::{Facts, Lake, LakeError, Table, TableSchema};
use manifests::Manifests;

/// Which operation a snapshot says it is (Iceberg spec, "Snapshots": `operation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Files were added, none removed.
    Append,
    /// Files were added and removed.
    Overwrite,
}

/// What a change takes out of the table.
#[derive(Debug, Clone, Default)]
pub enum Removal {
    /// Nothing.
    #[default]
    Nothing,
    /// These data files, by path. Each has to be live in the state that the change is prepared on.
    Files(BTreeSet<String>),
    /// Everything.
    All,
}

/// A change to a table: one snapshot, with its marks.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Data files to add.
    pub add: Vec<DataFile>,
    /// Data files to remove.
    pub remove: Removal,
    /// The table's new schema, where the change brings one.
    pub schema: Option<TableSchema>,
    /// Marks: set in the snapshot's summary …
    pub marks: Facts,
    /// … and which of them are set as table properties, too, in the same commit.
    pub property_marks: Facts,
}

impl Change {
    fn operation(&self) -> Operation {
        match self.remove {
            Removal::Nothing => Operation::Append,
            Removal::Files(_) | Removal::All => Operation::Overwrite,
        }
    }
}

/// A snapshot whose files are all written, waiting for the swap.
#[derive(Debug)]
pub(in crate::lake) struct Prepared {
    pub(in crate::lake) snapshot_id: i64,
    pub(in crate::lake) proposal: Proposal,
    /// Metadata files of this proposal: unused, and to be deleted, when the swap has lost.
    pub(in crate::lake) wrote: Vec<String>,
}

const MAIN: &str = "main";
/// How the names of the buckets end in which S3 Tables keeps tables.
const S3_TABLES_BUCKET: &str = "--table-s3";

pub(in crate::lake) async fn prepare(
    lake: &Lake,
    table: &Table,
    change: &Change,
) -> Result<Prepared, LakeError> {
    let name = table.name();
    let metadata = with_schema(table, change)?;
    let mut snapshot_id = lake.ambient.snapshot_id();
    while metadata.snapshot_by_id(snapshot_id).is_some() {
        snapshot_id = lake.ambient.snapshot_id();
    }

    let mut manifests = Manifests::new(lake, table, metadata.clone(), snapshot_id);
    manifests.add(&change.add).await?;
    manifests.carry_over(&change.remove).await?;
    manifests.merge_small().await?;
    let (manifests, collector, mut wrote) = manifests.finish();

    let manifest_list =
        format!("{}/metadata/snap-{snapshot_id}-{}.avro", table.location(), lake.ambient.uuid());
    write_manifest_list(lake, table, &metadata, snapshot_id, &manifest_list, manifests).await?;
    wrote.push(manifest_list.clone());

    let snapshot = iceberg::spec::Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(metadata.next_sequence_number())
        // The spec wants times that do not go back; the crate refuses more than a minute of it.
        .with_timestamp_ms(
            lake.ambient.now().timestamp_millis().max(metadata.last_updated_ms() + 1),
        )
        .with_manifest_list(manifest_list)
        .with_summary(summary(&metadata, change, &collector))
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
    let mut builder = builder
        .set_branch_snapshot(snapshot, MAIN)
        .and_then(|b| b.set_properties(properties(table, change)))
        .doing(name, "making its new metadata")?;
    if let Some(reference) = own_retention(table, snapshot_id) {
        builder = builder.set_ref(MAIN, reference).doing(name, "making its new metadata")?;
    }
    let built = builder.build().doing(name, "making its new metadata")?;
    let proposal = Proposal {
        requirements: requirements(table.metadata()),
        updates: built.changes,
        metadata: built.metadata,
        metadata_location: location.to_string(),
    };
    wrote.extend(lake.write_metadata(name, &proposal).await?);
    Ok(Prepared { snapshot_id, proposal, wrote })
}

/// The table properties that a commit sets. On a table from before, it says that the bounds of its files are sure.
fn properties(table: &Table, change: &Change) -> HashMap<String, String> {
    let mut properties: HashMap<_, _> = change.property_marks.clone().into_iter().collect();
    if table.property(SURE_BOUNDS).is_none() {
        let sequence = table.metadata().next_sequence_number();
        properties.insert(SURE_BOUNDS.to_owned(), sequence.to_string());
    }
    properties
}

/// What a change that was prepared on this state asserts of it: no snapshot, column or layout came in between.
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

/// S3 Tables expires snapshots by itself, also those that silver has not consumed, unless the metadata has a retention
/// of its own for a branch or a tag
/// ([Snapshot management](https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-tables-maintenance.html)): the first
/// commit to such a table sets it, to what our tables keep anyway.
fn own_retention(table: &Table, snapshot_id: i64) -> Option<SnapshotReference> {
    let bucket = table.location().strip_prefix("s3://")?.split('/').next()?;
    if table.metadata().current_snapshot_id().is_some() || !bucket.ends_with(S3_TABLES_BUCKET) {
        return None;
    }
    let retention = SnapshotRetention::Branch {
        min_snapshots_to_keep: Some(1),
        max_snapshot_age_ms: Some(crate::lake::SNAPSHOTS_KEPT_MS),
        max_ref_age_ms: None,
    };
    Some(SnapshotReference::new(snapshot_id, retention))
}

/// The metadata as the manifests must see it: with the schema that the change brings.
fn with_schema(table: &Table, change: &Change) -> Result<TableMetadata, LakeError> {
    let metadata = table.metadata().clone();
    let Some(schema) = &change.schema else { return Ok(metadata) };
    let built = metadata
        .into_builder(Some(table.metadata_location().to_owned()))
        .add_current_schema(schema.iceberg().as_ref().clone())
        .and_then(|b| b.build())
        .doing(table.name(), "changing its schema")?;
    Ok(built.metadata)
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

/// The summary with its running totals: the crate's own computation of them takes every overwrite
/// for a truncation.
fn summary(
    metadata: &TableMetadata,
    change: &Change,
    collector: &SnapshotSummaryCollector,
) -> Summary {
    let mut facts: HashMap<String, String> = collector.build();
    let before = metadata.current_snapshot().map(|s| &s.summary().additional_properties);
    for (total, plus, minus) in [
        ("total-data-files", "added-data-files", "deleted-data-files"),
        ("total-delete-files", "added-delete-files", "removed-delete-files"),
        ("total-records", "added-records", "deleted-records"),
        ("total-files-size", "added-files-size", "removed-files-size"),
        ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
        ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
    ] {
        let number = |key: &str| facts.get(key).and_then(|v| v.parse::<i64>().ok()).unwrap_or(0);
        // Where an engine before us kept no total, we cannot continue it.
        let base = match before {
            None => Some(0),
            Some(before) => before.get(total).and_then(|v| v.parse::<i64>().ok()),
        };
        if let Some(base) = base {
            let value = (base + number(plus) - number(minus)).max(0);
            facts.insert(total.to_owned(), value.to_string());
        }
    }
    facts.extend(change.marks.clone());
    Summary {
        operation: match change.operation() {
            Operation::Append => iceberg::spec::Operation::Append,
            Operation::Overwrite => iceberg::spec::Operation::Overwrite,
        },
        additional_properties: facts,
    }
}
