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
use tokio::sync::oneshot;

use super::{CheckpointError, CheckpointStore, FORMAT_VERSION, Put, Version};
use crate::ambient::SharedAmbient;

/// How long the lock of a silver table stays with an owner that does not renew it.
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
    /// Its owner has released it.
    released: bool,
}

/// A lock, held by its owner, by another one, or by none.
#[derive(Debug)]
pub struct Lock {
    place: Place,
    /// The version last seen of another owner, and when it was first seen.
    seen: Option<(Version, DateTime<Utc>)>,
}

/// Where a lock is, and for which owner.
#[derive(Debug, Clone)]
struct Place {
    store: Arc<dyn CheckpointStore>,
    key: String,
    owner: String,
    ttl: Duration,
    ambient: SharedAmbient,
}

/// A lock that its owner holds.
#[derive(Debug)]
pub struct Held {
    stored: Stored,
    version: Version,
}

impl Lock {
    /// The lock at a key, for an owner of that name. `ttl`: how long it stays with an owner that does not
    /// renew it; the same for all who share it.
    pub fn new(
        store: Arc<dyn CheckpointStore>,
        key: String,
        owner: String,
        ttl: Duration,
        ambient: SharedAmbient,
    ) -> Self {
        Self { place: Place { store, key, owner, ttl, ambient }, seen: None }
    }

    /// Acquires the lock where it is free, or where its owner has not renewed it for its time to live.
    pub async fn acquire(&mut self) -> Result<Option<Held>, CheckpointError> {
        let now = self.place.ambient.now();
        let (epoch, expected) = match self.place.load().await? {
            None => (1, None),
            Some((stored, version)) => {
                // Ours: an answer was lost, and the lock taken all the same.
                let free = stored.released || stored.owner == self.place.owner;
                if !free && !self.outlived(&version, now) {
                    return Ok(None);
                }
                if !free {
                    tracing::warn!(
                        key = self.place.key,
                        owner = stored.owner,
                        "taking over a lock that was not renewed"
                    );
                }
                (stored.epoch + 1, Some(version))
            }
        };
        let stored = Stored {
            format_version: FORMAT_VERSION,
            owner: self.place.owner.clone(),
            epoch,
            renewed_at: now,
            released: false,
        };
        self.seen = None;
        self.place.put(stored, expected.as_ref()).await
    }

    fn outlived(&mut self, version: &Version, now: DateTime<Utc>) -> bool {
        match &self.seen {
            Some((seen, since)) if seen == version => {
                (now - *since).to_std().is_ok_and(|waited| waited >= self.place.ttl)
            }
            _ => {
                self.seen = Some((version.clone(), now));
                false
            }
        }
    }

    /// Does work under the lock, renewing it at every third of its time to live, and releases it. Where it is
    /// lost meanwhile the work goes on: its commit's own check decides.
    pub async fn hold<T>(&self, held: Held, work: impl Future<Output = T>) -> T {
        let (over, until) = oneshot::channel();
        // A task of its own: neither holds up the other.
        let renewing = tokio::spawn(self.place.clone().renew(held, until));
        let done = work.await;
        drop(over);
        if let Ok(Some(held)) = renewing.await
            && let Err(error) = self.place.release(held).await
        {
            let (key, error) = (&self.place.key, crate::error::chain(&error));
            tracing::warn!(key, error, "the lock could not be released; it runs out by itself");
        }
        done
    }
}

impl Place {
    /// Renews until the work is over. `None`: the lock was lost.
    async fn renew(self, mut held: Held, mut over: oneshot::Receiver<()>) -> Option<Held> {
        loop {
            tokio::select! {
                _ = &mut over => return Some(held),
                () = self.ambient.sleep(self.ttl / 3) => {}
            }
            let renewed = Stored { renewed_at: self.ambient.now(), ..held.stored.clone() };
            match self.put(renewed, Some(&held.version)).await {
                Ok(Some(renewed)) => held = renewed,
                Ok(None) => match self.load().await {
                    // An answer was lost, and the lock renewed all the same.
                    Ok(Some((stored, version)))
                        if stored.owner == self.owner && stored.epoch == held.stored.epoch =>
                    {
                        held = Held { stored, version };
                    }
                    Ok(_) => {
                        tracing::warn!(key = self.key, "the lock was taken over by another worker");
                        return None;
                    }
                    Err(error) => self.not_renewed(&error),
                },
                Err(error) => self.not_renewed(&error),
            }
        }
    }

    async fn release(&self, held: Held) -> Result<(), CheckpointError> {
        let released = Stored { released: true, ..held.stored };
        if self.put(released.clone(), Some(&held.version)).await?.is_none()
            // A renewal whose answer was lost, or another's by now.
            && let Some((stored, version)) = self.load().await?
            && (&stored.owner, stored.epoch) == (&released.owner, released.epoch)
        {
            self.put(released, Some(&version)).await?;
        }
        Ok(())
    }

    fn not_renewed(&self, error: &CheckpointError) {
        let error = crate::error::chain(error);
        tracing::warn!(key = self.key, error, "the lock could not be renewed");
    }

    async fn put(
        &self,
        stored: Stored,
        expected: Option<&Version>,
    ) -> Result<Option<Held>, CheckpointError> {
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|e| self.malformed(&e))?;
        Ok(match self.store.put(&self.key, &bytes, expected).await? {
            Put::Stored(version) => Some(Held { stored, version }),
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
        let (key, why) = (self.key.clone(), error.to_string());
        CheckpointError::Malformed { key, why, loss: "delete it: the next worker makes it anew" }
    }
}
