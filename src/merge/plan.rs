//! The decisions of a merge: rows found in the target → rows to insert, replace, delete. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Counts;
use super::newest::Newest;

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

/// A row of the target that goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) at: RowAt,
    /// The key whose newest row replaces it.
    pub(super) instead: Option<Key>,
}

/// What a merge does, in rows.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Sorted by file and position.
    pub(super) gone: Vec<Gone>,
    pub(super) inserts: Vec<Key>,
    pub(super) deletes: Vec<Key>,
}

pub(super) fn plan(
    newest: &Newest,
    mut hits: Vec<Hit>,
    buried: &BTreeSet<Key>,
    refresh_equal: bool,
    counts: &mut Counts,
) -> Plan {
    // A key may be in the target more than once, where another program wrote it: the newest row decides.
    let mut verdicts: BTreeMap<&[u8], Verdict> = BTreeMap::new();
    for hit in &hits {
        let verdict = verdicts.entry(&hit.key).or_insert(hit.verdict);
        *verdict = hit.verdict.max(*verdict);
    }
    let mut plan = Plan::default();
    // Keys whose rows go, and whether their newest row is written already.
    let mut replaced: BTreeMap<&[u8], bool> = BTreeMap::new();
    for (key, winner) in newest.sorted() {
        let verdict = verdicts.get(key).copied();
        if winner.deleted {
            // Those that are buried already are remembered.
            if !buried.contains(key) {
                plan.deletes.push(key.into());
            }
            match verdict {
                Some(Verdict::Replace | Verdict::Same) => {
                    counts.deleted += 1;
                    replaced.insert(key, winner.deleted);
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
                replaced.insert(key, winner.deleted);
            }
            None => {
                counts.inserted += 1;
                plan.inserts.push(key.into());
            }
        }
    }
    hits.sort_unstable_by_key(|hit| hit.at);
    for Hit { at, key, .. } in hits {
        if let Some(placed) = replaced.get_mut(&*key) {
            let instead = (!std::mem::replace(placed, true)).then_some(key);
            plan.gone.push(Gone { at, instead });
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};

    use super::super::NullKeys;
    use super::super::newest::Share;
    use super::*;

    /// Keys with their orders, and whether they delete.
    fn newest(rows: &[(i64, i64, bool)]) -> Newest {
        let column = |of: fn(&(i64, i64, bool)) -> i64| {
            Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef
        };
        let batch =
            RecordBatch::try_from_iter([("k", column(|r| r.0)), ("o", column(|r| r.1))]).unwrap();
        let columns = |name: &str| [name.to_owned()];
        let mut newest =
            Newest::new(&batch.schema(), &columns("k"), &columns("o"), NullKeys::Skip).unwrap();
        let deleted: BooleanArray = rows.iter().map(|r| Some(r.2)).collect();
        newest.push(batch, &deleted, Share::ALL).unwrap();
        newest
    }

    #[test]
    fn a_key_that_is_in_the_target_twice_is_replaced_once_and_deleted_everywhere() {
        let newest = newest(&[(1, 5, false), (2, 5, true), (3, 5, false), (4, 5, false)]);
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
        let gone = |file, position, instead: Option<usize>| Gone {
            at: RowAt { file, position },
            instead: instead.map(|key| keys[key].clone()),
        };
        assert_eq!(plan.gone, [gone(0, 9, Some(0)), gone(1, 2, None), gone(1, 7, None)]);
        assert_eq!(plan.inserts, [keys[3].clone()]);
        assert_eq!(plan.deletes, [keys[1].clone()]);
        let counted = (counts.updated, counts.deleted, counts.late, counts.inserted);
        assert_eq!(counted, (1, 1, 1, 1));
    }
}
