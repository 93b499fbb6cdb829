//! The merge on this machine, copy-on-write: the keys of the target are scanned and probed against
//! the newest source rows, and only files that hold a matched key are written again, streamed.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::TryStreamExt;

use super::deletes::{DeletesTable, DeletesWriter};
use super::plan::{Probed, Verdict, plan};
use super::rewrite::rewrite;
use super::{Counts, MergeEngine, MergeTask, Merged};
use crate::lake::provider::{LakeTable, plain};
use crate::lake::scan::{Bounds, FileTask, conform};
use crate::lake::writer::DataWriter;
use crate::lake::{DataFile, Lake, LakeError, Table, TableSchema, storable};
use crate::silver::newest::{Newest, Share, Winner};
use crate::silver::order::Encoder;
use crate::silver::{MAX_PASSES, SilverError, SilverSettings};
use crate::sql::SqlError;
use crate::sql::rowwise::{BRONZE, DELETED};
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
    ) -> Result<(SchemaRef, SendableRecordBatchStream), SilverError> {
        let bronze = task.bronze.schema();
        let table =
            LakeTable::of_files(&self.lake, &task.bronze, bronze.clone(), task.files.clone());
        let context = session(self.memory)?;
        let what = format!("silver table {}", task.settings.table);
        context.register_table(BRONZE, Arc::new(table)).map_err(|e| SqlError::of(&what, e))?;
        let kept = task.settings.kept();
        let query = task.settings.rows.query(&context, &plain(bronze.arrow()), &kept).await?;
        let rows = query.execute_stream().await.map_err(|e| SqlError::of(&what, e))?;
        let fields = rows.schema();
        let output = fields.fields().iter().filter(|f| f.name() != DELETED).cloned();
        let schema = Schema::new(output.collect::<Vec<_>>());
        Ok((Arc::new(storable(&schema)), rows))
    }

    /// The newest source rows of a share of the keys, as rows of `schema`.
    async fn newest(
        &self,
        settings: &SilverSettings,
        schema: &SchemaRef,
        mut rows: SendableRecordBatchStream,
        share: Share,
    ) -> Result<Newest, SilverError> {
        let table = &settings.table;
        let arrow = |e| arrow_error(settings, e);
        // A null may come where the target has none: in a key it is passed over, see `write_winners`.
        let schema = &nullable(schema);
        let mut newest = Newest::new(schema, &settings.keys, &settings.order(), settings.null_keys)
            .map_err(arrow)?;
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
        deletes: &mut Option<DeletesWriter>,
        counts: &mut Counts,
    ) -> Result<Vec<DataFile>, SilverError> {
        let cost: u64 = task.files.iter().map(FileTask::merge_cost).sum();
        let passes = cost.div_ceil(task.settings.merge_cost.max(1)).clamp(1, MAX_PASSES);
        let writer = DataWriter::new(&self.lake, target, schema)?;
        let mut writer = writer.with_bounds_on(&task.settings.kept());
        for index in 0..passes {
            let (_, rows) = self.source(task).await?;
            let share = Share { index, of: passes };
            let newest = self.newest(&task.settings, schema.arrow(), rows, share).await?;
            counts.source += newest.rows;
            counts.null_keys += newest.null_key_rows;
            let (gone, live): (Vec<_>, Vec<_>) =
                newest.sorted().into_iter().map(|(_, w)| w).partition(|w| w.deleted);
            counts.inserted += live.len() as u64;
            write_winners(&mut writer, &newest, &live, (&task.settings, schema.arrow())).await?;
            if let Some(deletes) = deletes {
                deletes.write(&newest, &gone, &task.settings).await?;
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
    ) -> Result<Vec<Probed>, SilverError> {
        let mut running = tokio::task::JoinSet::new();
        for share in shares(files, self.lanes) {
            let prober = Prober {
                lake: self.lake.clone(),
                target: target.clone(),
                schema: schema.clone(),
                settings: task.settings.clone(),
                newest: newest.clone(),
            };
            running.spawn(async move {
                let mut probed = Vec::new();
                for file in share {
                    probed.extend(prober.probe(file).await?);
                }
                Ok::<_, SilverError>(probed)
            });
        }
        joined(running, &task.settings).await
    }

    /// The verdict of remembered deletes: keys whose delete is not older than what came.
    async fn buried(
        &self,
        deletes: DeletesTable,
        settings: &SilverSettings,
        newest: &Newest,
        bounds: &[Bounds],
    ) -> Result<BTreeSet<Box<[u8]>>, SilverError> {
        let files = self.lake.files_of(&deletes.table, None, bounds).await?;
        let schema = deletes.schema.arrow();
        let arrow = |e| arrow_error(settings, e);
        let keys = Encoder::new(schema, &settings.keys).map_err(arrow)?;
        let order = Encoder::new(schema, &settings.order()).map_err(arrow)?;
        let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let mut buried = BTreeSet::new();
        let mut rows =
            self.lake.read_files(&deletes.table, &deletes.schema, files, &columns, self.lanes);
        while let Some(batch) = rows.try_next().await? {
            let (keys, orders) =
                (keys.encode(&batch).map_err(arrow)?, order.encode(&batch).map_err(arrow)?);
            for row in 0..batch.num_rows() {
                let key = keys.row(row);
                let winner = newest.get(key.as_ref());
                if winner.is_some_and(|w| orders.row(row).as_ref() >= &*w.order) {
                    buried.insert(key.as_ref().into());
                }
            }
        }
        Ok(buried)
    }
}

#[async_trait]
impl MergeEngine for LocalEngine {
    async fn merge(&self, task: MergeTask) -> Result<Merged, SilverError> {
        let settings = task.settings.clone();
        let (output, rows) = self.source(&task).await?;
        let target = match task.target.clone() {
            Some(target) => target,
            None => self.lake.find_or_create(&settings.table, &output, None).await?,
        };
        let (name, last_id) = (target.name(), target.last_column_id());
        let schema = if task.from_nothing {
            target.schema().replaced(name, &output, last_id)?
        } else {
            target.schema().extended(name, &output, last_id)?
        };
        let into = schema.clone().unwrap_or_else(|| target.schema().clone());
        let mut deletes = DeletesWriter::open(&self.lake, &task, &into).await?;
        let mut counts = Counts::default();
        let (mut add, mut remove) = (Vec::new(), BTreeSet::new());

        if task.from_nothing {
            drop(rows);
            add = self.build(&task, &target, &into, &mut deletes, &mut counts).await?;
        } else {
            let mut newest = self.newest(&settings, into.arrow(), rows, task.share).await?;
            counts.source = newest.rows;
            counts.null_keys = newest.null_key_rows;
            let bounds = newest.bounds().map_err(|e| arrow_error(&settings, e))?;
            let newest = Arc::new(newest);
            if !newest.is_empty() {
                let files = self.lake.files_of(&target, None, &bounds).await?;
                let probed = self.probe(&task, &target, &into, &newest, files).await?;
                let buried = match &deletes {
                    Some(deletes) => {
                        let place = deletes.place.clone();
                        self.buried(place, &settings, &newest, &bounds).await?
                    }
                    None => BTreeSet::new(),
                };
                let plan = plan(&newest, probed, &buried, task.refresh_equal, &mut counts);
                remove = plan.rewrites.iter().map(|r| r.file.path().to_owned()).collect();
                let place = (&self.lake, &target, &into);
                add = rewrite(place, &settings, &newest, plan.rewrites, &plan.inserts, self.lanes)
                    .await?;
                if let Some(deletes) = &mut deletes {
                    let to_remember: Vec<&Winner> = plan
                        .deletes
                        .iter()
                        .filter(|key| !buried.contains(*key))
                        .filter_map(|key| newest.get(key))
                        .collect();
                    deletes.write(&newest, &to_remember, &settings).await?;
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

struct Prober {
    lake: Lake,
    target: Table,
    schema: TableSchema,
    settings: SilverSettings,
    newest: Arc<Newest>,
}

impl Prober {
    async fn probe(&self, file: FileTask) -> Result<Option<Probed>, SilverError> {
        let arrow = |e| arrow_error(&self.settings, e);
        let columns = self.settings.kept();
        let mut batches = self.lake.read_file(&self.target, &self.schema, &file, &columns)?;
        let mut encoders: Option<(Encoder, Encoder)> = None;
        let mut hits = Vec::new();
        let mut position = 0;
        while let Some(batch) = batches.try_next().await? {
            if encoders.is_none() {
                let schema = batch.schema();
                encoders = Some((
                    Encoder::new(&schema, &self.settings.keys).map_err(arrow)?,
                    Encoder::new(&schema, &self.settings.order()).map_err(arrow)?,
                ));
            }
            let Some((keys, order)) = &encoders else { continue };
            let keys = keys.encode(&batch).map_err(arrow)?;
            let mut orders = None;
            for row in 0..batch.num_rows() {
                let key = keys.row(row);
                let Some(winner) = self.newest.get(key.as_ref()) else { continue };
                // Orders are long; most batches have no hit.
                if orders.is_none() {
                    orders = Some(order.encode(&batch).map_err(arrow)?);
                }
                let Some(orders) = &orders else { continue };
                let verdict = match orders.row(row).as_ref().cmp(&*winner.order) {
                    std::cmp::Ordering::Less => Verdict::Replace,
                    std::cmp::Ordering::Equal => Verdict::Same,
                    std::cmp::Ordering::Greater => Verdict::Late,
                };
                hits.push((position + row as u64, key.as_ref().into(), verdict));
            }
            position += batch.num_rows() as u64;
        }
        Ok((!hits.is_empty()).then_some(Probed { file, hits }))
    }
}

/// Rows written at a time.
pub(super) const WRITE_ROWS: usize = 8 * 1024;

/// Writes winners' rows, in the order given.
pub(super) async fn write_winners(
    writer: &mut DataWriter,
    newest: &Newest,
    winners: &[&Winner],
    (settings, schema): (&SilverSettings, &SchemaRef),
) -> Result<(), SilverError> {
    for share in winners.chunks(WRITE_ROWS) {
        let rows = newest.rows_of(share).map_err(|e| arrow_error(settings, e))?;
        for field in schema.fields().iter().filter(|f| !f.is_nullable()) {
            if rows.column_by_name(field.name()).is_some_and(|c| c.null_count() > 0) {
                let why =
                    format!("column `{}` is required, and a row has no value for it", field.name());
                return Err(SilverError::Columns { table: settings.table.clone(), why });
            }
        }
        writer.write(&conform(&settings.table, rows, schema)?).await?;
    }
    Ok(())
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Deals files out to lanes, the largest first, each to the lane that has least.
pub(super) fn shares(mut files: Vec<FileTask>, lanes: usize) -> Vec<Vec<FileTask>> {
    files.sort_by_key(|f| std::cmp::Reverse(f.bytes()));
    let mut shares: Vec<(u64, Vec<FileTask>)> = vec![(0, vec![]); lanes.min(files.len()).max(1)];
    for file in files {
        if let Some((bytes, share)) = shares.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.bytes();
            share.push(file);
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

/// The results of all lanes; the first error ends the others.
pub(super) async fn joined<T: 'static>(
    mut running: tokio::task::JoinSet<Result<Vec<T>, SilverError>>,
    settings: &SilverSettings,
) -> Result<Vec<T>, SilverError> {
    let mut all = Vec::new();
    while let Some(lane) = running.join_next().await {
        let lane = lane.map_err(|panic| SilverError::Columns {
            table: settings.table.clone(),
            why: format!("a merge failed inside silversmith: {panic}"),
        })?;
        all.extend(lane?);
    }
    Ok(all)
}

pub(super) fn arrow_error(
    settings: &SilverSettings,
    source: arrow::error::ArrowError,
) -> SilverError {
    let table = settings.table.clone();
    LakeError::Arrow { table, doing: "merging rows", source }.into()
}
