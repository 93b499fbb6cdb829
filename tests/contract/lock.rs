//! The lock, on every checkpoint store.

use std::sync::Arc;
use std::time::Duration;

use silversmith::ambient::{Ambient, ManualAmbient};
use silversmith::checkpoint::lock::{Lock, TTL};
use silversmith::checkpoint::{CheckpointStore, MemoryCheckpoints, Put};

use crate::support::at;

#[tokio::test]
async fn one_holds_it_until_it_is_released_or_runs_out() {
    let (stores, _stand) = super::checkpoints::stores().await;
    for (kind, store) in stores {
        println!("lock on: {kind}");
        let clock = Arc::new(ManualAmbient::at(at(12, 0)));
        let lock = |owner: &str| {
            Lock::new(store.clone(), "orders/silver.lock".into(), owner.into(), TTL, clock.clone())
        };
        let (mut one, mut other) = (lock("one"), lock("other"));
        let held = one.acquire().await.unwrap().unwrap();
        assert!(other.acquire().await.unwrap().is_none());
        let done = one.hold(held, async { 7 }).await;
        assert_eq!(done, 7);
        let held = other.acquire().await.unwrap().expect("it was released");

        // Its holder dies. A waiter has to wait for the time to live by its own clock.
        drop(held);
        assert!(one.acquire().await.unwrap().is_none());
        clock.advance(TTL - Duration::from_secs(1));
        assert!(one.acquire().await.unwrap().is_none());
        clock.advance(Duration::from_secs(1));
        assert!(one.acquire().await.unwrap().is_some(), "taken over");
    }
}

/// Renewal keeps others out for as long as the work takes.
#[tokio::test(start_paused = true)]
async fn a_lock_that_is_renewed_is_not_taken_over() {
    let store: Arc<dyn CheckpointStore> = Arc::new(MemoryCheckpoints::new());
    let clock = Arc::new(ManualAmbient::at(at(12, 0)));
    let lock = |owner: &str| Lock::new(store.clone(), "l".into(), owner.into(), TTL, clock.clone());
    let (mut one, mut other) = (lock("one"), lock("other"));
    let held = one.acquire().await.unwrap().unwrap();
    let long = async {
        for _ in 0..10 {
            clock.sleep(TTL / 2).await;
            assert!(other.acquire().await.unwrap().is_none());
        }
    };
    one.hold(held, long).await;
    assert!(other.acquire().await.unwrap().is_some());
}

/// Of eight that try at once, one gets it.
#[tokio::test]
async fn one_of_many_gets_it() {
    let (stores, _stand) = super::checkpoints::stores().await;
    for (kind, store) in stores {
        let clock = Arc::new(ManualAmbient::at(at(12, 0)));
        let tries = (0..8).map(|n| {
            let (store, clock) = (store.clone(), clock.clone());
            async move {
                let mut lock =
                    Lock::new(store, "race.lock".into(), format!("owner {n}"), TTL, clock);
                lock.acquire().await.unwrap().is_some()
            }
        });
        let got = futures::future::join_all(tries).await;
        assert_eq!(got.iter().filter(|got| **got).count(), 1, "{kind}");
        assert!(matches!(store.put("race.lock", b"x", None).await.unwrap(), Put::Conflict));
    }
}
