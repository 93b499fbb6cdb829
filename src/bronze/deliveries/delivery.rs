//! The commit of one delivery: what it says beside its rows, and what it demands of them.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::decide::Refusal;
use super::{WHOLE, id_of};
use crate::batch::BatchId;
use crate::bronze::ObjectEnd;
use crate::bronze::staged::{Attached, Staged};
use crate::ledger::{Attempt, ObjectOutcome, ObjectRow};
use crate::reason::Reason;
use crate::source::{ObjectId, RawObject};

/// The folder of the delivery that a commit is: a snapshot property.
pub const DELIVERY: &str = "silversmith.delivery";

/// A delivery that is being committed.
#[derive(Debug)]
pub(in crate::bronze) struct Delivery {
    /// Its folder.
    pub(super) folder: String,
    /// What says that it is complete, as far as that is not in the ledger yet.
    pub(super) markers: Vec<RawObject>,
    /// What its manifest does not name, with the error of each.
    pub(super) surplus: Vec<(RawObject, String)>,
    /// What waited for it and is there no longer: deleted, or overwritten.
    pub(super) gone: Vec<(ObjectId, Reason)>,
    /// How many rows its objects have to have, and by which manifest.
    pub(super) rows: HashMap<ObjectId, u64>,
    /// The name of its manifest.
    pub(super) manifest: String,
    /// The newest row that the ledger has of its objects.
    pub(super) newest: Option<Attempt>,
}

/// Why a delivery is not committed. Nothing of it is left then.
#[derive(Debug)]
pub(in crate::bronze) enum Objection {
    /// An object is gone, or another version, since the folder was listed.
    Moved,
    /// Another worker has committed it.
    Overtaken,
    /// It cannot be ingested as it is.
    Refused(Refusal),
    /// The raw store failed at one of its objects.
    Postponed(String),
}

impl Delivery {
    /// What speaks against committing it as it was read. An object that no attempt could read is no objection: it is
    /// rejected by itself (I8).
    pub(in crate::bronze) fn objection(&self, staged: &Staged) -> Option<Objection> {
        let of_end = staged.ends.iter().find_map(|end| match end {
            ObjectEnd::Postponed { error } => Some(Objection::Postponed(error.clone())),
            ObjectEnd::Failed { reason: Reason::Missing | Reason::Changed, .. } => {
                Some(Objection::Moved)
            }
            // Another attempt may read it: the delivery is whole then.
            ObjectEnd::Failed { reason: Reason::Unreadable, error, .. } => {
                Some(Objection::unreadable(error.clone()))
            }
            _ => None,
        });
        of_end.or_else(|| staged.ingested.iter().find_map(|row| self.wrong_rows(row)))
    }

    fn wrong_rows(&self, row: &ObjectRow) -> Option<Objection> {
        let said = self.rows.get(&row.id).filter(|said| **said != row.rows)?;
        let (uri, rows, manifest) = (&row.id.uri, row.rows, &self.manifest);
        let error = format!("{manifest} says {said} rows of {uri}, and it has {rows}");
        Some(Objection::Refused(Refusal { reason: Reason::WrongRows, error }))
    }

    /// The rows of the ledger that are durable with the commit, and only with it: those of the delivery, its marker,
    /// and its objects that are not ingested.
    pub(in crate::bronze) fn attach(
        &self,
        staged: &mut Staged,
        batch: &BatchId,
        now: DateTime<Utc>,
    ) {
        let finished_at = after(now, self.newest.as_ref());
        let row = |id: ObjectId, size, rows| ObjectRow {
            id,
            size,
            outcome: ObjectOutcome::Ingested,
            reason: None,
            error: None,
            rows,
            rescued: Some(0),
            batch: batch.clone(),
            finished_at,
        };
        let id = id_of(&self.folder, WHOLE);
        let all = staged.ingested.iter().map(|row| row.rows).sum();
        let mut rows = vec![row(id.clone(), None, all)];
        rows.extend(self.markers.iter().map(|marker| row(marker.id.clone(), Some(marker.size), 0)));
        rows.extend(self.surplus.iter().map(|(object, error)| ObjectRow {
            outcome: ObjectOutcome::Rejected,
            reason: Some(Reason::Surplus),
            error: Some(error.clone()),
            ..row(object.id.clone(), Some(object.size), 0)
        }));
        rows.extend(self.gone.iter().map(|(id, reason)| ObjectRow {
            outcome: ObjectOutcome::Skipped,
            reason: Some(*reason),
            error: Some("it was there no longer when its delivery was complete".to_owned()),
            ..row(id.clone(), None, 0)
        }));
        let failures = staged.failed.len();
        let failed = staged.failed.drain(..);
        rows.extend(
            failed.map(|row| ObjectRow { finished_at: row.finished_at.max(finished_at), ..row }),
        );
        staged.attached =
            Some(Attached { folder: self.folder.clone(), id, rows, failed: failures });
    }
}

/// SUBTLE: a row counts only if it is newer than the one before it, and that may be of another clock.
pub(super) fn after(now: DateTime<Utc>, before: Option<&Attempt>) -> DateTime<Utc> {
    before.map_or(now, |before| now.max(before.finished_at + TimeDelta::microseconds(1)))
}

impl Objection {
    /// An object of the delivery cannot be read now.
    pub(super) fn unreadable(error: String) -> Self {
        Self::Refused(Refusal { reason: Reason::Unreadable, error })
    }
}
