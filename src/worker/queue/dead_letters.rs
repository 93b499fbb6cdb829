//! Sending dead letters: durable before their message is deleted.

use std::sync::Arc;

use crate::ambient::SharedAmbient;
use crate::error::chain;
use crate::event::{DeadLetter, ObjectEvent, Origin};
use crate::queue::{BATCH, EventQueue, Outgoing};
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

    /// A letter about an object.
    pub(super) fn about(
        &self,
        pipeline: Option<&str>,
        object: ObjectEvent,
        why: (Reason, &str),
        message: &Origin,
    ) -> DeadLetter {
        DeadLetter::of_object(self.stamp(), pipeline, object, why, message.clone())
    }

    /// A letter about a body that is no event.
    pub(super) fn about_body(
        &self,
        body: &str,
        why: (Reason, &str),
        message: &Origin,
    ) -> DeadLetter {
        DeadLetter::of_body(self.stamp(), body, why, message.clone())
    }

    fn stamp(&self) -> (String, chrono::DateTime<chrono::Utc>) {
        (self.ambient.uuid().to_string(), self.ambient.now())
    }

    /// Sends letters. For each, in order, the proof; none where it was not sent.
    pub(super) async fn send(&self, letters: &[DeadLetter]) -> Vec<Option<Sent>> {
        let mut all = Vec::new();
        for some in letters.chunks(BATCH) {
            let messages: Vec<Outgoing> = some.iter().map(outgoing).collect();
            let mut sent: Vec<Option<Sent>> = some.iter().map(|_| Some(Sent(()))).collect();
            match self.queue.send(&messages).await {
                Ok(refused) => {
                    for refused in refused {
                        tracing::error!(
                            why = refused.why,
                            "a dead letter was refused; its message is given back"
                        );
                        if let Some(sent) = sent.get_mut(refused.index) {
                            *sent = None;
                        }
                    }
                    let count = sent.iter().flatten().count();
                    metrics::messages("dead_lettered", count as u64);
                    for (letter, _) in some.iter().zip(&sent).filter(|(_, sent)| sent.is_some()) {
                        tracing::warn!(
                            letter = letter.id,
                            reason = letter.reason,
                            pipeline = letter.pipeline,
                            message_id = letter.message.id,
                            uri = letter.object.as_ref().map(ObjectEvent::uri),
                            "dead letter"
                        );
                    }
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(
                        error,
                        letters = some.len(),
                        "dead letters could not be sent; their messages are given back"
                    );
                    sent.fill_with(|| None);
                }
            }
            all.extend(sent);
        }
        all
    }
}

/// A letter as a message: in a FIFO queue letters about one object stay in order.
fn outgoing(letter: &DeadLetter) -> Outgoing {
    use sha2::{Digest, Sha256};
    let about = letter.object.as_ref().map_or_else(|| letter.message.id.clone(), ObjectEvent::uri);
    Outgoing {
        body: letter.to_json(),
        group: format!("{:x}", Sha256::digest(about)),
        deduplication: letter.id.clone(),
    }
}
