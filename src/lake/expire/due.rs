//! Which snapshots a commit takes out. Pure.
//!
//! They are snapshots of the main branch that were replaced longer ago than `history.expire.max-snapshot-age-ms`, and
//! those beyond the newest thousand; never one that a consumer still needs, that a tag names or that another branch
//! holds. They expire some at a time, the oldest first.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};

use iceberg::spec::{SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata};

use super::super::SequenceNumber;
use super::super::table::{MAIN, line};

/// Table property: how long snapshots are kept, in milliseconds.
pub(in crate::lake) const MAX_AGE: &str = "history.expire.max-snapshot-age-ms";
/// Table property: how many snapshots are kept, however old they are.
const MIN_KEPT: &str = "history.expire.min-snapshots-to-keep";
/// Table property: whether files may be deleted; others may share them. Iceberg reads all but `true` as no.
const MAY_DELETE: &str = "gc.enabled";

/// Snapshots that are kept at most, whatever their age, unless they are still needed.
const MAX_KEPT: usize = 1_000;
/// How many snapshots expire at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtATime {
    least: usize,
    most: usize,
}

impl AtATime {
    /// In a commit that does something else: most commits find out nothing and delete nothing, and the files of each
    /// snapshot are looked at before the commit is reported.
    pub(super) const IN_COMMITS: Self = Self { least: 20, most: 200 };
    /// By themselves: every one that is due.
    pub(super) const ALONE: Self = Self { least: 1, most: 200 };
    /// To count them.
    pub(super) const ALL: Self = Self { least: 1, most: usize::MAX };
}

/// The default of [`MAX_AGE`]: five days.
const DEFAULT_AGE_MS: i64 = 5 * 86_400_000;

/// The branches and tags of a table.
pub(super) struct References(HashMap<String, SnapshotReference>);

impl References {
    /// The crate keeps them to itself, but for their JSON.
    pub(super) fn of(metadata: &TableMetadata) -> Result<Self, serde_json::Error> {
        let mut json = serde_json::to_value(metadata)?;
        serde_json::from_value(json["refs"].take()).map(Self)
    }

    pub(super) fn are_main_alone(&self) -> bool {
        self.0.keys().all(|name| name == MAIN)
    }

    /// The snapshots that tags name, and that other branches consist of.
    fn held(&self, metadata: &TableMetadata) -> HashSet<i64> {
        let mut held = HashSet::new();
        for (_, reference) in self.0.iter().filter(|(name, _)| *name != MAIN) {
            held.insert(reference.snapshot_id);
            if reference.is_branch() {
                let tip = metadata.snapshot_by_id(reference.snapshot_id);
                held.extend(line(metadata, tip).map(|snapshot| snapshot.snapshot_id()));
            }
        }
        held
    }

    /// What the main branch says of its snapshots: how many are kept, and for how long (Iceberg spec, "Snapshot
    /// Retention Policy").
    fn of_main(&self) -> (Option<i64>, Option<i64>) {
        match self.0.get(MAIN).map(|main| &main.retention) {
            Some(SnapshotRetention::Branch {
                min_snapshots_to_keep, max_snapshot_age_ms, ..
            }) => (min_snapshots_to_keep.map(i64::from), *max_snapshot_age_ms),
            _ => (None, None),
        }
    }
}

/// Whether a table lets files be deleted.
pub(in crate::lake) fn may_delete(metadata: &TableMetadata) -> bool {
    metadata.properties().get(MAY_DELETE).is_none_or(|may| may.eq_ignore_ascii_case("true"))
}

/// What decides about a table's snapshots, beside its metadata.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The highest sequence number that no consumer needs any more.
    pub(super) consumed: SequenceNumber,
    /// The time.
    pub(super) now_ms: i64,
    /// For how long snapshots are kept, where the configuration says it.
    pub(super) kept_ms: Option<i64>,
    /// How many are asked for.
    pub(super) at_a_time: AtATime,
}

/// The snapshots that are due; none while they are few. Without `references`, tags and branches do not count.
pub(super) fn due(
    metadata: &TableMetadata,
    references: Option<&References>,
    Asked { consumed, now_ms, kept_ms, at_a_time }: Asked,
) -> Vec<i64> {
    if consumed == SequenceNumber::default() || !may_delete(metadata) {
        return vec![];
    }
    let property = |key: &str| metadata.properties().get(key).and_then(|v| v.parse::<i64>().ok());
    let (min_kept, max_age) = references.map_or((None, None), References::of_main);
    let (min_kept, max_age) =
        (min_kept.or(property(MIN_KEPT)), max_age.or(kept_ms).or(property(MAX_AGE)));
    let min_kept = min_kept.and_then(|kept| usize::try_from(kept).ok()).unwrap_or(1).max(1);
    let oldest_kept = now_ms.saturating_sub(max_age.unwrap_or(DEFAULT_AGE_MS));
    let set_back = LazyCell::new(|| set_back(metadata));
    let all: Vec<&SnapshotRef> = line(metadata, metadata.current_snapshot()).collect();
    // A snapshot is as old as what replaced it, the last time: until then it was read.
    let is_old = |index: usize| {
        let was_current_after =
            |at: &i64| set_back.get(&all[index].snapshot_id()).is_some_and(|end| end >= at);
        all[index - 1].timestamp_ms() < oldest_kept && !was_current_after(&oldest_kept)
    };
    let stays = |index: &usize| {
        let is_needed = all[*index].sequence_number() > consumed.0;
        is_needed || (*index < MAX_KEPT && !is_old(*index))
    };
    // From the oldest on, up to the first that stays: the line has one cut.
    let first = (min_kept..all.len()).rfind(stays).map_or(min_kept, |stays| stays + 1);
    let first = first.max(all.len().saturating_sub(at_a_time.most));
    let Some(cut) = (first..all.len()).find(|cut| speaks_for_itself(metadata, all[cut - 1])) else {
        return vec![];
    };
    let held = references.map(|all| all.held(metadata)).unwrap_or_default();
    let due = all[cut..].iter().map(|snapshot| snapshot.snapshot_id());
    let due: Vec<i64> = due.filter(|id| !held.contains(id)).collect();
    if due.len() < at_a_time.least { vec![] } else { due }
}

/// When snapshots stopped being current, by the log: later than their child was made, where the table was set back
/// or a branch was published.
fn set_back(metadata: &TableMetadata) -> HashMap<i64, i64> {
    let log = metadata.history();
    log.windows(2).map(|pair| (pair[0].snapshot_id, pair[1].timestamp_ms)).collect()
}

/// Whether a snapshot has every position that the table has. As the oldest one it answers for those that are gone: a
/// table that is rolled back to it must not take the newest position, which is a table property, for its own.
fn speaks_for_itself(metadata: &TableMetadata, snapshot: &SnapshotRef) -> bool {
    let summary = &snapshot.summary().additional_properties;
    let is_position =
        |key: &&String| key.starts_with("silversmith.") && key.ends_with("-snapshot-id");
    metadata.properties().keys().filter(is_position).all(|key| summary.contains_key(key))
}

#[cfg(test)]
mod tests {
    use iceberg::TableCreation;
    use iceberg::spec::{
        FormatVersion, Operation, Schema, Snapshot, Summary, TableMetadataBuilder,
    };

    use super::*;

    const SECOND: i64 = 1_000;

    fn asked(consumed: i64, now_ms: i64) -> Asked {
        let consumed = SequenceNumber(consumed);
        Asked { consumed, now_ms, kept_ms: None, at_a_time: AtATime::IN_COMMITS }
    }

    /// A table with so many snapshots, a second apart.
    fn table(snapshots: i64) -> TableMetadata {
        let creation = TableCreation::builder()
            .name("t".to_owned())
            .location("memory:/t".to_owned())
            .schema(Schema::builder().build().unwrap())
            .format_version(FormatVersion::V2)
            .build();
        let builder = TableMetadataBuilder::from_table_creation(creation).unwrap();
        let mut metadata = builder.build().unwrap().metadata;
        for id in 1..=snapshots {
            let summary =
                Summary { operation: Operation::Append, additional_properties: HashMap::new() };
            let snapshot = Snapshot::builder()
                .with_snapshot_id(id)
                .with_parent_snapshot_id(metadata.current_snapshot_id())
                .with_sequence_number(id)
                .with_timestamp_ms(metadata.last_updated_ms() + SECOND)
                .with_manifest_list(format!("memory:/t/{id}.avro"))
                .with_summary(summary)
                .with_schema_id(0)
                .build();
            let builder = metadata.into_builder(None).set_branch_snapshot(snapshot, MAIN);
            metadata = builder.unwrap().build().unwrap().metadata;
        }
        metadata
    }

    #[test]
    fn a_thousand_are_kept_and_what_is_needed() {
        let metadata = table(1_030);
        let now = metadata.last_updated_ms();
        let due = |consumed, now| {
            let references = References::of(&metadata).unwrap();
            let mut due = due(&metadata, Some(&references), asked(consumed, now));
            due.sort_unstable();
            due
        };
        assert_eq!(due(i64::MAX, now), (1..=30).collect::<Vec<i64>>());
        assert_eq!(due(25, now), (1..=25).collect::<Vec<i64>>());
        assert_eq!(due(19, now), Vec::<i64>::new(), "few wait for others");
        assert_eq!(due(0, now), Vec::<i64>::new(), "nothing is consumed");
        let later = now + DEFAULT_AGE_MS;
        assert_eq!(due(i64::MAX, later), (1..=200).collect::<Vec<i64>>(), "some at a time");
    }

    /// What was replaced five days ago, and not what is that old: it may have been current until just now.
    #[test]
    fn a_snapshot_is_as_old_as_the_one_that_replaced_it() {
        let metadata = table(100);
        let later = metadata.last_updated_ms() + DEFAULT_AGE_MS - 9 * SECOND;
        let mut due = due(&metadata, None, asked(i64::MAX, later));
        due.sort_unstable();
        assert_eq!(due, (1..=89).collect::<Vec<i64>>());
    }

    /// A table that was set back to a snapshot and forward again was read there meanwhile: neither it nor a younger
    /// one goes.
    #[test]
    fn what_was_current_again_is_younger_than_its_child() {
        let metadata = table(50);
        let last = metadata.last_updated_ms();
        let mut json = serde_json::to_value(&metadata).unwrap();
        json["last-updated-ms"] = (last + 2 * SECOND).into();
        let log = json["snapshot-log"].as_array_mut().unwrap();
        for (id, at) in [(30, last + SECOND), (50, last + 2 * SECOND)] {
            log.push(serde_json::json!({"snapshot-id": id, "timestamp-ms": at}));
        }
        let metadata: TableMetadata = serde_json::from_value(json).unwrap();
        let due = |now| {
            let mut due = due(&metadata, None, asked(i64::MAX, now));
            due.sort_unstable();
            due
        };
        let between = last + SECOND + DEFAULT_AGE_MS;
        assert_eq!(due(between), (1..=29).collect::<Vec<i64>>());
        assert_eq!(due(between + 2 * SECOND), (1..=49).collect::<Vec<i64>>());
    }

    #[test]
    fn alone_every_one_is_due_and_the_configuration_says_for_how_long_they_are_kept() {
        let metadata = table(50);
        let now = metadata.last_updated_ms();
        let asked =
            Asked { kept_ms: Some(40 * SECOND), at_a_time: AtATime::ALONE, ..asked(i64::MAX, now) };
        let mut due = due(&metadata, None, asked);
        due.sort_unstable();
        assert_eq!(due, (1..=8).collect::<Vec<i64>>());
    }

    /// A rollback to the oldest one must find its own position.
    #[test]
    fn the_oldest_that_stays_has_the_tables_positions() {
        let metadata = table(50);
        let key = "silversmith.bronze-snapshot-id";
        let builder = metadata.into_builder(None);
        let set = builder.set_properties(HashMap::from([(key.to_owned(), "7".to_owned())]));
        let metadata = set.unwrap().build().unwrap().metadata;
        let later = metadata.last_updated_ms() + 2 * DEFAULT_AGE_MS;
        assert_eq!(due(&metadata, None, asked(i64::MAX, later)), Vec::<i64>::new());
    }

    #[test]
    fn gc_enabled_is_read_as_iceberg_reads_it() {
        for (value, expires) in [("true", true), ("TRUE", true), ("False", false), ("no", false)] {
            let set = HashMap::from([(MAY_DELETE.to_owned(), value.to_owned())]);
            let builder = table(50).into_builder(None).set_properties(set);
            let metadata = builder.unwrap().build().unwrap().metadata;
            let later = metadata.last_updated_ms() + 2 * DEFAULT_AGE_MS;
            let due = due(&metadata, None, asked(i64::MAX, later));
            assert_eq!(!due.is_empty(), expires, "{value}");
        }
    }
}
