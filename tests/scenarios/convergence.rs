//! I5: silver is a function of the *set* of bronze rows. Any shuffling, splitting and repeating of the same rows,
//! deletes included, gives the same silver: that of a model of a few lines. A row that a rule refuses is in quarantine
//! once, and to silver it is as if it were not there.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use silversmith::merge::MergeMode;

use crate::support::{CUSTOMERS, World};

fn deleting() -> String {
    let declared = "id = \"long\"\nname = \"string\"\nop = \"string\"\nupdated = \"long\"\n";
    let expected = "name = \"no fives\"\nsql = \"CAST(substr(name, 2) AS int) % 5 <> 0\"\n";
    let expect = format!("[[pipeline.silver.expect]]\n{expected}");
    format!("{CUSTOMERS}delete_when = \"op = 'D'\"\n{expect}[pipeline.csv.columns]\n{declared}")
}

/// A key that does not fit its column.
const MISFIT: u8 = 6;

/// The rule that refuses a row.
fn refused((key, order, name, deletes): &Row) -> Option<&'static str> {
    match (key, order, deletes) {
        (Some(MISFIT), ..) => Some("rescued"),
        (_, None, true) => Some("delete-without-order"),
        (_, _, false) if name % 5 == 0 => Some("no fives"),
        _ => None,
    }
}

/// (order, file, row)
type Rank = (Option<u8>, usize, usize);

/// (key, order, name, deletes)
type Row = (Option<u8>, Option<u8>, u8, bool);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        proptest::option::weighted(0.95, 0..=MISFIT),
        proptest::option::weighted(0.9, 0..5_u8),
        any::<u8>(),
        proptest::bool::weighted(0.25),
    );
    proptest::collection::vec(row, 1..24)
}

/// How the same files arrive: their order, the files with a merge after them, the mode of each merge, whether its rows
/// fit into memory, a rewind, an expiry.
#[derive(Debug, Clone)]
struct Way {
    order: Vec<usize>,
    merge_after: Vec<bool>,
    on_read: Vec<bool>,
    fits: Vec<bool>,
    rewind: bool,
    expire: bool,
}

fn ways(files: usize) -> impl Strategy<Value = Way> {
    let order = Just((0..files).collect::<Vec<_>>()).prop_shuffle();
    let merges = || proptest::collection::vec(any::<bool>(), files);
    (order, merges(), merges(), merges(), any::<bool>(), any::<bool>()).prop_map(
        |(order, merge_after, on_read, fits, rewind, expire)| Way {
            order,
            merge_after,
            on_read,
            fits,
            rewind,
            expire,
        },
    )
}

fn case() -> impl Strategy<Value = (Vec<Vec<Row>>, Way, Way)> {
    proptest::collection::vec(rows(), 1..5).prop_flat_map(|files| {
        let count = files.len();
        (Just(files), ways(count), ways(count))
    })
}

/// The model of quarantine: every row that a rule refuses.
fn model_of_quarantine(files: &[Vec<Row>]) -> Vec<String> {
    let mut all = Vec::new();
    for (file, rows) in files.iter().enumerate() {
        let rules = rows.iter().enumerate().filter_map(|(row, of)| Some((row, refused(of)?)));
        all.extend(rules.map(|(row, rule)| format!("{rule}|raw/{file}.csv|{}", row + 1)));
    }
    all
}

/// The model: of the rows that no rule refuses, for each key the newest by (order, file, row); none where that deletes.
fn model(files: &[Vec<Row>]) -> Vec<String> {
    let mut newest: BTreeMap<u8, (Rank, u8, bool)> = BTreeMap::new();
    for (file, rows) in files.iter().enumerate() {
        let rows = rows.iter().enumerate().filter(|(_, row)| refused(row).is_none());
        for (number, (key, order, name, deletes)) in rows {
            let Some(key) = key else { continue };
            let rank = (*order, file, number);
            if newest.get(key).is_none_or(|(best, ..)| rank > *best) {
                newest.insert(*key, (rank, *name, *deletes));
            }
        }
    }
    let alive = newest.into_iter().filter(|(_, (_, _, deletes))| !deletes);
    alive.map(|(key, (_, name, _))| format!("{key}|n{name}")).collect()
}

fn csv(rows: &[Row]) -> String {
    let mut text = "id,name,op,updated\n".to_owned();
    let cell = |value: &Option<u8>| value.map(|v| v.to_string()).unwrap_or_default();
    for (key, order, name, deletes) in rows {
        let op = if *deletes { "D" } else { "U" };
        let key = if *key == Some(MISFIT) { "six".to_owned() } else { cell(key) };
        text.push_str(&format!("{key},n{name},{op},{}\n", cell(order)));
    }
    text
}

/// Silver and quarantine.
async fn silver_by(files: &[Vec<Row>], way: &Way) -> (Vec<String>, Vec<String>) {
    let mut world = World::new(&deleting());
    for (position, file) in way.order.iter().enumerate() {
        // The file's own time is part of the row's order, whenever the file arrives.
        world.put(&format!("{file}.csv"), &csv(&files[*file]), *file as u32);
        world.bronze().await;
        let on_read = way.on_read[position];
        world.merge_by(if on_read { MergeMode::MergeOnRead } else { MergeMode::CopyOnWrite });
        world.merge_within(if way.fits[position] { 1 << 20 } else { 1 });
        if way.merge_after[position] {
            world.silver().await;
        }
    }
    world.silver().await;
    if way.expire {
        world.expire_all_but_current("bronze.customers").await;
    }
    if way.rewind {
        world.rewind(None).await;
        world.silver().await;
    }
    let silver = world.sql("SELECT id, name FROM silver.customers ORDER BY id").await;
    (silver, world.quarantine().await)
}

#[test]
fn silver_is_a_function_of_the_set_of_bronze_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner =
        TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    runner
        .run(&case(), |(files, one, other)| {
            let expected = (model(&files), model_of_quarantine(&files));
            prop_assert_eq!(&runtime.block_on(silver_by(&files, &one)), &expected);
            prop_assert_eq!(&runtime.block_on(silver_by(&files, &other)), &expected);
            Ok(())
        })
        .unwrap();
}
