//! Receiving: messages → objects in the lanes of their pipelines. Dispatching waits for nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::admission::{LaneShare, Reservation};
use super::delivery::{Delivery, Release, Ticket, put_off};
use super::lane::Entrance;
use super::routing::{Route, Routed, route};
use super::settle::Unsent;
use super::shared::Shared;
use crate::ambient::timeout;
use crate::config::settings::OnUnmatched;
use crate::event::{DeadLetter, ObjectEvent, parse};
use crate::queue::{Message, QueueError};
use crate::reason::Reason;
use crate::telemetry::metrics;
use crate::telemetry::readiness::PartHealth;
use crate::worker::failure::{Retry, STALLED};

/// Receives under way at a time, when there is much to receive.
const CONCURRENT: usize = 8;
/// How long a further receive waits for a message: the first one waits for news.
const SHORT_POLL: Duration = Duration::from_secs(1);
/// How long a worker that stops waits for a receive under way.
const LAST: Duration = Duration::from_secs(1);
/// Folders of unmatched objects that are remembered, so that each is logged once.
const FOLDERS: usize = 1_000;

/// What a receive brought, with the room that was reserved for it.
#[derive(Debug)]
struct Received {
    messages: Vec<Message>,
    room: Reservation,
}

/// The receives under way. `None`: the worker stops.
type Receives = JoinSet<Result<Option<Received>, QueueError>>;

/// Receives until the worker stops.
pub(super) async fn run(
    shared: Arc<Shared>,
    lanes: Vec<(Route, Entrance)>,
    release: Release,
    dead_letters: mpsc::UnboundedSender<Unsent>,
) {
    let mut retry = shared.failures.part("queue", None);
    let mut intake = Intake::new(shared.clone(), lanes, release, dead_letters);
    // Tasks of their own: the heartbeat keeps hidden what they receive from then on.
    let mut receives = Receives::new();
    let mut concurrent = 1;
    loop {
        while receives.len() < concurrent {
            let wait = if receives.is_empty() { shared.receiving.poll } else { SHORT_POLL };
            receives.spawn(receive(shared.clone(), wait, retry.health().clone()));
        }
        let received = tokio::select! {
            () = shared.stop.receiving.cancelled() => return intake.end(receives).await,
            received = receives.join_next() => received,
        };
        match received {
            Some(Ok(Ok(Some(received)))) => {
                retry.succeeded();
                let full = received.messages.len() == shared.receiving.limits.batch;
                concurrent = if full { (concurrent * 2).min(CONCURRENT) } else { 1 };
                intake.dispatch(received, !full);
            }
            Some(Ok(Err(error))) => {
                concurrent = 1;
                pause(&shared, &mut retry, error).await;
            }
            Some(Err(panic)) => {
                tracing::error!(%panic, "a receive failed inside silversmith; its messages will be redelivered");
            }
            Some(Ok(Ok(None))) | None => {}
        }
    }
}

/// Waits after a failed receive; where the worker ends by it, until it stops.
async fn pause(shared: &Shared, retry: &mut Retry, error: QueueError) {
    let pause = shared.failures.pause_of_all(retry, error.into(), "receiving failed");
    let stopped = shared.stop.receiving.cancelled();
    match pause {
        Some(pause) => tokio::select! {
            () = stopped => {}
            () = shared.ambient.sleep(pause) => {}
        },
        None => stopped.await,
    }
}

/// Receives once there is room and the breaker is closed.
async fn receive(
    shared: Arc<Shared>,
    wait: Duration,
    health: PartHealth,
) -> Result<Option<Received>, QueueError> {
    let receiving = &shared.receiving;
    let may_begin = async {
        shared.breaker.closed().await;
        receiving.admission.reserve().await
    };
    let room = tokio::select! {
        biased;
        () = shared.stop.receiving.cancelled() => return Ok(None),
        room = may_begin => room,
    };
    let begun = health.begin(STALLED);
    let messages = receiving.queue.receive(wait, receiving.heartbeat.visibility()).await?;
    drop(begun);
    for message in &messages {
        receiving.heartbeat.add(&message.receipt);
    }
    metrics::messages("received", messages.len() as u64);
    receiving.note_poll(messages.is_empty());
    Ok(Some(Received { messages, room }))
}

struct Intake {
    shared: Arc<Shared>,
    routes: Vec<Route>,
    /// In the order of the routes.
    lanes: Vec<Entrance>,
    release: Release,
    dead_letters: mpsc::UnboundedSender<Unsent>,
    dead_letter_share: LaneShare,
    /// Folders whose unmatched objects were logged.
    folders: HashSet<String>,
    /// What arrived after the worker was asked to stop.
    late: Vec<Delivery>,
}

impl Intake {
    fn new(
        shared: Arc<Shared>,
        lanes: Vec<(Route, Entrance)>,
        release: Release,
        dead_letters: mpsc::UnboundedSender<Unsent>,
    ) -> Self {
        let (routes, lanes) = lanes.into_iter().unzip();
        let dead_letter_share = shared.receiving.admission.dead_letters();
        let (folders, late) = (HashSet::new(), vec![]);
        Self { shared, routes, lanes, release, dead_letters, dead_letter_share, folders, late }
    }

    /// Releases what receives under way still bring. A long poll that brings nothing is cut off.
    async fn end(mut self, mut receives: Receives) {
        let ambient = self.shared.ambient.clone();
        let late = async {
            while let Some(received) = receives.join_next().await {
                if let Ok(Ok(Some(Received { messages, mut room }))) = received {
                    let open = |message| Delivery::open(message, room.admit(), &self.release);
                    self.late.extend(messages.iter().map(open));
                }
            }
        };
        if timeout(&ambient, LAST, late).await.is_err() {
            tracing::debug!(
                "cut off a receive; what it brings is redelivered after its visibility"
            );
        }
        receives.shutdown().await;
        // Not before: an open poll would receive them again.
        drop(self.late);
    }

    /// Sends every object of the messages to its lanes. `drained`: the queue seems to be empty.
    fn dispatch(&mut self, received: Received, drained: bool) {
        let Received { messages, mut room } = received;
        self.drained(false);
        for message in &messages {
            let delivery = Delivery::open(message, room.admit(), &self.release);
            self.deliver(message, &delivery);
            delivery.seal();
        }
        // Only now: so that what came together goes into one batch.
        self.drained(drained);
    }

    fn drained(&self, drained: bool) {
        for lane in &self.lanes {
            lane.drained(drained);
        }
    }

    /// Issues a ticket for every obligation that the message brings.
    fn deliver(&mut self, message: &Message, delivery: &Delivery) {
        let records = match parse(&message.body) {
            Ok(records) => records,
            Err(error) => return self.dead_letter_body(message, &error.to_string(), delivery),
        };
        let Routed { objects, unmatched, unmatched_replays, bad, nothing } =
            route(&records, &self.routes);
        if nothing > 0 {
            tracing::debug!(message_id = %message.id, records = nothing, "records with nothing to do");
        }
        let mut full: BTreeSet<usize> = objects.iter().map(|(index, _)| *index).collect();
        full.retain(|index| !self.lanes[*index].accepts());
        for (index, object) in objects.into_iter().filter(|(index, _)| !full.contains(index)) {
            self.lanes[index].enter(object.clone(), delivery.ticket());
        }
        if !full.is_empty() {
            put_off(delivery.ticket());
        }
        self.note_unmatched(&unmatched);
        let dead_letter = self.shared.receiving.on_unmatched == OnUnmatched::DeadLetter;
        for object in unmatched.into_iter().filter(|_| dead_letter).chain(unmatched_replays) {
            self.dead_letter_unmatched(object.clone(), delivery);
        }
        // All that is wrong with a message goes into one dead letter, which holds the message.
        if !bad.is_empty() {
            self.dead_letter_body(message, &some_of(&bad), delivery);
        }
    }

    fn dead_letter_body(&self, message: &Message, why: &str, delivery: &Delivery) {
        let ticket = delivery.ticket();
        let why = (Reason::NotAnEvent, why);
        let letter = self.shared.dead_letters.about_body(&message.body, why, ticket.origin());
        self.dead_letter(letter, ticket);
    }

    fn dead_letter_unmatched(&self, object: ObjectEvent, delivery: &Delivery) {
        let ticket = delivery.ticket();
        let why = (Reason::Unmatched, "no pipeline's source matches this object");
        let letter = self.shared.dead_letters.about(None, object, why, ticket.origin());
        self.dead_letter(letter, ticket);
    }

    fn dead_letter(&self, letter: DeadLetter, ticket: Ticket) {
        let bytes = letter.body.as_ref().map_or(0, String::len) as u64;
        if !self.dead_letter_share.accepts() {
            return put_off(ticket);
        }
        let place = self.dead_letter_share.enter(bytes);
        // Without a receiver the worker was cut off, and the ticket releases its message.
        drop(self.dead_letters.send(Unsent { letter, ticket, _place: place }));
    }

    fn note_unmatched(&mut self, objects: &[&ObjectEvent]) {
        for object in objects {
            let uri = object.uri();
            let folder = uri.rsplit_once('/').map_or("", |(folder, _)| folder);
            if self.folders.len() < FOLDERS && self.folders.insert(folder.to_owned()) {
                tracing::warn!(
                    uri,
                    "object matches no pipeline; further unmatched objects in this folder are not logged"
                );
            }
        }
    }
}

/// The first reasons, and how many more there are.
fn some_of(reasons: &[&str]) -> String {
    const SOME: usize = 5;
    let mut text = reasons.iter().take(SOME).copied().collect::<Vec<_>>().join("; ");
    if reasons.len() > SOME {
        text.push_str(&format!("; and {} more", reasons.len() - SOME));
    }
    text
}
