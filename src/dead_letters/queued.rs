//! Dead letters in a queue.
//!
//! A queue has no read access: messages are received, hidden while silversmith looks at them, and released at
//! the end. If the process dies, their visibility runs out. A replay first sends, then deletes: a crash in
//! between sends the message twice, which the ledger makes harmless (I2).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::try_join_all;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::{Entry, Filter};
use crate::ambient::SharedAmbient;
use crate::event::{DeadLetter, ObjectEvent, Record, parse};
use crate::queue::{
    EventQueue, Heartbeat, Message, MessageId, Outgoing, QueueError, ReceiptHandle,
};
use crate::reason::Reason;

/// Receivers side by side.
const RECEIVERS: usize = 8;
/// How long messages stay hidden unless the heartbeat extends it.
const HIDE: Duration = Duration::from_secs(120);
/// How long a receive waits for messages. A waiting receive asks every part of the queue, so that no messages
/// means the end.
const WAIT: Duration = Duration::from_secs(1);
/// The most that the queue's clock and this machine's clock may differ.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);

/// What to do with the selected dead letters.
#[derive(Debug, Clone)]
pub enum Action {
    /// Show them; they stay.
    Look,
    /// Send them to a queue and delete them.
    Replay {
        /// The queue.
        to: Arc<dyn EventQueue>,
        /// What was ingested of their objects before this time is read again, and replaced.
        again: Option<DateTime<Utc>>,
    },
    /// Delete them.
    Purge,
}

/// How many there were.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Selected.
    pub seen: usize,
    /// Selected, and the action is done.
    pub done: usize,
    /// Selected, and refused by a queue: they stay.
    pub refused: usize,
}

/// A message of the queue as a dead letter.
pub fn entry(message: &Message) -> Entry {
    if let Ok(own) = serde_json::from_str::<DeadLetter>(&message.body) {
        return Entry {
            id: own.id,
            at: Some(own.at),
            reason: own.reason,
            error: own.error,
            pipeline: own.pipeline,
            uris: own.object.iter().map(ObjectEvent::uri).collect(),
            body: message.body.clone(),
        };
    }
    let (uris, error) = match parse(&message.body) {
        Ok(records) => {
            let uris = records.into_iter().filter_map(|record| match record {
                Record::Created { object, .. } => Some(object.uri()),
                _ => None,
            });
            (uris.collect(), "the queue gave up on it: no worker finished it within the receives that its redrive policy allows".to_owned())
        }
        Err(error) => (vec![], error.to_string()),
    };
    Entry {
        id: message.id.to_string(),
        at: message.sent_at,
        reason: Reason::Redriven.to_string(),
        error,
        pipeline: None,
        uris,
        body: message.body.clone(),
    }
}

/// Looks at every dead letter once and carries out the action on those that the filter selects. `found` gets
/// each of them, `report` the counts so far.
pub async fn work(
    queue: &Arc<dyn EventQueue>,
    filter: &Filter,
    action: &Action,
    ambient: &SharedAmbient,
    found: impl FnMut(Entry) + Send,
    report: impl FnMut(Counts) + Send,
) -> Result<Counts, QueueError> {
    let heartbeat = Arc::new(Heartbeat::new(HIDE, ambient.clone()));
    // It ends when this is dropped.
    let beating = JoinSet::from_iter([heartbeat.keep_hidden(queue.clone())]);
    let search = Search {
        queue,
        filter,
        action,
        heartbeat: &heartbeat,
        began: ambient.now(),
        selected: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        inner: Mutex::new(Inner {
            counts: Counts::default(),
            seen: HashSet::new(),
            subjects: HashSet::new(),
            found,
            report,
        }),
    };
    let worked = try_join_all((0..RECEIVERS).map(|_| search.receive())).await;
    drop(beating);
    let counts = search.inner.into_inner().counts;
    // All that is not deleted, also after a failure: else it stays hidden until its visibility runs out.
    let released = release(queue, heartbeat.all()).await;
    worked?;
    released?;
    Ok(counts)
}

async fn release(queue: &Arc<dyn EventQueue>, kept: Vec<ReceiptHandle>) -> Result<(), QueueError> {
    let batch = queue.limits().batch;
    let kept: Vec<_> = kept.into_iter().map(|receipt| (receipt, Duration::ZERO)).collect();
    for some in kept.chunks(batch * RECEIVERS) {
        // A refused message is no longer in flight here: it is visible again.
        try_join_all(some.chunks(batch).map(|entries| queue.hide(entries))).await?;
    }
    Ok(())
}

struct Search<'a, F, T> {
    queue: &'a Arc<dyn EventQueue>,
    filter: &'a Filter,
    action: &'a Action,
    heartbeat: &'a Heartbeat,
    began: DateTime<Utc>,
    selected: AtomicUsize,
    over: AtomicBool,
    inner: Mutex<Inner<F, T>>,
}

struct Inner<F, T> {
    counts: Counts,
    seen: HashSet<MessageId>,
    /// What the dead letters so far are about.
    subjects: HashSet<[u8; 32]>,
    found: F,
    report: T,
}

impl<F: FnMut(Entry) + Send, T: FnMut(Counts) + Send> Search<'_, F, T> {
    async fn receive(&self) -> Result<(), QueueError> {
        while !self.over.load(Ordering::SeqCst) {
            let messages = self.queue.receive(WAIT, HIDE).await?;
            if messages.is_empty() {
                break;
            }
            for message in &messages {
                self.heartbeat.add(&message.receipt);
            }
            self.process(messages).await?;
        }
        Ok(())
    }

    async fn process(&self, messages: Vec<Message>) -> Result<(), QueueError> {
        let mut selected = Vec::new();
        {
            let mut inner = self.inner.lock().await;
            for message in messages {
                let entry = entry(&message);
                let again = !inner.seen.insert(message.id.clone());
                if again
                    || !self.filter.selects(&entry)
                    || self.came_later(&message, &entry, &mut inner.subjects)
                    || !self.within_limit()
                {
                    continue;
                }
                inner.counts.seen += 1;
                (inner.found)(entry);
                selected.push(message);
            }
        }
        let done = match self.action {
            Action::Look => selected.len(),
            Action::Replay { to, again } => self.replay(&**to, *again, &selected).await?,
            Action::Purge => self.delete(selected.iter().map(|m| &m.receipt)).await?,
        };
        let mut inner = self.inner.lock().await;
        inner.counts.done += done;
        inner.counts.refused += selected.len() - done;
        let counts = inner.counts;
        (inner.report)(counts);
        Ok(())
    }

    /// Whether a dead letter was sent only after this run began: one that was replayed and came back, or
    /// one of a steady stream. It stays; otherwise the run would never end.
    fn came_later(
        &self,
        message: &Message,
        entry: &Entry,
        subjects: &mut HashSet<[u8; 32]>,
    ) -> bool {
        let about = match entry.uris.is_empty() || entry.reason == Reason::Redriven.as_str() {
            // The id and the time of a dead letter are new each time: its subject is in its body.
            true => serde_json::from_str::<DeadLetter>(&message.body)
                .map_or_else(|_| message.body.clone(), |own| own.body.unwrap_or_default()),
            false => format!("{:?} {:?} {}", entry.pipeline, entry.uris, entry.reason),
        };
        let known = !subjects.insert(Sha256::digest(about).into());
        let Some(sent_at) = message.sent_at else { return false };
        sent_at > self.began + CLOCK_SKEW || (known && sent_at > self.began)
    }

    fn within_limit(&self) -> bool {
        let Some(limit) = self.filter.limit else { return true };
        let index = self.selected.fetch_add(1, Ordering::SeqCst);
        if index + 1 >= limit {
            self.over.store(true, Ordering::SeqCst);
        }
        index < limit
    }

    async fn replay(
        &self,
        to: &dyn EventQueue,
        again: Option<DateTime<Utc>>,
        selected: &[Message],
    ) -> Result<usize, QueueError> {
        let outgoing: Vec<Outgoing> =
            selected.iter().map(|message| outgoing(message, again)).collect();
        if outgoing.is_empty() {
            return Ok(0);
        }
        let refused = to.send(&outgoing).await?;
        for refused in &refused {
            tracing::warn!(why = refused.why, "a dead letter could not be replayed; it stays");
        }
        let sent = selected.iter().enumerate();
        let sent = sent.filter(|(index, _)| refused.iter().all(|r| r.index != *index));
        self.delete(sent.map(|(_, message)| &message.receipt)).await
    }

    async fn delete(
        &self,
        receipts: impl Iterator<Item = &ReceiptHandle>,
    ) -> Result<usize, QueueError> {
        let receipts: Vec<ReceiptHandle> = receipts.cloned().collect();
        if receipts.is_empty() {
            return Ok(0);
        }
        let refused = self.queue.delete(&receipts).await?;
        for (index, receipt) in receipts.iter().enumerate() {
            if refused.iter().all(|refused| refused.index != index) {
                self.heartbeat.remove(receipt);
            }
        }
        for refused in &refused {
            tracing::warn!(why = refused.why, "a dead letter could not be deleted; it stays");
        }
        Ok(receipts.len() - refused.len())
    }
}

/// The same body; with `again`, it says so of its object. In a FIFO queue, two replays of one dead letter within five
/// minutes are one message, and messages about one object stay in order.
fn outgoing(message: &Message, again: Option<DateTime<Utc>>) -> Outgoing {
    let entry = entry(message);
    let about = entry.uris.first().unwrap_or(&entry.id);
    let verb = if again.is_some() { "replay again" } else { "replay" };
    Outgoing {
        body: again.and_then(|again| asking(message, again)).unwrap_or(message.body.clone()),
        ordering_key: format!("{:x}", Sha256::digest(about)),
        deduplication_id: format!("{:x}", Sha256::digest(format!("{verb} {}", entry.id))),
    }
}

/// A dead letter of silversmith's own that asks to read its object again. Of what the queue itself moved, no object was
/// ingested for this message.
fn asking(message: &Message, again: DateTime<Utc>) -> Option<String> {
    let mut own = serde_json::from_str::<DeadLetter>(&message.body).ok()?;
    own.object.as_mut()?.again = Some(again);
    Some(own.to_json())
}

/// A body for people: with line breaks, where it is JSON.
pub fn pretty(body: &str) -> String {
    let value = serde_json::from_str::<Value>(body);
    let text = value.and_then(|value| serde_json::to_string_pretty(&value));
    text.unwrap_or_else(|_| body.to_owned())
}
