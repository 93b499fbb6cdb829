//! Settling tickets: a ticket is done when its object's outcome is durable, dead letter included, and
//! releases its message otherwise.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::admission::Place;
use super::delivery::{Durable, Item, Ticket, retry_delay};
use super::shared::Shared;
use crate::bronze::{IngestedBatch, ObjectEnd, Unrequested};
use crate::event::{DeadLetter, ObjectEvent};
use crate::source::RawObject;

/// Receives after which an unreadable object is dead-lettered: about ten minutes of retries.
const READS: u32 = 8;

/// Settles the tickets of a batch that was ingested.
pub(super) async fn settle(
    shared: &Shared,
    pipeline: &str,
    batch: Vec<Item>,
    ingested: &IngestedBatch,
) {
    let unsent = dead_letter_unrequested(shared, pipeline, &batch, &ingested.unrequested).await;
    let mut letters = Vec::new();
    for (index, (item, end)) in batch.into_iter().zip(&ingested.ends).enumerate() {
        if unsent.contains(&index) {
            let delay = retry_delay(item.ticket.origin().receive_count);
            item.ticket.release(delay);
            continue;
        }
        match end {
            ObjectEnd::Ingested | ObjectEnd::Known => {
                if let Some(durable) = Durable::in_bronze(end) {
                    item.ticket.done(durable);
                }
            }
            ObjectEnd::Waiting => {
                if let Some(durable) = Durable::waiting(end) {
                    item.ticket.done(durable);
                }
            }
            ObjectEnd::Postponed { error } => put_back(item, error),
            ObjectEnd::Failed { reason, error, .. } => match Durable::skipped(end) {
                Some(durable) => item.ticket.done(durable),
                None if reason.is_transient() && item.ticket.origin().receive_count < READS => {
                    put_back(item, error);
                }
                None => {
                    let Item { object, ticket, .. } = item;
                    let why = (*reason, error.as_str());
                    let origin = ticket.origin();
                    let letter = shared.dead_letters.about(Some(pipeline), object, why, origin);
                    letters.push((letter, ticket));
                }
            },
        }
    }
    dead_letter(shared, letters).await;
}

/// Sends the dead letters of objects that no message of the batch is for: those were deleted while the objects waited
/// for their delivery. Returns the items that they ended with and whose dead letters were not all sent.
async fn dead_letter_unrequested(
    shared: &Shared,
    pipeline: &str,
    batch: &[Item],
    unrequested: &[Unrequested],
) -> HashSet<usize> {
    let letter = |one: &Unrequested| {
        let object = event_of(&one.object)?;
        let why = (one.reason, one.error.as_str());
        let origin = batch.get(one.cause)?.ticket.origin();
        Some((shared.dead_letters.about(Some(pipeline), object, why, origin), one.cause))
    };
    let sent = shared.dead_letters.send(unrequested.iter().filter_map(letter).collect()).await;
    sent.into_iter().filter(|(_, sent)| sent.is_none()).map(|(cause, _)| cause).collect()
}

/// The event that an object would have; none where it is not on S3.
fn event_of(object: &RawObject) -> Option<ObjectEvent> {
    let (bucket, key) = object.id.uri.strip_prefix("s3://")?.split_once('/')?;
    Some(ObjectEvent {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        etag: Some(object.id.version.clone()),
        version_id: object.version_id.clone(),
        size: Some(object.size),
        sequencer: None,
        event_time: Some(object.id.last_modified),
        again: None,
        replayed: false,
    })
}

/// An object that could not be read now: its message comes again after a growing delay.
fn put_back(item: Item, error: &str) {
    let origin = item.ticket.origin();
    let again_in = retry_delay(origin.receive_count);
    tracing::warn!(
        uri = item.object.uri(),
        message_id = origin.id,
        receives = origin.receive_count,
        ?again_in,
        error,
        "could not read an object; its message is released"
    );
    item.ticket.release(again_in);
}

/// Sends dead letters, and settles the ticket of each: done when it is sent, else released.
async fn dead_letter(shared: &Shared, letters: Vec<(DeadLetter, Ticket)>) {
    for (ticket, sent) in shared.dead_letters.send(letters).await {
        match sent {
            Some(sent) => ticket.done(Durable::dead_lettered(&sent)),
            None => {
                let delay = retry_delay(ticket.origin().receive_count);
                ticket.release(delay);
            }
        }
    }
}

/// A dead letter about a message or an object that no lane handles.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) letter: DeadLetter,
    pub(super) ticket: Ticket,
    pub(super) _place: Place,
}

/// Sends the dead letters that intake finds, beside it: a queue for dead letters that does not answer
/// holds up no dispatch. Runs until intake has ended.
pub(super) async fn run(shared: Arc<Shared>, mut unsent: mpsc::UnboundedReceiver<Unsent>) {
    let mut some = Vec::new();
    let batch = shared.receiving.limits.batch;
    while unsent.recv_many(&mut some, batch).await > 0 {
        let (letters, places): (Vec<_>, Vec<_>) =
            some.drain(..).map(|unsent| ((unsent.letter, unsent.ticket), unsent._place)).unzip();
        dead_letter(&shared, letters).await;
        drop(places);
    }
}
