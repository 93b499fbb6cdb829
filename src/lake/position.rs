//! Positions: how far a table's history was consumed.

use iceberg::spec::Operation;

use super::{SequenceNumber, Snapshot, SnapshotId, Table};

/// A point in a table's history: everything up to and including that snapshot was consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The table's UUID.
    pub table: String,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its sequence number.
    pub sequence: SequenceNumber,
}

impl Position {
    /// The position of a snapshot of `table`.
    pub fn of(table: &Table, snapshot: &Snapshot) -> Self {
        Self { table: table.uuid(), snapshot: snapshot.id, sequence: snapshot.sequence }
    }
}

/// Where a position stands in a table's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is in the line of ancestors: the diff is exact.
    InHistory,
    /// The line was cut off above it by expiry.
    Expired,
    /// It is newer than the loaded state of the table: another writer has committed since.
    Ahead,
    /// It is not in the line although the line reaches that far: rolled back, or another table.
    RolledBack,
}

/// Where `position` stands in the table's history.
pub fn standing(table: &Table, position: &Position) -> Standing {
    if position.table != table.uuid() {
        return Standing::RolledBack;
    }
    if table.line().any(|s| s.snapshot_id() == position.snapshot.0) {
        return Standing::InHistory;
    }
    // A rollback leaves last-sequence-number where it was (Iceberg spec, "Sequence Numbers").
    if position.sequence > table.last_sequence() {
        return Standing::Ahead;
    }
    match table.line().last() {
        Some(oldest)
            if oldest.parent_snapshot_id().is_some()
                && position.sequence.0 < oldest.sequence_number() =>
        {
            Standing::Expired
        }
        _ => Standing::RolledBack,
    }
}

/// Whether a table has the rows that it had at `position`: only files were rewritten since.
pub fn has_same_rows(table: &Table, position: &Position) -> bool {
    let mut since = table.line().take_while(|s| s.snapshot_id() != position.snapshot.0);
    standing(table, position) == Standing::InHistory
        && since.all(|s| s.summary().operation == Operation::Replace)
}

/// The sequence number up to which a table is consumed at a position: nothing, where the position is not of this
/// history.
pub fn consumed(table: &Table, position: Option<&Position>) -> SequenceNumber {
    match position {
        Some(position) if standing(table, position) != Standing::RolledBack => position.sequence,
        Some(_) | None => SequenceNumber::default(),
    }
}
