//! The files that only expired snapshots named: deleted after the commit that took the snapshots out.

use std::collections::HashSet;

use futures::future::try_join_all;
use iceberg::spec::{ManifestFile, ManifestStatus, SnapshotRef};

use super::super::{Lake, LakeError, Table, properties};
use super::due::{References, may_delete};
use crate::error::chain;

/// Table property: whether metadata files that fell out of the log are deleted.
pub(in crate::lake) const DELETE_METADATA: &str = "write.metadata.delete-after-commit.enabled";
/// Manifests and their lists read at a time.
const READS: usize = 16;

impl Lake {
    /// Deletes what a commit from `before` to `after` left unnamed, and returns how many files that were. A failure is
    /// only logged: it leaves orphans.
    pub(in crate::lake) async fn delete_expired(
        &self,
        before: &Table,
        expired: &[i64],
        after: &Table,
    ) -> usize {
        if self.catalog.writes_metadata() {
            return 0;
        }
        let mut paths = dropped_metadata(before, after);
        if !expired.is_empty() && may_delete(after.metadata()) {
            match self.unnamed(before, expired, after).await {
                Ok(unnamed) => {
                    tracing::info!(
                        table = %after.name(), snapshots = expired.len(), files = unnamed.len(),
                        "snapshots expired"
                    );
                    paths.extend(unnamed);
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(
                        table = %after.name(), error,
                        "could not see which files only expired snapshots named; they stay, as orphans"
                    );
                }
            }
        }
        let count = paths.len();
        self.delete_unnamed(paths).await;
        count
    }

    /// The files that only the expired snapshots of the main branch named. Manifests are carried from parent to
    /// child: what the oldest snapshot that is left does not name, no later one does.
    async fn unnamed(
        &self,
        before: &Table,
        expired: &[i64],
        after: &Table,
    ) -> Result<Vec<String>, LakeError> {
        // With other branches, tags, or snapshots beside the line, more would have to be read: an orphan run's work.
        let is_line = after.history_length() == after.metadata().snapshots().len();
        let Some(oldest) = after.line().last() else { return Ok(vec![]) };
        if !is_line || !References::of(after.metadata()).is_ok_and(|all| all.are_main_alone()) {
            return Ok(vec![]);
        }
        let expired: HashSet<i64> = expired.iter().copied().collect();
        let is_gone =
            |id: i64| expired.contains(&id) && after.metadata().snapshot_by_id(id).is_none();
        let gone: Vec<&SnapshotRef> =
            before.line().filter(|snapshot| is_gone(snapshot.snapshot_id())).collect();
        let kept = self.manifests_of(before, oldest).await?;
        let kept_paths: HashSet<&str> =
            kept.iter().map(|manifest| manifest.manifest_path.as_str()).collect();
        let mut lists = Vec::with_capacity(gone.len());
        for some in gone.chunks(READS) {
            lists.extend(try_join_all(some.iter().map(|s| self.manifests_of(before, s))).await?);
        }

        let mut paths: HashSet<String> =
            gone.iter().map(|snapshot| snapshot.manifest_list().to_owned()).collect();
        // What a snapshot removed is in its parents alone, and these are gone; unless another program has added it
        // again since.
        let lines = gone.iter().copied().zip(&lists).chain([(oldest, &kept)]);
        let removing: Vec<&ManifestFile> = lines
            .flat_map(|(snapshot, list)| {
                let own = move |manifest: &&ManifestFile| {
                    manifest.added_snapshot_id == snapshot.snapshot_id()
                        && manifest.deleted_files_count != Some(0)
                };
                list.iter().filter(own)
            })
            .collect();
        if before.line().chain(after.line()).all(is_own) {
            for some in removing.chunks(READS) {
                let removed = some.iter().map(|manifest| self.removed_files(before, manifest));
                paths.extend(try_join_all(removed).await?.into_iter().flatten());
            }
        }
        let manifests = lists.into_iter().flatten().map(|manifest| manifest.manifest_path);
        paths.extend(manifests.filter(|path| !kept_paths.contains(path.as_str())));
        // Files elsewhere were added by someone who may need them for something else.
        let own = format!("{}/", before.location());
        Ok(paths.into_iter().filter(|path| path.starts_with(&own)).collect())
    }

    /// The files that a manifest's snapshot removed.
    async fn removed_files(
        &self,
        table: &Table,
        manifest: &ManifestFile,
    ) -> Result<Vec<String>, LakeError> {
        let loaded = self.manifest(table, manifest).await?;
        let removed = loaded.entries().iter().filter(|entry| {
            entry.status() == ManifestStatus::Deleted
                && entry.snapshot_id() == Some(manifest.added_snapshot_id)
        });
        Ok(removed.map(|entry| entry.file_path().to_owned()).collect())
    }
}

/// Whether silversmith made a snapshot. Its data files have names of their own: none comes back once it is removed.
fn is_own(snapshot: &SnapshotRef) -> bool {
    snapshot.summary().additional_properties.contains_key(properties::PIPELINE)
}

/// The metadata files that fell out of the log, where the table says that they are deleted.
fn dropped_metadata(before: &Table, after: &Table) -> Vec<String> {
    if after.property(DELETE_METADATA) != Some("true") {
        return vec![];
    }
    let log = before.metadata().metadata_log().iter().map(|entry| entry.metadata_file.as_str());
    log.filter(|file| !after.descends_from(file)).map(str::to_owned).collect()
}
