//! Messages whose delivery has ended are deleted or released, a batch at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::delivery::{Close, Closed};
use super::shared::Shared;
use crate::backoff::backoff;
use crate::error::chain;
use crate::queue::{QueueError, Refused};
use crate::telemetry::metrics;

/// Requests under way at a time.
const CONCURRENT: usize = 8;
/// Attempts at a request. After the last, the message is redelivered, and the ledger knows its objects.
const ATTEMPTS: u32 = 5;
/// The pause before the second attempt, doubled each time.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest of these pauses.
const LONGEST: Duration = Duration::from_secs(5);

/// Runs until no delivery is open any more, and none can be opened.
pub(super) async fn run(shared: Arc<Shared>, mut closed: mpsc::UnboundedReceiver<Closed>) {
    let batch = shared.receiving.limits.batch;
    let room = Arc::new(Semaphore::new(CONCURRENT));
    let mut requests = JoinSet::new();
    let mut some = Vec::new();
    while closed.recv_many(&mut some, batch * CONCURRENT).await > 0 {
        let (delete, release): (Vec<_>, Vec<_>) =
            some.drain(..).partition(|closed| matches!(closed.close, Close::Delete));
        for messages in batches(delete, batch).chain(batches(release, batch)) {
            // The semaphore is never closed.
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let shared = shared.clone();
            requests.spawn(async move {
                close(&shared, messages).await;
                drop(permit);
            });
        }
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

fn batches(all: Vec<Closed>, size: usize) -> impl Iterator<Item = Vec<Closed>> {
    let mut rest = all.into_iter();
    std::iter::from_fn(move || {
        let some: Vec<Closed> = rest.by_ref().take(size).collect();
        (!some.is_empty()).then_some(some)
    })
}

/// All of them are to be deleted, or all of them released.
async fn close(shared: &Shared, mut messages: Vec<Closed>) {
    for message in &messages {
        shared.receiving.heartbeat.remove(&message.receipt);
    }
    let deletes = messages.iter().all(|message| matches!(message.close, Close::Delete));
    let doing = if deletes { "deleted" } else { "released" };
    let (began, count) = (shared.ambient.now(), messages.len());
    for attempts in 1..=ATTEMPTS {
        let failed = match request(shared, &messages).await {
            Ok(all_refused) => {
                retain_unfinished(&mut messages, &all_refused);
                if messages.is_empty() {
                    metrics::messages(doing, count as u64);
                    return;
                }
                all_refused.into_iter().find(|r| !r.final_).map(|r| r.why).unwrap_or_default()
            }
            Err(error) => chain(&error),
        };
        let elapsed = (shared.ambient.now() - began).to_std().unwrap_or_default();
        let left = messages.len();
        if attempts == ATTEMPTS {
            tracing::warn!(
                messages = left,
                attempts,
                ?elapsed,
                error = failed,
                "could not delete or release messages; they will be redelivered and recognised as duplicates"
            );
            return;
        }
        let again_in = shared.ambient.jitter(backoff(PAUSE, attempts, LONGEST));
        tracing::debug!(
            messages = left,
            attempts,
            ?elapsed,
            ?again_in,
            error = failed,
            "messages were not {doing}"
        );
        shared.ambient.sleep(again_in).await;
    }
}

/// Keeps those that another attempt may help.
fn retain_unfinished(messages: &mut Vec<Closed>, all_refused: &[Refused]) {
    for refused in all_refused.iter().filter(|refused| refused.final_) {
        tracing::debug!(why = refused.why, "another receiver has a message by now");
    }
    let mut index = 0;
    messages.retain(|_| {
        index += 1;
        all_refused.iter().any(|refused| !refused.final_ && refused.index == index - 1)
    });
}

async fn request(shared: &Shared, messages: &[Closed]) -> Result<Vec<Refused>, QueueError> {
    let longest = shared.receiving.limits.longest_hidden;
    let delays = messages.iter().filter_map(|message| match message.close {
        Close::Release(delay) => Some((message.receipt.clone(), delay.min(longest))),
        Close::Delete => None,
    });
    let delays: Vec<_> = delays.collect();
    if delays.is_empty() {
        let receipts: Vec<_> = messages.iter().map(|m| m.receipt.clone()).collect();
        return shared.receiving.queue.delete(&receipts).await;
    }
    shared.receiving.queue.hide(&delays).await
}
