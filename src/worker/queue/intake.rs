//! Receiving: messages → tickets in the lanes of the pipelines.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Common;
use super::delivery::{Closed, Durable, Ticket};
use super::lane::{Entrance, Item};
use super::routing::route;
use crate::backoff::retry_delay;
use crate::config::settings::OnUnmatched;
use crate::error::chain;
use crate::event::{ObjectEvent, parse};
use crate::queue::{BATCH, Message, QueueError};
use crate::reason::Reason;
use crate::telemetry::{metrics, readiness};

/// Receives under way at a time, when there is much to receive.
const MOST: usize = 8;
/// How long a further receive waits: the first one waits for news.
const SHORT: Duration = Duration::from_secs(1);
/// How long a worker that stops waits for what is just being received.
const LAST: Duration = Duration::from_secs(1);
/// Folders of unmatched objects that are remembered, so that each is logged once.
const FOLDERS: usize = 1_000;

/// Runs until the worker stops.
pub(super) async fn run(
    common: Arc<Common>,
    lanes: Vec<Entrance>,
    closing: mpsc::UnboundedSender<Closed>,
) {
    let mut intake =
        Intake { common: common.clone(), lanes, closing, folders: HashSet::new(), late: vec![] };
    // Tasks of their own: what they receive is kept hidden from then on, whatever is waited for here.
    let mut receives = JoinSet::new();
    let (mut wanted, mut failures) = (1, 0);
    loop {
        while receives.len() < wanted {
            let wait = if receives.is_empty() { common.poll } else { SHORT };
            receives.spawn(receive(common.clone(), wait));
        }
        let received = tokio::select! {
            () = common.stop.cancelled() => return intake.end(receives).await,
            received = receives.join_next() => received,
        };
        match received {
            Some(Ok(Ok(messages))) => {
                failures = 0;
                readiness::well("queue");
                let full = messages.len() == BATCH;
                wanted = if full { (wanted * 2).min(MOST) } else { 1 };
                intake.take_all(messages, full).await;
            }
            Some(Ok(Err(error))) => {
                failures += 1;
                wanted = 1;
                let again_in = retry_delay(failures);
                tracing::error!(error = chain(&error), ?again_in, "receiving failed");
                readiness::trouble("queue", &chain(&error));
                if let Some(trouble) = &common.trouble {
                    drop(trouble.send(error.into()));
                }
                tokio::select! {
                    () = common.stop.cancelled() => return intake.end(receives).await,
                    () = tokio::time::sleep(again_in) => {}
                }
            }
            Some(Err(panic)) => {
                tracing::error!(%panic, "a receive failed inside silversmith; its messages come again");
            }
            None => {}
        }
    }
}

/// Receives once there is room, and the breaker is closed.
async fn receive(common: Arc<Common>, wait: Duration) -> Result<Vec<Message>, QueueError> {
    common.breaker.closed().await;
    let _room = common.admission.reserve().await;
    if common.stop.is_cancelled() {
        return Ok(vec![]);
    }
    let messages = common.queue.receive(wait, common.in_hand.visibility()).await?;
    for message in &messages {
        common.in_hand.add(&message.receipt);
    }
    metrics::messages("received", messages.len() as u64);
    common.note_poll(messages.is_empty());
    Ok(messages)
}

struct Intake {
    common: Arc<Common>,
    lanes: Vec<Entrance>,
    closing: mpsc::UnboundedSender<Closed>,
    folders: HashSet<String>,
    late: Vec<Ticket>,
}

impl Intake {
    fn drained(&self, drained: bool) {
        for lane in &self.lanes {
            lane.drained(drained);
        }
    }

    /// What is just being received is given back, too; a long poll that brings nothing is cut off.
    async fn end(mut self, mut receives: JoinSet<Result<Vec<Message>, QueueError>>) {
        let late = async {
            while let Some(received) = receives.join_next().await {
                if let Ok(Ok(messages)) = received {
                    messages.iter().for_each(|message| self.late(message));
                }
            }
        };
        // Over time: whatever it brings stays hidden for its visibility, and comes again.
        drop(tokio::time::timeout(LAST, late).await);
        receives.shutdown().await;
        // Not before: an open poll would take them again.
        drop(self.late);
    }

    async fn take_all(&mut self, messages: Vec<Message>, full: bool) {
        let stop = self.common.stop.clone();
        self.drained(false);
        for message in messages {
            if stop.is_cancelled() {
                self.late(&message);
                continue;
            }
            tokio::select! {
                biased;
                // It has its tickets by then; those not passed on are dropped, and give it back.
                () = stop.cancelled() => {}
                () = self.take(&message) => {}
            }
        }
        // Only now: so that what came together goes into one batch.
        self.drained(!full);
    }

    /// A message that came when nothing more was to be taken: given back in the end.
    fn late(&mut self, message: &Message) {
        let held = self.common.admission.hold(1, 0);
        self.late.extend(Ticket::issue(message, 1, held, &self.closing));
    }

    /// Every record of a message gets its tickets. What no pipeline is asked about is settled here.
    async fn take(&mut self, message: &Message) {
        let records = match parse(&message.body) {
            Ok(records) => records,
            Err(error) => {
                let held = self.common.admission.hold(1, message.body.len() as u64);
                let tickets = Ticket::issue(message, 1, held, &self.closing);
                return self.bad(message, &error.to_string(), tickets).await;
            }
        };
        let pipelines: Vec<_> = self.lanes.iter().map(|lane| &lane.pipeline).collect();
        let routed = route(&records, &pipelines);
        let told = self.common.on_unmatched == OnUnmatched::DeadLetter;
        let mut lost: Vec<ObjectEvent> = routed.homeless.into_iter().cloned().collect();
        self.note_unmatched(&routed.unmatched);
        if told {
            lost.extend(routed.unmatched.into_iter().cloned());
        }
        // All that is wrong with a message goes into one letter, which holds the message.
        let bad = usize::from(!routed.bad.is_empty());
        // One more, so that a message without anything to do ends, too.
        let count = routed.wanted.len() + lost.len() + bad + 1;
        // No more than a batch of its lane: one huge object, or one that claims to be, keeps nobody waiting.
        let share = |(lane, object): &(usize, &ObjectEvent)| {
            object.size.unwrap_or(0).min(self.lanes[*lane].pipeline.settings.bronze.batch.max_bytes)
        };
        let bytes = routed.wanted.iter().map(share).sum();
        let held = self.common.admission.hold(routed.wanted.len().max(1), bytes);
        let mut tickets = Ticket::issue(message, count, held, &self.closing);
        if let Some(ticket) = tickets.pop() {
            ticket.done(Durable::nothing_to_do());
        }
        let bad = tickets.split_off(tickets.len() - bad);
        let why = some_of(&routed.bad);
        let told = tickets.split_off(tickets.len() - lost.len());
        if routed.nothing > 0 {
            tracing::debug!(
                message_id = message.id,
                records = routed.nothing,
                "records with nothing to do"
            );
        }
        let wanted: Vec<(usize, ObjectEvent)> =
            routed.wanted.into_iter().map(|(lane, object)| (lane, object.clone())).collect();
        for ((lane, object), ticket) in wanted.into_iter().zip(tickets) {
            self.lanes[lane].enter(Item { object, ticket }).await;
        }
        self.bad(message, &why, bad).await;
        self.unmatched(lost, told).await;
    }

    async fn bad(&self, message: &Message, why: &str, tickets: Vec<Ticket>) {
        let letter = |ticket: &Ticket| {
            let why = (Reason::NotAnEvent, why);
            self.common.dead_letters.about_body(&message.body, why, ticket.origin())
        };
        let letters = tickets.iter().map(letter).collect();
        settle_told(&self.common, letters, tickets).await;
    }

    fn note_unmatched(&mut self, objects: &[&ObjectEvent]) {
        for object in objects {
            let uri = object.uri();
            let folder = uri.rsplit_once('/').map_or("", |(folder, _)| folder);
            if self.folders.len() < FOLDERS && self.folders.insert(folder.to_owned()) {
                tracing::warn!(
                    uri,
                    "no pipeline wants this object; others of its folder are not told of"
                );
            }
        }
    }

    async fn unmatched(&self, objects: Vec<ObjectEvent>, tickets: Vec<Ticket>) {
        let why = (Reason::Unmatched, "no pipeline's source matches this object");
        let letters: Vec<_> = objects
            .into_iter()
            .zip(&tickets)
            .map(|(object, ticket)| {
                self.common.dead_letters.about(None, object, why, ticket.origin())
            })
            .collect();
        settle_told(&self.common, letters, tickets).await;
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

/// Sends dead letters, and settles the ticket of each: done when it is sent, else given back.
pub(super) async fn settle_told(
    common: &Common,
    letters: Vec<crate::event::DeadLetter>,
    tickets: Vec<Ticket>,
) {
    let sent = common.dead_letters.send(&letters).await;
    for (sent, ticket) in sent.into_iter().zip(tickets) {
        match sent {
            Some(sent) => ticket.done(Durable::told(&sent)),
            None => {
                let delay = super::delivery::delay(ticket.origin().receive_count);
                ticket.give_back(delay);
            }
        }
    }
}
