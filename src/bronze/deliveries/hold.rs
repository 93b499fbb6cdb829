//! A folder that is not complete: its objects wait, and the ledger says so (I1).

use super::decide::{Folder, Refusal};
use super::work::{Part, Work};
use super::{WAITS_FOR, WHOLE, id_of};
use crate::bronze::{BronzeError, ObjectEnd, Unrequested};
use crate::ledger::{Attempt, ObjectOutcome};
use crate::reason::Reason;
use crate::source::RawObject;
use crate::telemetry::metrics;

/// What the ledger says of an object that waits.
const HELD: &str =
    "its delivery is not complete: `silversmith status --deliveries` says what it waits for";

/// What the ledger says of a folder.
pub(super) struct State {
    pub(super) whole: Option<Attempt>,
    pub(super) waits_for: Option<Attempt>,
}

impl Work<'_> {
    /// What the ledger says of a folder.
    pub(super) async fn state(&self, uri: &str) -> Result<State, BronzeError> {
        let (whole, waits_for) = (id_of(uri, WHOLE), id_of(uri, WAITS_FOR));
        let mut known = self.known([whole.clone(), waits_for.clone()].into()).await?;
        Ok(State { whole: known.remove(&whole), waits_for: known.remove(&waits_for) })
    }

    /// The folder is not complete, or refused: its objects wait.
    pub(super) async fn hold(
        &mut self,
        folder: &Folder,
        part: &Part,
        state: &State,
        what: String,
        refusal: Option<Refusal>,
    ) -> Result<(), BronzeError> {
        let here = self.here(folder, part).await?;
        let known = here.iter().map(|(_, object)| object.id.clone()).collect();
        let known = self.known(known).await?;
        let rows_before = self.rows.len();
        self.held.insert(folder.uri.clone());
        for (index, object) in here {
            let is_marker = part.markers.contains(&index);
            let before = known.get(&object.id);
            let outcome = before.map(|attempt| attempt.outcome);
            // A refusal is that of the marker, which a replay brings again; and where there is none, what cannot be read
            // now is tried again with one of the objects that came.
            let tries = |refusal: &&Refusal| match part.markers.is_empty() {
                true => refusal.reason == Reason::Unreadable && index == part.cause(),
                false => is_marker,
            };
            let refused = refusal.as_ref().filter(tries);
            match (outcome, refused) {
                (Some(ObjectOutcome::Ingested), _) if self.is_again(index) => self.alone(index),
                (Some(ObjectOutcome::Ingested), _) => self.end(index, ObjectEnd::Known),
                (_, Some(refusal)) => {
                    let Refusal { reason, error } = refusal.clone();
                    self.fail(Some(index), &object, (reason, error), before);
                }
                (Some(ObjectOutcome::Waiting), None) => self.end_again(index, ObjectEnd::Waiting),
                (_, None) => {
                    let why = Some((None, HELD.to_owned()));
                    self.record(&object, ObjectOutcome::Waiting, why, before);
                    match is_marker {
                        true => self.end_again(index, ObjectEnd::Waiting),
                        false => self.end(index, ObjectEnd::Waiting),
                    }
                }
            }
        }
        // The manifest came before, and its message is gone: what is wrong with it has to be said all the same.
        if let Some(Refusal { reason, error }) = refusal.clone()
            && let Some(marker) = folder.marker().filter(|_| part.markers.is_empty())
            && reason != Reason::Unreadable
        {
            let known = self.known([marker.id.clone()].into()).await?;
            let before = known.get(&marker.id);
            if before.is_none_or(|attempt| attempt.outcome != ObjectOutcome::Rejected) {
                let (object, cause) = (marker.clone(), part.cause());
                self.fail(None, &object, (reason, error.clone()), before);
                self.failed();
                self.unrequested.push(Unrequested { object, reason, error, cause });
            }
        }
        if self.rows.len() > rows_before {
            self.note_waiting(folder, state, what, refusal.map(|refusal| refusal.reason));
        }
        Ok(())
    }

    /// What the ledger says of a folder that waits.
    fn note_waiting(
        &mut self,
        folder: &Folder,
        state: &State,
        what: String,
        reason: Option<Reason>,
    ) {
        let pipeline = self.bronze.settings.pipeline.as_str();
        if state.whole.is_none() {
            metrics::deliveries(pipeline, "waiting");
            tracing::info!(pipeline, folder = folder.uri, waits_for = what, "delivery waits");
            let of = of_folder(&folder.uri, WHOLE);
            self.record(&of, ObjectOutcome::Waiting, None, None);
        }
        if let Some(reason) = reason {
            metrics::deliveries(pipeline, "refused");
            tracing::warn!(pipeline, folder = folder.uri, %reason, error = what, "delivery refused");
        }
        let of = of_folder(&folder.uri, WAITS_FOR);
        self.record(&of, ObjectOutcome::Waiting, Some((reason, what)), state.waits_for.as_ref());
    }
}

/// A folder as the ledger's rows name it.
fn of_folder(uri: &str, version: &str) -> RawObject {
    RawObject { id: id_of(uri, version), size: 0, version_id: None }
}
