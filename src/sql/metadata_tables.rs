//! The metadata tables `t.history`, `t.snapshots` and `t.files`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use chrono::{DateTime, Utc};

use super::SqlError;
use crate::lake::{Lake, Snapshot, SnapshotId, Table};

/// Rows, or Arrow's error.
pub(super) type Rows = Result<RecordBatch, arrow::error::ArrowError>;

fn times(values: impl Iterator<Item = DateTime<Utc>>) -> ArrayRef {
    let micros = values.map(|v| v.timestamp_micros());
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("+00:00"))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Rows {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, v)| (n, v, true)))
}

pub(super) fn history(table: &Table) -> Rows {
    let line: HashSet<SnapshotId> = table.ancestors().map(|s| s.id).collect();
    let all = table.snapshots();
    batch(vec![
        ("made_current_at", times(all.iter().map(|s| s.at))),
        ("snapshot_id", Arc::new(all.iter().map(|s| Some(s.id.0)).collect::<Int64Array>())),
        (
            "parent_id",
            Arc::new(all.iter().map(|s| s.parent.map(|id| id.0)).collect::<Int64Array>()),
        ),
        (
            "is_current_ancestor",
            Arc::new(all.iter().map(|s| Some(line.contains(&s.id))).collect::<BooleanArray>()),
        ),
    ])
}

/// Snapshots as rows: id, time, operation, rows added and removed, live rows where they are known, and silversmith's
/// properties.
pub fn snapshots(all: &[Snapshot]) -> Rows {
    let number = |snapshot: &Snapshot, key: &str| -> Option<i64> {
        Some(snapshot.summary.get(key).and_then(|v| v.parse().ok()).unwrap_or(0))
    };
    let numbers = |key: &str| -> ArrayRef {
        Arc::new(all.iter().map(|s| number(s, key)).collect::<Int64Array>())
    };
    let rows = all.iter().map(|s| s.rows().map(|rows| rows as i64));
    let by_id: HashMap<SnapshotId, &Snapshot> = all.iter().map(|s| (s.id, s)).collect();
    let own = all.iter().map(|s| {
        let own: serde_json::Map<_, _> = s
            .summary
            .iter()
            .filter_map(|(k, v)| {
                Some((k.strip_prefix("silversmith.")?.to_owned(), v.clone().into()))
            })
            .collect();
        serde_json::Value::Object(own).to_string()
    });
    batch(vec![
        ("committed_at", times(all.iter().map(|s| s.at))),
        ("snapshot_id", Arc::new(all.iter().map(|s| Some(s.id.0)).collect::<Int64Array>())),
        (
            "parent_id",
            Arc::new(all.iter().map(|s| s.parent.map(|id| id.0)).collect::<Int64Array>()),
        ),
        (
            "sequence_number",
            Arc::new(all.iter().map(|s| Some(s.sequence.0)).collect::<Int64Array>()),
        ),
        (
            "operation",
            Arc::new(all.iter().map(|s| Some(s.operation.as_str())).collect::<StringArray>()),
        ),
        ("added_rows", numbers("added-records")),
        ("removed_rows", Arc::new(all.iter().map(|s| removed(s, &by_id)).collect::<Int64Array>())),
        ("total_rows", Arc::new(rows.collect::<Int64Array>())),
        ("marks", Arc::new(StringArray::from_iter_values(own))),
    ])
}

/// The rows that a snapshot removed: those of before and the added ones that it does not have. Delete files name rows,
/// and a file that is written again loses only some of its rows, so the summary says it only where nothing else does.
fn removed(snapshot: &Snapshot, by_id: &HashMap<SnapshotId, &Snapshot>) -> Option<i64> {
    let number = |name: &str| -> i64 {
        snapshot.summary.get(name).and_then(|n| n.parse().ok()).unwrap_or_default()
    };
    let before = match snapshot.parent {
        Some(parent) => by_id.get(&parent).and_then(|before| before.rows()),
        None => Some(0),
    };
    let removed = before
        .zip(snapshot.rows())
        .map(|(before, after)| before as i64 + number("added-records") - after as i64);
    removed.filter(|removed| *removed >= 0).or_else(|| Some(number("deleted-records")))
}

pub(super) async fn files(
    lake: &Lake,
    table: &Table,
    snapshot: Option<SnapshotId>,
) -> Result<Rows, SqlError> {
    let files = lake.files_of(table, snapshot, &[]).await?;
    let rows = files.iter().map(|f| f.rows().map(|r| r as i64));
    let bytes = files.iter().map(|f| Some(f.bytes() as i64));
    Ok(batch(vec![
        ("file_path", Arc::new(StringArray::from_iter_values(files.iter().map(|f| f.path())))),
        ("rows", Arc::new(rows.collect::<Int64Array>())),
        ("bytes", Arc::new(bytes.collect::<Int64Array>())),
    ]))
}
