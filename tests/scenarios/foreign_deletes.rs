//! Other engines delete rows of silver without writing its files again: merges go by what is left.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use silversmith::merge::MergeMode;

use crate::support::deletes::Scope;
use crate::support::{CUSTOMERS, World};

const SILVER: &str = "SELECT id, name FROM silver.customers ORDER BY id";
const TABLE: &str = "silver.customers";

/// How the row of key 2 is deleted.
const WAYS: [&str; 3] = ["position, of a file", "position, by path", "equality"];

/// Silver has 1, 2, 3 in one file, and 4 in another.
async fn silver() -> World {
    let world = World::new(CUSTOMERS);
    world.ingest("1.csv", "id,name,updated\n1,a,1\n2,b,1\n3,c,1\n", 0).await;
    world.silver().await;
    world.ingest("2.csv", "id,name,updated\n4,d,1\n", 1).await;
    world.silver().await;
    world
}

/// The data file that holds a key.
async fn file_of(world: &World, key: i64) -> String {
    let table = world.table(TABLE).await;
    let columns = ["id".to_owned()];
    for file in world.lake().files_of(&table, None, &[]).await.unwrap() {
        let rows = world.lake().read_rows(&table, table.schema(), &file, &columns).await.unwrap();
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        let ids = rows.iter().flat_map(|r| r.batch.column(0).as_primitive::<Int64Type>().values());
        if ids.copied().any(|id| id == key) {
            return file.path().to_owned();
        }
    }
    panic!("no file holds {key}")
}

/// Deletes the row at `position` of the file that holds `key`.
async fn delete(world: &World, way: &str, key: i64, position: i64) {
    match way {
        "equality" => {
            let ids = Arc::new(Int64Array::from(vec![key]));
            return world.delete_equal(TABLE, &[("id", ids)]).await;
        }
        "position, of a file" => {
            let file = file_of(world, key).await;
            world.delete_positions(TABLE, &file, &[position], Scope::File).await;
        }
        _ => {
            let file = file_of(world, key).await;
            world.delete_positions(TABLE, &file, &[position], Scope::Rows).await;
        }
    }
}

#[tokio::test]
async fn a_deleted_key_that_comes_again_is_inserted_and_the_others_are_kept() {
    for way in WAYS {
        let world = silver().await;
        delete(&world, way, 2, 1).await;
        assert_eq!(world.sql(SILVER).await, ["1|a", "3|c", "4|d"], "{way}");
        // The row that was deleted has the same order: it would be late, or unchanged, were it still there.
        world.ingest("3.csv", "id,name,updated\n2,older,0\n", 2).await;
        let counts = world.silver().await.counts;
        assert_eq!((counts.inserted, counts.updated, counts.late), (1, 0, 0), "{way}");
        assert_eq!(world.sql(SILVER).await, ["1|a", "2|older", "3|c", "4|d"], "{way}");

        // The file is written again without the deleted row.
        world.ingest("4.csv", "id,name,updated\n1,new,2\n2,newer,2\n", 3).await;
        let counts = world.silver().await.counts;
        assert_eq!((counts.inserted, counts.updated), (0, 2), "{way}");
        assert_eq!(world.sql(SILVER).await, ["1|new", "2|newer", "3|c", "4|d"], "{way}");
    }
}

/// Position deletes go with the one file that they are for; others stay, as they may be for more.
#[tokio::test]
async fn the_deletes_of_a_file_go_when_it_is_written_again() {
    for (way, left) in [("position, of a file", 1), ("position, by path", 2), ("equality", 2)] {
        let mut world = silver().await;
        world.merge_by(MergeMode::CopyOnWrite);
        delete(&world, way, 2, 1).await;
        delete(&world, way, 4, 0).await;
        assert_eq!(world.delete_files(TABLE).await.len(), 2, "{way}");
        assert_eq!(world.sql(SILVER).await, ["1|a", "3|c"], "{way}");
        world.ingest("3.csv", "id,name,updated\n3,new,2\n", 2).await;
        assert_eq!(world.silver().await.counts.updated, 1, "{way}");
        assert_eq!(world.delete_files(TABLE).await.len(), left, "{way}");
        assert_eq!(world.sql(SILVER).await, ["1|a", "3|new"], "{way}");
        let summary = world.table(TABLE).await.current().unwrap().summary;
        assert_eq!(summary["total-delete-files"], left.to_string(), "{way}");
        assert_eq!(summary["total-data-files"], "2", "{way}");

        // A rebuild takes out everything.
        world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
        assert_eq!(world.delete_files(TABLE).await, Vec::<String>::new(), "{way}");
        assert_eq!(world.sql(SILVER).await, ["1|a", "2|b", "3|new", "4|d"], "{way}");
    }
}

/// How many rows another engine's delete files delete, the table does not say. A rebuild counts anew.
#[tokio::test]
async fn live_rows_are_unknown_after_deletes_of_another_engine() {
    for way in WAYS {
        let world = silver().await;
        delete(&world, way, 2, 1).await;
        world.ingest("3.csv", "id,name,updated\n5,e,1\n", 2).await;
        world.silver().await;
        world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
        let sql = "SELECT total_rows FROM silver.customers.snapshots ORDER BY sequence_number";
        assert_eq!(world.sql(sql).await, ["3", "4", "null", "null", "5"], "{way}");
    }
}

/// Rows, each with its position in the file: deleted ones count, in whatever batch they are read.
#[tokio::test]
async fn positions_are_those_of_the_file() {
    const ROWS: i64 = 20_000;
    for way in WAYS {
        let world = World::new(CUSTOMERS);
        let rows: String = (0..ROWS).map(|id| format!("{id},x,1\n")).collect();
        world.ingest("1.csv", &format!("id,name,updated\n{rows}"), 0).await;
        world.silver().await;
        for key in [0, 10_000, ROWS - 1] {
            delete(&world, way, key, key).await;
        }
        let table = world.table(TABLE).await;
        let files = world.lake().files_of(&table, None, &[]).await.unwrap();
        assert_eq!(files.len(), 1);
        let columns = ["name".to_owned(), "id".to_owned()];
        let read = world.lake().read_rows(&table, table.schema(), &files[0], &columns).await;
        let read: Vec<_> = read.unwrap().try_collect().await.unwrap();
        assert!(read.len() > 1, "several batches");
        let mut found = Vec::new();
        for rows in read {
            assert_eq!(rows.batch.num_columns(), 2, "{way}");
            let ids = rows.batch.column(1).as_primitive::<Int64Type>().values();
            assert_eq!(rows.positions.len(), ids.len(), "{way}");
            found.extend(rows.positions.values().iter().zip(ids).map(|(p, id)| (*p as i64, *id)));
        }
        // The file is sorted by key, and has every key from 0 on.
        let expected = (0..ROWS).filter(|id| ![0, 10_000, ROWS - 1].contains(id));
        assert_eq!(found, expected.map(|id| (id, id)).collect::<Vec<_>>(), "{way}");

        // A row behind the deleted ones is replaced where it is.
        world.ingest("2.csv", "id,name,updated\n15000,new,2\n", 1).await;
        assert_eq!(world.silver().await.counts.updated, 1, "{way}");
        let sql = "SELECT count(*), count(DISTINCT id), sum(id) FROM silver.customers";
        let sum = (0..ROWS).sum::<i64>() - 10_000 - (ROWS - 1);
        assert_eq!(world.sql(sql).await, [format!("{0}|{0}|{sum}", ROWS - 3)], "{way}");
        let named = "SELECT id FROM silver.customers WHERE name = 'new'";
        assert_eq!(world.sql(named).await, ["15000"], "{way}");
    }
}

/// Equality deletes of several columns and files, and of null; what was written later is not deleted by them.
#[tokio::test]
async fn equality_deletes_compare_all_their_columns_and_only_what_is_older() {
    let world = World::new(CUSTOMERS);
    let rows = "id,name,updated\n1,a,1\n2,b,1\n3,c,1\n4,,1\n5,e,1\n";
    world.ingest("1.csv", rows, 0).await;
    world.silver().await;
    let names = |names: &[Option<&str>]| Arc::new(StringArray::from(names.to_vec()));
    let ids = |ids: &[i64]| Arc::new(Int64Array::from(ids.to_vec()));
    let first = [("id", ids(&[1, 2, 4]) as _), ("name", names(&[Some("a"), Some("x"), None]) as _)];
    world.delete_equal(TABLE, &first).await;
    let second = [("name", names(&[Some("c"), Some("e")]) as _), ("id", ids(&[3, 6]) as _)];
    world.delete_equal(TABLE, &second).await;
    assert_eq!(world.sql(SILVER).await, ["2|b", "5|e"]);
    world.ingest("2.csv", "id,name,updated\n1,a,1\n5,e,2\n", 1).await;
    let counts = world.silver().await.counts;
    assert_eq!((counts.inserted, counts.updated), (1, 1));
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|b", "5|e"]);
}
