//! `sql` and `objects --of`: what they answer, and how they meet a wrong name.

use super::{Folder, redacted};

/// Tables and columns are listed, several statements are answered, and a wrong name is met with the right one.
#[test]
fn sql_shows_what_there_is() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    folder.write("raw/1.csv", "id,name,updated\n1,a,2026-01-01\n2,,2026-01-01\n");
    folder.run(&["run", "--until-idle"]);
    redacted().bind(|| {
        insta::assert_snapshot!(
            "sql_shows",
            folder.seen(&["sql", "SHOW TABLES; SHOW TABLES IN gold; DESCRIBE silver.orders"])
        );
        insta::assert_snapshot!("sql_no_table", folder.seen(&["sql", "SELECT * FROM order"]));
        insta::assert_snapshot!(
            "sql_no_such",
            folder.seen(&["sql", "SELECT 1 FROM sliver.orders"])
        );
        insta::assert_snapshot!(
            "sql_no_column",
            folder.seen(&["sql", "SELECT nam FROM silver.orders"])
        );
    });
    let json = folder.stdout(&[
        "sql",
        "--format",
        "json",
        "SELECT id, name FROM silver.orders ORDER BY id",
    ]);
    assert_eq!(json, "{\"id\":1,\"name\":\"a\"}\n{\"id\":2,\"name\":null}\n");
    let sql = "SELECT silver.orders.id FROM silver.orders JOIN bronze.orders b ON b.id = silver.orders.id \
               WHERE orders.id = 1";
    assert_eq!(folder.stdout(&["sql", "--format", "csv", sql]), "id\n1\n");
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'gold'";
    assert_eq!(folder.stdout(&["sql", "--format", "csv", tables]), "table_name\norders\n");
    folder.write("report.sql", "SELECT count(*) AS n FROM bronze.orders;\nSELECT 2 AS m;\n");
    assert_eq!(folder.stdout(&["sql", "--file", "report.sql", "--format", "csv"]), "n\n2\nm\n2\n");
    assert_eq!(folder.piped("SELECT 3 AS x", &["sql", "--format", "csv"]), "x\n3\n");

    // Ids of snapshots are taken back as JSON has them, and properties are an object.
    let line = folder.stdout(&["history", "bronze.orders", "--limit", "1", "--format", "json"]);
    let snapshot: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(snapshot["marks"]["batch-id"].is_string(), "{line}");
    let id = snapshot["snapshot_id"].to_string();
    assert!(id.starts_with('"'), "{id}");
    let sql =
        format!("SELECT count(*) AS n FROM bronze.orders VERSION AS OF {}", id.replace('"', "'"));
    assert_eq!(folder.stdout(&["sql", "--format", "csv", &sql]), "n\n2\n");
    let changes = [
        "sql",
        "--changes",
        "bronze.orders",
        "--from",
        &id,
        "--format",
        "csv",
        "SELECT count(*) AS n FROM changes",
    ];
    assert_eq!(folder.stdout(&changes), "n\n0\n");
}

/// From a row of silver back to its file, the row in it, its batch and the snapshots.
#[test]
fn a_row_is_traced_to_its_file() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", "max_objects = 1"));
    for (file, rows) in
        [("1", "1,a,2026-01-01\n2,b,2026-01-01\n"), ("2", "3,c,2026-01-01\n1,A,2026-01-02\n")]
    {
        folder.write(&format!("raw/{file}.csv"), &format!("id,name,updated\n{rows}"));
        folder.run(&["run", "--until-idle"]);
    }
    let traced = |condition: &str| -> Vec<serde_json::Value> {
        let args = ["objects", "--of", "silver.orders", "--where", condition, "--format", "json"];
        folder.stdout(&args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let sql = |sql: &str| folder.stdout(&["sql", "--format", "csv", sql]);
    let snapshot = |table: &str, nth: usize| -> i64 {
        let sql =
            sql(&format!("SELECT snapshot_id FROM {table}.snapshots ORDER BY sequence_number"));
        sql.lines().nth(nth).unwrap().parse().unwrap()
    };
    for (id, file, row, nth) in [(1, "2", 2, 2), (2, "1", 2, 1), (3, "2", 1, 2)] {
        let [found] = traced(&format!("id = {id}")).try_into().unwrap();
        let uri = found["_source_uri"].as_str().unwrap();
        assert!(uri.ends_with(&format!("raw/{file}.csv")), "{found}");
        assert_eq!((&found["id"], &found["_source_row"]), (&id.into(), &row.into()));
        assert_eq!(found["bronze_snapshot"], snapshot("bronze.orders", nth), "{found}");
        assert_eq!(found["silver_snapshot"], snapshot("silver.orders", nth), "{found}");
        assert!(found["batch_id"].is_string() && found["silver_merged_at"].is_string());
    }
    assert_eq!(traced("name = 'nobody'"), Vec::<serde_json::Value>::new());
    let seen = folder.seen(&["objects", "--of", "gold.orders"]);
    assert!(seen.contains("gold.orders is neither bronze nor silver of a pipeline"), "{seen}");
}
