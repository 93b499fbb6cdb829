//! Other engines read every table, agree, and write beside silversmith: PyIceberg and DuckDB, and Spark.

mod spark;

mod conformance;
mod dialects;
mod formats;

use std::process::Command;

use serde_json::Value;

use crate::cli::Folder;

/// The Python that `tests/run` prepares. A test that needs it fails without it.
pub fn python() -> String {
    #[allow(clippy::disallowed_methods, reason = "the test suite's own setting")]
    std::env::var("SILVERSMITH_TEST_PYTHON")
        .expect("SILVERSMITH_TEST_PYTHON is not set: run the suite by `bash tests/run`")
}

fn check_on(catalog: &str, name: &str, folder: &Folder, args: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/check.py");
    let output = Command::new(python())
        .arg(script)
        .args(args)
        .args(["--catalog", catalog, "--name", name])
        .args(["--warehouse", &folder.path().join("lake/warehouse").display().to_string()])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn check(folder: &Folder, args: &[&str]) -> String {
    let catalog = format!("sqlite:///{}", folder.path().join("lake/catalog.db").display());
    check_on(&catalog, "lake", folder, args)
}

fn read(folder: &Folder, args: &[&str]) -> Value {
    serde_json::from_str(&check(folder, &[&["read"], args].concat())).unwrap()
}

/// Some cells of each row that both engines read; the manifests are as Iceberg's specification has them.
fn cells(folder: &Folder, table: &str, columns: &[&str]) -> Vec<Vec<Value>> {
    let verified: Value =
        serde_json::from_str(&check(folder, &["verify-manifests", table])).unwrap();
    assert_eq!(verified["violations"], serde_json::json!([]), "{table}");
    let found = read(folder, &[table]);
    let names = found["columns"].as_array().unwrap();
    let at = columns.iter().map(|column| names.iter().position(|name| name == column).unwrap());
    let at: Vec<usize> = at.collect();
    let rows = found["rows"].as_array().unwrap().iter();
    rows.map(|row| at.iter().map(|at| row[*at].clone()).collect()).collect()
}

/// The rows that silversmith reads, in the form of the script's rows: cells as text, rows sorted.
fn own_rows(folder: &Folder, sql: &str) -> Vec<Vec<Value>> {
    let json = folder.stdout(&["sql", "--format", "json", sql]);
    let mut rows: Vec<Vec<Value>> = json
        .lines()
        .map(|line| {
            let row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
            row.into_iter().map(|(_, cell)| cell).collect()
        })
        .collect();
    rows.sort_by_key(|row| format!("{row:?}"));
    rows
}

const TABLES: [&str; 4] =
    ["bronze.orders", "bronze.orders_objects", "silver.orders", "gold.orders"];

fn wave(folder: &Folder, number: usize) {
    let mut text = "id,name,amount,day,paid,updated\n".to_owned();
    for row in 0..40 {
        let id = (row * 7 + number * 13) % 60;
        text.push_str(&format!(
            "{id},name {number} é,{}.5,2026-01-{:02},{},2026-01-31T1{number}:00:00Z\n",
            row * number,
            1 + row % 28,
            row % 2 == 0
        ));
    }
    folder.write(&format!("raw/wave{number}.csv"), &text);
    folder.write(
        &format!("raw/other{number}.csv"),
        &format!("id,name,updated\n{},x,\n", 100 + number),
    );
    folder.run(&["run", "--until-idle", "--lenient"]);
}

#[test]
fn pyiceberg_and_duckdb_read_every_table_and_agree() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", "max_objects = 1"));
    for number in 1..5 {
        wave(&folder, number);
    }
    let tables: Vec<String> = serde_json::from_str(&check(&folder, &["tables"])).unwrap();
    let mut expected: Vec<&str> = TABLES.to_vec();
    expected.sort_unstable();
    assert_eq!(tables, expected);
    for table in TABLES {
        let verified: Value =
            serde_json::from_str(&check(&folder, &["verify-manifests", table])).unwrap();
        assert_eq!(verified["violations"], serde_json::json!([]), "{table}");
        let found = read(&folder, &[table]);
        let count = folder.stdout(&[
            "sql",
            "--format",
            "csv",
            &format!("SELECT count(*) AS n FROM {table}"),
        ]);
        assert_eq!(count, format!("n\n{}\n", found["rows"].as_array().unwrap().len()), "{table}");
        // Time travel: the first snapshots, by all three.
        for snapshot in found["snapshots"].as_array().unwrap().iter().take(3) {
            let id = &snapshot["id"].to_string();
            let then = read(&folder, &[table, "--snapshot", id]);
            let sql = format!("SELECT count(*) AS n FROM {table} VERSION AS OF {id}");
            let count = folder.stdout(&["sql", "--format", "csv", &sql]);
            assert_eq!(
                count,
                format!("n\n{}\n", then["rows"].as_array().unwrap().len()),
                "{table} {id}"
            );
        }
    }
    // Row by row, cell by cell, where the texts are the same in all three.
    let found = read(&folder, &["silver.orders"]);
    let columns: Vec<&str> =
        found["columns"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let index = |name: &str| columns.iter().position(|c| *c == name).unwrap();
    let (id, name, paid) = (index("id"), index("name"), index("paid"));
    let mut rows: Vec<Vec<Value>> = found["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| vec![row[id].clone(), row[name].clone(), row[paid].clone()])
        .collect();
    rows.sort_by_key(|row| format!("{row:?}"));
    let sql = "SELECT CAST(id AS string) AS a, name AS b, coalesce(CAST(paid AS string), 'null') AS c FROM silver.orders";
    let mut own = own_rows(&folder, sql);
    for row in own.iter_mut().filter(|row| row[2] == "null") {
        row[2] = Value::Null;
    }
    own.sort_by_key(|row| format!("{row:?}"));
    assert_eq!(rows, own);
}

/// Quarantine is a table like any other: a rule, and the row as JSON.
#[test]
fn pyiceberg_and_duckdb_read_quarantine() {
    let gold = "[[pipeline.gold]]";
    let expect = "[[pipeline.silver.expect]]\nname = \"small\"\nsql = \"id < 3\"\n";
    let config = Folder::config("settle = \"0s\"", "").replace(gold, &format!("{expect}{gold}"));
    let folder = Folder::new(&config);
    let rows =
        "1,a,2026-01-31T10:00:00Z\n3,\"b\"\"ö\",2026-01-31T10:00:00Z\nx,c,2026-01-31T10:00:00Z\n";
    folder.write("raw/0.csv", "id,name,updated\n2,z,2026-01-31T09:00:00Z\n");
    folder.run(&["run", "--until-idle", "--lenient"]);
    folder.write("raw/1.csv", &format!("id,name,updated\n{rows}"));
    folder.run(&["run", "--until-idle", "--lenient"]);
    let table = "silver.orders_quarantine";
    let rows = cells(&folder, table, &["rule", "bronze_row", "_source_row"]).into_iter();
    let mut rows: Vec<(String, String, Value)> = rows
        .map(|cells| {
            let bronze: Value = serde_json::from_str(cells[1].as_str().unwrap()).unwrap();
            (cells[2].to_string(), cells[0].to_string(), bronze["name"].clone())
        })
        .collect();
    rows.sort_by_key(|(number, ..)| number.clone());
    let names: Vec<&str> = rows.iter().map(|(.., name)| name.as_str().unwrap()).collect();
    assert_eq!(names, ["b\"ö", "c"]);
    assert!(rows[0].1.contains("small") && rows[1].1.contains("rescued"), "{rows:?}");
}

/// After any history of merges in either mode all three read the same rows, and the manifests are as they should be.
#[test]
fn pyiceberg_and_duckdb_apply_the_deletes_of_merges_in_either_mode() {
    let config = |mode: &str| {
        let key = "keys     = [\"id\"]";
        Folder::config("settle = \"0s\"", "").replace(key, &format!("{key}\nmode     = \"{mode}\""))
    };
    let folder = Folder::new(&config("merge-on-read"));
    let rows = |ids: &mut dyn Iterator<Item = u32>, name: &str, hour: u32| {
        let rows = ids.map(|id| format!("{id},{name},2026-01-31T{hour:02}:00:00Z\n"));
        format!("id,name,updated\n{}", rows.collect::<String>())
    };
    folder.write("raw/0.csv", &rows(&mut (0..2_000), "first", 0));
    folder.run(&["run", "--until-idle", "--lenient"]);
    for number in 1..=6_u32 {
        let mode = if number == 4 { "copy-on-write" } else { "merge-on-read" };
        folder.write("silversmith.toml", &config(mode));
        let mut some = (0..2_200).filter(|id| id % 31 == number);
        folder.write(&format!("raw/{number}.csv"), &rows(&mut some, &format!("n{number}"), number));
        folder.run(&["run", "--until-idle", "--lenient"]);
        let mut rows = cells(&folder, "silver.orders", &["id", "name"]);
        rows.sort_by_key(|row| format!("{row:?}"));
        let sql = "SELECT CAST(id AS string) AS a, name AS b FROM silver.orders";
        assert_eq!(rows, own_rows(&folder, sql), "merge {number}");
        let all = 2_000 + (2_000..2_200).filter(|id| (1..=number).contains(&(id % 31))).count();
        assert_eq!(rows.len(), all, "merge {number}");
    }
}

/// Every version of a key, in either mode and in parts by what changes: the same in all three.
#[test]
fn pyiceberg_and_duckdb_read_the_same_history() {
    let config = |mode: &str| {
        let key = "keys     = [\"id\"]";
        let more = format!(
            "history = \"scd2\"\nmode = \"{mode}\"\ndelete_when = \"name = '-'\"\npartition_by = [\"is_current\"]"
        );
        Folder::config("settle = \"0s\"", "").replace(key, &format!("{key}\n{more}"))
    };
    let folder = Folder::new(&config("merge-on-read"));
    for number in 1..=5_i64 {
        let mode = if number == 3 { "copy-on-write" } else { "merge-on-read" };
        folder.write("silversmith.toml", &config(mode));
        // A later file brings older rows, too.
        let rows = (0..300_i64).filter(|id| id % 7 != number).map(|id| {
            let name = if id % 11 == number { "-".to_owned() } else { format!("n{number}") };
            format!("{id},{name},{}\n", 100 + number * (id % 5 - 2))
        });
        folder.write(
            &format!("raw/{number}.csv"),
            &format!("id,name,updated\n{}", rows.collect::<String>()),
        );
        folder.run(&["run", "--until-idle", "--lenient"]);
        let columns = ["id", "name", "valid_from", "valid_to", "is_current"];
        let mut rows = cells(&folder, "silver.orders", &columns);
        for row in rows.iter_mut().filter(|row| row[3].is_null()) {
            row[3] = "null".into();
        }
        rows.sort_by_key(|row| format!("{row:?}"));
        let sql = "SELECT CAST(id AS string) AS a, name AS b, CAST(valid_from AS string) AS c,
          coalesce(CAST(valid_to AS string), 'null') AS d, CAST(is_current AS string) AS e
          FROM silver.orders";
        assert_eq!(rows, own_rows(&folder, sql), "merge {number}");
        let current =
            "SELECT count(*) - count(DISTINCT id) AS n FROM silver.orders WHERE is_current";
        assert_eq!(folder.stdout(&["sql", "--format", "csv", current]), "n\n0\n");
    }
}

#[test]
fn pyiceberg_appends_between_silversmiths_commits_and_expires_and_nothing_breaks() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    wave(&folder, 1);
    folder.write(
        "appended.json",
        r#"[{"id": 900, "name": "appended", "updated": "2026-02-01T00:00:00Z"}]"#,
    );
    let json = folder.path().join("appended.json").display().to_string();
    check(&folder, &["append", "bronze.orders", "--json", &json]);
    wave(&folder, 2);
    let merged =
        folder.stdout(&["sql", "--format", "csv", "SELECT name FROM silver.orders WHERE id = 900"]);
    assert_eq!(merged, "name\nappended\n");
    for table in TABLES {
        check(&folder, &["expire", table, "--keep-last"]);
    }
    wave(&folder, 3);
    check(&folder, &["append", "bronze.orders", "--json", &json]);
    wave(&folder, 4);
    let doubled = folder.stdout(&["sql", "--format", "csv", "SELECT _source_uri, _source_row FROM bronze.orders WHERE _source_uri IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1"]);
    assert_eq!(doubled, "_source_uri,_source_row\n");
    for table in TABLES {
        read(&folder, &[table]);
        check(&folder, &["verify-manifests", table]);
    }
}

/// On Postgres, too: the implementation is the same, and PyIceberg opens the lake by name.
#[test]
fn a_lake_on_postgres_is_opened_by_name() {
    let url = crate::contract::postgres_url();
    #[allow(clippy::disallowed_methods, reason = "a name that no other run uses")]
    let name = format!("lake_{}", uuid::Uuid::new_v4().simple());
    let config = Folder::config("settle = \"0s\"", "")
        .replace("sqlite:lake/catalog.db", &url)
        .replace("\"lake\"", &format!("\"{name}\""));
    let folder = Folder::new(&config);
    wave(&folder, 1);
    wave(&folder, 2);
    for table in TABLES {
        check_on(&url, &name, &folder, &["read", table]);
    }
}

/// Engines skip files by the bounds of their columns: a long text in a file of several row groups is found.
#[test]
fn a_filter_of_another_engine_finds_a_long_text() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    let long = format!("z{}", "é".repeat(80));
    let mut rows = "id,name,updated\n".to_owned();
    for id in 0..140_000 {
        rows.push_str(&format!("{id},a{id},2026-01-31T10:00:00Z\n"));
    }
    rows.push_str(&format!("900000,{long},2026-01-31T10:00:00Z\n"));
    folder.write("raw/long.csv", &rows);
    folder.run(&["run", "--until-idle", "--lenient"]);
    for table in ["bronze.orders", "silver.orders"] {
        let found = check(&folder, &["find", table, "--column", "name", "--value", &long]);
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found, serde_json::json!({"pyiceberg": 1, "duckdb": 1}), "{table}");
        check(&folder, &["verify-manifests", table]);
    }
}

/// Every transform: the partition values that the manifests name are those that PyIceberg computes from the rows, and
/// both engines read the same, before and after the partitioning has changed.
#[test]
fn partitioned_tables_are_read_by_other_engines() {
    let fields = |bronze: &str, silver: &str| {
        Folder::config("settle = \"0s\"", "max_objects = 1")
            .replace("[pipeline.bronze]", &format!("[pipeline.bronze]\npartition_by = [{bronze}]"))
            .replace("[pipeline.silver]", &format!("[pipeline.silver]\npartition_by = [{silver}]"))
    };
    let configs = [
        fields("\"day(_event_time)\", \"paid\"", "\"bucket(4, id)\""),
        fields("\"truncate(6, name)\", \"year(updated)\"", "\"month(day)\", \"bucket(3, name)\""),
        fields("\"hour(updated)\", \"truncate(10, id)\", \"bucket(2, day)\"", "\"name\""),
    ];
    let folder = Folder::new(&configs[0]);
    for (number, config) in configs.iter().enumerate() {
        folder.write("silversmith.toml", config);
        wave(&folder, number + 1);
    }
    for table in TABLES {
        check(&folder, &["verify-manifests", table]);
        read(&folder, &[table]);
    }
    let specs = folder.stdout(&[
        "sql",
        "--format",
        "csv",
        "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM silver.orders",
    ]);
    let found = read(&folder, &["silver.orders"]);
    let rows = found["rows"].as_array().unwrap().len();
    assert_eq!(specs, format!("n,ids\n{rows},{rows}\n"));
}
