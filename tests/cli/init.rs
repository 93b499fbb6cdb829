//! `init`: from samples to a configuration that runs.

use super::{Folder, redacted};

/// The delimiter is that of the sample; a measure is no key, and without a key there is no silver.
#[test]
fn init_sees_the_delimiter_and_guesses_no_measure() {
    let folder = Folder::new("");
    std::fs::remove_file(folder.path().join("silversmith.toml")).unwrap();
    folder.write("raw/stock.csv", "name;qty\nbolt;1\nnut;2\n");
    folder.run(&["init", "raw/stock.csv"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    assert!(written.contains("delimiter = \";\"\n") && written.contains("\n# keys     = []\n"));
    folder.run(&["run", "--until-idle", "--lenient"]);
    let rows = folder.stdout(&["sql", "--format", "csv", "SELECT name, qty FROM bronze.stock"]);
    assert_eq!(rows, "name,qty\nbolt,1\nnut,2\n");
    let packed = zstd::encode_all("id,qty\n1,7\n".as_bytes(), 1).unwrap();
    std::fs::write(folder.path().join("raw/parts.csv.zst"), packed).unwrap();
    folder.run(&["init", "--force", "raw/parts.csv.zst"]);
    folder.run(&["run", "--until-idle", "--lenient"]);
    let rows = folder.stdout(&["sql", "--format", "csv", "SELECT id, qty FROM silver.parts"]);
    assert_eq!(rows, "id,qty\n1,7\n");
    folder.write("raw/visits.json", "{\"id\":1,\"at\":\"2026-01-31T10:00:00Z\",\"ms\":1.5}\n");
    folder.run(&["init", "--force", "raw/visits.json"]);
    folder.run(&["run", "--until-idle", "--lenient"]);
    let rows = folder.stdout(&["sql", "--format", "csv", "SELECT id, ms FROM silver.visits"]);
    assert_eq!(rows, "id,ms\n1,1.5\n");
    let inferred = folder.stdout(&["check", "--infer", "raw/visits.json", "--format", "csv"]);
    assert_eq!(
        inferred,
        "column,type,header,values,decided_by\nid,long,id,1 of 1,it is declared\nat,timestamptz,at,1 of 1,it is declared\nms,double,ms,1 of 1,it is declared\n"
    );
    let ids: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::Int32Array::from(vec![7]));
    let batch = arrow::array::RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let file = std::fs::File::create(folder.path().join("raw/parts.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    folder.run(&["init", "--force", "raw/parts.parquet"]);
    let inferred = folder.stdout(&["check", "--infer", "raw/parts.parquet", "--format", "csv"]);
    assert_eq!(inferred, "column,type,header,values,decided_by\nid,int,id,1 of 1,it is declared\n");
    folder.write("raw/stream-1", "{\"id\":1}{\"id\":2}");
    folder.run(&["init", "--force", "raw/stream-1"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    assert!(written.contains("\nformat = \"json\"\n"), "{written}");
    let refused = folder.seen(&["init", "--force", "raw", "raw/stream-1"]);
    assert!(refused.contains("raw is a folder; name one folder, or files"), "{refused}");
    let refused = folder.seen(&["init", "--force", "s3://bucket/orders/"]);
    assert!(refused.contains("is on S3: copy a file or two to here"), "{refused}");
}

/// Files that are named for days are a feed that is named for its folder, or as one says; each brings its columns.
#[test]
fn init_takes_a_folder_and_names_the_feed() {
    let folder = Folder::new("");
    std::fs::remove_file(folder.path().join("silversmith.toml")).unwrap();
    folder.write("raw/orders/2026-11-01.csv", "id,name\n1,a\n");
    folder.write("raw/orders/2026-11-02.csv", "id,name,city\n2,b,Rome\n");
    folder.run(&["init", "raw/orders"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    for line in [
        "directory = \"raw/orders\"",
        "name   = \"orders\"",
        "source = \"raw/orders/**/*.csv\"",
        "table = \"bronze.orders\"",
        "city = \"string\"",
    ] {
        assert!(written.lines().any(|written| written == line), "{line}: {written}");
    }
    folder.run(&["run", "--until-idle"]);
    let rows = ["sql", "--format", "csv", "SELECT id, city FROM silver.orders ORDER BY id"];
    assert_eq!(folder.stdout(&rows), "id,city\n1,\n2,Rome\n");

    let days = ["raw/orders/2026-11-01.csv", "raw/orders/2026-11-02.csv"];
    folder.run(&["init", "--force", days[0], days[1], "--name", "Sales orders"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    assert!(written.contains("table = \"bronze.sales_orders\"") && written.contains("city"));
}

#[test]
fn init_writes_a_configuration_that_runs() {
    let folder = Folder::new("");
    std::fs::remove_file(folder.path().join("silversmith.toml")).unwrap();
    folder.write("raw/Orders 2026.csv", "Order ID,Customer,Amount,Updated\n1,Ann,9.50,2026-01-31T10:00:00Z\n2,Bob,7.25,2026-01-31T11:00:00Z\n");
    folder.run(&["init", "raw/Orders 2026.csv"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    insta::with_settings!({prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("init", written)
    });
    folder.run(&["check"]);
    folder.run(&["run", "--until-idle", "--lenient"]);
    let rows = folder.stdout(&[
        "sql",
        "--format",
        "csv",
        "SELECT order_id, amount FROM silver.orders ORDER BY 1",
    ]);
    assert_eq!(rows, "order_id,amount\n1,9.50\n2,7.25\n");
    redacted().bind(|| {
        insta::assert_snapshot!("init_again", folder.seen(&["init", "raw/Orders 2026.csv"]))
    });
}
