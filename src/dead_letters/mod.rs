//! Dead letters: finding, replaying and purging them.
//!
//! With a queue they are messages of its dead-letter queue ([`queued`]): those that silversmith sent, and those
//! that the queue itself moved there. Without one they are rows of the ledger ([`recorded`]).

pub mod queued;
pub mod recorded;

use chrono::{DateTime, Utc};
use globset::GlobMatcher;

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The id that users see: of the dead letter or of the message, or the object's URI.
    pub id: String,
    /// When it became one.
    pub at: Option<DateTime<Utc>>,
    /// The word for why; a newer version may have words that this one does not know.
    pub reason: String,
    /// The error in full.
    pub error: String,
    /// The pipeline that could not ingest the object.
    pub pipeline: Option<String>,
    /// The objects that it is about: one, unless the queue moved a message with several.
    pub uris: Vec<String>,
    /// The stored message body, unchanged.
    pub body: String,
}

/// Which dead letters to select.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those with this reason.
    pub reason: Option<String>,
    /// Those about an object whose URI matches.
    pub matching: Option<GlobMatcher>,
    /// Those newer than this.
    pub since: Option<DateTime<Utc>>,
    /// The maximum number.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether the filter selects a dead letter, the limit aside.
    pub fn selects(&self, entry: &Entry) -> bool {
        let reason = self.reason.as_ref().is_none_or(|reason| *reason == entry.reason);
        let uri = |glob: &GlobMatcher| entry.uris.iter().any(|uri| glob.is_match(uri));
        let matching = self.matching.as_ref().is_none_or(uri);
        let since = self.since.is_none_or(|since| entry.at.is_none_or(|at| at >= since));
        reason && matching && since
    }
}
