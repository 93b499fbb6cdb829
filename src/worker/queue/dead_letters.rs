//! Sending dead letters: durable before their message is deleted.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::ambient::SharedAmbient;
use crate::error::chain;
use crate::event::{DeadLetter, ObjectEvent, Origin};
use crate::queue::{EventQueue, Outgoing};
use crate::reason::Reason;
use crate::telemetry::metrics;

/// The way to the queue for dead letters.
#[derive(Debug)]
pub(super) struct DeadLetters {
    queue: Arc<dyn EventQueue>,
    ambient: SharedAmbient,
}

/// Proof that a dead letter is in its queue.
#[derive(Debug)]
pub(super) struct Sent(());

impl DeadLetters {
    pub(super) fn new(queue: Arc<dyn EventQueue>, ambient: SharedAmbient) -> Self {
        Self { queue, ambient }
    }

    /// A dead letter about an object. `why`: the reason, and the error.
    pub(super) fn about(
        &self,
        pipeline: Option<&str>,
        object: ObjectEvent,
        why: (Reason, &str),
        message: &Origin,
    ) -> DeadLetter {
        DeadLetter::of_object(self.stamp(), pipeline, object, why, message.clone())
    }

    /// A dead letter about a body that is no event.
    pub(super) fn about_body(
        &self,
        body: &str,
        why: (Reason, &str),
        message: &Origin,
    ) -> DeadLetter {
        let limit = self.queue.limits().body_bytes;
        DeadLetter::of_body(self.stamp(), body, why, message.clone(), limit)
    }

    fn stamp(&self) -> (String, chrono::DateTime<chrono::Utc>) {
        (self.ambient.uuid().to_string(), self.ambient.now())
    }

    /// Sends dead letters. Returns what came with each, and the proof where it was sent.
    pub(super) async fn send<T>(&self, letters: Vec<(DeadLetter, T)>) -> Vec<(T, Option<Sent>)> {
        let mut all = Vec::new();
        let mut rest = letters.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<_> = rest.by_ref().take(self.queue.limits().batch).collect();
            let outgoing: Vec<Outgoing> = some.iter().map(|(letter, _)| outgoing(letter)).collect();
            let sent = self.send_some(&outgoing).await;
            for (index, (letter, with)) in some.into_iter().enumerate() {
                let is_sent = sent.get(index).copied().unwrap_or_default();
                if is_sent {
                    note(&letter);
                }
                all.push((with, is_sent.then_some(Sent(()))));
            }
        }
        all
    }

    /// Which of the messages were sent.
    async fn send_some(&self, messages: &[Outgoing]) -> Vec<bool> {
        let mut sent = vec![true; messages.len()];
        match self.queue.send(messages).await {
            Ok(all_refused) => {
                for refused in all_refused {
                    tracing::error!(
                        why = refused.why,
                        "the queue refused a dead letter; its message is released"
                    );
                    if let Some(sent) = sent.get_mut(refused.index) {
                        *sent = false;
                    }
                }
            }
            Err(error) => {
                let (error, letters) = (chain(&error), messages.len());
                tracing::error!(
                    error,
                    letters,
                    "could not send dead letters; their messages are released"
                );
                sent.fill(false);
            }
        }
        sent
    }
}

fn note(letter: &DeadLetter) {
    metrics::messages("dead_lettered", 1);
    tracing::warn!(
        letter = letter.id,
        reason = letter.reason,
        pipeline = letter.pipeline,
        message_id = letter.message.id,
        uri = letter.object.as_ref().map(ObjectEvent::uri),
        "dead letter"
    );
}

/// A dead letter as a message: in an ordered queue those about one object stay in order.
fn outgoing(letter: &DeadLetter) -> Outgoing {
    let about = letter.object.as_ref().map_or_else(|| letter.message.id.clone(), ObjectEvent::uri);
    Outgoing {
        body: letter.to_json(),
        ordering_key: format!("{:x}", Sha256::digest(about)),
        deduplication_id: letter.id.clone(),
    }
}
