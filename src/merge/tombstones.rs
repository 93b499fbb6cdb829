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
            self.write_rows(newest.rows_of(share).map_err(|e| arrow_error(rules, e))?).await?;
        }
        Ok(())
    }

    /// Writes the keys and orders of rows that delete.
    pub(super) async fn write_rows(&mut self, rows: RecordBatch) -> Result<(), MergeError> {
        let rows = conform(self.target.table.name(), rows, self.target.schema.arrow())?;
        Ok(self.writer.write(&rows).await?)
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
    let mut buried = BTreeSet::new();
    let mut found = |key: &[u8], order: &[u8]| {
        if newest.get(key).is_some_and(|winner| order >= &*winner.order) {
            buried.insert(key.into());
        }
    };
    deletes.each((lake, threads), rules, bounds, &mut found).await?;
    Ok(buried)
}

impl TombstoneTable {
    /// Calls `found` with the key and the order of each stored delete within bounds, as comparable bytes.
    pub(super) async fn each(
        &self,
        (lake, threads): (&Lake, usize),
        rules: &MergeRules,
        bounds: &[Bounds],
        found: &mut (dyn FnMut(&[u8], &[u8]) + Send),
    ) -> Result<(), MergeError> {
        let arrow = |e| arrow_error(rules, e);
        let files = lake.files_of(&self.table, None, bounds).await?;
        let (keys, order) = rules.encoders(self.schema.arrow()).map_err(arrow)?;
        let columns = self.schema.column_names();
        let mut rows = lake.read_files(&self.table, &self.schema, files, &columns, threads);
        while let Some(batch) = rows.try_next().await? {
            let keys = keys.encode(&batch).map_err(arrow)?;
            let orders = order.encode(&batch).map_err(arrow)?;
            for row in 0..batch.num_rows() {
                found(keys.row(row).data(), orders.row(row).data());
            }
        }
        Ok(())
    }
}
