//! Spark, with Apache's own implementation of Iceberg: it opens a lake by name, reads what the others read, and
//! writes and maintains beside silversmith.

mod foreign;
mod reading;
mod upkeep;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::Folder;

/// A row as text, cell by cell.
type Cells = Vec<Option<String>>;

/// What Spark answers to a statement.
#[derive(Debug, Deserialize)]
struct Answer {
    columns: Vec<String>,
    rows: Vec<Cells>,
}

/// Spark in a session of its own, with the lake of a folder as its catalog.
struct Spark {
    catalog: Value,
}

impl Spark {
    fn on(folder: &Folder) -> Self {
        let catalog = folder.path().join("lake/catalog.db");
        Self::by_name("lake", &format!("jdbc:sqlite:{}", catalog.display()), folder)
    }

    fn by_name(name: &str, uri: &str, folder: &Folder) -> Self {
        let warehouse = format!("file://{}", folder.path().join("lake/warehouse").display());
        Self { catalog: json!({"name": name, "uri": uri, "warehouse": warehouse}) }
    }

    /// Runs statements, all of which must succeed; the last one's answer.
    fn run(&self, statements: &[&str]) -> Answer {
        let answer = self.asked(statements);
        answer.unwrap_or_else(|error| panic!("{statements:?}: {error}"))
    }

    fn asked(&self, statements: &[&str]) -> Result<Answer, String> {
        #[allow(clippy::disallowed_methods, reason = "the test suite's own setting")]
        let url = std::env::var("SILVERSMITH_TEST_SPARK")
            .expect("SILVERSMITH_TEST_SPARK is not set: run the suite by `bash tests/run`");
        let body = json!({"catalog": self.catalog, "statements": statements});
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (status, text) = runtime.block_on(async {
            silversmith::tls::use_ring();
            let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
            (answer.status(), answer.text().await.unwrap())
        });
        if !status.is_success() {
            return Err(text);
        }
        let mut answers: Vec<Answer> = serde_json::from_str(&text).unwrap();
        Ok(answers.pop().unwrap())
    }

    /// The one cell of an answer.
    fn one(&self, statement: &str) -> String {
        let answer = self.run(&[statement]);
        assert_eq!((answer.rows.len(), answer.columns.len()), (1, 1), "{statement}");
        answer.rows[0][0].clone().unwrap()
    }

    /// The first column of an answer, sorted.
    fn list(&self, statement: &str) -> Vec<String> {
        let rows = self.run(&[statement]).rows;
        let mut list: Vec<String> = rows.into_iter().map(|row| row[0].clone().unwrap()).collect();
        list.sort_unstable();
        list
    }
}

/// What silversmith reads: each row by the names of its columns.
fn own(folder: &Folder, sql: &str) -> Vec<BTreeMap<String, String>> {
    let text = folder.stdout(&["sql", "--format", "json", sql]);
    let rows = text.lines().map(|line| {
        let row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let cells = row.into_iter().filter(|(_, cell)| !cell.is_null());
        cells.map(|(name, cell)| (name, cell_text(&cell))).collect()
    });
    rows.collect()
}

/// A cell in the form of the other engines' text.
fn cell_text(cell: &Value) -> String {
    let Value::String(text) = cell else { return cell.to_string() };
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.to_utc().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        Err(_) => text.clone(),
    }
}

/// The first column of what silversmith reads, sorted.
fn own_list(folder: &Folder, sql: &str) -> Vec<String> {
    let rows = own(folder, sql).into_iter();
    let mut list: Vec<String> = rows.map(|row| row.into_values().next().unwrap()).collect();
    list.sort_unstable();
    list
}

/// All four read the same rows from each of these tables, and the manifests are as the specification says. The
/// numbers of rows.
fn agree(folder: &Folder, tables: &[&str]) -> Vec<usize> {
    let found: Value =
        serde_json::from_str(&super::check(folder, &[&["check"], tables].concat())).unwrap();
    let spark = Spark::on(folder);
    tables.iter().map(|table| agreed(folder, &spark, table, &found[table])).collect()
}

/// How many rows a table has for PyIceberg and DuckDB, which `found` them, for Spark and for silversmith.
fn agreed(folder: &Folder, spark: &Spark, table: &str, found: &Value) -> usize {
    assert_eq!(found["violations"], json!([]), "{table}");
    let columns: Vec<String> = serde_json::from_value(found["columns"].clone()).unwrap();
    let mut theirs: Vec<Cells> = serde_json::from_value(found["rows"].clone()).unwrap();
    theirs.sort();
    let mut by_spark = spark.run(&[&format!("SELECT * FROM {table}")]);
    by_spark.rows.sort();
    assert_eq!(by_spark.columns, columns, "{table}");
    assert_eq!(by_spark.rows, theirs, "{table}: Spark, and PyIceberg and DuckDB");
    let mut rows: Vec<Cells> = own(folder, &format!("SELECT * FROM {table}"))
        .into_iter()
        .map(|mut row| columns.iter().map(|column| row.remove(column)).collect())
        .collect();
    rows.sort();
    assert_eq!(rows, theirs, "{table}: silversmith, and the others");
    rows.len()
}
