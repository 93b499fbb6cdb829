//! A lock beside the checkpoints, by conditional writes: one worker at a time merges a silver table.
//!
//! It saves work, and is no guarantee: when two believe that they hold it, the commit's own check
//! decides. Clocks are not compared: a lock is taken over when it has not changed for its time to live
//! on the clock of the one who waits.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{CheckpointError, CheckpointStore, FORMAT_VERSION, Put, Version};
use crate::ambient::SharedAmbient;

/// How long the lock of a silver table is another's after it was last renewed.
pub const TTL: Duration = Duration::from_secs(10);

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    format_version: u32,
    owner: String,
    /// Counts the owners.
    epoch: u64,
    /// When it was last written, by its owner's clock: for people.
    renewed_at: DateTime<Utc>,
    /// Its owner has let go of it.
    released: bool,
}

/// A lock that may be held by somebody.
#[derive(Debug)]
pub struct Lock {
    store: Arc<dyn CheckpointStore>,
    key: String,
    owner: String,
    ttl: Duration,
    ambient: SharedAmbient,
    /// The version last seen in another's hand, and when it was first seen.
    seen: Option<(Version, DateTime<Utc>)>,
}

/// A lock that is ours.
#[derive(Debug)]
pub struct Held {
    stored: Stored,
    version: Version,
}

impl Lock {
    /// The lock at a key, for an owner of that name. `ttl`: how long it is another's after it was last
    /// renewed; the same for all who share it.
    pub fn new(
        store: Arc<dyn CheckpointStore>,
        key: String,
        owner: String,
        ttl: Duration,
        ambient: SharedAmbient,
    ) -> Self {
        Self { store, key, owner, ttl, ambient, seen: None }
    }

    /// Takes the lock, if nobody holds it, or who held it has not renewed it for its time to live.
    pub async fn acquire(&mut self) -> Result<Option<Held>, CheckpointError> {
        let now = self.ambient.now();
        let (epoch, expected) = match self.load().await? {
            None => (1, None),
            Some((stored, version)) => {
                // Ours: an answer was lost, and the lock taken all the same.
                let free = stored.released || stored.owner == self.owner;
                if !free && !self.outlived(&version, now) {
                    return Ok(None);
                }
                if !free {
                    tracing::warn!(
                        key = self.key,
                        owner = stored.owner,
                        "taking over a lock that was not renewed"
                    );
                }
                (stored.epoch + 1, Some(version))
            }
        };
        let stored = Stored {
            format_version: FORMAT_VERSION,
            owner: self.owner.clone(),
            epoch,
            renewed_at: now,
            released: false,
        };
        let put = self.put(&stored, expected.as_ref()).await?;
        self.seen = None;
        Ok(put.map(|version| Held { stored, version }))
    }

    fn outlived(&mut self, version: &Version, now: DateTime<Utc>) -> bool {
        match &self.seen {
            Some((seen, since)) if seen == version => {
                (now - *since).to_std().is_ok_and(|waited| waited >= self.ttl)
            }
            _ => {
                self.seen = Some((version.clone(), now));
                false
            }
        }
    }

    /// Does work under the lock, renewing it at every third of its time to live, and lets go of it. When
    /// it is lost meanwhile the work goes on: its commit knows.
    pub async fn hold<T>(&self, mut held: Held, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let done = loop {
            match tokio::time::timeout(self.ttl / 3, &mut work).await {
                Ok(done) => break done,
                Err(_) => match self.write(&held, false).await {
                    Ok(Some(renewed)) => held = renewed,
                    Ok(None) => {
                        tracing::warn!(key = self.key, "the lock was taken over by another worker");
                        return work.await;
                    }
                    Err(error) => {
                        let error = crate::error::chain(&error);
                        tracing::warn!(key = self.key, error, "the lock could not be renewed");
                    }
                },
            }
        };
        if let Err(error) = self.write(&held, true).await {
            let error = crate::error::chain(&error);
            tracing::warn!(
                key = self.key,
                error,
                "the lock could not be released; it runs out by itself"
            );
        }
        done
    }

    async fn write(&self, held: &Held, released: bool) -> Result<Option<Held>, CheckpointError> {
        let renewed_at = self.ambient.now();
        let stored = Stored { renewed_at, released, ..held.stored.clone() };
        let put = self.put(&stored, Some(&held.version)).await?;
        Ok(put.map(|version| Held { stored, version }))
    }

    async fn put(
        &self,
        stored: &Stored,
        expected: Option<&Version>,
    ) -> Result<Option<Version>, CheckpointError> {
        let bytes = serde_json::to_vec_pretty(stored).map_err(|e| self.malformed(&e))?;
        Ok(match self.store.put(&self.key, &bytes, expected).await? {
            Put::Stored(version) => Some(version),
            Put::Conflict => None,
        })
    }

    async fn load(&self) -> Result<Option<(Stored, Version)>, CheckpointError> {
        let Some((bytes, version)) = self.store.get(&self.key).await? else { return Ok(None) };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| self.malformed(&e))?;
        if stored.format_version > FORMAT_VERSION {
            let (key, found) = (self.key.clone(), stored.format_version);
            return Err(CheckpointError::TooNew { key, found });
        }
        Ok(Some((stored, version)))
    }

    fn malformed(&self, error: &serde_json::Error) -> CheckpointError {
        CheckpointError::Malformed { key: self.key.clone(), why: error.to_string() }
    }
}
