//! Other engines read every table, agree, and write beside silversmith: PyIceberg and DuckDB.

mod dialects;

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
    folder.run(&["run", "--until-idle"]);
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
    folder.run(&["run", "--until-idle"]);
    for table in ["bronze.orders", "silver.orders"] {
        let found = check(&folder, &["find", table, "--column", "name", "--value", &long]);
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found, serde_json::json!({"pyiceberg": 1, "duckdb": 1}), "{table}");
        check(&folder, &["verify-manifests", table]);
    }
}
