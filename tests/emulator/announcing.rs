//! Announcements on EventBridge, seen through a rule that sends them to a queue.

use serde_json::Value;
use silversmith::announce::{EventBridge, EventBus};

use super::stand::{Stand, arn, config_at, endpoint, make_queue};
use crate::support::schemas::assert_documented;

/// A bus, and a queue that gets everything that is published on it.
pub struct Heard {
    pub client: aws_sdk_eventbridge::Client,
    pub name: String,
    pub queue: String,
}

pub async fn heard_bus(stand: &Stand) -> Heard {
    let client = aws_sdk_eventbridge::Client::new(&config_at(&endpoint()).await);
    let name = format!("{}-bus", stand.name);
    client.create_event_bus().name(&name).send().await.unwrap();
    let queue = make_queue(&stand.sqs, &format!("{name}-heard"), None).await;
    let rule = client.put_rule().name(&name).event_bus_name(&name);
    rule.event_pattern(r#"{"source": ["silversmith"]}"#).send().await.unwrap();
    let target = aws_sdk_eventbridge::types::Target::builder().id("queue");
    let target = target.arn(arn(&stand.sqs, &queue).await).build().unwrap();
    client.put_targets().rule(&name).event_bus_name(&name).targets(target).send().await.unwrap();
    Heard { client, name, queue }
}

impl Heard {
    /// Deletes the bus, and what belongs to it.
    pub async fn delete(&self) {
        let Self { client, name, .. } = self;
        let targets = client.remove_targets().rule(name).event_bus_name(name).ids("queue");
        targets.send().await.unwrap();
        client.delete_rule().name(name).event_bus_name(name).send().await.unwrap();
        client.delete_event_bus().name(name).send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_commit_arrives_as_documented() {
    let stand = Stand::new().await;
    let bus = heard_bus(&stand).await;
    stand.configure_lake(&format!("event_bus = \"{}\"", bus.name));
    stand.put("1.csv", "id,updated\n1,2026-01-01\n").await;
    stand.put("bad.csv", "PK\u{3}\u{4}\0\0").await;
    stand.announced(2).await;
    stand.run(&["run", "--until-idle", "--lenient"]);
    let mut events: Vec<Value> = Vec::new();
    let mut all = async || {
        let bodies = stand.drain(&bus.queue).await;
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
    // A bus that was deleted holds up nothing.
    bus.delete().await;
    let gone = EventBridge::new(bus.client.clone(), &bus.name);
    assert!(gone.probe().await.is_err());
    stand.put("2.csv", "id,updated\n2,2026-01-01\n").await;
    stand.announced(0).await;
    stand.run(&["run", "--until-idle", "--lenient"]);
    let rows = stand.stdout(&["sql", "--format", "csv", "SELECT n FROM gold.orders"]);
    assert_eq!(rows, "n\n2\n");
    // Nothing was dropped: it waits for the bus.
    let noted = stand.s3.get_object().bucket(&stand.name).key("checkpoints/orders/announced.json");
    let noted = noted.send().await.unwrap().body.collect().await.unwrap().to_vec();
    let noted: Value = serde_json::from_slice(&noted).unwrap();
    assert_eq!(noted["tables"]["bronze.orders"]["sequence_number"], 1, "{noted}");
}
