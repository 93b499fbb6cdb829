//! Manifests: what they list makes a delivery complete, and has to be as they say.

use crate::support::deliveries::{MANIFEST, delivering, row};

#[tokio::test]
async fn a_delivery_waits_for_every_object_of_its_manifest() {
    let world = delivering(MANIFEST);
    world.put("1/a.csv", &row(1), 1);
    world.put("1/list.json", r#"{"files": [{"key": "a.csv"}, "b.csv", "c.csv", "x.txt"]}"#, 1);
    world.put("1/more.csv", &row(4), 1);
    assert_eq!(world.counts().await, (0, 2, 0));
    assert_eq!(world.waits().await, ["raw/1/: 2 for 2 of 3 objects of list.json: b.csv, c.csv"]);
    assert_eq!(world.counts().await, (0, 0, 0), "and is not looked at before something comes");
    world.put("1/b.csv", &row(2), 2);
    assert_eq!(world.counts().await, (0, 1, 0));
    assert_eq!(world.waits().await, ["raw/1/: 3 for 1 of 3 objects of list.json: c.csv"]);
    world.put("1/c.csv", &row(3), 2);
    assert_eq!(world.counts().await, (3, 0, 1));
    assert_eq!(world.ids().await, ["1", "2", "3"]);
    let surplus = "raw/1/more.csv|rejected|surplus".to_owned();
    assert!(world.outcomes().await.contains(&surplus));
    assert_eq!(world.counts().await, (0, 0, 0));
    assert_eq!(world.replay("surplus").await, 1);
    assert_eq!(world.counts().await, (1, 0, 0));
    assert_eq!(world.ids().await, ["1", "2", "3", "4"]);
    assert_eq!(world.commits().await, ["raw/1/"]);
}

#[tokio::test]
async fn an_empty_manifest_is_a_delivery_without_rows() {
    let world = delivering(MANIFEST);
    world.put("1/list.json", "[]", 1);
    assert_eq!(world.counts().await, (0, 0, 0));
    assert_eq!(world.waits().await, Vec::<String>::new());
    world.put("1/late.csv", &row(1), 2);
    assert_eq!(world.counts().await, (1, 0, 0), "late, not waiting");
}

#[tokio::test]
async fn a_delivery_that_is_not_as_its_manifest_says_is_refused_whole() {
    let md5 = "0123456789abcdef0123456789abcdef";
    for (manifest, reason) in [
        (r#"[{"key": "a.csv", "size": 7}]"#.to_owned(), "wrong-size"),
        (format!(r#"[{{"key": "a.csv", "md5": "{md5}"}}]"#), "wrong-checksum"),
        (r#"[{"key": "a.csv", "rows": 2}]"#.to_owned(), "wrong-rows"),
        (r#"["../a.csv"]"#.to_owned(), "bad-manifest"),
        ("{".to_owned(), "bad-manifest"),
    ] {
        let world = delivering(MANIFEST);
        world.put("1/a.csv", &row(1), 1);
        world.put("1/list.json", &manifest, 1);
        assert_eq!(world.counts().await, (0, 1, 1), "{reason}");
        let expected =
            ["raw/1/a.csv|waiting|null".to_owned(), format!("raw/1/list.json|rejected|{reason}")];
        assert_eq!(world.outcomes().await, expected);
        let waits = world.waits().await;
        assert!(waits.len() == 1 && waits[0].ends_with(&format!("({reason})")), "{waits:?}");
        assert_eq!(world.counts().await, (0, 0, 0), "{reason}: not tried again by itself");
        // A replay tries it again, and finds the same.
        assert_eq!(world.replay(reason).await, 1);
        assert_eq!(world.counts().await, (0, 0, 1), "{reason}");
        assert_eq!(world.ids().await, Vec::<String>::new());
        // The sender corrects it.
        world.put("1/list.json", r#"[{"key": "a.csv", "size": 15, "rows": 1}]"#, 2);
        assert_eq!(world.counts().await, (1, 0, 0), "{reason}");
        assert_eq!((world.ids().await, world.waits().await), (vec!["1".to_owned()], vec![]));
    }
}

#[tokio::test]
async fn a_hash_of_a_manifest_is_that_of_the_bytes() {
    use sha2::{Digest, Sha256};
    let world = delivering(MANIFEST);
    world.put("1/a.csv", &row(1), 1);
    let sum = format!("{:x}", Sha256::digest(row(1)));
    world.put("1/list.json", &format!(r#"[{{"key": "a.csv", "sha256": "{sum}"}}]"#), 1);
    assert_eq!(world.counts().await, (1, 0, 0));
}
