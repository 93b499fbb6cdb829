//! What comes after its delivery was complete.

use std::collections::{HashMap, HashSet};

use super::LateObjects;
use super::decide::Folder;
use super::work::{Part, Work};
use crate::bronze::{BronzeError, ObjectEnd, Unrequested};
use crate::ledger::{Known, ObjectOutcome};
use crate::reason::Reason;
use crate::source::{ObjectId, RawObject, Requested};

impl Work<'_> {
    /// The requests for a folder whose delivery is complete. A marker has the folder looked through: what came while
    /// the delivery was committed, and waits, is late.
    pub(super) async fn late(
        &mut self,
        uri: &str,
        part: &Part,
        wanted: &HashSet<String>,
    ) -> Result<(), BronzeError> {
        let rejects = self.deliveries.late == LateObjects::Reject;
        let is_alone = |requested: &Requested| !rejects || requested.by_operator();
        let by_operator =
            |index: &usize| self.batch.get(*index).is_some_and(Requested::by_operator);
        if part.markers.is_empty() && part.objects.iter().all(by_operator) {
            part.objects.iter().for_each(|index| self.alone(*index));
            return Ok(());
        }
        let folder = self.bronze.look(self.deliveries, uri, wanted).await?;
        let mut rest = Part { objects: vec![], markers: part.markers.clone() };
        let rejected = match rejects {
            true => HashMap::new(),
            false => self.rejected_before(&folder, part).await?,
        };
        for index in &part.objects {
            match self.batch.get(*index).is_some_and(is_alone) {
                // Its message was redelivered: what its delivery has decided stands, until an operator asks.
                true if rejected.contains_key(index) => {
                    let (reason, error) = rejected[index].clone();
                    let outcome = ObjectOutcome::Rejected;
                    self.same_end(*index, ObjectEnd::Failed { outcome, reason, error });
                }
                true => self.alone(*index),
                false => rest.objects.push(*index),
            }
        }
        if rest.objects.is_empty() && rest.markers.is_empty() {
            return Ok(());
        }
        let here = self.here(&folder, &Part { markers: vec![], ..rest }).await?;
        let others: Vec<RawObject> = match part.markers.is_empty() {
            true => vec![],
            false => {
                folder.objects.values().filter(|o| !wanted.contains(&o.id.uri)).cloned().collect()
            }
        };
        let all =
            here.iter().map(|(_, object)| object).chain(&others).chain(folder.markers.values());
        let known = self.known(all.map(|object| object.id.clone()).collect()).await?;
        let outcome = |object: &RawObject| known.get(&object.id).map(|attempt| attempt.outcome);
        let why = why_late(uri);
        for (index, object) in here {
            match outcome(&object) {
                Some(ObjectOutcome::Ingested) => self.end(index, ObjectEnd::Known),
                // An operator asked for it.
                Some(ObjectOutcome::Replayed) => self.alone(index),
                _ => self.fail(Some(index), &object, why.clone(), known.get(&object.id)),
            }
        }
        let cause = part.cause();
        let is_known = |m: &&RawObject| outcome(m) == Some(ObjectOutcome::Ingested);
        let by_event =
            |index: &usize| matches!(self.batch.get(*index), Some(Requested::ByEvent(_)));
        if folder.markers.values().any(|m| is_known(&m)) && part.markers.iter().any(by_event) {
            let rejected = others.iter().filter(|o| outcome(o) == Some(ObjectOutcome::Rejected));
            self.dead_letter_again(rejected.cloned().collect(), cause).await?;
        }
        self.late_others(uri, others, &known, cause);
        for marker in folder.markers.values().filter(|marker| !is_known(marker)) {
            self.record(marker, ObjectOutcome::Ingested, None, known.get(&marker.id));
        }
        for index in &part.markers {
            self.same_end(*index, ObjectEnd::Known);
        }
        Ok(())
    }

    /// Of the requests by events, those for object versions that the ledger has as rejected, and why.
    async fn rejected_before(
        &self,
        folder: &Folder,
        part: &Part,
    ) -> Result<HashMap<usize, (Reason, String)>, BronzeError> {
        // An event does not say for sure which version is there now.
        let version = |index: &usize| {
            let requested = self.batch.get(*index).filter(|r| !r.by_operator())?;
            Some((*index, folder.objects.get(&requested.uri())?.id.clone()))
        };
        let asked: Vec<_> = part.objects.iter().filter_map(version).collect();
        let known = self.known(asked.iter().map(|(_, id)| id.clone()).collect()).await?;
        let is_rejected = |id: &ObjectId| {
            let before = known.get(id);
            before.is_some_and(|a| a.outcome == ObjectOutcome::Rejected && !a.again)
        };
        let rejected: Vec<_> = asked.into_iter().filter(|(_, id)| is_rejected(id)).collect();
        let uris: Vec<String> = rejected.iter().map(|(_, id)| id.uri.clone()).collect();
        let reasons = self.reasons(&uris).await?;
        let of = |(index, id): (usize, ObjectId)| {
            let reason = *reasons.get(&id.uri)?;
            Some((index, (reason, format!("{}: its delivery has rejected it", id.uri))))
        };
        Ok(rejected.into_iter().filter_map(of).collect())
    }

    /// Why objects were rejected, by URI, as the ledger's newest rows say.
    async fn reasons(&self, uris: &[String]) -> Result<HashMap<String, Reason>, BronzeError> {
        if uris.is_empty() {
            return Ok(HashMap::new());
        }
        let bronze = self.bronze.lake.find(&self.bronze.settings.table).await?;
        let words = self.bronze.ledger.view(bronze.as_ref()).await?.newest(uris).await?;
        let reason = |words: &str| Reason::parse(words.split(['(', ')']).nth(1)?).ok();
        Ok(words.into_iter().filter_map(|(uri, words)| Some((uri, reason(&words)?))).collect())
    }

    /// Objects that no request is for, and that are not known or wait.
    pub(super) fn late_others(
        &mut self,
        uri: &str,
        others: Vec<RawObject>,
        known: &Known,
        cause: usize,
    ) {
        let rejects = self.deliveries.late == LateObjects::Reject;
        let (reason, error) = why_late(uri);
        for object in others {
            match known.get(&object.id).map(|attempt| attempt.outcome) {
                None | Some(ObjectOutcome::Waiting) if rejects => {
                    self.fail(None, &object, (reason, error.clone()), known.get(&object.id));
                    let error = error.clone();
                    self.unrequested.push(Unrequested { object, reason, error, cause });
                }
                None | Some(ObjectOutcome::Waiting) => self.found(object, cause),
                Some(_) => {}
            }
        }
    }

    /// The message of the marker was redelivered: it may be that the worker ended after the commit, and before the dead
    /// letters of the objects that were rejected with it were sent.
    async fn dead_letter_again(
        &mut self,
        rejected: Vec<RawObject>,
        cause: usize,
    ) -> Result<(), BronzeError> {
        let uris: Vec<String> = rejected.iter().map(|object| object.id.uri.clone()).collect();
        let reasons = self.reasons(&uris).await?;
        for object in rejected {
            let Some(reason) = reasons.get(&object.id.uri).copied() else { continue };
            let error =
                format!("{}: it was rejected when its delivery was ingested", object.id.uri);
            self.unrequested.push(Unrequested { object, reason, error, cause });
        }
        Ok(())
    }
}

fn why_late(uri: &str) -> (Reason, String) {
    (Reason::Late, format!("it came after the delivery of {uri} was complete"))
}
