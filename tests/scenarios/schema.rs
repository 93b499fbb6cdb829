//! Columns that are new, missing, or of another type.

use crate::support::{CUSTOMERS, World};

async fn rescued(world: &World) -> Vec<String> {
    world.sql("SELECT id, _rescued FROM bronze.customers ORDER BY _source_uri, _source_row").await
}

#[tokio::test]
async fn a_new_column_is_added_and_reaches_silver() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,name,updated\n1,a,2026-01-01\n", 0);
    world.bronze().await;
    world.silver().await;
    world.put("2.csv", "name,updated,id,Zip Code\nb,2026-01-02,2,00100\n", 1);
    world.bronze().await;
    world.silver().await;
    let rows = world.sql("SELECT id, name, zip_code FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|a|null", "2|b|00100"]);
    let field = world.table("bronze.customers").await;
    let field = field.schema().arrow().field_with_name("zip_code").unwrap().clone();
    assert_eq!(field.metadata()["doc"], "CSV column `Zip Code`");
    let first = world.table("bronze.customers").await.snapshots()[0].id;
    let old = world.sql(&format!("SELECT * FROM bronze.customers VERSION AS OF {first}")).await;
    assert!(!old[0].contains("00100"), "a snapshot keeps its schema");
}

#[tokio::test]
async fn columns_added_within_one_batch_are_one_commit() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    world.put("2.csv", "id,updated,a\n2,2026-01-01,x\n", 1);
    world.put("3.csv", "id,updated,b,a\n3,2026-01-01,7,y\n", 2);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.snapshots.len()), (3, 1));
    let rows = world.sql("SELECT id, a, b FROM bronze.customers ORDER BY id").await;
    assert_eq!(rows, ["1|null|null", "2|x|null", "3|y|7"]);
}

#[tokio::test]
async fn new_columns_can_be_rescued_or_rejected_instead() {
    let rescue =
        CUSTOMERS.replace("[pipeline.silver]", "schema_change = \"rescue\"\n[pipeline.silver]");
    let world = World::new(&rescue);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    world.bronze().await;
    world.put("2.csv", "id,updated,extra\n2,2026-01-01,x\n", 1);
    world.bronze().await;
    assert_eq!(rescued(&world).await, ["1|null", "2|{\"extra\":\"x\"}"]);

    let fail =
        CUSTOMERS.replace("[pipeline.silver]", "schema_change = \"fail\"\n[pipeline.silver]");
    let world = World::new(&fail);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    world.bronze().await;
    world.put("2.csv", "id,updated,extra\n2,2026-01-01,x\n", 1);
    world.put("3.csv", "id\n3\n", 2);
    world.put("4.csv", "updated,id\n2026-01-01,4\n", 3);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (1, 2));
    let objects = world
        .sql("SELECT source_uri, outcome, reason FROM bronze.customers_objects ORDER BY source_uri")
        .await;
    assert_eq!(objects[1], "raw/2.csv|rejected|schema-changed");
    assert_eq!(objects[2], "raw/3.csv|rejected|schema-changed");
}

#[tokio::test]
async fn cells_and_rows_that_do_not_fit_are_rescued_not_lost() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,name,updated\n1,a,2026-01-01\n", 0);
    world.bronze().await;
    world.put("2.csv", "id,name,updated\nx7,b,2026-01-02\n 8 ,c,2026-01-02\n9,d\n10,e,2026-01-02,more\n11,f,soon\n", 1);
    let report = world.bronze().await;
    assert_eq!((report.rows, report.rescued), (5, 4));
    assert_eq!(
        rescued(&world).await,
        [
            "1|null",
            "null|{\"id\":\"x7\"}",
            "8|null",
            "9|{\"_problem\":\"2 fields where the header has 3\",\"_record\":[\"9\",\"d\"]}",
            "10|{\"_problem\":\"4 fields where the header has 3\",\"_record\":[\"10\",\"e\",\"2026-01-02\",\"more\"]}",
            "11|{\"updated\":\"soon\"}",
        ]
    );
}

#[tokio::test]
async fn declared_types_hold_and_decimals_are_not_rounded() {
    let declared = format!(
        "{CUSTOMERS}[pipeline.csv.columns]\nid = \"string\"\namount = \"decimal(9,2)\"\nat = \"timestamptz\"\n"
    );
    let world = World::new(&declared);
    world.put("1.csv", "id,amount,at,updated\n007,1.50,2026-01-31 10:00:00,2026-01-01\n008,1.505,2026-01-31T10:00:00+02:00,2026-01-01\n", 0);
    world.bronze().await;
    let rows = world.sql("SELECT id, amount, at, _rescued FROM bronze.customers ORDER BY id").await;
    assert_eq!(
        rows,
        [
            "007|1.50|2026-01-31T10:00:00Z|null",
            "008|null|2026-01-31T08:00:00Z|{\"amount\":\"1.505\"}"
        ]
    );
}

const COUNTED: &str = "[pipeline.csv.columns]\nid = \"int\"\nn = \"int\"\nsum = \"decimal(9,2)\"\nupdated = \"long\"\n";
const WIDER: &str = "[pipeline.csv.columns]\nid = \"long\"\nn = \"long\"\nsum = \"decimal(18,2)\"\nupdated = \"long\"\n";

/// A declared type that is wider than the table's widens the table, bronze and silver: files of before are read
/// as they are, and a key is the same key.
#[tokio::test]
async fn a_declared_type_widens_the_table() {
    let world = World::new(&format!("{CUSTOMERS}delete_when = \"n = 0\"\n{COUNTED}"));
    world.put(
        "1.csv",
        "id,n,sum,updated\n1,1,1.50,1\n2,5000000000,9.99,1\n3,1,1.00,1\n4,0,0.00,9\n",
        0,
    );
    assert_eq!(world.bronze().await.rescued, 1);
    world.silver().await;
    let world = world.reconfigured(&format!("{CUSTOMERS}delete_when = \"n = 0\"\n{WIDER}"));
    world.put("2.csv", "id,n,sum,updated\n1,6000000000,12345678901.25,2\n7000000000,7,7.00,2\n3,0,0.00,2\n4,1,1.00,3\n", 1);
    assert_eq!(world.bronze().await.rescued, 0);
    let rows = world.sql("SELECT id, n, sum FROM bronze.customers ORDER BY _source_uri, id").await;
    let before = ["1|1|1.50", "2|null|9.99", "3|1|1.00", "4|0|0.00"];
    let after = ["1|6000000000|12345678901.25", "3|0|0.00", "4|1|1.00", "7000000000|7|7.00"];
    assert_eq!(rows, [before, after].concat());
    let counts = world.silver().await.counts;
    // The delete of 4 was later than the row that follows.
    assert_eq!((counts.updated, counts.inserted, counts.deleted, counts.late), (1, 1, 1, 1));
    let rows = world.sql("SELECT id, n, sum FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|6000000000|12345678901.25", "2|null|9.99", "7000000000|7|7.00"]);
    world.put("3.csv", "id,n,sum,updated\n2,2,2.00,3\n", 2);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.updated, 1, "in a file of before");
}

/// Two workers widen a column, and add another one, at the same time.
#[tokio::test]
async fn two_workers_widen_at_once() {
    let world = World::new(&format!("{CUSTOMERS}{COUNTED}"));
    world.put("1.csv", "id,n,updated\n1,1,1\n", 0);
    world.bronze().await;
    let (one, two) = (
        world.reconfigured(&format!("{CUSTOMERS}{WIDER}")),
        world.reconfigured(&format!("{CUSTOMERS}{WIDER}")),
    );
    world.put("2.csv", "id,n,a,updated\n2,5000000000,x,1\n", 1);
    world.put("3.csv", "id,n,b,updated\n3,6000000000,y,1\n", 2);
    let (first, second) = tokio::join!(one.bronze(), two.bronze());
    assert_eq!(first.ingested + second.ingested, 2);
    let rows = world.sql("SELECT id, n, a, b FROM bronze.customers ORDER BY id").await;
    assert_eq!(rows, ["1|1|null|null", "2|5000000000|x|null", "3|6000000000|null|y"]);
    // A worker of the old configuration goes on with the wider type.
    world.put("4.csv", "id,n,updated\n4,7000000000,1\n", 3);
    assert_eq!(world.bronze().await.rescued, 0);
}
