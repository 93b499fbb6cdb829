//! The rules of a merge: keys, order, and which rows it takes from the source.

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::MergeError;
use super::order::Encoder;
use crate::lake::{PartitionField, Table, TableName};
use crate::sql::select::Rowwise;

/// When a version begins: the first column of the order.
pub(super) const VALID_FROM: &str = "valid_from";
/// When it ends: where the next version, or a delete, begins. Null where there is none.
pub(super) const VALID_TO: &str = "valid_to";
/// Whether it is the newest version of its key, and the key is not deleted.
pub(super) const IS_CURRENT: &str = "is_current";
/// The columns of a history.
pub(super) const COLUMNS: [&str; 3] = [VALID_FROM, VALID_TO, IS_CURRENT];

/// What happens to rows with a null in their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NullKeys {
    /// They stay in the source and are counted.
    #[default]
    Skip,
    /// Null is a value like any other.
    Equal,
}

/// How a merge changes the files of its target, as Spark's `write.merge.mode` names it. It may change at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MergeMode {
    /// Files with rows that go are written again.
    CopyOnWrite,
    /// Rows that go are named in delete files, which readers apply. The default: a micro-batch changes few rows of many
    /// files, and costs the same however large the table is (docs/benchmarks.md, "A merge").
    #[default]
    MergeOnRead,
}

/// What the target keeps of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum History {
    /// Its newest row.
    #[default]
    None,
    /// Each of its rows, with when it began and when the next one ended it: a slowly changing dimension of type 2.
    Scd2,
}

impl History {
    /// As the configuration and the snapshot properties name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Scd2 => "scd2",
        }
    }
}

/// The rules of a merge.
#[derive(Debug, Clone)]
pub struct MergeRules {
    /// The target table.
    pub table: TableName,
    /// The table of deleted keys.
    pub tombstones: TableName,
    /// The table of refused rows.
    pub quarantine: TableName,
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
    /// How new files of the target are partitioned; none: as the table says.
    pub partition_by: Option<Vec<PartitionField>>,
    /// See [`MergeMode`].
    pub mode: MergeMode,
    /// See [`History`].
    pub history: History,
    /// Text columns of which many rows have the same value.
    pub repeated: Vec<String>,
    /// What a merge may hold of its source, in bytes; the rest waits on disk (I7).
    pub memory: usize,
}

impl MergeRules {
    /// Whether rows of the target can be found by their key.
    ///
    /// # Errors
    /// [`MergeError::Columns`]: another program has made the target without a key column, or has dropped it.
    pub(super) fn check_target(&self, target: &Table) -> Result<(), MergeError> {
        let columns = target.schema().arrow();
        let of_keys = self.keys.iter().map(|key| (key.as_str(), "a key of the merge"));
        let of_history = match self.history {
            History::None => &[][..],
            History::Scd2 => &COLUMNS,
        };
        let of_history =
            of_history.iter().map(|column| (*column, "which history = \"scd2\" needs"));
        let missing =
            of_keys.chain(of_history).find(|(column, _)| columns.field_with_name(column).is_err());
        match missing.filter(|_| target.current().is_some()) {
            None => Ok(()),
            Some((column, what)) => Err(MergeError::Columns {
                table: self.table.clone(),
                why: format!(
                    "it has rows and no column `{column}`, {what}; name another table in the configuration, or run `silversmith silver --rebuild`, which replaces all its rows"
                ),
            }),
        }
    }

    /// What encodes key and order of batches with this schema.
    pub(super) fn encoders(&self, schema: &SchemaRef) -> Result<(Encoder, Encoder), ArrowError> {
        Ok((Encoder::new(schema, &self.keys)?, Encoder::new(schema, &self.order)?))
    }

    /// The columns that the target keeps, whatever `select` says.
    pub fn kept(&self) -> Vec<String> {
        let mut kept = self.keys.clone();
        kept.extend(self.order.iter().filter(|c| !self.keys.contains(c)).cloned());
        kept
    }
}
