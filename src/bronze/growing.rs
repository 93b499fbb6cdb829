//! The table's schema while the objects of a batch add columns to it.

use std::collections::HashSet;
use std::sync::Arc;

use super::Bronze;
use super::outcome::Stop;
use super::provenance::with_own_columns;
use super::staged::{LaidOut, OpenObject};
use crate::format::RowReader;
use crate::format::layout::{Layout, lay_out};
use crate::lake::{LakeError, Table, TableSchema};
use crate::source::{ObjectId, RawObject};

/// See the module.
#[derive(Default)]
pub(super) struct Growing {
    pub(super) table: Option<Table>,
    /// The table's schema and the columns that the batch adds; none before the first object.
    pub(super) schema: Option<TableSchema>,
    /// One object version twice in a batch is one object.
    seen: HashSet<ObjectId>,
}

impl Growing {
    /// For a table as it was loaded; none where it does not exist yet.
    pub(super) fn of(table: Option<Table>) -> Self {
        Self { table, ..Self::default() }
    }
}

impl Bronze {
    /// Lays an object out against the schema so far, and adds its new columns to that.
    pub(super) async fn lay_out(
        &self,
        opened: OpenObject,
        growing: &mut Growing,
    ) -> Result<LaidOut, Stop> {
        let OpenObject { object, reader } = opened;
        if !growing.seen.insert(object.id.clone()) {
            return Err(Stop::Repeated(object.id));
        }
        // A file without rows brings no columns: their types would be guesses from nothing.
        if reader.sample().is_none() {
            return Ok(LaidOut { object, reader, layout: Layout::default(), target: None });
        }
        let loaded = || growing.table.as_ref().map(|table| table.schema().clone());
        let known = growing.schema.clone().or_else(loaded);
        let mut layout = self.layout(&object, &*reader, known.as_ref())?;
        if !layout.new_columns.is_empty() {
            self.prove(&object, &layout).await?;
        }
        warn_of_guesses(&object, &layout);
        let table = self.target(&layout, growing.table.clone()).await?;
        growing.table = Some(table.clone());
        let schema = match known {
            Some(schema) => schema,
            // Another worker may have created the table meanwhile: its columns count.
            None => {
                layout = self.layout(&object, &*reader, Some(table.schema()))?;
                table.schema().clone()
            }
        };
        let needed = with_own_columns(&layout.new_columns);
        let extended = schema.extended(table.name(), &needed, table.last_column_id())?;
        let schema = extended.unwrap_or(schema);
        growing.schema = Some(schema.clone());
        Ok(LaidOut { object, reader, layout, target: Some((table, schema)) })
    }

    fn layout(
        &self,
        object: &RawObject,
        reader: &dyn RowReader,
        table: Option<&TableSchema>,
    ) -> Result<Layout, Stop> {
        let table = table.map(|schema| &**schema.arrow());
        lay_out(reader, &self.settings.declared, table, self.settings.schema_change)
            .map_err(|error| Stop::format(object, error))
    }

    /// The table, created with the columns of the first object where it does not exist.
    async fn target(&self, layout: &Layout, table: Option<Table>) -> Result<Table, LakeError> {
        match table {
            Some(table) => Ok(table),
            None => {
                let first = Arc::new(with_own_columns(&layout.new_columns));
                self.lake.find_or_create(&self.settings.table, &first, None).await
            }
        }
    }
}

fn warn_of_guesses(object: &RawObject, layout: &Layout) {
    if !layout.without_values.is_empty() {
        tracing::warn!(
            uri = object.id.uri,
            columns = layout.without_values.join(", "),
            "columns without a value in the first rows become strings; declare their types in [pipeline.csv.columns]"
        );
    }
}
