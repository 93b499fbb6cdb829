//! The merge on this machine: the newest source rows are looked up in the target, and the plan is applied
//! copy-on-write, streamed.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::TryStreamExt;

use super::apply::copy_on_write::{Applied, apply};
use super::lookup::scan::ScanLookup;
use super::lookup::{KeyLookup, Target};
use super::newest::{Newest, Share, Winner};
use super::output::{arrow_error, nullable, write_winners};
use super::plan::{Plan, plan};
use super::tombstones::{TombstoneWriter, buried};
use super::{Counts, MergeEngine, MergeError, MergeRules, MergeTask, Merged};
use crate::lake::read::arrow::conform;
use crate::lake::read::provider::{LakeTable, plain};
use crate::lake::write::data::DataWriter;
use crate::lake::{Lake, Uncommitted, storable};
use crate::sql::SqlError;
use crate::sql::select::{BRONZE, DELETED};
use crate::sql::session::session;
use crate::sql::tolerant::{FailedRows, SetAside, execute};

/// What a thread holds, in bytes: the row group that it reads, and the one that it writes (I7).
const THREAD: usize = 32 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct LocalEngine {
    lake: Lake,
    memory: usize,
    threads: usize,
    lookup: Box<dyn KeyLookup>,
}

impl LocalEngine {
    /// An engine that may use `memory` bytes for queries, and after them for files, by `threads` threads at most.
    pub fn new(lake: &Lake, memory: usize, threads: usize) -> Self {
        let threads = threads.min(memory / THREAD).max(1);
        let lookup = Box::new(ScanLookup::new(lake, threads));
        Self { lake: lake.clone(), memory, threads, lookup }
    }

    /// The source query: its schema, and the stream of its rows, without those that it sets aside.
    async fn source(
        &self,
        task: &MergeTask,
        aside: &SetAside,
    ) -> Result<(SchemaRef, SendableRecordBatchStream), MergeError> {
        let source = task.source.schema();
        let table =
            LakeTable::of_files(&self.lake, &task.source, source.clone(), task.files.clone());
        let context = session(self.memory)?;
        let what = format!("silver table {}: its SQL", task.rules.table);
        context.register_table(BRONZE, Arc::new(table)).map_err(|e| SqlError::of(&what, e))?;
        let kept = task.rules.kept();
        let query = task.rules.rows.query(&context, &plain(source.arrow()), &kept).await?;
        let rows = execute(query, aside).await.map_err(|e| SqlError::of(&what, e))?;
        let fields = rows.schema();
        let output = fields.fields().iter().filter(|f| f.name() != DELETED).cloned();
        let schema = Schema::new(output.collect::<Vec<_>>());
        Ok((Arc::new(storable(&schema)), rows))
    }

    /// The newest source rows of a share of the keys, as rows of `schema`.
    async fn newest(
        &self,
        rules: &MergeRules,
        schema: &SchemaRef,
        mut rows: SendableRecordBatchStream,
        share: Share,
    ) -> Result<Newest, MergeError> {
        let table = &rules.table;
        let arrow = |e| arrow_error(rules, e);
        // A null may come where the target allows none: see `write_winners`.
        let schema = &nullable(schema);
        let mut newest =
            Newest::new(schema, &rules.keys, &rules.order, rules.null_keys).map_err(arrow)?;
        let failed = |e| SqlError::of(&format!("silver table {table}: its SQL"), e);
        while let Some(batch) = rows.try_next().await.map_err(failed)? {
            let deleted = match batch.column_by_name(DELETED) {
                Some(deleted) => deleted.as_boolean().clone(),
                None => BooleanArray::from(vec![false; batch.num_rows()]),
            };
            newest.push(conform(table, batch, schema)?, &deleted, share).map_err(arrow)?;
        }
        Ok(newest)
    }

    /// Writes all rows of the source as a new content, in passes over shares of the keys: memory does not grow
    /// with the table.
    async fn build(
        &self,
        task: &MergeTask,
        target: &Target,
        tombstones: &mut Option<TombstoneWriter>,
        counts: &mut Counts,
    ) -> Result<Uncommitted, MergeError> {
        let schema = &target.schema;
        let passes = task.rules.passes(&task.files);
        let writer = DataWriter::new(&self.lake, &target.table, schema)?;
        let mut writer = writer.with_bounds_on(&task.rules.kept());
        for index in 0..passes {
            let aside = SetAside::default();
            let (_, rows) = self.source(task, &aside).await?;
            let share = Share { index, of: passes };
            let newest = self.newest(&task.rules, schema.arrow(), rows, share).await?;
            counts.source += newest.rows;
            counts.null_keys += newest.null_key_rows;
            // Each pass reads all rows.
            if index == 0 {
                counts.failed = failed(&task.rules, &aside);
            }
            let (gone, live): (Vec<_>, Vec<_>) =
                newest.sorted().into_iter().map(|(_, w)| w).partition(|w| w.deleted);
            counts.inserted += live.len() as u64;
            write_winners(&mut writer, &newest, &live, (&task.rules, schema.arrow())).await?;
            if let Some(tombstones) = tombstones {
                tombstones.write(&newest, &gone, &task.rules).await?;
            }
        }
        Ok(writer.close().await?)
    }

    /// Merges into the rows of the target.
    async fn merge_into(
        &self,
        task: &MergeTask,
        target: &Target,
        rows: SendableRecordBatchStream,
        tombstones: &mut Option<TombstoneWriter>,
        counts: &mut Counts,
    ) -> Result<Applied, MergeError> {
        let rules = &task.rules;
        let mut newest = self.newest(rules, target.schema.arrow(), rows, task.share).await?;
        counts.source = newest.rows;
        counts.null_keys = newest.null_key_rows;
        let bounds = newest.bounds().map_err(|e| arrow_error(rules, e))?;
        let newest = Arc::new(newest);
        if newest.is_empty() {
            return Ok(Applied { add: Uncommitted::nothing(&self.lake), remove: BTreeSet::new() });
        }
        let mut found = self.lookup.find(target, &newest, &bounds).await?;
        let buried = match &tombstones {
            Some(tombstones) => {
                let table = tombstones.target.clone();
                buried(&self.lake, table, rules, &newest, &bounds, self.threads).await?
            }
            None => BTreeSet::new(),
        };
        let hits = std::mem::take(&mut found.hits);
        let Plan { gone, inserts, deletes } =
            plan(&newest, hits, &buried, task.refresh_equal, counts);
        let rows = (gone, inserts);
        let applied = apply(&self.lake, target, &newest, &found, rows, self.threads).await?;
        if let Some(tombstones) = tombstones {
            let to_remember: Vec<&Winner> =
                deletes.iter().filter_map(|key| newest.get(key)).collect();
            tombstones.write(&newest, &to_remember, rules).await?;
        }
        Ok(applied)
    }
}

/// How many rows the SQL failed on. They are left out; an operator decides what becomes of them.
fn failed(rules: &MergeRules, aside: &SetAside) -> u64 {
    let FailedRows { count, named } = aside.rows();
    if count > 0 {
        tracing::warn!(
            table = %rules.table, rows = count, first = named.join("; "),
            "rows on which select or delete_when fails are not merged: use try_cast, then run silver --rebuild"
        );
    }
    count
}

#[async_trait]
impl MergeEngine for LocalEngine {
    async fn merge(&self, task: MergeTask) -> Result<Merged, MergeError> {
        let rules = task.rules.clone();
        let aside = SetAside::default();
        let (output, rows) = self.source(&task, &aside).await?;
        let table = match task.target.clone() {
            Some(table) => table,
            None => self.lake.find_or_create(&rules.table, &output, None).await?,
        };
        let (name, last_id) = (table.name(), table.last_column_id());
        let changed = if task.from_nothing {
            table.schema().replaced(name, &output, last_id)?
        } else {
            table.schema().extended(name, &output, last_id)?
        };
        let schema = changed.clone().unwrap_or_else(|| table.schema().clone());
        let target = Target { table, schema, rules };
        let mut tombstones = TombstoneWriter::open(&self.lake, &task, &target.schema).await?;
        let mut counts = Counts::default();
        let applied = if task.from_nothing {
            drop(rows);
            let add = self.build(&task, &target, &mut tombstones, &mut counts).await?;
            Applied { add, remove: BTreeSet::new() }
        } else {
            let applied =
                self.merge_into(&task, &target, rows, &mut tombstones, &mut counts).await?;
            if task.share.index == 0 {
                counts.failed = failed(&target.rules, &aside);
            }
            applied
        };
        let tombstones = match tombstones {
            Some(tombstones) => Some(tombstones.close().await?),
            None => None,
        };
        let Applied { add, remove } = applied;
        Ok(Merged { target: target.table, schema: changed, add, remove, tombstones, counts })
    }
}
