//! JSON files: their values are in the tables as they were written, beside those of CSV files.

use std::io::Write;

use crate::support::{ORDERS, World, at};

fn gzipped(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

async fn rejected(world: &World) -> Vec<String> {
    world
        .sql("SELECT source_uri, reason FROM bronze.orders_objects WHERE outcome = 'rejected' ORDER BY source_uri")
        .await
}

#[tokio::test]
async fn files_of_both_formats_are_one_table() {
    let world = World::new(ORDERS);
    world.put("1.csv", "id,amount,updated\n1,1.5,2026-01-01\n2,2.5,2026-01-01\n", 0);
    let lines = "{\"id\":2,\"amount\":20.25,\"updated\":\"2026-01-02\"}\n{\"amount\":3.5,\"updated\":\"2026-01-01\",\"id\":3}\n";
    world.raw.put("raw/2.json.gz", gzipped(lines), at(11, 1));
    world.put("3.json", "[{\"ID\":\"1\",\"updated\":\"2026-01-03\"}]", 2);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.rows, report.rescued), (3, 5, 0));
    world.silver().await;
    let rows = world
        .sql("SELECT id, amount, updated, _source_uri, _source_row FROM silver.orders ORDER BY id")
        .await;
    assert_eq!(
        rows,
        [
            "1|null|2026-01-03|raw/3.json|1",
            "2|20.25|2026-01-02|raw/2.json.gz|1",
            "3|3.5|2026-01-01|raw/2.json.gz|2"
        ]
    );
    assert_eq!(world.columns("bronze.orders").await, ["id long", "amount double", "updated date"]);
}

#[tokio::test]
async fn every_value_is_exact_or_rescued() {
    let declared =
        "[pipeline.columns]\nx = \"double\"\nday = \"date\"\nyes = \"boolean\"\n[pipeline.bronze]";
    let world = World::new(&ORDERS.replace("[pipeline.bronze]", declared));
    let lines = [
        r#"{"id":1,"updated":1,"x":0.30000000000000004,"day":"2026-01-31","code":"007","o":{"a":[1.50]},"yes":true}"#,
        r#"{"id":2,"updated":1,"x":1e-7,"day":"soon","code":8,"yes":"no idea","o":[]}"#,
        r#"{"id":3,"updated":1,"x":123456789012345678,"day":null,"yes":false,"yes":true}"#,
        r#"{"id":4,"updated":1,"x":NaN}"#,
        r#"{"id":5,"updated":1,"x":7"#,
        r#"{"id":6,"id":7,"updated":1}"#,
    ];
    world.put("1.json", &lines.join("\n"), 0);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.rows, report.rescued), (1, 6, 4));
    assert_eq!(
        world
            .sql(
                "SELECT id, x, day, code, o, yes, _rescued FROM bronze.orders ORDER BY _source_row"
            )
            .await,
        [
            r#"1|0.30000000000000004|2026-01-31|007|{"a":[1.50]}|true|null"#,
            r#"2|1e-7|null|8|[]|null|{"day":"soon","yes":"no idea"}"#,
            r#"3|null|null|null|null|null|{"_problem":"several values for one key","x":"123456789012345678","yes":["false","true"]}"#,
            "4|NaN|null|null|null|null|null",
            r#"null|null|null|null|null|null|{"_problem":"a comma or the end of the object is missing","_text":"{\"id\":5,\"updated\":1,\"x\":7"}"#,
            r#"null|null|null|null|null|null|{"_problem":"several values for one key","id":["6","7"]}"#,
        ]
    );
    world.silver().await;
    assert_eq!(world.sql("SELECT count(*), sum(id) FROM silver.orders").await, ["4|10"]);
}

/// A first file whose rows have keys that its first rows do not have.
#[tokio::test]
async fn keys_that_come_late_are_columns_of_a_file_that_brings_columns() {
    let world = World::new(ORDERS);
    let mut lines: String =
        (1..=9_000).map(|id| format!("{{\"id\":{id},\"updated\":1,\"n\":null}}\n")).collect();
    lines.push_str("{\"id\":9001,\"updated\":1,\"late\":7,\"n\":1.5}\n");
    world.put("1.json", &lines, 0);
    world.bronze().await;
    assert_eq!(
        world.columns("bronze.orders").await,
        ["id long", "updated long", "n double", "late long"]
    );
    let row = "SELECT id, n, late, _rescued FROM bronze.orders WHERE late IS NOT NULL";
    assert_eq!(world.sql(row).await, ["9001|1.5|7|null"]);
    // The table has the column: its cells find it, however late they come. Another one is rescued.
    let lines = lines.replace("\"n\":1.5", "\"n\":2.5,\"later\":\"x\"");
    world.put("2.json", &lines, 1);
    world.bronze().await;
    let rows = world.sql(&format!("{row} AND _source_uri = 'raw/2.json'")).await;
    assert_eq!(rows, [r#"9001|2.5|7|{"later":"x"}"#]);
    world.put("3.json", "{\"id\":1,\"updated\":2,\"later\":\"y\"}", 2);
    world.bronze().await;
    assert_eq!(world.columns("bronze.orders").await.last().unwrap(), "later string");
}

#[tokio::test]
async fn a_table_that_refuses_columns_refuses_late_ones() {
    let fail = ORDERS.replace("[pipeline.silver]", "schema_change = \"fail\"\n[pipeline.silver]");
    let world = World::new(&fail);
    world.put("1.json", "{\"id\":1,\"updated\":1,\"note\":\"x\"}", 0);
    let lines: String = (1..=9_000).map(|id| format!("{{\"id\":{id},\"updated\":1}}\n")).collect();
    world.put("2.json", &format!("{lines}{{\"id\":1,\"updated\":1,\"note\":\"y\"}}"), 1);
    world.put("3.json", &format!("{lines}{{\"id\":1,\"updated\":1,\"new\":1}}"), 2);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.rows), (2, 9_002), "a key that objects lack is null");
    assert_eq!(rejected(&world).await, ["raw/3.json|schema-changed"]);
}

/// A value of null says nothing about a type, so it does not fix one.
#[tokio::test]
async fn a_key_without_values_waits_for_its_type() {
    let world = World::new(ORDERS);
    world.put("1.json", "{\"id\":1,\"updated\":1,\"deleted_at\":null}", 0);
    world.put("2.json", "{\"id\":2,\"updated\":1,\"deleted_at\":\"2026-01-31T10:00:00Z\"}", 1);
    world.bronze().await;
    assert_eq!(
        world.columns("bronze.orders").await,
        ["id long", "updated long", "deleted_at timestamptz"]
    );
}

#[tokio::test]
async fn files_that_are_not_of_the_feed_are_rejected() {
    let world = World::new(ORDERS);
    world.put("1.json", "{\"id\":1,\"updated\":1}", 0);
    let keys: Vec<String> = (0..200).map(|n| format!("\"k{n}\":1")).collect();
    for (name, text) in [
        ("a", "{\"name\":\"x\"}".to_owned()),
        ("b", "[{\"id\":1,\"updated\":1},".to_owned()),
        ("c", "id,updated\n1,1\n".to_owned()),
        ("d", format!("{{\"id\":1,\"updated\":1,{}}}", keys.join(","))),
        ("e", "{\"id\":1}\nx\ny\n".to_owned()),
    ] {
        world.put(&format!("{name}.json"), &text, 1);
    }
    world.bronze().await;
    assert_eq!(
        rejected(&world).await,
        [
            "raw/a.json|other-columns",
            "raw/b.json|not-json",
            "raw/c.json|not-json",
            "raw/d.json|too-many-columns",
        ]
    );
    assert_eq!(world.columns("bronze.orders").await, ["id long", "updated long"]);
}

/// Names without an ending say nothing: the configuration does. Columns are declared for every format.
#[tokio::test]
async fn a_pipeline_may_say_its_format() {
    let declared = "format = \"json\"\n[pipeline.columns]\nid = \"string\"\nsum = { type = \"decimal(9,2)\", from = \"Sum (EUR)\" }\n[pipeline.bronze]";
    let world = World::new(&ORDERS.replace("[pipeline.bronze]", declared));
    world.put("firehose-1", "{\"id\":7,\"updated\":1,\"Sum (EUR)\":1.5}{\"id\":8,\"updated\":1,\"Sum (EUR)\":\"1.255\"}", 0);
    world.bronze().await;
    let rows = world.sql("SELECT id, sum, _rescued FROM bronze.orders ORDER BY id").await;
    assert_eq!(rows, ["7|1.50|null", r#"8|null|{"sum":"1.255"}"#]);
    assert_eq!(
        world.columns("bronze.orders").await,
        ["id string", "updated long", "sum decimal(9,2)"]
    );
    let table = world.table("bronze.orders").await;
    let field = table.schema().arrow().field_with_name("sum").unwrap().clone();
    assert_eq!(field.metadata()["doc"], "JSON key `Sum (EUR)`");
}
