//! The messages of one AWS Lambda invocation, as a queue: AWS has received them, and deletes those
//! that the function does not report
//! ([partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html)).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Description, EventQueue, Limits, Message, MessageId, Outgoing, QueueError, ReceiptHandle,
    Refused,
};
use crate::ambient::SharedAmbient;
use crate::error::chain;

/// The longest that a receive without messages waits: none will come.
const PAUSE: Duration = Duration::from_millis(10);

/// See the module. Each message is received once; what is not deleted has failed.
///
/// It differs from other queues in one thing: `hide` reports a message as failed, whatever the time,
/// and the message is not received in this invocation again.
#[derive(Debug)]
pub struct InvocationQueue {
    /// The queue that the messages came from. Hidden messages are hidden there, so that they come
    /// again in their own time and not in that of the whole batch.
    origin: Arc<dyn EventQueue>,
    ambient: SharedAmbient,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Message>,
    /// Received, and neither deleted nor hidden.
    open: BTreeMap<ReceiptHandle, MessageId>,
    failed: Vec<MessageId>,
}

impl InvocationQueue {
    /// The messages of an invocation, received from `origin`.
    pub fn new(
        origin: Arc<dyn EventQueue>,
        messages: Vec<Message>,
        ambient: SharedAmbient,
    ) -> Self {
        let state = State { waiting: messages, ..State::default() };
        Self { origin, ambient, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The messages that were not deleted: they have to come again.
    pub fn failures(&self) -> Vec<MessageId> {
        let state = self.lock();
        let untouched = state.waiting.iter().map(|message| &message.id);
        untouched.chain(state.open.values()).chain(&state.failed).cloned().collect()
    }
}

#[async_trait]
impl EventQueue for InvocationQueue {
    fn limits(&self) -> Limits {
        self.origin.limits()
    }

    fn is_exact(&self) -> bool {
        true
    }

    async fn receive(&self, wait: Duration, _hide: Duration) -> Result<Vec<Message>, QueueError> {
        let received: Vec<Message> = {
            let mut state = self.lock();
            let count = state.waiting.len().min(self.limits().batch);
            let received: Vec<Message> = state.waiting.drain(..count).collect();
            state.open.extend(received.iter().map(|m| (m.receipt.clone(), m.id.clone())));
            received
        };
        if received.is_empty() {
            self.ambient.sleep(wait.min(PAUSE)).await;
        }
        Ok(received)
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<Refused>, QueueError> {
        let mut state = self.lock();
        for receipt in receipts {
            state.open.remove(receipt);
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
                let id = state.open.remove(receipt);
                state.failed.extend(id);
            }
        }
        // Those without a delay of their own come again when the batch's time is over. That outlasts
        // an outage better than an immediate receive, until the redrive policy moves them.
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
                tracing::warn!(
                    error,
                    messages = delayed.len(),
                    "could not delay released messages; they keep the delay of their batch"
                );
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
