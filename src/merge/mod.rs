//! The port that plans and runs a merge, and the engine built in.
//!
//! A merge is data: a target state, a range of bronze files, and what the pipeline says. An engine
//! turns it into files to add and files to remove, and writes the former. It commits nothing.

mod apply;
mod error;
mod local;
mod lookup;
pub mod newest;
pub mod order;
mod output;
mod plan;
mod rules;
mod tombstones;

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;

pub use error::MergeError;
pub use local::LocalEngine;
pub use rules::{MergeRules, NullKeys};

use newest::Share;

use crate::lake::read::scan::FileTask;
use crate::lake::{DataFile, Facts, Table, TableSchema, properties};

/// Passes over one range, at most.
pub(crate) const MAX_PASSES: u64 = 65_536;

/// A merge to be done.
#[derive(Debug, Clone)]
pub struct MergeTask {
    /// The bronze table, for its schema.
    pub bronze: Table,
    /// The bronze files to merge: a range of its history.
    pub files: Vec<FileTask>,
    /// The state of silver to merge into; none: it does not exist yet, and the engine makes it.
    pub target: Option<Table>,
    /// Keys, order, select, delete_when.
    pub rules: MergeRules,
    /// The share of the keys that is merged: all of them, unless the range is too large for one pass.
    pub share: Share,
    /// The target counts as empty: its rows are to be replaced by the result.
    pub from_nothing: bool,
    /// A row that is there already is written again, in case somebody changed it.
    pub refresh_equal: bool,
}

/// A merge done, not committed.
#[derive(Debug)]
pub struct Merged {
    /// The state that the commit has to be prepared on.
    pub target: Table,
    /// The schema that the target gets, where it changes.
    pub schema: Option<TableSchema>,
    /// Files written.
    pub add: Vec<DataFile>,
    /// Files of the target that these replace, by path.
    pub remove: BTreeSet<String>,
    /// Deleted keys to remember, where the pipeline deletes.
    pub deletes: Option<Deletes>,
    /// What it came to.
    pub counts: Counts,
}

/// Rows for the table of deleted keys.
#[derive(Debug)]
pub struct Deletes {
    /// Its state.
    pub table: Table,
    /// The schema that it gets, where it changes.
    pub schema: Option<TableSchema>,
    /// Files written.
    pub add: Vec<DataFile>,
}

/// What a merge came to, in rows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Bronze rows that `select` let through.
    pub source: u64,
    /// Keys that are new in silver.
    pub inserted: u64,
    /// Keys whose row is replaced by a newer one.
    pub updated: u64,
    /// Keys taken out of silver.
    pub deleted: u64,
    /// Keys whose row in silver, or whose delete, is newer than what came: late rows.
    pub late: u64,
    /// Keys whose row is there already.
    pub unchanged: u64,
    /// Rows with a null in their key, which stay in bronze.
    pub null_keys: u64,
}

impl Counts {
    /// Adds another merge's.
    pub fn add(&mut self, other: &Self) {
        self.source += other.source;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.late += other.late;
        self.unchanged += other.unchanged;
        self.null_keys += other.null_keys;
    }

    /// As marks in the snapshot's summary.
    pub fn facts(&self) -> Facts {
        [
            ("inserted", self.inserted),
            ("updated", self.updated),
            ("deleted", self.deleted),
            ("late", self.late),
            ("null-keys", self.null_keys),
        ]
        .map(|(name, count)| (format!("{}-{name}", properties::ROWS), count.to_string()))
        .into()
    }
}

/// Plans and runs merges.
///
/// # Contract
/// - The result is a function of the target state, the *set* of rows in the files, and the settings.
/// - On success every file of the result is written and complete, and no table has changed, but for
///   the target and its deletes table having been made, empty, where they were missing.
/// - On failure the engine has dropped what it wrote, as far as it could.
/// - It may be repeated; results that are not committed are the caller's to discard.
#[async_trait]
pub trait MergeEngine: Debug + Send + Sync {
    /// Merges.
    async fn merge(&self, task: MergeTask) -> Result<Merged, MergeError>;
}
