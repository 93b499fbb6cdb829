//! The table of deleted keys: what a merge writes to it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::local::{WRITE_ROWS, arrow_error};
use super::{Deletes, MergeTask};
use crate::lake::scan::conform;
use crate::lake::writer::DataWriter;
use crate::lake::{Lake, Table, TableSchema, storable};
use crate::silver::newest::{Newest, Winner};
use crate::silver::{SilverError, SilverSettings};

/// The table of deleted keys.
#[derive(Clone)]
pub(super) struct DeletesTable {
    pub(super) table: Table,
    pub(super) schema: TableSchema,
    pub(super) changed: Option<TableSchema>,
}

/// Writes to it.
pub(super) struct DeletesWriter {
    pub(super) place: DeletesTable,
    writer: DataWriter,
}

impl DeletesWriter {
    /// The table, made where the pipeline deletes; on a rebuild it is there to be emptied, too.
    pub(super) async fn open(
        lake: &Lake,
        task: &MergeTask,
        silver: &TableSchema,
    ) -> Result<Option<Self>, SilverError> {
        let name = task.settings.deletes();
        let columns = task.settings.kept();
        let fields = columns.iter().filter_map(|c| silver.arrow().field_with_name(c).ok());
        let wanted = storable(&Schema::new(fields.cloned().collect::<Vec<_>>()));
        let table = match lake.find(&name).await? {
            Some(table) if task.settings.rows.deletes() || task.from_nothing => table,
            None if task.settings.rows.deletes() => {
                lake.find_or_create(&name, &Arc::new(wanted.clone()), None).await?
            }
            _ => return Ok(None),
        };
        let last_id = table.last_column_id();
        let changed = if task.from_nothing {
            table.schema().replaced(&name, &wanted, last_id)?
        } else {
            table.schema().extended(&name, &wanted, last_id)?
        };
        let schema = changed.clone().unwrap_or_else(|| table.schema().clone());
        let writer = DataWriter::new(lake, &table, &schema)?.with_bounds_on(&columns);
        Ok(Some(Self { place: DeletesTable { table, schema, changed }, writer }))
    }

    pub(super) async fn write(
        &mut self,
        newest: &Newest,
        winners: &[&Winner],
        settings: &SilverSettings,
    ) -> Result<(), SilverError> {
        for share in winners.chunks(WRITE_ROWS) {
            let rows = newest.rows_of(share).map_err(|e| arrow_error(settings, e))?;
            let rows: RecordBatch =
                conform(self.place.table.name(), rows, self.place.schema.arrow())?;
            self.writer.write(&rows).await?;
        }
        Ok(())
    }

    pub(super) async fn close(self) -> Result<Deletes, SilverError> {
        let add = self.writer.close().await?;
        let DeletesTable { table, changed, .. } = self.place;
        Ok(Deletes { table, schema: changed, add })
    }
}
