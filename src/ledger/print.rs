//! Prints: an object version in sixteen bytes, for memories that hold millions.

use sha2::{Digest, Sha256};

use crate::source::ObjectId;

/// Bytes of the hash of URI and version. Two of *n* versions share one with a probability of about *n*² ⁄ 2⁹⁷: for
/// ten million, one in 10¹⁵.
const HASH: usize = 12;

/// An object version: a hash of its URI and its version, and the second of its LastModified. In this order, so that
/// the prints of one version at any time are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Print([u8; HASH + 4]);

impl Print {
    pub(super) fn of(id: &ObjectId) -> Self {
        Self::at(hash(&id.uri, &id.version), second(id))
    }

    /// The least and the greatest print of a version whose LastModified is not known.
    pub(super) fn of_version(uri: &str, version: &str) -> (Self, Self) {
        let hash = hash(uri, version);
        (Self::at(hash, 0), Self::at(hash, u32::MAX))
    }

    fn at(hash: [u8; HASH], second: u32) -> Self {
        let mut print = [0; HASH + 4];
        print[..HASH].copy_from_slice(&hash);
        print[HASH..].copy_from_slice(&second.to_be_bytes());
        Self(print)
    }
}

/// Seconds since 1970, modulo 2³².
fn second(id: &ObjectId) -> u32 {
    id.last_modified.timestamp() as u32
}

fn hash(uri: &str, version: &str) -> [u8; HASH] {
    let mut hash = Sha256::new();
    for text in [uri, version] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let mut print = [0; HASH];
    print.copy_from_slice(&hash.finalize()[..HASH]);
    print
}
