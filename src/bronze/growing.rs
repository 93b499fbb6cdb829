//! The table's schema while the objects of a batch add columns to it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};

use super::Bronze;
use super::outcome::Stop;
use super::provenance::with_own_columns;
use super::staged::{LaidOut, OpenObject};
use crate::format::RowReader;
use crate::format::feed::TypeChange;
use crate::format::layout::{Layout, check_without_rows, lay_out};
use crate::lake::{LakeError, Table, TableSchema, widened};
use crate::source::{ObjectId, RawObject};

/// See the module.
#[derive(Default)]
pub(super) struct Growing {
    pub(super) table: Option<Table>,
    /// The table's schema and the columns that the batch adds; none before the first object.
    pub(super) schema: Option<TableSchema>,
    /// Columns that the batch needs for cells that do not fit.
    texts: BTreeSet<String>,
    /// One object version twice in a batch is one object.
    seen: HashSet<ObjectId>,
}

impl Growing {
    /// For a table as it was loaded; none where it does not exist yet.
    pub(super) fn of(table: Option<Table>, texts: &BTreeSet<String>) -> Self {
        Self { table, texts: texts.clone(), ..Self::default() }
    }
}

impl Bronze {
    /// Lays an object out against the schema so far, and adds its new columns to that.
    pub(super) async fn lay_out(
        &self,
        opened: OpenObject,
        growing: &mut Growing,
    ) -> Result<LaidOut, Stop> {
        let OpenObject { object, asked, reader } = opened;
        if !growing.seen.insert(object.id.clone()) {
            return Err(Stop::Repeated(object.id));
        }
        let loaded = || growing.table.as_ref().map(|table| table.schema().clone());
        let known = growing.schema.clone().or_else(loaded);
        // A file without rows brings no columns: their types would be guesses from nothing.
        if reader.sample().is_none() {
            let table = known.as_ref().map(|schema| self.wide(schema));
            check_without_rows(&*reader, &self.settings.feed, table.as_ref())
                .map_err(|error| Stop::format(&object, error))?;
            let layout = Layout::default();
            return Ok(LaidOut { object, asked, reader, layout, target: None });
        }
        let mut layout = self.layout(&object, &*reader, known.as_ref())?;
        if !layout.new_columns.is_empty() {
            let lacking = self.prove(&object, &layout).await?;
            if !lacking.is_empty() {
                let table = known.as_ref().map(|schema| self.wide(schema));
                layout
                    .grow(&lacking, &self.settings.feed, table.as_ref())
                    .map_err(|error| Stop::format(&object, error))?;
                // With the cells of these columns, more of it may not fit.
                if self.may_refuse_cells() {
                    self.prove(&object, &layout).await?;
                }
            }
        }
        warn_of_guesses(&object, &layout);
        let table = self.target(&layout, growing.table.clone()).await?;
        let schema = match known {
            Some(schema) => schema,
            // Another worker may have created the table meanwhile: its columns count.
            None => {
                layout = self.layout(&object, &*reader, Some(table.schema()))?;
                table.schema().clone()
            }
        };
        let mut columns = self.widened_columns(&schema);
        columns.extend(layout.new_columns.iter().cloned());
        columns.extend(layout.take_missing(&growing.texts));
        let needed = with_own_columns(&columns);
        let extended = schema.extended(table.name(), &needed, table.last_column_id())?;
        let schema = extended.unwrap_or(schema);
        let partition_by = self.settings.partition_by.as_deref();
        let table = self.lake.partitioned(table, partition_by, &schema).await?;
        growing.table = Some(table.clone());
        growing.schema = Some(schema.clone());
        Ok(LaidOut { object, asked, reader, layout, target: Some((table, schema)) })
    }

    /// Whether an object may be rejected because cells of it do not fit.
    fn may_refuse_cells(&self) -> bool {
        self.settings.max_rescued.is_some() || self.settings.feed.type_change == TypeChange::Fail
    }

    fn layout(
        &self,
        object: &RawObject,
        reader: &dyn RowReader,
        table: Option<&TableSchema>,
    ) -> Result<Layout, Stop> {
        let table = table.map(|schema| self.wide(schema));
        lay_out(reader, &self.settings.feed, table.as_ref())
            .map_err(|error| Stop::format(object, error))
    }

    /// The columns of the table whose declared type is a wider one, with that.
    fn widened_columns(&self, schema: &TableSchema) -> Vec<FieldRef> {
        let fields = schema.arrow().fields().iter();
        let wider = fields.filter_map(|field| {
            let kind = widened(field.data_type(), self.settings.feed.declared(field.name())?)?;
            let wide = || Arc::new(field.as_ref().clone().with_data_type(kind.clone()));
            (kind != *field.data_type()).then(wide)
        });
        wider.collect()
    }

    /// The columns of the table as they are once these are widened.
    fn wide(&self, schema: &TableSchema) -> Schema {
        let wider = self.widened_columns(schema);
        let fields = schema.arrow().fields().iter().map(|field| {
            wider.iter().find(|wide| wide.name() == field.name()).unwrap_or(field).clone()
        });
        Schema::new(fields.collect::<Vec<_>>())
    }

    /// The table, created with the columns of the first object where it does not exist.
    async fn target(&self, layout: &Layout, table: Option<Table>) -> Result<Table, LakeError> {
        match table {
            Some(table) => Ok(table),
            None => {
                let first = Arc::new(with_own_columns(&layout.new_columns));
                let partition_by = self.settings.partition_by.as_deref();
                self.lake.find_or_create(&self.settings.table, &first, partition_by).await
            }
        }
    }
}

fn warn_of_guesses(object: &RawObject, layout: &Layout) {
    if !layout.without_values.is_empty() {
        tracing::warn!(
            uri = object.id.uri,
            columns = layout.without_values.join(", "),
            "columns without a value in the first rows become strings; declare their types in [pipeline.columns]"
        );
    }
}
