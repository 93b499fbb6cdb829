//! Several workers on one queue, one bronze table and one silver table.

use super::stand::{Stand, Wish, orders};

#[tokio::test(flavor = "multi_thread")]
async fn four_workers_share_a_queue_and_the_tables() {
    const FILES: usize = 120;
    let wish = Wish {
        catalog: Some(crate::contract::postgres_url()),
        notified: false,
        pipeline: "[pipeline.batch]\nmax_objects = 10\n".into(),
        ..Wish::default()
    };
    let stand = Stand::with(wish).await;
    let workers: Vec<_> = (0..4).map(|n| stand.worker(&format!("worker{n}.log"))).collect();
    let mut events = Vec::new();
    for number in 0..FILES {
        let name = format!("{number}.csv");
        let text = orders(number * 3 % 200, 10, &format!("n{number}"), number);
        let (etag, _) = stand.put(&name, &text).await;
        events.push(stand.event(&name, &etag, None));
    }
    // Twice, so that two workers have the same object in flight.
    stand.send_to(&stand.queue, &events).await;
    stand.send_to(&stand.queue, &events).await;
    stand.until("the queue is empty", async || stand.depth(&stand.queue).await == 0).await;
    stand
        .until("silver has caught up", async || {
            let (status, _) = stand.run(&["status", "--format", "json"]);
            let status: serde_json::Value = serde_json::from_str(status.trim()).unwrap();
            status["silver_snapshots_behind"] == 0 && status["gold_up_to_date"] == true
        })
        .await;
    for worker in workers {
        worker.stop();
    }
    stand.assert_exactly_once(FILES, FILES * 10);
    let busy = (0..4).filter(|n| {
        let log = std::fs::read_to_string(stand.path().join(format!("worker{n}.log"))).unwrap();
        log.contains("bronze committed")
    });
    assert!(busy.count() >= 2, "the work was shared");
}
