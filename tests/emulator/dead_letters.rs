//! Dead letters: their causes, `dlq list` and `dlq show`, replays.

use super::stand::{Stand, Wish, orders};

/// A wrong configuration makes dead letters. After it is fixed, they are replayed, and silver is right.
#[tokio::test(flavor = "multi_thread")]
async fn full_circle() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let (etag, _) = stand.put("0.csv", &orders(0, 5, "old", 1)).await;
    stand.send(&stand.event("0.csv", &etag, None)).await;
    stand.run_until_idle();
    stand.configure("schema_change = \"fail\"");
    for number in 1..=12 {
        let text =
            orders(number, 2, "new", 2).replace("name", "name,extra").replace("new,", "new,1,");
        let name = format!("{number}.csv");
        let (etag, _) = stand.put(&name, &text).await;
        stand.send(&stand.event(&name, &etag, None)).await;
    }
    stand.run_until_idle();
    stand.assert_exactly_once(1, 5);
    assert_eq!(stand.depth(&stand.queue).await, 0);

    let list = |args: &[&str]| {
        let (stdout, _) = stand.run(&[&["dlq", "list", "--format", "json"], args].concat());
        stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect::<Vec<serde_json::Value>>()
    };
    let all = list(&[]);
    assert_eq!(all.len(), 12, "{all:?}");
    assert!(all.iter().all(|entry| entry["reason"] == "schema-changed"), "{all:?}");
    assert!(all.iter().all(|entry| entry["pipeline"] == "orders"), "{all:?}");
    let glob = format!("s3://{}/raw/1?.csv", stand.name);
    assert_eq!(list(&["--match", &glob]).len(), 3);
    assert_eq!(list(&["--reason", "missing"]).len(), 0);
    assert_eq!(list(&["--since", "1h", "--limit", "5"]).len(), 5);
    assert_eq!(list(&["--since", "2100-01-01T00:00:00Z"]).len(), 0);
    let id = all[0]["id"].as_str().unwrap();
    let (shown, _) = stand.run(&["dlq", "show", id]);
    assert!(shown.contains("schema-changed") && shown.contains("\"receive_count\": 1"), "{shown}");

    let (would, said) = stand.run(&["dlq", "replay", "--dry-run"]);
    assert!(said.contains("12 dead letters would be replayed; nothing was done"), "{said}");
    assert_eq!(would.lines().count(), 12 + 4);
    assert_eq!(stand.depth(&stand.queue).await, 0);

    stand.configure("");
    let (_, said) = stand.run(&["dlq", "replay", "--match", &glob]);
    assert!(said.contains("3 dead letters replayed"), "{said}");
    stand.run(&["dlq", "replay"]);
    assert_eq!((stand.depth(&stand.dlq).await, stand.depth(&stand.queue).await), (0, 12));
    stand.run_until_idle();
    stand.assert_exactly_once(13, 29);
    assert_eq!(stand.depth(&stand.queue).await, 0);
    let silver = stand.sql("SELECT name, count(*) FROM silver.orders GROUP BY name ORDER BY name");
    assert_eq!(silver, ["new,13", "old,1"]);
}

/// A replay ends while a worker sends the same dead letters again.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_ends_though_the_dead_letters_come_back() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let events: Vec<String> =
        (0..25).map(|n| stand.event(&format!("gone{n}.csv"), "e", None)).collect();
    stand.send_to(&stand.queue, &events).await;
    let worker = stand.worker("worker.log");
    stand.until("dead letters", async || stand.depth(&stand.dlq).await == 25).await;
    let (_, said) = stand.run(&["dlq", "replay"]);
    assert!(said.contains("25 dead letters replayed"), "{said}");
    stand.until("they come back", async || stand.depth(&stand.dlq).await == 25).await;
    worker.stop();
}

/// A replay that is repeated or killed half-way is harmless, and can be run again.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_is_done_again() {
    const DEAD_LETTERS: usize = 600;
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let mut events = Vec::new();
    for number in 0..20 {
        let name = format!("{number}.csv");
        let (etag, _) = stand.put(&name, &orders(number * 10, 10, "x", 1)).await;
        let event = stand.event(&name, &etag, None);
        events.push(event);
    }
    // In turn: messages in flight at the kill stay hidden for a while, and are about every object.
    let bodies: Vec<String> = events.iter().cycle().take(DEAD_LETTERS).cloned().collect();
    stand.send_to(&stand.dlq, &bodies).await;
    let replay = || stand.command(&["dlq", "replay"]).stderr(std::process::Stdio::null()).spawn();
    let mut first = replay().unwrap();
    stand.until("some are replayed", async || stand.depth(&stand.queue).await > 20).await;
    first.kill().unwrap();
    first.wait().unwrap();
    stand.run(&["dlq", "replay"]);
    // Messages that were in flight at the kill are hidden, and not lost.
    let (left, sent) = (stand.depth(&stand.dlq).await, stand.depth(&stand.queue).await);
    assert!(left + sent >= DEAD_LETTERS, "{left} + {sent}");
    stand.run_until_idle();
    stand.assert_exactly_once(20, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_event_is_dead_lettered_and_shown() {
    let unmatched = "on_unmatched = \"dead-letter\"".to_owned();
    let stand = Stand::with(Wish { source: unmatched, notified: false, ..Wish::default() }).await;
    let (etag, _) = stand.put("good.csv", &orders(1, 1, "x", 1)).await;
    let good = stand.event("good.csv", &etag, None);
    let other = stand.event("other.txt", "e", None);
    let mixed = format!("{},{{\"eventSource\":\"x\"}}]}}", &good[..good.len() - 2]);
    let newer = good.replace("\"2.1\"", "\"3.0\"");
    let hostile = "\u{9b}31mnot json \u{0085} '; DROP TABLE x --".to_owned();
    stand.send_to(&stand.queue, &[hostile, other, mixed, newer, "{}".into()]).await;
    stand.run_until_idle();
    stand.assert_exactly_once(1, 1);
    let (listed, _) = stand.run(&["dlq", "list", "--format", "csv"]);
    assert_eq!(listed.matches("not-an-event").count(), 4, "{listed}");
    assert_eq!(listed.matches("unmatched").count(), 1, "{listed}");
    let first = listed.lines().find(|l| l.contains("not JSON")).unwrap();
    let (shown, _) = stand.run(&["dlq", "show", first.split(',').next().unwrap()]);
    assert!(shown.contains("DROP TABLE") && !shown.contains('\u{9b}'), "{shown}");
}

/// Messages that the queue itself moved are listed, with their outcome in the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_the_queue_gave_up_are_explained_and_replayed() {
    let stand = Stand::with(Wish { max_receives: 1, notified: false, ..Wish::default() }).await;
    let (etag, _) = stand.put("1.csv", &orders(1, 1, "x", 1)).await;
    let event = stand.event("1.csv", &etag, None);
    stand.send(&event).await;
    // A worker that receives it and dies.
    let receive = stand.sqs.receive_message().queue_url(&stand.queue).visibility_timeout(0);
    assert_eq!(receive.send().await.unwrap().messages().len(), 1);
    stand
        .until("the queue moves it", async || {
            let look = stand.sqs.receive_message().queue_url(&stand.queue).visibility_timeout(0);
            look.send().await.unwrap();
            stand.depth(&stand.dlq).await == 1
        })
        .await;
    let (listed, _) = stand.run(&["dlq", "list", "--format", "csv"]);
    assert!(listed.contains("redriven") && listed.contains("none (workers died"), "{listed}");
    stand.run(&["dlq", "replay", "--reason", "redriven"]);
    stand.run_until_idle();
    stand.assert_exactly_once(1, 1);
    stand.send_to(&stand.dlq, &[event]).await;
    let (listed, _) = stand.run(&["dlq", "list", "--format", "csv"]);
    assert!(listed.contains("orders: ingested"), "{listed}");
}

/// The message of an unreadable object is released with a growing delay; the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_object_does_not_hold_up_the_others() {
    // Short delays need a fake clock: see scenarios/events.rs. Here the others go on meanwhile.
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let (etag, _) = stand.put("good.csv", &orders(1, 1, "x", 1)).await;
    stand.send(&stand.event("good.csv", &etag, None)).await;
    stand.send(&stand.event("bad.csv", "nothing", Some("no-such-version"))).await;
    let worker = stand.worker("worker.log");
    stand.until("the good one is in bronze", async || stand.depth(&stand.queue).await <= 1).await;
    let merged = async || {
        let status = stand.stdout(&["status", "--format", "json"]);
        let status: serde_json::Value = serde_json::from_str(status.trim()).unwrap();
        status["silver_snapshots_behind"] == 0
    };
    stand.until("silver has it", merged).await;
    worker.stop();
    stand.assert_exactly_once(1, 1);
}
