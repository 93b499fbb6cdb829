//! What an entry says of a row's order, in 24 bytes: how it compares with another one without a look at the row.
//!
//! | bytes | what |
//! |---|---|
//! | 16 | the first bytes of the order, comparable ([`OrderPrefix`]) |
//! | 8 | hash of the whole order, which names the row's source and so the row |
//!
//! The hash is believed as that of the key is: it has 64 bits, and is compared only where key and order prefix are
//! equal. Even if all 10,000 keys of a merge were such ties, one of them would be taken for the same row with a
//! probability of 5·10⁻¹⁶.

use std::cmp::Ordering;

use crate::key_index::entry::{Hasher, VALUE, Value};

/// Bytes of an order that an entry has.
const ORDER: usize = 16;

/// What an entry has of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrderValue(pub(super) Value);

impl OrderValue {
    /// How the orders compare; `None` where these bytes do not say it.
    pub(super) fn compared(&self, other: &Self) -> Option<Ordering> {
        match self.0[..ORDER].cmp(&other.0[..ORDER]) {
            Ordering::Equal => (self == other).then_some(Ordering::Equal),
            decided => Some(decided),
        }
    }
}

/// Shortens orders to 16 bytes: where two prefixes differ, the orders compare as they do.
///
/// Comparable bytes spend a byte on "is null" before each number. The prefix does without: null is 0, and the value
/// that would be 0 is 1, so that two columns of 8 bytes (a time, the event's time) fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderPrefix {
    /// The widths of the leading columns that are numbers.
    widths: Vec<usize>,
}

impl OrderPrefix {
    /// For orders whose leading columns are numbers of these widths.
    pub(super) fn new(widths: Vec<usize>) -> Self {
        Self { widths }
    }

    /// What an entry has of an order's comparable bytes.
    pub(super) fn value(&self, hasher: &Hasher, order: &[u8]) -> OrderValue {
        let mut value = [0; VALUE];
        value[..ORDER].copy_from_slice(&self.of(order));
        value[ORDER..].copy_from_slice(&hasher.value(order));
        OrderValue(value)
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
                    let (x, y) = (prefix.value(&hasher, a), prefix.value(&hasher, b));
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
        let values: Vec<_> = orders.iter().map(|order| prefix.value(&hasher, order)).collect();
        assert_eq!(values[0].compared(&values[1]), Some(Ordering::Less));
        assert_eq!(values[1].compared(&values[2]), None, "the text is not in the prefix");
        assert_eq!(values[2].compared(&values[3]), Some(Ordering::Equal));
    }
}
