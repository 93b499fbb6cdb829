//! A message on its way to being deleted: pure, and such that deleting before every outcome is durable
//! does not compile (I1).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::admission::Held;
use super::dead_letters::Sent;
use crate::backoff::backoff;
use crate::bronze::ObjectEnd;
use crate::event::Origin;
use crate::ledger::ObjectOutcome;
use crate::queue::{Message, ReceiptHandle};

/// Proof that the outcome of an object, or of a message without one, is durable.
#[derive(Debug)]
pub(super) struct Durable(());

impl Durable {
    /// A committed batch says what became of an object; what failed needs a dead letter as well.
    pub(super) fn in_bronze(end: &ObjectEnd) -> Option<Self> {
        end.is_in_bronze().then_some(Self(()))
    }

    /// The dead letter is in its queue.
    pub(super) fn told(_sent: &Sent) -> Self {
        Self(())
    }

    /// The object is recorded as skipped, and nobody wants to be told.
    pub(super) fn skipped(end: &ObjectEnd) -> Option<Self> {
        let skipped = matches!(end, ObjectEnd::Failed { outcome: ObjectOutcome::Skipped, .. });
        skipped.then_some(Self(()))
    }

    /// There is nothing to be done: a test event, a folder marker, an object that nobody wants.
    pub(super) fn nothing_to_do() -> Self {
        Self(())
    }
}

/// How a message ends.
#[derive(Debug)]
pub(super) enum Close {
    Delete,
    GiveBack(Duration),
}

/// A message that has ended, to be told to the queue. What it takes up in hand goes with it.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) receipt: ReceiptHandle,
    pub(super) close: Close,
    pub(super) _held: Held,
}

/// A message in hand.
#[derive(Debug)]
struct Delivery {
    receipt: ReceiptHandle,
    origin: Origin,
    state: Mutex<State>,
    closing: mpsc::UnboundedSender<Closed>,
}

#[derive(Debug)]
struct State {
    open: usize,
    give_back: Option<Duration>,
    held: Option<Held>,
}

/// The obligation to deal with one object of a message for one pipeline, or with a message as a whole.
/// Dropped unsettled, it gives the message back.
#[derive(Debug)]
pub(super) struct Ticket {
    delivery: Arc<Delivery>,
    settled: bool,
}

impl Ticket {
    /// As many tickets as a message needs; at least one.
    pub(super) fn issue(
        message: &Message,
        count: usize,
        held: Held,
        closing: &mpsc::UnboundedSender<Closed>,
    ) -> Vec<Self> {
        let delivery = Arc::new(Delivery {
            receipt: message.receipt.clone(),
            origin: Origin { id: message.id.clone(), receive_count: message.receive_count },
            state: Mutex::new(State { open: count, give_back: None, held: Some(held) }),
            closing: closing.clone(),
        });
        (0..count).map(|_| Self { delivery: delivery.clone(), settled: false }).collect()
    }

    /// The message.
    pub(super) fn origin(&self) -> &Origin {
        &self.delivery.origin
    }

    /// The outcome is durable.
    pub(super) fn done(mut self, _durable: Durable) {
        self.settle(None);
    }

    /// The message is to come again, in a while.
    pub(super) fn give_back(mut self, delay: Duration) {
        self.settle(Some(delay));
    }

    fn settle(&mut self, give_back: Option<Duration>) {
        self.settled = true;
        let mut state = self.delivery.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open -= 1;
        state.give_back = state.give_back.max(give_back);
        if state.open > 0 {
            return;
        }
        let close = state.give_back.map_or(Close::Delete, Close::GiveBack);
        let Some(held) = state.held.take() else { return };
        let closed = Closed { receipt: self.delivery.receipt.clone(), close, _held: held };
        // Nobody listens any more when the worker was cut off: the message comes again by itself.
        drop(self.delivery.closing.send(closed));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(Some(Duration::ZERO));
        }
    }
}

/// How long a message in trouble of its own stays away: 5 s, doubled with every receive, at most a
/// quarter of an hour.
pub(super) fn delay(receive_count: u32) -> Duration {
    backoff(Duration::from_secs(5), receive_count, Duration::from_secs(15 * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::admission::Admission;
    use super::*;

    fn message() -> Message {
        Message {
            id: "1".into(),
            receipt: ReceiptHandle("r".into()),
            body: String::new(),
            receive_count: 1,
            sent_at: None,
        }
    }

    proptest! {
        /// I1, for any number of objects and any order of outcomes.
        #[test]
        fn a_message_ends_once_and_is_deleted_only_when_all_is_durable(
            outcomes in proptest::collection::vec(0u8..3, 1..20),
        ) {
            let hand = Admission::new(100, 100);
            let (closing, mut closed) = mpsc::unbounded_channel();
            let held = hand.hold(outcomes.len(), 1);
            let tickets = Ticket::issue(&message(), outcomes.len(), held, &closing);
            for (ticket, outcome) in tickets.into_iter().zip(&outcomes) {
                prop_assert!(closed.try_recv().is_err());
                match outcome {
                    0 => ticket.done(Durable::nothing_to_do()),
                    1 => ticket.give_back(Duration::from_secs(7)),
                    _ => drop(ticket),
                }
            }
            let ended = closed.try_recv().unwrap();
            let durable = outcomes.iter().all(|outcome| *outcome == 0);
            prop_assert_eq!(matches!(ended.close, Close::Delete), durable);
            prop_assert!(!hand.is_empty(), "held until the queue has been told");
            drop(ended);
            prop_assert!(hand.is_empty());
            prop_assert!(closed.try_recv().is_err());
        }
    }

    #[test]
    fn the_delay_grows_and_ends() {
        assert_eq!(delay(0), Duration::from_secs(5));
        assert_eq!(delay(1), Duration::from_secs(5));
        assert_eq!(delay(2), Duration::from_secs(10));
        assert_eq!(delay(4), Duration::from_secs(40));
        assert_eq!(delay(1_000), Duration::from_secs(900));
    }
}
