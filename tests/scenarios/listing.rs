//! Listings of S3: interrupted and resumed, and the low watermark, with a raw zone that lists page by
//! page.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use silversmith::bronze::BronzeCheckpoint;
use silversmith::checkpoint;
use silversmith::pipeline::Intake;
use silversmith::source::{
    Listing, MemoryStore, Opened, Page, RawObject, RawStore, Reached, ReadError, Requested, all,
};

use crate::support::queued::CUSTOMERS;
use crate::support::{LAKE, World, at, settings_of};

/// One prefix, in pages of ten; the listing fails after `breaks_after` of them.
#[derive(Debug)]
struct Paged {
    inner: Arc<MemoryStore>,
    breaks_after: AtomicUsize,
    asked: Mutex<Vec<Listing>>,
    upload: Mutex<Option<DateTime<Utc>>>,
}

#[async_trait]
impl RawStore for Paged {
    fn list<'a>(&'a self, listing: &'a Listing) -> BoxStream<'a, Result<Page, ReadError>> {
        self.asked.lock().unwrap().push(listing.clone());
        let after = match listing.reached.get("raw/") {
            Some(Reached::Key(key)) => key.clone(),
            Some(Reached::End) => return stream::empty().boxed(),
            None => String::new(),
        };
        stream::once(async move { all(&*self.inner, &listing.root).await.unwrap() })
            .flat_map(move |mut objects| {
                objects.retain(|object| object.id.uri > after);
                objects.sort_by(|a, b| a.id.uri.cmp(&b.id.uri));
                let pages: Vec<Vec<RawObject>> = objects.chunks(10).map(<[_]>::to_vec).collect();
                let last = pages.len();
                stream::iter(pages.into_iter().enumerate().map(move |(number, objects)| {
                    if number >= self.breaks_after.load(Ordering::SeqCst) {
                        let source = std::io::Error::other("the connection was reset");
                        return Err(ReadError::Store { uri: "s3://zone/raw/".into(), source });
                    }
                    let reached = match number + 1 == last {
                        true => Reached::End,
                        false => Reached::Key(objects.last().unwrap().id.uri.clone()),
                    };
                    Ok(Page { objects, reached: Some(("raw/".to_owned(), reached)) })
                }))
            })
            .boxed()
    }

    async fn oldest_incomplete(
        &self,
        _root: &str,
        _is_match: &(dyn for<'u> Fn(&'u str) -> bool + Sync),
    ) -> Result<Option<DateTime<Utc>>, ReadError> {
        Ok(*self.upload.lock().unwrap())
    }

    async fn pending(&self) -> Result<Vec<String>, ReadError> {
        Ok(vec![])
    }

    async fn open(&self, requested: &Requested) -> Result<Opened, ReadError> {
        self.inner.open(requested).await
    }

    async fn verify(&self, object: &RawObject) -> Result<(), ReadError> {
        self.inner.verify(object).await
    }
}

fn world() -> (World, Arc<Paged>) {
    let mut world = World::new(crate::support::CUSTOMERS);
    let store = Arc::new(Paged {
        inner: world.raw.clone(),
        breaks_after: AtomicUsize::new(usize::MAX),
        asked: Mutex::default(),
        upload: Mutex::default(),
    });
    let pipeline = CUSTOMERS
        .replace("[pipeline.bronze]", "[pipeline.batch]\nmax_objects = 2\n[pipeline.bronze]");
    let settings = settings_of(&format!("{LAKE}{pipeline}"));
    world.rewire(settings, store.clone(), Intake::Listing);
    (world, store)
}

fn put(world: &World, number: usize, minute: u32) {
    let text = format!("id,updated\n{number},2026-01-01\n");
    world.raw.put(&format!("s3://zone/raw/{number:03}.csv"), text.into_bytes(), at(10, minute));
}

async fn stored(world: &World) -> BronzeCheckpoint {
    let store = &*world.checkpoints;
    checkpoint::load::<BronzeCheckpoint>(store, "customers").await.unwrap().unwrap().0
}

#[tokio::test]
async fn an_interrupted_listing_resumes_after_its_last_chunk() {
    let (world, store) = world();
    (0..75).for_each(|number| put(&world, number, 1));
    store.breaks_after.store(5, Ordering::SeqCst);
    world.pipeline().bronze.step().await.unwrap_err();
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["40"], "chunks of 20");
    let progress = stored(&world).await.listing.unwrap();
    let reached = Reached::Key("s3://zone/raw/039.csv".into());
    assert_eq!(progress.reached["raw/"], reached);
    assert_eq!(stored(&world).await.low_watermark, None, "only a finished listing moves it");

    store.breaks_after.store(usize::MAX, Ordering::SeqCst);
    let report = world.bronze().await;
    assert_eq!((report.listed, report.ingested), (35, 35), "what was reached is not listed again");
    assert_eq!(store.asked.lock().unwrap()[1].reached["raw/"], reached);
    let rows = world.sql("SELECT count(*), count(DISTINCT id) FROM bronze.customers").await;
    assert_eq!(rows, ["75|75"]);
    let checkpoint = stored(&world).await;
    assert_eq!((checkpoint.listing, checkpoint.low_watermark), (None, Some(at(10, 1))));
}

#[tokio::test]
async fn the_low_watermark_stays_below_what_a_later_listing_has_to_show() {
    let (world, store) = world();
    put(&world, 1, 10);
    put(&world, 2, 20);
    world.bronze().await;
    assert_eq!(stored(&world).await.low_watermark, Some(at(10, 20)), "the newest that was listed");
    let (json, _) = world.checkpoints.get("customers/bronze.json").await.unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["floor"], "2026-01-31T10:20:00Z", "its name in the JSON is a contract");
    // Objects of the same second are looked up again, older ones are not.
    put(&world, 3, 20);
    put(&world, 4, 15);
    let report = world.bronze().await;
    assert_eq!((report.listed, report.ingested), (4, 1));
    // A backfill looks at all of them.
    let report = world.pipeline().bronze.backfill("s3://zone/raw/", |_| {}).await.unwrap();
    assert_eq!((report.listed, report.ingested, report.known), (4, 1, 3));

    // An upload that began earlier: its object will appear with that time.
    *store.upload.lock().unwrap() = Some(at(10, 5));
    put(&world, 5, 30);
    world.bronze().await;
    assert_eq!(stored(&world).await.low_watermark, Some(at(10, 5)));
    *store.upload.lock().unwrap() = None;
    put(&world, 6, 5);
    assert_eq!(world.bronze().await.ingested, 1);
    assert_eq!(stored(&world).await.low_watermark, Some(at(10, 30)));

    // More objects of the last hour may still appear: the low watermark waits.
    put(&world, 7, 59);
    world.bronze().await;
    let low = stored(&world).await.low_watermark.unwrap();
    assert!(low <= at(11, 0), "an hour before the listing began, at noon: {low}");
}

/// A replay that is requested while a listing runs is for the next listing.
#[tokio::test]
async fn a_replay_during_a_listing_is_not_forgotten() {
    let (world, _) = world();
    put(&world, 1, 10);
    put(&world, 2, 40);
    world.bronze().await;
    let mut during = false;
    (3..40).for_each(|number| put(&world, number, 50));
    let bronze = world.pipeline().bronze.clone();
    let replaying = bronze.clone();
    // After the first chunk, an operator requests everything since 10:10 again.
    let report = bronze.step_with(|_| {
        if !std::mem::replace(&mut during, true) {
            futures::executor::block_on(replaying.list_from(at(10, 10))).unwrap();
        }
    });
    report.await.unwrap();
    assert!(during);
    assert_eq!(stored(&world).await.replay.unwrap().from, at(10, 10), "for the next one");
    put(&world, 40, 12);
    world.ambient.advance(std::time::Duration::from_secs(1));
    assert_eq!(world.bronze().await.ingested, 1);
    let checkpoint = stored(&world).await;
    assert_eq!((checkpoint.replay, checkpoint.low_watermark), (None, Some(at(10, 50))));
}

/// An interrupted listing does not resume after a replay was requested: it may have passed its objects.
#[tokio::test]
async fn after_a_replay_an_interrupted_listing_starts_over() {
    let (world, store) = world();
    (0..75).for_each(|number| put(&world, number, 1));
    store.breaks_after.store(5, Ordering::SeqCst);
    world.pipeline().bronze.step().await.unwrap_err();
    world.pipeline().bronze.list_from(at(10, 1)).await.unwrap();
    store.breaks_after.store(usize::MAX, Ordering::SeqCst);
    world.ambient.advance(std::time::Duration::from_secs(1));
    let report = world.bronze().await;
    assert_eq!((report.listed, report.ingested, report.known), (75, 35, 40));
}
