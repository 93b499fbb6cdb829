//! What PyArrow and DuckDB write as Parquet and JSON is in the table as they wrote it, in whatever way.

use std::process::Command;

use serde_json::Value;

use super::{python, read};
use crate::cli::Folder;

/// The columns in the order of the script's rows, by names whose order is the same.
const ROWS: &str = "SELECT id AS a, small AS b, x AS c, CAST(amount AS varchar) AS d, name AS e, \
     CAST(day AS varchar) AS f, arrow_cast(at, 'Int64') AS g, tags AS h FROM bronze.orders ORDER BY id";

#[test]
fn files_of_other_writers_are_read_as_they_were_written() {
    let config = Folder::config("settle = \"0s\"", "max_objects = 100");
    let config = config.replace("raw/**/*.csv", "raw/**/*").replace("\"updated\"", "\"at\"");
    let folder = Folder::new(&config);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/formats.py");
    let written = Command::new(python()).arg(script).arg(folder.path().join("raw")).output();
    let written = written.unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    folder.run(&["run", "--until-idle", "--lenient"]);
    let failed = folder.stdout(&["objects", "--failed", "--format", "json"]);
    assert_eq!(failed, "", "every file is ingested");
    let expected = String::from_utf8(written.stdout).unwrap();
    let expected = expected.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = folder.stdout(&["sql", "--format", "json", ROWS]);
    let found = found.lines().map(|line| {
        let row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        // A cell that is null is left out.
        ["a", "b", "c", "d", "e", "f", "g", "h"]
            .map(|key| row.get(key).cloned())
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect::<Value>()
    });
    let (expected, found): (Vec<Value>, Vec<Value>) = (expected.collect(), found.collect());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    for table in ["bronze.orders", "silver.orders"] {
        let rows = read(&folder, &[table])["rows"].as_array().unwrap().len();
        assert_eq!(rows, expected.len(), "PyIceberg and DuckDB read {table}");
    }
}
