//! Bad input is contained (I8): it has a clear outcome, the other objects go on, nothing is lost.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use silversmith::ambient::{Ambient, SystemAmbient};
use silversmith::bronze::{ObjectEnd, OnMissing};
use silversmith::source::{DirectoryStore, RawStore, ReadError, Requested, all};

use crate::support::failing_store::FailingStore;
use crate::support::{CUSTOMERS, World};

async fn outcomes(world: &World) -> Vec<String> {
    world
        .sql("SELECT source_uri, outcome, rows, reason FROM bronze.customers_objects ORDER BY source_uri")
        .await
}

#[tokio::test]
async fn bad_objects_are_rejected_and_the_others_are_ingested() {
    let world = World::new(CUSTOMERS);
    world.put("empty.csv", "", 0);
    world.put("header.csv", "id,name,updated\n", 1);
    world.put("good.csv", "id,name,updated\n1,a,2026-01-01\n", 2);
    world.raw.put("raw/binary.csv", vec![0x50, 0x4b, 3, 4, 0, 0, 8], crate::support::at(11, 3));
    world.raw.put(
        "raw/latin.csv",
        b"id,name,updated\n2,J\xfcrgen,2026-01-01\n".to_vec(),
        crate::support::at(11, 4),
    );
    world.raw.put("raw/utf16.csv", vec![b'i', 0, b'd', 0], crate::support::at(11, 5));
    world.put("quote.csv", &format!("id,name,updated\n1,\"{}", "x".repeat(17 * 1024 * 1024)), 6);
    world.put("bom.csv", "\u{feff}id,name,updated\n3,c,2026-01-01\n", 7);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed, report.rows), (5, 3, 3));
    assert_eq!(
        outcomes(&world).await,
        [
            "raw/binary.csv|rejected|0|not-text",
            "raw/bom.csv|ingested|1|null",
            "raw/empty.csv|ingested|0|null",
            "raw/good.csv|ingested|1|null",
            "raw/header.csv|ingested|0|null",
            "raw/latin.csv|ingested|1|null",
            "raw/quote.csv|rejected|0|broken-quote",
            "raw/utf16.csv|rejected|0|not-text",
        ]
    );
    let rows = world.sql("SELECT id, _rescued FROM bronze.customers ORDER BY id NULLS LAST").await;
    assert_eq!(
        rows,
        ["1|null", "2|{\"_problem\":\"not UTF-8\",\"name\":{\"base64\":\"SvxyZ2Vu\"}}", "3|null"]
    );
    let again = world.bronze().await;
    assert_eq!((again.known, again.failed), (8, 0), "a listing tries none of them again");
}

#[tokio::test]
async fn bad_objects_alone_make_a_ledger_and_no_rows() {
    let world = World::new(CUSTOMERS);
    world.put("empty.csv", "", 0);
    world.raw.put("raw/binary.csv", vec![0u8; 8], crate::support::at(11, 3));
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (1, 1));
    assert_eq!(outcomes(&world).await.len(), 2);
    assert_eq!(world.silver().await.snapshots, Vec::new());
}

/// A file that grows while it is read is another version by then: its rows are dropped, and its new
/// version is ingested once it has settled.
#[tokio::test]
async fn a_file_that_grows_while_it_is_read_is_another_version() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    std::fs::create_dir(&raw).unwrap();
    let path = raw.join("growing.csv");
    std::fs::write(&path, "id\n1\n").unwrap();
    let ambient = Arc::new(SystemAmbient);
    let store = DirectoryStore::new(folder.path(), &raw, Duration::ZERO, ambient.clone());
    let object = all(&store, "").await.unwrap().remove(0);
    assert_eq!(object.id.uri, "raw/growing.csv");
    let requested = Requested::Listed(object.clone());
    let mut input = store.open(&requested).await.unwrap().input;
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"2\n").unwrap();
    let mut read = String::new();
    std::io::Read::read_to_string(&mut input, &mut read).unwrap();
    assert_eq!(read, "id\n1\n", "not a byte more than its size");
    assert!(matches!(store.verify(&object).await, Err(ReadError::Changed(_))));
    assert!(matches!(store.open(&requested).await.map(drop), Err(ReadError::Changed(_))));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(store.verify(&object).await, Err(ReadError::Missing(_))));

    let slow = DirectoryStore::new(folder.path(), &raw, Duration::from_secs(3600), ambient.clone());
    std::fs::write(&path, "id\n1\n2\n").unwrap();
    assert!(all(&slow, "").await.unwrap().is_empty(), "it has not settled");
    assert_eq!(slow.pending().await.unwrap(), ["raw/growing.csv"]);
    assert!(ambient.now() > object.id.last_modified);
}

/// Objects that were deleted or replaced after they were listed are recorded as missing.
#[tokio::test]
async fn a_deleted_object_is_missing() {
    let mut world = World::new(CUSTOMERS);
    for name in ["gone", "changed", "stays"] {
        world.put(&format!("{name}.csv"), "id,updated\n1,2026-01-01\n", 0);
    }
    let settings = (*world.wired.settings).clone();
    let source = FailingStore::new(&world.raw, |raw| {
        raw.delete("raw/gone.csv");
        raw.put("raw/changed.csv", "id\nother\n", crate::support::at(11, 30));
    });
    world.rewire(settings, source, silversmith::pipeline::Intake::Directory);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (1, 2));
    assert_eq!(
        outcomes(&world).await,
        [
            "raw/changed.csv|missing|0|changed",
            "raw/gone.csv|missing|0|missing",
            "raw/stays.csv|ingested|1|null"
        ]
    );
}

/// An object that could not be read is ingested once it can be: the next listing tries again.
#[tokio::test]
async fn an_unreadable_object_is_tried_again_and_recorded_once() {
    let mut world = World::new(CUSTOMERS);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    let store = FailingStore::new(&world.raw, |_| {});
    store.locked.store(true, Ordering::SeqCst);
    let settings = (*world.wired.settings).clone();
    let source = store.clone();
    world.rewire(settings, source, silversmith::pipeline::Intake::Directory);
    assert_eq!(world.bronze().await.failed, 1);
    assert_eq!(world.bronze().await.known, 1, "still locked: no news");
    assert_eq!(outcomes(&world).await, ["raw/1.csv|rejected|0|unreadable"]);
    store.locked.store(false, Ordering::SeqCst);
    assert_eq!(world.bronze().await.known, 1, "not at once");
    world.ambient.advance(Duration::from_secs(61));
    assert_eq!(world.bronze().await.ingested, 1);
    assert_eq!(world.bronze().await.known, 1);
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["1"]);
}

/// A file that is rejected at its end leaves no trace in the table's columns, and one without rows
/// decides no type.
#[tokio::test]
async fn only_ingested_files_with_rows_shape_the_table() {
    let world = World::new(CUSTOMERS);
    let mut late = "junk_a,junk_b,id\n".to_owned();
    late.push_str(&"1,2,3\n".repeat(20_000));
    late.push_str(&"\0,".repeat(5_000));
    world.put("0.csv", &late, 0);
    world.put("1.csv", "id,extra,updated\n", 1);
    world.put("2.csv", "id,updated\n9,2026-01-01\n10,2026-01-01\n", 2);
    let report = world.bronze().await;
    assert_eq!((report.ingested, report.failed), (2, 1));
    let table = world.table("bronze.customers").await;
    let names: Vec<&str> =
        table.schema().arrow().fields().iter().map(|f| f.name().as_str()).take(3).collect();
    assert_eq!(names, ["id", "updated", "_source_uri"]);
    assert_eq!(
        world.sql("SELECT max(id) FROM bronze.customers").await,
        ["10"],
        "numbers, not text"
    );
}

/// Records of nothing but delimiters use memory, too.
#[tokio::test]
async fn a_record_of_very_many_fields_is_refused() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", &format!("id\n{}\n", ",".repeat(1_000_000)), 0);
    world.put("2.csv", "id,updated\n1,2026-01-01\n", 1);
    world.bronze().await;
    assert_eq!(
        outcomes(&world).await,
        ["raw/1.csv|rejected|0|too-many-columns", "raw/2.csv|ingested|1|null"]
    );
}

/// An object that was deleted while it was read is as missing as one deleted before, and `on_missing`
/// holds for both.
#[tokio::test]
async fn an_object_deleted_while_it_is_read_is_missing() {
    for (on_missing, outcome) in [("dead-letter", "missing"), ("skip", "skipped")] {
        let mut world = World::new(CUSTOMERS);
        world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
        world.bronze().await;
        world.put("2.csv", "id,updated\n2,2026-01-01\n", 1);
        let store = FailingStore::new(&world.raw, |_| {});
        store.vanishing.store(true, Ordering::SeqCst);
        let mut settings = (*world.wired.settings).clone();
        settings.pipelines[0].bronze.on_missing = match on_missing {
            "skip" => OnMissing::Skip,
            _ => OnMissing::DeadLetter,
        };
        world.rewire(settings, store, silversmith::pipeline::Intake::Directory);
        assert_eq!(world.bronze().await.failed, 1);
        let expected =
            ["raw/1.csv|ingested|1|null".to_owned(), format!("raw/2.csv|{outcome}|0|missing")];
        assert_eq!(outcomes(&world).await, expected, "{on_missing}");
        assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["1"]);
    }
}

/// A batch with one object version twice (two messages about it) ingests it once, and both requests end
/// as the object did.
#[tokio::test]
async fn one_object_version_twice_in_a_batch_ends_once() {
    let world = World::new(CUSTOMERS);
    world.put("good.csv", "id,updated\n1,2026-01-01\n", 0);
    world.raw.put("raw/bad.csv", vec![0u8; 8], crate::support::at(11, 1));
    let objects = all(&*world.raw, "").await.unwrap();
    let twice: Vec<Requested> =
        objects.iter().chain(&objects).cloned().map(Requested::Listed).collect();
    let ingested = world.pipeline().bronze.ingest(&twice).await.unwrap();
    let ends: Vec<&str> = ingested.ends.iter().map(ObjectEnd::as_str).collect();
    assert_eq!(ends, ["ingested", "rejected", "ingested", "rejected"]);
    let report = &ingested.report;
    assert_eq!((report.ingested, report.failed, report.rows), (1, 1, 1));
    assert_eq!(outcomes(&world).await.len(), 2);
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["1"]);
}
