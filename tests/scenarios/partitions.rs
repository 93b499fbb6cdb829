//! Partitions: rows share files by the fields that the configuration names, and files that exist stay.

use silversmith::merge::MergeMode;

use crate::support::{CUSTOMERS, World};

/// The customers with these partition fields on bronze and on silver.
pub fn partitioned(bronze: &str, silver: &str) -> String {
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

    let mut world =
        before.reconfigured(&partitioned("\"hour(_event_time)\"", "\"truncate(1, city)\""));
    world.merge_by(MergeMode::CopyOnWrite);
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
    for table in ["bronze.customers", "silver.customers"] {
        let mut folders = folders(&world, table).await;
        let files = folders.len();
        assert!(files > 32, "{table}: more than may be open, {files}");
        folders.dedup();
        assert_eq!(folders.len(), files, "{table}: each partition is written once");
    }
}

/// A file keeps the partition value that it was written with, of the type that the column had: after a widening it
/// is the same value.
#[tokio::test]
async fn a_partition_column_may_be_widened() {
    for mode in ["copy-on-write", "merge-on-read"] {
        let declared = |kind: &str| {
            let types = format!("[pipeline.csv.columns]\nstore = \"{kind}\"\n[pipeline.bronze]");
            partitioned("\"store\"", "\"store\"").replace("[pipeline.bronze]", &types).replace(
                "keys = [\"id\"]",
                &format!("keys = [\"id\", \"store\"]\nmode = \"{mode}\""),
            ) + "delete_when = \"name = 'gone'\"\n"
        };
        let world = World::new(&declared("int"));
        let rows = |rows: &str| format!("id,store,name,updated\n{rows}");
        let many: String = (1..9).map(|id| format!("{id},7,one,2026-01-01\n")).collect();
        world.put("1.csv", &rows(&many), 1);
        world.bronze().await;
        world.silver().await;

        let world = world.reconfigured(&declared("long"));
        for (number, changed) in
            ["1,7,two,2026-01-02\n", "2,7,gone,2026-01-02\n", "9,7,new,2026-01-02\n"]
                .iter()
                .enumerate()
        {
            world.put(&format!("{number}-later.csv"), &rows(changed), 2 + number as u32);
            world.bronze().await;
            world.silver().await;
        }
        let sql = "SELECT id, name FROM silver.customers WHERE store = 7 AND id IN (1, 2, 3, 9) ORDER BY id";
        assert_eq!(world.sql(sql).await, ["1|two", "3|one", "9|new"], "{mode}");
        let count = world.sql("SELECT count(*), count(DISTINCT id) FROM silver.customers").await;
        assert_eq!(count, ["8|8"], "{mode}");
        assert_eq!(folders(&world, "bronze.customers").await.len(), 4);
    }
}

/// A column that the same change adds is of use from the next commit on; one that a change drops is given up.
#[tokio::test]
async fn columns_of_a_partitioning_come_and_go_with_the_schema() {
    let select = |columns: &str, by: &str| {
        format!("{}select = \"SELECT id, updated{columns} FROM bronze\"\n", partitioned("", by))
    };
    let world = World::new(&select("", ""));
    let put = |world: &World, id: u32| {
        let rows = format!("id,city,updated\n{id},Rome,2026-01-0{id}\n");
        world.put(&format!("{id}.csv"), &rows, id);
    };
    put(&world, 1);
    world.bronze().await;
    world.silver().await;
    let world = world.reconfigured(&select(", city", "\"city\""));
    world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
    put(&world, 2);
    world.bronze().await;
    world.silver().await;
    assert_eq!(folders(&world, "silver.customers").await, ["", "city=Rome"]);

    let dropped = format!("{CUSTOMERS}select = \"SELECT id, updated FROM bronze\"\n");
    let world = world.reconfigured(&dropped);
    world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
    assert_eq!(folders(&world, "silver.customers").await, [""]);
    for id in 3..6 {
        put(&world, id);
        world.bronze().await;
        world.silver().await;
    }
    assert_eq!(world.sql("SELECT count(*) FROM silver.customers").await, ["5"]);
}

/// A table of format version 1 whose partition field was dropped keeps it as one without values, also after an
/// upgrade.
#[tokio::test]
async fn a_field_without_values_is_written_as_null() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,city,updated\n1,Rome,2026-01-01\n", 1);
    world.bronze().await;
    world.partition_by_nothing("bronze.customers", "city").await;
    world.put("2.csv", "id,city,updated\n2,Oslo,2026-01-01\n", 2);
    assert_eq!(world.bronze().await.ingested, 1);
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["2"]);
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
