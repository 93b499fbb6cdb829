//! Exactly once (I2, I3): two workers, commits of other writers, expiry, rollback.

use std::sync::Arc;

use futures::FutureExt;
use silversmith::bronze::BronzeError;
use silversmith::lake::LakeError;
use silversmith::silver::SilverError;

use crate::support::faulty::{FailingCatalog, Fate};
use crate::support::{CUSTOMERS, World, unsaid};

/// Two workers list the same objects and commit at the same time: the one that loses drops the objects
/// that the other has ingested, and keeps the rest.
#[tokio::test]
async fn two_workers_with_overlapping_batches_ingest_each_object_once() {
    let base = World::new(CUSTOMERS);
    base.put("0.csv", "id,updated\n0,2026-01-01\n", 0);
    base.bronze().await;
    base.put("1.csv", "id,updated\n1,2026-01-01\n", 1);
    base.put("2.csv", "id,updated\n2,2026-01-01\n", 2);
    // The rival ingests both, after this worker has checked the ledger and before its swap arrives.
    let rival = Arc::new(base.reconfigured(CUSTOMERS));
    let rival_raw = rival.clone();
    let overtake = move || {
        let rival = rival_raw.clone();
        async move {
            rival.bronze().await;
            // Only this worker sees the third.
            rival.put("3.csv", "id,updated\n3,2026-01-01\n", 3);
        }
        .boxed()
    };
    let catalog =
        FailingCatalog::with(base.catalog.clone(), &[Fate::Overtaken], Some(Box::new(overtake)));
    let loser = World::on(
        CUSTOMERS,
        Arc::new(catalog),
        base.files.clone(),
        base.raw.clone(),
        base.checkpoints.clone(),
    );
    // Other ids than the rival's.
    for _ in 0..1000 {
        silversmith::ambient::Ambient::uuid(&*loser.ambient);
    }
    let report = loser.bronze().await;
    assert_eq!(report.ingested, 0, "the rival had both");
    assert_eq!(loser.bronze().await.ingested, 1);
    let rows = loser.sql("SELECT id, _source_uri FROM bronze.customers ORDER BY id").await;
    assert_eq!(rows, ["0|raw/0.csv", "1|raw/1.csv", "2|raw/2.csv", "3|raw/3.csv"]);
    let objects = loser
        .sql("SELECT count(*), count(DISTINCT source_uri) FROM bronze.customers_objects")
        .await;
    assert_eq!(objects, ["4|4"]);
}

/// The rival ingests one of two objects: the file that both share is written again without its rows.
#[tokio::test]
async fn a_shared_file_is_written_again_without_known_objects() {
    let base = World::new(CUSTOMERS);
    base.put("1.csv", "id,updated\n1,2026-01-01\n", 1);
    let rival = Arc::new(base.reconfigured(CUSTOMERS));
    // The rival's raw zone has only one of the objects.
    let only_one = Arc::new(silversmith::source::MemoryStore::new());
    only_one.put("raw/1.csv", "id,updated\n1,2026-01-01\n", crate::support::at(11, 1));
    let rival = Arc::new(World::on(
        CUSTOMERS,
        rival.catalog.clone(),
        base.files.clone(),
        only_one,
        base.checkpoints.clone(),
    ));
    for _ in 0..1000 {
        silversmith::ambient::Ambient::uuid(&*rival.ambient);
    }
    let taken = rival.clone();
    let overtake = move || {
        let rival = taken.clone();
        async move { drop(rival.bronze().await) }.boxed()
    };
    // The first swap is that of bronze's append: nothing else swaps before it.
    let catalog =
        FailingCatalog::with(base.catalog.clone(), &[Fate::Overtaken], Some(Box::new(overtake)));
    let loser = World::on(
        CUSTOMERS,
        Arc::new(catalog),
        base.files.clone(),
        base.raw.clone(),
        base.checkpoints.clone(),
    );
    loser.put("2.csv", "id,updated\n2,2026-01-01\n", 2);
    let report = loser.bronze().await;
    assert_eq!((report.ingested, report.rows), (1, 1));
    let rows = loser.sql("SELECT id, _source_uri FROM bronze.customers ORDER BY id").await;
    assert_eq!(rows, ["1|raw/1.csv", "2|raw/2.csv"]);
}

/// A corrected file under the same name is a new object version, and is read.
#[tokio::test]
async fn a_corrected_file_is_ingested_and_the_same_one_is_not() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,name,updated\n1,wrong,2026-01-01\n", 0);
    world.bronze().await;
    world.put("1.csv", "id,name,updated\n1,wrong,2026-01-01\n", 0);
    assert_eq!(world.bronze().await.known, 1);
    world.put("1.csv", "id,name,updated\n1,right,2026-01-01\n", 5);
    assert_eq!(world.bronze().await.ingested, 1);
    world.silver().await;
    assert_eq!(world.sql("SELECT name FROM silver.customers").await, ["right"]);
}

/// Snapshots expire whose ledger files were never published: the rows are rebuilt from bronze's own
/// columns.
#[tokio::test]
async fn ledger_rows_that_expired_unpublished_are_rebuilt_from_bronze() {
    let world = World::new(CUSTOMERS);
    world.put("0.csv", "id,updated\n0,2026-01-01\n", 0);
    world.bronze().await;
    // A worker dies between its bronze commit and the publishing, three times.
    for number in 1..4 {
        world.put(&format!("{number}.csv"), &format!("id,updated\n{number},2026-01-01\n"), number);
        die_after_the_bronze_commit(&world).await;
    }
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["4"]);
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers_objects").await, ["1"]);
    world.expire_all_but_current("bronze.customers").await;
    let report = world.bronze().await;
    assert_eq!((report.known, report.ingested), (4, 0), "nothing is ingested again");
    let objects = world
        .sql("SELECT source_uri, outcome, rows, batch_id = 'rebuilt' FROM bronze.customers_objects ORDER BY source_uri")
        .await;
    assert_eq!(
        objects,
        [
            "raw/0.csv|ingested|1|false",
            "raw/1.csv|ingested|1|true",
            "raw/2.csv|ingested|1|true",
            "raw/3.csv|ingested|1|false",
        ]
    );
    assert_eq!(world.bronze().await.known, 4);
}

/// Ingests the newest object on a catalog that lets only the bronze commit through.
async fn die_after_the_bronze_commit(world: &World) {
    use silversmith::lake::TableName;
    use silversmith::lake::catalog::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap};
    #[derive(Debug)]
    struct Dies(Arc<dyn Catalog>, Arc<tokio::sync::Notify>);
    #[async_trait::async_trait]
    impl Catalog for Dies {
        async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
            self.0.load(table).await
        }
        async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
            self.0.create(table, first).await
        }
        async fn swap(
            &self,
            table: &TableName,
            base: &Pointer,
            next: &Proposal,
        ) -> Result<Swap, CatalogError> {
            if table.table().ends_with("_objects") {
                self.1.notify_one();
                futures::future::pending::<()>().await;
            }
            self.0.swap(table, base, next).await
        }
        async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
            self.0.tables().await
        }
    }
    // A step would publish what the last death left first: so the batch is ingested directly.
    let before = world.table("bronze.customers").await.snapshots().len();
    let died = Arc::new(tokio::sync::Notify::new());
    let lake = silversmith::lake::Lake::new(
        Arc::new(Dies(world.catalog.clone(), died.clone())),
        world.files.clone(),
        "memory:/warehouse",
        world.ambient.clone(),
    );
    let bronze = silversmith::bronze::Bronze::new(
        &lake,
        world.raw.clone(),
        world.checkpoints.clone(),
        world.wired.settings.pipelines[0].bronze.clone(),
    );
    let objects = silversmith::source::all(&*world.raw, "").await.unwrap();
    let newest = objects.into_iter().max_by_key(|o| o.id.last_modified).unwrap();
    let batch = [silversmith::source::Requested::Listed(newest)];
    tokio::select! {
        _ = bronze.ingest(&batch) => panic!("it hangs at the publishing"),
        () = died.notified() => {}
    }
    assert_eq!(world.table("bronze.customers").await.snapshots().len(), before + 1);
}

#[tokio::test]
async fn rows_that_another_engine_appends_to_bronze_are_merged() {
    use silversmith::lake::write::data::DataWriter;
    use silversmith::lake::{Change, CommitOutcome};
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,name,updated\n1,a,2026-01-01\n", 0);
    world.bronze().await;
    world.silver().await;
    let table = world.table("bronze.customers").await;
    let mut writer = DataWriter::new(world.lake(), &table, table.schema()).unwrap();
    let values: arrow::array::ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![7]));
    let columns = table.schema().arrow().fields().iter().map(|field| match field.name().as_str() {
        "id" => values.clone(),
        _ => arrow::array::new_null_array(field.data_type(), 1),
    });
    let rows =
        arrow::array::RecordBatch::try_new(table.schema().arrow().clone(), columns.collect());
    writer.write(&rows.unwrap()).await.unwrap();
    let add = writer.close().await.unwrap();
    let outcome = world.lake().commit(&table, Change::append(add, unsaid())).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));
    world.put("2.csv", "id,name,updated\n2,b,2026-01-01\n", 1);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.inserted, 2);
    assert_eq!(world.sql("SELECT id FROM silver.customers ORDER BY id").await, ["1", "2", "7"]);
    world.expire_all_but_current("bronze.customers").await;
    assert_eq!(world.bronze().await.known, 2);
}

/// Where the start of the merge has expired, a superset is merged: rows merged before change nothing.
#[tokio::test]
async fn a_merge_whose_start_has_expired_reads_a_superset() {
    let world = World::new(CUSTOMERS);
    for number in 1..5 {
        world.put(
            &format!("{number}.csv"),
            &format!("id,name,updated\n{},n{number},2026-01-0{number}\n", number % 3),
            number,
        );
        world.bronze().await;
        if number == 2 {
            world.silver().await;
        }
    }
    world.expire_all_but_current("bronze.customers").await;
    let report = world.silver().await;
    assert!(report.healed);
    assert_eq!(report.counts.source, 2, "only files above the position");
    assert_eq!(
        world.sql("SELECT id, name FROM silver.customers ORDER BY id").await,
        ["0|n3", "1|n4", "2|n2"]
    );
    assert_eq!(world.silver().await.snapshots, Vec::new());
}

/// Silver whose own snapshots have expired still has its position, in a table property.
#[tokio::test]
async fn the_position_survives_the_expiry_of_silver() {
    let world = World::new(CUSTOMERS);
    for number in 1..3 {
        world.put(&format!("{number}.csv"), &format!("id,updated\n{number},2026-01-01\n"), number);
        world.bronze().await;
        world.silver().await;
    }
    world.expire_all_but_current("silver.customers").await;
    world.expire_all_but_current("bronze.customers_objects").await;
    assert_eq!(world.bronze().await.known, 2);
    assert_eq!(world.silver().await.snapshots, Vec::new());
}

#[tokio::test]
async fn a_rolled_back_bronze_stops_ingestion_and_merging_and_names_the_fix() {
    let world = World::new(CUSTOMERS);
    for number in 1..4 {
        world.put(&format!("{number}.csv"), &format!("id,updated\n{number},2026-01-01\n"), number);
        world.bronze().await;
        world.silver().await;
    }
    let first = world.table("bronze.customers").await.snapshots()[0].id;
    world.roll_back("bronze.customers", first).await;
    let error = world.pipeline().bronze.step().await.unwrap_err();
    assert!(matches!(error, BronzeError::Lake(LakeError::RolledBack { .. })), "{error}");
    let silver = world.pipeline().silver.as_ref().unwrap();
    let error = silver.step().await.unwrap_err();
    assert!(matches!(error, SilverError::BronzeRolledBack { .. }), "{error}");
    silver.rebuild().await.unwrap();
    assert_eq!(world.sql("SELECT id FROM silver.customers").await, ["1"]);
}

/// Silver that was rolled back is merged forward again from where it stands now.
#[tokio::test]
async fn a_rolled_back_silver_catches_up() {
    let world = World::new(CUSTOMERS);
    for number in 1..4 {
        world.put(&format!("{number}.csv"), &format!("id,updated\n{number},2026-01-01\n"), number);
        world.bronze().await;
        world.silver().await;
    }
    let first = world.table("silver.customers").await.snapshots()[0].id;
    world.roll_back("silver.customers", first).await;
    assert_eq!(world.silver().await.bronze_snapshots, 2);
    assert_eq!(world.sql("SELECT id FROM silver.customers ORDER BY id").await, ["1", "2", "3"]);
}

#[tokio::test]
async fn rows_deleted_from_bronze_stop_the_merge_or_are_ignored() {
    use silversmith::lake::{Change, CommitOutcome, Removed, Uncommitted};
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    world.bronze().await;
    world.silver().await;
    let table = world.table("bronze.customers").await;
    let nothing = Uncommitted::nothing(world.lake());
    let change = Change::overwrite(nothing, Removed::All, unsaid());
    let outcome = world.lake().commit(&table, change).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));
    world.put("2.csv", "id,updated\n2,2026-01-01\n", 1);
    world.bronze().await;
    let error = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
    assert!(error.to_string().contains("on_bronze_delete"), "{error}");
    let ignoring = world.reconfigured(&format!("{CUSTOMERS}on_bronze_delete = \"ignore\"\n"));
    ignoring.silver().await;
    assert_eq!(ignoring.sql("SELECT id FROM silver.customers ORDER BY id").await, ["1", "2"]);
}

/// A worker whose table state is older than what others have published does not report a rollback.
#[tokio::test]
async fn an_older_state_is_no_rollback() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 1);
    world.bronze().await;
    let behind = world.table("bronze.customers").await;
    world.put("2.csv", "id,updated\n2,2026-01-01\n", 2);
    world.bronze().await;
    world.silver().await;
    let ledger = world.pipeline().bronze.ledger();
    assert_eq!(ledger.publish(&behind, &[]).await.unwrap(), 0);
    let listed = silversmith::source::all(&*world.raw, "").await.unwrap();
    let wanted = listed.into_iter().map(|o| o.id).collect();
    assert_eq!(ledger.known(Some(&behind), &wanted).await.unwrap().len(), 2);
    let mark = world.table("silver.customers").await;
    let mark = mark.position(silversmith::silver::MERGED).unwrap().unwrap();
    let standing = silversmith::lake::position::standing(&behind, &mark);
    assert_eq!(standing, silversmith::lake::position::Standing::Ahead);
}

/// Deleted rows stop the merge also when its start has expired.
#[tokio::test]
async fn an_expired_start_does_not_hide_a_delete() {
    use silversmith::lake::{Change, CommitOutcome, Removed, Uncommitted};
    let world = World::new(CUSTOMERS);
    for number in 1..3 {
        world.put(&format!("{number}.csv"), &format!("id,updated\n{number},2026-01-01\n"), number);
        world.bronze().await;
    }
    world.silver().await;
    world.put("3.csv", "id,updated\n3,2026-01-01\n", 3);
    world.bronze().await;
    let table = world.table("bronze.customers").await;
    let file = world.lake().files_of(&table, None, &[]).await.unwrap()[0].path().to_owned();
    let remove = Removed::Files([file].into());
    let nothing = Uncommitted::nothing(world.lake());
    let change = Change::overwrite(nothing, remove, unsaid());
    let outcome = world.lake().commit(&table, change).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));
    world.expire_all_but_current("bronze.customers").await;
    let error = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
    assert!(matches!(error, SilverError::BronzeDeleted { .. }), "{error}");
}

/// Bronze set back to an older metadata file, its sequence numbers with it, is noticed before any object
/// is ingested twice.
#[tokio::test]
async fn a_table_set_back_to_older_metadata_is_noticed() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 1);
    world.bronze().await;
    let name: silversmith::lake::TableName = "bronze.customers".parse().unwrap();
    let old = world.catalog.load(&name).await.unwrap().unwrap().pointer;
    world.put("2.csv", "id,updated\n2,2026-01-01\n", 2);
    world.bronze().await;
    world.silver().await;
    let now = world.catalog.load(&name).await.unwrap().unwrap().pointer;
    world.point(&name, &now, &old.metadata_location).await;
    world.put("3.csv", "id,updated\n3,2026-01-01\n", 3);
    let error = world.pipeline().bronze.step().await.unwrap_err();
    assert!(matches!(error, BronzeError::Lake(LakeError::RolledBack { .. })), "{error}");
    let error = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
    assert!(matches!(error, SilverError::BronzeRolledBack { .. }), "{error}");
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["1"]);
    let known = world.pipeline().bronze.ledger().as_table().await.unwrap();
    assert!(known.is_some(), "the ledger can still be queried");
}
