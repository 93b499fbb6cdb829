//! Uploads of one key within one second: S3's sequencer says which is the later one.

use silversmith::event::ObjectEvent;
use silversmith::source::{Requested, all};

use crate::support::{CUSTOMERS, World, at};

/// Uploads an object and ingests it by its event.
async fn upload(world: &World, content: &str, sequencer: Option<&str>) {
    world.raw.put("s3://raw/a.csv", content.as_bytes(), at(11, 0));
    let uploaded = all(&*world.raw, "s3://").await.unwrap().remove(0);
    let event = ObjectEvent {
        bucket: "raw".into(),
        key: "a.csv".into(),
        etag: Some(uploaded.id.version),
        version_id: None,
        size: None,
        sequencer: sequencer.map(str::to_owned),
        event_time: None,
        again: None,
        replayed: false,
    };
    let ingested = world.pipeline().bronze.ingest(&[Requested::ByEvent(event)]).await.unwrap();
    assert_eq!(ingested.report.ingested, 1);
}

#[tokio::test]
async fn the_later_upload_of_a_key_wins_within_a_second() {
    let (a, b) = ("id,name,updated\n1,a,2026-01-01\n", "id,name,updated\n1,b,2026-01-01\n");
    for (first, second, newest) in [("1F", "1F3", "b"), ("2", "1F3", "a")] {
        for contents in [[(a, first), (b, second)], [(b, second), (a, first)]] {
            let world = World::new(CUSTOMERS);
            for (content, sequencer) in contents {
                upload(&world, content, Some(sequencer)).await;
                world.silver().await;
            }
            let rows = world.sql("SELECT name FROM silver.customers").await;
            assert_eq!(rows, [newest], "{contents:?}");
        }
    }
}

/// An object that was read in another version than its event named has no sequence: it is another upload's.
#[tokio::test]
async fn a_sequence_is_that_of_the_version_that_was_read() {
    let world = World::new(CUSTOMERS);
    upload(&world, "id,updated\n1,2026-01-01\n", Some("A1")).await;
    let rows = world.sql("SELECT _source_sequence FROM bronze.customers").await;
    assert_eq!(rows, ["A1"]);
    world.raw.put("s3://raw/a.csv", b"id,updated\n2,2026-01-01\n".to_vec(), at(11, 1));
    let event = ObjectEvent {
        bucket: "raw".into(),
        key: "a.csv".into(),
        etag: Some("overwritten".into()),
        version_id: None,
        size: None,
        sequencer: Some("A2".into()),
        event_time: None,
        again: None,
        replayed: false,
    };
    world.pipeline().bronze.ingest(&[Requested::ByEvent(event)]).await.unwrap();
    let rows = world.sql("SELECT id, _source_sequence FROM bronze.customers ORDER BY id").await;
    assert_eq!(rows, ["1|A1", "2|null"]);
}

/// Tables of before have no sequences. They are merged as they are, and get the column with the next object.
#[tokio::test]
async fn tables_of_before_go_on_under_the_same_configuration() {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    let world = World::new(CUSTOMERS);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let columns = [
        ("id", DataType::Int64),
        ("name", DataType::Utf8),
        ("updated", DataType::Date32),
        ("_source_uri", DataType::Utf8),
        ("_source_version", DataType::Utf8),
        ("_source_row", DataType::Int64),
        ("_event_time", time.clone()),
        ("_ingested_at", time),
        ("_rescued", DataType::Utf8),
    ];
    let fields = columns.map(|(name, kind)| Field::new(name, kind, true));
    let before = std::sync::Arc::new(Schema::new(fields.to_vec()));
    let (bronze, silver) =
        ("bronze.customers".parse().unwrap(), "silver.customers".parse().unwrap());
    world.lake().find_or_create(&bronze, &before, None).await.unwrap();
    world.lake().find_or_create(&silver, &before, None).await.unwrap();
    world.silver().await;
    upload(&world, "id,name,updated\n1,a,2026-01-01\n", Some("A1")).await;
    assert_eq!(world.silver().await.counts.inserted, 1);
    let rows = world.sql("SELECT id, _source_sequence FROM silver.customers").await;
    assert_eq!(rows, ["1|A1"]);
}
