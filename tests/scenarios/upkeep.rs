//! Upkeep changes no row, loses nothing that is needed, and gives way to a commit that comes first.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use silversmith::ambient::Ambient;
use silversmith::gold::GoldReport;
use silversmith::lake::read::scan::FileTask;
use silversmith::lake::{LakeError, Table};
use silversmith::silver::MERGED;
use silversmith::upkeep::{Done, Limits, Step, UpkeepError, Work};

use super::partitions;
use crate::support::deletes::Scope;
use crate::support::faulty::Fate;
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World};

pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const COMPACT: Work =
    Work { compact: true, expire: false, orphans: None, dry_run: false };
pub(super) const ALL: Work =
    Work { compact: true, expire: true, orphans: Some(DAY), dry_run: false };
const LEAST: Limits = Limits { least_files: 2, ..Limits::COMMAND };
const ROUNDS: i64 = 8;
const BRONZE: &str = "SELECT id, name, _source_uri FROM bronze.customers ORDER BY id, name";
pub(super) const SILVER: &str = "SELECT id, name FROM silver.customers ORDER BY id";
const TABLES: [&str; 5] = [
    "bronze.customers",
    "bronze.customers_objects",
    "silver.customers",
    "silver.customers_deletes",
    "gold.count",
];

pub(super) fn pipeline() -> String {
    let gold = "table = \"gold.count\"\nsql = \"SELECT count(*) AS n FROM silver\"\n";
    format!("{CUSTOMERS}delete_when = \"op = 'D'\"\n[[pipeline.gold]]\n{gold}")
}

impl World {
    pub(super) async fn upkeep(&self, work: Work) -> Vec<Done> {
        let (mut all, upkeep) = (Vec::new(), self.wired.upkeep());
        for target in self.pipeline().targets() {
            upkeep.table(&target, work, LEAST, |done| all.push(done)).await.unwrap();
        }
        all
    }

    /// The live data files of a table.
    pub(super) async fn file_count(&self, table: &str) -> usize {
        let table = self.table(table).await;
        self.lake().files_of(&table, None, &[]).await.unwrap().len()
    }
}

/// Rounds in which two keys come and one is deleted: every fourth time one that is there.
pub(super) async fn rounds(world: &World, numbers: std::ops::Range<i64>) {
    for n in numbers {
        let (other, deleted) = (1_000 - n, if n % 4 == 0 { n - 1 } else { 5_000 + n });
        let rows = format!("{other},a{n},U,{n}\n{n},b{n},U,{n}\n{deleted},,D,{n}\n");
        world.ingest(&format!("{n}.csv"), &format!("id,name,op,updated\n{rows}"), n as u32).await;
        world.silver().await;
        world.gold().await;
    }
}

fn live_rows(rounds: i64) -> usize {
    (2 * rounds - rounds / 4) as usize
}

async fn keys_in_order(world: &World, table: &Table) -> Vec<i64> {
    let mut keys = Vec::new();
    for file in world.lake().files_of(table, None, &[]).await.unwrap() {
        let columns = ["id".to_owned()];
        let rows = world.lake().read_rows(table, table.schema(), &file, &columns).await.unwrap();
        for rows in rows.try_collect::<Vec<_>>().await.unwrap() {
            keys.extend(rows.batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
        }
    }
    keys
}

#[tokio::test]
async fn compaction_changes_no_row_and_no_position() {
    let world = World::new(&pipeline());
    rounds(&world, 1..ROUNDS + 1).await;
    let (bronze, silver) = (world.sql(BRONZE).await, world.sql(SILVER).await);
    let position = world.table("silver.customers").await.position(MERGED).unwrap();
    assert_eq!(silver.len(), live_rows(ROUNDS));
    assert!(world.file_count("bronze.customers").await >= ROUNDS as usize);

    let planned = world.upkeep(Work { dry_run: true, ..COMPACT }).await;
    assert!(planned.iter().any(|d| d.step == Step::Files && d.items_after < d.items_before));
    let done = world.upkeep(COMPACT).await;
    let counts = |all: &[Done]| -> Vec<_> {
        let files = all.iter().filter(|done| done.step == Step::Files);
        files.map(|done| (done.table.clone(), done.items_before, done.items_after)).collect()
    };
    assert_eq!(counts(&planned), counts(&done), "a dry run says what is done");
    for table in TABLES {
        assert_eq!(world.file_count(table).await, 1, "{table}");
        let summary = world.table(table).await.current().unwrap().summary;
        assert_eq!(summary["total-data-files"], "1", "{table}");
    }
    let table = world.table("silver.customers").await;
    assert_eq!(table.current().unwrap().operation, "replace");
    assert!(keys_in_order(&world, &table).await.is_sorted());
    assert_eq!(
        (world.sql(BRONZE).await, world.sql(SILVER).await),
        (bronze.clone(), silver.clone())
    );

    // Nothing is merged, refreshed or ingested again, and nothing waits.
    assert_eq!(table.position(MERGED).unwrap(), position);
    assert_eq!(
        table.current().unwrap().summary[&format!("{MERGED}-snapshot-id")],
        position.unwrap().snapshot.to_string()
    );
    assert_eq!(world.silver().await.snapshots, Vec::new());
    assert_eq!(world.gold().await, GoldReport::UpToDate);
    assert_eq!(world.bronze().await.ingested, 0);
    assert_eq!(world.pipeline().silver.as_ref().unwrap().lag().await.unwrap(), None);

    // Once more there is nothing to do, and the next rounds go on as always.
    assert!(world.upkeep(COMPACT).await.iter().all(Done::is_nothing));
    rounds(&world, ROUNDS + 1..ROUNDS + 3).await;
    assert_eq!(world.sql(SILVER).await.len(), live_rows(ROUNDS + 2));
    assert_eq!(world.sql("SELECT n FROM gold.count").await, [live_rows(ROUNDS + 2).to_string()]);
    assert_eq!(&world.sql(BRONZE).await.len(), &(3 * (ROUNDS as usize + 2)));
}

/// Compacted before silver has merged it, bronze is merged once all the same, whether or not the start has expired.
#[tokio::test]
async fn bronze_that_is_compacted_before_it_is_merged_is_merged() {
    for expired in [false, true] {
        let world = World::new(&pipeline());
        rounds(&world, 1..4).await;
        for n in 4..8 {
            world
                .ingest(&format!("{n}.csv"), &format!("id,name,op,updated\n{n},c,U,{n}\n"), 9)
                .await;
        }
        world.upkeep(COMPACT).await;
        if expired {
            world.expire_all_but_current("bronze.customers").await;
        }
        let merged = world.silver().await;
        assert_eq!(merged.healed, expired);
        assert_eq!(merged.counts.source, if expired { 13 } else { 4 }, "{expired}");
        assert_eq!(
            world.sql("SELECT count(*) FROM silver.customers WHERE name = 'c'").await,
            ["4"]
        );
        assert_eq!(world.silver().await.snapshots, Vec::new());
    }
}

/// What is above a position is found by data sequence numbers: files of merged rows alone are below it.
#[tokio::test]
async fn compacted_rows_are_as_old_as_they_were() {
    let world = World::new(&pipeline());
    rounds(&world, 1..5).await;
    world.upkeep(COMPACT).await;
    world.ingest("9.csv", "id,name,op,updated\n9,c,U,9\n", 9).await;
    world.expire_all_but_current("bronze.customers").await;
    let merged = world.silver().await;
    assert!(merged.healed);
    assert_eq!(merged.counts.source, 1);
}

#[tokio::test]
async fn deleted_rows_are_left_out_and_their_deletes_go() {
    for way in ["position, of a file", "position, by path", "equality"] {
        let world = World::new(CUSTOMERS);
        for n in 0..4 {
            let rows = format!("id,name,updated\n{n},a,1\n{},b,1\n", n + 10);
            world.ingest(&format!("{n}.csv"), &rows, n).await;
            world.silver().await;
        }
        let table = world.table("silver.customers").await;
        let file = world.lake().files_of(&table, None, &[]).await.unwrap()[0].path().to_owned();
        match way {
            "equality" => {
                let ids = Arc::new(Int64Array::from(vec![2]));
                world.delete_equal("silver.customers", &[("id", ids)]).await;
            }
            way => {
                let scope = if way.ends_with("file") { Scope::File } else { Scope::Rows };
                world.delete_positions("silver.customers", &file, &[0], scope).await;
            }
        }
        let rows = world.sql(SILVER).await;
        assert_eq!(rows.len(), 7, "{way}");
        world.upkeep(COMPACT).await;
        assert_eq!(world.sql(SILVER).await, rows, "{way}");
        assert_eq!(world.delete_files("silver.customers").await, Vec::<String>::new(), "{way}");
        assert_eq!(world.file_count("silver.customers").await, 1, "{way}");
        let summary = world.table("silver.customers").await.current().unwrap().summary;
        assert_eq!(
            (&*summary["total-records"], &*summary["total-delete-files"]),
            ("7", "0"),
            "{way}"
        );

        // A delete that comes later applies to what was compacted.
        let ids = Arc::new(Int64Array::from(vec![13]));
        world.delete_equal("silver.customers", &[("id", ids)]).await;
        assert_eq!(world.sql(SILVER).await.len(), 6, "{way}");
    }
}

/// Where the settings say how long deleted keys are remembered.
#[tokio::test]
async fn deleted_keys_are_forgotten_after_a_while() {
    let retention = "delete_when = \"op = 'D'\"\ntombstone_retention = \"10d\"\n";
    let world = World::new(&pipeline().replace("delete_when = \"op = 'D'\"\n", retention));
    let deletes = "SELECT id FROM silver.customers_deletes ORDER BY id";
    let keys = "id,name,op,updated\n";
    let come = async |name: &str, rows: &str| {
        world.raw.put(&format!("raw/{name}"), format!("{keys}{rows}"), world.ambient.now());
        assert_eq!(world.bronze().await.ingested, 1, "{name}");
        world.silver().await;
    };
    come("1.csv", "1,,D,5\n2,,D,5\n3,c,U,5\n").await;
    world.ambient.advance(9 * DAY);
    world.upkeep(COMPACT).await;
    come("2.csv", "1,old,U,2\n4,,D,5\n").await;
    assert_eq!(world.sql(deletes).await, ["1", "2", "4"]);
    assert_eq!(world.sql(SILVER).await, ["3|c"]);

    world.ambient.advance(2 * DAY);
    let forgotten = |all: &[Done]| -> Vec<_> {
        let keys = all.iter().filter(|done| done.step == Step::DeletedKeys);
        keys.map(|done| (done.items_before, done.items_after)).collect()
    };
    let planned = world.upkeep(Work { dry_run: true, ..COMPACT }).await;
    assert_eq!(forgotten(&planned), [(3, 1)]);
    assert_eq!(world.sql(deletes).await, ["1", "2", "4"], "a dry run");
    assert_eq!(forgotten(&world.upkeep(COMPACT).await), [(3, 1)]);
    assert_eq!(world.sql(deletes).await, ["4"]);
    assert_eq!(world.sql(SILVER).await, ["3|c"]);
    assert_eq!(forgotten(&world.upkeep(COMPACT).await), [(1, 1)]);

    // An older row of a key that is forgotten comes back; one that is remembered stays deleted.
    come("3.csv", "1,old,U,2\n4,old,U,2\n").await;
    assert_eq!(world.sql(SILVER).await, ["1|old", "3|c"]);
}

/// A commit that comes first wins, and compaction does what is left to do.
#[tokio::test]
async fn a_lost_race_is_planned_again() {
    let rival_acts = |rival: Arc<World>, _| async move {
        // An update of one key rewrites one file in silver; the others are as they were.
        rival.ingest("late.csv", "id,name,op,updated\n999,late,U,99\n", 30).await;
        rival.silver().await;
    };
    for table in ["bronze.customers", "silver.customers"] {
        // The first swap creates the table.
        let mut fates = vec![Fate::Fine; 1 + ROUNDS as usize];
        fates.push(Fate::Overtaken);
        let rivals = Rivals::new(&pipeline(), table, &fates, rival_acts);
        let world = &rivals.world;
        rounds(world, 1..ROUNDS + 1).await;
        assert_eq!(rivals.acted(), 0, "{table}");
        world.upkeep(COMPACT).await;
        assert_eq!(rivals.acted(), 1, "{table}");
        let late = world.sql("SELECT name FROM silver.customers WHERE id = 999").await;
        assert_eq!(late, ["late"], "{table}");
        assert_eq!(world.sql(BRONZE).await.len(), 3 * ROUNDS as usize + 1, "{table}");
        assert_eq!(world.sql(SILVER).await.len(), live_rows(ROUNDS), "{table}");
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{table}");
        world.upkeep(COMPACT).await;
        assert_eq!(world.file_count(table).await, 1, "{table}");
    }
}

/// What was replaced goes with the snapshots that name it.
#[tokio::test]
async fn expiry_by_itself_deletes_what_was_replaced() {
    let rivals = Rivals::new(&pipeline(), "no.table", &[], |_, _| async {});
    let world = &rivals.world;
    rounds(world, 1..ROUNDS + 1).await;
    world.upkeep(COMPACT).await;
    let (bronze, silver) = (world.sql(BRONZE).await, world.sql(SILVER).await);
    let before = rivals.warehouse.list().await.len();
    world.ambient.advance(100 * 365 * DAY);
    let done = world.upkeep(Work { compact: false, expire: true, ..COMPACT }).await;
    let deleted: usize = done.iter().map(|done| done.files_deleted).sum();
    assert!(deleted > 0);
    for table in TABLES {
        let table = world.table(table).await;
        assert_eq!(table.snapshots().len(), 1, "{}", table.name());
    }
    let left = rivals.warehouse.list().await;
    assert!(
        left.iter().filter(|path| path.ends_with(".parquet")).count() == TABLES.len(),
        "{left:?}"
    );
    assert!(left.len() < before);
    assert_eq!(rivals.orphans().await, Vec::<String>::new());
    assert_eq!((world.sql(BRONZE).await, world.sql(SILVER).await), (bronze, silver));
    // Its position has expired with its snapshot: silver moves it on, and merges no row again.
    assert_eq!(world.silver().await.counts.source, 0);
    assert_eq!(world.bronze().await.ingested, 0);
    assert!(world.upkeep(ALL).await.iter().all(Done::is_nothing));
}

/// Small manifests become one, and each file keeps its sequence numbers.
#[tokio::test]
async fn small_manifests_are_merged() {
    let world = World::new(CUSTOMERS);
    for n in 0..12 {
        world.ingest(&format!("{n}.csv"), &format!("id,name,updated\n{n},a,{n}\n"), n).await;
    }
    let target = &world.pipeline().targets()[0];
    let (mut all, upkeep) = (Vec::new(), world.wired.upkeep());
    let few = Limits { least_files: 100, ..LEAST };
    upkeep.table(target, COMPACT, few, |done| all.push(done)).await.unwrap();
    let manifests = all.iter().find(|done| done.step == Step::Manifests).unwrap();
    assert_eq!((manifests.items_before, manifests.items_after), (12, 1));
    assert_eq!(world.file_count("bronze.customers").await, 12);
    world.expire_all_but_current("bronze.customers").await;
    assert_eq!(world.silver().await.counts.inserted, 12);
    assert_eq!(world.sql(SILVER).await.len(), 12);
}

/// Where the type of a partition column has changed, manifests of the one type and of the other are merged apart, once.
#[tokio::test]
async fn manifests_of_a_widened_partition_column_are_merged() {
    let declared = |kind: &str| {
        let types = format!("[pipeline.csv.columns]\nstore = \"{kind}\"\n[pipeline.bronze]");
        partitions::partitioned("\"store\"", "").replace("[pipeline.bronze]", &types)
    };
    let world = World::new(&declared("int"));
    let come = async |world: &World, numbers: std::ops::Range<u32>| {
        for n in numbers {
            let rows = format!("id,store,updated\n{n},7,{n}\n");
            world.ingest(&format!("{n}.csv"), &rows, n).await;
        }
    };
    come(&world, 0..6).await;
    let world = world.reconfigured(&declared("long"));
    come(&world, 6..12).await;
    world.set_property("bronze.customers", "write.target-file-size-bytes", "1").await;
    let of_manifests = |all: Vec<Done>| -> Vec<_> {
        let bronze = all.into_iter().filter(|done| done.table == "bronze.customers");
        let manifests = bronze.filter(|done| done.step == Step::Manifests);
        manifests.map(|done| (done.items_before, done.items_after)).collect()
    };
    assert_eq!(of_manifests(world.upkeep(COMPACT).await), [(12, 2)]);
    assert_eq!(of_manifests(world.upkeep(COMPACT).await), [(2, 2)]);
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers WHERE store = 7").await, ["12"]);
}

/// Files that fill a large one are rewritten, however few they are: it is not written again.
#[tokio::test]
async fn a_worker_rewrites_what_becomes_a_large_file() {
    let world = World::new(CUSTOMERS);
    for n in 0..12 {
        world.ingest(&format!("{n}.csv"), &format!("id,name,updated\n{n},a,{n}\n"), n).await;
    }
    let table = world.table("bronze.customers").await;
    let files = world.lake().files_of(&table, None, &[]).await.unwrap();
    let largest = files.iter().map(FileTask::bytes).max().unwrap();
    let target = (4 * largest).to_string();
    world.set_property("bronze.customers", "write.target-file-size-bytes", &target).await;
    let upkeep = world.wired.upkeep();
    let of_bronze = &world.pipeline().targets()[0];
    upkeep.table(of_bronze, COMPACT, Limits::WORKER, |_| {}).await.unwrap();
    assert_eq!(world.file_count("bronze.customers").await, 3);
}

#[tokio::test]
async fn upkeep_of_a_table_that_is_not_there_is_nothing() {
    let world = World::new(&pipeline());
    assert_eq!(world.upkeep(ALL).await, Vec::new());
    let kind = |error: UpkeepError| error.kind();
    let missing = LakeError::NotFound("no.table".parse().unwrap());
    assert_eq!(kind(missing.into()), silversmith::error::Kind::Configuration);
}

#[tokio::test]
async fn large_files_stay_unless_many_of_their_rows_are_deleted() {
    let world = World::new(CUSTOMERS);
    for n in 0..3 {
        let rows: String = (0..10).map(|row| format!("{},a,{n}\n", n * 10 + row)).collect();
        world.ingest(&format!("{n}.csv"), &format!("id,name,updated\n{rows}"), n).await;
        world.silver().await;
    }
    world.set_property("silver.customers", "write.target-file-size-bytes", "1").await;
    let of_silver = |all: Vec<Done>| -> Vec<Done> {
        all.into_iter().filter(|done| done.table == "silver.customers").collect()
    };
    assert!(of_silver(world.upkeep(COMPACT).await).iter().all(Done::is_nothing));
    assert_eq!(world.file_count("silver.customers").await, 3);

    let table = world.table("silver.customers").await;
    let file = world.lake().files_of(&table, None, &[]).await.unwrap()[0].path().to_owned();
    world.delete_positions("silver.customers", &file, &[4], Scope::File).await;
    let rows = world.sql(SILVER).await;
    world.upkeep(COMPACT).await;
    assert_eq!(world.sql(SILVER).await, rows);
    assert_eq!(world.delete_files("silver.customers").await, Vec::<String>::new());
    let files = world.lake().files_of(&world.table("silver.customers").await, None, &[]).await;
    let files = files.unwrap();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|now| now.path() != file), "it alone was written again");
    assert_eq!(files.iter().filter_map(|file| file.rows()).sum::<u64>(), 29);
}
