//! The merge on this machine, copy-on-write: the keys of the target are scanned and probed against
//! the newest source rows, and only files that hold a matched key are written again, streamed.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::TryStreamExt;

use super::apply::copy_on_write::rewrite;
use super::lookup::scan::Prober;
use super::newest::{Newest, Share, Winner};
use super::output::{arrow_error, joined, nullable, shares, write_winners};
use super::plan::{Probed, plan};
use super::tombstones::{TombstoneWriter, buried};
use super::{Counts, MergeEngine, MergeError, MergeRules, MergeTask, Merged};
use crate::lake::read::arrow::conform;
use crate::lake::read::provider::{LakeTable, plain};
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::DataWriter;
use crate::lake::{DataFile, Lake, Table, TableSchema, storable};
use crate::sql::SqlError;
use crate::sql::select::{BRONZE, DELETED};
use crate::sql::session::session;

/// See the module.
#[derive(Debug)]
pub struct LocalEngine {
    lake: Lake,
    memory: usize,
    lanes: usize,
}

impl LocalEngine {
    /// An engine that may use `memory` bytes for queries, and `lanes` threads for files.
    pub fn new(lake: &Lake, memory: usize, lanes: usize) -> Self {
        Self { lake: lake.clone(), memory, lanes: lanes.max(1) }
    }

    /// The source query, its rows ready to flow.
    async fn source(
        &self,
        task: &MergeTask,
    ) -> Result<(SchemaRef, SendableRecordBatchStream), MergeError> {
        let bronze = task.bronze.schema();
        let table =
            LakeTable::of_files(&self.lake, &task.bronze, bronze.clone(), task.files.clone());
        let context = session(self.memory)?;
        let what = format!("silver table {}", task.rules.table);
        context.register_table(BRONZE, Arc::new(table)).map_err(|e| SqlError::of(&what, e))?;
        let kept = task.rules.kept();
        let query = task.rules.rows.query(&context, &plain(bronze.arrow()), &kept).await?;
        let rows = query.execute_stream().await.map_err(|e| SqlError::of(&what, e))?;
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
        // A null may come where the target has none: in a key it is passed over, see `write_winners`.
        let schema = &nullable(schema);
        let mut newest =
            Newest::new(schema, &rules.keys, &rules.order, rules.null_keys).map_err(arrow)?;
        let failed = |e| SqlError::of(&format!("silver table {table}"), e);
        while let Some(batch) = rows.try_next().await.map_err(failed)? {
            let deleted = match batch.column_by_name(DELETED) {
                Some(deleted) => deleted.as_boolean().clone(),
                None => BooleanArray::from(vec![false; batch.num_rows()]),
            };
            newest.push(conform(table, batch, schema)?, &deleted, share).map_err(arrow)?;
        }
        Ok(newest)
    }

    /// Everything from bronze, into nothing: passes over shares of the keys, so that memory does
    /// not follow the table.
    async fn build(
        &self,
        task: &MergeTask,
        target: &Table,
        schema: &TableSchema,
        deletes: &mut Option<TombstoneWriter>,
        counts: &mut Counts,
    ) -> Result<Vec<DataFile>, MergeError> {
        let cost: u64 = task.files.iter().map(FileTask::merge_cost).sum();
        let passes = cost.div_ceil(task.rules.merge_cost.max(1)).clamp(1, super::MAX_PASSES);
        let writer = DataWriter::new(&self.lake, target, schema)?;
        let mut writer = writer.with_bounds_on(&task.rules.kept());
        for index in 0..passes {
            let (_, rows) = self.source(task).await?;
            let share = Share { index, of: passes };
            let newest = self.newest(&task.rules, schema.arrow(), rows, share).await?;
            counts.source += newest.rows;
            counts.null_keys += newest.null_key_rows;
            let (gone, live): (Vec<_>, Vec<_>) =
                newest.sorted().into_iter().map(|(_, w)| w).partition(|w| w.deleted);
            counts.inserted += live.len() as u64;
            write_winners(&mut writer, &newest, &live, (&task.rules, schema.arrow())).await?;
            if let Some(deletes) = deletes {
                deletes.write(&newest, &gone, &task.rules).await?;
            }
        }
        Ok(writer.close().await?)
    }

    /// Probes the keys of the target's files.
    async fn probe(
        &self,
        task: &MergeTask,
        target: &Table,
        schema: &TableSchema,
        newest: &Arc<Newest>,
        files: Vec<FileTask>,
    ) -> Result<Vec<Probed>, MergeError> {
        let mut running = tokio::task::JoinSet::new();
        for share in shares(files, self.lanes) {
            let prober = Prober {
                lake: self.lake.clone(),
                target: target.clone(),
                schema: schema.clone(),
                rules: task.rules.clone(),
                newest: newest.clone(),
            };
            running.spawn(async move {
                let mut probed = Vec::new();
                for file in share {
                    probed.extend(prober.probe(file).await?);
                }
                Ok::<_, MergeError>(probed)
            });
        }
        joined(running, &task.rules).await
    }
}

#[async_trait]
impl MergeEngine for LocalEngine {
    async fn merge(&self, task: MergeTask) -> Result<Merged, MergeError> {
        let rules = task.rules.clone();
        let (output, rows) = self.source(&task).await?;
        let target = match task.target.clone() {
            Some(target) => target,
            None => self.lake.find_or_create(&rules.table, &output, None).await?,
        };
        let (name, last_id) = (target.name(), target.last_column_id());
        let schema = if task.from_nothing {
            target.schema().replaced(name, &output, last_id)?
        } else {
            target.schema().extended(name, &output, last_id)?
        };
        let into = schema.clone().unwrap_or_else(|| target.schema().clone());
        let mut deletes = TombstoneWriter::open(&self.lake, &task, &into).await?;
        let mut counts = Counts::default();
        let (mut add, mut remove) = (Vec::new(), BTreeSet::new());

        if task.from_nothing {
            drop(rows);
            add = self.build(&task, &target, &into, &mut deletes, &mut counts).await?;
        } else {
            let mut newest = self.newest(&rules, into.arrow(), rows, task.share).await?;
            counts.source = newest.rows;
            counts.null_keys = newest.null_key_rows;
            let bounds = newest.bounds().map_err(|e| arrow_error(&rules, e))?;
            let newest = Arc::new(newest);
            if !newest.is_empty() {
                let files = self.lake.files_of(&target, None, &bounds).await?;
                let probed = self.probe(&task, &target, &into, &newest, files).await?;
                let buried = match &deletes {
                    Some(deletes) => {
                        let place = deletes.place.clone();
                        buried(&self.lake, place, &rules, &newest, &bounds, self.lanes).await?
                    }
                    None => BTreeSet::new(),
                };
                let plan = plan(&newest, probed, &buried, task.refresh_equal, &mut counts);
                remove = plan.rewrites.iter().map(|r| r.file.path().to_owned()).collect();
                let place = (&self.lake, &target, &into);
                add = rewrite(place, &rules, &newest, plan.rewrites, &plan.inserts, self.lanes)
                    .await?;
                if let Some(deletes) = &mut deletes {
                    let to_remember: Vec<&Winner> = plan
                        .deletes
                        .iter()
                        .filter(|key| !buried.contains(*key))
                        .filter_map(|key| newest.get(key))
                        .collect();
                    deletes.write(&newest, &to_remember, &rules).await?;
                }
            }
        }
        let deletes = match deletes {
            Some(deletes) => Some(deletes.close().await?),
            None => None,
        };
        Ok(Merged { target, schema, add, remove, deletes, counts })
    }
}
