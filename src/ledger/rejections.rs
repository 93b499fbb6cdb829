//! The objects that a snapshot of the objects table says were not taken in.

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use super::rows::{LAST_MODIFIED, ObjectOutcome, time};
use crate::lake::{Lake, LakeError, Snapshot, Table};
use crate::source::ObjectId;

/// An object that was not taken in, though it was to be.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// Which version.
    pub id: ObjectId,
    /// Rejected, or missing.
    pub outcome: ObjectOutcome,
    /// A short word for why.
    pub reason: Option<String>,
    /// The whole account of why.
    pub error: Option<String>,
    /// The batch.
    pub batch: String,
    /// When the attempt ended.
    pub finished_at: DateTime<Utc>,
}

const COLUMNS: [&str; 8] = [
    "source_uri",
    "source_version",
    LAST_MODIFIED,
    "outcome",
    "reason",
    "error",
    "batch_id",
    "finished_at",
];

/// What the files that a snapshot added tell of objects that were not taken in, in the order of the files.
pub async fn rejections(
    lake: &Lake,
    objects: &Table,
    snapshot: &Snapshot,
) -> Result<Vec<Rejection>, LakeError> {
    let columns = COLUMNS.map(str::to_owned);
    let mut found = Vec::new();
    for file in lake.step(objects, snapshot).await?.added {
        let mut rows = lake.read_file(objects, objects.schema(), &file, &columns)?;
        while let Some(batch) = rows.try_next().await? {
            let text = |at: usize| batch.column(at).as_string::<i32>();
            let times = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>();
            let optional = |at: usize, row: usize| {
                let column = text(at);
                column.is_valid(row).then(|| column.value(row).to_owned())
            };
            for row in 0..batch.num_rows() {
                let outcome = ObjectOutcome::parse(text(3).value(row));
                if !matches!(outcome, ObjectOutcome::Rejected | ObjectOutcome::Missing) {
                    continue;
                }
                found.push(Rejection {
                    id: ObjectId {
                        uri: text(0).value(row).to_owned(),
                        version: text(1).value(row).to_owned(),
                        last_modified: time(times(2).value(row)),
                    },
                    outcome,
                    reason: optional(4, row),
                    error: optional(5, row),
                    batch: text(6).value(row).to_owned(),
                    finished_at: time(times(7).value(row)),
                });
            }
        }
    }
    Ok(found)
}
