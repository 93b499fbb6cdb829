//! Deliveries whose objects cannot be read, change meanwhile, or are too many.

use std::sync::atomic::Ordering;
use std::time::Duration;

use silversmith::pipeline::Intake;

use crate::support::deliveries::{MANIFEST, MARKER, delivering, pipeline, row};
use crate::support::failing_store::FailingStore;
use crate::support::queued::{self, QueuedWorld};
use crate::support::{World, settings};

/// Another attempt may read it, so the delivery waits for that, and is whole in the end.
#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_now_holds_up_its_delivery() {
    let section = format!("[pipeline.deliveries]\n{MARKER}\n[pipeline.bronze]");
    let pipeline = queued::CUSTOMERS.replace("[pipeline.bronze]", &section);
    let (world, store) = QueuedWorld::failing(&pipeline);
    *store.locked_part.lock().unwrap() = "b.csv";
    store.locked.store(true, Ordering::SeqCst);
    world.put("1/a.csv", &row(1), 1).await;
    world.put("1/b.csv", &row(2), 1).await;
    world.put("1/_SUCCESS", "", 2).await;
    world.put("2/c.csv", &row(3), 1).await;
    world.put("2/_SUCCESS", "", 2).await;
    world.drain().await.unwrap();
    let letters = world.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["reason"], "unreadable");
    assert_eq!(letters[0]["object"]["key"], "raw/1/_SUCCESS");
    assert_eq!(world.world.ids().await, ["3"], "the other delivery goes on");
    let waits = world.world.waits().await;
    assert!(waits.len() == 1 && waits[0].contains("permission denied (unreadable)"), "{waits:?}");

    store.locked.store(false, Ordering::SeqCst);
    world.clock().advance(Duration::from_secs(1));
    world.send(&letters[0].to_string()).await;
    world.drain().await.unwrap();
    assert_eq!(world.world.ids().await, ["1", "2", "3"]);
    assert_eq!(world.world.commits().await.len(), 2);
}

/// A listing tries it again by itself.
#[tokio::test]
async fn a_listing_tries_a_delivery_again_that_could_not_be_read() {
    for (rules, last) in [(MARKER, "_SUCCESS"), ("count = 2", "b.csv")] {
        let mut world = delivering(rules);
        let store = FailingStore::new(&world.raw, |_| {});
        world.rewire(settings(&pipeline(rules)), store.clone(), Intake::Directory);
        *store.locked_part.lock().unwrap() = "a.csv";
        store.locked.store(true, Ordering::SeqCst);
        world.put("1/a.csv", &row(1), 1);
        assert_eq!(world.counts().await, (0, 1, 0));
        world.put(&format!("1/{last}"), &row(2), 2);
        assert_eq!(world.counts().await, (0, 0, 1), "{rules}");
        store.locked.store(false, Ordering::SeqCst);
        world.ambient.advance(Duration::from_secs(60));
        let ingested = world.look().await.ingested;
        assert_eq!(ingested, world.ids().await.len());
        assert_eq!(ingested, if rules == MARKER { 1 } else { 2 });
        assert_eq!(world.commits().await, ["raw/1/"]);
    }
}

/// What is deleted while it is read is not of the delivery: silversmith looks at the folder again.
#[tokio::test]
async fn a_folder_that_changes_while_it_is_read_is_looked_at_again() {
    let mut world = delivering(MANIFEST);
    let store = FailingStore::new(&world.raw, |_| {});
    world.rewire(settings(&pipeline(MANIFEST)), store.clone(), Intake::Directory);
    let put = |world: &World| {
        world.put("1/a.csv", &row(1), 1);
        world.put("1/list.json", "[\"a.csv\"]", 1);
    };
    put(&world);
    store.vanishing.store(true, Ordering::SeqCst);
    world.counts().await;
    assert_eq!(world.ids().await, Vec::<String>::new());
    assert!(world.commits_if_any().await.is_empty());
    store.vanishing.store(false, Ordering::SeqCst);
    put(&world);
    world.ambient.advance(Duration::from_secs(60));
    world.counts().await;
    assert_eq!((world.ids().await, world.commits().await.len()), (vec!["1".to_owned()], 1));
}

#[tokio::test]
async fn a_folder_that_memory_is_not_for_is_refused_and_ingested_once_it_is() {
    let mut world = delivering(MARKER);
    let small = |most: usize| {
        let mut settings = settings(&pipeline(MARKER));
        settings.pipelines[0].bronze.deliveries.as_mut().unwrap().most_objects = most;
        settings
    };
    world.rewire(small(2), world.raw.clone(), Intake::Directory);
    for id in 0..5 {
        world.put(&format!("1/{id}.csv"), &row(id), 1);
    }
    assert_eq!(world.counts().await, (0, 5, 0));
    world.put("1/_SUCCESS", "", 2);
    assert_eq!(world.counts().await, (0, 0, 1));
    let why = "the folder has 5 objects, and memory is for 2 of one delivery: raise worker.memory";
    assert_eq!(world.waits().await, [format!("raw/1/: 5 for {why} (too-many-objects)")]);
    world.rewire(small(5), world.raw.clone(), Intake::Directory);
    assert_eq!(world.replay("too-many-objects").await, 1);
    assert_eq!(world.counts().await, (5, 0, 0));
    assert_eq!(world.commits().await, ["raw/1/"]);
}
