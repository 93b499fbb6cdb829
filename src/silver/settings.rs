//! What a pipeline says about its silver table.

use sha2::{Digest, Sha256};

use crate::lake::TableName;
use crate::sql::rowwise::Rowwise;

/// What happens to rows with a null in their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NullKeys {
    /// They stay in bronze and are counted.
    #[default]
    Skip,
    /// Null is a value like any other.
    Equal,
}

/// What happens when rows were taken out of bronze.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBronzeDelete {
    /// The merge stops and says what to do.
    #[default]
    Fail,
    /// Such snapshots are passed over.
    Ignore,
}

/// What a pipeline says about its silver table.
#[derive(Debug, Clone)]
pub struct SilverSettings {
    /// The pipeline's name.
    pub pipeline: String,
    /// The bronze table.
    pub bronze: TableName,
    /// The silver table.
    pub table: TableName,
    /// The columns that make a key.
    pub keys: Vec<String>,
    /// The columns that say which row is newer, before silversmith's own.
    pub order_by: Vec<String>,
    /// `select` and `delete_when`.
    pub rows: Rowwise,
    /// A text of what the mark's hash is taken of: keys, order, select, delete_when, null keys.
    pub identity: String,
    /// See [`NullKeys`].
    pub null_keys: NullKeys,
    /// See [`OnBronzeDelete`].
    pub on_bronze_delete: OnBronzeDelete,
    /// What one pass of a merge may cost in memory, see [`crate::lake::scan::FileTask::merge_cost`].
    pub merge_cost: u64,
}

/// silversmith's own columns that order rows after `order_by`, and that silver keeps.
pub const OWN_ORDER: [&str; 4] = ["_event_time", "_source_uri", "_source_version", "_source_row"];

impl SilverSettings {
    /// The whole order: `order_by`, then silversmith's own columns. It is total: the last three
    /// name one row of bronze.
    pub fn order(&self) -> Vec<String> {
        let own = OWN_ORDER.iter().map(|c| (*c).to_owned());
        let mut order = self.order_by.clone();
        order.extend(own.filter(|c| !self.order_by.contains(c)));
        order
    }

    /// Columns that silver keeps whatever `select` says.
    pub fn kept(&self) -> Vec<String> {
        let mut kept = self.keys.clone();
        kept.extend(self.order().into_iter().filter(|c| !self.keys.contains(c)));
        kept
    }

    /// The table that remembers deleted keys.
    pub fn deletes(&self) -> TableName {
        self.table.with_suffix("_deletes")
    }

    /// The hash in the mark.
    pub fn hash(&self) -> String {
        format!("{:x}", Sha256::digest(self.identity.as_bytes()))[..16].to_owned()
    }
}
