//! Merging: the newest row of each key of a source, or every version of it, into a target.
//!
//! A merge is data: a target state, files of the source, and rules. An engine plans it in rows: which rows of
//! the target go, by file and position, and which rows come. Then it writes the files. It commits nothing.
//!
//! - [`rules`](MergeRules): keys, order, and which rows come in
//! - [`order`]: the one total order, and keys, as comparable bytes
//! - [`newest`]: the newest row per key of a set of rows
//! - `parts.rs`, `spill.rs`: the newest rows of a source, read once, as much as fits into memory at a time
//! - `repeated.rs`: texts that many rows have, held once
//! - [`lookup`]: finding the target's rows of those keys
//! - `plan.rs`: the decisions, pure
//! - `history/`: the same for targets that keep every version of a key
//! - `apply/`: the files that carry out the plans
//! - `tombstones.rs`: the table of deleted keys
//! - `judge.rs`: which rows come in, pure; `known.rs`, `quarantine.rs`: the table of those that do not

mod apply;
mod error;
pub mod history;
mod judge;
mod known;
mod local;
pub mod lookup;
pub mod newest;
pub mod order;
mod output;
mod parts;
mod plan;
mod quarantine;
mod repeated;
mod rules;
mod spill;
mod tombstones;

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;

pub use error::MergeError;
pub use judge::{NO_ORDER, RESCUED, SQL};
pub use local::LocalEngine;
pub use lookup::index::{IndexSettings, IndexUse};
pub use quarantine::{BOUNDS as QUARANTINE_BOUNDS, Quarantined, Scope};
pub use rules::{History, MergeMode, MergeRules, NullKeys};

use crate::lake::read::scan::FileTask;
use crate::lake::write::position_deletes::DeleteFiles;
use crate::lake::{Properties, SnapshotId, Table, TableSchema, Uncommitted};

/// The prefix of the snapshot properties that count rows: inserted, updated, deleted, late, null-keys,
/// misfits, failed; and quarantined and warned, where there are any.
pub const ROWS: &str = "silversmith.rows";

/// A merge to be done.
#[derive(Debug, Clone)]
pub struct MergeTask {
    /// The source table, for its schema.
    pub source: Table,
    /// The source's files to merge: a range of its history.
    pub files: Vec<FileTask>,
    /// The state to merge into; none: the table does not exist yet, and the engine creates it.
    pub target: Option<Table>,
    /// The table of deleted keys, where it exists.
    pub tombstones: Option<Table>,
    /// The table of refused rows, where it exists.
    pub quarantine: Option<Table>,
    /// Which rows are compared with it.
    pub quarantine_scope: Scope,
    /// The snapshot of the source up to which its rows are merged, which refused rows are stored with.
    pub source_snapshot: Option<SnapshotId>,
    /// Keys, order, select, delete_when, expectations.
    pub rules: MergeRules,
    /// Whether the target counts as empty: the result replaces its rows.
    pub from_nothing: bool,
    /// Whether rows that the target has already are written again, in case another program changed them.
    pub refresh_equal: bool,
}

impl MergeTask {
    /// Whether rows that are not refused are compared with quarantine, too.
    fn compares(&self) -> bool {
        self.quarantine_scope != Scope::New && !self.from_nothing
    }
}

/// A merge done, not committed.
#[derive(Debug)]
pub struct Merged {
    /// The state to prepare the commit on.
    pub target: Table,
    /// The schema that the target gets, where it changes.
    pub schema: Option<TableSchema>,
    /// Files written.
    pub add: Uncommitted,
    /// Position deletes written.
    pub deletes: DeleteFiles,
    /// Files of the target that these replace, data files and delete files, by path.
    pub remove: BTreeSet<String>,
    /// Deleted keys to remember, where the rules delete.
    pub tombstones: Option<Tombstones>,
    /// What changes in the table of refused rows, where something does.
    pub quarantine: Option<Quarantined>,
    /// Its rows, counted.
    pub counts: Counts,
}

/// Rows for the table of deleted keys.
#[derive(Debug)]
pub struct Tombstones {
    /// Its state.
    pub table: Table,
    /// The schema that it gets, where it changes.
    pub schema: Option<TableSchema>,
    /// Files written.
    pub add: Uncommitted,
}

/// The rows of a merge, counted. With a history each version of a key counts, not the key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Source rows that `select` returned.
    pub source: u64,
    /// Keys that are new in the target. With a history: versions that are.
    pub inserted: u64,
    /// Keys whose row is replaced by a newer one. With a history: versions of the target that end at another time now.
    pub updated: u64,
    /// Keys deleted from the target. With a history: deletes that end a version; its row stays.
    pub deleted: u64,
    /// Keys whose row in the target, or whose delete, is newer than the source's row: late rows. With a history: those
    /// inserted and deleted of which the target has a newer version or delete.
    pub late: u64,
    /// Keys whose row the target has already. With a history: versions that it has, and deletes that end none.
    pub unchanged: u64,
    /// Rows with a null in their key, which are not merged.
    pub null_keys: u64,
    /// Rows of which a cell of the key or of the order was rescued, which are not merged.
    pub misfits: u64,
    /// Rows on which `select` or `delete_when` fails, which are not merged.
    pub failed: u64,
    /// Rows that delete their key and have no order, which are not merged.
    pub unordered: u64,
    /// Rows that do not meet an expectation, which are not merged.
    pub unmet: u64,
    /// How often a row did not meet an expectation and is merged all the same.
    pub warned: u64,
    /// Rows of the target that went: those of a key that is there twice, both. So many fewer it has, beside those
    /// inserted and updated.
    pub gone: u64,
}

impl Counts {
    /// Adds the counts of another merge.
    pub fn add(&mut self, other: &Self) {
        self.source += other.source;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.late += other.late;
        self.unchanged += other.unchanged;
        self.null_keys += other.null_keys;
        self.misfits += other.misfits;
        self.failed += other.failed;
        self.unordered += other.unordered;
        self.unmet += other.unmet;
        self.warned += other.warned;
        self.gone += other.gone;
    }

    /// Rows that are not merged, and are in quarantine.
    pub fn refused(&self) -> u64 {
        self.misfits + self.failed + self.unordered + self.unmet
    }

    /// As snapshot properties.
    pub fn properties(&self) -> Properties {
        let always = [
            ("inserted", self.inserted),
            ("updated", self.updated),
            ("deleted", self.deleted),
            ("late", self.late),
            ("null-keys", self.null_keys),
            ("misfits", self.misfits),
            ("failed", self.failed),
        ];
        let some = [("quarantined", self.refused()), ("warned", self.warned)];
        let some = some.into_iter().filter(|(_, count)| *count > 0);
        let all = always.into_iter().chain(some);
        all.map(|(name, count)| (format!("{ROWS}-{name}"), count.to_string())).collect()
    }
}

/// Plans and runs merges.
///
/// # Contract
/// - The result is a function of the target state, the *set* of rows in the files, and the settings.
/// - On success every file of the result is written and complete, and no table has changed, but for two things. A
///   target, a table of deleted keys or one of refused rows that was missing was created, empty. A target whose partitioning is not that
///   of the rules has it now, without a snapshot.
/// - On failure what was written is deleted.
/// - It may be repeated. A result that is dropped deletes its files.
#[async_trait]
pub trait MergeEngine: Debug + Send + Sync {
    /// Merges.
    async fn merge(&self, task: MergeTask) -> Result<Merged, MergeError>;
}
