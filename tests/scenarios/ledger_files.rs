//! The files of the ledger: one for a batch, whatever days its objects are of.

use std::collections::HashSet;

use chrono::Duration;
use serde_json::json;
use silversmith::lake::write::data::DataWriter;
use silversmith::lake::{Change, CommitOutcome, CommitProperties, Properties, Uncommitted};
use silversmith::ledger::{FILE, FILES, ObjectOutcome};
use silversmith::source::all;
use silversmith::telemetry::metrics::Layer;

use crate::support::{CUSTOMERS, World, at};

const OBJECTS: &str = "bronze.customers_objects";

/// An object for each of these days, counted back from the day of the tests.
fn put(world: &World, days: std::ops::Range<i64>) {
    for day in days {
        let content = format!("id,updated\n{day},2026-01-01\n");
        world.raw.put(
            &format!("raw/{day:04}.csv"),
            content.as_bytes(),
            at(11, 0) - Duration::days(day),
        );
    }
}

#[tokio::test]
async fn a_batch_of_objects_of_many_days_names_one_file() {
    let world = World::new(CUSTOMERS);
    put(&world, 0..400);
    assert_eq!(world.bronze().await.ingested, 400);
    let bronze = world.table("bronze.customers").await;
    let named: serde_json::Value =
        serde_json::from_str(&bronze.current().unwrap().summary[FILE]).unwrap();
    let objects = world.table(OBJECTS).await;
    let files = world.lake().files_of(&objects, None, &[]).await.unwrap();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(named["path"], json!(file.path()));
    assert_eq!(named["rows"], json!(400));
    let first = (at(11, 0) - Duration::days(399)).timestamp_micros();
    assert_eq!(named["bounds"]["first"], json!(first));
    // A second worker, with no memory of what the first has read, knows all of them.
    let other = world.reconfigured(CUSTOMERS);
    let report = other.bronze().await;
    assert_eq!((report.ingested, report.known), (0, 400));
}

/// An older version partitioned the table by day and named a file for each day, as a list.
#[tokio::test]
async fn what_an_older_version_left_unpublished_is_known_and_published() {
    let world = World::new(CUSTOMERS);
    put(&world, 0..1);
    world.bronze().await;
    let objects = world.table(OBJECTS).await;
    let columns = objects.schema().clone();
    let by_day = ["day(last_modified)".parse().unwrap()];
    let objects = world.lake().partitioned(objects, Some(&by_day), &columns).await.unwrap();
    put(&world, 1..3);
    // The rows of two days, as the other version would have written them.
    let listed = all(&*world.raw, "").await.unwrap();
    let rows = world.sql(&format!("SELECT source_uri FROM {OBJECTS}")).await;
    assert_eq!(rows, ["raw/0000.csv"]);
    let ids: Vec<_> =
        listed.into_iter().map(|o| o.id).filter(|id| id.uri != "raw/0000.csv").collect();
    let mut writer = DataWriter::new(world.lake(), &objects, objects.schema()).unwrap();
    writer.write(&rows_of(&world, &objects, &ids).await).await.unwrap();
    let files = writer.close().await.unwrap();
    assert_eq!(files.files().len(), 2);
    let named: Vec<_> = files
        .files()
        .iter()
        .map(|file| {
            let day = file.partition().iter().next().unwrap().unwrap().as_primitive_literal();
            let iceberg::spec::PrimitiveLiteral::Int(day) = day.unwrap() else { panic!() };
            json!({"path": file.file_path(), "bytes": file.file_size_in_bytes(),
                   "rows": file.record_count(), "day": day})
        })
        .collect();
    let list = Properties::from([(FILES.to_owned(), json!(named).to_string())]);
    let bronze = world.table("bronze.customers").await;
    let change = Change::append(
        Uncommitted::nothing(world.lake()),
        CommitProperties::of_snapshot(Layer::Bronze, list),
    );
    let outcome = world.lake().commit(&bronze, change.with_attached(files)).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));

    let known = |world: &World| {
        let (ledger, ids) = (world.pipeline().bronze.ledger().clone(), ids.clone());
        let lake = world.lake().clone();
        async move {
            let bronze = lake.load(&"bronze.customers".parse().unwrap()).await.unwrap();
            let known = ledger.known(Some(&bronze), &HashSet::from_iter(ids)).await.unwrap();
            known.values().filter(|attempt| attempt.outcome == ObjectOutcome::Ingested).count()
        }
    };
    assert_eq!(known(&world).await, 2);
    // The next batch publishes them, each under the partition spec that it was written under.
    put(&world, 3..4);
    assert_eq!(world.bronze().await.ingested, 1);
    assert_eq!(known(&world.reconfigured(CUSTOMERS)).await, 2);
    assert_eq!(world.sql(&format!("SELECT count(*) FROM {OBJECTS}")).await, ["4"]);
}

/// Rows of the objects table, made from the one that is there.
async fn rows_of(
    world: &World,
    objects: &silversmith::lake::Table,
    ids: &[silversmith::source::ObjectId],
) -> arrow::array::RecordBatch {
    use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray, UInt32Array};
    use futures::TryStreamExt;
    let schema = objects.schema().arrow().clone();
    let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let file = world.lake().files_of(objects, None, &[]).await.unwrap().remove(0);
    let read = world.lake().read_file(objects, objects.schema(), &file, &columns).unwrap();
    let row = read.try_collect::<Vec<_>>().await.unwrap().remove(0);
    let repeated = UInt32Array::from(vec![0; ids.len()]);
    let row = arrow::compute::take_record_batch(&row, &repeated).unwrap();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let texts = |of: fn(&silversmith::source::ObjectId) -> &str| -> ArrayRef {
            std::sync::Arc::new(ids.iter().map(|id| Some(of(id))).collect::<StringArray>())
        };
        match field.name().as_str() {
            "source_uri" => texts(|id| &id.uri),
            "source_version" => texts(|id| &id.version),
            "last_modified" => {
                let micros = ids.iter().map(|id| id.last_modified.timestamp_micros());
                let times = TimestampMicrosecondArray::from_iter_values(micros);
                std::sync::Arc::new(times.with_timezone("+00:00"))
            }
            name => row.column_by_name(name).unwrap().clone(),
        }
    });
    arrow::array::RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}
