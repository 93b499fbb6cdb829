//! A file that is not of the feed is rejected with a reason, and changes no table.

use crate::support::{CUSTOMERS, World};

/// The columns of bronze without silversmith's own.
async fn columns(world: &World) -> Vec<String> {
    let table = world.table("bronze.customers").await;
    let names = table.schema().arrow().fields().iter().map(|field| field.name().clone());
    names.filter(|name| !name.starts_with('_')).collect()
}

/// Why the objects that are not ingested are not: name, reason, and the error's end after the name.
async fn rejected(world: &World) -> Vec<(String, String, String)> {
    let rows = world
        .sql("SELECT source_uri, reason, error FROM bronze.customers_objects WHERE outcome = 'rejected' ORDER BY source_uri")
        .await;
    let parts = |row: &String| {
        let mut parts = row.splitn(3, '|').map(str::to_owned);
        let mut next = || parts.next().unwrap();
        (next(), next(), next())
    };
    rows.iter().map(parts).collect()
}

const GOOD: &str = "id,name,city,updated\n1,Ada,Paris,2026-01-01\n";

#[tokio::test]
async fn files_of_another_feed_are_rejected_by_name() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", GOOD, 0);
    world.bronze().await;
    let before = columns(&world).await;
    for (name, content, reason, says) in [
        ("a", "id;name;city;updated\n2;B;Rome;2026-01-01\n", "other-delimiter", "';'"),
        ("b", "id\tname\n2\tB\n", "other-delimiter", "'\\t'"),
        ("c", "2,Bob,Rome,2026-01-02\n3,Eve,Oslo,2026-01-02\n", "no-header", "`Bob`"),
        ("d", "a,b\n1,2\n", "other-columns", "`a`, `b`"),
        ("e", "name,city,updated\nBob,Rome,2026-01-02\n", "key-missing", "`id`"),
    ] {
        world.put(&format!("{name}.csv"), content, 1);
        let report = world.bronze().await;
        assert_eq!((report.ingested, report.failed), (0, 1), "{name}");
        let (uri, why, error) = rejected(&world).await.pop().unwrap();
        assert_eq!((uri.as_str(), why.as_str()), (format!("raw/{name}.csv").as_str(), reason));
        assert!(error.contains(says), "{name}: {error}");
    }
    assert_eq!(columns(&world).await, before, "the table is as it was");
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["1"]);
}

/// The first file makes the table, so it is looked at as well.
#[tokio::test]
async fn a_first_file_of_another_feed_makes_no_table() {
    let world = World::new(CUSTOMERS);
    world.put("a.csv", "id;name;updated\n2;B;2026-01-01\n", 0);
    world.put("b.csv", "2,Bob,2026-01-02\n", 1);
    world.put("c.csv", "a,b\n1,2\n", 2);
    world.put("d.csv", GOOD, 3);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (1, 3));
    let reasons: Vec<String> = rejected(&world).await.into_iter().map(|r| r.1).collect();
    assert_eq!(reasons, ["other-delimiter", "no-header", "key-missing"]);
    assert_eq!(columns(&world).await, ["id", "name", "city", "updated"]);
}

/// After the configuration is corrected, a replay ingests what was rejected.
#[tokio::test]
async fn a_rejected_file_is_ingested_after_a_fix() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id;name;updated\n1;A;2026-01-01\n", 0);
    assert_eq!(world.bronze().await.failed, 1);
    let fixed = format!("{CUSTOMERS}[pipeline.csv]\ndelimiter = \";\"\n");
    let world = world.reconfigured(&fixed);
    world.ambient.advance(std::time::Duration::from_secs(61));
    assert_eq!(world.bronze().await.ingested, 0, "a listing alone tries nothing again");
    world.put("1.csv", "id;name;updated\n1;A;2026-01-01\n", 1);
    assert_eq!(world.bronze().await.ingested, 1);
    assert_eq!(world.sql("SELECT id, name FROM bronze.customers").await, ["1|A"]);
}

/// A spreadsheet's first line says what parts the fields; lines before the header and comments are skipped.
#[tokio::test]
async fn what_stands_before_the_header_is_understood() {
    let settings = "[pipeline.csv]\nskip_lines = 2\ncomment = \"#\"\n";
    let world = World::new(&format!("{CUSTOMERS}{settings}"));
    let lines = "Report\nof today\nid,name,updated\n# a remark, with commas\n1,A,2026-01-01\n#2,B,2026-01-01\n";
    world.put("1.csv", lines, 0);
    world.bronze().await;
    let rows = world.sql("SELECT id, name, _source_row, _rescued FROM bronze.customers").await;
    assert_eq!(rows, ["1|A|1|null"]);

    let world = World::new(CUSTOMERS);
    world.put("1.csv", "\u{feff}sep=;\r\nid;name;updated\r\n1;a,b;2026-01-01\r\n", 0);
    world.put("2.csv", GOOD, 1);
    world.bronze().await;
    let rows = world.sql("SELECT id, name, _source_row FROM bronze.customers ORDER BY _source_uri");
    assert_eq!(rows.await, ["1|a,b|1", "1|Ada|1"]);
}

#[tokio::test]
async fn a_table_does_not_grow_without_bound() {
    let limits = CUSTOMERS
        .replace("[pipeline.silver]", "max_columns = 6\nmax_new_columns = 2\n[pipeline.silver]");
    let world = World::new(&limits);
    world.put("1.csv", GOOD, 0);
    world.put("2.csv", "id,updated,a,b,c\n2,2026-01-01,1,2,3\n", 1);
    world.put("3.csv", "id,updated,a,b\n3,2026-01-01,1,2\n", 2);
    world.put("4.csv", "id,updated,c\n4,2026-01-01,1\n", 3);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (2, 2));
    let rejected = rejected(&world).await;
    assert!(rejected[0].2.contains("bronze.max_new_columns is 2"), "{rejected:?}");
    assert!(rejected[1].2.contains("bronze.max_columns is 6"), "{rejected:?}");
    assert!(rejected.iter().all(|r| r.1 == "too-many-columns"), "{rejected:?}");
}

/// A header that looks like two fields is mapped by hand, and the file is of the feed.
#[tokio::test]
async fn one_column_with_a_delimiter_in_its_header_is_mapped_by_hand() {
    let mapped = "[pipeline.csv]\ndelimiter = \";\"\n[pipeline.csv.columns]\nid = { from = \"Name, first\" }\n";
    let world = World::new(&format!("{}{mapped}", CUSTOMERS.replace("[\"updated\"]", "[]")));
    world.put("1.csv", "Name, first\nAda\n", 0);
    assert_eq!(world.bronze().await.ingested, 1);
}

/// All files of a folder have the columns of its path: they make none of them one of the feed.
#[tokio::test]
async fn columns_of_the_path_make_no_file_one_of_the_feed() {
    let settings = "[pipeline.csv]\npath_columns = true\n";
    let world = World::new(&format!("{CUSTOMERS}{settings}"));
    world.put("year=2024/1.csv", GOOD, 0);
    world.bronze().await;
    let before = columns(&world).await;
    for (name, content, reason, says) in [
        ("a", "2,Bob\n", "no-header", "looks like data: `2`, `Bob`;"),
        ("b", "id;name;city;updated\n2;B;Rome;2026-01-01\n", "other-delimiter", "';'"),
        ("c", "2,Bob,Rome,2026-01-02\n3,Eve,Oslo,2026-01-02\n", "no-header", "`Bob`"),
        ("d", "a,b\n1,2\n", "other-columns", "feed: `a`, `b`;"),
    ] {
        world.put(&format!("year=2024/{name}.csv"), content, 1);
        let report = world.bronze().await;
        assert_eq!((report.ingested, report.failed), (0, 1), "{name}");
        let (_, why, error) = rejected(&world).await.pop().unwrap();
        assert_eq!(why, reason, "{name}");
        assert!(error.contains(says), "{name}: {error}");
    }
    assert_eq!(columns(&world).await, before, "the table is as it was");
    // Nor does a key in the path.
    let world = World::new(&format!("{}{settings}", CUSTOMERS.replace("[\"id\"]", "[\"year\"]")));
    world.put("year=2024/1.csv", GOOD, 0);
    world.put("year=2025/2.csv", "a,b\n1,2\n", 1);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (1, 1));
    assert_eq!(rejected(&world).await[0].1, "other-columns");
}

/// Where files have one column, its text may hold what elsewhere parts fields.
#[tokio::test]
async fn one_column_of_text_without_a_header_is_of_the_feed() {
    let keyed = CUSTOMERS.replace("\"id\"", "\"column_1\"").replace("[\"updated\"]", "[]");
    let settings = "[pipeline.csv]\nheader = false\n";
    let declared = "[pipeline.csv.columns]\ncolumn_1 = \"string\"\n";
    let world = World::new(&format!("{keyed}{settings}{declared}"));
    world.put("1.csv", "Ada; Bob\nEve\n", 0);
    assert_eq!(world.bronze().await.ingested, 1);

    let world = World::new(&format!("{keyed}{settings}path_columns = true\n"));
    world.put("year=2024/1.csv", "Ada; Bob\n", 0);
    assert_eq!(world.bronze().await.failed, 1, "nothing says yet that it is one column");
    assert_eq!(rejected(&world).await[0].1, "other-delimiter");
    world.put("year=2024/2.csv", "Ada\n", 1);
    world.put("year=2024/3.csv", "Ada; Bob\n", 2);
    assert_eq!(world.bronze().await.ingested, 2);

    let world = World::new(&format!("{keyed}{settings}"));
    world.put("1.csv", "1,Ada\n", 0);
    world.put("2.csv", "2;Bob\n", 1);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (1, 1), "the table has two");
}

/// silversmith's own columns are in every row, and in no file.
#[tokio::test]
async fn columns_of_silversmith_may_be_keys() {
    let keys = "[\"_source_uri\", \"_source_row\"]";
    let world = World::new(&CUSTOMERS.replace("[\"id\"]", keys));
    world.put("1.csv", "id,updated\n1,2026-01-01\n1,2026-01-01\n", 0);
    assert_eq!(world.bronze().await.ingested, 1);
    assert_eq!(world.silver().await.counts.inserted, 2);
}
