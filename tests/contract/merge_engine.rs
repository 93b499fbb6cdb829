//! The merge engine, on tables in memory.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use silversmith::lake::{Change, Removed, Uncommitted};
use silversmith::merge::{Counts, History, MergeMode, MergeTask, NullKeys, Quarantined, Scope};
use silversmith::sql::expect::{Expectation, OnFail};

use super::ground::{Ground, INDEXED, KINDS, Row, SCANNING, row};
use crate::support::unsaid;

const OLD: [Row; 4] = [row(1, 1, "a", 1), row(2, 2, "b", 1), row(3, 3, "c", 5), row(4, 4, "d", 1)];
const NEW: [Row; 9] = [
    row(5, 1, "a2", 2),
    row(6, 1, "tie", 2),
    row(7, 2, "-", 2),
    row(8, 3, "late", 4),
    row(9, 5, "e", 1),
    row(10, 6, "-", 1),
    Row { id: None, name: "nobody", updated: Some(1), number: 11 },
    Row { id: Some(7), name: "no order", updated: None, number: 12 },
    row(13, 7, "-", 0),
];

fn numbers(counts: &Counts) -> [u64; 7] {
    let Counts { source, inserted, updated, deleted, late, unchanged, null_keys, .. } = *counts;
    assert_eq!(
        (counts.misfits, counts.failed),
        (0, 0),
        "this source has no rescued cells, and its SQL never fails"
    );
    assert_eq!(counts.gone, updated + deleted, "no key is in the target twice");
    [source, inserted, updated, deleted, late, unchanged, null_keys]
}

/// The result is a function of the target and the *set* of rows: their order and their files are of no meaning.
#[tokio::test]
async fn the_same_rows_in_any_order_and_files_give_the_same_result() {
    for kind in KINDS {
        let mut random = StdRng::seed_from_u64(7);
        for parts in [1, 2, 3, NEW.len()] {
            let ground = Ground::new(kind);
            ground.merge(&[&OLD]).await;
            let mut rows = NEW;
            rows.shuffle(&mut random);
            let files: Vec<&[Row]> = rows.chunks(NEW.len().div_ceil(parts)).collect();
            let counts = ground.merge(&files).await;
            let case = format!("{}: {files:?}", kind.name);
            assert_eq!(ground.silver().await, ["1|tie|2", "3|c|5", "4|d|1", "5|e|1"], "{case}");
            assert_eq!(ground.deletes().await, ["2|2", "6|1", "7|0"], "{case}");
            // Of the six keys: 5 comes, 1 is replaced, 2 goes, 3 is late, 6 and 7 were not there.
            assert_eq!(numbers(&counts), [9, 1, 1, 1, 1, 2, 1], "{case}");
        }
    }
}

/// The same of every version of a key, whether the rows fit into memory or not; its key is found by a scan.
#[tokio::test]
async fn the_same_rows_in_any_order_and_files_give_the_same_history() {
    const VERSIONS: &str = "SELECT id, name, valid_from, valid_to, is_current FROM silver.customers
      ORDER BY id, updated, _source_row";
    for kind in KINDS {
        let mut random = StdRng::seed_from_u64(7);
        for (parts, memory) in [(1, 1 << 20), (2, 1), (3, 1 << 20), (NEW.len(), 1)] {
            let mut ground = Ground::new(kind);
            (ground.rules.history, ground.rules.memory) = (History::Scd2, memory);
            ground.merge(&[&OLD]).await;
            let mut rows = NEW;
            rows.shuffle(&mut random);
            let files: Vec<&[Row]> = rows.chunks(NEW.len().div_ceil(parts)).collect();
            let counts = ground.merge(&files).await;
            let case = format!("{}: {files:?}", kind.name);
            let versions = [
                "1|a|1|2|false",
                "1|a2|2|2|false",
                "1|tie|2|null|true",
                "2|b|1|2|false",
                "3|late|4|5|false",
                "3|c|5|null|true",
                "4|d|1|null|true",
                "5|e|1|null|true",
                "7|no order|null|0|false",
            ];
            assert_eq!(ground.world.sql(VERSIONS).await, versions, "{case}");
            assert_eq!(ground.deletes().await, ["2|2", "6|1", "7|0"], "{case}");
            // Five come, a and b end now, 2 and 7 are deleted, 3 is late, and 6 was not there.
            let expected = Counts {
                source: 9,
                inserted: 5,
                updated: 2,
                deleted: 2,
                late: 1,
                unchanged: 1,
                null_keys: 1,
                gone: 2,
                ..Counts::default()
            };
            assert_eq!(counts, expected, "{case}");
            let again = ground.merge(&files).await;
            let expected = Counts { source: 9, unchanged: 8, null_keys: 1, ..Counts::default() };
            assert_eq!(again, expected, "{case}");
            assert_eq!(ground.world.sql(VERSIONS).await, versions, "{case}");
        }
    }
}

/// Rows that a rule refuses are handed over for quarantine once, whatever is merged again; under other rules they go.
#[tokio::test]
async fn refused_rows_are_for_quarantine_once() {
    for kind in KINDS {
        let name = kind.name;
        let mut ground = Ground::new(kind);
        let rows = ground.rules.rows.clone();
        let expectation = Expectation::parse("no b", "name <> 'b'", OnFail::Quarantine).unwrap();
        ground.rules.rows = rows.clone().expecting(vec![expectation]);
        let task = ground.task(&[&OLD]).await;
        let merged = ground.run(&task).await;
        assert_eq!((merged.counts.inserted, merged.counts.unmet), (3, 1), "{name}");
        let Quarantined { table, add, refused, gone, .. } = merged.quarantine.unwrap();
        assert_eq!((refused, gone), (BTreeMap::from([("no b".to_owned(), 1)]), 0), "{name}");
        let quarantine = ground.commit(&table, Change::append(add, unsaid())).await;
        let files = ground.world.lake().files_of(&quarantine, None, &[]).await.unwrap();
        let files = files.iter().map(|file| file.path().to_owned()).collect();
        let replayed = Scope::Quarantined { files, rule: Some("no b".to_owned()) };
        for (scope, merges) in [(Scope::New, 3), (Scope::All, 3), (replayed, 0)] {
            let quarantine = Some(quarantine.clone());
            let mut again =
                MergeTask { quarantine, quarantine_scope: scope.clone(), ..task.clone() };
            let merged = ground.run(&again).await;
            assert_eq!(merged.counts.inserted, merges, "{name}, {scope:?}");
            assert!(merged.quarantine.is_none(), "{name}, {scope:?}: it is there already");
            again.rules.rows = rows.clone();
            let merged = ground.run(&again).await;
            assert_eq!(merged.counts.inserted, merges + 1, "{name}, {scope:?}");
            let gone = merged.quarantine.map(|changes| (changes.gone, changes.refused.len()));
            // Where nothing is compared but what is refused, nothing goes.
            let expected = (scope != Scope::New).then_some((1, 0));
            assert_eq!(gone, expected, "{name}, {scope:?}");
        }
    }
}

/// Nothing is committed, what is dropped deletes its files, and the same task may be run again.
#[tokio::test]
async fn a_merge_commits_nothing_may_be_dropped_and_may_be_repeated() {
    for kind in KINDS {
        let ground = Ground::new(kind);
        let task = ground.task(&[&OLD]).await;
        let first = ground.run(&task).await;
        let commits = ground.commits().await.into_iter().map(|(table, n)| (table.to_string(), n));
        let made =
            [("bronze.customers", 1), ("silver.customers", 0), ("silver.customers_deletes", 0)];
        let made = made.map(|(table, commits)| (table.to_owned(), commits));
        assert_eq!(
            commits.collect::<Vec<_>>(),
            made,
            "{}: missing tables are made empty",
            kind.name
        );
        assert!(!ground.warehouse.orphans(&*ground.world.catalog).await.is_empty());
        drop(first);
        let orphans = ground.warehouse.orphans(&*ground.world.catalog).await;
        assert_eq!(orphans, Vec::<String>::new(), "{}", kind.name);

        let merged = ground.run(&task).await;
        ground.take(merged, false).await;
        let task = ground.task(&[&NEW]).await;
        let (files, commits) = (ground.warehouse.list().await, ground.commits().await);
        let counts = ground.run(&task).await.counts;
        assert_eq!(ground.warehouse.list().await, files, "{}", kind.name);
        let again = ground.run(&task).await;
        assert_eq!(again.counts, counts, "{}", kind.name);
        assert_eq!(ground.commits().await, commits, "{}", kind.name);
        ground.take(again, false).await;
        assert_eq!(ground.silver().await, ["1|tie|2", "3|c|5", "4|d|1", "5|e|1"], "{}", kind.name);
        assert_eq!(ground.warehouse.orphans(&*ground.world.catalog).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_merge_that_fails_deletes_what_it_wrote() {
    for kind in KINDS {
        let ground = Ground::new(kind);
        ground.merge(&[&OLD]).await;
        let task = ground.task(&[&NEW]).await;
        let files = ground.warehouse.list().await;
        let mut refused =
            vec![("silver/customers", ".parquet"), ("silver/customers_deletes", ".parquet")];
        if kind.mode == MergeMode::MergeOnRead {
            refused.push(("silver/customers", "-deletes.parquet"));
        }
        for (table, end) in refused {
            ground.warehouse.refuse(&format!("/{table}/data"), end);
            let error = ground.engine.merge(task.clone()).await.unwrap_err();
            assert!(silversmith::error::chain(&error).contains("the disk is full"), "{error}");
            assert_eq!(ground.warehouse.list().await, files, "{}: {table}", kind.name);
        }
        ground.warehouse.accept();
        let merged = ground.run(&task).await;
        ground.take(merged, false).await;
        assert_eq!(ground.silver().await, ["1|tie|2", "3|c|5", "4|d|1", "5|e|1"], "{}", kind.name);
    }
}

/// Every key is counted once, parts add up to the whole, and the table grows by what the counts say.
#[tokio::test]
async fn counts_add_up() {
    for kind in KINDS {
        let whole = Ground::new(kind);
        whole.merge(&[&OLD]).await;
        let counts = whole.merge(&[&NEW]).await;
        let keys = NEW.iter().filter_map(|row| row.id).collect::<BTreeSet<_>>().len() as u64;
        let Counts { source, inserted, updated, deleted, late, unchanged, null_keys, .. } = counts;
        assert_eq!(inserted + updated + deleted + late + unchanged, keys, "{counts:?}");
        assert_eq!((source, null_keys), (NEW.len() as u64, 1), "{counts:?}");
        let rows = OLD.len() as u64 + inserted - deleted;
        assert_eq!(whole.silver().await.len() as u64, rows, "{counts:?}");

        // What does not fit into memory waits on disk: nothing fits here.
        let mut parts = Ground::new(kind);
        parts.rules.memory = 1;
        parts.merge(&[&OLD]).await;
        let sum = parts.merge(&[&NEW[..5], &NEW[5..]]).await;
        assert_eq!(sum, counts, "{}", kind.name);
        assert_eq!(parts.silver().await, whole.silver().await, "{}", kind.name);
        assert_eq!(parts.deletes().await, whole.deletes().await, "{}", kind.name);
    }
}

/// Thousands of rows through the disk, with keys that come again in most runs: one merge, the rows of a model.
#[tokio::test]
async fn what_does_not_fit_into_memory_is_merged_all_the_same() {
    let rows: Vec<Row> = (0..30_000)
        .map(|n| row(n, (n * 7_919) % 9_973, if n % 3 == 0 { "x" } else { "y" }, (n * 31) % 1_000))
        .collect();
    let mut newest: BTreeMap<i64, Row> = BTreeMap::new();
    for row in &rows {
        let rank = |row: &Row| (row.updated, row.number);
        let held = newest.entry(row.id.unwrap()).or_insert(*row);
        if rank(row) > rank(held) {
            *held = *row;
        }
    }
    let model: Vec<String> = newest
        .values()
        .map(|row| format!("{}|{}|{}", row.id.unwrap(), row.name, row.updated.unwrap()))
        .collect();
    for kind in KINDS {
        // The last makes more runs than are read at a time.
        for memory in [1 << 30, 2 << 20, 64 << 10] {
            let mut ground = Ground::new(kind);
            ground.rules.memory = memory;
            let files: Vec<&[Row]> = rows.chunks(256).collect();
            let (first, second) = files.split_at(files.len() / 2);
            let one = ground.merge(first).await;
            let two = ground.merge(second).await;
            assert_eq!(ground.silver().await, model, "{}: {memory}", kind.name);
            assert_eq!(one.source + two.source, rows.len() as u64, "{}", kind.name);
            assert_eq!(one.inserted + two.inserted, model.len() as u64, "{}", kind.name);
        }
    }
}

/// A first load or a rebuild that does not fit into memory is sorted, and not looked up.
#[tokio::test]
async fn what_does_not_fit_into_memory_is_made_from_nothing_all_the_same() {
    let name = |n: i64| if n % 5 == 0 { "-" } else { "x" };
    let rows: Vec<Row> =
        (0..20_000).map(|n| row(n, (n * 7_919) % 9_973, name(n), (n * 31) % 1_000)).collect();
    let mut newest: BTreeMap<i64, Row> = BTreeMap::new();
    for row in &rows {
        let held = newest.entry(row.id.unwrap()).or_insert(*row);
        if (row.updated, row.number) > (held.updated, held.number) {
            *held = *row;
        }
    }
    let text = |row: &Row| format!("{}|{}|{}", row.id.unwrap(), row.name, row.updated.unwrap());
    let (deleted, live): (Vec<&Row>, Vec<&Row>) = newest.values().partition(|row| row.name == "-");
    let model: Vec<String> = live.iter().copied().map(text).collect();
    let deletes: Vec<String> =
        deleted.iter().map(|row| format!("{}|{}", row.id.unwrap(), row.updated.unwrap())).collect();
    for kind in [SCANNING, INDEXED] {
        for memory in [1 << 30, 1 << 20, 64 << 10] {
            let mut ground = Ground::new(kind);
            ground.merge(&[&OLD]).await;
            ground.rules.memory = memory;
            let files: Vec<&[Row]> = rows.chunks(256).collect();
            let mut task = ground.task(&files).await;
            task.from_nothing = true;
            let counts = ground.take(ground.run(&task).await, true).await;
            assert_eq!(ground.silver().await, model, "{}: {memory}", kind.name);
            assert_eq!(ground.deletes().await, deletes, "{}: {memory}", kind.name);
            let (inserted, unchanged) = (model.len() as u64, deletes.len() as u64);
            assert_eq!((counts.inserted, counts.unchanged), (inserted, unchanged), "{}", kind.name);
            assert_eq!(counts.source, 20_000);
        }
    }
}

/// A deleted key is remembered, whether it was there or not, and stays deleted against what is older.
#[tokio::test]
async fn deleted_keys_are_remembered() {
    for kind in KINDS {
        let ground = Ground::new(kind);
        ground.merge(&[&[row(1, 1, "a", 1)], &[row(2, 1, "-", 5), row(3, 2, "-", 5)]]).await;
        assert_eq!(ground.silver().await, Vec::<String>::new(), "{}", kind.name);
        assert_eq!(ground.deletes().await, ["1|5", "2|5"], "{}", kind.name);
        let counts = ground.merge(&[&[row(4, 1, "late", 4), row(5, 2, "late", 4)]]).await;
        assert_eq!((counts.late, counts.inserted), (2, 0), "{}", kind.name);
        // An older delete is no news, and a newer row is.
        let task = ground.task(&[&[row(6, 1, "-", 3), row(7, 2, "back", 6)]]).await;
        let merged = ground.run(&task).await;
        assert!(merged.tombstones.as_ref().unwrap().add.is_empty(), "{}", kind.name);
        let counts = ground.take(merged, false).await;
        assert_eq!((counts.unchanged, counts.inserted), (1, 1), "{}", kind.name);
        assert_eq!(ground.silver().await, ["2|back|6"], "{}", kind.name);
    }
}

/// A row that is there already is left alone, unless it is to be written again.
#[tokio::test]
async fn an_equal_row_is_refreshed_only_on_request() {
    for kind in KINDS {
        let ground = Ground::new(kind);
        ground.merge(&[&OLD]).await;
        let mut task = ground.task(&[&OLD]).await;
        let merged = ground.run(&task).await;
        assert!(merged.add.is_empty() && merged.remove.is_empty(), "{}", kind.name);
        assert_eq!((merged.counts.unchanged, merged.counts.updated), (4, 0), "{}", kind.name);

        // Another writer has changed a row and kept its order.
        let target = ground.find(&ground.rules.table).await.unwrap();
        let change =
            Change::overwrite(Uncommitted::nothing(ground.world.lake()), Removed::All, unsaid());
        let target = ground.commit(&target, change).await;
        let changed = [row(1, 1, "changed", 1), OLD[1], OLD[2], OLD[3]];
        ground.append(&target, &[&changed]).await;
        task.target = ground.find(&ground.rules.table).await;
        let merged = ground.run(&task).await;
        assert_eq!(merged.counts.unchanged, 4, "{}", kind.name);
        task.refresh_equal = true;
        let merged = ground.run(&task).await;
        assert_eq!((merged.counts.unchanged, merged.counts.updated), (0, 4), "{}", kind.name);
        ground.take(merged, false).await;
        assert_eq!(ground.silver().await, ["1|a|1", "2|b|1", "3|c|5", "4|d|1"], "{}", kind.name);
    }
}

/// Another writer has put keys in twice, into one file and into two: a newer row replaces all of them once, and a
/// delete takes out all of them.
#[tokio::test]
async fn a_key_that_is_there_twice_is_replaced_once_and_removed_everywhere() {
    for kind in KINDS {
        let ground = Ground::new(kind);
        ground.merge(&[&OLD]).await;
        let target = ground.find(&ground.rules.table).await.unwrap();
        let twice = [row(1, 1, "again", 1), row(2, 2, "again", 0), row(2, 2, "third", 1)];
        ground.append(&target, &[&twice]).await;
        assert_eq!(ground.silver().await.len(), 7, "{}", kind.name);
        let counts = ground.merge(&[&[row(9, 1, "one", 9), row(10, 2, "-", 9)]]).await;
        assert_eq!((counts.updated, counts.deleted, counts.gone), (1, 1, 5), "{}", kind.name);
        assert_eq!(ground.silver().await, ["1|one|9", "3|c|5", "4|d|1"], "{}", kind.name);
    }
}

/// The target counts as empty: nothing of it is in the result, and remembered deletes do not hold anything up.
#[tokio::test]
async fn a_merge_from_nothing_is_made_of_the_source_alone() {
    for kind in KINDS {
        for memory in [1 << 30, 1] {
            let mut ground = Ground::new(kind);
            ground.merge(&[&OLD, &[row(20, 9, "-", 9)]]).await;
            ground.rules.memory = memory;
            let mut task = ground.task(&[&NEW, &[row(21, 9, "older", 1)]]).await;
            task.from_nothing = true;
            let merged = ground.run(&task).await;
            assert!(merged.remove.is_empty(), "{}: the caller removes everything", kind.name);
            let counts = ground.take(merged, true).await;
            let expected = ["1|tie|2", "3|late|4", "5|e|1", "9|older|1"];
            assert_eq!(ground.silver().await, expected, "{}: {memory}", kind.name);
            assert_eq!((counts.inserted, counts.null_keys), (4, 1), "{}: {memory}", kind.name);
        }
    }
}

#[tokio::test]
async fn null_is_a_key_only_where_the_rules_say_so() {
    for kind in KINDS {
        let mut ground = Ground::new(kind);
        let null = |number, name, updated| Row { id: None, name, updated: Some(updated), number };
        let counts = ground.merge(&[&[null(1, "x", 1), null(2, "y", 2)]]).await;
        assert_eq!((counts.null_keys, counts.inserted), (2, 0), "{}", kind.name);
        assert_eq!(ground.silver().await, Vec::<String>::new(), "{}", kind.name);
        ground.rules.null_keys = NullKeys::Equal;
        ground.merge(&[&[null(1, "x", 1), null(2, "y", 2)]]).await;
        let counts = ground.merge(&[&[null(3, "z", 3)]]).await;
        assert_eq!((counts.null_keys, counts.updated), (0, 1), "{}", kind.name);
        assert_eq!(ground.silver().await, ["null|z|3"], "{}", kind.name);
    }
}
