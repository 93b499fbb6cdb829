//! `objects --of`: from rows of a table back to the object, the row in it, its batch, and the snapshots that it went
//! through.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use super::exit::Usage;
use super::output::{Format, print_stream};
use crate::bronze::BATCH;
use crate::lake::{Snapshot, Table, TableName};
use crate::ledger::states;
use crate::pipeline::{Pipeline, Wired};
use crate::silver::MERGED;
use crate::sql::parse::quoted;
use crate::sql::session::{query, session};
use crate::sql::{WHAT, metadata_tables, statement};

/// A row is followed by these columns.
const SOURCE: &str = "_source_uri, _source_version, _source_row, _event_time";

/// Prints where the rows of `table` that meet a condition came from.
pub(super) async fn run(
    wired: &Wired,
    table: &TableName,
    condition: Option<&str>,
    format: Format,
) -> anyhow::Result<()> {
    let (pipeline, keys) = writer(wired, table)?;
    let context = session(wired.settings.memory().queries_of_a_command())?;
    let keys: String = keys.iter().map(|key| format!("{}, ", quoted(key))).collect();
    let sql = format!(
        "SELECT {keys}{SOURCE} FROM {}.{} WHERE ({})",
        quoted(table.namespace()),
        quoted(table.table()),
        condition.unwrap_or("true")
    );
    let rows = statement::query(&wired.lake, &context, &sql).await?;
    context.register_table("found", rows.into_view())?;
    history(wired, pipeline, &context).await?;
    let ledger = match pipeline.bronze.ledger().as_table().await? {
        Some(ledger) => {
            context.register_table("ledger", Arc::new(ledger))?;
            states("ledger")
        }
        None => {
            let why = format!("pipeline {} has ingested nothing yet", pipeline.settings.name);
            return Err(Usage(why).into());
        }
    };
    let sql = format!(
        "SELECT f.*, l.batch_id, b.snapshot_id AS bronze_snapshot, b.committed_at AS bronze_committed_at, \
           s.snapshot_id AS silver_snapshot, s.committed_at AS silver_merged_at \
         FROM found f \
         LEFT JOIN ({ledger}) l ON l.source_uri = f._source_uri AND l.source_version = f._source_version \
           AND date_trunc('second', l.last_modified) = date_trunc('second', f._event_time) \
         LEFT JOIN of_bronze b ON b.batch_id = l.batch_id \
         LEFT JOIN of_silver s ON s.above < b.sequence_number AND b.sequence_number <= s.through \
         ORDER BY f._source_uri, f._source_row"
    );
    let rows = query(&context, WHAT, &sql).await?.execute_stream().await?;
    print_stream(rows, format).await.map(drop)
}

/// The pipeline that writes a table whose rows have a source, and the columns that identify a row.
fn writer<'a>(wired: &'a Wired, table: &TableName) -> anyhow::Result<(&'a Pipeline, &'a [String])> {
    for pipeline in &wired.pipelines {
        let silver = pipeline.settings.silver.as_ref();
        if let Some(silver) = silver.filter(|silver| silver.rules.table == *table) {
            return Ok((pipeline, &silver.rules.keys));
        }
        if pipeline.settings.bronze.table == *table {
            return Ok((pipeline, &[]));
        }
    }
    let why = format!("--of: {table} is neither bronze nor silver of a pipeline");
    Err(Usage(why).into())
}

/// Registers the batches of bronze with their snapshots, and the snapshots of silver with what each merged. Of those
/// that have expired nothing is known.
async fn history(
    wired: &Wired,
    pipeline: &Pipeline,
    context: &SessionContext,
) -> anyhow::Result<()> {
    let bronze = wired.lake.find(&pipeline.settings.bronze.table).await?;
    let silver = match &pipeline.settings.silver {
        Some(silver) => wired.lake.find(&silver.rules.table).await?,
        None => None,
    };
    let snapshots = |table: Option<Table>| table.map(|table| table.snapshots()).unwrap_or_default();
    let (bronze, silver) = (snapshots(bronze), snapshots(silver));
    let batches = bronze.iter().map(|snapshot| snapshot.summary.get(BATCH));
    let batches = Arc::new(batches.collect::<StringArray>());
    register(context, "of_bronze", &bronze, vec![("batch_id", batches)])?;
    // A merge of a range that another one had merged before is not the first that had the row.
    let (mut above, mut through, mut reached) = (Vec::new(), Vec::new(), 0);
    for snapshot in &silver {
        let merged = snapshot.summary.get(&format!("{MERGED}-sequence-number"));
        let merged = merged.and_then(|text| text.parse::<i64>().ok());
        above.push(merged.map(|_| reached));
        through.push(merged);
        reached = reached.max(merged.unwrap_or(reached));
    }
    let (above, through) = (Int64Array::from(above), Int64Array::from(through));
    let range: Vec<(&str, ArrayRef)> =
        vec![("above", Arc::new(above)), ("through", Arc::new(through))];
    register(context, "of_silver", &silver, range)
}

/// Registers snapshots as `t.snapshots` has them, with more columns.
fn register(
    context: &SessionContext,
    name: &str,
    snapshots: &[Snapshot],
    more: Vec<(&str, ArrayRef)>,
) -> anyhow::Result<()> {
    let batch = metadata_tables::snapshots(snapshots)?;
    let schema = batch.schema();
    let own =
        schema.fields().iter().map(|field| field.name().as_str()).zip(batch.columns().to_vec());
    let columns = own.chain(more).map(|(name, values)| (name, values, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    context.register_table(name, Arc::new(table))?;
    Ok(())
}
