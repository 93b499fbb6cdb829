//! Parquet files: their values keep their types, beside files of text in one table.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use parquet::arrow::ArrowWriter;

use crate::support::{ORDERS, World, at};

fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(vec![], batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn longs(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[tokio::test]
async fn files_of_every_format_are_one_table() {
    let world = World::new(ORDERS);
    world.put("1.csv", "id,amount,updated\n1,1.5,2026-01-01\n2,2.5,2026-01-01\n", 0);
    world.put("2.json", "{\"id\":2,\"amount\":20.25,\"updated\":\"2026-01-02\"}\n", 1);
    let parquet = file(vec![
        ("ID", Arc::new(Int32Array::from(vec![1, 3])) as ArrayRef),
        ("amount", Arc::new(Float64Array::from(vec![Some(0.1), None]))),
        ("updated", Arc::new(Date32Array::from(vec![20_456, 20_457]))),
        ("note", Arc::new(StringArray::from(vec!["007", "x"]))),
    ]);
    world.raw.put("raw/3.parquet", parquet, at(11, 2));
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.rows, report.rescued), (3, 5, 0));
    world.silver().await;
    let rows =
        "SELECT id, amount, updated, note, _source_uri, _source_row FROM silver.orders ORDER BY id";
    assert_eq!(
        world.sql(rows).await,
        [
            "1|0.1|2026-01-03|007|raw/3.parquet|1",
            "2|20.25|2026-01-02|null|raw/2.json|1",
            "3|null|2026-01-04|x|raw/3.parquet|2"
        ]
    );
    assert_eq!(
        world.columns("bronze.orders").await,
        ["id long", "amount double", "updated date", "note string"]
    );
}

/// The file's types are the table's, and what another type cannot hold is rescued.
#[tokio::test]
async fn a_value_of_another_type_is_exact_or_rescued() {
    let world = World::new(ORDERS);
    let of =
        |ids: ArrayRef, x: ArrayRef| file(vec![("id", ids), ("x", x), ("updated", longs(&[1, 1]))]);
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_500]));
    world.raw.put("raw/1.parquet", of(longs(&[1, 2]), nanos), at(11, 0));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["2026-01-31 10:00:00", "soon"]));
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["3", "four"]));
    world.raw.put("raw/2.parquet", of(ids, texts), at(11, 1));
    let ids: ArrayRef = Arc::new(Float64Array::from(vec![5.0, 6.5]));
    world.raw.put("raw/3.parquet", of(ids, longs(&[7, 8])), at(11, 2));
    world.bronze().await;
    assert_eq!(world.columns("bronze.orders").await, ["id long", "x timestamp", "updated long"]);
    assert_eq!(
        world
            .sql("SELECT id, x, _rescued FROM bronze.orders ORDER BY _source_uri, _source_row")
            .await,
        [
            "1|1970-01-01T00:00:00.000001|null",
            r#"2|null|{"x":"1970-01-01T00:00:00.000001500"}"#,
            "3|2026-01-31T10:00:00|null",
            r#"null|null|{"id":"four","x":"soon"}"#,
            r#"5|null|{"x":"7"}"#,
            r#"null|null|{"id":"6.5","x":"8"}"#,
        ]
    );
    world.silver().await;
    assert_eq!(world.sql("SELECT count(*), sum(id) FROM silver.orders").await, ["4|11"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_rejected_and_costs_no_other() {
    let world = World::new(ORDERS);
    let whole = file(vec![("id", longs(&[1])), ("updated", longs(&[1]))]);
    let (mut encrypted, mut damaged) = (whole.clone(), whole.clone());
    let end = whole.len() - 4;
    encrypted[end..].copy_from_slice(b"PARE");
    damaged[4..60].fill(0xFF);
    let other = file(vec![("name", longs(&[1]))]);
    for (name, bytes) in [
        ("1", whole.clone()),
        ("a", encrypted),
        ("b", damaged),
        ("c", whole[..end].to_vec()),
        ("d", b"id,updated\n1,1\n".to_vec()),
        ("e", other),
    ] {
        world.raw.put(&format!("raw/{name}.parquet"), bytes, at(11, 0));
    }
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (1, 5));
    let reasons = "SELECT source_uri, reason FROM bronze.orders_objects WHERE outcome = 'rejected' ORDER BY source_uri";
    assert_eq!(
        world.sql(reasons).await,
        [
            "raw/a.parquet|encrypted",
            "raw/b.parquet|corrupt",
            "raw/c.parquet|corrupt",
            "raw/d.parquet|not-text",
            "raw/e.parquet|other-columns",
        ]
    );
}
