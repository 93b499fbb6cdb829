//! Manifests, and the lists of them that snapshots have. Neither ever changes: what was read is kept, within a bound.

use std::sync::Arc;

use iceberg::spec::{Manifest, ManifestEntry, ManifestFile, SnapshotRef};
use moka::sync::Cache;

use crate::lake::error::Doing;
use crate::lake::kept::kept;
use crate::lake::{Lake, LakeError, Table};

/// The bytes of manifests that are kept, as [`weight`] estimates them.
const KEPT_BYTES: u64 = 24 << 20;
/// An entry without its maps: its fields, its path, and the entry of its partition.
const ENTRY_BYTES: usize = 600;
/// An item of a map of metrics: id and count, or id and bound.
const METRIC_BYTES: usize = 48;

/// Parsed manifests by their path, and by the sequence number that their entries inherit (Iceberg spec, "Sequence
/// Number Inheritance"): a manifest of a commit that was lost may be taken over by another one.
pub(in crate::lake) type KeptManifests = Arc<Cache<(String, i64), Arc<Manifest>>>;

/// None yet.
pub(in crate::lake) fn kept_manifests() -> KeptManifests {
    kept(KEPT_BYTES, |(path, _): &(String, i64), manifest: &Arc<Manifest>| {
        u32::try_from(path.len() + weight(manifest)).unwrap_or(u32::MAX)
    })
}

/// The bytes that a manifest has in memory, roughly.
fn weight(manifest: &Manifest) -> usize {
    let of_entry = |entry: &Arc<ManifestEntry>| {
        let file = entry.data_file();
        let items = file.column_sizes().len()
            + file.value_counts().len()
            + file.null_value_counts().len()
            + file.nan_value_counts().len()
            + file.lower_bounds().len()
            + file.upper_bounds().len();
        ENTRY_BYTES + file.file_path().len() + METRIC_BYTES * items
    };
    // The schema of its files is in its metadata.
    let schema = 500 * manifest.metadata().schema().as_struct().fields().len();
    schema + manifest.entries().iter().map(of_entry).sum::<usize>()
}

impl Lake {
    /// The manifests that a snapshot lists.
    pub(in crate::lake) async fn manifests_of(
        &self,
        table: &Table,
        snapshot: &SnapshotRef,
    ) -> Result<Vec<ManifestFile>, LakeError> {
        let list = table.inner().manifest_list_reader(snapshot).load().await;
        let list = list.doing(table.name(), "reading a manifest list")?;
        // Collected, because the iterator cannot move between threads.
        Ok(list.consume_entries().into_iter().collect())
    }

    /// The entries of a manifest.
    pub(in crate::lake) async fn manifest(
        &self,
        table: &Table,
        file: &ManifestFile,
    ) -> Result<Arc<Manifest>, LakeError> {
        let key = (file.manifest_path.clone(), file.sequence_number);
        if let Some(kept) = self.manifests.get(&key) {
            return Ok(kept);
        }
        let manifest = Arc::new(self.stored_manifest(table, file).await?);
        self.manifests.insert(key, manifest.clone());
        Ok(manifest)
    }

    /// The entries of a manifest, from its file: for those who read all manifests of a table once, or must know
    /// whether the file is there.
    pub(in crate::lake) async fn stored_manifest(
        &self,
        table: &Table,
        file: &ManifestFile,
    ) -> Result<Manifest, LakeError> {
        file.load_manifest(&self.files).await.doing(table.name(), "reading a manifest")
    }
}
