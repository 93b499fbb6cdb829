//! A message on its way to being deleted: pure, and such that deleting before every outcome is durable
//! does not compile (I1).
//!
//! An open delivery issues a ticket for each obligation that the message brings, and is sealed once
//! all are known. The message is deleted when the delivery is sealed and every ticket is done. Dropping
//! an unsealed delivery or an unsettled ticket releases the message instead.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::admission::{Admitted, Place};
use super::dead_letters::Sent;
use crate::backoff::backoff;
use crate::bronze::ObjectEnd;
use crate::event::{ObjectEvent, Origin};
use crate::ledger::ObjectOutcome;
use crate::queue::{Message, ReceiptHandle};

/// Proof that the outcome of an obligation is durable.
#[derive(Debug)]
pub(super) struct Durable(());

impl Durable {
    /// The object's rows are in bronze. A failed object needs a dead letter as well.
    pub(super) fn in_bronze(end: &ObjectEnd) -> Option<Self> {
        end.is_in_bronze().then_some(Self(()))
    }

    /// The ledger has the object as one that waits for its delivery, which is ingested without another event.
    pub(super) fn waiting(end: &ObjectEnd) -> Option<Self> {
        matches!(end, ObjectEnd::Waiting).then_some(Self(()))
    }

    /// The dead letter is in its queue.
    pub(super) fn dead_lettered(_sent: &Sent) -> Self {
        Self(())
    }

    /// The object is recorded as skipped, which needs no dead letter.
    pub(super) fn skipped(end: &ObjectEnd) -> Option<Self> {
        let skipped = matches!(end, ObjectEnd::Failed { outcome: ObjectOutcome::Skipped, .. });
        skipped.then_some(Self(()))
    }
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Close {
    /// It is deleted.
    Delete,
    /// It is received again after a delay.
    Release(Duration),
}

/// A message whose delivery has ended: the queue is still to be informed. It counts as admitted until
/// then.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) receipt: ReceiptHandle,
    pub(super) close: Close,
    pub(super) _admitted: Admitted,
}

/// Where messages go whose delivery has ended.
pub(super) type Release = mpsc::UnboundedSender<Closed>;

/// A message in flight.
#[derive(Debug)]
struct InFlight {
    receipt: ReceiptHandle,
    origin: Origin,
    state: Mutex<State>,
    release: Release,
}

#[derive(Debug)]
struct State {
    /// Obligations that are not settled.
    open: usize,
    /// The longest delay that was asked for, if any was.
    delay: Option<Duration>,
    admitted: Option<Admitted>,
}

/// A message whose obligations are being found out: itself the first of them.
#[derive(Debug)]
pub(super) struct Delivery(Ticket);

impl Delivery {
    /// Of a received message, which counts as admitted until the queue is informed by `release`.
    pub(super) fn open(message: &Message, admitted: Admitted, release: &Release) -> Self {
        Self(Ticket::of(&Arc::new(InFlight {
            receipt: message.receipt.clone(),
            origin: Origin { id: message.id.to_string(), receive_count: message.receive_count },
            state: Mutex::new(State { open: 0, delay: None, admitted: Some(admitted) }),
            release: release.clone(),
        })))
    }

    /// For one obligation.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket::of(&self.0.message)
    }

    /// Every obligation has its ticket.
    pub(super) fn seal(self) {
        self.0.done(Durable(()));
    }
}

/// The obligation to deal with one object of a message for one pipeline, or to send a dead letter.
#[derive(Debug)]
pub(super) struct Ticket {
    message: Arc<InFlight>,
    settled: bool,
}

impl Ticket {
    fn of(message: &Arc<InFlight>) -> Self {
        message.state.lock().unwrap_or_else(PoisonError::into_inner).open += 1;
        Self { message: message.clone(), settled: false }
    }

    /// The message.
    pub(super) fn origin(&self) -> &Origin {
        &self.message.origin
    }

    /// The outcome is durable.
    pub(super) fn done(mut self, _durable: Durable) {
        self.settle(None);
    }

    /// The message is to be received again, after a delay.
    pub(super) fn release(mut self, delay: Duration) {
        self.settle(Some(delay));
    }

    fn settle(&mut self, delay: Option<Duration>) {
        self.settled = true;
        let mut state = self.message.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open -= 1;
        state.delay = state.delay.max(delay);
        if state.open > 0 {
            return;
        }
        let close = state.delay.map_or(Close::Delete, Close::Release);
        // A ticket keeps the delivery open, so that it ends once.
        let Some(admitted) = state.admitted.take() else { return };
        let closed = Closed { receipt: self.message.receipt.clone(), close, _admitted: admitted };
        // Without a receiver the worker was cut off: the message is delivered again by itself.
        drop(self.message.release.send(closed));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(Some(Duration::ZERO));
        }
    }
}

/// An object of a message, in the lane of one pipeline.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) object: ObjectEvent,
    pub(super) ticket: Ticket,
    pub(super) _place: Place,
}

/// Releases a message whose objects their lane cannot accept for now.
pub(super) fn put_off(ticket: Ticket) {
    let receives = ticket.origin().receive_count;
    ticket.release(lane_delay(receives));
}

/// How long a message stays away whose object could not be handled: 5 s, doubled with every receive,
/// at most a quarter of an hour.
pub(super) fn retry_delay(receive_count: u32) -> Duration {
    backoff(Duration::from_secs(5), receive_count, Duration::from_secs(15 * 60))
}

/// The same for objects that their lane cannot accept, which says nothing about the objects: 15 min,
/// doubled with every receive, so that an outage of hours does not use up ten receives.
fn lane_delay(receive_count: u32) -> Duration {
    backoff(Duration::from_secs(15 * 60), receive_count, Duration::from_secs(6 * 3_600))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use chrono::DateTime;
    use futures::FutureExt;
    use proptest::prelude::*;
    use tokio::sync::mpsc::error::TryRecvError;

    use super::super::admission::{Admission, Share};
    use super::*;
    use crate::ambient::ManualAmbient;
    use crate::queue::MessageId;

    fn message() -> Message {
        Message {
            id: MessageId("m".into()),
            receipt: ReceiptHandle("r".into()),
            body: String::new(),
            receive_count: 1,
            sent_at: None,
        }
    }

    /// What happens to a delivery.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Issue,
        Done,
        Release,
        Drop,
    }

    proptest! {
        /// Whatever the order of issuing, settling and sealing: nothing closes before the delivery is
        /// sealed and all its tickets are settled, and it is deleted only when all were done.
        #[test]
        fn a_message_is_deleted_once_sealed_and_all_its_tickets_are_done(
            steps in proptest::collection::vec(
                prop_oneof![
                    3 => Just(Step::Issue), 3 => Just(Step::Done), 1 => Just(Step::Release),
                    1 => Just(Step::Drop),
                ],
                0..20,
            ),
            sealed in any::<bool>(), late in 0usize..4,
        ) {
            let clock = Arc::new(ManualAmbient::at(DateTime::UNIX_EPOCH));
            let share = Share { objects: 20, bytes: 100 };
            let admission = Admission::new(10, 100, &[share], share, clock);
            let (release, mut closed) = mpsc::unbounded_channel();
            let admitted = admission.reserve().now_or_never().unwrap().admit();
            let delivery = Delivery::open(&message(), admitted, &release);
            let mut tickets: VecDeque<Ticket> = (0..late).map(|_| delivery.ticket()).collect();
            let mut durable = sealed;
            for step in steps {
                match step {
                    Step::Issue => tickets.push_back(delivery.ticket()),
                    // The oldest first, and the newest: in any order.
                    Step::Done => tickets.pop_front().into_iter().for_each(|t| t.done(Durable(()))),
                    Step::Release => {
                        if let Some(ticket) = tickets.pop_back() {
                            ticket.release(Duration::from_secs(7));
                            durable = false;
                        }
                    }
                    Step::Drop => durable &= tickets.pop_back().is_none(),
                }
                prop_assert!(matches!(closed.try_recv(), Err(TryRecvError::Empty)), "not sealed");
            }
            match sealed {
                true => delivery.seal(),
                false => drop(delivery),
            }
            while let Some(ticket) = tickets.pop_front() {
                prop_assert!(matches!(closed.try_recv(), Err(TryRecvError::Empty)), "open");
                ticket.done(Durable(()));
            }
            let ended = closed.try_recv().unwrap();
            prop_assert_eq!(matches!(ended.close, Close::Delete), durable);
            prop_assert!(!admission.is_empty(), "admitted until the queue is informed");
            drop(ended);
            prop_assert!(admission.is_empty());
            prop_assert!(matches!(closed.try_recv(), Err(TryRecvError::Empty)), "closed once");
        }
    }

    #[test]
    fn the_delay_grows_and_ends() {
        let seconds = |receives| retry_delay(receives).as_secs();
        assert_eq!([0, 1, 2, 4, 1_000].map(seconds), [5, 5, 10, 40, 900]);
        let minutes = |receives| lane_delay(receives).as_secs() / 60;
        assert_eq!([1, 2, 3, 1_000].map(minutes), [15, 30, 60, 360]);
    }
}
