//! A raw zone in memory, for tests and simulations.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream};
use sha2::{Digest, Sha256};

use super::{Listing, ObjectId, Opened, Page, RawObject, RawStore, ReadError, Requested, Reread};

/// See the module. Versions are hashes of the content.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, (RawObject, Vec<u8>)>>,
}

impl MemoryStore {
    /// An empty raw zone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an object; it replaces one with the same URI.
    pub fn put(&self, uri: &str, content: impl Into<Vec<u8>>, last_modified: DateTime<Utc>) {
        let content = content.into();
        let version = format!("{:x}", Sha256::digest(&content))[..16].to_owned();
        let id = ObjectId { uri: uri.to_owned(), version, last_modified };
        let object = RawObject { id, size: content.len() as u64, version_id: None };
        self.lock().insert(uri.to_owned(), (object, content));
    }

    /// Deletes an object.
    pub fn delete(&self, uri: &str) {
        self.lock().remove(uri);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (RawObject, Vec<u8>)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object as it is now, with its content.
    fn current(&self, uri: &str) -> Result<(RawObject, Vec<u8>), ReadError> {
        self.lock().get(uri).cloned().ok_or_else(|| ReadError::Missing(uri.to_owned()))
    }

    fn same(&self, requested: &RawObject) -> Result<(RawObject, Vec<u8>), ReadError> {
        let current = self.current(&requested.id.uri)?;
        match current.0 == *requested {
            true => Ok(current),
            false => Err(ReadError::Changed(requested.id.uri.clone())),
        }
    }
}

#[async_trait]
impl RawStore for MemoryStore {
    fn list<'a>(&'a self, listing: &'a Listing) -> BoxStream<'a, Result<Page, ReadError>> {
        let mut objects: Vec<_> = self.lock().values().map(|(object, _)| object.clone()).collect();
        objects.retain(|object| {
            let below = object.id.uri.strip_prefix(&listing.root);
            below.is_some_and(|name| !(listing.shallow && name.contains('/')))
        });
        objects
            .sort_by(|a, b| (a.id.last_modified, &a.id.uri).cmp(&(b.id.last_modified, &b.id.uri)));
        Box::pin(stream::iter([Ok(Page { objects, reached: None })]))
    }

    async fn oldest_incomplete(
        &self,
        _root: &str,
        _is_match: &(dyn for<'u> Fn(&'u str) -> bool + Sync),
    ) -> Result<Option<DateTime<Utc>>, ReadError> {
        Ok(None)
    }

    async fn pending(&self) -> Result<Vec<String>, ReadError> {
        Ok(vec![])
    }

    async fn open(&self, requested: &Requested) -> Result<Opened, ReadError> {
        let (object, content) = match requested {
            Requested::Listed(object) | Requested::Again(Reread { object, .. }) => {
                self.same(object)?
            }
            Requested::ByEvent(object) => self.current(&object.uri())?,
        };
        let at = Arc::new(Bytes::from(content.clone()));
        Ok(Opened { object, input: Box::new(Cursor::new(content)), at })
    }

    async fn verify(&self, object: &RawObject) -> Result<(), ReadError> {
        self.same(object).map(drop)
    }
}
