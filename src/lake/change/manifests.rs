//! The manifests of a new snapshot: one for the added files, rewritten ones where files were
//! removed, the others carried over, small ones merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iceberg::spec::{
    DataFile, ManifestContentType, ManifestEntry, ManifestFile, ManifestStatus, ManifestWriter,
    ManifestWriterBuilder, PartitionSpec, SchemaRef, SnapshotSummaryCollector, TableMetadata,
};

use super::Removal;
use crate::lake::error::Doing;
use crate::lake::write::position_deletes::DeleteFiles;
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

    /// Manifests of new files, one for each partition spec that they were written under. Their sequence numbers are
    /// inherited at the commit (Iceberg spec, "Sequence Number Inheritance").
    pub(in crate::lake) async fn add(
        &mut self,
        files: impl Iterator<Item = (&DataFile, i32)>,
    ) -> Result<(), LakeError> {
        let mut by_spec: BTreeMap<i32, Vec<&DataFile>> = BTreeMap::new();
        for (file, spec_id) in files {
            by_spec.entry(spec_id).or_default().push(file);
        }
        for (spec_id, files) in by_spec {
            let spec = self.spec(spec_id)?;
            self.add_some(ManifestContentType::Data, &files, spec).await?;
        }
        Ok(())
    }

    /// Manifests of new position deletes. They have the spec of their data files, which may be older than the table's.
    pub(in crate::lake) async fn add_deletes(
        &mut self,
        deletes: &DeleteFiles,
    ) -> Result<(), LakeError> {
        self.must_be_live(deletes.deleted_from()).await?;
        for (spec, files) in deletes.by_spec() {
            let spec = self.spec(spec)?;
            self.add_some(ManifestContentType::Deletes, &files, spec).await?;
        }
        Ok(())
    }

    async fn add_some(
        &mut self,
        content: ManifestContentType,
        files: &[&DataFile],
        spec: Arc<PartitionSpec>,
    ) -> Result<(), LakeError> {
        let name = self.table.name();
        let schema = self.metadata.current_schema().clone();
        let mut writer = self.writer(content, schema.clone(), spec.as_ref().clone())?;
        for file in files {
            self.collector.add_file(file, schema.clone(), spec.clone());
            writer.add_file((*file).clone(), -1).doing(name, "writing a manifest")?;
        }
        let manifest = writer.write_manifest_file().await.doing(name, "writing a manifest")?;
        self.list.insert(0, manifest);
        Ok(())
    }

    fn spec(&self, id: i32) -> Result<Arc<PartitionSpec>, LakeError> {
        let spec = self.metadata.partition_spec_by_id(id).cloned();
        spec.ok_or_else(|| LakeError::Property {
            table: self.table.name().clone(),
            what: format!("partition spec {id} is not in its metadata"),
        })
    }

    /// Checks that data files are live in the state that the change is prepared on, and that the change leaves them.
    async fn must_be_live(&self, paths: &BTreeSet<String>) -> Result<(), LakeError> {
        let mut missing: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
        let data = self.list.iter().filter(|m| m.content == ManifestContentType::Data);
        for manifest in data.filter(|m| m.has_added_files() || m.has_existing_files()) {
            if missing.is_empty() {
                break;
            }
            for entry in self.lake.manifest(self.table, manifest).await?.entries() {
                if entry.is_alive() {
                    missing.remove(entry.file_path());
                }
            }
        }
        match missing.first() {
            None => Ok(()),
            Some(path) => Err(LakeError::FileGone {
                table: self.table.name().clone(),
                path: (*path).to_owned(),
            }),
        }
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
                    Arc::new(spec.clone()),
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

    /// Merges small manifests, those of data and those of deletes each among themselves, as `commit.manifest.*` of the table properties says.
    pub(in crate::lake) async fn merge_small(&mut self) -> Result<(), LakeError> {
        let property = |key: &str| self.metadata.properties().get(key);
        // Iceberg reads all but `true` as no.
        if property("commit.manifest-merge.enabled")
            .is_some_and(|v| !v.eq_ignore_ascii_case("true"))
        {
            return Ok(());
        }
        let target = property("commit.manifest.target-size-bytes")
            .and_then(|v| v.parse().ok())
            .unwrap_or(TARGET_BYTES);
        let min_count = property("commit.manifest.min-count-to-merge")
            .and_then(|v| v.parse().ok())
            .unwrap_or(MIN_COUNT_TO_MERGE);
        let mut merged = Vec::with_capacity(self.list.len());
        let (data, deletes): (Vec<_>, Vec<_>) = std::mem::take(&mut self.list)
            .into_iter()
            .partition(|manifest| manifest.content == ManifestContentType::Data);
        for list in [data, deletes] {
            for (index, bin) in bins(list, target).into_iter().enumerate() {
                // The newest bin waits until it is full: otherwise each commit would rewrite it.
                if bin.len() == 1 || (index == 0 && bin.len() < min_count) {
                    merged.extend(bin);
                } else {
                    merged.push(self.merge(bin).await?);
                }
            }
        }
        self.list = merged;
        Ok(())
    }

    async fn merge(&mut self, bin: Vec<ManifestFile>) -> Result<ManifestFile, LakeError> {
        let name = self.table.name();
        let first = bin.first().map(|m| (m.partition_spec_id, m.content));
        let (spec_id, content) = first.unwrap_or((0, ManifestContentType::Data));
        let spec = self.spec(spec_id)?.as_ref().clone();
        let schema = self.metadata.current_schema().clone();
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
                    ManifestStatus::Added if is_new => writer.add_file(entry.data_file.clone(), -1),
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

/// Packs neighbouring manifests of one content and partition spec into bins of about `target` bytes. The order is
/// kept.
fn bins(list: Vec<ManifestFile>, target: i64) -> Vec<Vec<ManifestFile>> {
    let mut bins: Vec<Vec<ManifestFile>> = Vec::new();
    let mut room = 0;
    for manifest in list {
        let joins = bins.last().and_then(|bin| bin.last()).is_some_and(|last| {
            manifest.content == last.content
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
