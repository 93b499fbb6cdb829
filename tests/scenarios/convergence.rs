//! I5: silver is a function of the *set* of bronze rows. Any shuffling, splitting and repeating of the same rows,
//! deletes included, gives the same silver: that of a model of a few lines. So does any mixture of merges, passes,
//! rebuilds, expiry and rewinds, by two writers who overtake each other.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use silversmith::checkpoint;
use silversmith::silver::{Rewind, SilverCheckpoint};

use crate::support::faulty::Fate;
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World};

fn deleting() -> String {
    let declared = "id = \"long\"\nname = \"string\"\nop = \"string\"\nupdated = \"long\"\n";
    format!("{CUSTOMERS}delete_when = \"op = 'D'\"\n[pipeline.csv.columns]\n{declared}")
}

/// (order, file, row)
type Rank = (Option<u8>, usize, usize);

/// (key, order, name, deletes)
type Row = (Option<u8>, Option<u8>, u8, bool);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        proptest::option::weighted(0.95, 0..6_u8),
        proptest::option::weighted(0.9, 0..5_u8),
        any::<u8>(),
        proptest::bool::weighted(0.25),
    );
    proptest::collection::vec(row, 1..24)
}

/// What happens after a file was ingested.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Wait,
    Merge,
    RivalMerges,
    Rebuild,
}

/// How the same files arrive: their order, what follows each, a rewind, an expiry.
#[derive(Debug, Clone)]
struct Way {
    order: Vec<usize>,
    turns: Vec<Turn>,
    /// Which commits to silver the rival overtakes.
    overtaken: Vec<bool>,
    passes: bool,
    rewind: bool,
    expire: bool,
}

fn ways(files: usize) -> impl Strategy<Value = Way> {
    let order = Just((0..files).collect::<Vec<_>>()).prop_shuffle();
    let turn = prop_oneof![
        3 => Just(Turn::Wait),
        3 => Just(Turn::Merge),
        2 => Just(Turn::RivalMerges),
        1 => Just(Turn::Rebuild),
    ];
    let turns = proptest::collection::vec(turn, files);
    let overtaken = proptest::collection::vec(proptest::bool::weighted(0.3), 0..4);
    let passes = proptest::bool::weighted(0.3);
    (order, turns, overtaken, passes, any::<bool>(), any::<bool>()).prop_map(
        |(order, turns, overtaken, passes, rewind, expire)| Way {
            order,
            turns,
            overtaken,
            passes,
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

/// The model: for each key the newest row by (order, file, row); none where that row deletes.
fn model(files: &[Vec<Row>]) -> Vec<String> {
    let mut newest: BTreeMap<u8, (Rank, u8, bool)> = BTreeMap::new();
    for (file, rows) in files.iter().enumerate() {
        for (number, (key, order, name, deletes)) in rows.iter().enumerate() {
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
        text.push_str(&format!("{},n{name},{op},{}\n", cell(key), cell(order)));
    }
    text
}

async fn rewind(world: &World) {
    let everything = Rewind { after_snapshot_id: None };
    let (store, ambient) = (&*world.checkpoints, &*world.ambient);
    checkpoint::update::<SilverCheckpoint>(store, ambient, "customers", |stored| {
        Some(SilverCheckpoint { rewind: Some(everything), ..stored.unwrap() })
    })
    .await
    .unwrap();
}

/// Silver, made in that way by two writers.
async fn silver_by(files: &[Vec<Row>], way: &Way) -> Vec<String> {
    let fates = way.overtaken.iter().map(|is| if *is { Fate::Overtaken } else { Fate::Fine });
    let fates: Vec<Fate> = fates.collect();
    let rivals = Rivals::new(&deleting(), "silver.customers", &fates, |rival, _| async move {
        rival.silver().await;
    });
    // A range of one file takes about two passes then.
    let rivals = rivals.merging_at(if way.passes { 2_500 } else { u64::MAX });
    let world = &rivals.world;
    for (file, turn) in way.order.iter().zip(&way.turns) {
        // The file's own time is part of the row's order, whenever the file arrives.
        world.put(&format!("{file}.csv"), &csv(&files[*file]), *file as u32);
        world.bronze().await;
        match turn {
            Turn::Wait => {}
            Turn::Merge => drop(world.silver().await),
            Turn::RivalMerges => drop(rivals.rival.silver().await),
            Turn::Rebuild => {
                world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
            }
        }
    }
    world.silver().await;
    if way.expire {
        world.expire_all_but_current("bronze.customers").await;
    }
    if way.rewind {
        rewind(world).await;
        world.silver().await;
    }
    assert!(world.positions("silver.customers").await.is_sorted(), "{way:?}");
    if !way.expire {
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{way:?}");
    }
    world.sql("SELECT id, name FROM silver.customers ORDER BY id").await
}

fn on_its_own_thread(files: &[Vec<Row>], way: &Way) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(silver_by(files, way))
}

#[test]
fn silver_is_a_function_of_the_set_of_bronze_rows() {
    let mut runner =
        TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    runner
        .run(&case(), |(files, one, other)| {
            let expected = model(&files);
            let (by_one, by_other) = std::thread::scope(|scope| {
                let other = scope.spawn(|| on_its_own_thread(&files, &other));
                (on_its_own_thread(&files, &one), other.join().unwrap())
            });
            prop_assert_eq!(&by_one, &expected);
            prop_assert_eq!(&by_other, &expected);
            Ok(())
        })
        .unwrap();
}
