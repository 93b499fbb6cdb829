//! Announcements on EventBridge, seen through a rule that sends them to a queue.

use serde_json::Value;
use silversmith::announce::{EventBridge, EventBus};

use super::stand::{Stand, arn, config_at, endpoint, make_queue};
use crate::support::schemas::assert_documented;

/// A bus, and a queue that gets everything that is published on it.
async fn bus(stand: &Stand) -> (aws_sdk_eventbridge::Client, String, String) {
    let client = aws_sdk_eventbridge::Client::new(&config_at(&endpoint()).await);
    let name = format!("{}-bus", stand.name);
    client.create_event_bus().name(&name).send().await.unwrap();
    let queue = make_queue(&stand.sqs, &format!("{name}-published"), None).await;
    let rule = client.put_rule().name(&name).event_bus_name(&name);
    rule.event_pattern(r#"{"source": ["silversmith"]}"#).send().await.unwrap();
    let target = aws_sdk_eventbridge::types::Target::builder().id("queue");
    let target = target.arn(arn(&stand.sqs, &queue).await).build().unwrap();
    client.put_targets().rule(&name).event_bus_name(&name).targets(target).send().await.unwrap();
    (client, name, queue)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_commit_arrives_as_documented() {
    let stand = Stand::new().await;
    let (client, bus, published) = bus(&stand).await;
    stand.configure_lake(&format!("event_bus = \"{bus}\""));
    stand.put("1.csv", "id,updated\n1,2026-01-01\n").await;
    stand.put("bad.csv", "PK\u{3}\u{4}\0\0").await;
    stand.announced(2).await;
    stand.run(&["run", "--until-idle"]);
    let mut events: Vec<Value> = Vec::new();
    let mut all = async || {
        let bodies = stand.drain(&published).await;
        events.extend(bodies.iter().map(|body| serde_json::from_str::<Value>(body).unwrap()));
        events.len() >= 4
    };
    stand.until("four announcements", &mut all).await;
    let mut kinds: Vec<&str> = Vec::new();
    for event in &events {
        assert_eq!(event["source"], "silversmith");
        let kind = event["detail-type"].as_str().unwrap();
        assert_documented(kind, &event["detail"]);
        kinds.push(kind);
    }
    kinds.sort_unstable();
    assert_eq!(kinds, ["bronze.committed", "gold.refreshed", "object.rejected", "silver.merged"]);
    let found = stand.stdout(&["check", "--format", "csv"]);
    assert!(found.contains("ok,event bus,"), "{found}");
    // A bus that is gone holds up no other work.
    client.remove_targets().rule(&bus).event_bus_name(&bus).ids("queue").send().await.unwrap();
    client.delete_rule().name(&bus).event_bus_name(&bus).send().await.unwrap();
    client.delete_event_bus().name(&bus).send().await.unwrap();
    let gone = EventBridge::new(client, &bus);
    assert!(gone.probe().await.is_err());
    stand.put("2.csv", "id,updated\n2,2026-01-01\n").await;
    stand.announced(0).await;
    stand.run(&["run", "--until-idle"]);
    let rows = stand.stdout(&["sql", "--format", "csv", "SELECT n FROM gold.orders"]);
    assert_eq!(rows, "n\n2\n");
    // No event was dropped: the commit waits for the bus.
    let stored = stand.s3.get_object().bucket(&stand.name).key("checkpoints/orders/announced.json");
    let stored = stored.send().await.unwrap().body.collect().await.unwrap().to_vec();
    let stored: Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(stored["tables"]["bronze.orders"]["sequence_number"], 1, "{stored}");
}
