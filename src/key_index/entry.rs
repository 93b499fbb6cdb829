//! An entry: what an index knows of one row of a table, without opening its file.
//!
//! 44 bytes, big-endian, sorted as they are:
//!
//! | bytes | what |
//! |---|---|
//! | 12 | hash of the key |
//! | 24 | what the index's owner wants to know of the row |
//! | 4 | the file's number |
//! | 4 | the row's position in the file, deleted rows counted |
//!
//! # Hashes are believed
//! They are SipHash-2-4 under a secret that each index draws: no one who writes data can aim at a collision. A key's has
//! 96 bits. To look up k keys in n rows compares k·n pairs, so a false match has a probability of k·n / 2⁹⁶: with 10,000
//! keys and 50 million rows 6·10⁻¹⁸. A million such look-ups stay below 10⁻¹¹, far below the rate at which memory and
//! disks return wrong bits without notice.

use sha2::{Digest, Sha256};
use siphasher::sip128::SipHasher24;

use crate::ambient::SharedAmbient;

/// Bytes of an entry.
pub(super) const ENTRY: usize = 44;
/// Bytes of the hash of a key.
pub(super) const KEY: usize = 12;
/// Bytes of what else an entry says of a row.
pub const VALUE: usize = 24;

/// The hash of a key.
pub type KeyHash = [u8; KEY];

/// What else an entry says of a row.
pub type Value = [u8; VALUE];

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry([u8; ENTRY]);

impl Entry {
    /// The entry of a row.
    pub fn new(key: &KeyHash, value: &Value, file: u32, position: u32) -> Self {
        let mut bytes = [0; ENTRY];
        bytes[..KEY].copy_from_slice(key);
        bytes[12..36].copy_from_slice(value);
        bytes[36..40].copy_from_slice(&file.to_be_bytes());
        bytes[40..].copy_from_slice(&position.to_be_bytes());
        Self(bytes)
    }

    /// The entry of these bytes.
    pub(super) fn of(bytes: [u8; ENTRY]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8; ENTRY] {
        &self.0
    }

    /// The first 8 bytes of the key's hash, which say where the entry is in a run.
    pub(super) fn first(&self) -> u64 {
        first_of(&self.0)
    }

    /// The hash of its key.
    pub fn key(&self) -> KeyHash {
        part(&self.0, 0)
    }

    /// What else it says of the row.
    pub fn value(&self) -> Value {
        part(&self.0, 12)
    }

    /// The file's number.
    pub fn file(&self) -> u32 {
        u32::from_be_bytes(part(&self.0, 36))
    }

    /// The row's position in its file.
    pub fn position(&self) -> u32 {
        u32::from_be_bytes(part(&self.0, 40))
    }
}

fn part<const N: usize>(bytes: &[u8; ENTRY], from: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[from..from + N]);
    part
}

/// The first 8 bytes of what begins with the hash of a key.
pub(super) fn first_of(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(first)
}

/// A new secret for hashes.
pub fn secret(ambient: &SharedAmbient) -> String {
    format!("{}{}", ambient.uuid(), ambient.snapshot_id())
}

/// Makes hashes under the secret of an index.
#[derive(Debug, Clone)]
pub struct Hasher {
    keys: [u8; 16],
    values: [u8; 16],
}

impl Hasher {
    /// A hasher with a secret.
    pub fn new(secret: &str) -> Self {
        let both = Sha256::digest(secret.as_bytes());
        let half = |from: usize| {
            let mut half = [0; 16];
            half.copy_from_slice(&both[from..from + 16]);
            half
        };
        Self { keys: half(0), values: half(16) }
    }

    /// The hash of a key's bytes.
    pub fn key(&self, key: &[u8]) -> KeyHash {
        let whole = SipHasher24::new_with_key(&self.keys).hash(key).as_bytes();
        let mut hash = [0; KEY];
        hash.copy_from_slice(&whole[..KEY]);
        hash
    }

    /// A hash for the value of an entry.
    pub fn value(&self, bytes: &[u8]) -> [u8; 8] {
        let whole = SipHasher24::new_with_key(&self.values).hash(bytes).as_bytes();
        let mut hash = [0; 8];
        hash.copy_from_slice(&whole[..8]);
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_what_it_was_made_of_and_secrets_differ() {
        let (hasher, other) = (Hasher::new("secret"), Hasher::new("another"));
        assert_ne!(hasher.key(b"k"), other.key(b"k"));
        assert_ne!(hasher.value(b"k"), other.value(b"k"));
        assert_ne!(hasher.value(b"k"), hasher.key(b"k")[..8], "each has a key of its own");
        let value = std::array::from_fn(|at| at as u8);
        let entry = Entry::new(&hasher.key(b"k"), &value, 7, u32::MAX);
        assert_eq!((entry.file(), entry.position(), entry.value()), (7, u32::MAX, value));
        assert_eq!(entry.key(), hasher.key(b"k"));
        assert_eq!(Entry::of(*entry.bytes()), entry);
    }
}
