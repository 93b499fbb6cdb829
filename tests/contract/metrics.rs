//! Column metrics: a bound contains every value of its column, whatever the values and the row groups.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, RecordBatch, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use iceberg::spec::{DataFile, DataFileBuilder, Datum, PrimitiveType};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use silversmith::lake::read::scan::Bounds;
use silversmith::lake::write::FileRef;
use silversmith::lake::write::data::DataWriter;
use silversmith::lake::{Change, CommitOutcome, CommitProperties, Properties, Table, Uncommitted};
use silversmith::telemetry::metrics::Layer;

use crate::support::{CUSTOMERS, World};

/// One row; every column is null where it is none.
type Row = (Option<String>, Option<i64>, Option<f64>, Option<bool>);

fn texts() -> impl Strategy<Value = String> {
    let unit = prop_oneof![
        Just("a"),
        Just("z"),
        Just("é"),
        Just("\u{D7FF}"),
        Just("\u{E000}"),
        Just("\u{10FFFF}")
    ];
    prop_oneof![
        Just(String::new()),
        "[a-c]{1,3}",
        (unit.clone(), 0..100_usize, unit).prop_map(|(a, n, b)| format!("{}{b}", a.repeat(n))),
    ]
}

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(0.0),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY)
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let some = 0.8;
    (
        proptest::option::weighted(some, texts()),
        proptest::option::weighted(some, any::<i64>()),
        proptest::option::weighted(some, floats()),
        proptest::option::weighted(some, any::<bool>()),
    )
}

const DAY: i64 = 86_400_000_000;

fn batch(rows: &[Row], schema: &arrow::datatypes::SchemaRef) -> RecordBatch {
    let longs = || rows.iter().map(|r| r.1);
    let times = longs().map(|v| v.map(|v| v % (1 << 40))).collect::<TimestampMicrosecondArray>();
    let decimals = longs().map(|v| v.map(i128::from)).collect::<Decimal128Array>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0.as_deref()).collect::<StringArray>()),
        Arc::new(longs().collect::<Int64Array>()),
        Arc::new(longs().map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.2.map(|v| v as f32)).collect::<Float32Array>()),
        Arc::new(rows.iter().map(|r| r.3).collect::<BooleanArray>()),
        Arc::new(longs().map(|v| v.map(|v| (v % 100_000) as i32)).collect::<Date32Array>()),
        Arc::new(times.with_timezone("+00:00")),
        Arc::new(decimals.with_precision_and_scale(30, 4).unwrap()),
        Arc::new(longs().map(|v| v.map(|v| v.rem_euclid(DAY))).collect::<Time64MicrosecondArray>()),
    ];
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

const NAMES: [&str; 10] =
    ["text", "long", "int", "double", "float", "flag", "day", "time", "price", "clock"];

/// The values of a column as Iceberg compares them, NaN left out.
fn values(rows: &[Row], name: &str) -> Vec<Datum> {
    let long = |of: &dyn Fn(i64) -> Datum| rows.iter().filter_map(|r| r.1).map(of).collect();
    let double = |of: &dyn Fn(f64) -> Datum| {
        rows.iter().filter_map(|r| r.2).filter(|v| !v.is_nan()).map(of).collect()
    };
    let price = PrimitiveType::Decimal { precision: 30, scale: 4 };
    match name {
        "text" => rows.iter().filter_map(|r| r.0.as_ref()).map(Datum::string).collect(),
        "long" => long(&Datum::long),
        "int" => long(&|v| Datum::int(v as i32)),
        "double" => double(&Datum::double),
        "float" => double(&|v| Datum::float(v as f32)),
        "flag" => rows.iter().filter_map(|r| r.3).map(Datum::bool).collect(),
        "day" => long(&|v| Datum::date((v % 100_000) as i32)),
        "time" => long(&|v| Datum::timestamptz_micros(v % (1 << 40))),
        "price" => {
            long(&|v| Datum::try_from_bytes(&i128::from(v).to_be_bytes(), price.clone()).unwrap())
        }
        _ => long(&|v| Datum::time_micros(v.rem_euclid(DAY)).unwrap()),
    }
}

/// A table whose row groups are as small as the batches that are written.
async fn table_of_small_groups(world: &World) -> Table {
    let first = batch(&[], &unwritten_schema());
    let name = "metrics.table".parse().unwrap();
    world.lake().find_or_create(&name, &first.schema(), None).await.unwrap();
    world.set_property("metrics.table", "write.parquet.row-group-size-bytes", "1").await;
    world.table("metrics.table").await
}

fn unwritten_schema() -> arrow::datatypes::SchemaRef {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    let kinds = [
        DataType::Utf8,
        DataType::Int64,
        DataType::Int32,
        DataType::Float64,
        DataType::Float32,
        DataType::Boolean,
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::Decimal128(30, 4),
        DataType::Time64(TimeUnit::Microsecond),
    ];
    let fields = NAMES.iter().zip(kinds).map(|(name, kind)| Field::new(*name, kind, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

async fn written(world: &World, table: &Table, groups: &[Vec<Row>]) -> DataFile {
    kept(world, table, groups).await.files()[0].clone()
}

async fn kept(world: &World, table: &Table, groups: &[Vec<Row>]) -> Uncommitted {
    let mut writer = DataWriter::new(world.lake(), table, table.schema()).unwrap();
    for rows in groups {
        writer.write(&batch(rows, table.schema().arrow())).await.unwrap();
    }
    writer.close().await.unwrap()
}

fn check(file: &DataFile, groups: &[Vec<Row>]) {
    let filled: Vec<&Vec<Row>> = groups.iter().filter(|rows| !rows.is_empty()).collect();
    assert_eq!(file.split_offsets().map(<[i64]>::len), Some(filled.len()));
    for (index, name) in NAMES.iter().enumerate() {
        let id = index as i32 + 1;
        let (lower, upper) = (file.lower_bounds().get(&id), file.upper_bounds().get(&id));
        let all: Vec<Datum> = filled.iter().flat_map(|rows| values(rows, name)).collect();
        for value in &all {
            assert!(lower.is_none_or(|lower| lower <= value), "{name}: {lower:?} > {value:?}");
            assert!(upper.is_none_or(|upper| upper >= value), "{name}: {upper:?} < {value:?}");
        }
        // A missing bound is slow, not wrong: where a bound can be known, there is one.
        let is_float = matches!(*name, "double" | "float");
        let only_nan =
            |rows: &&&Vec<Row>| values(rows, name).is_empty() && rows.iter().any(|r| r.2.is_some());
        let unknowable = is_float && filled.iter().any(|rows| only_nan(&rows));
        let knowable = !(all.is_empty() || unknowable);
        assert_eq!(lower.is_some(), knowable, "{name}: a lower bound");
        // Nothing of 16 characters is above 16 times U+10FFFF.
        let top = "\u{10FFFF}".repeat(16);
        let greatest = |row: &Row| row.0.as_ref().is_some_and(|text| text.starts_with(&top));
        if *name != "text" || !filled.iter().any(|rows| rows.iter().any(greatest)) {
            assert_eq!(upper.is_some(), knowable, "{name}: an upper bound");
        }
        let nulls = filled.iter().flat_map(|rows| rows.iter());
        let nulls = nulls.filter(|row| match *name {
            "text" => row.0.is_none(),
            "double" | "float" => row.2.is_none(),
            "flag" => row.3.is_none(),
            _ => row.1.is_none(),
        });
        assert_eq!(file.null_value_counts().get(&id), Some(&(nulls.count() as u64)), "{name}");
        let rows: usize = filled.iter().map(|rows| rows.len()).sum();
        assert_eq!(file.value_counts().get(&id), Some(&(rows as u64)), "{name}");
        if is_float {
            let nans = filled.iter().flat_map(|rows| rows.iter()).filter_map(|row| row.2);
            let nans = nans.filter(|v| v.is_nan()).count() as u64;
            assert_eq!(file.nan_value_counts().get(&id), Some(&nans), "{name}");
        }
    }
}

#[test]
fn bounds_contain_every_value() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = World::new(CUSTOMERS);
    let table = runtime.block_on(table_of_small_groups(&world));
    let groups = proptest::collection::vec(proptest::collection::vec(row(), 0..6), 1..5)
        .prop_filter("a file has rows", |groups| groups.iter().any(|rows| !rows.is_empty()));
    let mut runner = TestRunner::new(Config { cases: 300, ..Config::default() });
    runner
        .run(&groups, |groups| {
            check(&runtime.block_on(written(&world, &table, &groups)), &groups);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_table_says_which_columns_have_bounds() {
    let world = World::new(CUSTOMERS);
    table_of_small_groups(&world).await;
    for (key, value) in [
        ("write.metadata.metrics.default", "counts"),
        ("write.metadata.metrics.column.text", "truncate(2)"),
        ("write.metadata.metrics.column.long", "none"),
    ] {
        world.set_property("metrics.table", key, value).await;
    }
    let table = world.table("metrics.table").await;
    let rows = vec![(Some("abcd".to_owned()), Some(7), Some(1.5), Some(true))];
    let file = written(&world, &table, &[rows]).await;
    assert_eq!(file.lower_bounds().keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(file.lower_bounds()[&1], Datum::string("ab"));
    assert_eq!(file.upper_bounds()[&1], Datum::string("ac"));
    assert!(file.value_counts().get(&2).is_none() && file.value_counts().get(&3).is_some());
}

#[tokio::test]
async fn the_first_hundred_columns_have_bounds_and_those_that_are_requested() {
    use arrow::datatypes::{DataType, Field, Schema};
    let world = World::new(CUSTOMERS);
    let fields = (1..=120).map(|n| Field::new(format!("c{n}"), DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let name = "metrics.wide".parse().unwrap();
    let table = world.lake().find_or_create(&name, &schema, None).await.unwrap();
    let columns = (0..120).map(|n| Arc::new(Int64Array::from(vec![n])) as ArrayRef).collect();
    let rows = RecordBatch::try_new(table.schema().arrow().clone(), columns).unwrap();
    let writer = DataWriter::new(world.lake(), &table, table.schema()).unwrap();
    let mut writer = writer.with_bounds_on(&["c110".to_owned()]);
    writer.write(&rows).await.unwrap();
    let written = writer.close().await.unwrap();
    let file = &written.files()[0];
    let mut bounded: Vec<i32> = file.upper_bounds().keys().copied().collect();
    bounded.sort_unstable();
    assert_eq!(bounded, (1..=100).chain([110]).collect::<Vec<_>>());
}

/// Older versions of silversmith wrote upper bounds below values of the same file.
#[tokio::test]
async fn text_bounds_of_older_files_are_not_trusted() {
    let world = World::new(CUSTOMERS);
    let table = table_of_small_groups(&world).await;
    let long = format!("z{}", "y".repeat(80));
    let texts = |text: &str| vec![(Some(text.to_owned()), Some(1), None, None)];
    let files = kept(&world, &table, &[texts("a"), texts(&long)]).await;
    let right = files.files()[0].clone();
    let wrong = DataFileBuilder::default()
        .content(right.content_type())
        .file_path(right.file_path().to_owned())
        .file_format(right.file_format())
        .partition(right.partition().clone())
        .record_count(right.record_count())
        .file_size_in_bytes(right.file_size_in_bytes())
        .lower_bounds([(1, Datum::string("a")), (2, Datum::long(1))].into())
        .upper_bounds([(1, Datum::string("a")), (2, Datum::long(1))].into())
        .split_offsets(Some(vec![4, 100]))
        .build()
        .unwrap();
    add(&world, &table, Uncommitted::nothing(world.lake()), vec![wrong]).await;
    world.remove_property("metrics.table", "silversmith.sure-bounds-from-sequence-number").await;
    let table = world.table("metrics.table").await;
    let requested = |column: &str, value: ArrayRef| {
        [Bounds { column: column.to_owned(), least: Some(value.clone()), greatest: Some(value) }]
    };
    let text = || Arc::new(StringArray::from(vec![long.clone()])) as ArrayRef;
    let found = world.lake().files_of(&table, None, &requested("text", text())).await.unwrap();
    assert_eq!(found.len(), 1, "not pruned by a text bound");
    let two = Arc::new(Int64Array::from(vec![2])) as ArrayRef;
    let found = world.lake().files_of(&table, None, &requested("long", two)).await.unwrap();
    assert_eq!(found.len(), 0, "pruned by a number's bound");

    // Bounds of files from now on are trusted, older ones are not.
    let now = kept(&world, &table, &[texts("b"), texts("c")]).await;
    add(&world, &table, now, vec![]).await;
    let table = world.table("metrics.table").await;
    let found = world.lake().files_of(&table, None, &requested("text", text())).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path(), right.file_path());
}

async fn add(world: &World, table: &Table, files: Uncommitted, adopted: Vec<DataFile>) {
    let properties = CommitProperties::of_snapshot(Layer::Ledger, Properties::new());
    let adopt =
        |file: DataFile| FileRef::of(table, &file, "none").to_adopt_as(file, table).unwrap();
    let change = Change::adopt(files, adopted.into_iter().map(adopt).collect(), properties);
    let outcome = world.lake().commit(table, change).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));
}
