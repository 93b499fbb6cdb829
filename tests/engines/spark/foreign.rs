//! Tables that Spark made or changed: silversmith refuses by name what it cannot write right, and keeps the rest.

use super::{Spark, agree, own};
use crate::cli::Folder;
use crate::engines::wave;

fn folder() -> Folder {
    Folder::new(&Folder::config("settle = \"0s\"", ""))
}

/// A first wave must fail with these words, and leave the table as it is.
fn refused(folder: &Folder, command: &[&str], words: &str) {
    let output = folder.output(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains(words), "{command:?}: {stderr}");
}

fn first_file(folder: &Folder) {
    folder.write("raw/a.csv", "id,name,updated\n1,a,2026-01-31T10:00:00Z\n");
}

#[test]
fn other_format_versions_are_refused_with_what_to_do() {
    for (version, words) in [
        ("1", "SET TBLPROPERTIES ('format-version' = '2')"),
        ("3", "format version 3, which silversmith cannot write"),
    ] {
        for (table, command) in [
            ("bronze.orders", "bronze"),
            ("bronze.orders_objects", "bronze"),
            ("silver.orders", "silver"),
        ] {
            let folder = folder();
            first_file(&folder);
            // It makes the catalog.
            folder.run(&["check"]);
            let spark = Spark::on(&folder);
            let (namespace, _) = table.split_once('.').unwrap();
            spark.run(&[
                &format!("CREATE NAMESPACE {namespace}"),
                &format!(
                    "CREATE TABLE {table} (id BIGINT) TBLPROPERTIES ('format-version' = '{version}')"
                ),
            ]);
            if command == "silver" {
                folder.run(&["bronze"]);
            }
            refused(&folder, &[command], words);
            assert!(spark.run(&[&format!("SELECT * FROM {table}.snapshots")]).rows.is_empty());
        }
    }
}

/// As the message says: after the upgrade of a table of version 1 silversmith goes on.
#[test]
fn an_upgraded_table_is_written() {
    let folder = folder();
    first_file(&folder);
    folder.run(&["check"]);
    let spark = Spark::on(&folder);
    spark.run(&[
        "CREATE NAMESPACE bronze",
        "CREATE TABLE bronze.orders (id BIGINT, name STRING) TBLPROPERTIES ('format-version' = '1')",
        "INSERT INTO bronze.orders VALUES (100, 'by spark')",
    ]);
    refused(&folder, &["bronze"], "format version 1");
    spark.run(&["ALTER TABLE bronze.orders SET TBLPROPERTIES ('format-version' = '2')"]);
    folder.run(&["run", "--until-idle", "--lenient"]);
    wave(&folder, 1);
    for table in ["bronze.orders", "bronze.orders_objects", "silver.orders"] {
        let found = crate::engines::read(&folder, &[table]);
        let count = found["rows"].as_array().unwrap().len().to_string();
        let sql = format!("SELECT count(*) AS n FROM {table}");
        assert_eq!((&spark.one(&sql), &own(&folder, &sql)[0]["n"]), (&count, &count), "{table}");
    }
    let rows = own(&folder, "SELECT id, name FROM silver.orders WHERE id IN (1, 100) ORDER BY id");
    assert_eq!(rows[1]["name"], "by spark", "its rows have no sequence number of their own");
    let doubled = own(&folder, "SELECT id FROM silver.orders GROUP BY id HAVING count(*) > 1");
    assert!(doubled.is_empty(), "{doubled:?}");
}

#[test]
fn a_view_under_a_tables_name_is_refused() {
    let folder = folder();
    first_file(&folder);
    folder.run(&["bronze"]);
    let spark = Spark::on(&folder);
    spark.run(&[
        "CREATE NAMESPACE silver",
        "CREATE VIEW silver.orders AS SELECT id FROM bronze.orders",
    ]);
    refused(
        &folder,
        &["silver"],
        "table silver.orders cannot be created: the catalog has something",
    );
    assert_eq!(spark.one("SELECT count(*) FROM silver.orders"), "1");
}

/// Columns, properties, identifier fields, tags, branches, sort orders, statistics: what Spark sets on tables stays.
#[test]
fn what_spark_sets_on_a_table_stays_and_counts() {
    let folder = folder();
    wave(&folder, 1);
    let spark = Spark::on(&folder);
    spark.run(&[
        "ALTER TABLE silver.orders ADD COLUMN checked BOOLEAN COMMENT 'by hand'",
        "UPDATE silver.orders SET checked = true WHERE id = 13",
        "ALTER TABLE silver.orders CREATE TAG audited",
        "ALTER TABLE silver.orders CREATE BRANCH trial",
        "UPDATE silver.orders.branch_trial SET name = 'on the branch' WHERE id = 13",
        "ALTER TABLE silver.orders WRITE ORDERED BY id",
        "CALL lake.system.compute_table_stats(table => 'silver.orders')",
        "ALTER TABLE silver.orders SET TBLPROPERTIES ('write.parquet.compression-codec' = 'gzip',
           'write.metadata.compression-codec' = 'gzip', 'write.target-file-size-bytes' = '1000000', 'team' = 'sales')",
        "ALTER TABLE bronze.orders ADD COLUMN amount_of_spark INT AFTER id",
        "ALTER TABLE bronze.orders RENAME COLUMN paid TO was_paid",
    ]);
    let tagged = spark.list("SELECT id FROM silver.orders VERSION AS OF 'audited'");
    for number in 2..4 {
        wave(&folder, number);
    }
    agree(&folder, &["bronze.orders", "silver.orders", "gold.orders"]);
    assert_eq!(spark.list("SELECT id FROM silver.orders VERSION AS OF 'audited'"), tagged);
    assert_eq!(
        spark.list("SELECT name FROM silver.orders.branch_trial WHERE id = 13"),
        ["on the branch"]
    );
    assert_eq!(spark.list("SELECT name FROM silver.orders.refs"), ["audited", "main", "trial"]);
    let properties = spark.run(&["SHOW TBLPROPERTIES silver.orders"]).rows;
    for (key, value) in [("team", "sales"), ("write.parquet.compression-codec", "gzip")] {
        let set = vec![Some(key.to_owned()), Some(value.to_owned())];
        assert!(properties.contains(&set), "{key}: {properties:?}");
    }
    // Both columns of the renamed one are there: the new name is Spark's, the old one came again in a file.
    let counts =
        own(&folder, "SELECT count(was_paid) AS before, count(paid) AS since FROM bronze.orders");
    assert_eq!((counts[0]["before"].as_str(), counts[0]["since"].as_str()), ("40", "80"));
}
