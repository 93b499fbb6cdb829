//! Dead letters in a queue.
//!
//! A queue cannot be looked into: messages are received, hidden while they are looked at, and given back
//! at the end, or by themselves when we die. What is replayed is sent first and deleted then: a crash in
//! between sends it twice, which the ledger makes harmless (I2).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::try_join_all;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{Entry, Filter};
use crate::ambient::SharedAmbient;
use crate::event::{DeadLetter, ObjectEvent, Record, parse};
use crate::queue::{BATCH, EventQueue, Heartbeat, Message, Outgoing, QueueError, ReceiptHandle};
use crate::reason::Reason;

/// Receivers side by side.
const RECEIVERS: usize = 8;
/// How long messages stay hidden, unless the heartbeat extends that.
const HIDE: Duration = Duration::from_secs(120);
/// How long a receive waits for messages. As it waits, it asks every part of the queue: none is the end.
const WAIT: Duration = Duration::from_secs(1);
/// The queue's clock and ours may differ by so much.
const LATER: TimeDelta = TimeDelta::minutes(1);

/// What is done with the dead letters that are meant.
#[derive(Debug, Clone)]
pub enum Action {
    /// They are shown, and stay.
    Look,
    /// They are sent to this queue again, and deleted.
    Replay(Arc<dyn EventQueue>),
    /// They are deleted.
    Purge,
}

/// How many there were.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Looked at.
    pub seen: usize,
    /// Meant, and dealt with.
    pub done: usize,
    /// Meant, and refused by a queue: they stay.
    pub refused: usize,
}

/// A message of the queue as a dead letter.
pub fn entry(message: &Message) -> Entry {
    if let Ok(letter) = serde_json::from_str::<DeadLetter>(&message.body) {
        return Entry {
            id: letter.id,
            at: Some(letter.at),
            reason: letter.reason,
            error: letter.error,
            pipeline: letter.pipeline,
            uris: letter.object.iter().map(ObjectEvent::uri).collect(),
            body: message.body.clone(),
        };
    }
    let (uris, error) = match parse(&message.body) {
        Ok(records) => {
            let uris = records.into_iter().filter_map(|record| match record {
                Record::Created { object, .. } => Some(object.uri()),
                _ => None,
            });
            (uris.collect(), "the queue gave up on it: no worker finished it in as many receives as its redrive policy allows".to_owned())
        }
        Err(error) => (vec![], error.to_string()),
    };
    Entry {
        id: message.id.clone(),
        at: message.sent_at,
        reason: Reason::Redriven.to_string(),
        error,
        pipeline: None,
        uris,
        body: message.body.clone(),
    }
}

/// Looks at every dead letter once, and does to those that are meant what is to be done. `found` is given
/// each of them; `told` the counts, now and then.
pub async fn work(
    queue: &Arc<dyn EventQueue>,
    filter: &Filter,
    action: &Action,
    ambient: &SharedAmbient,
    found: impl FnMut(Entry) + Send,
    told: impl FnMut(Counts) + Send,
) -> Result<Counts, QueueError> {
    let in_hand = Arc::new(Heartbeat::new(HIDE, ambient.clone()));
    let heartbeat = in_hand.keep_hidden(queue.clone());
    let search = Search {
        queue,
        filter,
        action,
        in_hand: &in_hand,
        began: ambient.now(),
        meant: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        inner: Mutex::new(Inner {
            counts: Counts::default(),
            seen: HashSet::new(),
            acted: HashSet::new(),
            found,
            told,
        }),
    };
    let worked = try_join_all((0..RECEIVERS).map(|_| search.receive())).await;
    heartbeat.abort();
    let counts = search.inner.into_inner().counts;
    // All that is not deleted, after a failure, too: otherwise it only comes back when its time is over.
    let given_back = give_back(queue, in_hand.all()).await;
    worked?;
    given_back?;
    Ok(counts)
}

async fn give_back(
    queue: &Arc<dyn EventQueue>,
    kept: Vec<ReceiptHandle>,
) -> Result<(), QueueError> {
    let kept: Vec<_> = kept.into_iter().map(|receipt| (receipt, Duration::ZERO)).collect();
    for some in kept.chunks(BATCH * RECEIVERS) {
        // Refused: it is no longer ours, so it is back already.
        try_join_all(some.chunks(BATCH).map(|ten| queue.hide(ten))).await?;
    }
    Ok(())
}

struct Search<'a, F, T> {
    queue: &'a Arc<dyn EventQueue>,
    filter: &'a Filter,
    action: &'a Action,
    in_hand: &'a Heartbeat,
    began: DateTime<Utc>,
    meant: AtomicUsize,
    over: AtomicBool,
    inner: Mutex<Inner<F, T>>,
}

struct Inner<F, T> {
    counts: Counts,
    seen: HashSet<String>,
    /// What the letters that were dealt with are about.
    acted: HashSet<[u8; 32]>,
    found: F,
    told: T,
}

impl<F: FnMut(Entry) + Send, T: FnMut(Counts) + Send> Search<'_, F, T> {
    async fn receive(&self) -> Result<(), QueueError> {
        while !self.over.load(Ordering::SeqCst) {
            let messages = self.queue.receive(WAIT, HIDE).await?;
            if messages.is_empty() {
                break;
            }
            for message in &messages {
                self.in_hand.add(&message.receipt);
            }
            self.deal_with(messages).await?;
        }
        Ok(())
    }

    async fn deal_with(&self, messages: Vec<Message>) -> Result<(), QueueError> {
        let mut meant = Vec::new();
        {
            let mut inner = self.inner.lock().await;
            for message in messages {
                let entry = entry(&message);
                let again = !inner.seen.insert(message.id.clone());
                if again
                    || !self.filter.means(&entry)
                    || self.came_later(&message, &entry, &mut inner.acted)
                    || !self.within_limit()
                {
                    continue;
                }
                inner.counts.seen += 1;
                (inner.found)(entry);
                meant.push(message);
            }
        }
        let done = match self.action {
            Action::Look => meant.len(),
            Action::Replay(to) => self.replay(&**to, &meant).await?,
            Action::Purge => self.delete(meant.iter().map(|m| &m.receipt)).await?,
        };
        let mut inner = self.inner.lock().await;
        inner.counts.done += done;
        inner.counts.refused += meant.len() - done;
        let counts = inner.counts;
        (inner.told)(counts);
        Ok(())
    }

    /// Whether a letter came only after we began: one that we have sent round and that came back, or one
    /// of many that keep coming. It stays, or this would never end.
    fn came_later(&self, message: &Message, entry: &Entry, acted: &mut HashSet<[u8; 32]>) -> bool {
        let about = match entry.uris.is_empty() || entry.reason == Reason::Redriven.as_str() {
            // A letter's own id and time are new each time: what it is about is in its body.
            true => serde_json::from_str::<DeadLetter>(&message.body)
                .map_or_else(|_| message.body.clone(), |letter| letter.body.unwrap_or_default()),
            false => format!("{:?} {:?} {}", entry.pipeline, entry.uris, entry.reason),
        };
        let known = !acted.insert(Sha256::digest(about).into());
        let Some(sent_at) = message.sent_at else { return false };
        sent_at > self.began + LATER || (known && sent_at > self.began)
    }

    fn within_limit(&self) -> bool {
        let Some(limit) = self.filter.limit else { return true };
        let place = self.meant.fetch_add(1, Ordering::SeqCst);
        if place + 1 >= limit {
            self.over.store(true, Ordering::SeqCst);
        }
        place < limit
    }

    async fn replay(&self, to: &dyn EventQueue, meant: &[Message]) -> Result<usize, QueueError> {
        let outgoing: Vec<Outgoing> = meant.iter().map(outgoing).collect();
        if outgoing.is_empty() {
            return Ok(0);
        }
        let refused = to.send(&outgoing).await?;
        for refused in &refused {
            tracing::warn!(why = refused.why, "a dead letter could not be sent again; it stays");
        }
        let sent = meant.iter().enumerate();
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
                self.in_hand.remove(receipt);
            }
        }
        for refused in &refused {
            tracing::warn!(why = refused.why, "a dead letter could not be deleted; it stays");
        }
        Ok(receipts.len() - refused.len())
    }
}

/// The same body again. In a FIFO queue the same letter replayed twice within five minutes is one, and
/// letters about one object stay in order.
fn outgoing(message: &Message) -> Outgoing {
    let entry = entry(message);
    let about = entry.uris.first().unwrap_or(&entry.id);
    Outgoing {
        body: message.body.clone(),
        group: format!("{:x}", Sha256::digest(about)),
        deduplication: format!("{:x}", Sha256::digest(format!("replay {}", entry.id))),
    }
}

/// A body for people: JSON with line breaks, where it is JSON.
pub fn pretty(body: &str) -> String {
    let value = serde_json::from_str::<Value>(body);
    let text = value.and_then(|value| serde_json::to_string_pretty(&value));
    text.unwrap_or_else(|_| body.to_owned())
}
