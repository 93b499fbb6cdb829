//! The merge on this machine: the newest source rows are looked up in the target, a part at a time, and the plans are
//! carried out copy-on-write or merge-on-read, streamed.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::physical_plan::SendableRecordBatchStream;

use super::apply::{Applied, Changes};
use super::lookup::index::{IndexLookup, IndexSettings};
use super::lookup::scan::ScanLookup;
use super::lookup::{Found, KeyLookup, Target};
use super::output::arrow_error;
use super::parts::Parts;
use super::plan::plan;
use super::spill::Part;
use super::tombstones::{TombstoneWriter, buried};
use super::{Counts, History, MergeEngine, MergeError, MergeRules, MergeTask, Merged, history};
use crate::lake::read::provider::{LakeTable, plain};
use crate::lake::read::scan::BATCH_ROWS;
use crate::lake::{Lake, storable};
use crate::sql::SqlError;
use crate::sql::select::{BRONZE, DELETED, MISFIT};
use crate::sql::session::streaming_session;
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

    /// The same, with a key index on this machine's disk.
    pub fn with_index(mut self, settings: IndexSettings) -> Self {
        self.lookup = Box::new(IndexLookup::new(&self.lake, self.threads, settings));
        self
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
        let context = streaming_session(self.memory, self.threads, BATCH_ROWS)?;
        let what = format!("silver table {}: its SQL", task.rules.table);
        context.register_table(BRONZE, Arc::new(table)).map_err(|e| SqlError::of(&what, e))?;
        let kept = task.rules.kept();
        let rows = &task.rules.rows;
        let query = rows.query(&context, &plain(source.arrow()), &kept, &task.rules.exact).await?;
        let rows = execute(query, aside).await.map_err(|e| SqlError::of(&what, e))?;
        let fields = rows.schema();
        let output = fields
            .fields()
            .iter()
            .filter(|f| ![DELETED, MISFIT].contains(&f.name().as_str()))
            .cloned();
        let mut schema = Schema::new(output.collect::<Vec<_>>());
        if task.rules.history == History::Scd2 {
            schema = history::with_history(&task.rules, &schema)?;
        }
        Ok((Arc::new(storable(&schema)), rows))
    }

    /// Merges one part of the source: a range of keys.
    async fn merge_part(
        &self,
        (task, target): (&MergeTask, &Target),
        part: Part,
        changes: &mut Changes,
        tombstones: &mut Option<TombstoneWriter>,
        counts: &mut Counts,
    ) -> Result<(), MergeError> {
        let rules = &task.rules;
        if rules.history == History::Scd2 {
            let (reader, of) = ((&self.lake, self.threads), (task, target));
            return history::merge_part(reader, of, part, (changes, tombstones), counts).await;
        }
        let mut newest = part.newest;
        let bounds = newest.bounds().map_err(|e| arrow_error(rules, e))?;
        let newest = Arc::new(newest);
        let (mut found, mut buried) = (Found::default(), BTreeSet::new());
        if !task.from_nothing {
            found = self.lookup.find(target, &newest, &bounds).await?;
            if let Some(tombstones) = &tombstones {
                let table = tombstones.target.clone();
                let (lake, threads) = (&self.lake, self.threads);
                buried = self::buried(lake, table, rules, &newest, &bounds, threads).await?;
            }
        }
        let hits = std::mem::take(&mut found.hits);
        let plan = plan(&newest, hits, &buried, task.refresh_equal, counts);
        changes.add(&newest, &found.files, &plan).await?;
        if let Some(tombstones) = tombstones {
            tombstones.write(&newest, &plan.deletes, rules).await?;
        }
        Ok(())
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
        let partition_by = rules.partition_by.as_deref();
        let table = match task.target.clone() {
            Some(table) => table,
            None => self.lake.find_or_create(&rules.table, &output, partition_by).await?,
        };
        let (name, last_id) = (table.name(), table.last_column_id());
        let changed = if task.from_nothing {
            table.schema().replaced(name, &output, last_id)?
        } else {
            rules.check_target(&table)?;
            table.schema().extended(name, &output, last_id)?
        };
        let schema = changed.clone().unwrap_or_else(|| table.schema().clone());
        let table = self.lake.partitioned(table, partition_by, &schema).await?;
        if rules.history == History::Scd2 {
            history::check_target(&rules, &table, &schema, task.from_nothing)?;
        }
        let target = Target { table, schema, rules };
        let mut tombstones = TombstoneWriter::open(&self.lake, &task, &target.schema).await?;
        let mut parts = Parts::read(&task.rules, target.schema.arrow(), rows).await?;
        let mut counts = Counts {
            source: parts.rows,
            null_keys: parts.null_key_rows,
            misfits: parts.misfit_rows,
            failed: failed(&task.rules, &aside),
            ..Counts::default()
        };
        let mut changes = Changes::new(&self.lake, &target, self.threads)?;
        while let Some(part) = parts.next().await? {
            let of = (&task, &target);
            self.merge_part(of, part, &mut changes, &mut tombstones, &mut counts).await?;
        }
        let applied = changes.finish().await?;
        let tombstones = match tombstones {
            Some(tombstones) => Some(tombstones.close().await?),
            None => None,
        };
        let Applied { add, deletes, remove } = applied;
        Ok(Merged {
            target: target.table,
            schema: changed,
            add,
            deletes,
            remove,
            tombstones,
            counts,
        })
    }
}
