//! What a function is invoked with → what it is to do. Pure.

use chrono::{TimeZone, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::queue::{Message, MessageId, ReceiptHandle};

/// What an invocation is for.
#[derive(Debug, PartialEq)]
pub(super) enum Invocation {
    /// Messages of the queue, from an event source mapping.
    Messages(Vec<Message>),
    /// Silver and gold of one pipeline, after silversmith's own event.
    Merge(String),
    /// A step of all pipelines, from a state machine.
    Step(Step),
    /// All steps, one after the other, on a schedule.
    All,
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    Bronze,
    Silver,
    Gold,
}

impl Step {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }
}

/// A payload that silversmith does not handle.
#[derive(Debug, thiserror::Error)]
#[error(
    "unsupported event ({0}): silversmith handles SQS messages, its own `bronze.committed` and `silver.merged`, {{\"step\": \"bronze\"}} and scheduled events"
)]
pub(super) struct Unsupported(String);

/// [The event of an SQS mapping](https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    message_id: String,
    receipt_handle: String,
    body: String,
    #[serde(default)]
    attributes: Attributes,
    event_source: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    approximate_receive_count: Option<String>,
    sent_timestamp: Option<String>,
}

/// Reads a payload.
///
/// # Errors
/// [`Unsupported`]: it is none of these.
pub(super) fn parse(payload: Value) -> Result<Invocation, Unsupported> {
    if let Some(step) = payload.get("step") {
        let step = Step::deserialize(step)
            .map_err(|_| Unsupported(format!("step {step} is not bronze, silver or gold")))?;
        return Ok(Invocation::Step(step));
    }
    if let Some(records) = payload.get("Records") {
        let records =
            Vec::<Record>::deserialize(records).map_err(|e| Unsupported(e.to_string()))?;
        return match records.iter().find(|record| record.event_source != "aws:sqs") {
            Some(other) => Err(Unsupported(format!("records from {}", other.event_source))),
            None => Ok(Invocation::Messages(records.into_iter().map(message).collect())),
        };
    }
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    match (text("/source"), text("/detail-type")) {
        (Some("silversmith"), Some("bronze.committed" | "silver.merged")) => {
            match text("/detail/pipeline") {
                Some(pipeline) => Ok(Invocation::Merge(pipeline.to_owned())),
                None => Err(Unsupported("it names no pipeline".to_owned())),
            }
        }
        (_, Some("Scheduled Event")) => Ok(Invocation::All),
        (source, kind) => Err(Unsupported(format!("source {source:?}, detail-type {kind:?}"))),
    }
}

fn message(record: Record) -> Message {
    let number = |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok());
    let sent_at = number(record.attributes.sent_timestamp);
    let receives = number(record.attributes.approximate_receive_count).unwrap_or(1);
    Message {
        id: MessageId(record.message_id),
        receipt: ReceiptHandle(record.receipt_handle),
        body: record.body,
        receive_count: receives.clamp(1, i64::from(u32::MAX)) as u32,
        sent_at: sent_at.and_then(|millis| Utc.timestamp_millis_opt(millis).single()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_of_an_sqs_mapping_is_its_messages() {
        let payload = json!({"Records": [{
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": "{}",
            "attributes": {
                "ApproximateReceiveCount": "3", "SentTimestamp": "1545082649183",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO", "ApproximateFirstReceiveTimestamp": "1545082649185"
            },
            "messageAttributes": {}, "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
            "awsRegion": "us-east-2"
        }]});
        let Invocation::Messages(messages) = parse(payload).unwrap() else { panic!() };
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].receive_count, 3);
        assert_eq!(messages[0].sent_at.unwrap().timestamp_millis(), 1_545_082_649_183);
    }

    #[test]
    fn steps_schedules_and_own_events_are_known_and_nothing_else() {
        let committed = json!({"source": "silversmith", "detail-type": "bronze.committed", "detail": {"pipeline": "orders"}});
        assert_eq!(parse(committed).unwrap(), Invocation::Merge("orders".to_owned()));
        assert_eq!(parse(json!({"step": "gold"})).unwrap(), Invocation::Step(Step::Gold));
        let scheduled = json!({"source": "aws.events", "detail-type": "Scheduled Event"});
        assert_eq!(parse(scheduled).unwrap(), Invocation::All);
        for unsupported in [
            json!({}),
            json!("text"),
            json!({"step": "platinum"}),
            json!({"Records": [{"eventSource": "aws:s3"}]}),
            json!({"source": "other", "detail-type": "bronze.committed"}),
        ] {
            let error = parse(unsupported.clone()).unwrap_err().to_string();
            assert!(error.contains("unsupported event"), "{unsupported}: {error}");
        }
    }
}
