//! A raw zone that changes between listing and reading, or while it is read, or that cannot be read.

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
    /// Whether objects are deleted while they are read.
    pub vanishing: AtomicBool,
}

impl FailingStore {
    pub fn new(inner: &Arc<MemoryStore>, after_list: fn(&MemoryStore)) -> Arc<Self> {
        Arc::new(Self {
            inner: inner.clone(),
            after_list,
            locked: AtomicBool::new(false),
            down: AtomicBool::new(false),
            vanishing: AtomicBool::new(false),
        })
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
        if self.down.load(Ordering::SeqCst) {
            let source = std::io::Error::other("connection refused");
            return Err(ReadError::Store { uri, source });
        }
        if self.locked.load(Ordering::SeqCst) {
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
