//! From the PUT to silver, and everything that may happen to an object and its event on the way.

use serde_json::Value;

use super::stand::{CREDENTIALS, Stand, Wish, endpoint, orders};
use crate::engines::python;

#[tokio::test(flavor = "multi_thread")]
async fn a_put_becomes_rows_in_silver_and_other_engines_read_them() {
    let stand = Stand::new().await;
    stand.put("a.csv", &orders(1, 3, "first", 1)).await;
    stand.put("deep/er/b.csv", &orders(3, 2, "second", 2)).await;
    stand.put("folder/", "").await;
    stand.put("ignored.txt", "x").await;
    stand.announced(4).await;
    let said = stand.run_until_idle();
    assert!(said.contains("orders silver: 1 bronze snapshot merged: 4 inserted"), "{said}");
    assert!(said.contains("object matches no pipeline"), "{said}");
    stand.assert_exactly_once(2, 5);
    let names = stand.sql("SELECT id, name FROM silver.orders ORDER BY id");
    assert_eq!(names, ["1,first", "2,first", "3,second", "4,second"]);
    assert_eq!(stand.sql("SELECT n FROM gold.orders"), ["4"]);
    assert_eq!(stand.depth(&stand.queue).await, 0);
    assert_eq!(stand.depth(&stand.dlq).await, 0);
    for table in ["bronze.orders", "bronze.orders_objects", "silver.orders", "gold.orders"] {
        for what in ["read", "verify-manifests"] {
            let found = by_other_engines(&stand, what, table);
            if what == "verify-manifests" {
                assert_eq!(found["violations"], serde_json::json!([]), "{table}");
            } else {
                let count = stand.sql(&format!("SELECT count(*) FROM {table}"));
                assert_eq!(count, [found["rows"].as_array().unwrap().len().to_string()], "{table}");
            }
        }
    }
    let (checkpoint, _) = stand.run(&["checkpoint", "show", "--format", "json"]);
    assert!(checkpoint.contains("newest_event"), "{checkpoint}");
}

/// PyIceberg and DuckDB, on S3.
fn by_other_engines(stand: &Stand, what: &str, table: &str) -> Value {
    let catalog = format!("sqlite:///{}", stand.path().join("catalog.db").display());
    let output = std::process::Command::new(python())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/check.py"))
        .args([what, table, "--catalog", &catalog, "--name", &stand.name])
        .args(["--warehouse", &format!("s3://{}/lake", stand.name)])
        .env("AWS_ENDPOINT_URL", endpoint())
        .envs(CREDENTIALS)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} {table}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_key_that_s3_allows_is_ingested() {
    let stand = Stand::new().await;
    let long = format!("{}.csv", "x".repeat(1_024 - "raw/.csv".len()));
    let names = ["a b.csv", "a+b.csv", "100%.csv", "%20.csv", "é/日本.csv", "q?&=#*'().csv", &long];
    for (id, name) in names.iter().enumerate() {
        stand.put(name, &orders(id, 1, "x", 1)).await;
    }
    stand.announced(names.len()).await;
    stand.run_until_idle();
    stand.assert_exactly_once(names.len(), names.len());
    let uris = stand.sql(
        "SELECT substr(_source_uri, length('s3:///raw/') + 14) FROM bronze.orders ORDER BY id",
    );
    assert_eq!(uris.iter().map(|uri| uri.trim_matches('"')).collect::<Vec<_>>(), names);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_four_times_counts_once() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    for number in 0..6 {
        let name = format!("{number}.csv");
        let (etag, _) = stand.put(&name, &orders(number * 10, 10, "x", 1)).await;
        stand.send(&stand.event(&name, &etag, None)).await;
    }
    for _ in 0..3 {
        for number in 0..6 {
            let name = format!("{number}.csv");
            let head = stand.s3.head_object().bucket(&stand.name).key(format!("raw/{name}"));
            let etag = head.send().await.unwrap().e_tag.unwrap();
            stand.send(&stand.event(&name, etag.trim_matches('"'), None)).await;
        }
        stand.run_until_idle();
        stand.assert_exactly_once(6, 60);
    }
    assert_eq!(stand.depth(&stand.dlq).await, 0);
}

/// The object is overwritten before the first event is read; the events come in either order.
#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_object_is_read_at_the_version_that_still_exists() {
    for versioned in [false, true] {
        for reversed in [false, true] {
            let wish = Wish { versioned, notified: false, ..Wish::default() };
            let stand = Stand::with(wish).await;
            let (old, old_version) = stand.put("1.csv", &orders(1, 1, "old", 1)).await;
            let (new, new_version) = stand.put("1.csv", &orders(1, 2, "new", 2)).await;
            let mut events = vec![
                stand.event("1.csv", &old, old_version.as_deref()),
                stand.event("1.csv", &new, new_version.as_deref()),
            ];
            if reversed {
                events.reverse();
            }
            for event in &events {
                stand.send(event).await;
                stand.run_until_idle();
            }
            // Without versions the old content is gone, and both events mean the new one.
            match versioned {
                true => stand.assert_exactly_once(2, 3),
                false => stand.assert_exactly_once(1, 2),
            }
            let silver = stand.sql("SELECT id, name FROM silver.orders ORDER BY id");
            assert_eq!(silver, ["1,new", "2,new"], "versioned {versioned}, reversed {reversed}");
            assert_eq!(stand.depth(&stand.dlq).await, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_object_is_missing_unless_it_was_ingested_before() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let (etag, _) = stand.put("seen.csv", &orders(1, 1, "x", 1)).await;
    let seen = stand.event("seen.csv", &etag, None);
    stand.send(&seen).await;
    stand.run_until_idle();
    let (gone, _) = stand.put("gone.csv", &orders(2, 1, "x", 1)).await;
    for name in ["seen.csv", "gone.csv"] {
        stand.delete(name).await;
    }
    stand.send(&seen).await;
    stand.send(&stand.event("gone.csv", &gone, None)).await;
    stand.run_until_idle();
    stand.assert_exactly_once(1, 1);
    let dead_letters = stand.dead_letters().await;
    assert_eq!(dead_letters.len(), 1, "{dead_letters:?}");
    assert_eq!(dead_letters[0]["reason"], "missing");
    assert_eq!(dead_letters[0]["object"]["key"], "raw/gone.csv");
    let outcomes = stand.sql("SELECT outcome, reason FROM bronze.orders_objects ORDER BY outcome");
    assert_eq!(outcomes, ["ingested,", "missing,missing"]);

    let skip = Wish { notified: false, source: "on_missing = \"skip\"".into(), ..Wish::default() };
    let stand = Stand::with(skip).await;
    stand.send(&stand.event("gone.csv", &gone, None)).await;
    stand.run_until_idle();
    assert!(stand.dead_letters().await.is_empty());
    assert_eq!(stand.sql("SELECT outcome FROM bronze.orders_objects"), ["skipped"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_envelope_is_opened() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let mut bodies = Vec::new();
    for name in ["s3", "sns", "bridge", "both"] {
        let (etag, _) = stand.put(&format!("{name}.csv"), &orders(1, 1, name, 1)).await;
        let event = stand.event(&format!("{name}.csv"), &etag, None);
        let bridge = serde_json::json!({
            "version": "0", "detail-type": "Object Created", "source": "aws.s3",
            "time": "2026-01-31T12:00:00Z", "detail": {"version": "0", "bucket": {"name": stand.name},
            "object": {"key": format!("raw/{name}.csv"), "size": 5, "etag": etag}}
        });
        let sns = |message: &str| {
            serde_json::json!({"Type": "Notification", "TopicArn": "t", "Message": message})
                .to_string()
        };
        bodies.push(match name {
            "s3" => event,
            "sns" => sns(&event),
            "bridge" => bridge.to_string(),
            _ => sns(&bridge.to_string()),
        });
    }
    stand.send_to(&stand.queue, &bodies).await;
    stand.run_until_idle();
    stand.assert_exactly_once(4, 4);
    assert_eq!(stand.depth(&stand.dlq).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_queue_works_as_well() {
    let stand = Stand::with(Wish { fifo: true, notified: false, ..Wish::default() }).await;
    let mut events = vec!["no event".to_owned()];
    for number in 0..25 {
        let name = format!("{number}.csv");
        let (etag, _) = stand.put(&name, &orders(number, 2, "x", number)).await;
        events.push(stand.event(&name, &etag, None));
    }
    stand.send_to(&stand.queue, &events).await;
    stand.run_until_idle();
    stand.assert_exactly_once(25, 50);
    let (listed, _) = stand.run(&["dlq", "list", "--format", "csv"]);
    assert!(listed.lines().count() == 2 && listed.contains("not-an-event"), "{listed}");
    stand.run(&["dlq", "purge", "--all"]);
    assert_eq!(stand.depth(&stand.dlq).await, 0);
    // Ten dead letters of one group are listed, and the others are counted: the next command lists them.
    let one_group: Vec<String> = (0..60).map(|number| format!("no event {number}")).collect();
    stand.send_to(&stand.dlq, &one_group).await;
    let (_, said) = stand.run(&["dlq", "list"]);
    assert!(said.contains("at most ten in-flight messages per group"), "{said}");
}
