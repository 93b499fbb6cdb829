//! Partitions: rows share files by the fields that the configuration names, and files that exist stay.

use crate::support::{CUSTOMERS, World};

/// The customers with these partition fields on bronze and on silver.
fn partitioned(bronze: &str, silver: &str) -> String {
    CUSTOMERS
        .replace(
            "table = \"bronze.customers\"",
            &format!("table = \"bronze.customers\"\npartition_by = [{bronze}]"),
        )
        .replace(
            "table = \"silver.customers\"",
            &format!("table = \"silver.customers\"\npartition_by = [{silver}]"),
        )
}

/// The folders of a table's live files below `data/`, sorted.
async fn folders(world: &World, table: &str) -> Vec<String> {
    let table = world.table(table).await;
    let files = world.lake().files_of(&table, None, &[]).await.unwrap();
    let below = format!("{}/data/", table.location());
    let mut folders: Vec<String> = files
        .iter()
        .map(|file| {
            file.path().strip_prefix(&below).unwrap().rsplit_once('/').map_or("", |(f, _)| f)
        })
        .map(str::to_owned)
        .collect();
    folders.sort();
    folders
}

#[tokio::test]
async fn a_file_holds_the_rows_of_one_partition() {
    let world = World::new(&partitioned("\"day(_event_time)\"", "\"city\""));
    world.put("1.csv", "id,city,updated\n1,Rome,2026-01-01\n2,Oslo,2026-01-01\n3,,2026-01-01\n", 1);
    world.put("2.csv", "id,city,updated\n4,Rome,2026-01-01\n", 2);
    world.bronze().await;
    world.silver().await;
    assert_eq!(folders(&world, "bronze.customers").await, ["_event_time_day=2026-01-31"]);
    assert_eq!(folders(&world, "silver.customers").await, ["city=Oslo", "city=Rome", "city=null"]);
    let rows = world.sql("SELECT id, city FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|Rome", "2|Oslo", "3|null", "4|Rome"]);
}

/// An update takes the row out of the file of its old partition, in the same commit.
#[tokio::test]
async fn an_update_moves_a_row_to_another_partition() {
    let world = World::new(&partitioned("", "\"city\""));
    world.put("1.csv", "id,city,updated\n1,Rome,2026-01-01\n2,Rome,2026-01-01\n", 1);
    world.bronze().await;
    world.silver().await;
    world.put("2.csv", "id,city,updated\n1,Oslo,2026-01-02\n", 2);
    world.bronze().await;
    let merged = world.silver().await;
    assert_eq!((merged.counts.updated, merged.snapshots.len()), (1, 1));
    assert_eq!(folders(&world, "silver.customers").await, ["city=Oslo", "city=Rome"]);
    let rows = world.sql("SELECT id, city FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|Oslo", "2|Rome"]);
}

/// Another `partition_by` is for new files: those that exist are found, merged and rewritten as before.
#[tokio::test]
async fn another_partitioning_begins_with_new_files() {
    let before = World::new(CUSTOMERS);
    before.put("1.csv", "id,city,updated\n1,Rome,2026-01-01\n2,Oslo,2026-01-01\n", 1);
    before.bronze().await;
    before.silver().await;
    assert_eq!(folders(&before, "silver.customers").await, [""]);

    let world = before.reconfigured(&partitioned("\"hour(_event_time)\"", "\"truncate(1, city)\""));
    world.put("2.csv", "id,city,updated\n3,Paris,2026-01-02\n", 2);
    world.bronze().await;
    world.silver().await;
    let hours = ["", "_event_time_hour=491627"];
    assert_eq!(folders(&world, "bronze.customers").await, hours);
    assert_eq!(folders(&world, "silver.customers").await, ["", "city_trunc=P"]);

    // The file without partitions is rewritten for its update: its rows go where they belong now.
    world.put("3.csv", "id,city,updated\n1,Riga,2026-01-03\n", 3);
    world.bronze().await;
    world.silver().await;
    let letters = ["city_trunc=O", "city_trunc=P", "city_trunc=R"];
    assert_eq!(folders(&world, "silver.customers").await, letters);
    let rows = world.sql("SELECT id, city FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|Riga", "2|Oslo", "3|Paris"]);

    // Without the key the table stays as it is; with an empty list it has no partitions any more.
    let as_it_is = world.reconfigured(CUSTOMERS);
    as_it_is.put("4.csv", "id,city,updated\n4,Ulm,2026-01-04\n", 4);
    as_it_is.bronze().await;
    as_it_is.silver().await;
    assert_eq!(
        folders(&world, "silver.customers").await,
        [&letters[..], &["city_trunc=U"]].concat()
    );
    let none = world.reconfigured(&partitioned("", ""));
    none.put("5.csv", "id,city,updated\n5,Ulm,2026-01-05\n", 5);
    none.bronze().await;
    none.silver().await;
    let folders = folders(&world, "silver.customers").await;
    assert_eq!(folders, [&[""], &letters[..], &["city_trunc=U"]].concat());
    assert_eq!(world.sql("SELECT count(*) FROM silver.customers").await, ["5"]);
}

/// More partitions than files that are open at a time, in an order that goes through all of them again and again.
#[tokio::test]
async fn the_writers_that_are_open_are_bounded() {
    let world = World::new(&partitioned("\"bucket(100, id)\"", "\"id\""));
    let mut text = "id,updated\n".to_owned();
    for round in 0..20 {
        for id in 0..100 {
            text.push_str(&format!("{id},2026-01-01T00:{round:02}:00Z\n"));
        }
    }
    world.put("1.csv", &text, 1);
    world.bronze().await;
    world.silver().await;
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["2000"]);
    assert_eq!(
        world.sql("SELECT count(*), count(DISTINCT id) FROM silver.customers").await,
        ["100|100"]
    );
    let folders = folders(&world, "silver.customers").await;
    assert_eq!(folders.len(), 100, "sorted by key, each partition is written once");
}

#[tokio::test]
async fn a_column_that_is_missing_is_refused_by_name() {
    let world = World::new(&partitioned("\"day(arrived)\"", "\"city\""));
    world.put("1.csv", "id,city,updated\n1,Rome,2026-01-01\n", 1);
    let error = world.pipeline().bronze.step().await.unwrap_err();
    let text = silversmith::error::chain(&error);
    assert!(text.contains("`day(arrived)`") && text.contains("arrived"), "{text}");
    let world = World::new(&partitioned("\"day(city)\"", ""));
    world.put("1.csv", "id,city,updated\n1,Rome,2026-01-01\n", 1);
    let error = world.pipeline().bronze.step().await.unwrap_err();
    let text = silversmith::error::chain(&error);
    assert!(text.contains("`day(city)`") && text.contains("string"), "{text}");
}

/// Values come from strangers: no folder is left, and no name is too long.
#[tokio::test]
async fn a_value_cannot_leave_its_folder() {
    let world = World::new(&partitioned("\"city\"", ""));
    let long = "x".repeat(3_000);
    world.put(
        "1.csv",
        &format!("id,city,updated\n1,../../../a/b,2026-01-01\n2,{long},2026-01-01\n"),
        1,
    );
    world.bronze().await;
    let folders = folders(&world, "bronze.customers").await;
    assert_eq!(folders[0], "city=%2E%2E%2F%2E%2E%2F%2E%2E%2Fa%2Fb");
    assert!(folders[1].len() <= 120, "{folders:?}");
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["2"]);
}
