//! The checkpoint of silver: its position, as JSON for people, and a request to merge from an earlier
//! one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;

/// How far bronze was merged into silver (`<pipeline>/silver.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilverCheckpoint {
    /// See [`crate::checkpoint::FORMAT_VERSION`].
    pub format_version: u32,
    /// The silver table.
    pub table: String,
    /// UUID of the bronze table.
    pub bronze_table_uuid: Option<String>,
    /// The bronze snapshot merged through.
    pub bronze_snapshot_id: Option<i64>,
    /// Its sequence number.
    pub bronze_sequence_number: Option<i64>,
    /// The next merge starts after this bronze snapshot instead, once (`checkpoint rewind`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewind: Option<Rewind>,
    /// When this was written.
    pub updated_at: DateTime<Utc>,
}

/// Where the next merge starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewind {
    /// After this bronze snapshot; none: from the beginning.
    pub after_snapshot_id: Option<i64>,
}

impl Checkpoint for SilverCheckpoint {
    const FILE: &'static str = "silver.json";
}
