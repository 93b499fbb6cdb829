//! The raw zone: where CSV objects are listed and read.

mod directory;
mod memory;

use std::fmt::{self, Debug};
use std::io::Read;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use directory::DirectoryStore;
pub use memory::MemoryStore;

/// The identity of one upload of one object: what GET, HEAD and LIST all report.
///
/// For an S3 object the version is its unquoted ETag; for a file it is made of its size and its
/// modification time in nanoseconds. Two are the same when URI, version and the *whole second* of
/// LastModified agree: S3 reports no more than that.
#[derive(Debug, Clone)]
pub struct ObjectId {
    /// Where it is: `s3://bucket/key`, or the path of a file as the source sees it.
    pub uri: String,
    /// See the type.
    pub version: String,
    /// LastModified.
    pub last_modified: DateTime<Utc>,
}

impl ObjectId {
    fn identity(&self) -> (&str, &str, i64) {
        (&self.uri, &self.version, self.last_modified.timestamp())
    }
}

impl PartialEq for ObjectId {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ObjectId {}

impl std::hash::Hash for ObjectId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.uri, self.version)
    }
}

/// An object version that was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawObject {
    /// Which.
    pub id: ObjectId,
    /// Its size in bytes.
    pub size: u64,
}

/// Why an object version could not be read. All but `Trouble` are outcomes of this object alone.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such object any more.
    #[error("{0} is gone")]
    Missing(String),
    /// The object is there in another version: its own listing or event will bring that one.
    #[error("{0} changed while it was read; its new version is taken when it is listed again")]
    Changed(String),
    /// The object is there and cannot be read. That may pass, and is tried again by the next listing.
    #[error("{uri} cannot be read: {why}")]
    Unreadable {
        /// Which.
        uri: String,
        /// Why.
        why: String,
    },
    /// Something that concerns more than this object: the store, the network.
    #[error("the raw store failed at {uri}")]
    Trouble {
        /// Where.
        uri: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Lists and reads raw objects.
///
/// # Contract
/// - `list` reports every object version that is complete, in the order of LastModified, then URI;
///   two listings with nothing changed between are equal. An object that is still being written is
///   left out until it is complete.
/// - `open` reads the version that was asked for or fails with `Changed` or `Missing`; it may find
///   out only at `verify` that the bytes it gave were not of that version.
/// - `verify`, called after the last byte: `Ok` means that all bytes were of that version.
/// - Nothing here changes the store; everything may be repeated.
#[async_trait]
pub trait RawStore: Debug + Send + Sync {
    /// All complete object versions.
    async fn list(&self) -> Result<Vec<RawObject>, ReadError>;

    /// URIs of objects that are there and do not count yet, because they are being written.
    async fn pending(&self) -> Result<Vec<String>, ReadError>;

    /// The bytes of an object version. Reading may block: it is done on a thread for that.
    async fn open(&self, object: &RawObject) -> Result<Box<dyn Read + Send>, ReadError>;

    /// Whether what was read is the object version as it was announced.
    async fn verify(&self, object: &RawObject) -> Result<(), ReadError>;
}
