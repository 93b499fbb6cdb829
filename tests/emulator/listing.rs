//! Listing S3: objects without an event; the low watermark; events and listings side by side.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;

use super::stand::{Stand, Wish, orders};

#[tokio::test(flavor = "multi_thread")]
async fn what_came_by_event_is_not_listed_again_nor_the_other_way_round() {
    for versioned in [false, true] {
        let wish = Wish { versioned, notified: false, ..Wish::default() };
        let stand = Stand::with(wish).await;
        let mut events = Vec::new();
        for number in 0..30 {
            let name = format!("{}/{number}.csv", number % 3);
            let (etag, version) = stand.put(&name, &orders(number, 1, "x", number)).await;
            events.push(stand.event(&name, &etag, version.as_deref()));
        }
        stand.send_to(&stand.queue, &events[..15]).await;
        stand.run_until_idle();
        stand.assert_exactly_once(15, 15);
        let (_, said) = stand.run(&["bronze", "--lenient"]);
        assert!(said.contains("15 of 30 objects ingested"), "{said}");
        stand.send_to(&stand.queue, &events).await;
        stand.run_until_idle();
        stand.assert_exactly_once(30, 30);
        let (_, said) = stand.run(&["backfill"]);
        assert!(said.contains("0 of 30 objects ingested, 0 rows, 30 known already"), "{said}");
        let below = format!("s3://{}/raw/1/", stand.name);
        let (_, said) = stand.run(&["backfill", &below]);
        assert!(said.contains("0 of 10 objects"), "{said}");
        assert_eq!(stand.output(&["backfill", "s3://elsewhere/"]).status.code(), Some(2));
        assert_eq!(stand.depth(&stand.dlq).await, 0);
    }
}

/// The object of a slow upload appears with the time at which the upload began: a listing that ran in between
/// does not skip it.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_progress_is_listed_later() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let begin = stand
        .s3
        .create_multipart_upload()
        .bucket(&stand.name)
        .key("raw/slow.csv")
        .checksum_algorithm(ChecksumAlgorithm::Crc32);
    let upload = begin.send().await.unwrap().upload_id.unwrap();
    stand.put("quick.csv", &orders(1, 1, "x", 1)).await;
    stand.run(&["bronze", "--lenient"]);
    let floor = || {
        let (shown, _) = stand.run(&["checkpoint", "show", "--format", "json"]);
        shown
    };
    assert!(floor().contains("floor"), "{}", floor());
    let part = stand.s3.upload_part().bucket(&stand.name).key("raw/slow.csv").upload_id(&upload);
    let body = ByteStream::from(orders(2, 1, "y", 1).into_bytes());
    let part = part.checksum_algorithm(ChecksumAlgorithm::Crc32);
    let part = part.part_number(1).body(body).send().await.unwrap();
    let done = aws_sdk_s3::types::CompletedPart::builder().part_number(1);
    let done = done.set_e_tag(part.e_tag).set_checksum_crc32(part.checksum_crc32).build();
    let all = aws_sdk_s3::types::CompletedMultipartUpload::builder().parts(done).build();
    let complete = stand.s3.complete_multipart_upload().bucket(&stand.name).key("raw/slow.csv");
    complete.upload_id(&upload).multipart_upload(all).send().await.unwrap();
    let (_, said) = stand.run(&["bronze", "--lenient"]);
    assert!(said.contains("1 of 2 objects ingested"), "{said}");
    stand.run(&["silver"]);
    stand.assert_exactly_once(2, 2);
}

/// A listing configuration without a queue: dead letters are rows of the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_queue_dead_letters_are_rows_and_a_replay_lists_again() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let path = stand.path().join("silversmith.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> =
        text.lines().filter(|l| !l.starts_with("queue") && !l.starts_with("dlq")).collect();
    let listing = lines.join("\n");
    std::fs::write(&path, &listing).unwrap();
    stand.put("0.csv", &orders(0, 2, "x", 1)).await;
    stand.run(&["bronze", "--lenient"]);
    let strict = listing.replace(
        "table = \"bronze.orders\"",
        "table = \"bronze.orders\"\nschema_change = \"fail\"",
    );
    std::fs::write(&path, strict).unwrap();
    stand.put("1.csv", "id,name,updated,more\n7,y,1,z\n").await;
    let (_, said) = stand.run(&["bronze", "--lenient"]);
    assert!(said.contains("1 not ingested"), "{said}");
    let (listed, _) = stand.run(&["dlq", "list", "--format", "csv"]);
    assert!(listed.contains("schema-changed") && listed.lines().count() == 2, "{listed}");
    std::fs::write(&path, &listing).unwrap();
    let (_, said) = stand.run(&["bronze", "--lenient"]);
    assert!(said.contains("0 of 2 objects ingested"), "a listing does not retry: {said}");
    stand.run(&["dlq", "replay"]);
    let (_, said) = stand.run(&["bronze", "--lenient"]);
    assert!(said.contains("1 of 2 objects ingested"), "{said}");
    stand.run(&["silver"]);
    stand.assert_exactly_once(2, 3);
    assert_eq!(stand.output(&["run"]).status.code(), Some(2), "there is nothing to watch");
}
