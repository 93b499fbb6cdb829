//! What comes after its delivery was complete.

use std::collections::HashSet;

use super::LateObjects;
use super::work::{Part, Work};
use crate::bronze::{BronzeError, ObjectEnd, Unrequested};
use crate::ledger::ObjectOutcome;
use crate::reason::Reason;
use crate::source::{RawObject, Requested};

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
        let mut rest = Part { objects: vec![], markers: part.markers.clone() };
        for index in &part.objects {
            match self.batch.get(*index).is_some_and(is_alone) {
                true => self.alone(*index),
                false => rest.objects.push(*index),
            }
        }
        if rest.objects.is_empty() && rest.markers.is_empty() {
            return Ok(());
        }
        let folder = self.bronze.look(self.deliveries, uri, wanted).await?;
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
        let why = (Reason::Late, format!("it came after the delivery of {uri} was complete"));
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
        for object in others {
            match outcome(&object) {
                None | Some(ObjectOutcome::Waiting) if rejects => {
                    self.fail(None, &object, why.clone(), known.get(&object.id));
                    let (reason, error) = why.clone();
                    self.unrequested.push(Unrequested { object, reason, error, cause });
                }
                None | Some(ObjectOutcome::Waiting) => self.found(object, cause),
                Some(_) => {}
            }
        }
        for marker in folder.markers.values().filter(|marker| !is_known(marker)) {
            self.record(marker, ObjectOutcome::Ingested, None, known.get(&marker.id));
        }
        for index in &part.markers {
            self.same_end(*index, ObjectEnd::Known);
        }
        Ok(())
    }

    /// The message of the marker came again: it may be that the worker ended after the commit, and before the dead
    /// letters of the objects that were rejected with it were sent.
    async fn dead_letter_again(
        &mut self,
        rejected: Vec<RawObject>,
        cause: usize,
    ) -> Result<(), BronzeError> {
        if rejected.is_empty() {
            return Ok(());
        }
        let uris: Vec<String> = rejected.iter().map(|object| object.id.uri.clone()).collect();
        let bronze = self.bronze.lake.find(&self.bronze.settings.table).await?;
        let words = self.bronze.ledger.view(bronze.as_ref()).await?.newest(&uris).await?;
        for object in rejected {
            let word = words.get(&object.id.uri).and_then(|words| words.split(['(', ')']).nth(1));
            let Some(reason) = word.and_then(|word| Reason::parse(word).ok()) else { continue };
            let error =
                format!("{}: it was rejected when its delivery was ingested", object.id.uri);
            self.unrequested.push(Unrequested { object, reason, error, cause });
        }
        Ok(())
    }
}
