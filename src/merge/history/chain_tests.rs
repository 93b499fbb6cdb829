//! Chains against a model: all rows of a key in their order, each ended by the next.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A row of the source: it begins at `start`; `tie` makes its order total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    key: u8,
    start: u8,
    tie: u8,
    deleted: bool,
}

impl Row {
    fn order(self) -> [u8; 2] {
        [self.start, self.tie]
    }
}

/// Key, order, end.
type Line = (u8, [u8; 2], Option<u8>);

/// A target, with its stored deletes.
#[derive(Debug, Default, Clone)]
struct Table {
    rows: Vec<Line>,
    deletes: Vec<(u8, [u8; 2])>,
}

/// How a merge goes: the rows of a part, whether equal rows are written again, and whether it dies after its deletes are
/// remembered.
#[derive(Debug, Clone, Copy)]
struct Way {
    part: usize,
    refresh: bool,
    dies: bool,
}

const WHOLE: Way = Way { part: usize::MAX, refresh: false, dies: false };

impl Table {
    fn seen(&self, chains: &Chains) -> Seen {
        let mut seen = Seen::default();
        let mut see = |key: u8, order: &[u8], stored| {
            if let Some(versions) = chains.of(&[key]) {
                chains.see(versions, order, stored, &mut seen);
            }
        };
        for (position, (key, order, end)) in (0..).zip(&self.rows) {
            let at = RowAt { file: 0, position };
            see(*key, order, Some(Stored { at, end: end.map(|end| [end].into()) }));
        }
        for (key, order) in &self.deletes {
            see(*key, order, None);
        }
        seen
    }

    fn merge(&mut self, source: &[Row], way: Way) -> Counts {
        let mut rows = source.to_vec();
        rows.sort_unstable();
        rows.dedup();
        let before = self.rows.len() as u64;
        let (mut counts, mut deletes) = (Counts::default(), vec![]);
        let (mut new, mut gone, mut ends) = (vec![], vec![], BTreeMap::new());
        let (mut begin, mut continues) = (0, false);
        while begin < rows.len() {
            let end = begin.saturating_add(way.part).min(rows.len());
            let goes_on = end < rows.len();
            let part = &rows[begin..end + usize::from(goes_on)];
            let keys: Vec<[u8; 1]> = part.iter().map(|row| [row.key]).collect();
            let versions = keys.iter().zip(part).map(|(key, row)| {
                (&key[..], Version { order: row.order().into(), deleted: row.deleted })
            });
            let chains = Chains::new(versions, continues, goes_on);
            let seen = self.seen(&chains);
            let plan = chains.plan(&seen, way.refresh, &mut counts);
            let written = plan.written.iter();
            new.extend(
                written.map(|(at, end)| (part[*at].key, part[*at].order(), end.map(|e| e[0]))),
            );
            deletes.extend(plan.deletes.iter().map(|at| (part[*at].key, part[*at].order())));
            for (at, end) in &plan.ended {
                assert_eq!(ends.insert(at.position, end[0]), None, "a row ends once");
            }
            gone.extend(plan.gone.iter().map(|at| at.position));
            continues = goes_on && rows[end - 1].key == rows[end].key;
            begin = end;
        }
        self.deletes.extend(deletes);
        if way.dies {
            return counts;
        }
        let stays = (0..).zip(&self.rows).filter(|(position, _)| !gone.contains(position));
        let stays = stays.map(|(position, (key, order, end))| {
            (*key, *order, ends.get(&position).copied().or(*end))
        });
        self.rows = stays.chain(new).collect();
        let after = before + counts.inserted + counts.updated - counts.gone;
        assert_eq!(self.rows.len() as u64, after, "{counts:?}");
        counts
    }

    fn sorted(&self) -> Vec<Line> {
        let mut rows = self.rows.clone();
        rows.sort_unstable();
        rows
    }

    fn current_of(&self, key: u8) -> usize {
        self.rows.iter().filter(|(of, _, end)| *of == key && end.is_none()).count()
    }
}

fn model(rows: &[Row]) -> Vec<Line> {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    rows.dedup();
    let next = |at: usize| rows.get(at + 1).filter(|next| next.key == rows[at].key);
    let lines = rows.iter().enumerate().filter(|(_, row)| !row.deleted);
    lines.map(|(at, row)| (row.key, row.order(), next(at).map(|next| next.start))).collect()
}

fn row(key: u8, start: u8, tie: u8) -> Row {
    Row { key, start, tie, deleted: false }
}

fn delete(key: u8, start: u8, tie: u8) -> Row {
    Row { deleted: true, ..row(key, start, tie) }
}

#[test]
fn a_late_row_is_slotted_in_and_changes_its_neighbours_alone() {
    let mut table = Table::default();
    table.merge(&[row(1, 10, 0), row(1, 30, 0), row(1, 50, 0), row(2, 10, 0)], WHOLE);
    let counts = table.merge(&[row(1, 20, 0)], WHOLE);
    assert_eq!((counts.inserted, counts.updated, counts.late, counts.gone), (1, 1, 1, 1));
    let rows = [
        (1, [10, 0], Some(20)),
        (1, [20, 0], Some(30)),
        (1, [30, 0], Some(50)),
        (1, [50, 0], None),
        (2, [10, 0], None),
    ];
    assert_eq!(table.sorted(), rows);
    let again = table.merge(&[row(1, 20, 0), row(1, 50, 0)], WHOLE);
    assert_eq!(again, Counts { unchanged: 2, ..Counts::default() });
    assert_eq!(table.sorted(), rows);
}

#[test]
fn a_delete_ends_a_version_and_an_older_row_stays_ended_by_it() {
    let mut table = Table::default();
    assert_eq!(table.merge(&[delete(1, 5, 0)], WHOLE).unchanged, 1, "it ends none");
    table.merge(&[row(1, 10, 0)], WHOLE);
    assert_eq!(table.merge(&[delete(1, 30, 0)], WHOLE).deleted, 1);
    assert_eq!(table.sorted(), [(1, [10, 0], Some(30))]);
    let counts = table.merge(&[row(1, 20, 0), row(1, 1, 0)], WHOLE);
    assert_eq!((counts.inserted, counts.late), (2, 2));
    let rows = [(1, [1, 0], Some(5)), (1, [10, 0], Some(20)), (1, [20, 0], Some(30))];
    assert_eq!(table.sorted(), rows);
    let counts = table.merge(&[row(1, 40, 0)], WHOLE);
    assert_eq!((counts.inserted, counts.late, counts.updated), (1, 0, 0));
    assert_eq!(table.sorted()[3], (1, [40, 0], None), "the key comes back");
}

/// At every time there is one version, or none after a delete: of equal times all but the last are empty.
#[test]
fn versions_of_one_time_follow_each_other() {
    let mut table = Table::default();
    table.merge(&[row(1, 10, 2), row(1, 10, 0)], WHOLE);
    table.merge(&[row(1, 10, 1), delete(1, 10, 3)], WHOLE);
    let rows = [0, 1, 2].map(|tie| (1, [10, tie], Some(10)));
    assert_eq!(table.sorted(), rows);
}

/// Deletes are kept for a time only, where the configuration says so.
#[test]
fn a_version_whose_delete_is_forgotten_still_ends_there() {
    let mut table = Table::default();
    table.merge(&[row(1, 10, 0), delete(1, 20, 0)], WHOLE);
    table.deletes.clear();
    table.merge(&[row(1, 30, 0)], WHOLE);
    assert_eq!(table.sorted(), [(1, [10, 0], Some(20)), (1, [30, 0], None)]);
}

#[test]
fn a_row_that_is_there_twice_ends_twice() {
    let line = (1, [10, 0], None);
    let mut table = Table { rows: vec![line, line], deletes: vec![] };
    let counts = table.merge(&[row(1, 20, 0)], WHOLE);
    assert_eq!((counts.inserted, counts.updated, counts.gone), (1, 2, 2));
    let ended = (1, [10, 0], Some(20));
    assert_eq!(table.sorted(), [ended, ended, (1, [20, 0], None)]);
}

/// Rows of few keys and times, and the merges that each is in.
fn cases() -> impl Strategy<Value = (Vec<(Row, Vec<bool>)>, Vec<Way>)> {
    let way = (1..6_usize, any::<bool>(), proptest::bool::weighted(0.3))
        .prop_map(|(part, refresh, dies)| Way { part, refresh, dies });
    proptest::collection::vec(way, 1..6).prop_flat_map(|ways| {
        let row = (0..3_u8, 0..5_u8, proptest::bool::weighted(0.3));
        let merges = proptest::collection::vec(proptest::bool::weighted(0.3), ways.len());
        let rows = proptest::collection::vec((row, merges), 1..24).prop_map(|rows| {
            let rows = (0..).zip(rows);
            rows.map(|(tie, ((key, start, deleted), merges))| {
                (Row { key, start, tie, deleted }, merges)
            })
            .collect()
        });
        (rows, Just(ways))
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Whatever is merged when, how often and in which parts, with crashes between.
    #[test]
    fn the_chain_is_a_function_of_the_set_of_rows((rows, ways) in cases()) {
        let mut table = Table::default();
        let mut lost: Vec<Row> = vec![];
        for (number, way) in ways.iter().enumerate() {
            let batch = rows.iter().filter(|(_, merges)| merges[number]).map(|(row, _)| *row);
            // What a merge that died was to do is merged later, sooner or later.
            let batch: Vec<Row> = batch.chain(lost.drain(..).filter(|row| row.tie % 2 == 0)).collect();
            table.merge(&batch, *way);
            if way.dies {
                lost.extend(batch);
            }
            for key in 0..3 {
                prop_assert!(table.current_of(key) <= 1, "{:?}", table);
            }
        }
        let all: Vec<Row> = rows.iter().map(|(row, _)| *row).collect();
        let last = ways[0].part;
        let mut again = table.clone();
        table.merge(&all, WHOLE);
        prop_assert_eq!(table.sorted(), model(&all));
        again.merge(&all, Way { part: last, ..WHOLE });
        prop_assert_eq!(again.sorted(), model(&all));
        let repeated = table.merge(&all, Way { part: last, ..WHOLE });
        prop_assert_eq!(repeated, Counts { unchanged: all.len() as u64, ..Counts::default() });
    }
}
