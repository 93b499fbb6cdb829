//! Complete deliveries, found by events: in any order, with two workers, and with what becomes of the messages.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use silversmith::bronze::deliveries::DELIVERY;
use silversmith::event::parse;
use silversmith::ledger::states;
use silversmith::source::Requested;

use crate::support::faulty::Fate;
use crate::support::queued::{self, QueuedWorld, event};
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, at};

const MARKER: &str = "complete_when = \"_SUCCESS\"";
const MANIFEST: &str = "manifest = \"list.json\"";

fn pipeline(of: &str, rules: &str) -> String {
    let section = format!("[pipeline.deliveries]\n{rules}\n[pipeline.bronze]");
    of.replace("[pipeline.bronze]", &section)
}

fn world(rules: &str) -> QueuedWorld {
    QueuedWorld::new(&pipeline(queued::CUSTOMERS, rules))
}

fn row(id: u32) -> String {
    format!("id,updated\n{id},1\n")
}

impl QueuedWorld {
    /// An object without an event.
    fn store(&self, name: &str, content: &str, minute: u32) {
        let uri = format!("s3://zone/raw/{name}");
        self.world.raw.put(&uri, content.as_bytes(), at(11, minute));
    }

    /// The event of an object, and all that follows from it.
    async fn tell(&self, name: &str) {
        self.clock().advance(Duration::from_secs(1));
        self.send_event(&format!("raw/{name}")).await;
        self.drain().await.unwrap();
    }

    async fn ids(&self) -> Vec<String> {
        match self.count("bronze.customers").await {
            0 => vec![],
            _ => self.world.sql("SELECT id FROM bronze.customers ORDER BY id").await,
        }
    }

    async fn outcomes(&self) -> Vec<String> {
        let states = states("bronze.customers_objects");
        let sql = format!(
            "SELECT substr(source_uri, 15), outcome, reason FROM ({states})
             WHERE source_version NOT IN ('delivery', 'waits-for') ORDER BY 1, 2"
        );
        self.world.sql(&sql).await
    }

    async fn deliveries(&self) -> usize {
        let bronze = self.world.table("bronze.customers").await;
        bronze.ancestors().filter(|snapshot| snapshot.summary.contains_key(DELIVERY)).count()
    }
}

/// Key and reason of dead letters, sorted.
fn reasons(letters: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |l: &Value| format!("{} {}", text(&l["object"]["key"]), text(&l["reason"]));
    let mut all: Vec<String> = letters.iter().map(line).collect();
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn messages_may_go_while_their_objects_wait() {
    let world = world(MARKER);
    world.put("1/a.csv", &row(1), 1).await;
    world.put("1/b.csv", &row(2), 1).await;
    world.drain().await.unwrap();
    assert_eq!(world.queue.bodies().len(), 0);
    assert_eq!(world.outcomes().await, ["1/a.csv|waiting|null", "1/b.csv|waiting|null"]);
    world.store("1/_SUCCESS", "", 2);
    world.tell("1/_SUCCESS").await;
    assert_eq!(world.ids().await, ["1", "2"]);
    assert_eq!(world.deliveries().await, 1);
    assert_eq!(world.count("silver.customers").await, 2);
    assert_eq!(reasons(&world.dead_letters().await), Vec::<String>::new());
}

/// The events of objects that were uploaded before the marker come after its event: they are no late objects.
#[tokio::test(start_paused = true)]
async fn a_marker_whose_event_comes_first_finds_the_whole_delivery() {
    let world = world(&format!("{MARKER}\nlate_objects = \"reject\""));
    for (id, name) in ["a.csv", "b.csv", "c.csv"].into_iter().enumerate() {
        world.store(&format!("1/{name}"), &row(id as u32), 1);
    }
    world.store("1/_SUCCESS", "", 2);
    world.tell("1/_SUCCESS").await;
    assert_eq!(world.ids().await, ["0", "1", "2"]);
    for name in ["b.csv", "a.csv", "c.csv", "_SUCCESS", "a.csv"] {
        world.tell(&format!("1/{name}")).await;
    }
    assert_eq!(world.ids().await, ["0", "1", "2"]);
    assert_eq!(world.deliveries().await, 1);
    // What is uploaded after it is late.
    world.put("1/late.csv", &row(9), 3).await;
    world.drain().await.unwrap();
    let letters = world.dead_letters().await;
    assert_eq!(reasons(&letters), ["raw/1/late.csv late"]);
    world.send(&letters[0].to_string()).await;
    world.drain().await.unwrap();
    assert_eq!(world.ids().await, ["0", "1", "2", "9"], "an operator decides");
}

/// What is rejected with a delivery has a dead letter, although its own message was deleted while it waited.
#[tokio::test(start_paused = true)]
async fn objects_that_a_delivery_rejects_become_dead_letters() {
    let world = world(MANIFEST);
    world.put("1/a.csv", &row(1), 1).await;
    world.put("1/bad.csv", "id\0", 1).await;
    world.put("1/more.csv", &row(3), 1).await;
    world.drain().await.unwrap();
    world.store("1/list.json", r#"["a.csv", "bad.csv"]"#, 2);
    world.tell("1/list.json").await;
    assert_eq!(world.ids().await, ["1"]);
    let letters = world.dead_letters().await;
    assert_eq!(reasons(&letters), ["raw/1/bad.csv not-text", "raw/1/more.csv surplus"]);
    // A replay of what the manifest does not name is an operator's decision.
    let surplus = letters.iter().find(|letter| letter["reason"] == "surplus").unwrap();
    world.send(&surplus.to_string()).await;
    world.drain().await.unwrap();
    assert_eq!(world.ids().await, ["1", "3"]);
    assert_eq!(reasons(&world.dead_letters().await), Vec::<String>::new());
    // The worker may have ended before they were sent: the message of the manifest is redelivered.
    world.tell("1/list.json").await;
    assert_eq!(reasons(&world.dead_letters().await), ["raw/1/bad.csv not-text"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_delivery_is_one_dead_letter_and_a_replay_tries_it_again() {
    let world = world(MANIFEST);
    world.put("1/a.csv", &row(1), 1).await;
    world.put("1/list.json", r#"[{"key": "a.csv", "rows": 2}]"#, 1).await;
    world.drain().await.unwrap();
    let letters = world.dead_letters().await;
    assert_eq!(reasons(&letters), ["raw/1/list.json wrong-rows"]);
    let error = letters[0]["error"].as_str().unwrap();
    assert_eq!(error, "list.json says 2 rows of s3://zone/raw/1/a.csv, and it has 1");
    assert_eq!(world.outcomes().await[0], "1/a.csv|waiting|null");
    // The sender corrects the file, which is enough; the replay finds that all is done.
    world.put("1/a.csv", "id,updated\n1,1\n2,1\n", 3).await;
    world.clock().advance(Duration::from_secs(1));
    world.drain().await.unwrap();
    assert_eq!(world.ids().await, ["1", "2"]);
    world.send(&letters[0].to_string()).await;
    world.drain().await.unwrap();
    assert_eq!((world.ids().await.len(), world.deliveries().await), (2, 1));
    assert_eq!(reasons(&world.dead_letters().await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_is_missing_and_its_delivery_goes_on() {
    let world = world(MARKER);
    world.put("1/a.csv", &row(1), 1).await;
    world.send_event("raw/1/gone.csv").await;
    world.drain().await.unwrap();
    assert_eq!(reasons(&world.dead_letters().await), ["raw/1/gone.csv missing"]);
    world.put("1/_SUCCESS", "", 2).await;
    world.drain().await.unwrap();
    assert_eq!(world.ids().await, ["1"]);
}

/// Two deliveries in one batch, and an object that is of neither.
#[tokio::test(start_paused = true)]
async fn deliveries_that_come_together_are_commits_of_their_own() {
    let world = world("count = 2");
    for name in ["1/a.csv", "2/a.csv", "1/b.csv", "3/a.csv", "2/b.csv"] {
        world.put(name, &row(1), 1).await;
    }
    world.drain().await.unwrap();
    assert_eq!((world.ids().await.len(), world.deliveries().await), (4, 2));
    let waits: Vec<String> = world.outcomes().await;
    assert_eq!(waits.last().unwrap(), "3/a.csv|waiting|null");
}

/// Two workers at one delivery: the one that commits second finds it complete, and what it found beside is late.
#[tokio::test]
async fn of_two_workers_at_one_delivery_one_commits() {
    for (rule, ids) in [("ingest", vec!["1", "2", "3"]), ("reject", vec!["1", "2"])] {
        let rules = format!("{MARKER}\nlate_objects = \"{rule}\"");
        // While the first worker commits, the second does, without an object that came meanwhile.
        let acts = |rival: std::sync::Arc<crate::support::World>, _| async move {
            let late = rival.raw.clone();
            late.delete("raw/1/c.csv");
            rival.bronze().await;
            late.put("raw/1/c.csv", row(3), at(11, 3));
        };
        let fates = [Fate::Overtaken];
        let rivals = Rivals::new(&pipeline(CUSTOMERS, &rules), "bronze.customers", &fates, acts);
        for (id, name) in ["a.csv", "b.csv", "c.csv"].into_iter().enumerate() {
            rivals.world.put(&format!("1/{name}"), &row(id as u32 + 1), 3);
        }
        rivals.world.put("1/_SUCCESS", "", 4);
        rivals.world.bronze().await;
        assert_eq!(rivals.acted(), 1);
        let found = rivals.world.sql("SELECT id FROM bronze.customers ORDER BY id").await;
        assert_eq!(found, ids, "{rule}");
        let bronze = rivals.world.table("bronze.customers").await;
        let of_deliveries = bronze.ancestors().filter(|s| s.summary.contains_key(DELIVERY)).count();
        assert_eq!(of_deliveries, 1, "{rule}");
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{rule}");
    }
}

/// While a delivery is committed, another worker sees a newer manifest and an object more, and lets both wait: the
/// object is late, and nothing waits for ever.
#[tokio::test]
async fn what_waits_when_its_delivery_is_committed_is_late() {
    let acts = |rival: std::sync::Arc<crate::support::World>, _| async move {
        rival.put("1/list.json", "a.csv\nb.csv\nc.csv\n", 5);
        rival.put("1/b.csv", &row(2), 5);
        assert_eq!(rival.bronze().await.waiting, 2);
    };
    let fates = [Fate::Overtaken];
    let rivals = Rivals::new(&pipeline(CUSTOMERS, MANIFEST), "bronze.customers", &fates, acts);
    rivals.world.put("1/a.csv", &row(1), 3);
    rivals.world.put("1/list.json", "a.csv\n", 4);
    rivals.world.bronze().await;
    assert_eq!(rivals.acted(), 1);
    let ids = "SELECT id FROM bronze.customers ORDER BY id";
    assert_eq!(rivals.world.sql(ids).await, ["1", "2"]);
    let outcomes = rivals.world.outcomes().await;
    assert!(outcomes.iter().all(|outcome| !outcome.contains("waiting")), "{outcomes:?}");
    rivals.world.put("1/c.csv", &row(3), 6);
    rivals.world.bronze().await;
    assert_eq!(rivals.world.sql(ids).await, ["1", "2", "3"], "late");
}

/// A surplus object stays rejected when its message is redelivered.
#[tokio::test]
async fn a_surplus_object_stays_rejected_when_its_message_is_redelivered() {
    let world = world(MANIFEST);
    for (name, content) in [("a.csv", row(1)), ("b.csv", row(2)), ("list.json", "a.csv\n".into())] {
        world.store(&format!("1/{name}"), &content, 1);
    }
    for name in ["list.json", "b.csv", "b.csv"] {
        world.tell(&format!("1/{name}")).await;
    }
    assert_eq!(world.ids().await, ["1"]);
    let outcomes = world.outcomes().await;
    assert!(outcomes.iter().any(|o| o.contains("b.csv|rejected|surplus")), "{outcomes:?}");
}

/// Every object of the folder is uploaded; what is done about its events comes in any order, some of it twice, in any
/// batches, by two workers: one delivery, with each object once.
fn any_order(rules: &str, order: Vec<usize>, cuts: Vec<bool>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let world = world(&format!("{rules}\nlate_objects = \"reject\""));
        let names = ["a.csv", "b.csv", "c.csv", "_SUCCESS", "list.json"];
        for (id, name) in names[..3].iter().enumerate() {
            world.store(&format!("1/{name}"), &row(id as u32), 1);
        }
        world.store("1/_SUCCESS", "", 2);
        world.store("1/list.json", "a.csv\nb.csv\nc.csv\n", 2);
        let requested = |index: &usize| {
            let silversmith::event::Record::Created { object, .. } =
                parse(&event(&format!("raw/1/{}", names[*index]))).unwrap().remove(0)
            else {
                panic!("an event")
            };
            Requested::ByEvent(object)
        };
        let bronze = &world.world.pipeline().bronze;
        let is_routed = |index: &usize| {
            let uri = format!("s3://zone/raw/1/{}", names[*index]);
            let settings = &world.world.pipeline().settings.bronze;
            settings.is_data(&uri) || settings.is_marker(&uri)
        };
        let mut batch = Vec::new();
        let order: Vec<usize> = order.into_iter().filter(is_routed).collect();
        for (index, cut) in order.iter().zip(cuts.into_iter().cycle()) {
            batch.push(requested(index));
            if cut {
                bronze.ingest(&std::mem::take(&mut batch)).await.unwrap();
                world.clock().advance(Duration::from_secs(1));
            }
        }
        if !batch.is_empty() {
            bronze.ingest(&batch).await.unwrap();
        }
        prop_assert_eq!(world.ids().await, ["0", "1", "2"]);
        prop_assert_eq!(world.deliveries().await, 1);
        let outcomes = world.outcomes().await;
        prop_assert!(outcomes.iter().all(|line| line.ends_with("|ingested|null")), "{outcomes:?}");
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn events_in_any_order_are_one_delivery(
        rules in prop_oneof![Just(MARKER), Just(MANIFEST), Just("count = 3")],
        order in Just(vec![0usize, 1, 2, 3, 4, 0, 2, 3, 4]).prop_shuffle(),
        cuts in proptest::collection::vec(any::<bool>(), 1..6),
    ) {
        any_order(rules, order, cuts)?;
    }
}
