//! The worker on a folder: pipelines that fail, and one merger at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use silversmith::ambient::{Ambient, SharedAmbient};
use silversmith::checkpoint::lock::{Lock, TTL};
use silversmith::lake::catalog::Catalog;
use silversmith::telemetry::readiness::Health;
use silversmith::worker::{self, Merger, Refresher, Until, WorkerError};

use crate::support::faulty::FailingCatalog;
use crate::support::{CUSTOMERS, World};

const TWO: &str = r#"
[[pipeline]]
name = "broken"
source = "raw/broken/*.csv"
[pipeline.bronze]
table = "bronze.broken"
[pipeline.silver]
table = "silver.broken"
keys = ["id"]
select = "SELECT CAST('x' AS bigint) AS id FROM bronze"
"#;

async fn run(world: &World, health: &Health) -> (Result<(), WorkerError>, Vec<String>) {
    let (grace, mut seen) = (Duration::from_secs(1), Vec::new());
    let note = |round: &worker::Round| seen.push(round.pipeline.clone());
    let never = std::future::pending();
    let ended = worker::run(&world.wired, health, Until::Idle, grace, never, note).await;
    (ended, seen)
}

#[tokio::test(start_paused = true)]
async fn a_failing_pipeline_does_not_hold_up_the_others() {
    let world = World::new(&format!("{TWO}{CUSTOMERS}").replace("raw/**/*.csv", "raw/*.csv"));
    world.put("broken/1.csv", "id\nx\n", 0);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    let health = Health::new(world.ambient.clone());
    let (ended, seen) = run(&world, &health).await;
    let error = silversmith::error::chain(&ended.unwrap_err());
    assert!(error.contains("pipeline broken, silver") && error.contains("'x'"), "{error}");
    assert_eq!(seen, ["customers"]);
    assert_eq!(world.sql("SELECT id FROM silver.customers").await, ["1"]);
    assert_eq!(world.sql("SELECT id FROM bronze.broken").await, ["x"], "bronze has the row");
    let reasons = health.reasons();
    assert!(reasons.iter().any(|why| why.starts_with("pipeline of broken: ")), "{reasons:?}");
}

fn lock(world: &World, owner: &str) -> Lock {
    lock_of(world, "silver", owner)
}

fn lock_of(world: &World, table: &str, owner: &str) -> Lock {
    let (key, owner) = (format!("customers/{table}.lock"), owner.to_owned());
    Lock::new(world.checkpoints.clone(), key, owner, TTL, world.ambient.clone())
}

/// While another merger holds the lock, a worker merges nothing, and ends only when its work is merged.
#[tokio::test(start_paused = true)]
async fn a_folder_worker_waits_for_the_lock() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    let mut other = lock(&world, "other");
    let held = other.acquire().await.unwrap().unwrap();
    let long = async {
        world.ambient.sleep(6 * TTL).await;
        assert!(world.lake().find(&"silver.customers".parse().unwrap()).await.unwrap().is_none());
        assert_eq!(world.sql("SELECT id FROM bronze.customers").await, ["1"]);
    };
    let health = Health::new(world.ambient.clone());
    let ((), (ended, _)) = tokio::join!(other.hold(held, long), run(&world, &health));
    ended.unwrap();
    assert_eq!(world.sql("SELECT id FROM silver.customers").await, ["1"]);
}

/// A merger that waits reads the lock object and no table; it takes over from one that died.
#[tokio::test(start_paused = true)]
async fn a_waiting_merger_looks_at_the_lock_only() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    world.bronze().await;
    let counting = FailingCatalog::new(world.catalog.clone(), &[]);
    let catalog: Arc<dyn Catalog> = counting.clone();
    let seen = World::sharing(
        CUSTOMERS,
        catalog,
        world.files.clone(),
        world.raw.clone(),
        world.checkpoints.clone(),
        world.ambient.clone(),
    );
    let ambient: SharedAmbient = world.ambient.clone();
    let mut merger = Merger::new(seen.pipeline(), &ambient);
    // It dies while it holds the lock.
    drop(lock(&world, "other").acquire().await.unwrap().unwrap());
    assert!(!merger.merge_once().await.unwrap().done);
    let (loads, began) = (counting.loads.load(Ordering::SeqCst), ambient.now());
    let mut waits = 0;
    let merged = loop {
        ambient.sleep(merger.pause()).await;
        let merged = merger.merge_once().await.unwrap();
        if merged.done {
            break merged;
        }
        assert_eq!(counting.loads.load(Ordering::SeqCst), loads, "it only waits");
        waits += 1;
    };
    assert!((2..20).contains(&waits), "the pauses grow: {waits}");
    let waited = (ambient.now() - began).to_std().unwrap();
    assert!(waited >= TTL && waited < 2 * TTL, "{waited:?}");
    assert!(merged.round.is_some());
    assert_eq!(world.sql("SELECT id FROM silver.customers").await, ["1"]);
}

/// The commands and the steps of a function merge by the same way: they wait for the lock.
#[tokio::test(start_paused = true)]
async fn every_step_waits_for_the_lock() {
    let gold =
        "[[pipeline.gold]]\ntable = \"gold.n\"\nsql = \"SELECT count(*) AS n FROM silver\"\n";
    let world = World::new(&format!("{CUSTOMERS}{gold}"));
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    world.bronze().await;
    let ambient: SharedAmbient = world.ambient.clone();
    let mut merger = Merger::new(world.pipeline(), &ambient);
    let mut refresher = Refresher::own(&[world.pipeline()], &ambient);
    for step in ["silver", "rebuild", "gold"] {
        let locked = if step == "gold" { "gold.n" } else { "silver" };
        let mut other = lock_of(&world, locked, "other");
        let held = other.acquire().await.unwrap().unwrap();
        let until = ambient.now() + 2 * TTL;
        let work = async {
            match step {
                "silver" => assert_eq!(merger.silver().await.unwrap().unwrap().counts.inserted, 1),
                "rebuild" => {
                    assert_eq!(merger.rebuild(true).await.unwrap().unwrap().snapshots.len(), 1)
                }
                _ => assert!(refresher.refresh().await[0].1.is_ok()),
            }
            assert!(ambient.now() >= until, "{step} did not wait");
        };
        tokio::join!(other.hold(held, ambient.sleep(2 * TTL)), work);
    }
    assert_eq!(world.sql("SELECT n FROM gold.n").await, ["1"]);
}
