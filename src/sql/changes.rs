//! What appends added to a table between two snapshots.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::prelude::SessionContext;

use super::SqlError;
use super::time_travel::{WHAT, not_allowed};
use crate::lake::position::Position;
use crate::lake::read::provider::LakeTable;
use crate::lake::{Lake, LakeError, SequenceNumber, SnapshotId, TableName};

/// The rows that appends added in (`from`, `to`], registered as `changes`.
///
/// # Errors
/// [`LakeError::NotAppend`] when something else than appends lies between.
pub async fn register(
    lake: &Lake,
    context: &SessionContext,
    name: &TableName,
    from: Option<SnapshotId>,
    to: Option<SnapshotId>,
) -> Result<SchemaRef, SqlError> {
    let table = lake.load(name).await?;
    let find = |id: SnapshotId| {
        table
            .snapshot(id)
            .ok_or_else(|| LakeError::NoSnapshot { table: name.clone(), what: id.to_string() })
    };
    let start = from.map(find).transpose()?;
    let start = start.map(|s| Position::of(&table, &s));
    let end = to.map(find).transpose()?.map_or(SequenceNumber(i64::MAX), |s| s.sequence);
    if start.as_ref().is_some_and(|start| start.sequence > end) {
        return Err(not_allowed("--from must be older than --to"));
    }
    let diff = lake.diff(&table, start.as_ref()).await?;
    if diff.superset {
        let what = "from which the changes can be computed: its history has expired".to_owned();
        return Err(LakeError::NoSnapshot { table: name.clone(), what }.into());
    }
    let mut files = Vec::new();
    for step in diff.steps.into_iter().filter(|s| s.end.sequence <= end) {
        if step.did.removes_rows() {
            let (snapshot, operation) = (step.end.snapshot, step.did.as_str().to_owned());
            return Err(LakeError::NotAppend { table: name.clone(), snapshot, operation }.into());
        }
        files.extend(step.new_rows());
    }
    let rows = LakeTable::of_files(lake, &table, table.schema().clone(), files);
    let schema = datafusion::catalog::TableProvider::schema(&rows);
    context.register_table("changes", Arc::new(rows)).map_err(|e| SqlError::of(WHAT, e))?;
    Ok(schema)
}
