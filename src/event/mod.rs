//! Events: the body of a queue message → the objects that it announces. Pure, and made for strangers'
//! input: anything that is not an event is told, never guessed at.
//!
//! Read are the notifications of S3, as they come straight to SQS, through SNS (raw delivery or not)
//! or through EventBridge; the SQS event of Lambda; and silversmith's own dead letters.
//! See [event message structure](https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html)
//! and [EventBridge messages](https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html).

mod dead_letter;
mod envelope;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use dead_letter::{DeadLetter, Origin};
pub use envelope::{decode_key, parse};

/// An object version as an event announces it. What it does not say is found out by reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEvent {
    /// The bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// The ETag, unquoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The version id, in a versioned bucket. It only selects what is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When the event happened: near to LastModified, and not the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<DateTime<Utc>>,
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
    /// An object came into being.
    Created {
        /// Which.
        object: ObjectEvent,
        /// The one pipeline that it is for, where a dead letter says so; else all that match.
        pipeline: Option<String>,
    },
    /// Nothing to do, and why: another event, a folder marker, a test event.
    Nothing(&'static str),
    /// Something that should be an event and cannot be understood.
    Bad(String),
}

/// Why a body is not an event at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEvent {
    /// It is not JSON, or none of the known forms.
    #[error("the message is not an event that silversmith knows: {0}")]
    Unknown(String),
    /// It comes from a newer silversmith.
    #[error(
        "the message is a dead letter of format version {0}, this program knows {known}: upgrade silversmith",
        known = dead_letter::FORMAT_VERSION
    )]
    TooNew(u64),
}
