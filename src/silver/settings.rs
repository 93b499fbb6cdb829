//! The settings of a silver table.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::lake::TableName;
use crate::merge::MergeRules;
use crate::sql::select::SEQUENCE;

/// What happens when another program deleted rows from bronze.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBronzeDelete {
    /// The merge stops and says what to do.
    #[default]
    Fail,
    /// Such snapshots are skipped.
    Ignore,
}

/// The settings of a silver table.
#[derive(Debug, Clone)]
pub struct SilverSettings {
    /// The pipeline's name.
    pub pipeline: String,
    /// The bronze table.
    pub bronze: TableName,
    /// The silver table, its keys, order, `select` and `delete_when`.
    pub rules: MergeRules,
    /// The text that is hashed for the configuration property: keys, order, select, delete_when, null keys, history.
    pub identity: String,
    /// See [`OnBronzeDelete`].
    pub on_bronze_delete: OnBronzeDelete,
    /// What one commit merges at most of several bronze snapshots, in [`FileTask::merge_cost`]: progress survives a
    /// restart.
    ///
    /// [`FileTask::merge_cost`]: crate::lake::read::scan::FileTask::merge_cost
    pub most_merged: u64,
    /// How long deleted keys are remembered; none: for ever.
    pub tombstone_retention: Option<Duration>,
    /// Bytes of memory for counting what a rebuild would lose.
    pub memory: usize,
}

/// The default of [`SilverSettings::most_merged`]: some millions of rows.
pub const MOST_MERGED: u64 = 1024 * 1024 * 1024;

/// silversmith's own columns of which the rows of a file have the same value.
pub const REPEATED: [&str; 2] = ["_source_uri", "_source_version"];

/// silversmith's own columns that order rows after `order_by`, and that silver keeps.
/// Sequences compare for one URI only, so they come after it.
const OWN_ORDER: [&str; 5] =
    ["_event_time", "_source_uri", SEQUENCE, "_source_version", "_source_row"];

/// The whole order: `order_by`, then silversmith's own columns. It is total: the last three name one row
/// of bronze. It is no part of the configuration that is hashed, so silver tables of before stay as they are.
pub fn whole_order(order_by: &[String]) -> Vec<String> {
    let own = OWN_ORDER.iter().map(|c| (*c).to_owned());
    let mut order = order_by.to_vec();
    order.extend(own.filter(|c| !order_by.contains(c)));
    order
}

impl SilverSettings {
    /// The value of the configuration property.
    pub fn hash(&self) -> String {
        format!("{:x}", Sha256::digest(self.identity.as_bytes()))[..16].to_owned()
    }
}
