//! The merge on this machine: the newest source rows are looked up in the target, a part at a time, and the plans are
//! carried out copy-on-write or merge-on-read, streamed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::physical_plan::SendableRecordBatchStream;

use super::apply::{Applied, Changes};
use super::judge::Screen;
use super::known::Known;
use super::lookup::index::{IndexLookup, IndexSettings};
use super::lookup::scan::ScanLookup;
use super::lookup::{Found, KeyLookup, Target};
use super::newest::Newest;
use super::output::arrow_error;
use super::parts::{Parts, Piece};
use super::plan::plan;
use super::quarantine::{QuarantineWriter, Quarantined, Scope, replaced, schema};
use super::spill::apart;
use super::tombstones::{TombstoneWriter, buried};
use super::{Counts, History, MergeEngine, MergeError, MergeRules, MergeTask, Merged, history};
use crate::lake::read::provider::{LakeTable, plain};
use crate::lake::read::scan::{BATCH_ROWS, FileTask};
use crate::lake::{Lake, Table, TableSchema, Uncommitted, storable};
use crate::sql::SqlError;
use crate::sql::select::{ADDED, BRONZE};
use crate::sql::session::streaming_session;
use crate::sql::times::Times;
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

    /// The source query: the stream of its rows, without those that it sets aside; with each its row of bronze.
    async fn source(
        &self,
        task: &MergeTask,
        aside: &SetAside,
        with_bronze: bool,
    ) -> Result<SendableRecordBatchStream, MergeError> {
        let source = task.source.schema();
        let table =
            LakeTable::of_files(&self.lake, &task.source, source.clone(), task.files.clone());
        let context = streaming_session(self.memory, self.threads, BATCH_ROWS)?;
        let what = format!("silver table {}: its SQL", task.rules.table);
        context.register_table(BRONZE, Arc::new(table)).map_err(|e| SqlError::of(&what, e))?;
        let kept = task.rules.kept();
        let rows = &task.rules.rows;
        let (bronze, exact) = (plain(source.arrow()), &task.rules.exact);
        let query = match with_bronze {
            true => rows.query_with_source(&context, &bronze, &kept, exact).await?,
            false => rows.query(&context, &bronze, &kept, exact).await?,
        };
        Ok(execute(query, aside).await.map_err(|e| SqlError::of(&what, e))?)
    }

    /// The target, created where it is missing, with the schema that it gets and whether that is another.
    async fn target(
        &self,
        task: &MergeTask,
        output: &SchemaRef,
    ) -> Result<(Target, Option<TableSchema>), MergeError> {
        let rules = task.rules.clone();
        let partition_by = rules.partition_by.as_deref();
        let table = match task.target.clone() {
            Some(table) => table,
            None => self.lake.find_or_create(&rules.table, output, partition_by).await?,
        };
        let (name, last_id) = (table.name(), table.last_column_id());
        let changed = if task.from_nothing {
            table.schema().replaced(name, output, last_id)?
        } else {
            rules.check_target(&table)?;
            table.schema().extended(name, output, last_id)?
        };
        let schema = changed.clone().unwrap_or_else(|| table.schema().clone());
        let table = self.lake.partitioned(table, partition_by, &schema).await?;
        if rules.history == History::Scd2 {
            history::check_types(&rules, &schema)?;
        }
        Ok((Target { table, schema, rules }, changed))
    }

    /// The rows in quarantine that those of a merge are compared with, and the files that hold them.
    async fn known(
        &self,
        task: &MergeTask,
        table: Option<&Table>,
        times: Times,
    ) -> Result<(Vec<FileTask>, Known), MergeError> {
        let Some(table) = table.filter(|_| !task.from_nothing) else {
            return Ok((vec![], Known::default()));
        };
        let bounds = match task.quarantine_scope {
            Scope::New => times.bounds(),
            Scope::All | Scope::Quarantined { .. } => vec![],
        };
        let mut files = self.lake.files_of(table, None, &bounds).await?;
        let mut of_rule = None;
        if let Scope::Quarantined { files: some, rule } = &task.quarantine_scope {
            files.retain(|file| some.contains(file.path()));
            of_rule = rule.as_deref();
        }
        let known = Known::read(&self.lake, table, &files, of_rule, self.threads).await?;
        Ok((files, known))
    }

    /// What changes in quarantine. `known`: what is there already of the rows that count, where that is known.
    async fn quarantine(
        &self,
        task: &MergeTask,
        refused: Times,
        any_refused: bool,
        known: Option<(Vec<FileTask>, Known)>,
    ) -> Result<Option<Quarantined>, MergeError> {
        let stored = task.quarantine.as_ref().filter(|table| table.rows() != Some(0));
        match stored {
            Some(table) if !any_refused && task.from_nothing => {
                let nothing = Uncommitted::nothing(&self.lake);
                return Ok(Some(replaced(table.clone(), nothing, BTreeMap::new())));
            }
            Some(_) if task.compares() => {}
            _ if any_refused => {}
            _ => return Ok(None),
        }
        // Another merger may have made it since, and have stored the same rows.
        let table = match task.quarantine.clone() {
            Some(table) => table,
            None => self.lake.find_or_create(&task.rules.quarantine, &schema(), None).await?,
        };
        let known = match known {
            Some(known) => known,
            None => self.known(task, Some(&table), refused).await?,
        };
        let mut writer = QuarantineWriter::open(&self.lake, task, table, known)?;
        let aside = SetAside::keeping();
        let rows = self.source(task, &aside, true).await?;
        writer.read(rows, &aside).await?;
        writer.close().await
    }

    /// Merges one piece of the source: a range of keys.
    async fn merge_piece(
        &self,
        (task, target): (&MergeTask, &Target),
        piece: Piece,
        changes: &mut Changes,
        tombstones: &mut Option<TombstoneWriter>,
        counts: &mut Counts,
    ) -> Result<(), MergeError> {
        let part = match piece {
            Piece::Sorted(rows) => {
                return write_sorted(&task.rules, &rows, (changes, tombstones), counts).await;
            }
            Piece::Part(part) => *part,
        };
        if task.rules.history == History::Scd2 {
            let (reader, of) = ((&self.lake, self.threads), (task, target));
            return history::merge_part(reader, of, part, (changes, tombstones), counts).await;
        }
        self.merge_newest((task, target), part.newest, (changes, tombstones), counts).await
    }

    /// Merges the newest rows of a range of keys.
    async fn merge_newest(
        &self,
        (task, target): (&MergeTask, &Target),
        mut newest: Newest,
        (changes, tombstones): (&mut Changes, &mut Option<TombstoneWriter>),
        counts: &mut Counts,
    ) -> Result<(), MergeError> {
        let rules = &task.rules;
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

/// Writes a piece of a source to a target without rows.
async fn write_sorted(
    rules: &MergeRules,
    rows: &RecordBatch,
    (changes, tombstones): (&mut Changes, &mut Option<TombstoneWriter>),
    counts: &mut Counts,
) -> Result<(), MergeError> {
    let arrow = |e| arrow_error(rules, e);
    let (rows, deleted) = apart(rows).map_err(arrow)?;
    let (deletes, written) = match deleted.has_true() {
        false => (None, rows),
        true => {
            let deletes = filter_record_batch(&rows, &deleted).map_err(arrow)?;
            let others = not(&deleted).and_then(|others| filter_record_batch(&rows, &others));
            (Some(deletes), others.map_err(arrow)?)
        }
    };
    counts.inserted += written.num_rows() as u64;
    changes.insert(written).await?;
    if let Some(deletes) = deletes {
        counts.unchanged += deletes.num_rows() as u64;
        if let Some(tombstones) = tombstones {
            tombstones.write_rows(deletes).await?;
        }
    }
    Ok(())
}

/// The columns that a query makes for the target.
fn output(rules: &MergeRules, rows: &SendableRecordBatchStream) -> Result<SchemaRef, MergeError> {
    let fields = rows.schema();
    let output = fields.fields().iter().filter(|f| !f.name().starts_with(ADDED)).cloned();
    let mut schema = Schema::new(output.collect::<Vec<_>>());
    if rules.history == History::Scd2 {
        schema = history::with_history(rules, &schema)?;
    }
    Ok(Arc::new(storable(&schema)))
}

/// Says of which rows an operator decides what becomes of them.
fn warn_of(rules: &MergeRules, screen: &Screen<'_>, failed: &FailedRows) {
    let FailedRows { count, named, .. } = failed;
    if *count > 0 {
        tracing::warn!(
            table = %rules.table, rows = count, first = named.join("; "),
            "rows on which select or delete_when fails are not merged: they go to quarantine"
        );
    }
    for (expectation, rows) in screen.warnings() {
        tracing::warn!(
            table = %rules.table, expectation, rows,
            "rows do not meet an expectation, and are merged"
        );
    }
}

#[async_trait]
impl MergeEngine for LocalEngine {
    async fn merge(&self, task: MergeTask) -> Result<Merged, MergeError> {
        let known = match task.quarantine_scope {
            Scope::Quarantined { .. } => {
                Some(self.known(&task, task.quarantine.as_ref(), Times::default()).await?)
            }
            Scope::New | Scope::All => None,
        };
        let aside = SetAside::default();
        let rows = self.source(&task, &aside, known.is_some()).await?;
        let (target, changed) = self.target(&task, &output(&task.rules, &rows)?).await?;
        let mut tombstones = TombstoneWriter::open(&self.lake, &task, &target.schema).await?;
        let mut screen = Screen::new(&task.rules, known.as_ref().map(|(_, known)| known));
        let schema = target.schema.arrow();
        let how = (&task.rules, task.from_nothing);
        let mut parts = Parts::read(how, schema, rows, &mut screen).await?;
        // Of rows that are judged again, only those in quarantine count.
        let failed = if known.is_none() { aside.rows() } else { FailedRows::default() };
        let mut counts = Counts {
            source: parts.rows,
            null_keys: parts.null_key_rows,
            failed: failed.count,
            ..Counts::default()
        };
        screen.count(&task.rules, &mut counts)?;
        warn_of(&task.rules, &screen, &failed);
        let times = screen.times.and(failed.times);
        let mut changes = Changes::new(&self.lake, &target, self.threads)?;
        while let Some(piece) = parts.next().await? {
            let of = (&task, &target);
            self.merge_piece(of, piece, &mut changes, &mut tombstones, &mut counts).await?;
        }
        let applied = changes.finish().await?;
        let tombstones = match tombstones {
            Some(tombstones) => Some(tombstones.close().await?),
            None => None,
        };
        let refused = counts.refused() > 0;
        let quarantine = Box::pin(self.quarantine(&task, times, refused, known)).await?;
        let Applied { add, deletes, remove } = applied;
        Ok(Merged {
            target: target.table,
            schema: changed,
            add,
            deletes,
            remove,
            tombstones,
            quarantine,
            counts,
        })
    }
}
