//! A raw zone that counts how many objects are read beyond their first bytes at the same time.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use silversmith::source::{
    Listing, MemoryStore, Opened, Page, RawObject, RawStore, ReadError, Requested,
};

/// Bytes of an object that do not count.
const FIRST: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct CountingStore {
    inner: Arc<MemoryStore>,
    reading: Arc<Reading>,
}

#[derive(Debug, Default)]
struct Reading {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl CountingStore {
    pub fn new(inner: &Arc<MemoryStore>) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), reading: Arc::default() })
    }

    /// The most objects that were read at a time.
    pub fn most(&self) -> usize {
        self.reading.most.load(Ordering::SeqCst)
    }
}

/// An object, and how many bytes of it were read.
struct Counted {
    input: Box<dyn Read + Send>,
    bytes: usize,
    reading: Arc<Reading>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(FIRST);
        let read = self.input.read(&mut buffer[..length])?;
        if self.bytes <= FIRST && self.bytes + read > FIRST {
            let now = self.reading.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.reading.most.fetch_max(now, Ordering::SeqCst);
        }
        self.bytes += read;
        Ok(read)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.bytes > FIRST {
            self.reading.now.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl RawStore for CountingStore {
    fn list<'a>(&'a self, listing: &'a Listing) -> BoxStream<'a, Result<Page, ReadError>> {
        self.inner.list(listing)
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
        let Opened { object, input, at } = self.inner.open(requested).await?;
        let input = Counted { input, bytes: 0, reading: self.reading.clone() };
        Ok(Opened { object, input: Box::new(input), at })
    }

    async fn verify(&self, object: &RawObject) -> Result<(), ReadError> {
        self.inner.verify(object).await
    }
}
