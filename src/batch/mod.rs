//! Batches: their ids, and when one closes: by count, bytes or age, or because there is nothing to
//! wait for. Pure; time is passed in.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// The id of a batch: the objects of one bronze commit, or of one set of rows of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchId(String);

impl BatchId {
    /// The id with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text, as tables and announcements have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What closes a batch, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Objects.
    pub max_objects: usize,
    /// Bytes of the objects as they are stored.
    pub max_bytes: u64,
    /// Time since its first object.
    pub max_wait: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_objects: 1_000, max_bytes: 256 * 1024 * 1024, max_wait: Duration::from_secs(2) }
    }
}

/// Collects objects into batches.
#[derive(Debug)]
pub struct Batcher<T> {
    limits: BatchLimits,
    open: Vec<T>,
    bytes: u64,
    since: Option<DateTime<Utc>>,
}

impl<T> Batcher<T> {
    /// An empty batcher.
    pub fn new(limits: BatchLimits) -> Self {
        Self { limits, open: Vec::new(), bytes: 0, since: None }
    }

    /// Adds an object. Returns the batch that this closed: the one before it, where the object would
    /// have made that too large, or the one that it filled.
    pub fn push(&mut self, object: T, size: u64, now: DateTime<Utc>) -> Option<Vec<T>> {
        let too_large = !self.open.is_empty() && self.bytes + size > self.limits.max_bytes;
        let closed = if too_large { self.close() } else { None };
        self.bytes += size;
        self.open.push(object);
        self.since.get_or_insert(now);
        if closed.is_none() && self.open.len() >= self.limits.max_objects {
            return self.close();
        }
        closed
    }

    /// The batch, if it is old enough, or if the source is drained and nothing else is in flight:
    /// a lone file does not wait.
    pub fn close_if_due(&mut self, now: DateTime<Utc>, idle: bool) -> Option<Vec<T>> {
        let age = self.since.map(|since| (now - since).to_std().unwrap_or_default());
        if idle || age.is_some_and(|age| age >= self.limits.max_wait) {
            return self.close();
        }
        None
    }

    /// When the open batch will be old enough; none when it is empty.
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        self.since.map(|since| since + self.limits.max_wait)
    }

    fn close(&mut self) -> Option<Vec<T>> {
        self.bytes = 0;
        self.since = None;
        let batch = std::mem::take(&mut self.open);
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn limits(max_objects: usize, max_bytes: u64) -> BatchLimits {
        BatchLimits { max_objects, max_bytes, max_wait: Duration::from_secs(2) }
    }

    #[test]
    fn a_lone_file_does_not_wait() {
        let mut batcher = Batcher::new(limits(10, 100));
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(batcher.push(1, 1, now), None);
        assert_eq!(batcher.close_if_due(now, false), None);
        assert_eq!(batcher.close_if_due(now, true).map(|b| b.len()), Some(1));
        assert_eq!(batcher.close_if_due(now, true), None);
    }

    #[test]
    fn age_closes_a_batch() {
        let mut batcher = Batcher::new(limits(10, 100));
        let now = DateTime::UNIX_EPOCH;
        batcher.push(1, 1, now);
        assert_eq!(batcher.close_if_due(now + TimeDelta::seconds(1), false), None);
        assert!(batcher.close_if_due(now + TimeDelta::seconds(2), false).is_some());
    }

    proptest! {
        #[test]
        fn every_object_is_in_one_batch_and_no_batch_is_too_large(
            sizes in proptest::collection::vec(0u64..60, 0..50), count in 1usize..8,
        ) {
            let mut batcher = Batcher::new(limits(count, 100));
            let now = DateTime::UNIX_EPOCH;
            let mut batches = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                batches.extend(batcher.push((number, *size), *size, now));
            }
            batches.extend(batcher.close_if_due(now, true));
            for batch in &batches {
                prop_assert!(batch.len() <= count);
                prop_assert!(batch.iter().map(|o| o.1).sum::<u64>() <= 100);
            }
            let seen: Vec<_> = batches.concat().into_iter().map(|o| o.0).collect();
            let all: Vec<_> = (0..sizes.len()).collect();
            prop_assert_eq!(seen, all);
        }
    }
}
