//! The outbox of a pipeline: what its tables have and the bus has not got yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::notice::NoticeBuilder;
use super::{BATCH, BusError, EventBus, Notice, NoticeKind};
use crate::checkpoint::{self, Checkpoint, CheckpointError, CheckpointStore, FORMAT_VERSION};
use crate::lake::position::Position;
use crate::lake::{Lake, LakeError, SequenceNumber, Snapshot, Table, TableName, properties};
use crate::ledger::rejections;
use crate::telemetry::metrics;

/// Notices after which the checkpoint is written.
const RECORD_EVERY: usize = 100;

/// How far the commits of a pipeline were announced (`<pipeline>/announced.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AnnouncedCheckpoint {
    format_version: u32,
    /// By table. A table that is missing here did not exist when announcing began: all its commits are announced.
    tables: BTreeMap<String, Through>,
    updated_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Through {
    table_uuid: String,
    snapshot_id: i64,
    sequence_number: i64,
}

impl Checkpoint for AnnouncedCheckpoint {
    const FILE: &'static str = "announced.json";
    const LOSS: &'static str =
        "repair it, or delete it: then commits that are not announced yet never will be";
}

/// Why an announcement failed. It is published later.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// A table.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The bus refused some notices.
    #[error("the event bus refused {count} announcements; the first: {why}")]
    Refused {
        /// How many.
        count: usize,
        /// The bus's reason for the first.
        why: String,
    },
}

/// Announces what a pipeline has committed.
#[derive(Debug, Clone)]
pub struct Announcer {
    lake: Lake,
    lake_name: Arc<str>,
    pipeline: Arc<str>,
    bus: Arc<dyn EventBus>,
    checkpoints: Arc<dyn CheckpointStore>,
    tables: Vec<(NoticeKind, TableName)>,
}

impl Announcer {
    /// For the tables of a pipeline, each with the kind of notice that a commit to it becomes.
    pub fn new(
        lake: &Lake,
        lake_name: &str,
        pipeline: &str,
        bus: Arc<dyn EventBus>,
        checkpoints: Arc<dyn CheckpointStore>,
        tables: Vec<(NoticeKind, TableName)>,
    ) -> Self {
        Self {
            lake: lake.clone(),
            lake_name: lake_name.into(),
            pipeline: pipeline.into(),
            bus,
            checkpoints,
            tables,
        }
    }

    /// Call it before anything is committed. Of a lake that is older than its bus, the commits so far are not
    /// announced. Repeating the call changes nothing.
    pub async fn prepare(&self) -> Result<(), AnnounceError> {
        let stored =
            checkpoint::load::<AnnouncedCheckpoint>(&*self.checkpoints, &self.pipeline).await?;
        if stored.is_some() {
            return Ok(());
        }
        let mut through = BTreeMap::new();
        for (_, name) in &self.tables {
            let Some(table) = self.lake.find(name).await? else { continue };
            if let Some(tip) = table.current() {
                through.insert(name.to_string(), Through::of(&table, &tip));
            }
        }
        let first = AnnouncedCheckpoint {
            format_version: FORMAT_VERSION,
            tables: through,
            updated_at: self.lake.ambient().now(),
        };
        // Another worker that was faster has seen an earlier state, and may have committed since.
        let begun = |stored: Option<AnnouncedCheckpoint>| stored.is_none().then(|| first.clone());
        self.update(begun).await
    }

    /// Announces what was committed and not announced. Returns the number of notices.
    ///
    /// # Errors
    /// What was not announced stays in the outbox. What was announced is recorded, as far as that succeeds.
    pub async fn announce(&self) -> Result<usize, AnnounceError> {
        let stored =
            checkpoint::load::<AnnouncedCheckpoint>(&*self.checkpoints, &self.pipeline).await?;
        let known = stored.map(|(stored, _)| stored.tables).unwrap_or_default();
        let (mut count, mut through, mut first_error) = (0, BTreeMap::new(), None);
        for (kind, name) in &self.tables {
            let mut reached = None;
            let done = self.table(*kind, name, known.get(&name.to_string()), &mut reached).await;
            through.extend(reached.map(|reached| (name.to_string(), reached)));
            match done {
                Ok(announced) => count += announced,
                // A table that fails does not hold up the others.
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        if !through.is_empty() {
            self.record(through).await?;
        }
        first_error.map_or(Ok(count), Err)
    }

    /// How far a table's commits are announced: what is above it, the outbox still needs snapshot by snapshot.
    /// `None`: the table's commits are not announced.
    pub async fn consumed(&self, table: &Table) -> Result<Option<SequenceNumber>, AnnounceError> {
        if !self.tables.iter().any(|(_, name)| name == table.name()) {
            return Ok(None);
        }
        let stored =
            checkpoint::load::<AnnouncedCheckpoint>(&*self.checkpoints, &self.pipeline).await?;
        let known =
            stored.and_then(|(mut stored, _)| stored.tables.remove(&table.name().to_string()));
        let known = known.filter(|known| known.table_uuid == table.uuid());
        Ok(Some(
            known.map_or(SequenceNumber::default(), |known| SequenceNumber(known.sequence_number)),
        ))
    }

    async fn table(
        &self,
        kind: NoticeKind,
        name: &TableName,
        known: Option<&Through>,
        reached: &mut Option<Through>,
    ) -> Result<usize, AnnounceError> {
        let Some(table) = self.lake.find(name).await? else { return Ok(0) };
        let (mut count, mut unrecorded, mut waiting) = (0, 0, Vec::new());
        let mut news = news(&table, known).into_iter().peekable();
        while let Some(snapshot) = news.next() {
            waiting.extend(self.notices(kind, &table, &snapshot).await?);
            if waiting.len() < BATCH && news.peek().is_some() {
                continue;
            }
            for some in waiting.chunks(BATCH) {
                self.publish(some).await?;
            }
            (count, unrecorded) = (count + waiting.len(), unrecorded + waiting.len());
            waiting.clear();
            let here = Through::of(&table, &snapshot);
            // After a crash in a long backlog, the next process goes on from here.
            if unrecorded >= RECORD_EVERY {
                self.record(BTreeMap::from([(name.to_string(), here.clone())])).await?;
                unrecorded = 0;
            }
            *reached = Some(here);
        }
        Ok(count)
    }

    async fn notices(
        &self,
        kind: NoticeKind,
        table: &Table,
        snapshot: &Snapshot,
    ) -> Result<Vec<Notice>, LakeError> {
        // Files were rewritten: the rows are those of commits that are announced by themselves.
        if snapshot.is_rewrite() {
            return Ok(vec![]);
        }
        let builder = NoticeBuilder { lake: &self.lake_name, pipeline: &self.pipeline };
        if kind != NoticeKind::ObjectRejected {
            return Ok(builder.commit(kind, table, snapshot).into_iter().collect());
        }
        // Ledger rows of a bronze commit are all ingested: there is no need to read them.
        if properties::has_position(&snapshot.summary, crate::ledger::PUBLISHED) {
            return Ok(vec![]);
        }
        let rejections = rejections(&self.lake, table, snapshot).await?;
        let numbered = rejections.iter().enumerate();
        Ok(numbered
            .map(|(n, rejection)| builder.rejection(table, snapshot, n, rejection))
            .collect())
    }

    async fn publish(&self, notices: &[Notice]) -> Result<(), AnnounceError> {
        let published = self.publish_all(notices).await;
        let outcome = if published.is_ok() { "published" } else { "failed" };
        for notice in notices {
            metrics::announcements(notice.kind.as_str(), outcome, 1);
        }
        published
    }

    async fn publish_all(&self, notices: &[Notice]) -> Result<(), AnnounceError> {
        let refused = self.bus.publish(notices).await?;
        let Some(first) = refused.first() else { return Ok(()) };
        // Only those refused: the others would be published twice.
        let again: Vec<Notice> =
            refused.iter().filter_map(|refused| notices.get(refused.index).cloned()).collect();
        match self.bus.publish(&again).await?.len() {
            0 => Ok(()),
            count => Err(AnnounceError::Refused { count, why: first.why.clone() }),
        }
    }

    /// Records what was announced; another worker may have come further.
    async fn record(&self, through: BTreeMap<String, Through>) -> Result<(), AnnounceError> {
        let now = self.lake.ambient().now();
        let recorded = |stored: Option<AnnouncedCheckpoint>| {
            let mut tables = stored.map(|stored| stored.tables).unwrap_or_default();
            for (table, reached) in &through {
                let behind = tables.get(table).is_none_or(|known| known.is_behind(reached));
                if behind {
                    tables.insert(table.clone(), reached.clone());
                }
            }
            Some(AnnouncedCheckpoint { format_version: FORMAT_VERSION, tables, updated_at: now })
        };
        self.update(recorded).await
    }

    async fn update(
        &self,
        change: impl Fn(Option<AnnouncedCheckpoint>) -> Option<AnnouncedCheckpoint> + Send,
    ) -> Result<(), AnnounceError> {
        let (store, ambient) = (&*self.checkpoints, &**self.lake.ambient());
        Ok(checkpoint::update(store, ambient, &self.pipeline, change).await?)
    }
}

impl Through {
    fn of(table: &Table, snapshot: &Snapshot) -> Self {
        let Position { table, snapshot, sequence } = Position::of(table, snapshot);
        Self { table_uuid: table, snapshot_id: snapshot.0, sequence_number: sequence.0 }
    }

    /// Sequence numbers grow for as long as a table lives, rollbacks included.
    fn is_behind(&self, other: &Self) -> bool {
        self.table_uuid != other.table_uuid || self.sequence_number < other.sequence_number
    }
}

/// The snapshots after what is known, oldest first.
fn news(table: &Table, known: Option<&Through>) -> Vec<Snapshot> {
    let uuid = table.uuid();
    let after = known
        .filter(|known| known.table_uuid == uuid)
        .map(|known| SequenceNumber(known.sequence_number));
    if !table.has_whole_history()
        && after.is_none_or(|after| table.oldest_sequence() > after.next())
    {
        tracing::warn!(
            table = %table.name(),
            oldest = table.ancestors().last().map(|oldest| oldest.id.0),
            "snapshots expired before they were announced; they will not be announced"
        );
    }
    let mut news: Vec<Snapshot> = table
        .ancestors()
        .take_while(|snapshot| after.is_none_or(|after| snapshot.sequence > after))
        .collect();
    news.reverse();
    news
}
