//! The commit protocol (I6): *unknown is not failed*.
//!
//! The swap is sent once. After any answer but success, conflict included, we look:
//!
//! | what the table shows | it means | then |
//! |---|---|---|
//! | our snapshot, or our metadata file in its log | committed | done |
//! | the pointer moved on without it | conflict: it can never win any more | its metadata files are deleted; the caller plans again |
//! | the pointer is still our base, or older | unknown: it may yet arrive | the *same* swap is sent again; nothing is deleted |
//! | the same, and every answer was a certain no | it was not carried out | its metadata files are deleted; the error is told |

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tracing::Instrument;

use super::catalog::{CatalogError, Swap};
use super::change::{Prepared, prepare};
use super::{Change, Lake, LakeError, Table, properties};
use crate::error::Kind;
use crate::telemetry::metrics;

/// How a commit ended, when that could be established.
#[derive(Debug)]
pub enum Outcome {
    /// The change is in the table; here is a state that has it.
    Committed(Table),
    /// Somebody else's commit came first; here is a state that has theirs. Data files of the
    /// change were not touched: they can be used again, or discarded.
    Conflict(Table),
}

/// How often an unanswered swap is looked after before the commit is reported as unknown.
fn patience() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(6)
        .build()
}

enum Look {
    Committed(Table),
    Conflict(Table),
    StillOurBase,
}

impl Lake {
    /// Prepares `change` on exactly the state `base` and swaps it in.
    ///
    /// # Errors
    /// [`LakeError::Unknown`] when the swap was sent and its fate could not be established: every
    /// file of the change has to be kept. Any other error: the table was not changed, and the
    /// change's data files are the caller's to discard or use again.
    pub async fn commit(&self, base: &Table, change: &Change) -> Result<Outcome, LakeError> {
        let span = tracing::info_span!("commit", table = %base.name());
        let ended = self.commit_quietly(base, change).instrument(span).await;
        let outcome = match &ended {
            Ok(Outcome::Committed(_)) => "committed",
            Ok(Outcome::Conflict(_)) => "conflict",
            Err(LakeError::Unknown { .. }) => "unknown",
            Err(_) => "failed",
        };
        metrics::commit(&base.name().to_string(), layer(change), outcome);
        ended
    }

    async fn commit_quietly(&self, base: &Table, change: &Change) -> Result<Outcome, LakeError> {
        let prepared = prepare(self, base, change).await?;
        let outcome = self.settle(base, &prepared).await?;
        if matches!(outcome, Outcome::Conflict(_)) {
            self.discard(prepared.wrote).await;
        }
        Ok(outcome)
    }

    async fn settle(&self, base: &Table, prepared: &Prepared) -> Result<Outcome, LakeError> {
        let mut delays = patience();
        // As long as every answer was a certain no, nothing is under way.
        let mut under_way = false;
        loop {
            let answer = self.catalog.swap(base.name(), base.pointer(), &prepared.proposal).await;
            let said = match answer {
                Ok(Swap::Swapped) => return self.see(base, prepared).await,
                Ok(Swap::Refused) => refused(base),
                Err(error) => error,
            };
            under_way |= !said.certain;
            match self.look_patiently(base, prepared, &mut delays).await {
                Ok(Look::Committed(table)) => return Ok(Outcome::Committed(table)),
                Ok(Look::Conflict(table)) => return Ok(Outcome::Conflict(table)),
                Ok(Look::StillOurBase) if !under_way => {
                    self.discard(prepared.wrote.clone()).await;
                    return Err(LakeError::Catalog { table: base.name().clone(), source: said });
                }
                Ok(Look::StillOurBase) => {
                    match delays.next() {
                        Some(delay) => tokio::time::sleep(delay).await,
                        None => return Err(unknown(base, prepared, said)),
                    }
                    tracing::warn!(
                        table = %base.name(), snapshot = prepared.snapshot_id, error = %said,
                        "no answer to a commit; sending the same one again"
                    );
                }
                Err(error) => return Err(unseen(base, prepared, error)),
            }
        }
    }

    /// The state that has a change which the catalog says is committed. A catalog that reads from replicas may
    /// show it late; whatever else it shows until then, the change is there.
    async fn see(&self, base: &Table, prepared: &Prepared) -> Result<Outcome, LakeError> {
        let mut delays = patience().chain([Duration::from_secs(2); REPLICA_LOOKS]);
        loop {
            let look = self.look_patiently(base, prepared, &mut delays).await;
            if let Look::Committed(table) = look.map_err(|error| unseen(base, prepared, error))? {
                return Ok(Outcome::Committed(table));
            }
            match delays.next() {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(unknown(base, prepared, not_shown(base))),
            }
        }
    }

    async fn look_patiently(
        &self,
        base: &Table,
        prepared: &Prepared,
        delays: &mut impl Iterator<Item = Duration>,
    ) -> Result<Look, LakeError> {
        loop {
            match self.look(base, prepared).await {
                Ok(look) => return Ok(look),
                Err(error) => match delays.next() {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(error),
                },
            }
        }
    }

    async fn look(&self, base: &Table, prepared: &Prepared) -> Result<Look, LakeError> {
        let table = self.load(base.name()).await?;
        let is_in = table.snapshot(prepared.snapshot_id).is_some()
            || table.descends_from(&prepared.proposal.metadata_location);
        Ok(match is_in {
            true => Look::Committed(table),
            false if self.may_still_arrive(base, prepared, &table) => Look::StillOurBase,
            false => Look::Conflict(table),
        })
    }

    /// Whether the table, as it is shown now, does not prove that the swap can never win.
    fn may_still_arrive(&self, base: &Table, prepared: &Prepared, now: &Table) -> bool {
        // Older than what we began with: a replica that lags says nothing.
        let earlier = now.last_sequence() < base.last_sequence()
            || (now.metadata_location() != base.metadata_location()
                && base.descends_from(now.metadata_location()));
        let stale = now.uuid() == base.uuid() && earlier;
        let unmoved = now.pointer().token == base.pointer().token;
        // Such a catalog compares what the requirements say, and nothing else.
        let required = self.catalog.writes_metadata()
            && prepared.proposal.requirements.iter().all(|r| r.check(Some(now.metadata())).is_ok());
        stale || unmoved || required
    }
}

/// Which layer a change is of, by its marks.
fn layer(change: &Change) -> metrics::Layer {
    let has = |prefix| properties::has_position(&change.marks, prefix);
    match () {
        () if change.marks.contains_key(properties::BATCH) => metrics::Layer::Bronze,
        () if has(properties::MERGED) => metrics::Layer::Silver,
        () if has(properties::COMPUTED) => metrics::Layer::Gold,
        () => metrics::Layer::Ledger,
    }
}

/// Looks for what a catalog says is committed, two seconds apart: replicas lag by ten seconds, not by minutes.
const REPLICA_LOOKS: usize = 15;

fn refused(base: &Table) -> CatalogError {
    let why = "refused, though nobody else has committed";
    CatalogError::lost(base.name().to_string(), "swap a table's metadata", why, Kind::Look)
}

fn not_shown(base: &Table) -> CatalogError {
    let why = "the catalog has said that it is committed, and does not show it";
    CatalogError::lost(base.name().to_string(), LOOKING, why, Kind::Retry)
}

/// The fate of a commit could not be looked up.
fn unseen(base: &Table, prepared: &Prepared, error: LakeError) -> LakeError {
    let source = match error {
        LakeError::Catalog { source, .. } => source,
        other => {
            let why = crate::error::chain(&other);
            CatalogError::lost("the table's metadata", LOOKING, why, other.kind())
        }
    };
    unknown(base, prepared, source)
}

const LOOKING: &str = "look for the commit";

fn unknown(base: &Table, prepared: &Prepared, source: CatalogError) -> LakeError {
    LakeError::Unknown { table: base.name().clone(), snapshot: prepared.snapshot_id, source }
}
