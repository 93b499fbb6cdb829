//! Checkpoints: small JSON objects under a name, written only over the version that was read.
//!
//! Each layer owns the JSON of its checkpoint. It repeats the positions in the tables' commits for
//! people, and holds what people request (`rewind`). Where a checkpoint and a table disagree, the table
//! is right (I4).

mod local;
pub mod lock;
mod memory;
mod s3;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use local::LocalCheckpoints;
pub use memory::MemoryCheckpoints;
pub use s3::S3Checkpoints;

use crate::ambient::Ambient;
use crate::backoff::backoff;
use crate::error::Kind;

/// The version of the JSON that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// A checkpoint that can be stored.
pub trait Checkpoint: Serialize + for<'a> Deserialize<'a> + Send {
    /// The file's name within the pipeline's folder.
    const FILE: &'static str;
    /// What to do about a malformed file, and what is lost when it is deleted.
    const LOSS: &'static str = "delete it: the next step writes it again from the tables";
}

/// What can go wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It could not be read or written.
    #[error("checkpoint {key} could not be {doing}")]
    Io {
        /// Which.
        key: String,
        /// `read` or `written`.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not JSON of the known form.
    #[error("checkpoint {key} is malformed ({why}); {loss}")]
    Malformed {
        /// Which.
        key: String,
        /// Why.
        why: String,
        /// What to do, and what is lost when it is deleted.
        loss: &'static str,
    },
    /// A newer silversmith wrote it.
    #[error(
        "checkpoint {key} has format version {found}; this program reads up to {FORMAT_VERSION}: upgrade silversmith"
    )]
    TooNew {
        /// Which.
        key: String,
        /// Its version.
        found: u32,
    },
}

impl CheckpointError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { .. } => Kind::Look,
            Self::Malformed { .. } => Kind::Corrupt,
            Self::TooNew { .. } => Kind::Configuration,
        }
    }
}

/// The version of a stored value, opaque: what a conditional write compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

/// The answer to a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Written.
    Stored(Version),
    /// The stored value is not of the expected version; nothing was written.
    Conflict,
}

/// Small JSON objects under keys like `orders/silver.json`, with conditional writes.
///
/// # Contract
/// - `get` returns the newest stored value, whole: never part of one.
/// - `put` with `expected = None` writes only where there is nothing; with `Some(v)` only over
///   the version `v`. Of concurrent puts with the same expectation one is stored.
/// - After an error from `put` the value may or may not be stored; `get` shows it. Putting again is
///   safe.
#[async_trait]
pub trait CheckpointStore: Debug + Send + Sync {
    /// The value and its version.
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, CheckpointError>;

    /// Writes the value where the expectation holds.
    async fn put(
        &self,
        key: &str,
        value: &[u8],
        expected: Option<&Version>,
    ) -> Result<Put, CheckpointError>;
}

/// Checks that checkpoints can be written, under a condition, and read again.
pub async fn probe(store: &dyn CheckpointStore) -> Result<(), CheckpointError> {
    const KEY: &str = "check.json";
    let version = store.get(KEY).await?.map(|(_, version)| version);
    // Another `check` may have written first, which shows the same.
    store.put(KEY, b"{}\n", version.as_ref()).await?;
    store.get(KEY).await.map(drop)
}

/// Reads a pipeline's checkpoint.
pub async fn load<C: Checkpoint>(
    store: &dyn CheckpointStore,
    pipeline: &str,
) -> Result<Option<(C, Version)>, CheckpointError> {
    let key = format!("{pipeline}/{}", C::FILE);
    let Some((bytes, version)) = store.get(&key).await? else { return Ok(None) };
    Ok(Some((decoded(&key, &bytes, C::LOSS)?, version)))
}

/// Reads what is stored under a key. Its version comes first: of a newer one, nothing else is understood.
fn decoded<T: DeserializeOwned>(
    key: &str,
    bytes: &[u8],
    loss: &'static str,
) -> Result<T, CheckpointError> {
    let malformed = |e: serde_json::Error| CheckpointError::Malformed {
        key: key.to_owned(),
        why: e.to_string(),
        loss,
    };
    #[derive(Deserialize)]
    struct Format {
        format_version: u32,
    }
    let format: Format = serde_json::from_slice(bytes).map_err(malformed)?;
    if format.format_version > FORMAT_VERSION {
        return Err(CheckpointError::TooNew { key: key.to_owned(), found: format.format_version });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Changes a pipeline's checkpoint: `change` gets the stored one and returns the new one, or none
/// to leave it. Where another worker writes first, it is called again.
pub async fn update<C: Checkpoint>(
    store: &dyn CheckpointStore,
    ambient: &dyn Ambient,
    pipeline: &str,
    change: impl Fn(Option<C>) -> Option<C> + Send,
) -> Result<(), CheckpointError> {
    let key = format!("{pipeline}/{}", C::FILE);
    let mut conflicts = 0;
    loop {
        let (stored, version) = match load::<C>(store, pipeline).await? {
            Some((stored, version)) => (Some(stored), Some(version)),
            None => (None, None),
        };
        let Some(new) = change(stored) else { return Ok(()) };
        let mut bytes = serde_json::to_vec_pretty(&new).map_err(|e| {
            CheckpointError::Malformed { key: key.clone(), why: e.to_string(), loss: C::LOSS }
        })?;
        bytes.push(b'\n');
        if let Put::Stored(_) = store.put(&key, &bytes, version.as_ref()).await? {
            return Ok(());
        }
        // Apart in time, so that one of several writers gets through.
        conflicts += 1;
        let pause = backoff(FIRST_PAUSE, conflicts, LONGEST_PAUSE);
        ambient.sleep(ambient.jitter(pause)).await;
    }
}

/// The pause after another worker wrote the checkpoint first, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
