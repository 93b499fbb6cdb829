//! Settling tickets: a ticket is done when its object's outcome is durable, dead letter included, and
//! releases its message otherwise.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::admission::Place;
use super::delivery::{Durable, Item, Ticket, retry_delay};
use super::shared::Shared;
use crate::bronze::ObjectEnd;
use crate::event::DeadLetter;

/// Receives after which an unreadable object is dead-lettered: about ten minutes of retries.
const READS: u32 = 8;

/// Settles the tickets of a batch that was ingested.
pub(super) async fn settle(shared: &Shared, pipeline: &str, batch: Vec<Item>, ends: &[ObjectEnd]) {
    let mut letters = Vec::new();
    for (item, end) in batch.into_iter().zip(ends) {
        match end {
            ObjectEnd::Ingested | ObjectEnd::Known => {
                if let Some(durable) = Durable::in_bronze(end) {
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
