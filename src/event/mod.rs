//! Events: the body of a queue message → the objects that it names. Pure, and made for untrusted input:
//! anything that is not an event is an error, never a guess.
//!
//! Supported are the notifications of S3, sent to SQS directly, through SNS (raw delivery or not) or through
//! EventBridge; the SQS event of Lambda; and silversmith's own dead letters.
//! See [event message structure](https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html)
//! and [EventBridge messages](https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html).

mod dead_letter;
mod envelope;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use dead_letter::{DeadLetter, Origin};
pub use envelope::{decode_key, parse};

/// An object version as an event names it. Reading the object fills in what the event does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEvent {
    /// The bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// The ETag, unquoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The version id, in a versioned bucket. It selects what is read, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// S3's sequencer, as text that compares as the uploads of one key followed each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequencer: Option<String>,
    /// When the event happened: close to LastModified, and not the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<DateTime<Utc>>,
    /// An operator's request: what was ingested of it before this time is read again, and replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<DateTime<Utc>>,
    /// Whether a dead letter brought it: an operator asked for another attempt. Never stored.
    #[serde(skip)]
    pub replayed: bool,
}

impl ObjectEvent {
    /// `s3://bucket/key`.
    pub fn uri(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

/// One record of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An object was created.
    Created {
        /// Which.
        object: ObjectEvent,
        /// The one pipeline that it is for, where a dead letter says so; else all that match.
        pipeline: Option<String>,
    },
    /// Nothing to do, and why: another event, a folder marker, a test event.
    Nothing(&'static str),
    /// A record that should be an event and is malformed.
    Bad(String),
}

/// Why a body is not an event at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEvent {
    /// It is not JSON, or none of the supported forms.
    #[error("the message is not a supported event: {0}")]
    Unknown(String),
    /// A newer silversmith wrote it.
    #[error(
        "the message is a dead letter of format version {0}; this program reads up to {known}: upgrade silversmith",
        known = dead_letter::FORMAT_VERSION
    )]
    TooNew(u64),
}
