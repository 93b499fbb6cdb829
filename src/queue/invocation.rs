//! The messages of one Lambda invocation, as a queue: AWS has received them for us, and deletes those that we do
//! not report
//! ([partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html)).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    BATCH, Description, EventQueue, Message, Outgoing, QueueError, ReceiptHandle, Refused,
};
use crate::error::chain;

/// A receive that brings nothing waits no longer: nothing will come.
const PAUSE: Duration = Duration::from_millis(10);

/// See the module. Each message is received once; what is not deleted has failed.
#[derive(Debug)]
pub struct InvocationQueue {
    /// The queue that the messages came from: those given back are told to it, so that they come again in
    /// their own time and not in that of the whole batch.
    origin: Arc<dyn EventQueue>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Message>,
    /// Received and not ended, by receipt: the message's id.
    open: BTreeMap<String, String>,
    failed: Vec<String>,
}

impl InvocationQueue {
    /// The messages of an invocation, received from `origin`.
    pub fn new(origin: Arc<dyn EventQueue>, messages: Vec<Message>) -> Self {
        let state = State { waiting: messages, ..State::default() };
        Self { origin, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids of the messages that were not deleted: they have to come again.
    pub fn failures(&self) -> Vec<String> {
        let state = self.lock();
        let untouched = state.waiting.iter().map(|message| message.id.clone());
        untouched.chain(state.open.values().cloned()).chain(state.failed.iter().cloned()).collect()
    }
}

#[async_trait]
impl EventQueue for InvocationQueue {
    fn is_exact(&self) -> bool {
        true
    }

    async fn receive(&self, wait: Duration, _hide: Duration) -> Result<Vec<Message>, QueueError> {
        let received: Vec<Message> = {
            let mut state = self.lock();
            let count = state.waiting.len().min(BATCH);
            let received: Vec<Message> = state.waiting.drain(..count).collect();
            let open = received.iter().map(|m| (m.receipt.0.clone(), m.id.clone()));
            state.open.extend(open);
            received
        };
        if received.is_empty() {
            tokio::time::sleep(wait.min(PAUSE)).await;
        }
        Ok(received)
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<Refused>, QueueError> {
        let mut state = self.lock();
        for receipt in receipts {
            state.open.remove(&receipt.0);
        }
        Ok(vec![])
    }

    async fn hide(
        &self,
        receipts: &[(ReceiptHandle, Duration)],
    ) -> Result<Vec<Refused>, QueueError> {
        {
            let mut state = self.lock();
            for (receipt, _) in receipts {
                let id = state.open.remove(&receipt.0);
                state.failed.extend(id);
            }
        }
        // Those without a delay of their own come again when the batch's time is over, which outlasts an outage better
        // than being received again at once, until the queue gives them up.
        let delayed: Vec<_> =
            receipts.iter().filter(|(_, delay)| !delay.is_zero()).cloned().collect();
        if delayed.is_empty() {
            return Ok(vec![]);
        }
        match self.origin.hide(&delayed).await {
            Ok(refused) => {
                for refused in refused {
                    tracing::debug!(why = refused.why, "a message keeps the delay of its batch");
                }
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "messages given back keep the delay of their batch");
            }
        }
        Ok(vec![])
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Refused>, QueueError> {
        self.origin.send(messages).await
    }

    async fn describe(&self) -> Result<Description, QueueError> {
        let state = self.lock();
        Ok(Description {
            visible: state.waiting.len() as u64,
            in_flight: state.open.len() as u64,
            ..Description::default()
        })
    }
}
