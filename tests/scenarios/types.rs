//! Types never lie: what a type cannot hold is text, or rescued and counted, and never a null key.

use silversmith::source::{Requested, all};

use crate::support::faulty::Fate;
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World};

/// The types of some columns of bronze, as DataFusion names them.
async fn kinds(world: &World, columns: &str) -> Vec<String> {
    let typed: Vec<String> = columns.split(',').map(|c| format!("arrow_typeof({c})")).collect();
    world.sql(&format!("SELECT {} FROM bronze.customers LIMIT 1", typed.join(", "))).await
}

async fn counted(world: &World) -> Option<u64> {
    let name = "silver.customers_quarantine".parse().unwrap();
    world.lake().find(&name).await.unwrap().and_then(|table| table.rows())
}

#[tokio::test]
async fn in_doubt_a_column_is_text() {
    let world = World::new(CUSTOMERS);
    world.put(
        "1.csv",
        "id,version,zip,sum,share,price,amount,updated\n\
         1,1.9,00100,\"1,299\",1.299,9.50,0.5,2026-01-01\n\
         2,1.10,20100,\"2,000\",2.500,10.00,1.25,2026-01-01\n",
        0,
    );
    world.bronze().await;
    let rows = world
        .sql("SELECT version, zip, sum, share, price, amount FROM bronze.customers ORDER BY id");
    assert_eq!(rows.await, ["1.9|00100|1,299|1.299|9.50|0.5", "1.10|20100|2,000|2.500|10.00|1.25"]);
    let kinds = kinds(&world, "version,zip,sum,share,price,amount").await;
    assert_eq!(kinds, ["Utf8|Utf8|Utf8|Utf8|Decimal128(18, 2)|Float64"]);
}

/// Nine digits after the second do not fit a timestamp: they stay text, whose order is right.
#[tokio::test]
async fn nanoseconds_order_rows() {
    let world =
        World::new(&CUSTOMERS.replace("\"id\"", "\"symbol\"").replace("updated", "traded_at"));
    let new = "symbol,price,traded_at\nA,12.5,2024-04-01 10:00:00.123456789\n\
               B,7.5,2024-04-01 10:00:00.123456789\nB,6.5,2024-04-01 10:00:00.123456780\n";
    let late = "symbol,price,traded_at\nA,11.5,2024-04-01 09:00:00.987654321\n";
    world.put("1.csv", new, 0);
    world.bronze().await;
    world.silver().await;
    world.put("2.csv", late, 1);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.late, 1);
    let rows = world.sql("SELECT symbol, price FROM silver.customers ORDER BY symbol").await;
    assert_eq!(rows, ["A|12.5", "B|7.5"]);
}

/// A row whose key does not fit the key's type goes to quarantine, and is no row with a null key.
#[tokio::test]
async fn a_key_that_does_not_fit_is_counted_and_never_null() {
    let world = World::new(&CUSTOMERS.replace("\"id\"", "\"patent_id\""));
    world.put("1.csv", "patent_id,kind,updated\n10000001,utility,2024-10-01\n", 0);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.misfits, 0);
    assert_eq!(counted(&world).await, None);
    let second = "patent_id,kind,updated\n10000004,utility,2024-10-02\n\
                  D1000263,design,2024-10-02\n00042,plant,2024-10-02\n,none,2024-10-02\n";
    world.put("2.csv", second, 1);
    world.bronze().await;
    let counts = world.silver().await.counts;
    assert_eq!((counts.inserted, counts.misfits, counts.null_keys), (1, 2, 1));
    assert_eq!(counted(&world).await, Some(2));
    // A text that looks like a rescued key is none.
    world.put(
        "3.csv",
        "patent_id,kind,updated\n7,\"{\"\"patent_id\"\":1}\",soon,\n8,x,2024-10-02\n",
        2,
    );
    world.bronze().await;
    assert_eq!(world.silver().await.counts.misfits, 1, "the row of four fields, as a whole");
    assert_eq!(counted(&world).await, Some(3));
    let rebuilt = world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
    assert_eq!((rebuilt.counts.misfits, counted(&world).await), (3, Some(3)));
    let rows = world.sql("SELECT patent_id FROM silver.customers ORDER BY patent_id").await;
    assert_eq!(rows, ["8", "10000001", "10000004"]);
}

/// A row whose order does not fit is neither late nor oldest.
#[tokio::test]
async fn an_order_that_does_not_fit_is_counted_and_not_late() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,name,updated\n1,a,2026-01-01 10:00:00\n", 0);
    world.put("2.csv", "id,name,updated\n1,b,02/01/2026 10:00\n2,c,\n", 1);
    world.bronze().await;
    let counts = world.silver().await.counts;
    assert_eq!((counts.inserted, counts.misfits, counts.late), (2, 1, 0));
    assert_eq!(
        world.sql("SELECT id, name FROM silver.customers ORDER BY id").await,
        ["1|a", "2|c"]
    );
}

/// The cells that make a key in `select` count, whatever they are called there.
#[tokio::test]
async fn a_key_that_select_makes_is_followed_to_its_columns() {
    let select = "select = \"SELECT nr AS id, updated, name FROM bronze\"\n";
    let world = World::new(&format!("{CUSTOMERS}{select}"));
    world.put("1.csv", "nr,name,updated\n1,a,2026-01-01\n", 0);
    world.put("2.csv", "nr,name,updated\nx1,b,2026-01-01\n2,c,2026-01-01\n", 1);
    world.bronze().await;
    let counts = world.silver().await.counts;
    assert_eq!((counts.inserted, counts.misfits, counts.null_keys), (2, 1, 0));
}

/// Silver shows that a cell was rescued, unless `select` leaves it out.
#[tokio::test]
async fn silver_keeps_what_was_rescued() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,age,updated\n1,7,2026-01-01\n", 0);
    // A text that looks like a rescued key is none.
    world.put("2.csv", "id,age,updated\n2,\"\"\"id\"\":\",2026-01-01\n", 1);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.misfits, 0);
    let rows = world.sql("SELECT id, age, _rescued FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|7|null", r#"2|null|{"age":"\"id\":"}"#]);
}

/// Decimal commas, dates and times as a German program writes them, once they are declared.
#[tokio::test]
async fn a_declared_notation_is_read() {
    let settings = "[pipeline.csv]\ndelimiter = \";\"\ndecimal = \",\"\n\
                    formats = [\"%d.%m.%Y %H:%M\"]\ntimezone = \"Europe/Berlin\"\n\
                    [pipeline.csv.columns]\nborn = { type = \"date\", formats = [\"%d/%m/%Y\"] }\n";
    let world = World::new(&format!("{CUSTOMERS}{settings}"));
    let rows = "id;amount;born;updated\n1;1,5;01/02/1990;31.01.2026 10:00\n\
                2;1.299;1990-02-01;31.01.26 11:00\n";
    world.put("1.csv", rows, 0);
    world.bronze().await;
    let rows =
        world.sql("SELECT id, amount, born, updated, _rescued FROM bronze.customers ORDER BY id");
    assert_eq!(
        rows.await,
        [
            "1|1,5|1990-02-01|31.01.2026 10:00|null",
            "2|1.299|null|31.01.26 11:00|{\"born\":\"1990-02-01\"}"
        ]
    );
}

#[tokio::test]
async fn a_cell_of_another_type_can_reject_its_file() {
    let fail =
        CUSTOMERS.replace("[pipeline.silver]", "on_type_change = \"fail\"\n[pipeline.silver]");
    let world = World::new(&fail);
    world.put("1.csv", "id,age,updated\n1,7,2026-01-01\n", 0);
    world.put("2.csv", "id,age,updated\n2,8,2026-01-01\n3,old,2026-01-01\n", 1);
    world.bronze().await;
    let rejected = world
        .sql("SELECT source_uri, reason, error FROM bronze.customers_objects WHERE outcome = 'rejected'")
        .await;
    assert!(rejected[0].starts_with("raw/2.csv|type-changed|"), "{rejected:?}");
    assert!(rejected[0].contains("`age`") && rejected[0].contains("row 2"), "{rejected:?}");
    assert_eq!(world.sql("SELECT id FROM bronze.customers").await, ["1"]);
}

fn new_column() -> String {
    CUSTOMERS.replace("[pipeline.silver]", "on_type_change = \"new-column\"\n[pipeline.silver]")
}

const AGES: &str =
    "SELECT id, age, age__text, _rescued FROM bronze.customers ORDER BY _source_uri, _source_row";

/// The first cell that does not fit brings a column, in the commit of its file; those behind it go there, too.
#[tokio::test]
async fn a_cell_of_another_type_can_go_to_a_column_of_its_own() {
    let world = World::new(&new_column());
    world.put("1.csv", "id,age,updated\n1,7,2026-01-01\n", 0);
    world.bronze().await;
    world.silver().await;
    world.put("2.csv", "id,age,updated\n2,8,2026-01-01\n3,old,2026-01-01\n4,,2026-01-01\n", 1);
    world.put("3.csv", "id,age,updated\n5,9,2026-01-01\nx,10,2026-01-01\n", 2);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.snapshots.len()), (2, 1), "one commit");
    let mut rows = vec![
        "1|7|null|null",
        "2|8|null|null",
        "3|null|old|null",
        "4|null|null|null",
        "5|9|null|null",
        // A key that does not fit is rescued: its row is not merged.
        "null|10|null|{\"id\":\"x\"}",
    ];
    assert_eq!(world.sql(AGES).await, rows);
    world.put("4.csv", "id,age,updated\n6,older,2026-01-01\n", 3);
    world.bronze().await;
    rows.push("6|null|older|null");
    assert_eq!(world.sql(AGES).await, rows);
    let columns = world.table("bronze.customers").await.schema().arrow().clone();
    let texts = columns.fields().iter().filter(|field| field.name().ends_with("__text")).count();
    assert_eq!(texts, 1, "the column stays");

    assert_eq!(world.silver().await.counts.misfits, 1);
    let silver = world.sql("SELECT id, age, age__text FROM silver.customers ORDER BY id").await;
    assert_eq!(silver[2..], ["3|null|old", "4|null|null", "5|9|null", "6|null|older"]);

    // A header of that name is another column.
    world.put("5.csv", "id,age__text,updated\n7,said,2026-01-01\n", 4);
    world.bronze().await;
    let ours = world.sql("SELECT age__text FROM bronze.customers WHERE id = 7").await;
    assert_eq!(ours, ["null"]);
}

/// The first file of all has such a cell behind the rows that its types are inferred from.
#[tokio::test]
async fn the_first_file_can_bring_a_column_for_cells_that_do_not_fit() {
    let world = World::new(&new_column());
    let many: String = (0..20_000).map(|id| format!("{id},7,2026-01-01\n")).collect();
    world.put("1.csv", &format!("id,age,updated\n{many}20000,old,2026-01-01\n"), 0);
    assert_eq!(world.bronze().await.ingested, 1);
    let rows = world.sql("SELECT id, age, age__text FROM bronze.customers WHERE age IS NULL").await;
    assert_eq!(rows, ["20000|null|old"]);
    assert_eq!(world.table("bronze.customers").await.history_length(), 1);
}

/// A file that is rejected brings no column, and a table that has no room for one gets none.
#[tokio::test]
async fn no_column_for_a_cell_of_a_file_that_is_rejected_or_where_there_is_no_room() {
    let full = new_column().replace("[pipeline.silver]", "max_columns = 4\n[pipeline.silver]");
    let strict =
        new_column().replace("[pipeline.silver]", "max_rescued = \"10%\"\n[pipeline.silver]");
    for (pipeline, bad, rescued) in [
        (strict, "id,age,updated\n2,old,2026-01-01\n3,8\n", "0"),
        (full, "id,age,updated\n2,old,2026-01-01\n", "1"),
    ] {
        let world = World::new(&pipeline);
        world.put("1.csv", "id,age,updated\n1,7,2026-01-01\n", 0);
        world.put("2.csv", bad, 1);
        world.bronze().await;
        let columns = world.table("bronze.customers").await.schema().arrow().clone();
        assert!(columns.field_with_name("age__text").is_err(), "{columns:?}");
        let count = "SELECT count(*) FROM bronze.customers WHERE _rescued LIKE '%old%'";
        assert_eq!(world.sql(count).await, [rescued]);
    }
}

/// Two workers need the same column at once.
#[tokio::test]
async fn two_workers_bring_one_column_for_cells_that_do_not_fit() {
    let fates = [Fate::Fine, Fate::Fine, Fate::Overtaken];
    let rivals = Rivals::new(&new_column(), "bronze.customers", &fates, |rival, _| async move {
        rival.put("3.csv", "id,age,updated\n3,older,2026-01-01\n", 2);
        let listed = all(&*rival.raw, "raw/3").await.unwrap();
        let batch: Vec<Requested> = listed.into_iter().map(Requested::Listed).collect();
        assert_eq!(rival.pipeline().bronze.ingest(&batch).await.unwrap().report.ingested, 1);
    });
    let world = &rivals.world;
    world.ingest("1.csv", "id,age,updated\n1,7,2026-01-01\n", 0).await;
    world.ingest("2.csv", "id,age,updated\n2,old,2026-01-01\n", 1).await;
    assert_eq!(rivals.acted(), 1);
    let rows = ["1|7|null|null", "2|null|old|null", "3|null|older|null"];
    assert_eq!(world.sql(AGES).await, rows);
    assert_eq!(rivals.orphans().await, Vec::<String>::new());
}
