//! Dead letters where there is no queue: the ledger's rows of objects that were not ingested.
//!
//! A replay records that the object is to be ingested again, which the next listing does. A purge records that
//! the object is skipped.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::{Entry, Filter};
use crate::batch::BatchId;
use crate::ledger::{Ledger, ObjectOutcome, ObjectRow, states};
use crate::reason::Reason;
use crate::source::ObjectId;
use crate::sql::SqlError;
use crate::sql::session::{query, session};

/// The batch id of rows that are written here.
const BATCH: &str = "dlq";

/// What can go wrong with them.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// A table.
    #[error(transparent)]
    Lake(#[from] crate::lake::LakeError),
    /// The query.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Reading its answer.
    #[error("the ledger could not be read")]
    Read(#[source] datafusion::error::DataFusionError),
}

/// An object that was not ingested.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// As a dead letter.
    pub entry: Entry,
    /// Which version.
    pub id: ObjectId,
    size: Option<u64>,
}

/// The objects of a pipeline that were not ingested and that the filter selects. `memory`: bytes the query may
/// hold.
pub async fn failed(
    ledger: &Ledger,
    pipeline: &str,
    filter: &Filter,
    memory: usize,
) -> Result<Vec<Recorded>, RecordedError> {
    let Some(table) = ledger.as_table().await? else { return Ok(vec![]) };
    let context = session(memory)?;
    context.register_table("ledger", Arc::new(table)).map_err(RecordedError::Read)?;
    let sql = format!(
        "SELECT source_uri, source_version, last_modified, size, outcome, reason, error, finished_at
         FROM ({}) WHERE outcome IN ('rejected', 'missing') ORDER BY finished_at, source_uri",
        states("ledger")
    );
    let frame = query(&context, "the query of the ledger", &sql).await?;
    let mut batches = frame.execute_stream().await.map_err(RecordedError::Read)?;
    let mut all = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(RecordedError::Read)? {
        let text = |column: usize, row: usize| {
            let values = batch.column(column).as_string::<i32>();
            values.is_valid(row).then(|| values.value(row).to_owned())
        };
        let time = |column: usize, row: usize| {
            let micros = batch.column(column).as_primitive::<TimestampMicrosecondType>().value(row);
            DateTime::from_timestamp_micros(micros).unwrap_or_default()
        };
        for row in 0..batch.num_rows() {
            let id = ObjectId {
                uri: text(0, row).unwrap_or_default(),
                version: text(1, row).unwrap_or_default(),
                last_modified: time(2, row),
            };
            let size = batch.column(3).as_primitive::<Int64Type>();
            let entry = Entry {
                id: id.uri.clone(),
                at: Some(time(7, row)),
                reason: text(5, row).or_else(|| text(4, row)).unwrap_or_default(),
                error: text(6, row).unwrap_or_default(),
                pipeline: Some(pipeline.to_owned()),
                uris: vec![id.uri.clone()],
                body: String::new(),
            };
            if filter.selects(&entry) {
                let size = size.is_valid(row).then(|| size.value(row).max(0) as u64);
                all.push(Recorded { entry, id, size });
            }
        }
    }
    Ok(all)
}

/// Records a new state of objects: durable when this returns, and harmless when repeated.
pub async fn record(
    ledger: &Ledger,
    objects: &[Recorded],
    outcome: ObjectOutcome,
    now: DateTime<Utc>,
) -> Result<(), RecordedError> {
    let rows: Vec<ObjectRow> = objects
        .iter()
        .map(|object| ObjectRow {
            id: object.id.clone(),
            size: object.size,
            outcome,
            reason: Some(Reason::ByHand),
            error: None,
            rows: 0,
            rescued: Some(0),
            batch: BatchId::new(BATCH),
            finished_at: now,
        })
        .collect();
    Ok(ledger.record(&rows).await?)
}
