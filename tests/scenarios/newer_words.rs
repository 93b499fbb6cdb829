//! Words that a newer version of silversmith wrote to the objects table: decisions wait for the upgrade,
//! looking goes on.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use silversmith::lake::write::data::DataWriter;
use silversmith::lake::{Change, CommitOutcome};
use silversmith::ledger::rejections;
use silversmith::sql::session::session;
use silversmith::sql::statement;

use crate::support::{CUSTOMERS, World, at, unsaid};

/// Appends the row of an object to the objects table again, later, with other words.
async fn say(world: &World, uri: &str, outcome: &str, reason: Option<&str>) {
    let objects = world.table("bronze.customers_objects").await;
    let context = session(64 * 1024 * 1024).unwrap();
    let sql = format!("SELECT * FROM bronze.customers_objects WHERE source_uri = '{uri}' LIMIT 1");
    let frame = statement::query(world.lake(), &context, &sql).await.unwrap();
    let batches = frame.collect().await.unwrap();
    let row = batches.iter().find(|batch| batch.num_rows() == 1).unwrap();
    let schema = objects.schema().arrow().clone();
    let later = world.wired.lake.ambient().now() + Duration::from_secs(1);
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "outcome" => Arc::new(StringArray::from(vec![outcome])),
            "reason" => Arc::new(StringArray::from(vec![reason])),
            "finished_at" => {
                let micros = TimestampMicrosecondArray::from(vec![later.timestamp_micros()]);
                Arc::new(micros.with_timezone("+00:00"))
            }
            name => row.column_by_name(name).unwrap().clone(),
        }
    });
    let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
    let mut writer = DataWriter::new(world.lake(), &objects, objects.schema()).unwrap();
    writer.write(&batch).await.unwrap();
    let add = writer.close().await.unwrap();
    let outcome = world.lake().commit(&objects, Change::append(add, unsaid())).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));
}

/// One good object and one bad one, ingested and rejected.
async fn world() -> World {
    let world = World::new(CUSTOMERS);
    world.put("good.csv", "id,updated\n1,2026-01-01\n", 0);
    world.raw.put("raw/bad.csv", vec![0u8; 8], at(11, 1));
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (1, 1));
    world
}

/// The object is not in bronze, so another attempt is harmless: this version judges it by its own rules.
#[tokio::test]
async fn an_unknown_reason_makes_a_listing_try_the_object_again() {
    let world = world().await;
    say(&world, "raw/bad.csv", "rejected", Some("too-blue")).await;
    assert_eq!(world.bronze().await.known, 2, "not at once");
    world.ambient.advance(Duration::from_secs(120));
    let report = world.bronze().await;
    assert_eq!((report.known, report.failed), (1, 1));
    let newest = world
        .sql("SELECT reason FROM bronze.customers_objects WHERE source_uri = 'raw/bad.csv' ORDER BY finished_at DESC LIMIT 1")
        .await;
    assert_eq!(newest, ["not-text"]);
    assert_eq!(world.bronze().await.known, 2, "its own verdict stays");
}

/// Whether the object's rows are in bronze is unknown: nothing is decided.
#[tokio::test]
async fn an_unknown_outcome_stops_ingestion_with_the_word_and_the_fix() {
    let world = world().await;
    say(&world, "raw/bad.csv", "superseded", None).await;
    world.put("new.csv", "id,updated\n2,2026-01-01\n", 2);
    let error = world.pipeline().bronze.step().await.unwrap_err().to_string();
    for part in ["bronze.customers_objects", "raw/bad.csv", "`superseded`", "upgrade silversmith"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["1"]);
}

#[tokio::test]
async fn unknown_words_are_shown_to_people_and_not_announced() {
    let world = world().await;
    say(&world, "raw/good.csv", "superseded", None).await;
    say(&world, "raw/bad.csv", "rejected", Some("too-blue")).await;
    let all = world
        .sql("SELECT source_uri, outcome, reason FROM bronze.customers_objects ORDER BY source_uri, finished_at")
        .await;
    assert_eq!(
        all,
        [
            "raw/bad.csv|rejected|not-text",
            "raw/bad.csv|rejected|too-blue",
            "raw/good.csv|ingested|null",
            "raw/good.csv|superseded|null",
        ]
    );
    let bronze = world.table("bronze.customers").await;
    let view = world.pipeline().bronze.ledger().view(Some(&bronze)).await.unwrap();
    let newest = view.newest(&["raw/good.csv".into(), "raw/bad.csv".into()]).await.unwrap();
    assert_eq!(newest["raw/bad.csv"], "rejected (too-blue)");
    assert_eq!(newest["raw/good.csv"], "ingested", "which is final, whatever came later");

    let objects = world.table("bronze.customers_objects").await;
    let snapshot = objects.current().unwrap();
    let error = rejections(world.lake(), &objects, &snapshot).await.unwrap_err().to_string();
    assert!(error.contains("`too-blue`") && error.contains("upgrade silversmith"), "{error}");
}
