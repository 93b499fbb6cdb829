//! Messages that have ended are deleted or given back, ten at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::Common;
use super::delivery::{Close, Closed};
use crate::backoff::backoff;
use crate::error::chain;
use crate::queue::{BATCH, QueueError, Refused};
use crate::telemetry::metrics;

/// Requests under way at a time.
const AT_ONCE: usize = 8;
/// Attempts at a request. After the last, the message comes again by itself, and the ledger knows it.
const ATTEMPTS: u32 = 5;
/// The pause before the second attempt, doubled each time.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest of that.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs until everybody who may end a message is gone.
pub(super) async fn run(common: Arc<Common>, mut closed: mpsc::UnboundedReceiver<Closed>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut requests = JoinSet::new();
    let mut some = Vec::new();
    while closed.recv_many(&mut some, BATCH * AT_ONCE).await > 0 {
        let (delete, give_back): (Vec<_>, Vec<_>) =
            some.drain(..).partition(|closed| matches!(closed.close, Close::Delete));
        for messages in in_tens(delete).into_iter().chain(in_tens(give_back)) {
            // The semaphore is never closed.
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let common = common.clone();
            requests.spawn(async move {
                close(&common, messages).await;
                drop(permit);
            });
        }
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

fn in_tens(mut all: Vec<Closed>) -> Vec<Vec<Closed>> {
    let mut tens = Vec::new();
    while !all.is_empty() {
        let rest = all.split_off(all.len().min(BATCH));
        tens.push(std::mem::replace(&mut all, rest));
    }
    tens
}

/// All of them are to be deleted, or all of them given back.
async fn close(common: &Common, mut messages: Vec<Closed>) {
    for message in &messages {
        common.in_hand.remove(&message.receipt);
    }
    let deletes = messages.iter().all(|message| matches!(message.close, Close::Delete));
    let (fate, count) = (if deletes { "deleted" } else { "given_back" }, messages.len());
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(backoff(PAUSE, attempt, LONGEST)).await;
        }
        match request(common, &messages).await {
            Ok(refused) => {
                let again: Vec<usize> =
                    refused.iter().filter(|r| !r.final_).map(|r| r.index).collect();
                for refused in refused.iter().filter(|r| r.final_) {
                    tracing::debug!(why = refused.why, "a message was no longer ours to end");
                }
                let mut index = 0;
                messages.retain(|_| {
                    index += 1;
                    again.contains(&(index - 1))
                });
                if messages.is_empty() {
                    metrics::messages(fate, count as u64);
                    return;
                }
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(
                    error,
                    messages = messages.len(),
                    "messages could not be ended; trying again"
                );
            }
        }
    }
    tracing::warn!(
        messages = messages.len(),
        "messages could not be ended: they come again, which is harmless"
    );
}

async fn request(common: &Common, messages: &[Closed]) -> Result<Vec<Refused>, QueueError> {
    let delays = messages.iter().filter_map(|message| match message.close {
        Close::GiveBack(delay) => Some((message.receipt.clone(), delay)),
        Close::Delete => None,
    });
    let delays: Vec<_> = delays.collect();
    if delays.is_empty() {
        let receipts: Vec<_> = messages.iter().map(|m| m.receipt.clone()).collect();
        return common.queue.delete(&receipts).await;
    }
    common.queue.hide(&delays).await
}
