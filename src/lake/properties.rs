//! Marks: the facts that a commit carries about itself, as snapshot summary properties
//! `silversmith.*`, the newest of them also as table properties set in the same commit.
//!
//! The line of ancestors is asked first, so that a table that was rolled back tells where it
//! stands now; the table property answers when expiry has taken the snapshot that said it.

use super::read::diff::Position;
use super::{Facts, LakeError, Table};

/// The format of the marks that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// The key of the format version, in every commit of ours.
pub const FORMAT: &str = "silversmith.format-version";
/// The pipeline that committed.
pub const PIPELINE: &str = "silversmith.pipeline";
/// Bronze: the id of the batch.
pub const BATCH: &str = "silversmith.batch-id";
/// Bronze: the batch's ledger files, as JSON.
pub const LEDGER: &str = "silversmith.ledger-files";
/// Bronze: objects of the batch.
pub const OBJECTS: &str = "silversmith.objects";
/// Silver and its deletes: the hash of keys, order, select and delete_when. Gold: of the SQL.
pub const CONFIGURATION: &str = "silversmith.configuration-hash";
/// Silver: where bronze was merged through (a position's prefix).
pub const MERGED: &str = "silversmith.bronze";
/// Objects table: where bronze was published through (a position's prefix).
pub const PUBLISHED: &str = "silversmith.published";
/// Silver: rows by what became of them (the counts' names follow).
pub const ROWS: &str = "silversmith.rows";
/// Gold: the silver that it was computed from (a position's prefix).
pub const COMPUTED: &str = "silversmith.silver";

/// The marks that every commit of ours starts with.
pub fn marks(pipeline: &str) -> Facts {
    Facts::from([
        (FORMAT.to_owned(), FORMAT_VERSION.to_string()),
        (PIPELINE.to_owned(), pipeline.to_owned()),
    ])
}

/// Writes a position under a prefix.
pub fn set_position(facts: &mut Facts, prefix: &str, position: &Position) {
    facts.insert(format!("{prefix}-table-uuid"), position.table.clone());
    facts.insert(format!("{prefix}-snapshot-id"), position.snapshot.to_string());
    facts.insert(format!("{prefix}-sequence-number"), position.sequence.to_string());
}

/// Whether there is a position under a prefix.
pub fn has_position(facts: &Facts, prefix: &str) -> bool {
    facts.contains_key(&format!("{prefix}-snapshot-id"))
}

impl Table {
    /// The newest marks that carry `key`.
    ///
    /// # Errors
    /// [`LakeError::Mark`] when a newer silversmith wrote them.
    pub fn newest_marks(&self, key: &str) -> Result<Option<Facts>, LakeError> {
        let line = self.ancestry();
        let in_line = line.snapshots.into_iter().find(|s| s.summary.contains_key(key));
        let facts = match in_line {
            Some(snapshot) => Some(snapshot.summary),
            None if line.complete => None,
            None => Some(self.marks()).filter(|marks| marks.contains_key(key)),
        };
        if let Some(facts) = &facts {
            let version = facts.get(FORMAT).and_then(|v| v.parse::<u32>().ok()).unwrap_or(1);
            if version > FORMAT_VERSION {
                return Err(self.bad_mark(format!(
                    "its marks have format version {version}, this program knows {FORMAT_VERSION}: upgrade silversmith"
                )));
            }
        }
        Ok(facts)
    }

    /// The newest position marked under a prefix.
    pub fn marked_position(&self, prefix: &str) -> Result<Option<Position>, LakeError> {
        let key = format!("{prefix}-snapshot-id");
        let Some(facts) = self.newest_marks(&key)? else { return Ok(None) };
        let number = |suffix: &str| {
            let text = facts.get(&format!("{prefix}-{suffix}"));
            text.and_then(|v| v.parse::<i64>().ok()).ok_or_else(|| {
                self.bad_mark(format!("its mark `{prefix}-{suffix}` is not a number"))
            })
        };
        Ok(Some(Position {
            table: facts.get(&format!("{prefix}-table-uuid")).cloned().unwrap_or_default(),
            snapshot: number("snapshot-id")?,
            sequence: number("sequence-number")?,
        }))
    }

    pub(crate) fn bad_mark(&self, what: String) -> LakeError {
        LakeError::Mark { table: self.name().clone(), what }
    }
}
