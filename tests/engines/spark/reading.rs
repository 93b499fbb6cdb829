//! Spark reads what silversmith wrote: rows, earlier snapshots, metadata tables; from SQLite and Postgres.

use super::{Spark, agree, own, own_list};
use crate::cli::Folder;
use crate::engines::{TABLES, wave};

/// As silversmith does: the snapshots, their line, and the files.
fn metadata_tables_agree(folder: &Folder, table: &str) {
    let spark = Spark::on(folder);
    for columns in ["snapshot_id", "operation"] {
        let sql = format!("SELECT {columns} FROM {table}.snapshots");
        assert_eq!(spark.list(&sql), own_list(folder, &sql), "{sql}");
    }
    let sql = format!("SELECT snapshot_id FROM {table}.history WHERE is_current_ancestor");
    assert_eq!(spark.list(&sql), own_list(folder, &sql), "{sql}");
    let sql = format!("SELECT file_path FROM {table}.files");
    assert_eq!(spark.list(&sql), own_list(folder, &sql), "{sql}");
    let counted = spark.one(&format!("SELECT sum(record_count) FROM {table}.files"));
    assert_eq!(counted, spark.one(&format!("SELECT count(*) FROM {table}")), "{table}");
    for of in
        ["manifests", "all_data_files", "entries", "refs", "metadata_log_entries", "partitions"]
    {
        let counted = spark.one(&format!("SELECT count(*) FROM {table}.{of}"));
        assert_ne!(counted, "0", "{table}.{of}");
    }
}

/// At each of its snapshots a table has the same number of rows for both, and at the time of each one.
fn time_travel_agrees(folder: &Folder, table: &str) {
    let spark = Spark::on(folder);
    let snapshots =
        format!("SELECT snapshot_id, committed_at FROM {table}.snapshots ORDER BY committed_at");
    for row in spark.run(&[&snapshots]).rows {
        let (id, at) = (row[0].clone().unwrap(), row[1].clone().unwrap());
        let at = at.replace('T', " ").replace('Z', "");
        for as_of in [format!("VERSION AS OF {id}"), format!("TIMESTAMP AS OF '{at}'")] {
            let sql = format!("SELECT count(*) AS n FROM {table} {as_of}");
            assert_eq!(spark.one(&sql), own(folder, &sql)[0]["n"], "{sql}");
        }
    }
}

#[test]
fn spark_reads_every_table_and_travels_in_time() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    for number in 1..4 {
        wave(&folder, number);
    }
    let spark = Spark::on(&folder);
    let mut tables = vec![];
    for namespace in spark.list("SHOW NAMESPACES") {
        let listed = spark.run(&[&format!("SHOW TABLES IN {namespace}")]);
        tables.extend(
            listed.rows.into_iter().map(|row| format!("{namespace}.{}", row[1].clone().unwrap())),
        );
    }
    tables.sort();
    let mut expected = TABLES.to_vec();
    expected.sort_unstable();
    assert_eq!(tables, expected);
    assert!(agree(&folder, &TABLES).iter().all(|rows| *rows > 0));
    for table in TABLES {
        metadata_tables_agree(&folder, table);
        time_travel_agrees(&folder, table);
    }
}

/// A filter skips files and row groups by their bounds, and finds what is there.
#[test]
fn a_filter_of_spark_finds_each_row() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", "max_objects = 1"));
    wave(&folder, 1);
    wave(&folder, 2);
    let spark = Spark::on(&folder);
    for table in ["bronze.orders", "silver.orders"] {
        let rows =
            own(&folder, &format!("SELECT id, name, updated FROM {table} ORDER BY id, name"));
        for row in rows.iter().step_by(6) {
            let mut filter = format!("id = {} AND name = '{}'", row["id"], row["name"]);
            if let Some(updated) = row.get("updated") {
                filter.push_str(&format!(" AND updated = TIMESTAMP '{updated}'"));
            }
            let found = spark.one(&format!("SELECT count(*) FROM {table} WHERE {filter}"));
            assert_eq!(found, "1", "{table}: {filter}");
        }
    }
}

/// Spark's catalog on Postgres, too: the same tables under the same name.
#[test]
fn spark_opens_a_lake_on_postgres_by_name() {
    let url = crate::contract::postgres_url();
    #[allow(clippy::disallowed_methods, reason = "a name that no other run uses")]
    let name = format!("lake_{}", uuid::Uuid::new_v4().simple());
    let config = Folder::config("settle = \"0s\"", "")
        .replace("sqlite:lake/catalog.db", &url)
        .replace("\"lake\"", &format!("\"{name}\""));
    let folder = Folder::new(&config);
    wave(&folder, 1);
    let (user, server) = url.trim_start_matches("postgres://").split_once('@').unwrap();
    let spark = Spark::by_name(&name, &format!("jdbc:postgresql://{server}?user={user}"), &folder);
    spark.run(&["UPDATE silver.orders SET name = 'by spark' WHERE id = 13"]);
    wave(&folder, 2);
    for table in TABLES {
        let sql = format!("SELECT count(*) AS n FROM {table}");
        assert_eq!(spark.one(&sql), own(&folder, &sql)[0]["n"], "{table}");
    }
}

/// The changes of silver between two of its snapshots are those of Spark's changelog view. It reads no delete files, so
/// silver is written by copy-on-write; a net change of Spark is a delete and an insert.
#[test]
fn spark_sees_the_same_changes() {
    let config = Folder::config("settle = \"0s\"", "");
    let order = "order_by = [\"updated\"]";
    let folder = Folder::new(&config.replace(order, &format!("{order}\nmode = \"copy-on-write\"")));
    let tip = || {
        own_list(&folder, "SELECT max(snapshot_id) FROM (SELECT snapshot_id FROM silver.orders.snapshots ORDER BY committed_at DESC LIMIT 1)")[0].clone()
    };
    wave(&folder, 1);
    let from = tip();
    wave(&folder, 2);
    folder.run(&["maintain", "silver.orders"]);
    wave(&folder, 3);
    let to = tip();
    let spark = Spark::on(&folder);
    let view = format!(
        "CALL lake.system.create_changelog_view(table => 'silver.orders', changelog_view => 'changed', \
         options => map('start-snapshot-id', '{from}', 'end-snapshot-id', '{to}'), net_changes => true)"
    );
    let theirs = "SELECT concat_ws('|', id, name, amount, CASE _change_type WHEN 'INSERT' THEN 'in' ELSE 'out' END) FROM changed";
    let mut theirs: Vec<String> =
        spark.run(&[&view, theirs]).rows.into_iter().map(|row| row[0].clone().unwrap()).collect();
    theirs.sort_unstable();
    let ours = format!(
        "SELECT concat_ws('|', CAST(id AS VARCHAR), name, CAST(amount AS VARCHAR), \
         CASE WHEN _change_type IN ('insert', 'update_after') THEN 'in' ELSE 'out' END) AS row \
         FROM changes('silver.orders', {from}, {to})"
    );
    let ours = own_list(&folder, &ours);
    assert!(ours.len() > 40, "{ours:?}");
    assert_eq!(ours, theirs);
}
