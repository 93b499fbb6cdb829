//! The rules of a merge: keys, order, and which rows it takes from the source.

use crate::lake::TableName;
use crate::lake::read::scan::FileTask;
use crate::sql::select::Rowwise;

/// What happens to rows with a null in their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NullKeys {
    /// They stay in the source and are counted.
    #[default]
    Skip,
    /// Null is a value like any other.
    Equal,
}

/// The rules of a merge.
#[derive(Debug, Clone)]
pub struct MergeRules {
    /// The target table.
    pub table: TableName,
    /// The table of deleted keys.
    pub tombstones: TableName,
    /// The columns that make a key.
    pub keys: Vec<String>,
    /// The columns that say which row is newer, the most important first. The order that they make is
    /// total.
    pub order: Vec<String>,
    /// Of the columns of key and order, those whose rescued cells exclude their rows from the merge.
    pub exact: Vec<String>,
    /// Which rows it takes from the source, and which of them delete their key.
    pub rows: Rowwise,
    /// See [`NullKeys`].
    pub null_keys: NullKeys,
    /// What one pass of a merge may cost in memory, see [`FileTask::merge_cost`].
    pub merge_cost: u64,
}

/// Passes over one range at most.
const MAX_PASSES: u64 = 65_536;

impl MergeRules {
    /// The passes that a merge of these files takes, each over a share of the keys (I7).
    pub fn passes(&self, files: &[FileTask]) -> u64 {
        let cost: u64 = files.iter().map(FileTask::merge_cost).sum();
        cost.div_ceil(self.merge_cost.max(1)).clamp(1, MAX_PASSES)
    }

    /// The columns that the target keeps, whatever `select` says.
    pub fn kept(&self) -> Vec<String> {
        let mut kept = self.keys.clone();
        kept.extend(self.order.iter().filter(|c| !self.keys.contains(c)).cloned());
        kept
    }
}
