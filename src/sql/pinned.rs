//! Tables at a snapshot, and the metadata tables `t.history`, `t.snapshots` and `t.files`.

use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use super::SqlError;
use super::metadata_tables::{files, history, snapshots};
use super::references::{At, Reference};
use crate::lake::read::provider::LakeTable;
use crate::lake::{Lake, LakeError, Table, TableName};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Rows,
    History,
    Snapshots,
    Files,
}

/// Registers what a reference names, under its name in the session. `what` is the subject of errors.
pub(super) async fn register(
    lake: &Lake,
    context: &SessionContext,
    what: &str,
    reference: &Reference,
) -> Result<(), SqlError> {
    let (table, part) = resolve(lake, what, &reference.name).await?;
    let snapshot = match &reference.at {
        At::Now => None,
        At::Version(id) => Some(*id),
        At::Time(time) => {
            let found = table.current_at(*time).ok_or_else(|| LakeError::NoSnapshot {
                table: table.name().clone(),
                what: format!("at {time}: its history starts later"),
            })?;
            Some(found.id)
        }
    };
    let failed = |e| SqlError::of(what, e);
    let rows = match part {
        Part::Rows => {
            let rows = LakeTable::at(lake, &table, snapshot)?;
            context.register_table(&reference.registered, Arc::new(rows)).map_err(failed)?;
            return Ok(());
        }
        Part::History => history(&table),
        Part::Snapshots => snapshots(&table.snapshots()),
        Part::Files => files(lake, &table, snapshot).await?,
    };
    let rows = rows.map_err(|e| failed(e.into()))?;
    let memory = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(failed)?;
    context.register_table(&reference.registered, Arc::new(memory)).map_err(failed)?;
    Ok(())
}

async fn resolve(lake: &Lake, what: &str, parts: &[String]) -> Result<(Table, Part), SqlError> {
    let Some((last, before)) = parts.split_last() else {
        return Err(SqlError::not_allowed(what, "no table name"));
    };
    let name = TableName::new(before.join("."), last.clone());
    if let Some(table) = lake.find(&name).await? {
        return Ok((table, Part::Rows));
    }
    let part = match last.as_str() {
        "history" => Some(Part::History),
        "snapshots" => Some(Part::Snapshots),
        "files" => Some(Part::Files),
        _ => None,
    };
    if let (Some(part), Some((table, namespace))) = (part, before.split_last())
        && !namespace.is_empty()
    {
        let name = TableName::new(namespace.join("."), table.clone());
        return Ok((lake.load(&name).await?, part));
    }
    Err(LakeError::NotFound(name).into())
}
