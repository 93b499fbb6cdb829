//! Raw files as they really are: nothing is lost, nothing is invented, and one cell never stops a table.

use std::io::Write;

use crate::support::counting_store::CountingStore;
use crate::support::{CUSTOMERS, World, at, settings};

async fn outcomes(world: &World) -> Vec<String> {
    world
        .sql("SELECT source_uri, outcome, rows, rescued, reason FROM bronze.customers_objects ORDER BY source_uri")
        .await
}

/// Inches are written with a quote, and one of them swallows the rows behind it in other readers.
#[tokio::test]
async fn a_quote_that_is_not_closed_swallows_no_row() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,updated,note\n1,5,fine\n2,7,6 inch pipe\n3,1,\"6 inch pipe\n4,2,fine\n5,9,fine\n6,3,fine\n", 0);
    world.put("2.csv", "id,updated,note\n11,5,fine\n12,7,\"6 inch pipe\n13,1,fine\n14,2,fine\n15,9,\"8 inch pipe\n16,3,fine\n", 1);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.rows, report.rescued), (2, 12, 3));
    world.silver().await;
    assert_eq!(world.sql("SELECT count(*), sum(id) FROM silver.customers").await, ["12|102"]);
    let numbered =
        "SELECT id, _source_row FROM bronze.customers WHERE _rescued IS NOT NULL ORDER BY id";
    assert_eq!(world.sql(numbered).await, ["3|3", "12|2", "15|5"]);
}

/// Excel's plain "CSV" is Windows-1252: two of three rows have letters that are not UTF-8.
#[tokio::test]
async fn letters_that_are_not_utf_8_cost_their_cell() {
    let world = World::new(CUSTOMERS);
    let bytes = b"id,name,city,updated\n1,Smith,Bath,2024-04-01T09:00:00Z\n2,M\xFCller,K\xF6ln,2024-04-01T09:00:00Z\n3,Dupont,Gen\xE8ve \x96 Carouge,2024-04-01T09:00:00Z\n";
    world.raw.put("raw/people.csv", bytes.to_vec(), at(11, 0));
    world.bronze().await;
    world.silver().await;
    let rows = world.sql("SELECT id, name, city FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|Smith|Bath", "2|null|null", "3|Dupont|null"]);
    assert_eq!(outcomes(&world).await, ["raw/people.csv|ingested|3|2|null"]);
}

/// It is rescued by the table's name of its column, whatever the column's header in the file is.
#[tokio::test]
async fn a_cell_is_rescued_by_the_name_of_its_column() {
    let mapped = "[pipeline.csv.columns]\nname = { from = \"Full Name\" }\n";
    let world = World::new(&format!("{CUSTOMERS}{mapped}"));
    let bytes = b"id,Full Name,updated\n1,M\xFCller,2026-01-01\n2,Ada,2026-01-01\n";
    world.raw.put("raw/people.csv", bytes.to_vec(), at(11, 0));
    world.bronze().await;
    let rows = world.sql("SELECT id, name, _rescued FROM bronze.customers ORDER BY id").await;
    let rescued = r#"{"_problem":"not UTF-8","name":{"base64":"TfxsbGVy"}}"#;
    assert_eq!(rows, [format!("1|null|{rescued}"), "2|Ada|null".to_owned()]);
}

/// A record that is no record, and the header once more, have no key that anything could be said of.
#[tokio::test]
async fn rows_without_a_sure_key_are_counted_and_never_null_keys() {
    let world = World::new(CUSTOMERS);
    let text = "id,updated,note\n1,5,a\n\"2,7,b\nmore\nid,updated,note\n3,1,c\n";
    world.put("1.csv", text, 0);
    world.bronze().await;
    let counts = world.silver().await.counts;
    assert_eq!((counts.inserted, counts.misfits, counts.null_keys, counts.failed), (2, 2, 0, 0));
    assert_eq!(world.sql("SELECT id FROM silver.customers ORDER BY id").await, ["1", "3"]);
}

/// The same letters, where the encoding is declared.
#[tokio::test]
async fn letters_are_read_in_a_declared_encoding() {
    let world = World::new(&CUSTOMERS.replace(
        "[pipeline.bronze]",
        "[pipeline.csv]\nencoding = \"windows-1252\"\n[pipeline.bronze]",
    ));
    let bytes = b"id,name,updated\n2,M\xFCller,2024-04-01\n3,Gen\xE8ve \x96 Carouge,2024-04-01\n";
    world.raw.put("raw/people.csv", bytes.to_vec(), at(11, 0));
    world.raw.put(
        "raw/utf-16.csv",
        [
            b"\xFF\xFE".to_vec(),
            "id,name,updated\n4,名,2024-04-01\n"
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
        ]
        .concat(),
        at(11, 1),
    );
    world.bronze().await;
    let rows = world.sql("SELECT id, name, _rescued FROM bronze.customers ORDER BY id").await;
    assert_eq!(rows, ["2|Müller|null", "3|Genève – Carouge|null", "4|名|null"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Objects are gzip without `.gz`, or have the name and are not.
#[tokio::test]
async fn compressed_files_are_read_whatever_their_names() {
    let world = World::new(CUSTOMERS);
    let file = |first: u32| format!("id,updated\n{first},2026-01-01\n{},2026-01-01\n", first + 1);
    world.put("a-plain.gz.csv", &file(1), 0);
    world.raw.put("raw/b-gzip-inside.csv", gzip(file(3).as_bytes()), at(11, 1));
    world.raw.put("raw/c.csv", zstd::encode_all(file(5).as_bytes(), 1).unwrap(), at(11, 2));
    let mut cut = gzip(file(7).as_bytes());
    cut.truncate(cut.len() - 9);
    world.raw.put("raw/d-cut.csv", cut, at(11, 3));
    let bomb = zstd::encode_all(&*vec![b'0'; 40 * 1024 * 1024], 1).unwrap();
    world.raw.put("raw/e-bomb.csv", bomb, at(11, 4));
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.rows, report.rescued), (3, 6, 0));
    assert_eq!(world.sql("SELECT sum(id) FROM bronze.customers").await, ["21"]);
    let outcomes = outcomes(&world).await;
    assert_eq!(outcomes[3..4], ["raw/d-cut.csv|rejected|0|0|corrupt"]);
    assert!(outcomes[4].starts_with("raw/e-bomb.csv|rejected|"), "{}", outcomes[4]);
}

/// I7: the windows of compressed files have a share of the memory, and wait for it in the order of the batch.
#[tokio::test]
async fn as_many_windows_are_held_as_there_is_memory_for() {
    const FILES: u32 = 6;
    let pipeline = format!("{CUSTOMERS}[worker]\nmemory = \"256MiB\"\n");
    let mut world = World::new(&pipeline);
    let store = CountingStore::new(&world.raw);
    world.rewire(settings(&pipeline), store.clone(), silversmith::pipeline::Intake::Directory);
    // A column that is new has its file read twice.
    world.put("0.csv", "id,note,updated\n0,a,2026-01-01\n", 0);
    world.bronze().await;
    let packed = |file: u32, window: u32| {
        let mut encoder = zstd::Encoder::new(vec![], 1).unwrap();
        encoder.window_log(window).unwrap();
        encoder.write_all(b"id,note,updated\n").unwrap();
        for row in 0..500_u32 {
            let mixed = (file * 500 + row).wrapping_mul(0x9E37_79B9);
            writeln!(encoder, "{},{mixed:08x},2026-01-01", file * 500 + row).unwrap();
        }
        encoder.finish().unwrap()
    };
    for file in 1..=FILES {
        world.raw.put(&format!("raw/{file}.csv"), packed(file, 24), at(11, file));
    }
    assert_eq!(world.bronze().await.ingested, FILES as usize);
    assert_eq!(store.most(), 1, "one window is all the memory for them");
    let rows = world.sql("SELECT count(*), count(DISTINCT note) FROM bronze.customers").await;
    assert_eq!(rows, ["3001|3001"]);
    // A new column: the same object is opened a second time, while it is open.
    world.put("8.csv", "id,more,updated\n0,1,2026-01-01\n", 20);
    let text = format!("id,other,updated\n{}", "1,2,2026-01-01\n".repeat(100));
    let mut encoder = zstd::Encoder::new(vec![], 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(text.as_bytes()).unwrap();
    world.raw.put("raw/9.csv", encoder.finish().unwrap(), at(11, 21));
    assert_eq!(world.bronze().await.ingested, 2);
}

#[tokio::test]
async fn a_file_of_which_every_row_has_another_shape_is_rejected() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,name,updated\n1,a,2026-01-01\n", 0);
    world.put("2.csv", "id,name,updated\n2,b, c,2026-01-01\n3,d,e,2026-01-01\n", 1);
    world.put("3.csv", "id,name,updated\n4,b, c,2026-01-01\n5,d,2026-01-01\n", 2);
    // The header would bring columns: a rejected file brings none.
    world.put("4.csv", "id,odd,updated\n6\n", 3);
    world.bronze().await;
    assert_eq!(
        outcomes(&world).await,
        [
            "raw/1.csv|ingested|1|0|null",
            "raw/2.csv|rejected|0|0|rescued",
            "raw/3.csv|ingested|2|1|null",
            "raw/4.csv|rejected|0|0|rescued",
        ]
    );
    let errors =
        world.sql("SELECT error FROM bronze.customers_objects WHERE source_uri = 'raw/2.csv'");
    assert_eq!(
        errors.await,
        [
            "raw/2.csv: 2 of 2 rows do not fit the header or the types; the first: row 1: 4 fields where the header has 3"
        ]
    );
    assert!(world.table("bronze.customers").await.schema().arrow().index_of("odd").is_err());
}

#[tokio::test]
async fn the_share_of_rows_that_may_be_rescued_is_a_setting() {
    let strict = "[pipeline.bronze]\nmax_rescued = \"40%\"";
    let world = World::new(&CUSTOMERS.replace("[pipeline.bronze]", strict));
    world.put("1.csv", "id,updated\n1,2026-01-01\n2,2026-01-01\n3,2026-01-01\n", 0);
    world.bronze().await;
    world.put("2.csv", "id,updated\nx,2026-01-01\n2,2026-01-01\n3,2026-01-01\n", 1);
    world.put("3.csv", "id,updated\nx,2026-01-01\ny,2026-01-01\n3,2026-01-01\n", 2);
    world.bronze().await;
    assert_eq!(
        outcomes(&world).await,
        [
            "raw/1.csv|ingested|3|0|null",
            "raw/2.csv|ingested|3|1|null",
            "raw/3.csv|rejected|0|0|rescued",
        ]
    );
}

/// A cell in quotes is a text, if an empty one; where its column holds no texts, it means null.
#[tokio::test]
async fn an_empty_cell_in_quotes_is_a_text() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "\"id\",\"name\",\"n\",\"updated\"\n\"1\",\"\",\"\",\"2026-01-01\"\n\"2\",,\"7\",\"2026-01-01\"\n", 0);
    let report = world.bronze().await;
    assert_eq!((report.rows, report.rescued), (2, 0));
    let rows = world.sql("SELECT id, name IS NULL, n FROM bronze.customers ORDER BY id").await;
    assert_eq!(rows, ["1|false|null", "2|true|7"]);
}

/// A cast that fails sets its row aside, whether `select` or `delete_when` has it; the others go on.
#[tokio::test]
async fn a_cell_on_which_the_sql_fails_does_not_stop_silver() {
    let sql = "select = \"SELECT id, CAST(amount AS int) AS amount, updated FROM bronze\"\ndelete_when = \"CAST(flag AS int) = 1\"\n";
    let world = World::new(&format!("{CUSTOMERS}{sql}"));
    world.put(
        "1.csv",
        "id,amount,flag,updated\n1,10,0,2026-01-01\n2,abc,0,2026-01-01\n3,30,x,2026-01-01\n",
        0,
    );
    world.put("2.csv", "id,amount,flag,updated\n4,40,0,2026-01-01\n1,11,1,2026-01-02\n", 1);
    world.bronze().await;
    let report = world.silver().await;
    assert_eq!((report.counts.failed, report.counts.inserted), (2, 1));
    let rows = "SELECT id, amount FROM silver.customers ORDER BY id";
    assert_eq!(world.sql(rows).await, ["4|40"]);
    let silver = world.table("silver.customers").await;
    assert_eq!(silver.current().unwrap().summary["silversmith.rows-failed"], "2");
    let refused = ["sql|raw/1.csv|2", "sql|raw/1.csv|3"];
    assert_eq!(world.quarantine().await, refused);
    world.put("3.csv", "id,amount,flag,updated\n2,20,0,2026-01-03\n", 2);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.failed, 0);
    assert_eq!(world.sql(rows).await, ["2|20", "4|40"]);
    let rebuilt = world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
    assert_eq!((rebuilt.counts.failed, rebuilt.counts.inserted), (2, 2));
    assert_eq!(world.sql(rows).await, ["2|20", "4|40"], "the same rows, merged at once");
    assert_eq!(world.quarantine().await, refused);
    // What the runbook says to do.
    let fixed = sql.replace("CAST(", "try_cast(");
    let world = world.reconfigured(&format!("{CUSTOMERS}{fixed}"));
    let rebuilt = world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
    assert_eq!(rebuilt.counts.failed, 0);
    assert_eq!(world.quarantine().await, Vec::<String>::new());
}
