//! The commit protocol (I6): *unknown is not failed*.
//!
//! The swap is sent once. After any answer but success, conflict included, we look:
//!
//! | what the table shows | it means | then |
//! |---|---|---|
//! | our snapshot, or our metadata file in its log | committed | done |
//! | the pointer moved on without it | conflict: it can never win any more | its metadata files are deleted; the caller plans again |
//! | the pointer is still our base | unknown: it may yet arrive | the *same* swap is sent again; nothing is deleted |

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use super::catalog::{CatalogError, Swap};
use super::change::{Prepared, prepare};
use super::{Change, Lake, LakeError, Table};
use crate::error::Kind;

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
        let prepared = prepare(self, base, change).await?;
        let outcome = self.settle(base, &prepared).await?;
        if matches!(outcome, Outcome::Conflict(_)) {
            self.discard(prepared.wrote).await;
        }
        Ok(outcome)
    }

    async fn settle(&self, base: &Table, prepared: &Prepared) -> Result<Outcome, LakeError> {
        let mut delays = patience();
        loop {
            let answer = self.catalog.swap(base.name(), base.pointer(), &prepared.proposal).await;
            let said = match answer {
                Ok(Swap::Swapped) => None,
                Ok(Swap::Refused) => Some(refused(base)),
                Err(error) => Some(error),
            };
            // Success needs a look, too: the caller gets the state that has the change.
            match self.look_patiently(base, prepared, &mut delays).await {
                Ok(Look::Committed(table)) => return Ok(Outcome::Committed(table)),
                Ok(Look::Conflict(table)) => return Ok(Outcome::Conflict(table)),
                Ok(Look::StillOurBase) => {
                    let last = said.unwrap_or_else(|| refused(base));
                    match delays.next() {
                        Some(delay) => tokio::time::sleep(delay).await,
                        None => return Err(unknown(base, prepared, last)),
                    }
                    tracing::warn!(
                        table = %base.name(), snapshot = prepared.snapshot_id, error = %last,
                        "no answer to a commit; sending the same one again"
                    );
                }
                Err(LakeError::Catalog { source, .. }) => {
                    return Err(unknown(base, prepared, source));
                }
                Err(other) => {
                    let source = CatalogError {
                        catalog: "the table's metadata".to_owned(),
                        doing: "look for the commit",
                        message: crate::error::chain(&other),
                        kind: other.kind(),
                    };
                    return Err(unknown(base, prepared, source));
                }
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
        Ok(
            if table.snapshot(prepared.snapshot_id).is_some()
                || table.descends_from(&prepared.proposal.metadata_location)
            {
                Look::Committed(table)
            } else if table.pointer().token == base.pointer().token {
                Look::StillOurBase
            } else {
                Look::Conflict(table)
            },
        )
    }
}

fn refused(base: &Table) -> CatalogError {
    CatalogError {
        catalog: base.name().to_string(),
        doing: "swap a table's metadata",
        message: "refused, though nobody else has committed".to_owned(),
        kind: Kind::Look,
    }
}

fn unknown(base: &Table, prepared: &Prepared, source: CatalogError) -> LakeError {
    LakeError::Unknown { table: base.name().clone(), snapshot: prepared.snapshot_id, source }
}
