//! The commit protocol over every catalog, lost answers included (I6), and what commits look like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::future::join_all;
use silversmith::ambient::{Ambient, SystemAmbient};
use silversmith::lake::catalog::Catalog;
use silversmith::lake::write::data::DataWriter;
use silversmith::lake::{
    Change, CommitOutcome, CommitProperties, FileIO, Lake, LakeError, Properties, Removed,
    SnapshotId, Table, TableName, Uncommitted, memory_files,
};
use silversmith::sql::{session::session, statement};
use silversmith::telemetry::metrics::Layer;

use super::backings;
use crate::support::faulty::{FailingCatalog, Fate};
use crate::support::lines;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

fn lake(catalog: Arc<dyn Catalog>, files: &FileIO) -> Lake {
    Lake::new(catalog, files.clone(), "memory:/warehouse", Arc::new(SystemAmbient))
}

async fn file(lake: &Lake, table: &Table, numbers: &[i64]) -> Uncommitted {
    let mut writer = DataWriter::new(lake, table, table.schema()).unwrap();
    let column = Arc::new(Int64Array::from(numbers.to_vec()));
    let batch = RecordBatch::try_new(table.schema().arrow().clone(), vec![column]).unwrap();
    writer.write(&batch).await.unwrap();
    writer.close().await.unwrap()
}

async fn append(lake: &Lake, table: &Table, numbers: &[i64]) -> Change {
    Change::append(file(lake, table, numbers).await, no_properties())
}

fn no_properties() -> CommitProperties {
    CommitProperties::of_snapshot(Layer::Ledger, Properties::new())
}

async fn committed(lake: &Lake, base: &Table, change: Change) -> Table {
    match lake.commit(base, change).await.unwrap() {
        CommitOutcome::Committed { table, snapshot } => {
            assert!(table.snapshot(snapshot).is_some(), "the snapshot that was committed is named");
            table
        }
        other => panic!("there is no other writer: {other:?}"),
    }
}

async fn numbers(lake: &Lake, table: &TableName) -> Vec<String> {
    let context = session(64 * 1024 * 1024).unwrap();
    let sql = format!("SELECT n FROM {table} ORDER BY n");
    let frame = statement::query(lake, &context, &sql).await.unwrap();
    lines(&frame.collect().await.unwrap())
}

#[tokio::test]
async fn a_lost_answer_is_resolved_by_reading_the_table() {
    let folder = tempfile::tempdir().unwrap();
    for backing in backings(&folder).await {
        for (number, fates) in [
            vec![Fate::DoneAnswerLost],
            vec![Fate::DoneThenRefused],
            vec![Fate::LostOnTheWay],
            vec![Fate::LostOnTheWay, Fate::LostOnTheWay, Fate::DoneAnswerLost],
            vec![Fate::LostOnTheWay, Fate::DoneThenRefused],
        ]
        .into_iter()
        .enumerate()
        {
            println!("catalog: {}, fates: {fates:?}", backing.kind);
            let name = backing.table(&format!("answers_{number}"));
            let failing = FailingCatalog::new(backing.catalog.clone(), &fates);
            let lake = backing.lake_on(failing.clone());
            let base = lake.find_or_create(&name, &schema(), None).await.unwrap();
            let after = committed(&lake, &base, append(&lake, &base, &[1, 2]).await).await;
            assert_eq!(after.snapshots().len(), 1, "the change is there once");
            assert_eq!(numbers(&lake, &name).await, ["1", "2"]);
            // Sent once, and again only where it was known not to have arrived.
            let lost = fates.iter().filter(|fate| **fate == Fate::LostOnTheWay).count();
            assert_eq!(failing.swaps.load(Ordering::SeqCst), lost + 1);
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_unknown_and_nothing_is_deleted() {
    let files = memory_files();
    let name = TableName::new("never", "answered");
    let inner: Arc<dyn Catalog> = Arc::new(silversmith::lake::catalog::MemoryCatalog::new());
    let failing = FailingCatalog::new(inner.clone(), &[Fate::LostOnTheWay; 20]);
    let lake = lake(failing, &files);
    let base = lake.find_or_create(&name, &schema(), None).await.unwrap();
    let added = file(&lake, &base, &[1]).await;
    let paths: Vec<String> = added.files().iter().map(|f| f.file_path().to_owned()).collect();
    let outcome = lake.commit(&base, Change::append(added, no_properties())).await.unwrap();
    let CommitOutcome::Unknown(unknown) = outcome else { panic!("{outcome:?}") };
    assert!(unknown.attempts > 1 && unknown.to_string().contains("attempts"), "{unknown}");
    for path in paths {
        assert!(files.exists(path).await.unwrap());
    }
    // If it arrived after all, the table would be complete: the metadata file exists, too.
    assert_eq!(lake.load(&name).await.unwrap().snapshots().len(), 0);
}

#[tokio::test]
async fn a_certain_no_is_an_error_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for backing in backings(&folder).await {
        println!("catalog: {}", backing.kind);
        let name = backing.table("forbidden");
        let failing = FailingCatalog::new(backing.catalog.clone(), &[Fate::Forbidden]);
        let lake = backing.lake_on(failing.clone());
        let base = lake.find_or_create(&name, &schema(), None).await.unwrap();
        let added = file(&lake, &base, &[1]).await;
        let path = added.files()[0].file_path().to_owned();
        let error = lake.commit(&base, Change::append(added, no_properties())).await.unwrap_err();
        assert!(matches!(error, LakeError::Catalog { .. }), "not unknown: {error:?}");
        if backing.deletes_files() {
            assert!(!backing.files.exists(path).await.unwrap(), "its files are deleted");
        }
        assert_eq!(failing.swaps.load(Ordering::SeqCst), 1, "not sent again");
        assert_eq!(lake.load(&name).await.unwrap().snapshots().len(), 0);
        // With an answer lost in between it may have been carried out: that is unknown.
        let fates = [Fate::LostOnTheWay, Fate::Forbidden, Fate::Forbidden];
        let lake = backing.lake_on(FailingCatalog::new(backing.catalog.clone(), &fates));
        let after = committed(&lake, &base, append(&lake, &base, &[1]).await).await;
        assert_eq!(after.snapshots().len(), 1);
    }
}

/// Catalogs that read from replicas show a commit late, and older states meanwhile.
#[tokio::test]
async fn a_replica_that_lags_does_not_make_a_commit_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    for backing in backings(&folder).await {
        println!("catalog: {}", backing.kind);
        let name = backing.table("late");
        let lake = backing.lake();
        let base = lake.find_or_create(&name, &schema(), None).await.unwrap();
        let older = backing.catalog.load(&name).await.unwrap();
        let base = committed(&lake, &base, append(&lake, &base, &[1]).await).await;
        for fates in
            [vec![Fate::DoneShownLate(3)], vec![Fate::LostOnTheWay, Fate::DoneShownLate(2)]]
        {
            let failing = FailingCatalog::new(backing.catalog.clone(), &fates);
            *failing.older.lock().unwrap() = older.clone();
            let lake = backing.lake_on(failing);
            let base = lake.load(&name).await.unwrap();
            let count = base.snapshots().len();
            let change = append(&lake, &base, &[2]).await;
            let after = committed(&lake, &base, change).await;
            assert_eq!(after.snapshots().len(), count + 1);
            assert_eq!(numbers(&lake, &name).await.len(), count + 1, "its files exist");
        }
        drop(base);
    }
}

#[tokio::test]
async fn of_eight_commits_from_one_base_one_wins_and_the_others_know() {
    let folder = tempfile::tempdir().unwrap();
    for backing in backings(&folder).await {
        println!("catalog: {}", backing.kind);
        let lake = backing.lake();
        let name = backing.table("eight");
        let base = lake.find_or_create(&name, &schema(), None).await.unwrap();
        let mut changes = Vec::new();
        for number in 0..8 {
            changes.push(append(&lake, &base, &[number]).await);
        }
        let outcomes = join_all(changes.into_iter().map(|change| lake.commit(&base, change))).await;
        assert_eq!(numbers(&lake, &name).await.len(), 1);
        let mut won = 0;
        for outcome in outcomes {
            match outcome.unwrap() {
                CommitOutcome::Committed { .. } => won += 1,
                CommitOutcome::Conflict { files, .. } => {
                    let path = files.files()[0].file_path().to_owned();
                    assert!(backing.files.exists(&path).await.unwrap(), "they may be used again");
                    files.discard().await;
                    if backing.deletes_files() {
                        assert!(!backing.files.exists(&path).await.unwrap());
                    }
                }
                CommitOutcome::Unknown(unknown) => panic!("{unknown}"),
            }
        }
        assert_eq!(won, 1);
    }
}

/// Files have an owner until a commit names them: an owner that is dropped deletes them.
#[tokio::test]
async fn files_that_no_commit_takes_are_deleted() {
    let files = memory_files();
    let lake = lake(Arc::new(silversmith::lake::catalog::MemoryCatalog::new()), &files);
    let name = TableName::new("un", "committed");
    let table = lake.find_or_create(&name, &schema(), None).await.unwrap();
    let first = file(&lake, &table, &[1]).await;
    let path = first.files()[0].file_path().to_owned();
    // An overwrite of a missing file fails before anything is sent.
    let gone = Removed::Files(BTreeSet::from(["memory:/no/such.parquet".to_owned()]));
    let refused = lake.commit(&table, Change::overwrite(first, gone, no_properties())).await;
    assert!(matches!(refused, Err(LakeError::FileGone { .. })));
    assert!(!files.exists(&path).await.unwrap());
    let dropped = file(&lake, &table, &[2]).await;
    let path = dropped.files()[0].file_path().to_owned();
    assert!(files.exists(&path).await.unwrap());
    drop(dropped);
    let mut looks = 0;
    while files.exists(&path).await.unwrap() {
        looks += 1;
        assert!(looks < 10_000, "deleted in the background");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_overwrite_removes_files_and_refuses_one_that_is_gone() {
    let files = memory_files();
    let lake = lake(Arc::new(silversmith::lake::catalog::MemoryCatalog::new()), &files);
    let name = TableName::new("over", "written");
    let base = lake.find_or_create(&name, &schema(), None).await.unwrap();
    let one = file(&lake, &base, &[1]).await;
    let old = one.files()[0].file_path().to_owned();
    let table = committed(&lake, &base, Change::append(one, no_properties())).await;
    let table = committed(&lake, &table, append(&lake, &table, &[2]).await).await;
    let removed = || Removed::Files(BTreeSet::from([old.clone()]));
    let ten = file(&lake, &table, &[10]).await;
    let table = committed(&lake, &table, Change::overwrite(ten, removed(), no_properties())).await;
    assert_eq!(numbers(&lake, &name).await, ["2", "10"]);
    let summary = table.current().unwrap().summary;
    let entry = |key: &str| summary.get(key).map(String::as_str);
    assert_eq!(table.current().unwrap().operation, "overwrite");
    assert_eq!((entry("total-records"), entry("deleted-records")), (Some("2"), Some("1")));
    assert_eq!((entry("total-data-files"), entry("added-data-files")), (Some("2"), Some("1")));
    let diff = lake.diff(&table, None).await.unwrap();
    let step = diff.steps.last().unwrap();
    assert!(step.did.removes_rows());
    assert_eq!((step.added.len(), step.removed.len()), (1, 1), "an overwrite has both");
    assert_eq!(step.removed[0].path(), old);
    let eleven = file(&lake, &table, &[11]).await;
    let again = lake.commit(&table, Change::overwrite(eleven, removed(), no_properties())).await;
    let again = again.unwrap_err();
    assert!(matches!(again, LakeError::FileGone { ref path, .. } if *path == old), "{again}");
}

#[tokio::test]
async fn small_manifests_are_merged_and_the_diff_still_knows_who_added_what() {
    let files = memory_files();
    let lake = lake(Arc::new(silversmith::lake::catalog::MemoryCatalog::new()), &files);
    let name = TableName::new("many", "manifests");
    let mut table = lake.find_or_create(&name, &schema(), None).await.unwrap();
    let every_fifth =
        BTreeMap::from([("commit.manifest.min-count-to-merge".to_owned(), "5".to_owned())]);
    let mut ids = Vec::new();
    for number in 0..12 {
        let properties = CommitProperties { table: every_fifth.clone(), ..no_properties() };
        let change = Change::append(file(&lake, &table, &[number]).await, properties);
        table = committed(&lake, &table, change).await;
        ids.push(table.current().unwrap().id);
    }
    assert_eq!(numbers(&lake, &name).await.len(), 12);
    let diff = lake.diff(&table, None).await.unwrap();
    assert!(diff.steps.iter().all(|step| step.added.len() == 1), "one file for each snapshot");
    let start = silversmith::lake::position::Position::of(&table, &table.snapshot(ids[8]).unwrap());
    let diff = lake.diff(&table, Some(&start)).await.unwrap();
    let ends: Vec<SnapshotId> = diff.steps.iter().map(|step| step.end.snapshot).collect();
    assert_eq!(ends, ids[9..]);
}

#[tokio::test]
async fn snapshot_times_do_not_go_back_with_the_clock() {
    let start = SystemAmbient.now();
    let files = memory_files();
    let catalog: Arc<dyn Catalog> = Arc::new(silversmith::lake::catalog::MemoryCatalog::new());
    let ahead =
        Arc::new(silversmith::ambient::ManualAmbient::at(start + chrono::TimeDelta::hours(1)));
    let name = TableName::new("clocks", "differ");
    let first = Lake::new(catalog.clone(), files.clone(), "memory:/w", ahead);
    let table = first.find_or_create(&name, &schema(), None).await.unwrap();
    let table = committed(&first, &table, append(&first, &table, &[1]).await).await;
    let second = lake(catalog, &files);
    let table = second.load(table.name()).await.unwrap();
    let table = committed(&second, &table, append(&second, &table, &[2]).await).await;
    let times: Vec<_> = table.snapshots().iter().map(|s| s.at).collect();
    assert!(times[0] < times[1], "{times:?}");
}
