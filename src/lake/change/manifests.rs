//! The manifests of a new snapshot: one for the added files, rewritten ones where files were
//! removed, the others carried over, small ones merged.

use std::collections::BTreeSet;

use iceberg::spec::{
    DataFile, ManifestContentType, ManifestEntry, ManifestFile, ManifestStatus, ManifestWriter,
    ManifestWriterBuilder, PartitionSpec, SchemaRef, SnapshotSummaryCollector, TableMetadata,
};

use super::Removal;
use crate::lake::error::Doing;
use crate::lake::write::uncommitted::Written;
use crate::lake::{Lake, LakeError, Table};

/// Iceberg's `commit.manifest.target-size-bytes` by default.
const TARGET_BYTES: i64 = 8 * 1024 * 1024;
/// Iceberg's `commit.manifest.min-count-to-merge` by default.
const MIN_COUNT_TO_MERGE: usize = 100;

/// The manifests of a snapshot in the making.
pub(in crate::lake) struct Manifests<'a> {
    lake: &'a Lake,
    table: &'a Table,
    metadata: &'a TableMetadata,
    snapshot_id: i64,
    /// Newest first, the order in which engines write and plan them.
    list: Vec<ManifestFile>,
    collector: SnapshotSummaryCollector,
    wrote: Written,
}

impl<'a> Manifests<'a> {
    pub(in crate::lake) fn new(
        lake: &'a Lake,
        table: &'a Table,
        metadata: &'a TableMetadata,
        snapshot_id: i64,
    ) -> Self {
        let collector = SnapshotSummaryCollector::default();
        Self {
            lake,
            table,
            metadata,
            snapshot_id,
            list: vec![],
            collector,
            wrote: Written::nothing(lake),
        }
    }

    pub(in crate::lake) fn finish(self) -> (Vec<ManifestFile>, SnapshotSummaryCollector, Written) {
        (self.list, self.collector, self.wrote)
    }

    fn writer(
        &mut self,
        content: ManifestContentType,
        schema: SchemaRef,
        spec: PartitionSpec,
    ) -> Result<ManifestWriter, LakeError> {
        let path =
            format!("{}/metadata/{}-m.avro", self.table.location(), self.lake.ambient.uuid());
        let output =
            self.lake.files.new_output(&path).doing(self.table.name(), "opening a manifest")?;
        self.wrote.push(path);
        let builder = ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec);
        Ok(match content {
            ManifestContentType::Data => builder.build_v2_data(),
            ManifestContentType::Deletes => builder.build_v2_deletes(),
        })
    }

    /// A manifest of new files, each with its data sequence number. A negative one is inherited at the commit
    /// (Iceberg spec, "Sequence Number Inheritance").
    pub(in crate::lake) async fn add(
        &mut self,
        files: impl Iterator<Item = (&DataFile, i64)>,
    ) -> Result<(), LakeError> {
        let mut files = files.peekable();
        if files.peek().is_none() {
            return Ok(());
        }
        let name = self.table.name();
        let schema = self.metadata.current_schema().clone();
        let spec = self.metadata.default_partition_spec().clone();
        let mut writer =
            self.writer(ManifestContentType::Data, schema.clone(), spec.as_ref().clone())?;
        for (file, sequence) in files {
            self.collector.add_file(file, schema.clone(), spec.clone());
            writer.add_file(file.clone(), sequence).doing(name, "writing a manifest")?;
        }
        let manifest = writer.write_manifest_file().await.doing(name, "writing a manifest")?;
        self.list.insert(0, manifest);
        Ok(())
    }

    /// Takes over the manifests of the state that the change is prepared on, without what it removes.
    pub(in crate::lake) async fn carry_over(
        &mut self,
        remove: Removal<'_>,
    ) -> Result<(), LakeError> {
        let Some(current) = self.metadata.current_snapshot().cloned() else {
            return self.all_found(remove, &BTreeSet::new());
        };
        let mut found = BTreeSet::new();
        for manifest in self.lake.manifests_of(self.table, &current).await? {
            // A manifest of tombstones alone has served its purpose: the next snapshot needs it no more.
            if !manifest.has_added_files() && !manifest.has_existing_files() {
                continue;
            }
            let whole = match remove {
                Removal::Nothing => true,
                Removal::Files(_) | Removal::All => false,
            };
            if whole {
                self.list.push(manifest);
            } else {
                self.carry_without(manifest, remove, &mut found).await?;
            }
        }
        self.all_found(remove, &found)
    }

    async fn carry_without(
        &mut self,
        manifest: ManifestFile,
        remove: Removal<'_>,
        found: &mut BTreeSet<String>,
    ) -> Result<(), LakeError> {
        let loaded = self.lake.manifest(self.table, &manifest).await?;
        let goes = |entry: &ManifestEntry| match remove {
            Removal::Nothing => false,
            Removal::All => true,
            Removal::Files(paths) => {
                // Deletes of rows go with the one data file that they are for.
                let of = entry.data_file().referenced_data_file();
                paths.contains(entry.file_path()) || of.is_some_and(|of| paths.contains(&of))
            }
        };
        let live = || loaded.entries().iter().filter(|entry| entry.is_alive());
        if !live().any(|entry| goes(entry)) {
            self.list.push(manifest);
            return Ok(());
        }
        // The spec of the manifest, not of the table: its partition tuples have that shape.
        let spec = loaded.metadata().partition_spec().clone();
        let schema = loaded.metadata().schema().clone();
        let mut writer = self.writer(manifest.content, schema.clone(), spec.clone())?;
        for entry in live() {
            if goes(entry) {
                self.collector.remove_file(
                    &entry.data_file,
                    schema.clone(),
                    std::sync::Arc::new(spec.clone()),
                );
                found.insert(entry.file_path().to_owned());
                writer.add_delete_file(
                    entry.data_file.clone(),
                    entry.sequence_number.unwrap_or_default(),
                    entry.file_sequence_number,
                )
            } else {
                keep(&mut writer, entry)
            }
            .doing(self.table.name(), "rewriting a manifest")?;
        }
        let written =
            writer.write_manifest_file().await.doing(self.table.name(), "rewriting a manifest")?;
        self.list.push(written);
        Ok(())
    }

    fn all_found(&self, remove: Removal<'_>, found: &BTreeSet<String>) -> Result<(), LakeError> {
        let Removal::Files(paths) = remove else { return Ok(()) };
        match paths.difference(found).next() {
            None => Ok(()),
            Some(path) => {
                Err(LakeError::FileGone { table: self.table.name().clone(), path: path.clone() })
            }
        }
    }

    /// Merges small data manifests, as `commit.manifest.*` of the table properties says.
    pub(in crate::lake) async fn merge_small(&mut self) -> Result<(), LakeError> {
        let property = |key: &str| self.metadata.properties().get(key);
        if property("commit.manifest-merge.enabled").is_some_and(|v| v == "false") {
            return Ok(());
        }
        let target = self.target();
        let min_count = property("commit.manifest.min-count-to-merge")
            .and_then(|v| v.parse().ok())
            .unwrap_or(MIN_COUNT_TO_MERGE);
        let mut merged = Vec::with_capacity(self.list.len());
        for bin in bins(std::mem::take(&mut self.list), target) {
            let is_data = bin.first().is_some_and(|m| m.content == ManifestContentType::Data);
            // The newest bin waits until it is full: otherwise each commit would rewrite it.
            let is_newest = merged.is_empty();
            if bin.len() == 1 || !is_data || (is_newest && bin.len() < min_count) {
                merged.extend(bin);
            } else {
                merged.push(self.merge(bin).await?);
            }
        }
        self.list = merged;
        Ok(())
    }

    /// Merges small manifests, however few they are: data and deletes, each in the order that they have.
    pub(in crate::lake) async fn merge_all(&mut self) -> Result<(), LakeError> {
        let target = self.target();
        let of = |content| move |manifest: &ManifestFile| manifest.content == content;
        let list = std::mem::take(&mut self.list);
        let (deletes, data): (Vec<_>, Vec<_>) =
            list.into_iter().partition(of(ManifestContentType::Deletes));
        for bin in bins(data, target).into_iter().chain(bins(deletes, target)) {
            match bin.len() {
                0 | 1 => self.list.extend(bin),
                _ => {
                    let merged = self.merge(bin).await?;
                    self.list.push(merged);
                }
            }
        }
        Ok(())
    }

    fn target(&self) -> i64 {
        let property = self.metadata.properties().get("commit.manifest.target-size-bytes");
        property.and_then(|v| v.parse().ok()).unwrap_or(TARGET_BYTES)
    }

    async fn merge(&mut self, bin: Vec<ManifestFile>) -> Result<ManifestFile, LakeError> {
        let name = self.table.name();
        let spec_id = bin.first().map(|m| m.partition_spec_id).unwrap_or_default();
        let spec = self
            .metadata
            .partition_spec_by_id(spec_id)
            .ok_or_else(|| LakeError::Property {
                table: name.clone(),
                what: format!("partition spec {spec_id} is not in its metadata"),
            })?
            .as_ref()
            .clone();
        let schema = self.metadata.current_schema().clone();
        let content = bin.first().map_or(ManifestContentType::Data, |manifest| manifest.content);
        let mut writer = self.writer(content, schema, spec)?;
        for manifest in &bin {
            for entry in self.lake.manifest(self.table, manifest).await?.entries() {
                let is_new = manifest.added_snapshot_id == self.snapshot_id;
                match entry.status() {
                    // A tombstone belongs to the snapshot that made it; older ones are dropped.
                    ManifestStatus::Deleted if is_new => writer.add_delete_file(
                        entry.data_file.clone(),
                        entry.sequence_number.unwrap_or_default(),
                        entry.file_sequence_number,
                    ),
                    ManifestStatus::Deleted => Ok(()),
                    // Read from a manifest that has no number yet, one to inherit is negative.
                    ManifestStatus::Added if is_new => writer
                        .add_file(entry.data_file.clone(), entry.sequence_number.unwrap_or(-1)),
                    ManifestStatus::Added | ManifestStatus::Existing => keep(&mut writer, entry),
                }
                .doing(name, "merging manifests")?;
            }
        }
        writer.write_manifest_file().await.doing(name, "merging manifests")
    }
}

fn keep(writer: &mut ManifestWriter, entry: &ManifestEntry) -> Result<(), iceberg::Error> {
    writer.add_existing_file(
        entry.data_file.clone(),
        entry.snapshot_id.unwrap_or_default(),
        entry.sequence_number.unwrap_or_default(),
        entry.file_sequence_number,
    )
}

/// Packs neighbouring manifests of one content and one partition spec into bins of about `target` bytes. The
/// order is kept.
fn bins(list: Vec<ManifestFile>, target: i64) -> Vec<Vec<ManifestFile>> {
    let mut bins: Vec<Vec<ManifestFile>> = Vec::new();
    let mut room = 0;
    for manifest in list {
        let joins = bins.last().and_then(|bin| bin.last()).is_some_and(|last| {
            last.content == manifest.content
                && last.partition_spec_id == manifest.partition_spec_id
                && manifest.manifest_length <= room
        });
        match bins.last_mut() {
            Some(bin) if joins => {
                room -= manifest.manifest_length;
                bin.push(manifest);
            }
            _ => {
                room = target - manifest.manifest_length;
                bins.push(vec![manifest]);
            }
        }
    }
    bins
}
