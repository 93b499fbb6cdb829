//! A raw zone that changes between listing and reading, or while it is read, or that cannot be read.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use silversmith::source::{
    Listing, MemoryStore, Opened, Page, RawObject, RawStore, ReadError, Requested,
};
use tokio::sync::watch;

/// See the module.
pub struct FailingStore {
    pub inner: Arc<MemoryStore>,
    /// What happens right after a listing.
    pub after_list: fn(&MemoryStore),
    /// Whether objects are refused: the suite may run as root, which no permission stops.
    pub locked: AtomicBool,
    /// Those that `locked` is for have this in their URI.
    pub locked_part: Mutex<&'static str>,
    /// Whether the store cannot be reached.
    pub down: AtomicBool,
    /// Objects with this in their URI are not read for as long as it stands here.
    pub stuck: watch::Sender<Option<&'static str>>,
    /// Whether objects are deleted while they are read.
    pub vanishing: AtomicBool,
}

impl FailingStore {
    pub fn new(inner: &Arc<MemoryStore>, after_list: fn(&MemoryStore)) -> Arc<Self> {
        let (locked, down) = (AtomicBool::new(false), AtomicBool::new(false));
        let stuck = watch::Sender::new(None);
        let (inner, locked_part) = (inner.clone(), Mutex::new(""));
        let vanishing = AtomicBool::new(false);
        Arc::new(Self { inner, after_list, locked, locked_part, down, stuck, vanishing })
    }
}

impl fmt::Debug for FailingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailingStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl RawStore for FailingStore {
    fn list<'a>(&'a self, listing: &'a Listing) -> BoxStream<'a, Result<Page, ReadError>> {
        let listed = self.inner.list(listing);
        listed
            .map(|page| {
                (self.after_list)(&self.inner);
                page
            })
            .boxed()
    }

    async fn oldest_incomplete(
        &self,
        root: &str,
        is_match: &(dyn for<'u> Fn(&'u str) -> bool + Sync),
    ) -> Result<Option<DateTime<Utc>>, ReadError> {
        self.inner.oldest_incomplete(root, is_match).await
    }

    async fn pending(&self) -> Result<Vec<String>, ReadError> {
        self.inner.pending().await
    }

    async fn open(&self, requested: &Requested) -> Result<Opened, ReadError> {
        let uri = requested.uri();
        let free = |stuck: &Option<&str>| stuck.is_none_or(|part| !uri.contains(part));
        drop(self.stuck.subscribe().wait_for(free).await);
        if self.down.load(Ordering::SeqCst) {
            let source = std::io::Error::other("connection refused");
            return Err(ReadError::Store { uri, source });
        }
        let locked = uri.contains(*self.locked_part.lock().unwrap());
        if locked && self.locked.load(Ordering::SeqCst) {
            return Err(ReadError::Unreadable { uri, why: "permission denied".to_owned() });
        }
        let opened = self.inner.open(requested).await?;
        if self.vanishing.load(Ordering::SeqCst) {
            self.inner.delete(&uri);
        }
        Ok(opened)
    }

    async fn verify(&self, object: &RawObject) -> Result<(), ReadError> {
        self.inner.verify(object).await
    }
}
