//! The checkpoint store.

use std::sync::Arc;

use futures::future::join_all;
use silversmith::checkpoint::{
    CheckpointStore, LocalCheckpoints, MemoryCheckpoints, Put, S3Checkpoints,
};

use super::backings::clock;
use crate::emulator::stand::{Stand, Wish, clients_at};
use crate::support::answering::Answering;
use crate::support::real_time;

type Store = (&'static str, Arc<dyn CheckpointStore>);

/// Every kind of store, empty; and what must live as long as they do.
pub async fn stores() -> (Vec<Store>, (tempfile::TempDir, Stand)) {
    let folder = tempfile::tempdir().unwrap();
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let s3 = S3Checkpoints::new(stand.s3.clone(), &stand.name, "some/checkpoints", clock());
    let stores: Vec<Store> = vec![
        ("memory", Arc::new(MemoryCheckpoints::new())),
        ("local", Arc::new(LocalCheckpoints::new(&folder.path().join("checkpoints")))),
        ("s3", Arc::new(s3)),
    ];
    (stores, (folder, stand))
}

#[tokio::test]
async fn every_checkpoint_store_keeps_the_contract() {
    let (stores, _kept) = stores().await;
    for (kind, store) in stores {
        println!("checkpoint store: {kind}");
        let key = "orders/silver.json";
        assert_eq!(store.get(key).await.unwrap(), None);
        let Put::Stored(first) = store.put(key, b"1", None).await.unwrap() else { panic!() };
        assert_eq!(store.put(key, b"x", None).await.unwrap(), Put::Conflict);
        assert_eq!(store.get(key).await.unwrap(), Some((b"1".to_vec(), first.clone())));
        let Put::Stored(second) = store.put(key, b"2", Some(&first)).await.unwrap() else {
            panic!()
        };
        assert_ne!(first, second);
        assert_eq!(store.put(key, b"x", Some(&first)).await.unwrap(), Put::Conflict);
        assert_eq!(store.put("other", b"x", Some(&first)).await.unwrap(), Put::Conflict);
        assert_eq!(store.get(key).await.unwrap(), Some((b"2".to_vec(), second.clone())));

        let values: Vec<Vec<u8>> = (0..8).map(|n| format!("value {n}").into_bytes()).collect();
        let puts = values.iter().map(|value| store.put(key, value, Some(&second)));
        let stored = join_all(puts).await.into_iter().map(Result::unwrap);
        assert_eq!(stored.filter(|put| matches!(put, Put::Stored(_))).count(), 1);
    }
}

/// S3 answers 409 while another conditional write of the key is in progress.
#[tokio::test]
async fn a_write_waits_for_another_that_is_in_progress() {
    let conflict = "<Error><Code>ConditionalRequestConflict</Code><Message>retry</Message></Error>";
    let answering =
        Answering::with(move |nth, _| if nth < 3 { (409, conflict) } else { (200, "") }).await;
    let (s3, _) = clients_at(&answering.url).await;
    let store = S3Checkpoints::new(s3, "bucket", "checkpoints", clock());
    let began = real_time::now();
    assert!(matches!(store.put("lock.json", b"1", None).await.unwrap(), Put::Stored(_)));
    // Half of 50, 100 and 200 ms, at least.
    assert!(began.elapsed() >= std::time::Duration::from_millis(175), "{:?}", began.elapsed());
    assert_eq!(answering.requests().len(), 4);

    let answering = Answering::with(move |_, _| (409, conflict)).await;
    let (s3, _) = clients_at(&answering.url).await;
    let store = S3Checkpoints::new(s3, "bucket", "checkpoints", clock());
    let error = store.put("lock.json", b"1", None).await.unwrap_err().to_string();
    assert!(error.contains("s3://bucket/checkpoints/lock.json"), "{error}");
    assert_eq!(answering.requests().len(), 6);
}
