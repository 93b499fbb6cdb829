//! Computes a gold table in full: its query runs over its sources as they are, and its rows go into new files.

use std::sync::Arc;

use datafusion::datasource::TableProvider;
use futures::TryStreamExt;

use super::sources::Sources;
use super::{GoldError, GoldSettings, SILVER};
use crate::lake::read::arrow::conform;
use crate::lake::read::provider::LakeTable;
use crate::lake::write::data::DataWriter;
use crate::lake::{Lake, LakeError, Table, TableName, TableSchema, Uncommitted, storable};
use crate::sql::SqlError;
use crate::sql::session::session;
use crate::sql::table_query::TableQuery;

/// A table's new content, written, not committed.
pub(super) struct Computed {
    pub(super) target: Table,
    pub(super) schema: Option<TableSchema>,
    pub(super) files: Uncommitted,
}

/// Computes the table. None: it was not there, and a rival has made and computed it meanwhile.
pub(super) async fn compute(
    lake: &Lake,
    settings: &GoldSettings,
    sources: &Sources,
    gold: Option<Table>,
) -> Result<Option<Computed>, GoldError> {
    let what = settings.what();
    let failed = |e| SqlError::of(&what, e);
    let context = session(settings.memory)?;
    let rows = |name: &TableName| -> Result<Arc<dyn TableProvider>, SqlError> {
        let source = sources.of(name).ok_or_else(|| LakeError::NotFound(name.clone()))?;
        // The state that was loaded, under its newest schema.
        Ok(Arc::new(LakeTable::at(lake, &source.table, None)?))
    };
    if let Some(silver) = &settings.silver {
        context.register_table(SILVER, rows(silver)?).map_err(failed)?;
    }
    let query = TableQuery::parse(&what, &settings.sql, &[SILVER])?;
    let mut rows = query.plan(&context, rows).await?.execute_stream().await.map_err(failed)?;
    let output = Arc::new(storable(&rows.schema()));
    let made = gold.is_none();
    let partition_by = settings.partition_by.as_deref();
    let target = match gold {
        Some(gold) => gold,
        None => lake.find_or_create(&settings.table, &output, partition_by).await?,
    };
    if made && target.current().is_some() {
        return Ok(None);
    }
    let schema = target.schema().replaced(target.name(), &output, target.last_column_id())?;
    let into = schema.clone().unwrap_or_else(|| target.schema().clone());
    let before = target.current().map(|tip| tip.id);
    let target = lake.partitioned(target, partition_by, &into).await?;
    if target.current().map(|tip| tip.id) != before {
        // It was loaded again: a rival has refreshed it.
        return Ok(None);
    }
    let mut writer = DataWriter::new(lake, &target, &into)?;
    while let Some(batch) = rows.try_next().await.map_err(failed)? {
        writer.write(&conform(target.name(), batch, into.arrow())?).await?;
    }
    let files = writer.close().await?;
    Ok(Some(Computed { target, schema, files }))
}
