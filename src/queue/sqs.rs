//! Amazon SQS, standard and FIFO.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use chrono::DateTime;

use super::{
    Description, EventQueue, Limits, Message, MessageId, Outgoing, QueueError, ReceiptHandle,
    Refused,
};
use crate::aws::described;

/// [Message quotas](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html).
/// A body may have 1 MiB since 2025; a queue that was made before, or a stand-in, allows 256 KiB.
const LIMITS: Limits = Limits {
    batch: 10,
    in_flight: 120_000,
    longest_hidden: Duration::from_secs(12 * 3_600),
    body_bytes: 256 * 1024,
};
/// Messages in flight of a FIFO queue.
const FIFO_IN_FLIGHT: usize = 20_000;
/// The longest wait of a receive.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    /// The queue at a URL.
    pub fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.to_owned() }
    }

    fn is_fifo(&self) -> bool {
        self.url.ends_with(".fifo")
    }

    fn failed<E>(
        &self,
        doing: &'static str,
        error: aws_sdk_sqs::error::SdkError<E, aws_sdk_sqs::config::http::HttpResponse>,
    ) -> QueueError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        QueueError { queue: self.url.clone(), doing, source: described(error) }
    }

    /// An entry that could not even be written down.
    fn unfit(
        &self,
        doing: &'static str,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> QueueError {
        QueueError { queue: self.url.clone(), doing, source: std::io::Error::other(error) }
    }

    async fn send_some(
        &self,
        messages: &[Outgoing],
        first: usize,
    ) -> Result<Vec<Refused>, QueueError> {
        const DOING: &str = "sending";
        let entries = messages.iter().enumerate().map(|(index, message)| {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
            let entry = entry.message_body(&message.body);
            let entry = match self.is_fifo() {
                true => entry
                    .message_group_id(&message.ordering_key)
                    .message_deduplication_id(&message.deduplication_id),
                false => entry,
            };
            entry.build().map_err(|error| self.unfit(DOING, error))
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let request = self.client.send_message_batch().queue_url(&self.url);
        let answer = request.set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| self.failed(DOING, error))?;
        Ok(refused(answer.failed(), first))
    }
}

/// The `Failed` list of a batch answer.
fn refused(failed: &[BatchResultErrorEntry], first: usize) -> Vec<Refused> {
    let entries = failed.iter().map(|entry| Refused {
        index: first + entry.id().parse::<usize>().unwrap_or(0),
        why: format!("{}: {}", entry.code(), entry.message().unwrap_or("no message")),
        final_: entry.sender_fault(),
    });
    entries.collect()
}

/// Whole seconds, none of the time lost, and at most `longest`.
fn seconds(time: Duration, longest: Duration) -> i32 {
    time.min(longest).as_secs_f64().ceil() as i32
}

#[async_trait]
impl EventQueue for SqsQueue {
    fn limits(&self) -> Limits {
        let in_flight = if self.is_fifo() { FIFO_IN_FLIGHT } else { LIMITS.in_flight };
        Limits { in_flight, ..LIMITS }
    }

    async fn receive(&self, wait: Duration, hide: Duration) -> Result<Vec<Message>, QueueError> {
        let request = self.client.receive_message().queue_url(&self.url);
        let answer = request
            .max_number_of_messages(LIMITS.batch as i32)
            .wait_time_seconds(seconds(wait, LONGEST_WAIT))
            .visibility_timeout(seconds(hide, LIMITS.longest_hidden))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| self.failed("receiving", error))?;
        let messages = answer.messages.unwrap_or_default().into_iter().map(|message| {
            let attribute = |name| {
                let attributes = message.attributes.as_ref();
                attributes.and_then(|a| a.get(&name)).and_then(|v| v.parse::<i64>().ok())
            };
            let count = attribute(MessageSystemAttributeName::ApproximateReceiveCount);
            let sent = attribute(MessageSystemAttributeName::SentTimestamp);
            Message {
                receive_count: count.and_then(|c| u32::try_from(c).ok()).unwrap_or(1),
                sent_at: sent.and_then(DateTime::from_timestamp_millis),
                id: MessageId(message.message_id.unwrap_or_default()),
                receipt: ReceiptHandle(message.receipt_handle.unwrap_or_default()),
                body: message.body.unwrap_or_default(),
            }
        });
        Ok(messages.collect())
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<Refused>, QueueError> {
        const DOING: &str = "deleting";
        let entries = receipts.iter().enumerate().map(|(index, receipt)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(&receipt.0).build().map_err(|error| self.unfit(DOING, error))
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let request = self.client.delete_message_batch().queue_url(&self.url);
        let answer = request.set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| self.failed(DOING, error))?;
        Ok(refused(answer.failed(), 0))
    }

    async fn hide(
        &self,
        receipts: &[(ReceiptHandle, Duration)],
    ) -> Result<Vec<Refused>, QueueError> {
        const DOING: &str = "changing the visibility";
        let entries = receipts.iter().enumerate().map(|(index, (receipt, time))| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
            let entry = entry
                .receipt_handle(&receipt.0)
                .visibility_timeout(seconds(*time, LIMITS.longest_hidden));
            entry.build().map_err(|error| self.unfit(DOING, error))
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let request = self.client.change_message_visibility_batch().queue_url(&self.url);
        let answer = request.set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| self.failed(DOING, error))?;
        Ok(refused(answer.failed(), 0))
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Refused>, QueueError> {
        let (mut all, mut first) = (Vec::new(), 0);
        while first < messages.len() {
            let (mut end, mut bytes) = (first, 0);
            while end < messages.len()
                && (end == first || bytes + messages[end].body.len() <= LIMITS.body_bytes)
            {
                bytes += messages[end].body.len();
                end += 1;
            }
            all.extend(self.send_some(&messages[first..end], first).await?);
            first = end;
        }
        Ok(all)
    }

    async fn describe(&self) -> Result<Description, QueueError> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.attribute_names(QueueAttributeName::All).send().await;
        let answer = answer.map_err(|error| self.failed("describing", error))?;
        let text = |name: QueueAttributeName| answer.attributes().and_then(|all| all.get(&name));
        let number = |name| text(name).and_then(|value| value.parse().ok()).unwrap_or(0);
        let redrive = text(QueueAttributeName::RedrivePolicy);
        let redrive = redrive.and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
        // AWS gives a number, stand-ins also a text.
        let max_receive_count = redrive.and_then(|policy| {
            let count = policy.get("maxReceiveCount")?;
            count.as_u64().or_else(|| count.as_str()?.parse().ok())?.try_into().ok()
        });
        Ok(Description {
            visible: number(QueueAttributeName::ApproximateNumberOfMessages),
            in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            delayed: number(QueueAttributeName::ApproximateNumberOfMessagesDelayed),
            max_receive_count,
        })
    }
}
