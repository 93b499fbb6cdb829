//! The event bus: the fake and EventBridge.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use silversmith::announce::{BATCH, EventBridge, EventBus, MemoryBus, Notice, NoticeKind};

use crate::emulator::announcing::{Heard, heard_bus};
use crate::emulator::stand::{Stand, Wish};
use crate::support::at;

fn notice(number: usize) -> Notice {
    let detail = json!({"id": format!("id-{number}"), "text": "é\n\"quoted\"", "n": number});
    Notice { kind: NoticeKind::BronzeCommitted, at: at(12, 0), detail }
}

/// How often each id was delivered.
type Delivered = BTreeMap<String, usize>;

async fn keeps_the_contract(
    bus: &dyn EventBus,
    mut delivered: impl AsyncFnMut(usize) -> Delivered,
    delete: impl AsyncFnOnce(),
) {
    bus.probe().await.unwrap();
    let first: Vec<Notice> = (0..BATCH).map(notice).collect();
    assert_eq!(bus.publish(&first).await.unwrap(), [], "as many as a request takes");
    // After an error everything may be published again: receivers tell repetitions by the id.
    assert_eq!(bus.publish(&first[..1]).await.unwrap(), []);
    let ids: Vec<String> = first.iter().map(|notice| notice.id().to_owned()).collect();
    let delivered = delivered(BATCH + 1).await;
    assert!(ids.iter().all(|id| delivered.get(id).is_some_and(|times| *times >= 1)));
    assert!(delivered.keys().all(|id| ids.contains(id)), "{delivered:?}");
    assert!(delivered[&ids[0]] >= 2, "{delivered:?}");
    delete().await;
    assert!(bus.probe().await.is_err());
}

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    let bus = Arc::new(MemoryBus::new());
    let delivered = async |_| {
        let mut times = Delivered::new();
        for notice in bus.published() {
            *times.entry(notice.id().to_owned()).or_default() += 1;
        }
        times
    };
    keeps_the_contract(&*bus, delivered, async || bus.delete()).await;
    assert!(bus.publish(&[notice(0)]).await.is_err());
}

#[tokio::test]
async fn eventbridge_keeps_the_contract() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let heard: Heard = heard_bus(&stand).await;
    let bus = EventBridge::new(heard.client.clone(), &heard.name);
    let delivered = async |count| {
        let mut times = Delivered::new();
        let mut all = async || {
            for body in stand.drain(&heard.queue).await {
                let event: serde_json::Value = serde_json::from_str(&body).unwrap();
                assert_eq!(event["detail-type"], "bronze.committed");
                assert_eq!(event["detail"]["text"], "é\n\"quoted\"");
                let id = event["detail"]["id"].as_str().unwrap().to_owned();
                *times.entry(id).or_default() += 1;
            }
            times.values().sum::<usize>() >= count
        };
        stand.until("every notice is delivered", &mut all).await;
        times
    };
    keeps_the_contract(&bus, delivered, async || heard.delete().await).await;
    // One that has not seen the bus yet looks for it before it publishes.
    let late = EventBridge::new(heard.client.clone(), &heard.name);
    assert!(late.publish(&[notice(0)]).await.is_err());
}
