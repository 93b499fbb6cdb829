//! Snapshot properties: what a commit records about itself, as summary entries `silversmith.*`. The newest are
//! also table properties, set in the same commit. Each layer owns the keys that it writes.
//!
//! The line of ancestors is searched first, so that a table that was rolled back has the position of its current
//! state. The table property is used where the snapshot has expired.

use super::position::Position;
use super::table::{Properties, view};
use super::{LakeError, SequenceNumber, Snapshot, SnapshotId, Table};

/// The format of the properties that this program writes, and the newest that it reads. 2: a batch names one ledger
/// file, not a list of them.
pub const FORMAT_VERSION: u32 = 2;
/// The key of the format version, in every commit of silversmith.
pub const FORMAT: &str = "silversmith.format-version";
/// The pipeline that committed.
pub const PIPELINE: &str = "silversmith.pipeline";
/// A hash of the configuration that a table was computed under.
pub const CONFIGURATION: &str = "silversmith.configuration-hash";
/// Of that configuration, which rows of a key the table keeps: beside it, where that is not the newest alone, or was not.
pub const HISTORY: &str = "silversmith.history";

/// How many sources of rows were read again: the rows of before went in the commit that brought the new ones. Of the
/// snapshot alone.
pub const SUPERSEDED: &str = "silversmith.superseded";
/// The sequence number of the newest such commit. A table property: the snapshot may expire.
pub const LAST_SUPERSEDED: &str = "silversmith.superseded-sequence-number";
/// The rows that a table has after a commit, those that position deletes delete not counted. Of the snapshot alone.
pub const LIVE_ROWS: &str = "silversmith.live-rows";

/// The properties that every commit of silversmith starts with.
pub fn of_pipeline(pipeline: &str) -> Properties {
    Properties::from([
        (FORMAT.to_owned(), FORMAT_VERSION.to_string()),
        (PIPELINE.to_owned(), pipeline.to_owned()),
    ])
}

/// The properties of a position, after its prefix.
const POSITION_PARTS: [&str; 3] = ["-table-uuid", "-snapshot-id", "-sequence-number"];

/// Writes a position under a prefix.
pub fn set_position(properties: &mut Properties, prefix: &str, position: &Position) {
    properties.insert(format!("{prefix}-table-uuid"), position.table.clone());
    properties.insert(format!("{prefix}-snapshot-id"), position.snapshot.to_string());
    properties.insert(format!("{prefix}-sequence-number"), position.sequence.to_string());
}

/// Whether there is a position under a prefix.
pub fn has_position(properties: &Properties, prefix: &str) -> bool {
    properties.contains_key(&format!("{prefix}-snapshot-id"))
}

impl Snapshot {
    /// Whether rows of before were replaced by what their sources gave when they were read again.
    pub fn supersedes(&self) -> bool {
        self.summary.contains_key(SUPERSEDED)
    }

    /// The rows that the table has, where the summary says so. `total-records` counts those that delete files delete,
    /// too; and of the positions in shared delete files, some are of data files that are gone.
    pub fn rows(&self) -> Option<u64> {
        let number = |key: &str| self.summary.get(key)?.parse::<u64>().ok();
        let has_no_deletes = || number("total-delete-files") == Some(0);
        number(LIVE_ROWS).or_else(|| number("total-records").filter(|_| has_no_deletes()))
    }
}

/// [`LIVE_ROWS`] of a commit on the snapshot `before`, that adds rows and takes out others; none where it is not known
/// how many there were.
pub fn live_rows(before: Option<&Snapshot>, added: u64, gone: u64) -> Option<(String, String)> {
    let before = before.map_or(Some(0), Snapshot::rows)?;
    Some((LIVE_ROWS.to_owned(), (before + added).saturating_sub(gone).to_string()))
}

impl Table {
    /// The rows that it has, where its current snapshot says so: see [`Snapshot::rows`].
    pub fn rows(&self) -> Option<u64> {
        self.current().map_or(Some(0), |snapshot| snapshot.rows())
    }

    /// The newest properties that hold `key`.
    ///
    /// # Errors
    /// [`LakeError::Property`] when a newer silversmith wrote them.
    pub fn newest_properties(&self, key: &str) -> Result<Option<Properties>, LakeError> {
        let holds = |s: &&_| view_has(s, key);
        let mut oldest_has_parent = false;
        let in_line = self.line().inspect(|s| oldest_has_parent = s.parent_snapshot_id().is_some());
        let found = in_line.into_iter().find(holds).map(|snapshot| view(snapshot).summary);
        let properties = match found {
            Some(properties) => Some(properties),
            None if !oldest_has_parent => None,
            None => Some(self.own_properties()).filter(|own| own.contains_key(key)),
        };
        if let Some(properties) = &properties {
            let version = properties.get(FORMAT).and_then(|v| v.parse::<u32>().ok()).unwrap_or(1);
            if version > FORMAT_VERSION {
                return Err(self.bad_property(format!(
                    "its snapshot properties have format version {version}; this program reads up to {FORMAT_VERSION}: upgrade silversmith"
                )));
            }
        }
        Ok(properties)
    }

    /// The newest position under a prefix.
    pub fn position(&self, prefix: &str) -> Result<Option<Position>, LakeError> {
        let key = format!("{prefix}-snapshot-id");
        let Some(properties) = self.newest_properties(&key)? else { return Ok(None) };
        let number = |suffix: &str| {
            let text = properties.get(&format!("{prefix}-{suffix}"));
            text.and_then(|v| v.parse::<i64>().ok()).ok_or_else(|| {
                self.bad_property(format!("its property `{prefix}-{suffix}` is not a number"))
            })
        };
        Ok(Some(Position {
            table: properties.get(&format!("{prefix}-table-uuid")).cloned().unwrap_or_default(),
            snapshot: SnapshotId(number("snapshot-id")?),
            sequence: SequenceNumber(number("sequence-number")?),
        }))
    }

    /// Whether a commit with [`SUPERSEDED`] after `above` may have expired.
    pub fn superseded_before_history(&self, above: SequenceNumber) -> bool {
        let last = self.property(LAST_SUPERSEDED).and_then(|text| text.parse().ok());
        let last = last.map(SequenceNumber);
        last.is_some_and(|last| last > above && last < self.oldest_sequence())
    }

    /// What the table says of itself in its current state: its positions, and the configuration that it was computed
    /// under. A commit that changes no row carries them on: as the oldest snapshot it answers for those that expired.
    ///
    /// # Errors
    /// As of [`Table::newest_properties`].
    pub fn standing_properties(&self) -> Result<Properties, LakeError> {
        let mut standing = Properties::new();
        for key in self.own_properties().keys() {
            let newest =
                |key: &str| Ok::<_, LakeError>(self.newest_properties(key)?.unwrap_or_default());
            if let Some(prefix) = key.strip_suffix("-snapshot-id") {
                let is_part = |key: &str| {
                    let part = key.strip_prefix(prefix);
                    part.is_some_and(|part| POSITION_PARTS.contains(&part))
                };
                standing.extend(newest(key)?.into_iter().filter(|(key, _)| is_part(key)));
            } else if key == CONFIGURATION {
                let is_part = |key: &str| [CONFIGURATION, HISTORY].contains(&key);
                standing.extend(newest(key)?.into_iter().filter(|(key, _)| is_part(key)));
            }
        }
        let live = self.current().and_then(|snapshot| snapshot.summary.get(LIVE_ROWS).cloned());
        standing.extend(live.map(|rows| (LIVE_ROWS.to_owned(), rows)));
        Ok(standing)
    }

    pub(crate) fn bad_property(&self, what: String) -> LakeError {
        LakeError::Property { table: self.name().clone(), what }
    }
}

fn view_has(snapshot: &iceberg::spec::SnapshotRef, key: &str) -> bool {
    snapshot.summary().additional_properties.contains_key(key)
}
