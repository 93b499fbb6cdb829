//! Raw stores: the fake, a folder, S3 with and without versions.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use silversmith::ambient::{Ambient, SystemAmbient};
use silversmith::event::ObjectEvent;
use silversmith::source::{
    DirectoryStore, Listing, MemoryStore, Opened, Page, RawStore, Reached, ReadError, Requested,
    S3Store, all,
};

use super::backings::clock;
use crate::emulator::stand::{Stand, Wish, breaking_off_after, clients_at};

/// A raw zone, and how objects get there.
enum Zone {
    Memory(Arc<MemoryStore>),
    Folder(tempfile::TempDir),
    S3(Stand),
}

impl Zone {
    async fn put(&self, name: &str, content: &str) {
        match self {
            Self::Memory(store) => store.put(&format!("raw/{name}"), content, SystemAmbient.now()),
            Self::Folder(folder) => {
                let path = folder.path().join("raw").join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            Self::S3(stand) => drop(stand.put(name, content).await),
        }
    }

    async fn delete(&self, name: &str) {
        match self {
            Self::Memory(store) => store.delete(&format!("raw/{name}")),
            Self::Folder(folder) => {
                std::fs::remove_file(folder.path().join("raw").join(name)).unwrap();
            }
            Self::S3(stand) => stand.delete(name).await,
        }
    }
}

async fn zones() -> Vec<(&'static str, Zone, Arc<dyn RawStore>, String)> {
    let memory = Arc::new(MemoryStore::new());
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    std::fs::create_dir(&raw).unwrap();
    let directory =
        DirectoryStore::new(folder.path(), &raw, Duration::ZERO, Arc::new(SystemAmbient));
    let mut zones: Vec<(_, _, Arc<dyn RawStore>, _)> = vec![
        ("memory", Zone::Memory(memory.clone()), memory, "raw/".to_owned()),
        ("directory", Zone::Folder(folder), Arc::new(directory), "raw/".to_owned()),
    ];
    for (kind, versioned) in [("s3", false), ("s3 with versions", true)] {
        let stand = Stand::with(Wish { versioned, notified: false, ..Wish::default() }).await;
        let (store, root) =
            (S3Store::new(stand.s3.clone(), clock()), format!("s3://{}/raw/", stand.name));
        zones.push((kind, Zone::S3(stand), Arc::new(store), root));
    }
    zones
}

async fn text(opened: Opened) -> String {
    let mut input = opened.input;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        input.read_to_string(&mut text).map(|_| text)
    });
    read.await.unwrap().unwrap()
}

async fn range(opened: &Opened, offset: u64, length: usize) -> std::io::Result<bytes::Bytes> {
    let at = opened.at.clone();
    tokio::task::spawn_blocking(move || at.read_at(offset, length)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_raw_store_keeps_the_contract() {
    for (kind, zone, store, root) in zones().await {
        println!("raw store: {kind}");
        assert_eq!(all(&*store, &root).await.unwrap(), []);
        for name in ["b/2.csv", "a/1.csv", "a/b/3.csv", "4 é+%.csv"] {
            zone.put(name, &format!("content of {name}")).await;
        }
        let listed = all(&*store, &root).await.unwrap();
        let mut uris: Vec<&str> = listed.iter().map(|o| o.id.uri.as_str()).collect();
        uris.sort_unstable();
        let expected = ["4 é+%.csv", "a/1.csv", "a/b/3.csv", "b/2.csv"];
        assert_eq!(uris, expected.map(|name| format!("{root}{name}")));
        assert_eq!(all(&*store, &root).await.unwrap(), listed, "nothing changed");
        assert_eq!(all(&*store, &format!("{root}a/")).await.unwrap().len(), 2);

        for object in &listed {
            let opened = store.open(&Requested::Listed(object.clone())).await.unwrap();
            assert_eq!(opened.object.id, object.id);
            assert_eq!(opened.object.size, object.size);
            let name = &object.id.uri[root.len()..];
            assert_eq!(text(opened).await, format!("content of {name}"), "{kind}");
            store.verify(object).await.unwrap();
            let opened = store.open(&Requested::Listed(object.clone())).await.unwrap();
            assert_eq!(range(&opened, 8, 2).await.unwrap(), b"of"[..], "{kind}");
            assert_eq!(range(&opened, 0, 7).await.unwrap(), b"content"[..], "{kind}");
            assert_eq!(range(&opened, 3, 0).await.unwrap(), b""[..], "{kind}");
            assert!(range(&opened, object.size - 1, 2).await.is_err(), "{kind}: behind its end");
        }

        // Another version, where the first is requested.
        let first = listed.iter().find(|o| o.id.uri.ends_with("2.csv")).unwrap().clone();
        zone.put("b/2.csv", "something else").await;
        match store.open(&Requested::Listed(first.clone())).await {
            Ok(opened) => {
                assert_ne!(opened.object.id, first.id, "it says which it reads");
                assert_eq!(text(opened).await, "something else");
            }
            Err(ReadError::Changed(uri)) => assert_eq!(uri, first.id.uri),
            Err(other) => panic!("{kind}: {other}"),
        }
        zone.delete("b/2.csv").await;
        let gone = store.open(&Requested::Listed(first)).await.map(|opened| opened.object);
        assert!(matches!(gone, Err(ReadError::Missing(_))), "{kind}: {gone:?}");
    }
}

/// S3 reads the version that the event named, by id or by ETag, and says which one it was.
#[tokio::test(flavor = "multi_thread")]
async fn s3_reads_the_version_that_the_event_named() {
    for versioned in [false, true] {
        let stand = Stand::with(Wish { versioned, notified: false, ..Wish::default() }).await;
        let store = S3Store::new(stand.s3.clone(), clock());
        let (old, old_version) = stand.put("1.csv", "old").await;
        let (new, _) = stand.put("1.csv", "new one").await;
        let by_event = |etag: &str, version_id: Option<String>| {
            Requested::ByEvent(ObjectEvent {
                bucket: stand.name.clone(),
                key: "raw/1.csv".into(),
                etag: Some(etag.into()),
                version_id,
                size: None,
                sequencer: None,
                event_time: None,
                again: None,
                replayed: false,
            })
        };
        let opened = store.open(&by_event(&old, old_version)).await.unwrap();
        let version = opened.object.id.version.clone();
        match versioned {
            true => assert_eq!((version, text(opened).await), (old, "old".into())),
            false => assert_eq!((version, text(opened).await), (new.clone(), "new one".into())),
        }
        let nothing = store.open(&by_event(&new, Some("no-such-version".into()))).await;
        let nothing = nothing.map(|opened| opened.object);
        assert!(
            matches!(nothing, Err(ReadError::Missing(_) | ReadError::Unreadable { .. })),
            "{nothing:?}"
        );
    }
}

/// A broken body is resumed where it broke, in the same version, as long as each attempt brings bytes; one
/// that is overwritten meanwhile has changed.
#[tokio::test(flavor = "multi_thread")]
async fn s3_resumes_a_broken_body_where_it_broke() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let long: String = (0..400_000).map(|n| format!("{n:07}\n")).collect();
    stand.put("long.csv", &long).await;
    let through = breaking_off_after(700_000).await;
    let store = S3Store::new(clients_at(&through).await.0, clock());
    let requested = Requested::ByEvent(ObjectEvent {
        bucket: stand.name.clone(),
        key: "raw/long.csv".into(),
        etag: None,
        version_id: None,
        size: None,
        sequencer: None,
        event_time: None,
        again: None,
        replayed: false,
    });
    assert_eq!(text(store.open(&requested).await.unwrap()).await, long);

    let mut opened = store.open(&requested).await.unwrap();
    let mut start = vec![0; 1_000];
    opened = tokio::task::spawn_blocking(move || {
        opened.input.read_exact(&mut start).unwrap();
        opened
    })
    .await
    .unwrap();
    stand.put("long.csv", "other").await;
    let error =
        tokio::task::spawn_blocking(move || opened.input.read_to_end(&mut Vec::new()).unwrap_err());
    let error = error.await.unwrap().downcast::<ReadError>().unwrap();
    assert!(matches!(error, ReadError::Changed(_)), "{error}");

    // The same holds at any offset.
    stand.put("long.csv", &long).await;
    let opened = store.open(&requested).await.unwrap();
    let bytes = range(&opened, 16, 1_000_000).await.unwrap();
    assert_eq!(bytes, long.as_bytes()[16..1_000_016]);
    stand.put("long.csv", "other").await;
    let error = range(&opened, 16, 8).await.unwrap_err().downcast::<ReadError>().unwrap();
    assert!(matches!(error, ReadError::Changed(_)), "{error}");
}

/// A shallow listing is of one folder, whatever is below it and beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_shallow_listing_shows_the_objects_of_one_folder() {
    for (kind, zone, store, root) in zones().await {
        for name in ["1/a.csv", "1/_SUCCESS", "1/deep/b.csv", "10/c.csv", "2/d.csv", "e.csv"] {
            zone.put(name, "x").await;
        }
        let names = async |folder: &str| {
            let listing =
                Listing { root: format!("{root}{folder}"), shallow: true, ..Listing::default() };
            let pages: Vec<Page> = store.list(&listing).try_collect().await.unwrap();
            let mut uris: Vec<String> =
                pages.into_iter().flat_map(|p| p.objects).map(|o| o.id.uri).collect();
            uris.sort();
            uris.into_iter().map(|uri| uri.split_at(root.len()).1.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("1/").await, ["1/_SUCCESS", "1/a.csv"], "{kind}");
        assert_eq!(names("1/deep/").await, ["1/deep/b.csv"], "{kind}");
        assert_eq!(names("").await, ["e.csv"], "{kind}");
        assert_eq!(names("gone/").await, Vec::<String>::new(), "{kind}");
    }
}

/// Prefixes that were reached before are not listed again.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_s3_resumes_where_it_was_interrupted() {
    const FOLDERS: usize = 40;
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    for number in 0..3 * FOLDERS {
        stand.put(&format!("{:02}/{}.csv", number % FOLDERS, number / FOLDERS), "x").await;
    }
    stand.put("alone.csv", "x").await;
    let store = S3Store::new(stand.s3.clone(), clock());
    let root = format!("s3://{}/raw/", stand.name);
    let mut listing = Listing { root, ..Listing::default() };
    let pages: Vec<Page> = store.list(&listing).try_collect().await.unwrap();
    assert_eq!(pages.iter().map(|p| p.objects.len()).sum::<usize>(), 3 * FOLDERS + 1);
    let reached = pages.iter().filter_map(|page| page.reached.clone());
    let reached: BTreeMap<String, Reached> = reached.collect();
    assert_eq!(reached.len(), FOLDERS, "{reached:?}");
    listing.reached = reached;
    listing.reached.insert("raw/07/".into(), Reached::Key("raw/07/1.csv".into()));
    let pages: Vec<Page> = store.list(&listing).try_collect().await.unwrap();
    let uris: Vec<&str> = pages
        .iter()
        .flat_map(|p| &p.objects)
        .map(|o| o.id.uri.rsplit_once("raw/").unwrap().1)
        .collect();
    assert_eq!(uris, ["alone.csv", "07/2.csv"]);
}
