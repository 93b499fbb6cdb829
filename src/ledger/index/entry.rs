//! What an entry says of a row of the objects table: which object version, and what became of the attempt.
//!
//! The key is a hash of URI and version, as the LastModified of an object that is gone is no longer known. Fourteen of
//! the bytes beside it are used, so that of two attempts in the same second of LastModified the greater one counts:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | seconds of LastModified since 1970, modulo 2³² |
//! | 1 | 1 where it is ingested |
//! | 8 | when the attempt ended, in microseconds, comparable |
//! | 1 | the outcome, doubled, and 1 more where a listing tries it again |

use std::ops::RangeInclusive;

use super::error::IndexError;
use crate::key_index::entry::{Entry, Hasher, KeyHash, VALUE};
use crate::ledger::rows::time;
use crate::ledger::{Attempt, ObjectOutcome};
use crate::source::ObjectId;

/// Bytes of an attempt.
const ATTEMPT: usize = 14;
const OUTCOMES: [ObjectOutcome; 6] = [
    ObjectOutcome::Ingested,
    ObjectOutcome::Rejected,
    ObjectOutcome::Missing,
    ObjectOutcome::Skipped,
    ObjectOutcome::Replayed,
    ObjectOutcome::Waiting,
];

/// An entry in memory, without the bytes that it does not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    key: KeyHash,
    attempt: [u8; ATTEMPT],
    pub(super) file: u32,
    pub(super) position: u32,
}

impl Row {
    /// The entry of a row of a file.
    pub(super) fn new(
        hasher: &Hasher,
        id: &ObjectId,
        attempt: &Attempt,
        (file, position): (u32, u32),
    ) -> Self {
        let mut bytes = [0; ATTEMPT];
        bytes[..4].copy_from_slice(&second(id).to_be_bytes());
        bytes[4] = u8::from(attempt.outcome == ObjectOutcome::Ingested);
        // With the sign turned, negative numbers are the smaller bytes.
        let micros = attempt.finished_at.timestamp_micros() ^ i64::MIN;
        bytes[5..13].copy_from_slice(&micros.to_be_bytes());
        bytes[13] = code(attempt.outcome) * 2 + u8::from(attempt.again);
        Self { key: key(hasher, id), attempt: bytes, file, position }
    }

    /// The rows that a key may have.
    pub(super) fn all_of(key: &KeyHash) -> RangeInclusive<Self> {
        let row = |byte: u8, number| Self {
            key: *key,
            attempt: [byte; ATTEMPT],
            file: number,
            position: number,
        };
        row(0, 0)..=row(u8::MAX, u32::MAX)
    }

    /// The row of an entry.
    pub(super) fn of(entry: &Entry) -> Self {
        let mut attempt = [0; ATTEMPT];
        attempt.copy_from_slice(&entry.value()[..ATTEMPT]);
        Self { key: entry.key(), attempt, file: entry.file(), position: entry.position() }
    }

    /// As an index on disk has it.
    pub(super) fn entry(&self) -> Entry {
        let mut value = [0; VALUE];
        value[..ATTEMPT].copy_from_slice(&self.attempt);
        Entry::new(&self.key, &value, self.file, self.position)
    }

    /// Whether it is of an object with this LastModified.
    pub(super) fn is_at(&self, id: &ObjectId) -> bool {
        self.attempt[..4] == second(id).to_be_bytes()
    }

    /// What became of the attempt.
    pub(super) fn attempt(&self) -> Result<Attempt, IndexError> {
        let mut micros = [0; 8];
        micros.copy_from_slice(&self.attempt[5..13]);
        let word = self.attempt[13];
        let outcome = OUTCOMES.into_iter().find(|outcome| code(*outcome) == word / 2);
        Ok(Attempt {
            outcome: outcome.ok_or(IndexError::Word(word))?,
            again: word % 2 == 1,
            finished_at: time(i64::from_be_bytes(micros) ^ i64::MIN),
        })
    }
}

const fn code(outcome: ObjectOutcome) -> u8 {
    match outcome {
        ObjectOutcome::Ingested => 0,
        ObjectOutcome::Rejected => 1,
        ObjectOutcome::Missing => 2,
        ObjectOutcome::Skipped => 3,
        ObjectOutcome::Replayed => 4,
        ObjectOutcome::Waiting => 5,
    }
}

/// The hash of a URI and a version.
pub(super) fn key(hasher: &Hasher, id: &ObjectId) -> KeyHash {
    let mut bytes = Vec::with_capacity(id.uri.len() + id.version.len() + 8);
    bytes.extend_from_slice(&(id.uri.len() as u64).to_le_bytes());
    bytes.extend_from_slice(id.uri.as_bytes());
    bytes.extend_from_slice(id.version.as_bytes());
    hasher.key(&bytes)
}

fn second(id: &ObjectId) -> u32 {
    id.last_modified.timestamp() as u32
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeZone, Utc};
    use proptest::prelude::*;

    use super::*;

    fn id(uri: &str, version: &str, seconds: i64) -> ObjectId {
        let last_modified = Utc.timestamp_opt(seconds, 7).unwrap();
        ObjectId { uri: uri.to_owned(), version: version.to_owned(), last_modified }
    }

    fn attempt() -> impl Strategy<Value = Attempt> {
        let word =
            (0..OUTCOMES.len(), any::<bool>(), -4_000_000_000_000_000_i64..4_000_000_000_000_000);
        word.prop_map(|(outcome, again, micros): (usize, bool, i64)| Attempt {
            outcome: OUTCOMES[outcome],
            again,
            finished_at: DateTime::from_timestamp_micros(micros).unwrap(),
        })
    }

    proptest! {
        #[test]
        fn an_attempt_is_read_back_and_compares_as_its_rank(one in attempt(), other in attempt()) {
            let hasher = Hasher::new("secret");
            let id = id("a", "1", 5);
            let row = |attempt| Row::new(&hasher, &id, attempt, (3, 4));
            let (first, second) = (row(&one), row(&other));
            prop_assert_eq!(first.attempt().unwrap(), one);
            prop_assert_eq!(Row::of(&first.entry()), first);
            prop_assert!(Row::all_of(&key(&hasher, &id)).contains(&first));
            if one.rank() != other.rank() {
                prop_assert_eq!(first.cmp(&second), one.rank().cmp(&other.rank()));
                prop_assert_eq!(first.entry().cmp(&second.entry()), one.rank().cmp(&other.rank()));
            }
        }
    }

    #[test]
    fn a_version_has_one_key_at_any_second_and_no_other_has_it() {
        let hasher = Hasher::new("secret");
        let attempt = Attempt {
            outcome: ObjectOutcome::Missing,
            again: true,
            finished_at: DateTime::UNIX_EPOCH,
        };
        let one = id("ab", "c", 5);
        let row = Row::new(&hasher, &one, &attempt, (0, 0));
        assert!(row.is_at(&one) && !row.is_at(&id("ab", "c", 6)));
        assert_eq!(key(&hasher, &one), key(&hasher, &id("ab", "c", 6)));
        assert_ne!(key(&hasher, &one), key(&hasher, &id("a", "bc", 5)));
        assert_ne!(key(&hasher, &one), key(&Hasher::new("other"), &one));
    }

    #[test]
    fn a_word_that_no_attempt_has_is_an_error() {
        let mut row = Row::of(&Entry::new(&[0; 12], &[0; VALUE], 0, 0));
        row.attempt[13] = 200;
        assert!(matches!(row.attempt(), Err(IndexError::Word(200))));
    }
}
