//! The table of deleted keys: what a merge writes to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::newest::{Newest, Winner};
use super::output::{WRITE_ROWS, arrow_error};
use super::plan::Key;
use super::{MergeError, MergeRules, MergeTask, Tombstones};
use crate::lake::read::arrow::conform;
use crate::lake::read::scan::Bounds;
use crate::lake::write::data::DataWriter;
use crate::lake::{Lake, Table, TableSchema, storable};

/// The table of deleted keys.
#[derive(Clone)]
pub(super) struct TombstoneTable {
    pub(super) table: Table,
    pub(super) schema: TableSchema,
    pub(super) changed: Option<TableSchema>,
}

/// Writes to it.
pub(super) struct TombstoneWriter {
    pub(super) target: TombstoneTable,
    writer: DataWriter,
}

impl TombstoneWriter {
    /// The table, created where the pipeline deletes. A rebuild opens it also to empty it.
    pub(super) async fn open(
        lake: &Lake,
        task: &MergeTask,
        target: &TableSchema,
    ) -> Result<Option<Self>, MergeError> {
        let name = task.rules.tombstones.clone();
        let columns = task.rules.kept();
        let fields = columns.iter().filter_map(|c| target.arrow().field_with_name(c).ok());
        let requested = storable(&Schema::new(fields.cloned().collect::<Vec<_>>()));
        let table = match task.tombstones.clone() {
            Some(table) if task.rules.rows.deletes() || task.from_nothing => table,
            None if task.rules.rows.deletes() => {
                lake.find_or_create(&name, &Arc::new(requested.clone()), None).await?
            }
            _ => return Ok(None),
        };
        let last_id = table.last_column_id();
        let changed = if task.from_nothing {
            table.schema().replaced(&name, &requested, last_id)?
        } else {
            table.schema().extended(&name, &requested, last_id)?
        };
        let schema = changed.clone().unwrap_or_else(|| table.schema().clone());
        let writer = DataWriter::new(lake, &table, &schema)?.with_bounds_on(&columns);
        Ok(Some(Self { target: TombstoneTable { table, schema, changed }, writer }))
    }

    pub(super) async fn write(
        &mut self,
        newest: &Newest,
        winners: &[&Winner],
        rules: &MergeRules,
    ) -> Result<(), MergeError> {
        for share in winners.chunks(WRITE_ROWS) {
            let rows = newest.rows_of(share).map_err(|e| arrow_error(rules, e))?;
            let rows: RecordBatch =
                conform(self.target.table.name(), rows, self.target.schema.arrow())?;
            self.writer.write(&rows).await?;
        }
        Ok(())
    }

    pub(super) async fn close(self) -> Result<Tombstones, MergeError> {
        let add = self.writer.close().await?;
        let TombstoneTable { table, changed, .. } = self.target;
        Ok(Tombstones { table, schema: changed, add })
    }
}

/// The keys whose stored delete is not older than the source's row.
pub(super) async fn buried(
    lake: &Lake,
    deletes: TombstoneTable,
    rules: &MergeRules,
    newest: &Newest,
    bounds: &[Bounds],
    threads: usize,
) -> Result<BTreeSet<Key>, MergeError> {
    let files = lake.files_of(&deletes.table, None, bounds).await?;
    let schema = deletes.schema.arrow();
    let arrow = |e| arrow_error(rules, e);
    let (keys, order) = rules.encoders(schema).map_err(arrow)?;
    let columns = deletes.schema.column_names();
    let mut buried = BTreeSet::new();
    let mut rows = lake.read_files(&deletes.table, &deletes.schema, files, &columns, threads);
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
