//! The decisions of a merge: rows found in the target → rows to insert, replace, delete. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::Counts;
use super::newest::{Newest, Winner};

/// A key, as comparable bytes.
pub(super) type Key = Box<[u8]>;

/// How the target compares with the winner of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It holds an older row: to be replaced or deleted.
    Replace,
    /// It holds this very row.
    Same,
    /// It, or a stored delete, is newer.
    Late,
}

impl From<Ordering> for Verdict {
    /// Of how the order of the target's row compares with that of the winner.
    fn from(of_target: Ordering) -> Self {
        match of_target {
            Ordering::Less => Self::Replace,
            Ordering::Equal => Self::Same,
            Ordering::Greater => Self::Late,
        }
    }
}

/// Where a row of the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowAt {
    /// Its file, as an index into the files that were searched.
    pub(super) file: usize,
    /// Its position in the file, from 0, deleted rows counted.
    pub(super) position: u64,
}

/// A row of the target whose key the source has.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) at: RowAt,
    pub(super) key: Key,
    pub(super) verdict: Verdict,
}

/// What a merge does, in rows.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// Rows of the target that go, sorted by file and position.
    pub(super) gone: Vec<RowAt>,
    /// Rows that come, sorted by key: new ones, and those that replace others.
    pub(super) written: Vec<&'a Winner>,
    /// Deletes to remember, sorted by key.
    pub(super) deletes: Vec<&'a Winner>,
}

pub(super) fn plan<'a>(
    newest: &'a Newest,
    hits: Vec<Hit>,
    buried: &BTreeSet<Key>,
    refresh_equal: bool,
    counts: &mut Counts,
) -> Plan<'a> {
    // A key may be in the target more than once, where another program wrote it: the newest row decides.
    let mut verdicts: HashMap<&[u8], Verdict> = HashMap::with_capacity(hits.len());
    for hit in &hits {
        let verdict = verdicts.entry(&hit.key).or_insert(hit.verdict);
        *verdict = hit.verdict.max(*verdict);
    }
    let mut plan = Plan::default();
    // The keys whose rows go.
    let mut replaced: HashSet<&[u8]> = HashSet::new();
    for (key, winner) in newest.sorted() {
        let verdict = verdicts.get(key).copied();
        if winner.deleted {
            // Those that are buried already are remembered.
            if !buried.contains(key) {
                plan.deletes.push(winner);
            }
            match verdict {
                Some(Verdict::Replace | Verdict::Same) => {
                    counts.deleted += 1;
                    replaced.insert(key);
                }
                Some(Verdict::Late) => counts.late += 1,
                None => counts.unchanged += 1,
            }
            continue;
        }
        match verdict {
            _ if buried.contains(key) => counts.late += 1,
            Some(Verdict::Late) => counts.late += 1,
            Some(Verdict::Same) if !refresh_equal => counts.unchanged += 1,
            Some(Verdict::Same | Verdict::Replace) => {
                counts.updated += 1;
                replaced.insert(key);
                plan.written.push(winner);
            }
            None => {
                counts.inserted += 1;
                plan.written.push(winner);
            }
        }
    }
    let gone = hits.iter().filter(|hit| replaced.contains(&*hit.key)).map(|hit| hit.at);
    plan.gone = gone.collect();
    plan.gone.sort_unstable();
    counts.gone += plan.gone.len() as u64;
    plan
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};

    use super::super::NullKeys;
    use super::super::newest::Reduction;
    use super::*;

    /// Keys with their orders, and whether they delete.
    fn newest(rows: &[(i64, i64, bool)]) -> Newest {
        let column = |of: fn(&(i64, i64, bool)) -> i64| {
            Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef
        };
        let batch =
            RecordBatch::try_from_iter([("k", column(|r| r.0)), ("o", column(|r| r.1))]).unwrap();
        let columns = |name: &str| vec![name.to_owned()];
        let mut newest = Newest::new(&Reduction {
            schema: batch.schema(),
            keys: columns("k"),
            order: columns("o"),
            null_keys: NullKeys::Skip,
            versions: false,
            repeated: vec![],
        })
        .unwrap();
        let deleted: BooleanArray = rows.iter().map(|r| Some(r.2)).collect();
        newest.push(batch, &deleted).unwrap();
        newest
    }

    #[test]
    fn a_key_that_is_in_the_target_twice_is_replaced_once_and_deleted_everywhere() {
        let newest = newest(&[(1, 5, false), (2, 6, true), (3, 7, false), (4, 8, false)]);
        let keys: Vec<Key> = newest.sorted().iter().map(|(key, _)| (*key).into()).collect();
        let hit = |file, position, key: usize, verdict| Hit {
            at: RowAt { file, position },
            key: keys[key].clone(),
            verdict,
        };
        let hits = vec![
            hit(1, 7, 0, Verdict::Replace),
            hit(0, 9, 0, Verdict::Replace),
            hit(1, 2, 1, Verdict::Same),
            hit(0, 1, 2, Verdict::Late),
            hit(1, 1, 2, Verdict::Replace),
        ];
        let mut counts = Counts::default();
        let plan = plan(&newest, hits, &BTreeSet::new(), false, &mut counts);
        let gone = |file, position| RowAt { file, position };
        assert_eq!(plan.gone, [gone(0, 9), gone(1, 2), gone(1, 7)]);
        let orders = |winners: &[&Winner]| -> Vec<Box<[u8]>> {
            winners.iter().map(|winner| winner.order.clone()).collect()
        };
        let of = |key: usize| newest.get(&keys[key]).unwrap().order.clone();
        assert_eq!(orders(&plan.written), [of(0), of(3)]);
        assert_eq!(orders(&plan.deletes), [of(1)]);
        let counted = (counts.updated, counts.deleted, counts.late, counts.inserted, counts.gone);
        assert_eq!(counted, (1, 1, 1, 1, 3));
    }
}
