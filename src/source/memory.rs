//! A raw zone in memory, for tests and simulations.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{ObjectId, RawObject, RawStore, ReadError};

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

    /// Puts an object, in the place of one with that URI.
    pub fn put(&self, uri: &str, content: impl Into<Vec<u8>>, last_modified: DateTime<Utc>) {
        let content = content.into();
        let version = format!("{:x}", Sha256::digest(&content))[..16].to_owned();
        let id = ObjectId { uri: uri.to_owned(), version, last_modified };
        let object = RawObject { id, size: content.len() as u64 };
        self.lock().insert(uri.to_owned(), (object, content));
    }

    /// Deletes an object.
    pub fn delete(&self, uri: &str) {
        self.lock().remove(uri);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (RawObject, Vec<u8>)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, wanted: &RawObject) -> Result<Vec<u8>, ReadError> {
        let uri = &wanted.id.uri;
        match self.lock().get(uri) {
            None => Err(ReadError::Missing(uri.clone())),
            Some((object, _)) if object != wanted => Err(ReadError::Changed(uri.clone())),
            Some((_, content)) => Ok(content.clone()),
        }
    }
}

#[async_trait]
impl RawStore for MemoryStore {
    async fn list(&self) -> Result<Vec<RawObject>, ReadError> {
        let mut all: Vec<_> = self.lock().values().map(|(object, _)| object.clone()).collect();
        all.sort_by(|a, b| (a.id.last_modified, &a.id.uri).cmp(&(b.id.last_modified, &b.id.uri)));
        Ok(all)
    }

    async fn pending(&self) -> Result<Vec<String>, ReadError> {
        Ok(vec![])
    }

    async fn open(&self, object: &RawObject) -> Result<Box<dyn Read + Send>, ReadError> {
        Ok(Box::new(Cursor::new(self.get(object)?)))
    }

    async fn verify(&self, object: &RawObject) -> Result<(), ReadError> {
        self.get(object).map(drop)
    }
}
