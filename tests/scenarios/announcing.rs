//! Announcements: after the commit, not lost, not blocking, one id per commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::Int64Array;
use async_trait::async_trait;
use silversmith::announce::{BusError, EventBus, MemoryBus, Notice, NoticeKind, Refused};
use silversmith::pipeline::Wired;
use silversmith::telemetry::readiness::Health;
use silversmith::worker::{self, Until, announced};

use crate::support::World;
use crate::support::schemas::assert_documented;

const ORDERS: &str = r#"
[[pipeline]]
name = "orders"
source = "raw/*.csv"
[pipeline.bronze]
table = "bronze.orders"
[pipeline.silver]
table = "silver.orders"
keys = ["id"]
order_by = ["updated"]
[[pipeline.gold]]
table = "gold.orders"
sql = "SELECT count(*) AS n FROM silver"
"#;

/// A bus that fails a number of times, and may refuse every second notice.
#[derive(Debug, Default)]
struct Weak {
    inner: MemoryBus,
    failures: AtomicUsize,
    refuse: bool,
}

#[async_trait]
impl EventBus for Weak {
    async fn probe(&self) -> Result<(), BusError> {
        self.inner.probe().await
    }

    async fn publish(&self, notices: &[Notice]) -> Result<Vec<Refused>, BusError> {
        let fails = |n: usize| n.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            let source = std::io::Error::other("throttled");
            return Err(BusError { bus: "weak".to_owned(), doing: "publishing", source });
        }
        if self.refuse && notices.len() > 1 {
            let (taken, refused): (Vec<_>, Vec<_>) =
                notices.iter().cloned().enumerate().partition(|(index, _)| index % 2 == 0);
            let taken: Vec<Notice> = taken.into_iter().map(|(_, notice)| notice).collect();
            self.inner.publish(&taken).await?;
            let why = || "InternalFailure: try again".to_owned();
            return Ok(refused
                .into_iter()
                .map(|(index, _)| Refused { index, why: why() })
                .collect());
        }
        self.inner.publish(notices).await
    }
}

fn announcing(world: &World, bus: &Arc<impl EventBus + 'static>) -> Wired {
    world.wired.clone().announcing_on(&(bus.clone() as Arc<dyn EventBus>))
}

async fn steps(wired: &Wired) {
    let pipelines: Vec<_> = wired.pipelines.iter().collect();
    let work = async {
        wired.pipelines[0].bronze.step().await.unwrap();
        wired.pipelines[0].silver.as_ref().unwrap().step().await.unwrap();
        wired.pipelines[0].gold[0].step().await.unwrap();
        Ok::<_, silversmith::worker::WorkerError>(())
    };
    announced(&pipelines, wired.lake.ambient(), work).await.unwrap();
}

fn kinds(notices: &[Notice]) -> Vec<&'static str> {
    notices.iter().map(|notice| notice.kind.as_str()).collect()
}

#[tokio::test]
async fn every_commit_is_announced_once_as_documented() {
    let world = World::new(ORDERS);
    let bus = Arc::new(MemoryBus::new());
    let wired = announcing(&world, &bus);
    world.put("1.csv", "id,updated\n1,2026-01-01\n2,2026-01-01\n", 1);
    world.put("bad.csv", "PK\u{3}\u{4}\0\0", 2);
    steps(&wired).await;
    world.put("2.csv", "id,updated\n2,2026-01-02\n3,2026-01-02\n", 3);
    steps(&wired).await;
    steps(&wired).await;
    let published = bus.published();
    assert_eq!(
        kinds(&published),
        [
            "bronze.committed",
            "object.rejected",
            "silver.merged",
            "gold.refreshed",
            "bronze.committed",
            "silver.merged",
            "gold.refreshed",
        ]
    );
    let ids: BTreeSet<&str> = published.iter().map(Notice::id).collect();
    assert_eq!(ids.len(), published.len(), "one id per commit");
    for notice in &published {
        assert_documented(notice.kind.as_str(), &notice.detail);
    }
    let merged = &published[5].detail;
    assert_eq!(
        merged["rows"],
        serde_json::json!({"inserted": 1, "updated": 1, "deleted": 0, "total": 3})
    );
    assert_eq!(merged["bronze"]["snapshot_id"], published[4].detail["snapshot_id"]);
    assert_eq!(published[1].detail["uri"], "raw/bad.csv");
    assert_eq!(
        (&published[0].detail["objects"], &published[0].detail["rows"]),
        (&1.into(), &2.into())
    );
}

/// Rows that silver refuses are announced by the commit that stores them; a purge is not.
#[tokio::test]
async fn refused_rows_are_announced_once() {
    let expect =
        "[[pipeline.silver.expect]]\nname = \"small\"\nsql = \"id < 5\"\n[[pipeline.gold]]";
    let world = World::new(&ORDERS.replace("[[pipeline.gold]]", expect));
    let bus = Arc::new(MemoryBus::new());
    let wired = announcing(&world, &bus);
    let rows = "1,2026-01-01\n7,2026-01-01\n8,2026-01-01\nx,2026-01-01\n";
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 1);
    steps(&wired).await;
    world.put("2.csv", &format!("id,updated\n{rows}"), 2);
    steps(&wired).await;
    let silver = wired.pipelines[0].silver.as_ref().unwrap();
    assert_eq!(silver.purge(Some("small"), false).await.unwrap(), 2);
    steps(&wired).await;
    let published = bus.published();
    let of = |notice: &&Notice| notice.kind == NoticeKind::RowQuarantined;
    let refused: Vec<&Notice> = published.iter().filter(of).collect();
    let [Notice { detail, .. }] = refused[..] else { panic!("{refused:?}") };
    assert_documented("row.quarantined", detail);
    assert_eq!(detail["by_rule"], serde_json::json!({"rescued": 1, "small": 2}));
    assert_eq!((&detail["rows"], &detail["total"]), (&3.into(), &3.into()));
    assert_eq!(detail["table"], "silver.orders_quarantine");
}

/// Another program's delete files: how many rows are left is not known, and not announced.
#[tokio::test]
async fn a_total_that_is_not_known_is_not_announced() {
    let world = World::new(ORDERS);
    let bus = Arc::new(MemoryBus::new());
    let wired = announcing(&world, &bus);
    world.put("1.csv", "id,updated\n1,2026-01-01\n2,2026-01-01\n", 1);
    steps(&wired).await;
    let ids = Arc::new(Int64Array::from(vec![1]));
    world.delete_equal("silver.orders", &[("id", ids)]).await;
    world.put("2.csv", "id,updated\n3,2026-01-02\n", 2);
    steps(&wired).await;
    let published = bus.published();
    let of = |notice: &&Notice| notice.kind == NoticeKind::SilverMerged;
    let merged: Vec<&Notice> = published.iter().filter(of).collect();
    merged.iter().for_each(|notice| assert_documented("silver.merged", &notice.detail));
    let rows: Vec<_> = merged.iter().map(|notice| &notice.detail["rows"]).collect();
    let first = serde_json::json!({"inserted": 2, "updated": 0, "deleted": 0, "total": 2});
    let second = serde_json::json!({"inserted": 1, "updated": 0, "deleted": 0});
    assert_eq!(rows, [&first, &second]);
}

#[tokio::test]
async fn a_crash_before_the_announcement_does_not_lose_it_and_the_id_stays() {
    let world = World::new(ORDERS);
    let bus = Arc::new(MemoryBus::new());
    let wired = announcing(&world, &bus);
    let announcer = wired.pipelines[0].announcer.as_ref().unwrap();
    announcer.prepare().await.unwrap();
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 1);
    wired.pipelines[0].bronze.step().await.unwrap();
    // The process dies here. The next one first announces what was committed.
    let wired = announcing(&world, &bus);
    let announcer = wired.pipelines[0].announcer.as_ref().unwrap();
    announcer.prepare().await.unwrap();
    assert_eq!(announcer.announce().await.unwrap(), 1);
    // It dies after publishing and before recording it: published again, under the same id.
    let recorded = world.checkpoints.get("orders/announced.json").await.unwrap().unwrap();
    world.put("2.csv", "id,updated\n2,2026-01-01\n", 2);
    wired.pipelines[0].bronze.step().await.unwrap();
    announcer.announce().await.unwrap();
    let now = world.checkpoints.get("orders/announced.json").await.unwrap().unwrap();
    world.checkpoints.put("orders/announced.json", &recorded.0, Some(&now.1)).await.unwrap();
    assert_eq!(announcer.announce().await.unwrap(), 1);
    let published = bus.published();
    assert_eq!(published.len(), 3);
    assert_eq!(published[1], published[2]);
    assert_eq!(announcer.announce().await.unwrap(), 0);
}

#[tokio::test]
async fn a_failing_bus_blocks_nothing_and_gets_everything_later() {
    let world = World::new(ORDERS);
    let bus = Arc::new(Weak { failures: AtomicUsize::new(4), refuse: true, ..Weak::default() });
    let wired = announcing(&world, &bus);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 1);
    world.put("bad1.csv", "PK\u{3}\u{4}\0\0", 2);
    world.put("bad2.csv", "PK\u{3}\u{4}\0\0", 3);
    world.put("bad3.csv", "PK\u{3}\u{4}\0\0", 4);
    steps(&wired).await;
    assert_eq!(world.sql("SELECT n FROM gold.orders").await, ["1"], "the work was done");
    assert!(bus.inner.published().is_empty());
    steps(&wired).await;
    let published = bus.inner.published();
    let ids: BTreeSet<&str> = published.iter().map(Notice::id).collect();
    assert_eq!((published.len(), ids.len()), (6, 6), "those refused were sent again, alone");
}

#[tokio::test]
async fn of_a_lake_older_than_its_bus_only_what_is_new_is_announced() {
    let world = World::new(ORDERS);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 1);
    world.bronze().await;
    let bus = Arc::new(MemoryBus::new());
    let wired = announcing(&world, &bus);
    steps(&wired).await;
    assert_eq!(kinds(&bus.published()), ["silver.merged", "gold.refreshed"]);
    assert_eq!(bus.published()[0].kind, NoticeKind::SilverMerged);
}

#[tokio::test(start_paused = true)]
async fn the_worker_announces_beside_the_work() {
    let world = World::new(ORDERS);
    let bus = Arc::new(Weak { failures: AtomicUsize::new(1), ..Weak::default() });
    let wired = announcing(&world, &bus);
    for number in 0..3 {
        world.put(&format!("{number}.csv"), &format!("id,updated\n{number},2026-01-01\n"), number);
    }
    let never = std::future::pending();
    let grace = std::time::Duration::from_secs(5);
    let health = Health::new(world.ambient.clone());
    worker::run(&wired, &health, Until::Idle, grace, never, |_| {}).await.unwrap();
    let published = bus.inner.published();
    let of = |kind: NoticeKind| published.iter().filter(|n| n.kind == kind).count();
    assert!(of(NoticeKind::BronzeCommitted) >= 1, "{published:?}");
    assert_eq!(of(NoticeKind::SilverMerged), of(NoticeKind::GoldRefreshed));
}
