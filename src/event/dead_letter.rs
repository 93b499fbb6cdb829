//! silversmith's own envelope: what could not be processed, with the reason, one object a message.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ObjectEvent;
use crate::reason::Reason;

/// The version of the envelope that this program writes, and the newest that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;
/// The field that identifies the envelope; its value is the format version.
pub(super) const MARKER: &str = "silversmith_dead_letter";
/// Bytes of an error's text that are kept.
const ERROR_LIMIT: usize = 4 * 1024;

/// A dead letter. See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The format version: 1.
    pub silversmith_dead_letter: u32,
    /// A fresh id.
    pub id: String,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// The word for why; a newer version may have words that this one does not know.
    pub reason: String,
    /// The error in full.
    pub error: String,
    /// The pipeline that could not ingest the object; none where no pipeline was involved.
    pub pipeline: Option<String>,
    /// The object.
    pub object: Option<ObjectEvent>,
    /// The message that brought it.
    pub message: Origin,
    /// The message's body, where no object could be read out of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether the body was too long to be kept whole.
    #[serde(default)]
    pub truncated: bool,
}

/// The message that a dead letter comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its id.
    pub id: String,
    /// How often it had been received.
    pub receive_count: u32,
}

impl DeadLetter {
    /// For an object that a pipeline could not ingest, or that no pipeline matches.
    pub fn of_object(
        (id, at): (String, DateTime<Utc>),
        pipeline: Option<&str>,
        object: ObjectEvent,
        (reason, error): (Reason, &str),
        message: Origin,
    ) -> Self {
        Self {
            silversmith_dead_letter: FORMAT_VERSION,
            id,
            at,
            reason: reason.to_string(),
            error: cut(error, ERROR_LIMIT).to_owned(),
            pipeline: pipeline.map(str::to_owned),
            object: Some(object),
            message,
            body: None,
            truncated: false,
        }
    }

    /// For a body, or one record of a body, that is not an event. As much of the body is kept as fits into
    /// an envelope of `limit` bytes.
    pub fn of_body(
        (id, at): (String, DateTime<Utc>),
        body: &str,
        (reason, error): (Reason, &str),
        message: Origin,
        limit: usize,
    ) -> Self {
        let mut letter = Self {
            silversmith_dead_letter: FORMAT_VERSION,
            id,
            at,
            reason: reason.to_string(),
            error: cut(error, ERROR_LIMIT).to_owned(),
            pipeline: None,
            object: None,
            message,
            body: Some(String::new()),
            truncated: false,
        };
        let kept = cut_encoded(body, limit.saturating_sub(letter.to_json().len()));
        letter.truncated = kept.len() < body.len();
        letter.body = Some(kept.to_owned());
        letter
    }

    /// The envelope. Every character that a queue refuses is escaped
    /// ([SendMessage](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html):
    /// control characters, U+FFFE and U+FFFF).
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        json.replace('\u{FFFE}', "\\ufffe")
            .replace('\u{FFFF}', "\\uffff")
            .replace('\u{7f}', "\\u007f")
    }
}

/// The longest prefix of whole characters within a limit of bytes.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The longest prefix of whole characters that fits into `limit` bytes in [`DeadLetter::to_json`].
fn cut_encoded(text: &str, limit: usize) -> &str {
    let mut bytes = 0;
    for (end, character) in text.char_indices() {
        bytes += match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' | '\u{7f}' | '\u{FFFE}' | '\u{FFFF}' => 6,
            other => other.len_utf8(),
        };
        if bytes > limit {
            return &text[..end];
        }
    }
    text
}
