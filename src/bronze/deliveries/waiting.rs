//! The deliveries that wait, for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use super::{WAITS_FOR, WHOLE, folder_of, id_of};
use crate::bronze::Bronze;
use crate::ledger::{Ledger, ObjectOutcome, states};
use crate::sql::SqlError;
use crate::sql::session::{query, session};

/// A delivery that is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingDelivery {
    /// Its folder.
    pub folder: String,
    /// Objects of it that wait.
    pub objects: u64,
    /// When the first of them was seen.
    pub since: DateTime<Utc>,
    /// What it waits for, or why it is refused.
    pub waits_for: String,
    /// The word for why it is refused.
    pub reason: Option<String>,
}

/// The subject of errors.
const WHAT: &str = "the query of the ledger";

/// What is known of a folder so far.
#[derive(Debug, Default)]
struct Folder {
    is_open: bool,
    objects: u64,
    since: Option<DateTime<Utc>>,
    waits_for: String,
    reason: Option<String>,
}

impl Bronze {
    /// The deliveries that wait, oldest first. `memory`: bytes that the query may hold.
    pub async fn waiting_deliveries(
        &self,
        memory: usize,
    ) -> Result<Vec<WaitingDelivery>, SqlError> {
        waiting(&self.ledger, memory, |uri| self.settings.is_marker(uri)).await
    }
}

async fn waiting(
    ledger: &Ledger,
    memory: usize,
    is_marker: impl Fn(&str) -> bool,
) -> Result<Vec<WaitingDelivery>, SqlError> {
    let failed = |e| SqlError::of(WHAT, e);
    let Some(table) = ledger.as_table().await? else { return Ok(vec![]) };
    let context = session(memory)?;
    context.register_table("ledger", Arc::new(table)).map_err(failed)?;
    let sql = format!(
        "SELECT source_uri, source_version, reason, error, finished_at FROM ({})
         WHERE outcome = '{}' ORDER BY source_uri",
        states("ledger"),
        ObjectOutcome::Waiting
    );
    let frame = query(&context, WHAT, &sql).await?;
    let mut batches = frame.execute_stream().await.map_err(failed)?;
    let (mut folders, mut last) = (BTreeMap::<String, Folder>::new(), String::new());
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        for row in 0..batch.num_rows() {
            note(&mut folders, &batch, row, (&mut last, &is_marker));
        }
    }
    let open = folders.into_iter().filter(|(_, folder)| folder.is_open);
    let mut all: Vec<WaitingDelivery> = open
        .map(|(uri, folder)| WaitingDelivery {
            folder: uri,
            objects: folder.objects,
            since: folder.since.unwrap_or_default(),
            waits_for: folder.waits_for,
            reason: folder.reason,
        })
        .collect();
    all.sort_by(|a, b| (a.since, &a.folder).cmp(&(b.since, &b.folder)));
    Ok(all)
}

fn note(
    folders: &mut BTreeMap<String, Folder>,
    batch: &RecordBatch,
    row: usize,
    (last, is_marker): (&mut String, &impl Fn(&str) -> bool),
) {
    let text = |column: usize| {
        let values = batch.column(column).as_string::<i32>();
        values.is_valid(row).then(|| values.value(row))
    };
    let micros = batch.column(4).as_primitive::<TimestampMicrosecondType>().value(row);
    let at = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    let uri = text(0).unwrap_or_default();
    let folder = folders.entry(id_of(folder_of(uri), WHOLE).uri).or_default();
    match text(1) {
        Some(WHOLE) => folder.is_open = true,
        Some(WAITS_FOR) => {
            folder.waits_for = text(3).unwrap_or_default().to_owned();
            folder.reason = text(2).map(str::to_owned);
            return;
        }
        // What says that it is complete is none of its objects; and of several versions of one, the newest counts.
        _ if uri == last || is_marker(uri) => {}
        _ => {
            folder.objects += 1;
            last.clear();
            last.push_str(uri);
        }
    }
    folder.since = Some(folder.since.map_or(at, |since| since.min(at)));
}
