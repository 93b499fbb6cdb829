//! The manifests of a new snapshot: one for the added files of each partition spec, rewritten ones
//! where files were removed, the others carried over, small ones merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iceberg::spec::{
    DataFile, Literal, Manifest, ManifestContentType, ManifestEntry, ManifestFile, ManifestStatus,
    ManifestWriter, ManifestWriterBuilder, NestedFieldRef, PartitionSpec, SchemaRef,
    SnapshotSummaryCollector, StructType, TableMetadata,
};

use super::{Added, Removal};
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

    /// Manifests of new files, one for each partition spec that they were written under. The sequence number of a file
    /// that has none of its own is inherited at the commit (Iceberg spec, "Sequence Number Inheritance").
    pub(in crate::lake) async fn add(
        &mut self,
        files: impl Iterator<Item = Added<'_>>,
    ) -> Result<(), LakeError> {
        let mut by_spec: BTreeMap<i32, Vec<Added<'_>>> = BTreeMap::new();
        for added in files {
            by_spec.entry(added.spec_id).or_default().push(added);
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
        for (spec_id, files) in deletes.by_spec() {
            let spec = self.spec(spec_id)?;
            let files: Vec<_> =
                files.into_iter().map(|file| Added { file, spec_id, sequence: None }).collect();
            self.add_some(ManifestContentType::Deletes, &files, spec).await?;
        }
        Ok(())
    }

    async fn add_some(
        &mut self,
        content: ManifestContentType,
        files: &[Added<'_>],
        spec: Arc<PartitionSpec>,
    ) -> Result<(), LakeError> {
        let name = self.table.name();
        let plain: Vec<&DataFile> = files.iter().map(|added| added.file).collect();
        let schema = self.schema_for(&spec, &plain)?;
        let mut writer = self.writer(content, schema.clone(), spec.as_ref().clone())?;
        for Added { file, sequence, .. } in files {
            self.collector.add_file(file, schema.clone(), spec.clone());
            let sequence = sequence.map_or(-1, |sequence| sequence.0);
            writer.add_file((*file).clone(), sequence).doing(name, "writing a manifest")?;
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

    /// The schema to write files of a partition spec under: the current one, or the newest before it under which
    /// the values of their partitions are. Another commit may have widened or dropped a column since they were
    /// written.
    fn schema_for(
        &self,
        spec: &PartitionSpec,
        files: &[&DataFile],
    ) -> Result<SchemaRef, LakeError> {
        let mut older: Vec<&SchemaRef> = self.metadata.schemas_iter().collect();
        older.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
        let fits = |schema: &&SchemaRef| {
            let types = spec.partition_type(schema);
            types.is_ok_and(|types| files.iter().all(|file| has_types(file, &types)))
        };
        let schema = std::iter::once(self.metadata.current_schema()).chain(older).find(fits);
        schema.cloned().ok_or_else(|| LakeError::Property {
            table: self.table.name().clone(),
            what: format!("no schema fits files of partition spec {}", spec.spec_id()),
        })
    }

    /// Takes over the manifests of the state that the change is prepared on, without what it removes.
    ///
    /// # Errors
    /// [`LakeError::FileGone`]: what it removes, or the data file of one of its deletes, is not live in that state; or
    /// the change removes the data file itself.
    pub(in crate::lake) async fn carry_over(
        &mut self,
        remove: Removal<'_>,
        deletes: Option<&DeleteFiles>,
    ) -> Result<(), LakeError> {
        let mut awaited = Awaited::of(remove, deletes);
        let current = self.metadata.current_snapshot().cloned();
        let carried = match &current {
            Some(current) => self.lake.manifests_of(self.table, current).await?,
            None => vec![],
        };
        for manifest in carried {
            // A manifest of tombstones alone has served its purpose: the next snapshot needs it no more.
            if !manifest.has_added_files() && !manifest.has_existing_files() {
                continue;
            }
            match remove {
                Removal::Files(_) | Removal::All => {
                    self.carry_without(manifest, remove, &mut awaited).await?;
                }
                Removal::Nothing => {
                    if awaited.may_stay_in(&manifest) {
                        let loaded = self.lake.manifest(self.table, &manifest).await?;
                        let live = loaded.entries().iter().filter(|entry| entry.is_alive());
                        live.for_each(|entry| awaited.stays(entry.file_path()));
                    }
                    self.list.push(manifest);
                }
            }
        }
        awaited.all_found(self.table)
    }

    async fn carry_without(
        &mut self,
        manifest: ManifestFile,
        remove: Removal<'_>,
        awaited: &mut Awaited,
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
        live().filter(|entry| !goes(entry)).for_each(|entry| awaited.stays(entry.file_path()));
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
                awaited.goes(entry.file_path());
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

    /// Merges small manifests, those of data and those of deletes each among themselves, as `commit.manifest.*` of
    /// the table properties says.
    pub(in crate::lake) async fn merge_small(&mut self) -> Result<(), LakeError> {
        let property = |key: &str| self.metadata.properties().get(key);
        // Iceberg reads all but `true` as no.
        if property("commit.manifest-merge.enabled")
            .is_some_and(|v| !v.eq_ignore_ascii_case("true"))
        {
            return Ok(());
        }
        let target = self.target();
        let min_count = property("commit.manifest.min-count-to-merge")
            .and_then(|v| v.parse().ok())
            .unwrap_or(MIN_COUNT_TO_MERGE);
        let list = std::mem::take(&mut self.list);
        self.list = self.merged(list, min_count, target).await?;
        Ok(())
    }

    /// Merges small manifests, however few they are.
    pub(in crate::lake) async fn merge_all(&mut self) -> Result<(), LakeError> {
        let list = std::mem::take(&mut self.list);
        self.list = self.merged(list, 0, self.target()).await?;
        Ok(())
    }

    fn target(&self) -> i64 {
        let property = self.metadata.properties().get("commit.manifest.target-size-bytes");
        property.and_then(|v| v.parse().ok()).unwrap_or(TARGET_BYTES)
    }

    /// The list with its small manifests merged; the newest ones wait until they are so many.
    async fn merged(
        &mut self,
        list: Vec<ManifestFile>,
        min_count: usize,
        target: i64,
    ) -> Result<Vec<ManifestFile>, LakeError> {
        let mut merged = Vec::with_capacity(list.len());
        let (data, deletes): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|manifest| manifest.content == ManifestContentType::Data);
        for list in [data, deletes] {
            for (index, bin) in bins(list, target).into_iter().enumerate() {
                // The newest bin waits until it is full: otherwise each commit would rewrite it.
                if bin.len() == 1 || (index == 0 && bin.len() < min_count) {
                    merged.extend(bin);
                } else {
                    merged.extend(self.merge(bin).await?);
                }
            }
        }
        Ok(merged)
    }

    /// Manifests of one spec as one; as several, where the types of its values have changed between them.
    async fn merge(&mut self, bin: Vec<ManifestFile>) -> Result<Vec<ManifestFile>, LakeError> {
        let first = bin.first().map(|m| (m.partition_spec_id, m.content));
        let (spec_id, content) = first.unwrap_or((0, ManifestContentType::Data));
        let spec = self.spec(spec_id)?;
        let mut loaded = Vec::with_capacity(bin.len());
        for manifest in bin {
            loaded.push((self.lake.manifest(self.table, &manifest).await?, manifest));
        }
        let types = |of: &Manifest| spec.partition_type(of.metadata().schema()).ok();
        let alike = |(one, _): &Loaded, (other, _): &Loaded| {
            let kind = types(one);
            kind.is_some() && kind == types(other)
        };
        let mut merged = Vec::new();
        let groups: Vec<&[Loaded]> = loaded.chunk_by(alike).collect();
        for some in groups {
            match some {
                [(_, alone)] => merged.push(alone.clone()),
                some => merged.push(self.merge_alike(content, &spec, some).await?),
            }
        }
        Ok(merged)
    }

    /// Manifests as one, whose partition values have the same types.
    async fn merge_alike(
        &mut self,
        content: ManifestContentType,
        spec: &PartitionSpec,
        some: &[Loaded],
    ) -> Result<ManifestFile, LakeError> {
        let name = self.table.name();
        let schema = some[0].0.metadata().schema().clone();
        let mut writer = self.writer(content, schema, spec.clone())?;
        for (loaded, manifest) in some {
            for entry in loaded.entries() {
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

/// A manifest, and how a list names it.
type Loaded = (Arc<Manifest>, ManifestFile);

fn keep(writer: &mut ManifestWriter, entry: &ManifestEntry) -> Result<(), iceberg::Error> {
    writer.add_existing_file(
        entry.data_file.clone(),
        entry.snapshot_id.unwrap_or_default(),
        entry.sequence_number.unwrap_or_default(),
        entry.file_sequence_number,
    )
}

/// Files that have to be in the state that a change is prepared on: those that go, and the data files of deletes,
/// which stay.
struct Awaited {
    going: BTreeSet<String>,
    staying: BTreeSet<String>,
    /// The partition specs of those that stay.
    specs: BTreeSet<i32>,
}

impl Awaited {
    fn of(remove: Removal<'_>, deletes: Option<&DeleteFiles>) -> Self {
        let going = match remove {
            Removal::Files(paths) => paths.clone(),
            Removal::Nothing | Removal::All => BTreeSet::new(),
        };
        let staying = deletes.map(|deletes| deletes.deleted_from().clone()).unwrap_or_default();
        let specs = deletes.map(|deletes| deletes.by_spec().into_keys().collect());
        Self { going, staying, specs: specs.unwrap_or_default() }
    }

    fn may_stay_in(&self, manifest: &ManifestFile) -> bool {
        !self.staying.is_empty()
            && manifest.content == ManifestContentType::Data
            && self.specs.contains(&manifest.partition_spec_id)
    }

    fn goes(&mut self, path: &str) {
        self.going.remove(path);
    }

    fn stays(&mut self, path: &str) {
        self.staying.remove(path);
    }

    fn all_found(self, table: &Table) -> Result<(), LakeError> {
        match self.going.into_iter().chain(self.staying).next() {
            None => Ok(()),
            Some(path) => Err(LakeError::FileGone { table: table.name().clone(), path }),
        }
    }
}

/// Whether a file's partition has values of these types.
fn has_types(file: &DataFile, types: &StructType) -> bool {
    let fits = |(value, field): (Option<&Literal>, &NestedFieldRef)| {
        let value = value.and_then(Literal::as_primitive_literal);
        let kind = field.field_type.as_primitive_type();
        value.is_none_or(|value| kind.is_some_and(|kind| kind.compatible(&value)))
    };
    let partition = file.partition();
    let as_many = partition.fields().len() == types.fields().len();
    as_many && partition.iter().zip(types.fields()).all(fits)
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
