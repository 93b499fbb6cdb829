//! Ids and sequence numbers of snapshots, as types, so that the two are never confused.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A snapshot's id: unique within its table, in no order (Iceberg spec, "Snapshots").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(pub i64);

/// A snapshot's position in the order of all commits to its table, rolled back or not (Iceberg spec, "Sequence
/// Numbers").
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SequenceNumber(pub i64);

impl SequenceNumber {
    /// The one after it.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SnapshotId {
    type Err = ParseIntError;

    /// With quotes around it, too, as JSON has it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        bare.unwrap_or(text).parse().map(Self)
    }
}
