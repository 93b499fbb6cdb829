//! Complete deliveries on S3: by the events of a bucket, and by a listing.

use super::stand::{Stand, Wish, orders};

/// Adds a section to the only pipeline.
fn configure(stand: &Stand, section: &str) {
    let path = stand.path().join("silversmith.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let with = format!("[pipeline.deliveries]\n{section}\n[pipeline.bronze]");
    assert!(text.contains("[pipeline.bronze]"), "{text}");
    std::fs::write(&path, text.replace("[pipeline.bronze]", &with)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_s3_is_ingested_once_its_marker_is_there() {
    let stand = Stand::new().await;
    configure(&stand, "complete_when = \"_SUCCESS\"");
    for number in 0..3 {
        stand.put(&format!("1/{number}.csv"), &orders(number * 10, 10, "x", 1)).await;
    }
    stand.put("2/open.csv", &orders(100, 10, "x", 1)).await;
    stand.announced(4).await;
    let said = stand.run_until_idle();
    assert!(said.contains("4 waiting for their delivery"), "{said}");
    assert_eq!(stand.depth(&stand.queue).await, 0);
    let (status, _) = stand.run(&["status", "--deliveries", "--format", "json"]);
    assert_eq!(status.lines().count(), 2, "{status}");
    assert!(status.contains("\"waits_for\":\"_SUCCESS\""), "{status}");

    stand.put("1/_SUCCESS", "").await;
    stand.announced(0).await;
    stand.run_until_idle();
    stand.assert_exactly_once(3, 30);
    let (history, _) = stand.run(&["history", "bronze.orders", "--format", "json"]);
    assert_eq!(history.lines().count(), 1, "{history}");
    assert!(history.contains(&format!("s3://{}/raw/1/", stand.name)), "{history}");

    // A late object is ingested by itself.
    stand.put("1/late.csv", &orders(50, 10, "x", 1)).await;
    stand.announced(0).await;
    stand.run_until_idle();
    stand.assert_exactly_once(4, 40);
    assert_eq!(stand.depth(&stand.dlq).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_s3_finds_a_delivery_with_its_manifest() {
    use md5::{Digest, Md5};
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    configure(&stand, "manifest = \"list.json\"");
    let text = orders(1, 10, "x", 1);
    stand.put("1/a b.csv", &text).await;
    let sum: String = Md5::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = format!(
        r#"{{"files": [{{"key": "a%20b.csv", "rows": 10, "md5": "{sum}"}}, {{"key": "c.csv"}}]}}"#
    );
    stand.put("1/list.json", &manifest).await;
    let (_, said) = stand.run(&["bronze"]);
    assert!(said.contains("0 of 1 object ingested, 0 rows, 1 waiting"), "{said}");
    let (status, _) = stand.run(&["status", "--deliveries", "--format", "json"]);
    assert!(status.contains("1 of 2 objects of list.json: c.csv"), "{status}");
    stand.put("1/c.csv", &orders(20, 10, "x", 1)).await;
    let (_, said) = stand.run(&["bronze"]);
    assert!(said.contains("2 of 2 objects ingested, 20 rows"), "{said}");
    stand.run(&["silver"]);
    stand.assert_exactly_once(2, 20);
}
