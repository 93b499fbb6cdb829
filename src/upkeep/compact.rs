//! Compaction: small files, and files with many deleted rows, are replaced by files with the same rows.
//!
//! The rows are read with their deletes applied, streamed, and written to files of the table's target size. A commit
//! that lost its race is planned again on what is left: groups whose files are all live, with the same deletes, are
//! committed on top of the other commit; what was written for the others is deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::TryStreamExt;

use super::plan::{Group, plan};
use super::report::{Done, Step};
use super::{MAX_CONFLICTS, Target, Upkeep, UpkeepError, properties_of};
use crate::lake::read::arrow::conform;
use crate::lake::read::live::{Live, LiveFile};
use crate::lake::read::provider::LakeTable;
use crate::lake::write::data::DataWriter;
use crate::lake::{
    Change, CommitOutcome, DataFile, Lake, Replacement, SequenceNumber, Table, Uncommitted,
};
use crate::sql::SqlError;
use crate::sql::session::{query, session};

/// When compaction begins, and how much of it is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files that are rewritten together, at least.
    pub least_files: usize,
    /// Bytes after which it stops; the next time it goes on.
    pub most_bytes: u64,
}

impl Limits {
    /// Of a command: all of it. Five files is what Iceberg's own compaction begins with.
    pub const COMMAND: Self = Self { least_files: 5, most_bytes: u64::MAX };
    /// Of a worker, beside its work: where there is much to do, and a part of it at a time.
    pub const WORKER: Self = Self { least_files: 100, most_bytes: 1024 * 1024 * 1024 };
}

/// How often a table is planned while other commits come first.
const PLANS: usize = 2;
/// Bytes that are committed together.
const COMMIT_BYTES: u64 = 1024 * 1024 * 1024;
/// The name under which a group is sorted.
const ROWS: &str = "unsorted";

/// A group, written again.
struct Rewritten {
    /// The inputs: path, and the deletes that were applied.
    inputs: Vec<(String, BTreeSet<String>)>,
    files: Uncommitted,
    /// The data sequence number of what was written; that of the commit where deletes were applied.
    sequence: Option<SequenceNumber>,
}

impl Upkeep {
    pub(super) async fn compact(
        &self,
        target: &Target,
        limits: Limits,
        dry_run: bool,
    ) -> Result<Done, UpkeepError> {
        let mut table = self.lake.load(&target.table).await?;
        let mut live = self.lake.live(&table).await?;
        let (files, bytes) = totals(&live);
        let mut done = Done::unchanged(target, Step::Files, files, bytes);
        for _ in 0..PLANS {
            let size = table.target_file_bytes();
            let groups = plan(live.data, size, limits.least_files);
            if dry_run {
                done.items_after -= groups.iter().map(|group| group.saves(size)).sum::<usize>();
                return Ok(done);
            }
            if groups.is_empty() {
                break;
            }
            let lost = self.compact_groups(target, &table, groups, limits).await?;
            table = self.lake.load(&target.table).await?;
            live = self.lake.live(&table).await?;
            (done.items_after, done.bytes_after) = totals(&live);
            if lost == 0 {
                break;
            }
        }
        Ok(done)
    }

    /// Rewrites groups and commits them, up to the limit. Returns how many were lost to other commits.
    async fn compact_groups(
        &self,
        target: &Target,
        table: &Table,
        groups: Vec<Group>,
        limits: Limits,
    ) -> Result<usize, UpkeepError> {
        let (mut waiting, mut bytes, mut all, mut lost) = (Vec::new(), 0, 0, 0);
        for group in groups {
            if all >= limits.most_bytes {
                break;
            }
            bytes += group.bytes;
            all += group.bytes;
            waiting.push(Box::pin(self.rewrite(target, table, group)).await?);
            if bytes >= COMMIT_BYTES {
                lost += Box::pin(self.replace(target, std::mem::take(&mut waiting))).await?;
                bytes = 0;
            }
        }
        Ok(lost + Box::pin(self.replace(target, waiting)).await?)
    }

    /// Writes the live rows of a group to new files.
    async fn rewrite(
        &self,
        target: &Target,
        table: &Table,
        group: Group,
    ) -> Result<Rewritten, UpkeepError> {
        let schema = table.schema();
        // Rows of an older partition spec move to the partitions of the current one.
        let mut writer = DataWriter::new(&self.lake, table, schema)?.with_bounds_on(&target.bounds);
        let sorted =
            target.sort.iter().all(|column| schema.arrow().field_with_name(column).is_ok());
        if target.sort.is_empty() || !sorted {
            let columns = schema.column_names();
            for file in &group.files {
                let mut rows = self.lake.read_rows(table, schema, &file.task, &columns).await?;
                while let Some(rows) = rows.try_next().await? {
                    writer.write(&rows.batch).await?;
                }
            }
        } else {
            Box::pin(self.write_sorted(target, table, &group, &mut writer)).await?;
        }
        let files = writer.close().await?;
        let deletes = group.files.iter().any(|file| !file.deletes.is_empty());
        let newest = group.files.iter().map(|file| file.sequence).max();
        let inputs =
            group.files.into_iter().map(|file| (file.task.path().to_owned(), file.deletes));
        Ok(Rewritten { inputs: inputs.collect(), files, sequence: newest.filter(|_| !deletes) })
    }

    async fn write_sorted(
        &self,
        target: &Target,
        table: &Table,
        group: &Group,
        writer: &mut DataWriter,
    ) -> Result<(), UpkeepError> {
        let what = format!("table {}: sorting its rows", target.table);
        let failed = |e| SqlError::of(&what, e);
        let context = session(self.memory)?;
        let tasks = group.files.iter().map(|file| file.task.clone()).collect();
        let rows = LakeTable::of_files(&self.lake, table, table.schema().clone(), tasks);
        context.register_table(ROWS, Arc::new(rows)).map_err(failed)?;
        let quoted =
            target.sort.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\"")));
        let order = quoted.collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT * FROM {ROWS} ORDER BY {order}");
        let frame = query(&context, &what, &sql).await?;
        let mut rows = frame.execute_stream().await.map_err(failed)?;
        while let Some(batch) = rows.try_next().await.map_err(failed)? {
            writer.write(&conform(table.name(), batch, table.schema().arrow())?).await?;
        }
        Ok(())
    }

    /// Commits groups; after another commit came first, those that it did not touch. Returns how many were lost.
    async fn replace(
        &self,
        target: &Target,
        mut groups: Vec<Rewritten>,
    ) -> Result<usize, UpkeepError> {
        let all = groups.len();
        let mut table = self.lake.load(&target.table).await?;
        for conflicts in 1..=MAX_CONFLICTS {
            let live = self.lake.live(&table).await?;
            groups = self.untouched(&table, groups, &live).await;
            if groups.is_empty() {
                return Ok(all);
            }
            let mut removed: BTreeSet<String> = groups
                .iter()
                .flat_map(|group| &group.inputs)
                .map(|(path, _)| path.clone())
                .collect();
            let unused: Vec<String> = live.deletes_of_none_but(&removed).cloned().collect();
            removed.extend(unused);
            let Joined { files, owners, sequences } = Joined::of(&self.lake, &mut groups);
            let replacement = Replacement { files, sequences, removed, manifests: false };
            let change = Change::replace(replacement, properties_of(target, &table)?);
            match self.lake.commit(&table, change).await? {
                CommitOutcome::Committed { snapshot, .. } => {
                    tracing::info!(
                        table = %target.table, snapshot = snapshot.0, files_before = live.data.len(),
                        groups = groups.len(), "files compacted"
                    );
                    return Ok(all - groups.len());
                }
                CommitOutcome::Conflict { table: now, mut files } => {
                    for (path, owner) in owners {
                        if let Some(file) = files.take(&path) {
                            groups[owner].files.extend(file);
                        }
                    }
                    table = now;
                }
                CommitOutcome::Unknown(unknown) => return Err(UpkeepError::Lake(unknown.into())),
            }
            self.lake.wait_after_conflict(conflicts).await;
        }
        // Other writers were faster each time: what was written is deleted, and tried again the next time.
        Ok(all)
    }

    /// The groups whose inputs are all live, with the deletes that were applied.
    async fn untouched(
        &self,
        table: &Table,
        groups: Vec<Rewritten>,
        live: &Live,
    ) -> Vec<Rewritten> {
        let now: HashMap<&str, &LiveFile> =
            live.data.iter().map(|file| (file.task.path(), file)).collect();
        let is_same = |(path, deletes): &(String, BTreeSet<String>)| {
            now.get(path.as_str()).is_some_and(|file| file.deletes == *deletes)
        };
        let (untouched, touched): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| group.inputs.iter().all(is_same));
        for group in touched {
            tracing::debug!(table = %table.name(), files = group.inputs.len(), "rewritten meanwhile");
            group.files.discard().await;
        }
        untouched
    }
}

/// The files of all groups.
struct Joined {
    files: Uncommitted,
    /// The group that each is of, by its index.
    owners: Vec<(String, usize)>,
    sequences: BTreeMap<String, SequenceNumber>,
}

impl Joined {
    fn of(lake: &Lake, groups: &mut [Rewritten]) -> Self {
        let (files, owners) = (Uncommitted::nothing(lake), Vec::new());
        let mut all = Self { files, owners, sequences: BTreeMap::new() };
        for (index, group) in groups.iter_mut().enumerate() {
            for path in group.files.files().iter().map(DataFile::file_path) {
                all.owners.push((path.to_owned(), index));
                all.sequences.extend(group.sequence.map(|sequence| (path.to_owned(), sequence)));
            }
            all.files.extend(std::mem::replace(&mut group.files, Uncommitted::nothing(lake)));
        }
        all
    }
}

fn totals(live: &Live) -> (usize, u64) {
    (live.data.len(), live.data.iter().map(|file| file.task.bytes()).sum())
}
