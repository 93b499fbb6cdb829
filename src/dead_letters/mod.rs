//! Dead letters: looking into them, sending them round again, giving them up.
//!
//! With a queue they are messages of its dead-letter queue ([`queued`]): silversmith's own letters, and
//! messages that the queue itself moved there. Without one they are rows of the objects table
//! ([`recorded`]).

pub mod queued;
pub mod recorded;

use chrono::{DateTime, Utc};
use globset::GlobMatcher;

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// By which it is shown: the letter's id, the message's, or the object's URI.
    pub id: String,
    /// Since when it is one.
    pub at: Option<DateTime<Utc>>,
    /// The word for why; a newer version may have words that this one does not know.
    pub reason: String,
    /// The error in full.
    pub error: String,
    /// The pipeline that could not take the object.
    pub pipeline: Option<String>,
    /// The objects that it is about: one, but for a message of several that the queue has moved.
    pub uris: Vec<String>,
    /// What is stored, as it is.
    pub body: String,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those with this reason.
    pub reason: Option<String>,
    /// Those about an object whose URI matches.
    pub matching: Option<GlobMatcher>,
    /// Those since then.
    pub since: Option<DateTime<Utc>>,
    /// So many at most.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether a dead letter is meant, the limit aside.
    pub fn means(&self, entry: &Entry) -> bool {
        let reason = self.reason.as_ref().is_none_or(|reason| *reason == entry.reason);
        let uri = |glob: &GlobMatcher| entry.uris.iter().any(|uri| glob.is_match(uri));
        let matching = self.matching.as_ref().is_none_or(uri);
        let since = self.since.is_none_or(|since| entry.at.is_none_or(|at| at >= since));
        reason && matching && since
    }
}
