//! The commit protocol (I6): *unknown is not failed*.
//!
//! The swap is sent once. After any answer but success, conflict included, silversmith loads the table:
//!
//! | what the table shows | it means | then |
//! |---|---|---|
//! | the new snapshot, or the new metadata file in its log | committed | done |
//! | the pointer moved on without it | conflict: it can no longer win | its metadata files are deleted; the caller plans again |
//! | the pointer is still the base, or older | unknown: it may yet arrive | the *same* swap is sent again; nothing is deleted |
//! | the same, and every answer was a certain no | it was not carried out | its metadata files are deleted; the error is returned |

use std::time::Duration;

use chrono::{DateTime, Utc};

use backon::{BackoffBuilder, ExponentialBuilder};
use tracing::Instrument;

use super::catalog::{CatalogError, Swap};
use super::change::{self, Prepared, prepare};
use super::write::uncommitted::{Uncommitted, Written};
use super::{
    Change, CommitProperties, Lake, LakeError, SnapshotId, Table, TableName, TableSchema,
    UnknownCommit,
};
use crate::backoff::backoff;
use crate::error::Kind;
use crate::telemetry::metrics;

/// How a commit ended.
#[derive(Debug)]
#[must_use]
pub enum CommitOutcome {
    /// The change is in the table.
    Committed {
        /// A state that contains it; other writers' commits may be in it, too.
        table: Table,
        /// The snapshot that the change made.
        snapshot: SnapshotId,
    },
    /// Another commit came first: the change is not in the table, and will not be.
    Conflict {
        /// A state that contains the other commit.
        table: Table,
        /// The data files of the change, to use again or to discard. Attached files are deleted.
        files: Box<Uncommitted>,
    },
    /// No answer says whether the change is in the table. Its files stay where they are.
    Unknown(Box<UnknownCommit>),
}

impl CommitOutcome {
    /// The table and the snapshot; none where another commit came first: then the files are discarded.
    ///
    /// # Errors
    /// No answer says whether the change is in the table.
    pub async fn or_discard(self) -> Result<Option<(Table, SnapshotId)>, LakeError> {
        match self {
            Self::Committed { table, snapshot } => Ok(Some((table, snapshot))),
            Self::Conflict { files, .. } => {
                files.discard().await;
                Ok(None)
            }
            Self::Unknown(unknown) => Err(unknown.into()),
        }
    }
}

/// The pauses between the checks of an unanswered swap; after the last one the commit is unknown.
fn patience() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(6)
        .build()
}

/// Conflicts in a row after which an append gives up.
const MAX_CONFLICTS: u32 = 100;
/// The wait after a conflict, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(5);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

enum Look {
    Committed(Table),
    Conflict(Table),
    StillBase,
}

/// How a swap ended.
enum Settled {
    Committed(Table),
    Conflict(Table),
    Unknown(Box<UnknownCommit>),
    /// Every answer was a certain no.
    Refused(CatalogError),
}

/// How an expiry ended.
pub(super) enum TakenOut {
    /// The snapshots are gone.
    Committed {
        /// A state without them.
        table: Table,
        /// Files that were deleted.
        files: usize,
    },
    /// Another commit came first: this is a state that contains it.
    Conflict(Table),
}

/// A swap whose answer is not known yet.
struct Swapping<'a> {
    base: &'a Table,
    prepared: &'a Prepared,
    attempts: u32,
    began: DateTime<Utc>,
}

impl Lake {
    /// Prepares `change` on exactly the state `base` and swaps it in.
    ///
    /// # Errors
    /// The table was not changed, and the change's files are deleted.
    pub async fn commit(&self, base: &Table, change: Change) -> Result<CommitOutcome, LakeError> {
        let span = tracing::info_span!("commit", table = %base.name());
        let layer = change.layer();
        let ended = self.prepare_and_swap(base, change).instrument(span).await;
        let outcome = match &ended {
            Ok(CommitOutcome::Committed { .. }) => "committed",
            Ok(CommitOutcome::Conflict { .. }) => "conflict",
            Ok(CommitOutcome::Unknown(_)) => "unknown",
            Err(_) => "failed",
        };
        metrics::commit(&base.name().to_string(), layer, outcome);
        ended
    }

    /// Appends files, whatever other commits come first.
    ///
    /// # Errors
    /// As [`Lake::commit`]; [`LakeError::Contended`] after too many conflicts; [`LakeError::Unknown`].
    pub async fn append_until_in(
        &self,
        mut base: Table,
        mut files: Uncommitted,
        schema: Option<TableSchema>,
        properties: CommitProperties,
    ) -> Result<(Table, SnapshotId), LakeError> {
        let (mut conflicts, began) = (0, self.ambient.now());
        loop {
            let change = Change::append(files, properties.clone()).with_schema(schema.clone());
            match self.commit(&base, change).await? {
                CommitOutcome::Committed { table, snapshot } => return Ok((table, snapshot)),
                CommitOutcome::Unknown(unknown) => return Err(unknown.into()),
                CommitOutcome::Conflict { table, files: again } => (base, files) = (table, *again),
            }
            conflicts += 1;
            if conflicts == MAX_CONFLICTS {
                files.discard().await;
                return Err(self.contended(base.name(), conflicts, began));
            }
            self.wait_after_conflict(conflicts).await;
        }
    }

    /// Takes snapshots out of the metadata, with no other change.
    pub(super) async fn take_out(
        &self,
        base: &Table,
        expired: &[i64],
    ) -> Result<TakenOut, LakeError> {
        let mut prepared = change::expire::prepare(self, base, expired).await?;
        let wrote = std::mem::replace(&mut prepared.wrote, Written::nothing(self)).keep();
        match self.settle(base, &prepared).await {
            Settled::Committed(table) => {
                let files = self.delete_expired(base, expired, &table).await;
                Ok(TakenOut::Committed { table, files })
            }
            Settled::Unknown(unknown) => Err(unknown.into()),
            Settled::Conflict(table) => {
                self.delete_unnamed(wrote).await;
                Ok(TakenOut::Conflict(table))
            }
            Settled::Refused(source) => {
                self.delete_unnamed(wrote).await;
                Err(LakeError::Catalog { table: base.name().clone(), source })
            }
        }
    }

    /// Waits after the `conflicts`th conflict in a row: longer each time, which keeps concurrent writers apart.
    pub async fn wait_after_conflict(&self, conflicts: u32) {
        let wait = backoff(FIRST_WAIT, conflicts, LONGEST_WAIT);
        self.ambient.sleep(self.ambient.jitter(wait)).await;
    }

    /// The error after too many conflicts in a row.
    pub(crate) fn contended(
        &self,
        table: &TableName,
        attempts: u32,
        began: DateTime<Utc>,
    ) -> LakeError {
        let elapsed = (self.ambient.now() - began).to_std().unwrap_or_default();
        LakeError::Contended { table: table.clone(), attempts, elapsed }
    }

    async fn prepare_and_swap(
        &self,
        base: &Table,
        change: Change,
    ) -> Result<CommitOutcome, LakeError> {
        let expired = self.due(base).await;
        let mut prepared = match prepare(self, base, &change, &expired).await {
            Ok(prepared) => prepared,
            Err(error) => {
                change.discard().await;
                return Err(error);
            }
        };
        // From here on the table may name these files: they stay if this task is cancelled.
        let wrote = std::mem::replace(&mut prepared.wrote, Written::nothing(self)).keep();
        let (files, attached) = change.into_files();
        let (files, attached) = (files.keep(), attached.map(Uncommitted::keep));
        let (attached, _) = attached.unwrap_or_default();
        let attached = || attached.iter().map(|file| file.file_path().to_owned());
        let settled = self.settle(base, &prepared).await;
        Ok(match settled {
            Settled::Committed(table) => {
                self.delete_expired(base, &expired, &table).await;
                CommitOutcome::Committed { table, snapshot: prepared.snapshot }
            }
            Settled::Unknown(unknown) => CommitOutcome::Unknown(unknown),
            Settled::Conflict(table) => {
                self.delete_unnamed(wrote.into_iter().chain(attached()).collect()).await;
                CommitOutcome::Conflict { table, files: Box::new(Uncommitted::of(self, files)) }
            }
            Settled::Refused(source) => {
                let files = files.0.iter().map(|file| file.file_path().to_owned());
                let all = wrote.into_iter().chain(attached()).chain(files);
                self.delete_unnamed(all.collect()).await;
                return Err(LakeError::Catalog { table: base.name().clone(), source });
            }
        })
    }

    async fn settle(&self, base: &Table, prepared: &Prepared) -> Settled {
        let mut delays = patience();
        // As long as every answer was a certain no, no swap can still arrive.
        let mut may_arrive = false;
        let mut swap = Swapping { base, prepared, attempts: 0, began: self.ambient.now() };
        loop {
            swap.attempts += 1;
            let answer = self.catalog.swap(base.name(), base.pointer(), &prepared.proposal).await;
            let failure = match answer {
                Ok(Swap::Swapped) => return self.await_visible(&swap).await,
                Ok(Swap::Refused) => refused(base),
                Err(error) => error,
            };
            may_arrive |= matches!(failure, CatalogError::Indeterminate(_));
            match self.look_patiently(&swap, &mut delays).await {
                Ok(Look::Committed(table)) => return Settled::Committed(table),
                Ok(Look::Conflict(table)) => return Settled::Conflict(table),
                Ok(Look::StillBase) if !may_arrive => return Settled::Refused(failure),
                Ok(Look::StillBase) => {
                    match delays.next() {
                        Some(delay) => self.ambient.sleep(delay).await,
                        None => return self.unknown(&swap, failure),
                    }
                    tracing::warn!(
                        table = %base.name(), snapshot = %prepared.snapshot,
                        attempts = swap.attempts, error = %failure,
                        "no answer to a commit; sending the same one again"
                    );
                }
                Err(error) => return self.unknown(&swap, look_failed(error)),
            }
        }
    }

    /// The state that contains a change which the catalog says is committed. A catalog that reads from replicas
    /// may show it late; whatever it shows until then, the change is committed.
    async fn await_visible(&self, swap: &Swapping<'_>) -> Settled {
        let mut delays = replica_delays();
        loop {
            match self.look_patiently(swap, &mut delays).await {
                Ok(Look::Committed(table)) => return Settled::Committed(table),
                Ok(_) => {}
                Err(error) => return self.unknown(swap, look_failed(error)),
            }
            match delays.next() {
                Some(delay) => self.ambient.sleep(delay).await,
                None => return self.unknown(swap, not_shown(swap.base)),
            }
        }
    }

    fn unknown(&self, swap: &Swapping<'_>, source: CatalogError) -> Settled {
        Settled::Unknown(Box::new(UnknownCommit {
            table: swap.base.name().clone(),
            snapshot: swap.prepared.snapshot,
            attempts: swap.attempts,
            elapsed: (self.ambient.now() - swap.began).to_std().unwrap_or_default(),
            source,
        }))
    }

    async fn look_patiently(
        &self,
        swap: &Swapping<'_>,
        delays: &mut impl Iterator<Item = Duration>,
    ) -> Result<Look, LakeError> {
        loop {
            match self.look(swap.base, swap.prepared).await {
                Ok(look) => return Ok(look),
                Err(error) => match delays.next() {
                    Some(delay) => self.ambient.sleep(delay).await,
                    None => return Err(error),
                },
            }
        }
    }

    async fn look(&self, base: &Table, prepared: &Prepared) -> Result<Look, LakeError> {
        let table = self.load(base.name()).await?;
        let is_in = table.snapshot(prepared.snapshot).is_some()
            || table.descends_from(&prepared.proposal.metadata_location);
        Ok(match is_in {
            true => Look::Committed(table),
            false if self.may_still_arrive(base, prepared, &table) => Look::StillBase,
            false => Look::Conflict(table),
        })
    }

    /// Whether the table, as it is shown now, does not prove that the swap can never win.
    fn may_still_arrive(&self, base: &Table, prepared: &Prepared, now: &Table) -> bool {
        // Older than the base: a replica that lags proves nothing.
        let earlier = now.last_sequence() < base.last_sequence()
            || (now.metadata_location() != base.metadata_location()
                && base.descends_from(now.metadata_location()));
        let stale = now.uuid() == base.uuid() && earlier;
        let unmoved = now.pointer().token == base.pointer().token;
        // Such a catalog compares the requirements, and nothing else.
        let required = self.catalog.writes_metadata()
            && prepared.proposal.requirements.iter().all(|r| r.check(Some(now.metadata())).is_ok());
        stale || unmoved || required
    }
}

/// The pauses between looks at a catalog that reads from replicas. They lag by ten seconds, not by minutes.
pub(super) fn replica_delays() -> impl Iterator<Item = Duration> {
    const LOOKS: usize = 15;
    patience().chain([Duration::from_secs(2); LOOKS])
}

fn refused(base: &Table) -> CatalogError {
    let why = "refused, although no other commit came first";
    CatalogError::unanswered(base.name().to_string(), "swap a table's metadata", why, Kind::Look)
}

fn not_shown(base: &Table) -> CatalogError {
    let why = "the catalog said that it is committed, and does not show it";
    CatalogError::unanswered(base.name().to_string(), LOOKING, why, Kind::Retry)
}

/// The error of a check for a commit.
fn look_failed(error: LakeError) -> CatalogError {
    match error {
        LakeError::Catalog { source, .. } => source,
        other => {
            let why = crate::error::chain(&other);
            CatalogError::unanswered("the table's metadata", LOOKING, why, other.kind())
        }
    }
}

const LOOKING: &str = "look for the commit";
