//! Snapshots expire in the commits that follow them: never one that is needed, and with the files that only they
//! named.

use std::time::Duration;

use silversmith::ambient::Ambient;
use silversmith::lake::Table;

use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World};

/// A round every two hours.
const PAUSE: Duration = Duration::from_secs(2 * 3_600);
/// A day of rounds, and those that wait to expire together.
const MOST: usize = 12 + 20 + 1;

fn pipeline() -> String {
    let gold = "table = \"gold.count\"\nsql = \"SELECT count(*) AS n FROM silver\"\n";
    format!("{CUSTOMERS}delete_when = \"op = 'D'\"\n[[pipeline.gold]]\n{gold}")
}

/// A world after its first round, in another century: the first metadata of a table has the real time.
async fn rivals(prepare: impl AsyncFnOnce(&World)) -> Rivals {
    let rivals = Rivals::new(&pipeline(), "no.table", &[], |_, _| async {});
    round(&rivals.world, 0).await;
    prepare(&rivals.world).await;
    rivals.world.ambient.advance(Duration::from_secs(100 * 365 * 86_400));
    rivals
}

/// Two hours go by, and an object comes: a key is updated, another one deleted.
async fn ingest(world: &World, number: usize) {
    world.ambient.advance(PAUSE);
    let deleted = (number + 1) % 7;
    let rows =
        format!("id,name,op,updated\n{},n{number},U,{number}\n{deleted},,D,{number}\n", number % 7);
    world.raw.put(&format!("raw/{number}.csv"), rows.into_bytes(), world.ambient.now());
    assert_eq!(world.bronze().await.ingested, 1, "{number}");
}

async fn round(world: &World, number: usize) {
    ingest(world, number).await;
    world.silver().await;
    world.gold().await;
}

fn snapshots(table: &Table) -> usize {
    assert_eq!(table.history_length(), table.snapshots().len(), "all in one line");
    table.history_length()
}

async fn ended_right(world: &World, rounds: usize) {
    assert_eq!(
        world.sql("SELECT count(*) FROM bronze.customers").await,
        [(2 * rounds).to_string()]
    );
    let objects = world.sql("SELECT count(*) FROM bronze.customers_objects").await;
    assert_eq!(objects, [rounds.to_string()]);
    // Each key is updated in its turn, and deleted one turn earlier by its neighbour's object.
    let newest =
        world.sql("SELECT id, name FROM silver.customers ORDER BY updated DESC LIMIT 1").await;
    let last = rounds - 1;
    assert_eq!(newest, [format!("{}|n{last}", last % 7)]);
    assert_eq!(world.sql("SELECT n FROM gold.count").await, ["6"]);
}

#[tokio::test]
async fn snapshots_of_more_than_a_day_expire_with_their_files() {
    const ROUNDS: usize = 50;
    const TABLES: [&str; 4] =
        ["bronze.customers", "bronze.customers_objects", "silver.customers", "gold.count"];
    let few = async |world: &World| {
        for table in TABLES {
            world.set_property(table, "write.metadata.previous-versions-max", "5").await;
        }
    };
    let rivals = rivals(few).await;
    let world = &rivals.world;
    for number in 1..ROUNDS {
        round(world, number).await;
    }
    ended_right(world, ROUNDS).await;
    for name in TABLES {
        let table = world.table(name).await;
        let count = snapshots(&table);
        assert!((12..=MOST).contains(&count), "{name}: {count}");
        assert!(!table.has_whole_history(), "{name}");
        let folder = format!("{}/metadata/", table.location());
        let files = rivals.warehouse.list().await;
        let metadata = files.iter().filter(|f| f.starts_with(&folder) && f.ends_with(".json"));
        assert_eq!(metadata.count(), 6, "{name}: the newest, and those in its log");
    }
    assert_eq!(rivals.orphans().await, Vec::<String>::new());

    // After days in which nothing came, readers are still reading what was current until just now.
    let current = world.table("silver.customers").await.current().unwrap().id;
    world.ambient.advance(100 * PAUSE);
    round(world, ROUNDS).await;
    round(world, ROUNDS + 1).await;
    assert!(world.table("silver.customers").await.snapshot(current).is_some());
    ended_right(world, ROUNDS + 2).await;
}

/// Silver that is behind for days finds every snapshot, and none expires before.
#[tokio::test]
async fn nothing_expires_that_silver_has_to_merge() {
    const ROUNDS: usize = 40;
    let rivals = rivals(async |_| {}).await;
    let world = &rivals.world;
    for number in 1..ROUNDS {
        ingest(world, number).await;
    }
    assert_eq!(snapshots(&world.table("bronze.customers").await), ROUNDS);
    let merged = world.silver().await;
    assert_eq!((merged.bronze_snapshots, merged.healed), (ROUNDS - 1, false));
    world.gold().await;
    round(world, ROUNDS).await;
    assert!(snapshots(&world.table("bronze.customers").await) <= MOST);
    ended_right(world, ROUNDS + 1).await;
    assert_eq!(rivals.orphans().await, Vec::<String>::new());
}

/// What a tag names is there for as long as the tag is, with all of its files.
#[tokio::test]
async fn a_tagged_snapshot_stays() {
    const ROUNDS: usize = 40;
    let tag = async |world: &World| world.tag_oldest("silver.customers").await;
    let rivals = rivals(tag).await;
    let world = &rivals.world;
    let tagged = world.table("silver.customers").await.ancestors().last().unwrap().id;
    for number in 1..ROUNDS {
        round(world, number).await;
    }
    let silver = world.table("silver.customers").await;
    assert!(silver.history_length() <= MOST);
    assert!(silver.snapshot(tagged).is_some());
    let first = format!("SELECT id, name FROM silver.customers VERSION AS OF {}", tagged.0);
    assert_eq!(world.sql(&first).await, ["0|n0"]);
    ended_right(world, ROUNDS).await;
}

/// A table whose files others may share says so, and nothing of it is deleted.
#[tokio::test]
async fn nothing_expires_where_the_table_forbids_it() {
    const ROUNDS: usize = 40;
    let forbid =
        async |world: &World| world.set_property("bronze.customers", "gc.enabled", "false").await;
    let rivals = rivals(forbid).await;
    for number in 1..ROUNDS {
        ingest(&rivals.world, number).await;
    }
    rivals.world.silver().await;
    ingest(&rivals.world, ROUNDS).await;
    assert_eq!(snapshots(&rivals.world.table("bronze.customers").await), ROUNDS + 1);
}
