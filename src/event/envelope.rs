//! The envelopes, one function each.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use super::{DeadLetter, NotAnEvent, ObjectEvent, Record, dead_letter};

/// More than the largest object that S3 allows (50 TB).
const MOST_BYTES: u64 = 1 << 46;
/// Envelopes within envelopes: Lambda around SNS around S3, a dead letter around all of it.
const MAX_DEPTH: usize = 5;

/// The records of a message, all of them, in their order.
///
/// # Errors
/// [`NotAnEvent`] when the body as a whole is none of the known envelopes.
pub fn parse(body: &str) -> Result<Vec<Record>, NotAnEvent> {
    nested(body, MAX_DEPTH)
}

fn nested(body: &str, depth: usize) -> Result<Vec<Record>, NotAnEvent> {
    if depth == 0 {
        return Err(NotAnEvent::Unknown("envelopes are nested too deeply".to_owned()));
    }
    let value: Value = serde_json::from_str(body)
        .map_err(|error| NotAnEvent::Unknown(format!("not JSON: {error}")))?;
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    if let Some(version) = value.get(dead_letter::MARKER) {
        return own(version, &value, depth);
    }
    if let Some(records) = value.get("Records") {
        let Some(records) = records.as_array() else {
            return Err(NotAnEvent::Unknown("`Records` is not a list".to_owned()));
        };
        let read: Vec<_> = records.iter().map(|record| of_record(record, depth)).collect();
        return Ok(read.into_iter().flatten().collect());
    }
    if text("Event") == Some("s3:TestEvent") {
        return Ok(vec![Record::Nothing("test event")]);
    }
    if text("Type") == Some("Notification")
        && let Some(message) = text("Message")
    {
        return nested(message, depth - 1);
    }
    if text("source") == Some("aws.s3") {
        return Ok(vec![event_bridge(&value)]);
    }
    Err(NotAnEvent::Unknown(
        "expected S3 records, an SNS notification, or an S3 event of EventBridge".into(),
    ))
}

fn of_record(record: &Value, depth: usize) -> Vec<Record> {
    match record.get("eventSource").and_then(Value::as_str) {
        Some("aws:s3") => vec![s3(record)],
        // Lambda's SQS event, whose messages are in `body`.
        Some("aws:sqs") => {
            let body = record.get("body").and_then(Value::as_str).unwrap_or_default();
            nested(body, depth - 1).unwrap_or_else(|error| vec![Record::Bad(error.to_string())])
        }
        other => vec![Record::Bad(format!(
            "a record of event source `{}`; only S3 records are supported",
            other.unwrap_or("(none)")
        ))],
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Record {
    event_version: String,
    event_name: String,
    #[serde(default)]
    event_time: Option<String>,
    s3: S3Entity,
}

#[derive(Deserialize)]
struct S3Entity {
    bucket: Bucket,
    object: S3Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Object {
    key: String,
    size: Option<u64>,
    e_tag: Option<String>,
    version_id: Option<String>,
    sequencer: Option<String>,
}

fn s3(record: &Value) -> Record {
    // Events other than ObjectCreated have other fields, which are not parsed.
    let name = record.get("eventName").and_then(Value::as_str).unwrap_or_default();
    if !name.is_empty() && !created(name) {
        return Record::Nothing("another event than ObjectCreated");
    }
    let record = match S3Record::deserialize(record) {
        Ok(record) => record,
        Err(error) => return Record::Bad(format!("an S3 record: {error}")),
    };
    if !record.event_version.starts_with("2.") {
        return Record::Bad(format!(
            "an S3 record of version {}; versions 2.x are supported",
            record.event_version
        ));
    }
    if !created(&record.event_name) {
        return Record::Bad("an S3 record without an event name".to_owned());
    }
    let Some(key) = decode_key(&record.s3.object.key) else {
        return Record::Bad(format!("key `{}` is not UTF-8", record.s3.object.key));
    };
    created_record(ObjectEvent {
        bucket: record.s3.bucket.name,
        key,
        etag: record.s3.object.e_tag,
        version_id: record.s3.object.version_id,
        size: record.s3.object.size,
        sequencer: record.s3.object.sequencer,
        event_time: time(record.event_time.as_deref()),
        again: None,
        replayed: false,
    })
}

/// A key as S3 encodes it for URLs, with `+` for a space; none when it is not UTF-8.
pub fn decode_key(encoded: &str) -> Option<String> {
    let spaced = encoded.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|key| key.into_owned())
}

fn created(name: &str) -> bool {
    // Notifications that were configured long ago may carry the prefix.
    name.strip_prefix("s3:").unwrap_or(name).starts_with("ObjectCreated")
}

#[derive(Deserialize)]
struct Detail {
    bucket: Bucket,
    object: DetailObject,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DetailObject {
    key: String,
    size: Option<u64>,
    #[serde(alias = "eTag")]
    etag: Option<String>,
    version_id: Option<String>,
    sequencer: Option<String>,
}

fn event_bridge(value: &Value) -> Record {
    if value.get("detail-type").and_then(Value::as_str) != Some("Object Created") {
        return Record::Nothing("another event than Object Created");
    }
    let detail = match Detail::deserialize(value.get("detail").unwrap_or(&Value::Null)) {
        Ok(detail) => detail,
        Err(error) => return Record::Bad(format!("an S3 event of EventBridge: {error}")),
    };
    created_record(ObjectEvent {
        bucket: detail.bucket.name,
        // Keys from EventBridge are not encoded.
        key: detail.object.key,
        etag: detail.object.etag,
        version_id: detail.object.version_id,
        size: detail.object.size,
        sequencer: detail.object.sequencer,
        event_time: time(value.get("time").and_then(Value::as_str)),
        again: None,
        replayed: false,
    })
}

fn own(version: &Value, value: &Value, depth: usize) -> Result<Vec<Record>, NotAnEvent> {
    let version = version.as_u64().unwrap_or(0);
    if version > u64::from(dead_letter::FORMAT_VERSION) {
        return Err(NotAnEvent::TooNew(version));
    }
    let dead_letter = DeadLetter::deserialize(value)
        .map_err(|error| NotAnEvent::Unknown(format!("a dead letter: {error}")))?;
    match (dead_letter.object, dead_letter.body) {
        (Some(object), _) => match created_record(object) {
            Record::Created { mut object, .. } => {
                object.replayed = true;
                Ok(vec![Record::Created { object, pipeline: dead_letter.pipeline }])
            }
            other => Ok(vec![other]),
        },
        (None, Some(_)) if dead_letter.truncated => {
            Err(NotAnEvent::Unknown("a dead letter whose body was too long to be kept".to_owned()))
        }
        (None, Some(body)) => nested(&body, depth - 1),
        (None, None) => Err(NotAnEvent::Unknown("a dead letter without an object".to_owned())),
    }
}

fn created_record(mut object: ObjectEvent) -> Record {
    if object.bucket.is_empty() || object.bucket.contains('/') || object.key.is_empty() {
        return Record::Bad(format!("the event names no object: `{}`", object.uri()));
    }
    if object.key.ends_with('/') {
        return Record::Nothing("folder marker");
    }
    object.etag = object.etag.map(|e| e.trim_matches('"').to_owned()).filter(|e| !e.is_empty());
    // A size beyond S3's limit is dropped: it would only spoil sums.
    object.size = object.size.filter(|size| *size <= MOST_BYTES);
    // Objects from before versioning was enabled have the version `null`.
    object.version_id = object.version_id.filter(|id| id != "null" && !id.is_empty());
    object.sequencer = object.sequencer.as_deref().and_then(sequencer);
    Record::Created { object, pipeline: None }
}

/// The most characters of a sequencer; S3's have 18.
const LONGEST_SEQUENCER: usize = 64;

/// A sequencer as text that compares as S3 says, without zeros at its end. Of two of one key that differ in
/// length, S3 has the shorter padded with zeros at its right, then compared by character
/// ([Amazon SQS messages for the same S3 event](https://repost.aws/knowledge-center/s3-duplicate-sqs-messages)).
fn sequencer(text: &str) -> Option<String> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_one = is_hex && (1..=LONGEST_SEQUENCER).contains(&text.len());
    is_one.then(|| text.trim_end_matches('0').to_ascii_uppercase())
}

fn time(text: Option<&str>) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::parse_from_rfc3339(text?).ok().map(|time| time.to_utc())
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
