//! Merge-on-read: which files a merge adds and removes, what other readers find, and how it stays bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use silversmith::ambient::Ambient;
use silversmith::lake::read::position_deletes::PositionDeletes;
use silversmith::lake::write::data::DataWriter;
use silversmith::lake::write::position_deletes::DeletedRows;
use silversmith::lake::{Change, CommitOutcome, LakeError, Removed, Uncommitted};
use silversmith::merge::MergeMode;

use crate::support::faulty::Fate;
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World, unsaid};

const TABLE: &str = "silver.customers";
const SILVER: &str = "SELECT id, name FROM silver.customers ORDER BY id";

fn pipeline() -> String {
    format!("{CUSTOMERS}mode = \"merge-on-read\"\ndelete_when = \"name = '-'\"\n")
}

/// Rows with the same name and order.
fn csv(ids: impl IntoIterator<Item = u32>, name: &str, updated: u32) -> String {
    let rows = ids.into_iter().map(|id| format!("{id},{name},{updated}\n"));
    format!("id,name,updated\n{}", rows.collect::<String>())
}

/// One merge of some rows.
async fn merge(world: &World, number: u32, content: &str) {
    world.ingest(&format!("{number}.csv"), content, number % 60).await;
    assert_eq!(world.silver().await.snapshots.len(), 1, "{number}");
}

async fn data_files(world: &World) -> BTreeSet<String> {
    let table = world.table(TABLE).await;
    let files = world.lake().files_of(&table, None, &[]).await.unwrap();
    files.iter().map(|file| file.path().to_owned()).collect()
}

async fn deletes(world: &World) -> Vec<PositionDeletes> {
    world.lake().position_deletes(&world.table(TABLE).await).await.unwrap()
}

async fn summary(world: &World, key: &str) -> Option<String> {
    world.table(TABLE).await.current().unwrap().summary.get(key).cloned()
}

/// The totals are those of the manifests, and the live rows are those that a query returns.
async fn totals_are_right(world: &World) {
    let live = world.table(TABLE).await.current().unwrap().rows();
    let counted = world.sql("SELECT count(*) FROM silver.customers").await;
    assert_eq!(live.map(|rows| rows.to_string()), counted.first().cloned());
    let newest = "SELECT total_rows FROM silver.customers.snapshots ORDER BY sequence_number DESC";
    assert_eq!(world.sql(&format!("{newest} LIMIT 1")).await, counted);

    let (files, deletes) = (data_files(world).await, deletes(world).await);
    let rows: u64 = deletes.iter().map(|deletes| deletes.rows).sum();
    for (key, expected) in [
        ("total-data-files", files.len().to_string()),
        ("total-delete-files", deletes.len().to_string()),
        ("total-position-deletes", rows.to_string()),
    ] {
        assert_eq!(summary(world, key).await, Some(expected), "{key}");
    }
}

#[tokio::test]
async fn changed_rows_are_named_and_their_file_stays() {
    let world = World::new(&pipeline());
    merge(&world, 0, &csv(1..=9, "a", 1)).await;
    assert_eq!(world.table(TABLE).await.current().unwrap().operation, "append");
    let first = data_files(&world).await;
    merge(&world, 1, "id,name,updated\n2,b,2\n3,-,2\n10,new,2\n").await;

    let now = data_files(&world).await;
    assert!(first.is_subset(&now) && now.len() == 2, "one file for all new rows: {now:?}");
    let deletes_now = deletes(&world).await;
    assert_eq!(deletes_now.len(), 1);
    assert_eq!((deletes_now[0].rows, &deletes_now[0].only), (2, &first.first().cloned()));
    assert_eq!(world.table(TABLE).await.current().unwrap().operation, "overwrite");
    for (key, expected) in [
        ("added-data-files", Some("1")),
        ("added-records", Some("2")),
        ("added-delete-files", Some("1")),
        ("added-position-delete-files", Some("1")),
        ("added-position-deletes", Some("2")),
        ("deleted-data-files", None),
        ("total-records", Some("11")),
    ] {
        assert_eq!(summary(&world, key).await.as_deref(), expected, "{key}");
    }
    totals_are_right(&world).await;
    let rows = ["1|a", "2|b", "4|a", "5|a", "6|a", "7|a", "8|a", "9|a", "10|new"];
    assert_eq!(world.sql(SILVER).await, rows);

    // Rows go, and none comes.
    merge(&world, 2, &csv([4], "-", 3)).await;
    assert_eq!(world.table(TABLE).await.current().unwrap().operation, "delete");
    assert_eq!(world.sql(SILVER).await.len(), rows.len() - 1);
    // The state before is there still.
    let before = world.table(TABLE).await.snapshots()[1].id;
    let then = format!("SELECT count(*) FROM silver.customers VERSION AS OF {before}");
    assert_eq!(world.sql(&then).await, ["9"]);
}

/// A delete file for each data file, whatever was deleted from it by how many merges.
#[tokio::test]
async fn the_deletes_of_a_file_are_folded_into_one() {
    let world = World::new(&pipeline());
    merge(&world, 0, &csv(0..1_000, "a", 1)).await;
    let file = data_files(&world).await.pop_first();
    for number in 1..=20 {
        merge(&world, number, &csv((number * 10)..(number * 10 + 10), "b", 2)).await;
        let of_first: Vec<_> =
            deletes(&world).await.into_iter().filter(|deletes| deletes.only == file).collect();
        assert_eq!(of_first.len(), 1);
        assert_eq!(of_first[0].rows, u64::from(number) * 10);
        totals_are_right(&world).await;
    }
    let sql =
        "SELECT name, count(*), count(DISTINCT id) FROM silver.customers GROUP BY 1 ORDER BY 1";
    assert_eq!(world.sql(sql).await, ["a|800|800", "b|200|200"]);
}

#[tokio::test]
async fn a_file_that_loses_most_of_its_rows_is_written_again_or_goes() {
    let world = World::new(&pipeline());
    merge(&world, 0, &csv(0..10, "a", 1)).await;
    let first = data_files(&world).await;
    merge(&world, 1, &csv(0..4, "b", 2)).await;
    assert!(first.is_subset(&data_files(&world).await));
    merge(&world, 2, &csv(4..7, "c", 3)).await;
    assert!(first.is_disjoint(&data_files(&world).await), "three of ten rows are left");
    assert!(deletes(&world).await.is_empty(), "its deletes went with it");
    totals_are_right(&world).await;
    let sql = "SELECT name, count(*) FROM silver.customers GROUP BY 1 ORDER BY 1";
    assert_eq!(world.sql(sql).await, ["a|3", "b|4", "c|3"]);

    let before = data_files(&world).await;
    merge(&world, 3, &csv(0..10, "d", 4)).await;
    let now = data_files(&world).await;
    assert!(now.is_disjoint(&before), "nothing of the others is left: {now:?}");
    assert_eq!(world.sql(sql).await, ["d|10"]);
    totals_are_right(&world).await;
}

const FILES: u32 = 40;

/// Forty files of a hundred rows: the keys of one begin with a hundred times its index. With their paths.
async fn forty_files() -> (World, Vec<String>) {
    let (world, mut files) = (World::new(&pipeline()), Vec::new());
    for number in 0..FILES {
        merge(&world, number, &csv((number * 100)..(number * 100 + 100), "a", 1)).await;
        let mut now = data_files(&world).await;
        now.retain(|file| !files.contains(file));
        assert_eq!(now.len(), 1);
        files.extend(now);
    }
    (world, files)
}

/// A key of each file.
fn one_of_each(offset: u32) -> impl Iterator<Item = u32> {
    (0..FILES).map(move |file| file * 100 + offset)
}

/// Beyond a few data files one delete file is for all of them; many merges leave few.
#[tokio::test]
async fn a_merge_that_touches_many_files_writes_one_delete_file() {
    let (world, _) = forty_files().await;
    let mut most = 0;
    for round in 0..12 {
        merge(&world, FILES + round, &csv(one_of_each(round), "b", 2)).await;
        let stored = deletes(&world).await;
        assert!(stored.iter().all(|deletes| deletes.only.is_none()), "{stored:?}");
        assert_eq!(stored.iter().map(|d| d.rows).sum::<u64>(), u64::from(FILES * (round + 1)));
        most = most.max(stored.len());
        totals_are_right(&world).await;
    }
    assert!(most <= 4, "{most} delete files");
    let sql =
        "SELECT name, count(*), count(DISTINCT id) FROM silver.customers GROUP BY 1 ORDER BY 1";
    assert_eq!(world.sql(sql).await, ["a|3520|3520", "b|480|480"]);

    // What they say of a file that is gone is dropped when they are folded.
    merge(&world, 98, &csv(0..100, "c", 3)).await;
    merge(&world, 99, &csv(one_of_each(50), "d", 4)).await;
    let sql = "SELECT count(*), count(DISTINCT id) FROM silver.customers";
    assert_eq!(world.sql(sql).await, ["4000|4000"]);
    totals_are_right(&world).await;
}

const BY_NAME: &str =
    "SELECT name, count(*), count(DISTINCT id) FROM silver.customers GROUP BY 1 ORDER BY 1";

/// What shared delete files say of a data file counts, too.
#[tokio::test]
async fn files_that_lose_most_of_their_rows_by_shared_deletes_are_written_again() {
    let (world, files) = forty_files().await;
    let mut most = 0;
    for round in 0..60 {
        merge(&world, FILES + round, &csv(one_of_each(round), "b", 2)).await;
        most = most.max(deletes(&world).await.len());
        totals_are_right(&world).await;
    }
    assert!(most <= 4, "{most} delete files");
    let live = data_files(&world).await;
    let left: Vec<_> = files.iter().filter(|file| live.contains(*file)).collect();
    assert!(left.is_empty(), "of each 40 rows of 100 are left: {left:?}");
    assert_eq!(world.sql(BY_NAME).await, ["a|1600|1600", "b|2400|2400"]);
}

/// A merge writes one file again and names rows of many, and the delete file that it folds names rows of that one.
#[tokio::test]
async fn deletes_of_a_file_that_is_written_again_are_not_written() {
    let (world, files) = forty_files().await;
    merge(&world, 100, &csv(one_of_each(0), "b", 2)).await;
    assert_eq!(deletes(&world).await.len(), 1);
    merge(&world, 101, &csv((1..61).chain(one_of_each(1).skip(1)), "c", 3)).await;
    assert!(!data_files(&world).await.contains(&files[0]), "39 of 100 rows are left");
    let rows: Vec<u64> = deletes(&world).await.iter().map(|deletes| deletes.rows).collect();
    assert_eq!(rows, [78], "two of each of the other files");
    totals_are_right(&world).await;
    assert_eq!(world.sql(BY_NAME).await, ["a|3861|3861", "b|40|40", "c|99|99"]);
}

#[tokio::test]
async fn deletes_of_a_file_alone_and_shared_ones_count_together() {
    let (world, files) = forty_files().await;
    let own = |all: Vec<PositionDeletes>| {
        let of_first = |deletes: &PositionDeletes| deletes.only.as_deref() == Some(&*files[0]);
        all.into_iter().filter(of_first).map(|deletes| deletes.rows).collect::<Vec<_>>()
    };
    merge(&world, 100, &csv(1..=30, "b", 2)).await;
    merge(&world, 101, &csv(one_of_each(0), "c", 3)).await;
    assert!(data_files(&world).await.contains(&files[0]), "69 of 100 rows are left");
    assert_eq!((own(deletes(&world).await), deletes(&world).await.len()), (vec![30], 2));
    totals_are_right(&world).await;

    merge(&world, 102, &csv((31..=50).chain(one_of_each(60)), "d", 4)).await;
    assert!(!data_files(&world).await.contains(&files[0]), "48 of 100 rows are left");
    assert_eq!((own(deletes(&world).await), deletes(&world).await.len()), (vec![], 1));
    totals_are_right(&world).await;
    let rows = ["a|3870|3870", "b|30|30", "c|40|40", "d|60|60"];
    assert_eq!(world.sql(BY_NAME).await, rows);
}

/// Where each partition has one of the data files, a delete file is for that one, and the next is folded with it.
#[tokio::test]
async fn deletes_of_the_only_file_of_a_partition_are_folded() {
    let partitions = "partition_by = [\"truncate(100, id)\"]\n";
    let world = World::new(&format!("{}{partitions}", pipeline()));
    merge(&world, 0, &csv(0..(FILES * 100), "a", 1)).await;
    let first = data_files(&world).await;
    assert_eq!(first.len(), FILES as usize);
    for round in 1..=3 {
        merge(&world, round, &csv(one_of_each(round), "b", 2)).await;
        let stored = deletes(&world).await;
        let of: BTreeSet<_> = stored.iter().filter_map(|deletes| deletes.only.clone()).collect();
        assert_eq!((stored.len(), &of), (FILES as usize, &first));
        assert!(stored.iter().all(|deletes| deletes.rows == u64::from(round)));
        totals_are_right(&world).await;
    }
    assert_eq!(world.sql(BY_NAME).await, ["a|3880|3880", "b|120|120"]);
}

/// Each merge in another mode than the one before.
#[tokio::test]
async fn the_mode_may_change_at_any_time() {
    let mut world = World::new(&pipeline());
    merge(&world, 0, &csv(0..100, "a", 1)).await;
    for number in 1..=6 {
        let on_read = number % 2 == 1;
        world.merge_by(if on_read { MergeMode::MergeOnRead } else { MergeMode::CopyOnWrite });
        merge(&world, number, &csv([number, number + 50, 100 + number], "b", 1 + number)).await;
        assert_eq!(!deletes(&world).await.is_empty(), on_read, "{number}");
        totals_are_right(&world).await;
        let sql = "SELECT count(*), count(DISTINCT id) FROM silver.customers WHERE name = 'b'";
        assert_eq!(world.sql(sql).await, [format!("{0}|{0}", 3 * number)]);
    }
    assert_eq!(world.sql("SELECT count(*) FROM silver.customers").await, ["106"]);
    world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
    assert!(deletes(&world).await.is_empty());
    assert_eq!(world.sql("SELECT count(*) FROM silver.customers").await, ["106"]);
}

/// Another writer writes all files again, as compaction does: the same rows at other positions.
async fn compact(world: &World) {
    let table = world.table(TABLE).await;
    let (lake, schema) = (world.lake(), table.schema());
    let columns: Vec<String> = schema.arrow().fields().iter().map(|f| f.name().clone()).collect();
    let mut writer = DataWriter::new(lake, &table, schema).unwrap();
    for file in lake.files_of(&table, None, &[]).await.unwrap().iter().rev() {
        let mut rows = lake.read_rows(&table, schema, file, &columns).await.unwrap();
        while let Some(rows) = rows.try_next().await.unwrap() {
            writer.write(&rows.batch).await.unwrap();
        }
    }
    let change = Change::overwrite(writer.close().await.unwrap(), Removed::All, unsaid());
    let outcome = lake.commit(&table, change).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

/// Between the plan of a merge and its commit the files that it points into are gone.
#[tokio::test]
async fn a_merge_that_a_compaction_overtakes_is_planned_again() {
    for mode in [MergeMode::CopyOnWrite, MergeMode::MergeOnRead] {
        let mut rivals =
            Rivals::new(&pipeline(), TABLE, &[Fate::Overtaken], |rival, _| async move {
                compact(&rival).await;
            });
        rivals.world.merge_by(mode);
        rivals.rival.ingest("1.csv", &csv(0..10, "a", 1), 1).await;
        rivals.rival.silver().await;
        rivals.rival.ingest("2.csv", &csv(20..30, "a", 1), 2).await;
        rivals.rival.silver().await;
        rivals.rival.ingest("3.csv", &csv([3, 25, 40], "b", 2), 3).await;
        let report = rivals.world.silver().await;
        assert_eq!((rivals.acted(), report.snapshots.len()), (1, 1), "{mode:?}");
        let sql =
            "SELECT name, count(*), count(DISTINCT id) FROM silver.customers GROUP BY 1 ORDER BY 1";
        assert_eq!(rivals.world.sql(sql).await, ["a|18|18", "b|3|3"], "{mode:?}");
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{mode:?}");
        let live = data_files(&rivals.world).await;
        for deletes in deletes(&rivals.world).await {
            assert!(live.contains(&deletes.only.unwrap()), "{mode:?}: deletes of a live file");
        }
    }
}

/// Deletes of a file that is gone would bring its rows back: such a commit is refused, and leaves nothing.
#[tokio::test]
async fn deletes_of_a_file_that_is_gone_are_not_committed() {
    let rivals = Rivals::new(&pipeline(), TABLE, &[], |_, _| async {});
    let world = &rivals.world;
    merge(world, 0, &csv(0..10, "a", 1)).await;
    let table = world.table(TABLE).await;
    let file = world.lake().files_of(&table, None, &[]).await.unwrap().remove(0);
    compact(world).await;
    let rows = vec![DeletedRows { file: file.clone(), positions: [3].into_iter().collect() }];
    let deletes = world.lake().write_position_deletes(&table, rows).await.unwrap();
    let nothing = Uncommitted::nothing(world.lake());
    let change = Change::row_delta(nothing, deletes, BTreeSet::new(), unsaid());
    let error = world.lake().commit(&world.table(TABLE).await, change).await.unwrap_err();
    assert!(matches!(&error, LakeError::FileGone { path, .. } if path == file.path()), "{error}");
    assert_eq!(rivals.orphans().await, Vec::<String>::new());
    assert_eq!(world.sql(SILVER).await.len(), 10);
}

/// Delete files that were folded go with the snapshots that named them.
#[tokio::test]
async fn folded_delete_files_expire() {
    let gold = "table = \"gold.count\"\nsql = \"SELECT count(*) AS n FROM silver\"\n";
    let pipeline = format!("{}[[pipeline.gold]]\n{gold}", pipeline());
    let rivals = Rivals::new(&pipeline, "no.table", &[], |_, _| async {});
    let world = &rivals.world;
    merge(world, 0, &csv(0..1_000, "a", 1)).await;
    // In another century: the first metadata of a table has the real time.
    world.ambient.advance(Duration::from_secs(100 * 365 * 86_400));
    for number in 1..=50 {
        world.ambient.advance(Duration::from_secs(2 * 3_600));
        let rows = csv([number * 10], "b", 2).into_bytes();
        world.raw.put(&format!("raw/{number}.csv"), rows, world.ambient.now());
        world.bronze().await;
        assert_eq!(world.silver().await.counts.updated, 1, "{number}");
        world.gold().await;
    }
    let snapshots = world.table(TABLE).await.snapshots().len();
    assert!(snapshots < 40, "{snapshots}");
    let files = rivals.warehouse.list().await;
    let deletes = files.iter().filter(|file| file.ends_with("-deletes.parquet")).count();
    assert!(deletes <= snapshots, "{deletes} delete files for {snapshots} snapshots");
    assert_eq!(rivals.orphans().await, Vec::<String>::new());
    assert_eq!(world.sql("SELECT n FROM gold.count").await, ["1000"]);
    totals_are_right(world).await;
}
