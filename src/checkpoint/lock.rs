//! A lock beside the checkpoints, by conditional writes: one worker at a time merges a silver table.
//!
//! It saves work and is no guarantee: when two workers believe that they hold it, the commit's own check
//! decides. Clocks are not compared: a waiting worker takes the lock over when it has not changed for its time
//! to live, on the clock of the waiting worker.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{CheckpointError, CheckpointStore, FORMAT_VERSION, Put, Version};
use crate::ambient::SharedAmbient;
use crate::backoff::backoff;

/// How long the lock of a silver table stays held after its last renewal.
pub const TTL: Duration = Duration::from_secs(10);

/// The pause after a lock was found held for the first time, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// The longest of these pauses: half the lock's time to live, so that a dead holder is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What to do about a lock that cannot be read.
const LOSS: &str = "delete it: the next worker writes it again";

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    format_version: u32,
    owner: String,
    /// Counts the owners.
    epoch: u64,
    /// When it was last written, by its owner's clock: for information only.
    renewed_at: DateTime<Utc>,
    /// Whether its owner has released it.
    released: bool,
}

/// A lock that another worker may hold.
#[derive(Debug)]
pub struct Lock {
    object: LockObject,
    /// The last version seen of another owner, and when it was first seen.
    seen: Option<(Version, DateTime<Utc>)>,
}

/// The stored object of a lock, and the owner on this side.
#[derive(Debug, Clone)]
struct LockObject {
    store: Arc<dyn CheckpointStore>,
    key: String,
    owner: String,
    ttl: Duration,
    ambient: SharedAmbient,
}

/// A lock that this owner holds.
#[derive(Debug)]
pub struct Held {
    stored: Stored,
    version: Version,
}

impl Lock {
    /// The lock at a key, for an owner of that name. `ttl`: how long the lock stays held after its last renewal;
    /// all workers that share it need the same.
    pub fn new(
        store: Arc<dyn CheckpointStore>,
        key: String,
        owner: String,
        ttl: Duration,
        ambient: SharedAmbient,
    ) -> Self {
        Self { object: LockObject { store, key, owner, ttl, ambient }, seen: None }
    }

    /// Takes the lock if no owner holds it, or if its owner has not renewed it for its time to live.
    pub async fn acquire(&mut self) -> Result<Option<Held>, CheckpointError> {
        let now = self.object.ambient.now();
        let (epoch, expected) = match self.object.load().await? {
            None => (1, None),
            Some((stored, version)) => {
                // This owner's lock: it was taken, and the answer was lost.
                let free = stored.released || stored.owner == self.object.owner;
                if !free && !self.outlived(&version, now) {
                    return Ok(None);
                }
                if !free {
                    tracing::warn!(
                        key = self.object.key,
                        owner = stored.owner,
                        "taking over a lock that was not renewed"
                    );
                }
                (stored.epoch + 1, Some(version))
            }
        };
        let stored = Stored {
            format_version: FORMAT_VERSION,
            owner: self.object.owner.clone(),
            epoch,
            renewed_at: now,
            released: false,
        };
        self.seen = None;
        self.object.put(stored, expected.as_ref()).await
    }

    /// Takes the lock once it is free, after it was found held.
    pub async fn wait(&mut self) -> Result<Held, CheckpointError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            self.object.ambient.sleep(pause(&self.object.ambient, attempts)).await;
            if let Some(held) = self.acquire().await? {
                return Ok(held);
            }
        }
    }

    fn outlived(&mut self, version: &Version, now: DateTime<Utc>) -> bool {
        match &self.seen {
            Some((seen, since)) if seen == version => {
                (now - *since).to_std().is_ok_and(|waited| waited >= self.object.ttl)
            }
            _ => {
                self.seen = Some((version.clone(), now));
                false
            }
        }
    }

    /// Does work under the lock, renews it at every third of its time to live, and releases it. When the lock is
    /// lost meanwhile, the work goes on: the commit's own check decides.
    pub async fn hold<T>(&self, held: Held, work: impl Future<Output = T>) -> T {
        let (over, until) = oneshot::channel();
        // A task of its own: neither holds up the other.
        let renewing = tokio::spawn(self.object.clone().renew(held, until));
        let done = work.await;
        drop(over);
        if let Ok(Some(held)) = renewing.await
            && let Err(error) = self.object.release(held).await
        {
            let (key, error) = (&self.object.key, crate::error::chain(&error));
            tracing::warn!(key, error, "the lock could not be released; it expires by itself");
        }
        done
    }
}

/// The pause after so many attempts in a row to take a lock that is held.
pub fn pause(ambient: &SharedAmbient, attempts: u32) -> Duration {
    ambient.jitter(backoff(FIRST_PAUSE, attempts, LONGEST_PAUSE))
}

impl LockObject {
    /// Renews until the work is over. None: the lock was lost.
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
                    // It was renewed, and the answer was lost.
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
            // A renewal whose answer was lost, or another owner by now.
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
        let stored = super::decoded(&self.key, &bytes, LOSS)?;
        Ok(Some((stored, version)))
    }

    fn malformed(&self, error: &serde_json::Error) -> CheckpointError {
        let (key, why) = (self.key.clone(), error.to_string());
        CheckpointError::Malformed { key, why, loss: LOSS }
    }
}
