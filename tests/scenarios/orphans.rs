//! Orphans: what nothing names is deleted, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use silversmith::lake::LakeError;
use silversmith::upkeep::{Step, Work};

use super::upkeep::{ALL, DAY, pipeline, rounds};
use crate::support::World;
use crate::support::rivals::Rivals;

/// Only what nothing names is deleted.
#[tokio::test]
async fn orphans_are_what_nothing_names() {
    let rivals = Rivals::new(&pipeline(), "no.table", &[], |_, _| async {});
    let world = &rivals.world;
    rounds(world, 1..4).await;
    world.tag_oldest("silver.customers").await;
    // A batch that is committed and not published: its ledger file is named by bronze alone.
    let orphans = ["bronze/customers/data/x.parquet", "silver/customers/metadata/y.avro"]
        .map(|path| format!("memory:/warehouse/{path}"));
    let others = ["bronze/customers/data/_SUCCESS", "bronze/customers/notes/z.parquet"]
        .map(|path| format!("memory:/warehouse/{path}"));
    for path in orphans.iter().chain(&others) {
        world.files.new_output(path).unwrap().write("x".into()).await.unwrap();
    }
    let before = rivals.warehouse.list().await;
    let found = world.upkeep(Work { compact: false, ..ALL }).await;
    assert!(
        found.iter().all(|done| done.items_before == 0 || done.step == Step::Snapshots),
        "they are young"
    );
    world.ambient.advance(2 * DAY);
    let dry = Work { compact: false, expire: false, orphans: Some(DAY), dry_run: true };
    let found: usize = world.upkeep(dry).await.iter().map(|done| done.items_before).sum();
    assert_eq!(found, orphans.len());
    assert_eq!(rivals.warehouse.list().await, before, "a dry run deletes nothing");
    world.upkeep(Work { dry_run: false, ..dry }).await;
    let gone: Vec<String> = before.difference(&rivals.warehouse.list().await).cloned().collect();
    assert_eq!(gone, orphans);
}

#[tokio::test]
async fn a_batch_that_is_not_published_keeps_its_ledger_file() {
    let rivals = Rivals::new(&pipeline(), "no.table", &[], |_, _| async {});
    let world = &rivals.world;
    rounds(world, 1..2).await;
    let objects = world.table("bronze.customers_objects").await;
    let pointer = world.catalog.load(objects.name()).await.unwrap().unwrap().pointer;
    rounds(world, 2..3).await;
    // As if the worker had died before it published.
    let now = world.catalog.load(objects.name()).await.unwrap().unwrap().pointer;
    world.point(objects.name(), &now, &pointer.metadata_location).await;
    world.files.delete(&now.metadata_location).await.unwrap();
    world.ambient.advance(2 * DAY);
    let before = data_of(&rivals, "customers_objects").await;
    world.upkeep(Work { compact: false, ..ALL }).await;
    assert_eq!(data_of(&rivals, "customers_objects").await, before);
    rounds(world, 3..4).await;
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers_objects").await, ["3"]);
}

async fn data_of(rivals: &Rivals, table: &str) -> Vec<String> {
    let part = format!("/{table}/data/");
    rivals.warehouse.list().await.into_iter().filter(|path| path.contains(&part)).collect()
}

/// Where it is not sure whose a file is, it stays.
#[tokio::test]
async fn files_that_may_be_others_stay() {
    let rivals = Rivals::new(&pipeline(), "no.table", &[], |_, _| async {});
    let world = &rivals.world;
    rounds(world, 1..2).await;
    world.ambient.advance(2 * DAY);
    let name = "bronze.customers".parse().unwrap();
    let keeps_from = async |age: Duration, why: &str| match world.lake().orphans(&name, age).await {
        Err(LakeError::KeepsAll { why: said, .. }) => assert!(said.contains(why), "{said}"),
        found => panic!("{found:?}"),
    };
    let keeps = async |why: &str| keeps_from(DAY, why).await;
    world.set_property("bronze.customers", "gc.enabled", "false").await;
    keeps("gc.enabled").await;
    world.remove_property("bronze.customers", "gc.enabled").await;

    // The metadata of another table, which a lost catalog has known.
    let other = world.table("silver.customers").await.metadata_location().to_owned();
    let bytes = world.files.new_input(&other).unwrap().read().await.unwrap();
    let foreign = "memory:/warehouse/bronze/customers/metadata/00001-x.metadata.json";
    world.files.new_output(foreign).unwrap().write(bytes).await.unwrap();
    keeps("another table").await;
    // However young it is: that table's data may be older.
    keeps_from(100 * DAY, "another table").await;
    world.files.delete(foreign).await.unwrap();

    // A catalog that was restored from a backup: the table has gone on since.
    let backup = world.catalog.load(&name).await.unwrap().unwrap().pointer;
    rounds(world, 2..4).await;
    let now = world.catalog.load(&name).await.unwrap().unwrap().pointer;
    world.point(&name, &now, &backup.metadata_location).await;
    keeps("a later state").await;
    // A table that deletes its old metadata has young ones only.
    keeps_from(100 * DAY, "a later state").await;
    let restored = world.catalog.load(&name).await.unwrap().unwrap().pointer;
    world.point(&name, &restored, &now.metadata_location).await;
    assert_eq!(world.lake().orphans(&name, DAY).await.unwrap().0, []);

    // What cannot be read may name any file.
    let list = rivals.warehouse.list().await;
    let manifest = list.iter().find(|p| p.contains("bronze/customers/") && p.ends_with("-m.avro"));
    world.files.delete(manifest.unwrap()).await.unwrap();
    assert!(world.lake().orphans(&name, DAY).await.is_err());
}

/// A catalog that was lost is not answered with a second table among the files of the first.
#[tokio::test]
async fn a_table_is_not_made_where_another_ones_files_are() {
    let rivals = Rivals::new(&pipeline(), "no.table", &[], |_, _| async {});
    rounds(&rivals.world, 1..3).await;
    let before = rivals.warehouse.list().await;
    let lost = World::on(
        &pipeline(),
        Arc::new(silversmith::lake::catalog::MemoryCatalog::new()),
        rivals.warehouse.files(),
        rivals.world.raw.clone(),
        rivals.world.checkpoints.clone(),
    );
    lost.lake().list_by(Arc::new(rivals.warehouse.clone()));
    let error = lost.pipeline().bronze.step().await.unwrap_err();
    let said = silversmith::error::chain(&error);
    assert!(said.contains("restore the catalog"), "{said}");
    assert_eq!(rivals.warehouse.list().await, before, "nothing was written");
}
