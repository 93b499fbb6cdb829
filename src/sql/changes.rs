//! What changed in a table between two snapshots, row by row: inserted, updated with the row before and after, deleted.
//!
//! Only the files that differ are read. A row that is in both states, wherever it is stored, is no change: what was
//! written again by copy-on-write or by compaction cancels out.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::prelude::{DataFrame, SessionContext};

use super::between::Between;
use super::keys::TableKeys;
use super::parse::quoted;
use super::session::query;
use super::{SqlError, WHAT, not_allowed};
use crate::lake::read::provider::LakeTable;
use crate::lake::read::scan::FileTask;
use crate::lake::{Lake, LakeError, Snapshot, SnapshotId, Table};

/// The column that says what happened to a row, as Spark's `create_changelog_view` names it.
const CHANGE: &str = "_change_type";

/// The changes, as rows of the table with `_change_type`: `insert`, `update_before`, `update_after`, `delete`. `name`
/// begins the names of what is registered in the session for it.
///
/// # Errors
/// [`LakeError::NoSnapshot`] where a snapshot is not there, or has expired.
pub async fn changes(
    lake: &Lake,
    context: &SessionContext,
    name: &str,
    between: &Between,
) -> Result<DataFrame, SqlError> {
    let table = lake.load(&between.table).await?;
    let find = |id: SnapshotId| {
        let what = id.to_string();
        let missing = || LakeError::NoSnapshot { table: between.table.clone(), what };
        table.snapshot(id).ok_or_else(missing)
    };
    let from = between.from.map(find).transpose()?;
    let to = between.to.map(find).transpose()?.or_else(|| table.current());
    if let (Some(from), Some(to)) = (&from, &to)
        && from.sequence > to.sequence
    {
        return Err(not_allowed("--from must be older than --to"));
    }
    let schema = match &to {
        Some(to) => lake.schema_at(&table, to.id)?,
        None => table.schema().clone(),
    };
    let (before, after) = differing(lake, &table, from.as_ref(), to.as_ref()).await?;
    let rows = |files| LakeTable::of_files(lake, &table, schema.clone(), files);
    let keys = context.state().config().get_extension::<TableKeys>();
    let keys = keys.and_then(|keys| keys.0.get(&between.table).cloned()).unwrap_or_default();
    compare(context, name, (rows(before), rows(after)), &keys).await
}

/// The files of each state that the other does not have with the same deletes.
async fn differing(
    lake: &Lake,
    table: &Table,
    from: Option<&Snapshot>,
    to: Option<&Snapshot>,
) -> Result<(Vec<FileTask>, Vec<FileTask>), LakeError> {
    let files = async |at: Option<&Snapshot>| match at {
        Some(at) => lake.files_of(table, Some(at.id), &[]).await,
        None => Ok(vec![]),
    };
    let (mut before, mut after) = (files(from).await?, files(to).await?);
    let of_before: HashMap<String, Vec<String>> =
        before.iter().map(|file| (file.path().to_owned(), file.deletes())).collect();
    let of_after: HashMap<String, Vec<String>> =
        after.iter().map(|file| (file.path().to_owned(), file.deletes())).collect();
    before.retain(|file| of_after.get(file.path()) != Some(&file.deletes()));
    after.retain(|file| of_before.get(file.path()) != Some(&file.deletes()));
    Ok((before, after))
}

/// Rows that are in one state more often than in the other, each with what happened to it.
async fn compare(
    context: &SessionContext,
    name: &str,
    (before, after): (LakeTable, LakeTable),
    keys: &[String],
) -> Result<DataFrame, SqlError> {
    let failed = |e| SqlError::of(WHAT, e);
    let (old, new) = (format!("{name}_before"), format!("{name}_after"));
    let fields = after.schema();
    let columns: Vec<String> = fields.fields().iter().map(|field| quoted(field.name())).collect();
    context.register_table(old.as_str(), Arc::new(before)).map_err(failed)?;
    context.register_table(new.as_str(), Arc::new(after)).map_err(failed)?;
    query(context, WHAT, &sql(&columns, keys, (&quoted(&old), &quoted(&new)))).await
}

/// A row counts 1 where it is there after, and -1 where it was there before: one that counts 0 has not changed.
fn sql(columns: &[String], keys: &[String], (old, new): (&str, &str)) -> String {
    let columns = columns.join(", ");
    // Rows that are alike are counted one by one; those with a key are not alike.
    let (number, one) = match keys.is_empty() {
        true => (format!(", row_number() OVER (PARTITION BY {columns}) AS __one"), ", __one"),
        false => (String::new(), ""),
    };
    let net = format!(
        "SELECT * FROM (SELECT {columns}, sum(__n) AS __net FROM ( \
           SELECT {columns}{number}, 1 AS __n FROM {new} UNION ALL \
           SELECT {columns}{number}, -1 AS __n FROM {old} \
         ) GROUP BY {columns}{one}) WHERE __net <> 0"
    );
    if keys.is_empty() {
        let kind = "CASE WHEN __net > 0 THEN 'insert' ELSE 'delete' END";
        return format!("SELECT {columns}, {kind} AS {CHANGE} FROM ({net})");
    }
    let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
    let of_key = format!("OVER (PARTITION BY {})", keys.join(", "));
    format!(
        "SELECT {columns}, CASE \
           WHEN __net > 0 AND __least < 0 THEN 'update_after' WHEN __net > 0 THEN 'insert' \
           WHEN __most > 0 THEN 'update_before' ELSE 'delete' END AS {CHANGE} \
         FROM (SELECT *, min(__net) {of_key} AS __least, max(__net) {of_key} AS __most FROM ({net}))"
    )
}
