//! An entry: what the index knows of one row of the target, without opening its file.
//!
//! 44 bytes, big-endian, sorted as they are:
//!
//! | bytes | what |
//! |---|---|
//! | 12 | hash of the key |
//! | 16 | the first bytes of the order, comparable ([`OrderPrefix`]) |
//! | 8 | hash of the whole order, which names the row's source and so the row |
//! | 4 | the file's number |
//! | 4 | the row's position in the file, deleted rows counted |
//!
//! # Hashes are believed
//! Both are SipHash-2-4 under a secret that each index draws: no one who writes data can aim at a collision.
//! - *Keys.* 96 bits. A merge of k keys into n rows compares k·n pairs, so a false match has a probability of
//!   k·n / 2⁹⁶: with 10,000 keys and 50 million rows 6·10⁻¹⁸. A million such merges stay below 10⁻¹¹.
//! - *Orders.* 64 bits, compared only where key and order prefix are equal. Even if all 10,000 keys of a merge were
//!   such ties, one of them would be taken for the same row with a probability of 5·10⁻¹⁶.
//!
//! Both are far below the rate at which memory and disks return wrong bits without notice.

use std::cmp::Ordering;

use sha2::{Digest, Sha256};
use siphasher::sip128::SipHasher24;

/// Bytes of an entry.
pub const ENTRY: usize = 44;
/// Bytes of the hash of a key.
pub const KEY: usize = 12;
/// Bytes of an order that an entry has.
const ORDER: usize = 16;

/// The hash of a key.
pub type KeyHash = [u8; KEY];

/// What a winner's order is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderValue {
    prefix: [u8; ORDER],
    hash: [u8; 8],
}

impl OrderValue {
    /// How the orders compare; `None` where these bytes do not say it.
    pub fn compared(&self, other: &Self) -> Option<Ordering> {
        match self.prefix.cmp(&other.prefix) {
            Ordering::Equal if self.hash == other.hash => Some(Ordering::Equal),
            Ordering::Equal => None,
            decided => Some(decided),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry([u8; ENTRY]);

impl Entry {
    /// The entry of a row.
    pub fn new(key: &KeyHash, order: &OrderValue, file: u32, position: u32) -> Self {
        let mut bytes = [0; ENTRY];
        bytes[..12].copy_from_slice(key);
        bytes[12..28].copy_from_slice(&order.prefix);
        bytes[28..36].copy_from_slice(&order.hash);
        bytes[36..40].copy_from_slice(&file.to_be_bytes());
        bytes[40..].copy_from_slice(&position.to_be_bytes());
        Self(bytes)
    }

    /// The entry of these bytes.
    pub fn of(bytes: [u8; ENTRY]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; ENTRY] {
        &self.0
    }

    /// The first 8 bytes of the key's hash, which say where the entry is in a run.
    pub fn first(&self) -> u64 {
        first_of(&self.0)
    }

    /// The order.
    pub fn order(&self) -> OrderValue {
        OrderValue { prefix: part(&self.0, 12), hash: part(&self.0, 28) }
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

/// Makes hashes under the secret of an index.
#[derive(Debug, Clone)]
pub struct Hasher {
    keys: [u8; 16],
    orders: [u8; 16],
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
        Self { keys: half(0), orders: half(16) }
    }

    /// The hash of a key's comparable bytes.
    pub fn key(&self, key: &[u8]) -> KeyHash {
        let whole = SipHasher24::new_with_key(&self.keys).hash(key).as_bytes();
        let mut hash = [0; KEY];
        hash.copy_from_slice(&whole[..KEY]);
        hash
    }

    /// What an entry has of an order's comparable bytes.
    pub fn order(&self, prefix: &OrderPrefix, order: &[u8]) -> OrderValue {
        let whole = SipHasher24::new_with_key(&self.orders).hash(order).as_bytes();
        let mut hash = [0; 8];
        hash.copy_from_slice(&whole[..8]);
        OrderValue { prefix: prefix.of(order), hash }
    }
}

/// Shortens orders to 16 bytes: where two prefixes differ, the orders compare as they do.
///
/// Comparable bytes spend a byte on "is null" before each number. The prefix does without: null is 0, and the value
/// that would be 0 is 1, so that two columns of 8 bytes (a time, the event's time) fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPrefix {
    /// The widths of the leading columns that are numbers.
    widths: Vec<usize>,
}

impl OrderPrefix {
    /// For orders whose leading columns are numbers of these widths.
    pub fn new(widths: Vec<usize>) -> Self {
        Self { widths }
    }

    fn of(&self, order: &[u8]) -> [u8; ORDER] {
        let mut prefix = [0; ORDER];
        let (mut at, mut filled) = (0, 0);
        for width in &self.widths {
            let (Some(valid), Some(value)) = (order.get(at), order.get(at + 1..at + 1 + width))
            else {
                return prefix;
            };
            let taken = (*width).min(ORDER - filled);
            let (last, before) = value.split_last().unwrap_or((&0, &[]));
            let least = *valid != 0 && *last <= 1 && before.iter().all(|byte| *byte == 0);
            match (*valid, least) {
                (0, _) => {}
                (_, true) if taken == *width => prefix[filled + taken - 1] = 1,
                _ => prefix[filled..filled + taken].copy_from_slice(&value[..taken]),
            }
            // Two values share this prefix: what follows must not decide between them.
            if least || taken < *width {
                return prefix;
            }
            (at, filled) = (at + 1 + width, filled + width);
        }
        let rest = order.get(at..).unwrap_or_default();
        let taken = rest.len().min(ORDER - filled);
        prefix[filled..filled + taken].copy_from_slice(&rest[..taken]);
        prefix
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use proptest::prelude::*;

    use super::*;
    use crate::merge::order::Encoder;

    type Row = (Option<i64>, Option<i64>, Option<String>);

    /// The comparable bytes of two numbers and a text.
    fn orders(rows: &[Row]) -> Vec<Vec<u8>> {
        let first: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>());
        let second: ArrayRef = Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>());
        let text: ArrayRef = Arc::new(rows.iter().map(|r| r.2.clone()).collect::<StringArray>());
        let columns = [("a", first, true), ("b", second, true), ("c", text, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let names = ["a", "b", "c"].map(str::to_owned);
        let rows = Encoder::new(&batch.schema(), &names).unwrap().encode(&batch).unwrap();
        rows.iter().map(|row| row.as_ref().to_vec()).collect()
    }

    fn number() -> impl Strategy<Value = Option<i64>> {
        const EDGES: [i64; 7] = [i64::MIN, i64::MIN + 1, i64::MIN + 2, -1, 0, 1, i64::MAX];
        proptest::option::of(prop_oneof![prop::sample::select(&EDGES[..]), any::<i64>()])
    }

    proptest! {
        #[test]
        fn prefixes_never_contradict_orders(
            rows in proptest::collection::vec((number(), number(), proptest::option::of("[a-c]{0,3}")), 2..12)
        ) {
            let hasher = Hasher::new("secret");
            let orders = orders(&rows);
            for widths in [vec![], vec![8], vec![8, 8]] {
                let prefix = OrderPrefix::new(widths);
                for (a, b) in orders.iter().flat_map(|a| orders.iter().map(move |b| (a, b))) {
                    let (x, y) = (hasher.order(&prefix, a), hasher.order(&prefix, b));
                    if let Some(decided) = x.compared(&y) {
                        prop_assert_eq!(decided, a.cmp(b));
                    }
                }
            }
        }
    }

    #[test]
    fn two_numbers_decide_and_an_equal_row_is_known() {
        let hasher = Hasher::new("secret");
        let row = |a, b, c: &str| (Some(a), Some(b), Some(c.to_owned()));
        let orders = orders(&[row(1, 5, "x"), row(1, 6, "x"), row(1, 6, "y"), row(1, 6, "y")]);
        let prefix = OrderPrefix::new(vec![8, 8]);
        let values: Vec<_> = orders.iter().map(|order| hasher.order(&prefix, order)).collect();
        assert_eq!(values[0].compared(&values[1]), Some(Ordering::Less));
        assert_eq!(values[1].compared(&values[2]), None, "the text is not in the prefix");
        assert_eq!(values[2].compared(&values[3]), Some(Ordering::Equal));
    }

    #[test]
    fn an_entry_has_what_it_was_made_of_and_secrets_differ() {
        let (hasher, other) = (Hasher::new("secret"), Hasher::new("another"));
        assert_ne!(hasher.key(b"k"), other.key(b"k"));
        let order = hasher.order(&OrderPrefix::new(vec![]), b"order");
        let entry = Entry::new(&hasher.key(b"k"), &order, 7, u32::MAX);
        assert_eq!((entry.file(), entry.position(), entry.order()), (7, u32::MAX, order));
        assert_eq!(entry.bytes()[..KEY], hasher.key(b"k"));
    }
}
