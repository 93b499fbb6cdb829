//! Expiry as a part of commits: a commit takes snapshots out of the metadata that it writes anyway, so that its
//! cost does not grow with the table's history (Iceberg spec, "Snapshot Retention Policy").
//!
//! Expired are snapshots of the main branch that are older than `history.expire.max-snapshot-age-ms`, and those
//! beyond the newest thousand; never one that a consumer still needs, that a tag names or that another branch
//! holds. They expire some at a time. After the commit, the files that only they named are deleted.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use async_trait::async_trait;
use futures::future::try_join_all;
use iceberg::spec::{
    ManifestFile, ManifestStatus, SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata,
};

use super::error::Doing;
use super::table::{MAIN, line};
use super::{Lake, LakeError, SequenceNumber, Table};
use crate::error::chain;

/// Table property: how long snapshots are kept, in milliseconds.
pub(super) const MAX_AGE: &str = "history.expire.max-snapshot-age-ms";
/// Table property: how many snapshots are kept, however old they are.
const MIN_KEPT: &str = "history.expire.min-snapshots-to-keep";
/// Table property: whether metadata files that fell out of the log are deleted.
pub(super) const DELETE_METADATA: &str = "write.metadata.delete-after-commit.enabled";
/// Table property: whether files may be deleted at all; others may share them.
const MAY_DELETE: &str = "gc.enabled";

/// Snapshots that are kept at most, whatever their age, unless they are still needed.
const MAX_KEPT: usize = 1_000;
/// Snapshots that expire at a time, at least: most commits find out nothing and delete nothing.
const AT_LEAST: usize = 20;
/// The default of [`MAX_AGE`]: five days.
const DEFAULT_AGE_MS: i64 = 5 * 86_400_000;
/// Manifests and their lists read at a time.
const READS: usize = 16;

/// Whatever kept a consumer from answering.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Who reads a table snapshot by snapshot, and must find each of them.
///
/// # Contract
/// `consumed` returns the highest sequence number up to which all of them have consumed the table; nothing above it
/// expires. It may be lower than what they have reached, and never higher. An error means that it is not known:
/// then nothing expires.
#[async_trait]
pub trait Consumers: Debug + Send + Sync {
    /// See the contract.
    async fn consumed(&self, table: &Table) -> Result<SequenceNumber, BoxedError>;
}

impl Lake {
    /// The snapshots that the next commit to a table takes out.
    pub(super) async fn due(&self, table: &Table) -> Vec<i64> {
        let Some(consumers) = self.consumers.get() else { return vec![] };
        let now = self.ambient.now().timestamp_millis();
        // Most commits end here, and ask no consumer.
        if due(table.metadata(), None, SequenceNumber(i64::MAX), now).is_empty() {
            return vec![];
        }
        let needed = async {
            let consumed = consumers.consumed(table).await?;
            Ok::<_, BoxedError>((consumed, References::of(table.metadata())?))
        };
        match needed.await {
            Ok((consumed, references)) => due(table.metadata(), Some(&references), consumed, now),
            Err(error) => {
                let error = chain(error.as_ref());
                tracing::warn!(
                    table = %table.name(), error,
                    "could not see which snapshots are still needed; the next commit expires the old ones"
                );
                vec![]
            }
        }
    }

    /// Deletes what a commit from `before` to `after` left unnamed. A failure is only logged: it leaves orphans.
    pub(super) async fn delete_expired(&self, before: &Table, expired: &[i64], after: &Table) {
        let mut paths = match self.catalog.writes_metadata() {
            true => vec![],
            false => dropped_metadata(before, after),
        };
        if !expired.is_empty() && before.property(MAY_DELETE) != Some("false") {
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
        self.delete_unnamed(paths).await;
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
        if !is_line || !References::of(before.metadata()).is_ok_and(|all| all.are_main_alone()) {
            return Ok(vec![]);
        }
        let expired: HashSet<i64> = expired.iter().copied().collect();
        let gone: Vec<&SnapshotRef> =
            before.line().filter(|snapshot| expired.contains(&snapshot.snapshot_id())).collect();
        let kept = self.manifests_of(before, oldest).await?;
        let kept_paths: HashSet<&str> =
            kept.iter().map(|manifest| manifest.manifest_path.as_str()).collect();
        let mut lists = Vec::with_capacity(gone.len());
        for some in gone.chunks(READS) {
            lists.extend(try_join_all(some.iter().map(|s| self.manifests_of(before, s))).await?);
        }

        let mut paths: HashSet<String> =
            gone.iter().map(|snapshot| snapshot.manifest_list().to_owned()).collect();
        // What a snapshot removed is in its parents alone, and these are gone.
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
        for some in removing.chunks(READS) {
            let removed = try_join_all(some.iter().map(|m| self.removed_files(before, m))).await?;
            paths.extend(removed.into_iter().flatten());
        }
        let manifests = lists.into_iter().flatten().map(|manifest| manifest.manifest_path);
        paths.extend(manifests.filter(|path| !kept_paths.contains(path.as_str())));
        // Files elsewhere were added by someone who may need them for something else.
        let own = format!("{}/", before.location());
        Ok(paths.into_iter().filter(|path| path.starts_with(&own)).collect())
    }

    async fn manifests_of(
        &self,
        table: &Table,
        snapshot: &SnapshotRef,
    ) -> Result<Vec<ManifestFile>, LakeError> {
        let list = table.inner().manifest_list_reader(snapshot).load().await;
        let list = list.doing(table.name(), "reading a manifest list")?;
        Ok(list.consume_entries().into_iter().collect())
    }

    /// The files that a manifest's snapshot removed.
    async fn removed_files(
        &self,
        table: &Table,
        manifest: &ManifestFile,
    ) -> Result<Vec<String>, LakeError> {
        let loaded = manifest.load_manifest(&self.files).await;
        let loaded = loaded.doing(table.name(), "reading a manifest")?;
        let removed = loaded.entries().iter().filter(|entry| {
            entry.status() == ManifestStatus::Deleted
                && entry.snapshot_id() == Some(manifest.added_snapshot_id)
        });
        Ok(removed.map(|entry| entry.file_path().to_owned()).collect())
    }
}

/// The metadata files that fell out of the log, where the table says that they are deleted.
fn dropped_metadata(before: &Table, after: &Table) -> Vec<String> {
    if after.property(DELETE_METADATA) != Some("true") {
        return vec![];
    }
    let log = before.metadata().metadata_log().iter().map(|entry| entry.metadata_file.as_str());
    log.filter(|file| !after.descends_from(file)).map(str::to_owned).collect()
}

/// The branches and tags of a table.
struct References(HashMap<String, SnapshotReference>);

impl References {
    /// The crate keeps them to itself, but for their JSON.
    fn of(metadata: &TableMetadata) -> Result<Self, serde_json::Error> {
        let mut json = serde_json::to_value(metadata)?;
        serde_json::from_value(json["refs"].take()).map(Self)
    }

    fn are_main_alone(&self) -> bool {
        self.0.keys().all(|name| name == MAIN)
    }

    /// The snapshots that tags name, and that other branches consist of.
    fn held(&self, metadata: &TableMetadata) -> HashSet<i64> {
        let mut held = HashSet::new();
        for (_, reference) in self.0.iter().filter(|(name, _)| *name != MAIN) {
            held.insert(reference.snapshot_id);
            if reference.is_branch() {
                let tip = metadata.snapshot_by_id(reference.snapshot_id);
                held.extend(line(metadata, tip).map(|snapshot| snapshot.snapshot_id()));
            }
        }
        held
    }

    /// What the main branch says of its snapshots: how many are kept, and for how long (Iceberg spec, "Snapshot
    /// Retention Policy").
    fn of_main(&self) -> (Option<i64>, Option<i64>) {
        match self.0.get(MAIN).map(|main| &main.retention) {
            Some(SnapshotRetention::Branch {
                min_snapshots_to_keep, max_snapshot_age_ms, ..
            }) => (min_snapshots_to_keep.map(i64::from), *max_snapshot_age_ms),
            _ => (None, None),
        }
    }
}

/// The snapshots that are due at a time; none while they are few. Without `references`, it may name too many.
fn due(
    metadata: &TableMetadata,
    references: Option<&References>,
    consumed: SequenceNumber,
    now_ms: i64,
) -> Vec<i64> {
    let property = |key: &str| metadata.properties().get(key).and_then(|v| v.parse::<i64>().ok());
    if metadata.properties().get(MAY_DELETE).is_some_and(|may| may == "false") {
        return vec![];
    }
    let (min_kept, max_age) = references.map_or((None, None), References::of_main);
    let (min_kept, max_age) = (min_kept.or(property(MIN_KEPT)), max_age.or(property(MAX_AGE)));
    let min_kept = min_kept.and_then(|kept| usize::try_from(kept).ok()).unwrap_or(1).max(1);
    let oldest_kept = now_ms.saturating_sub(max_age.unwrap_or(DEFAULT_AGE_MS));
    let held = references.map(|all| all.held(metadata)).unwrap_or_default();
    let due: Vec<i64> = line(metadata, metadata.current_snapshot())
        .enumerate()
        .skip(min_kept)
        .filter(|(index, s)| *index >= MAX_KEPT || s.timestamp_ms() < oldest_kept)
        .map(|(_, snapshot)| snapshot)
        .filter(|s| s.sequence_number() <= consumed.0 && !held.contains(&s.snapshot_id()))
        .map(|snapshot| snapshot.snapshot_id())
        .collect();
    if due.len() < AT_LEAST { vec![] } else { due }
}
