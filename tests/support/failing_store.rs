//! A raw zone that changes between listing and reading, refuses to be read, or is down.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use silversmith::source::{
    Listing, MemoryStore, Opened, Page, RawObject, RawStore, ReadError, Requested,
};

/// See the module.
pub struct FailingStore {
    pub inner: Arc<MemoryStore>,
    /// What happens right after a listing.
    pub after_list: fn(&MemoryStore),
    /// Whether objects are refused: the suite may run as root, which no permission stops.
    pub locked: AtomicBool,
    /// Whether the store cannot be reached.
    pub down: AtomicBool,
}

impl FailingStore {
    pub fn new(inner: &Arc<MemoryStore>, after_list: fn(&MemoryStore)) -> Arc<Self> {
        let (locked, down) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { inner: inner.clone(), after_list, locked, down })
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
        wanted: &(dyn for<'u> Fn(&'u str) -> bool + Sync),
    ) -> Result<Option<DateTime<Utc>>, ReadError> {
        self.inner.oldest_incomplete(root, wanted).await
    }

    async fn pending(&self) -> Result<Vec<String>, ReadError> {
        self.inner.pending().await
    }

    async fn open(&self, wanted: &Requested) -> Result<Opened, ReadError> {
        let uri = wanted.uri();
        if self.down.load(Ordering::SeqCst) {
            let source = std::io::Error::other("connection refused");
            return Err(ReadError::Trouble { uri, source });
        }
        if self.locked.load(Ordering::SeqCst) {
            return Err(ReadError::Unreadable { uri, why: "permission denied".to_owned() });
        }
        self.inner.open(wanted).await
    }

    async fn verify(&self, object: &RawObject) -> Result<(), ReadError> {
        self.inner.verify(object).await
    }
}
