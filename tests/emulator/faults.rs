//! Workers that are killed, stopped, frozen; a catalog that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::stand::{Stand, Wish, orders};
use crate::support::real_time;

async fn send_files(stand: &Stand, numbers: std::ops::Range<usize>, times: usize) {
    let mut events = Vec::new();
    for number in numbers {
        let name = format!("{number}.csv");
        let text = orders(number * 7 % 90, 10, &format!("n{number}"), number);
        let (etag, _) = stand.put(&name, &text).await;
        events.push(stand.event(&name, &etag, None));
    }
    for _ in 0..times {
        stand.send_to(&stand.queue, &events).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    let wish = Wish {
        notified: false,
        source: "visibility = \"5s\"".into(),
        pipeline: "[pipeline.batch]\nmax_objects = 4\n".into(),
        ..Wish::default()
    };
    let stand = Stand::with(wish).await;
    let mut random = StdRng::seed_from_u64(20_260_131);
    for round in 0..10 {
        send_files(&stand, round * 12..(round + 1) * 12, 2).await;
        let worker = stand.worker("killed.log");
        // The kill comes at a random time: anywhere in a round.
        real_time::sleep(Duration::from_millis(random.random_range(100..900))).await;
        worker.kill();
    }
    stand.run_until_idle();
    stand.assert_exactly_once(120, 1_200);
    assert_eq!(stand.depth(&stand.queue).await, 0);
    assert_eq!(stand.depth(&stand.dlq).await, 0);
}

/// A worker frozen for longer than its messages stay hidden, with messages in flight: another does its work,
/// and when it wakes up it commits nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_that_wakes_up_doubles_nothing() {
    let wish = Wish {
        // Of SQLite, a process frozen at the wrong moment keeps the lock of the file.
        catalog: Some(crate::contract::postgres_url()),
        notified: false,
        source: "visibility = \"5s\"".into(),
        pipeline: "[pipeline.batch]\nmax_objects = 4\n".into(),
        ..Wish::default()
    };
    let stand = Stand::with(wish).await;
    let frozen = stand.worker("frozen.log");
    let mut files = 0;
    // Frozen at once where messages are in flight; where they were deleted just then, with the next ones.
    loop {
        send_files(&stand, files..files + 40, 1).await;
        files += 40;
        stand.until("messages are in flight", async || stand.in_flight().await > 0).await;
        frozen.signal("-STOP");
        if stand.in_flight().await > 0 {
            break;
        }
        frozen.signal("-CONT");
    }
    // Hidden messages come back by themselves, and the lock runs out.
    stand.run_until_idle();
    assert_eq!(stand.depth(&stand.queue).await, 0, "the frozen worker's messages, too");
    frozen.signal("-CONT");
    send_files(&stand, files..files + 4, 1).await;
    stand.until("it works again", async || stand.depth(&stand.queue).await == 0).await;
    frozen.stop();
    stand.run_until_idle();
    stand.assert_exactly_once(files + 4, 10 * (files + 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_releases_what_it_has_not_begun() {
    let wish = Wish {
        notified: false,
        pipeline: "[pipeline.batch]\nmax_objects = 2\n".into(),
        ..Wish::default()
    };
    let stand = Stand::with(wish).await;
    send_files(&stand, 0..60, 1).await;
    let worker = stand.worker("stopped.log");
    // A batch is in bronze, so that another one is in work and further messages wait behind it.
    stand
        .until("it has committed", async || {
            let log = std::fs::read_to_string(stand.path().join("stopped.log")).unwrap();
            log.contains("bronze committed")
        })
        .await;
    let began = real_time::now();
    worker.stop();
    assert!(began.elapsed() < Duration::from_secs(25), "within the grace");
    // Released, and not hidden until a minute is over: with batches of two, some were waiting.
    assert_eq!(stand.in_flight().await, 0, "everything in flight was deleted or released");
    let left = stand.depth(&stand.queue).await;
    assert!((1..60).contains(&left), "{left} of 60 are left");
    stand.run_until_idle();
    stand.assert_exactly_once(60, 600);
}

/// A proxy in front of the catalog that can be shut.
struct Gate {
    open: Arc<AtomicBool>,
    port: u16,
}

impl Gate {
    async fn before(url: &str) -> (Self, String) {
        let target = url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicBool::new(true));
        let (gate, through) = (open.clone(), target.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (gate, through) = (gate.clone(), through.clone());
                tokio::spawn(async move {
                    let Ok(mut far) = tokio::net::TcpStream::connect(&through).await else {
                        return;
                    };
                    let shut = async {
                        while gate.load(Ordering::SeqCst) {
                            real_time::sleep(Duration::from_millis(20)).await;
                        }
                    };
                    tokio::select! {
                        () = shut => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        let through = url.replace(&target, &format!("127.0.0.1:{port}"));
        (Self { open, port }, through)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_catalog_is_down_nothing_is_lost_and_nothing_dead_lettered() {
    let (gate, catalog) = Gate::before(&crate::contract::postgres_url()).await;
    assert!(gate.port > 0);
    let wish = Wish {
        catalog: Some(catalog),
        notified: false,
        // With this, a message that is received a third time becomes a dead letter.
        max_receives: 2,
        source: "visibility = \"5s\"".into(),
        ..Wish::default()
    };
    let stand = Stand::with(wish).await;
    send_files(&stand, 0..5, 1).await;
    let worker = stand.worker("outage.log");
    stand.until("the first are in", async || stand.depth(&stand.queue).await == 0).await;
    gate.open.store(false, Ordering::SeqCst);
    send_files(&stand, 5..30, 1).await;
    stand
        .until("the worker reports the outage", async || {
            std::fs::read_to_string(stand.path().join("outage.log"))
                .unwrap()
                .contains("nothing is received")
        })
        .await;
    // Longer than twice the visibility.
    real_time::sleep(Duration::from_secs(12)).await;
    assert_eq!(stand.depth(&stand.dlq).await, 0);
    gate.open.store(true, Ordering::SeqCst);
    stand.until("the rest is in", async || stand.depth(&stand.queue).await == 0).await;
    worker.stop();
    assert_eq!(stand.depth(&stand.dlq).await, 0);
    // Silver may still have been waiting for its next attempt.
    stand.run_until_idle();
    stand.assert_exactly_once(30, 300);
}
