//! What is announced: a commit, or an object that was not ingested, as JSON. Pure.
//!
//! `infra/events/` has a JSON Schema for each kind. Snapshot ids are texts: they have 63 bits, and many readers
//! of JSON keep 53.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::lake::position::Position;
use crate::lake::{Snapshot, Table, properties};
use crate::ledger::ObjectRow;
use crate::reason::Reason;
use crate::silver::BY_RULE;

/// The version of the JSON.
const VERSION: u32 = 1;
/// Characters of an error's text that are announced.
const ERROR_CHARS: usize = 1_000;

/// What an event announces: its `detail-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// A batch was committed to bronze.
    BronzeCommitted,
    /// Bronze was merged into silver.
    SilverMerged,
    /// A gold table was recomputed.
    GoldRefreshed,
    /// An object was not ingested.
    ObjectRejected,
    /// Rows of bronze were not merged into silver.
    RowQuarantined,
}

impl NoticeKind {
    /// The event's `detail-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BronzeCommitted => "bronze.committed",
            Self::SilverMerged => "silver.merged",
            Self::GoldRefreshed => "gold.refreshed",
            Self::ObjectRejected => "object.rejected",
            Self::RowQuarantined => "row.quarantined",
        }
    }
}

/// An event to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What it announces.
    pub kind: NoticeKind,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The event's `detail`.
    pub detail: Value,
}

impl Notice {
    /// The id of the commit, or of the attempt at an object.
    pub fn id(&self) -> &str {
        self.detail.get("id").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Makes the notices of one pipeline.
#[derive(Debug, Clone)]
pub(super) struct NoticeBuilder<'a> {
    pub(super) lake: &'a str,
    pub(super) pipeline: &'a str,
}

impl NoticeBuilder<'_> {
    /// The notice of a snapshot; none where it is not a commit of this kind.
    pub(super) fn commit(
        &self,
        kind: NoticeKind,
        table: &Table,
        snapshot: &Snapshot,
    ) -> Option<Notice> {
        let summary = &snapshot.summary;
        summary.get(properties::PIPELINE)?;
        let number = |key: &str| {
            summary.get(key).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
        };
        let rows = |what: &str| number(&format!("{}-{what}", crate::merge::ROWS));
        let position = |prefix: &str| -> Option<Value> {
            Some(json!({
                "table_uuid": summary.get(&format!("{prefix}-table-uuid"))?,
                "snapshot_id": summary.get(&format!("{prefix}-snapshot-id"))?,
                "sequence_number": number(&format!("{prefix}-sequence-number")),
            }))
        };
        let more = match kind {
            NoticeKind::BronzeCommitted => json!({
                "batch_id": summary.get(crate::bronze::BATCH)?,
                "objects": number(crate::bronze::OBJECTS),
                "rows": number("added-records"),
            }),
            NoticeKind::SilverMerged => {
                let counted = ["inserted", "updated", "deleted"].map(|what| (what, rows(what)));
                let total = snapshot.rows().map(|total| ("total", total));
                json!({
                    "bronze": position(crate::silver::MERGED)?,
                    "rows": counted.into_iter().chain(total).collect::<BTreeMap<_, _>>(),
                })
            }
            NoticeKind::GoldRefreshed => {
                let sources: Map<String, Value> = summary
                    .keys()
                    .filter_map(|key| {
                        let prefix = key.strip_suffix("-snapshot-id")?;
                        let table = prefix.strip_prefix(crate::gold::SOURCE)?;
                        Some((table.to_owned(), position(prefix)?))
                    })
                    .collect();
                let rows = number("total-records");
                let mut said = Map::from_iter([("rows".to_owned(), rows.into())]);
                let silver = position(crate::gold::COMPUTED);
                said.extend(silver.map(|silver| ("silver".to_owned(), silver)));
                said.insert("sources".to_owned(), sources.into());
                Value::Object(said)
            }
            // Other commits take rows out of quarantine.
            NoticeKind::RowQuarantined => {
                let by_rule: Value = serde_json::from_str(summary.get(BY_RULE)?).ok()?;
                let bronze = position(crate::silver::JUDGED)?;
                let mut said = Map::from_iter([("bronze".to_owned(), bronze)]);
                said.insert("rows".to_owned(), rows("quarantined").into());
                said.insert("by_rule".to_owned(), by_rule);
                said.extend(snapshot.rows().map(|total| ("total".to_owned(), total.into())));
                Value::Object(said)
            }
            NoticeKind::ObjectRejected => return None,
        };
        let at = Position::of(table, snapshot);
        let mut detail = self.detail(format!("{}/{}", at.table, at.snapshot));
        detail.insert("table".to_owned(), table.name().to_string().into());
        detail.insert("table_uuid".to_owned(), at.table.into());
        detail.insert("snapshot_id".to_owned(), at.snapshot.to_string().into());
        detail.insert("sequence_number".to_owned(), at.sequence.0.into());
        detail.insert("committed_at".to_owned(), time(snapshot.at));
        Some(notice(kind, snapshot.at, detail, more))
    }

    /// The `object.rejected` event of the `number`-th rejection in this ledger snapshot.
    pub(super) fn rejection(
        &self,
        table: &Table,
        snapshot: &Snapshot,
        number: usize,
        rejection: &ObjectRow,
    ) -> Notice {
        let detail = self.detail(format!("{}/{}/{number}", table.uuid(), snapshot.id));
        let error: Option<String> =
            rejection.error.as_ref().map(|error| error.chars().take(ERROR_CHARS).collect());
        let more = json!({
            "uri": rejection.id.uri,
            "etag": rejection.id.version,
            "last_modified": time(rejection.id.last_modified),
            "outcome": rejection.outcome.as_str(),
            "reason": rejection.reason.map(Reason::as_str),
            "error": error,
            "final": !rejection.reason.is_some_and(Reason::is_transient),
            "batch_id": rejection.batch.as_str(),
            "finished_at": time(rejection.finished_at),
        });
        notice(NoticeKind::ObjectRejected, rejection.finished_at, detail, more)
    }

    fn detail(&self, id: String) -> Map<String, Value> {
        let mut detail = Map::new();
        detail.insert("version".to_owned(), VERSION.into());
        detail.insert("id".to_owned(), id.into());
        detail.insert("lake".to_owned(), self.lake.into());
        detail.insert("pipeline".to_owned(), self.pipeline.into());
        detail
    }
}

fn notice(
    kind: NoticeKind,
    at: DateTime<Utc>,
    mut detail: Map<String, Value>,
    more: Value,
) -> Notice {
    if let Value::Object(more) = more {
        detail.extend(more);
    }
    Notice { kind, at, detail: Value::Object(detail) }
}

fn time(at: DateTime<Utc>) -> Value {
    at.to_rfc3339_opts(SecondsFormat::Millis, true).into()
}
