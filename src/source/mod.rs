//! The raw zone: where raw objects are listed and read.

mod directory;
mod memory;
mod s3;
mod s3_list;

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io::Read;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use directory::DirectoryStore;
pub use memory::MemoryStore;
pub use s3::S3Store;

use crate::event::ObjectEvent;
use crate::format::ReadAt;

/// The identity of one upload of one object: what GET, HEAD and LIST all report.
///
/// For an S3 object the version is its unquoted ETag; for a file it is made of its size and its
/// modification time in nanoseconds. Two are the same when URI, version and the *whole second* of
/// LastModified agree: S3 reports times no finer.
#[derive(Debug, Clone)]
pub struct ObjectId {
    /// Its location: `s3://bucket/key`, or the path of a file below the source's base.
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

/// An object version whose identity is known: listed, or opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawObject {
    /// Which.
    pub id: ObjectId,
    /// Its size in bytes.
    pub size: u64,
    /// The version id under which a versioned bucket keeps it, where that is known. It selects what is
    /// read, and is no part of the identity.
    pub version_id: Option<String>,
}

/// An object that silversmith is to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// As a listing showed it.
    Listed(RawObject),
    /// As an event named it: its identity is known only once it is opened.
    ByEvent(ObjectEvent),
    /// As a listing showed it, to be read again.
    Again(Reread),
}

/// An object version that an operator asked to read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reread {
    /// Which.
    pub object: RawObject,
    /// What was ingested of it before this time is replaced.
    pub asked_at: DateTime<Utc>,
    /// See [`Requested::sequence`].
    pub sequence: Option<String>,
}

impl Requested {
    /// Its location.
    pub fn uri(&self) -> String {
        match self {
            Self::Listed(object) | Self::Again(Reread { object, .. }) => object.id.uri.clone(),
            Self::ByEvent(object) => object.uri(),
        }
    }

    /// Whether an operator asked for it: to try it again, or to read it again.
    pub fn by_operator(&self) -> bool {
        let replayed = matches!(self, Self::ByEvent(event) if event.replayed);
        replayed || self.again().is_some()
    }

    /// Its size in bytes; zero where the event did not have it.
    pub fn size(&self) -> u64 {
        match self {
            Self::Listed(object) | Self::Again(Reread { object, .. }) => object.size,
            Self::ByEvent(object) => object.size.unwrap_or(0),
        }
    }

    /// When it was written, where that is known.
    pub fn last_modified(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Listed(object) | Self::Again(Reread { object, .. }) => {
                Some(object.id.last_modified)
            }
            Self::ByEvent(object) => object.event_time,
        }
    }

    /// Where the version that was read stands among the uploads of its key, as texts compare: S3's sequencer.
    /// Only an event has it, and only for the version that it named; and what is read again keeps that of its rows.
    pub fn sequence(&self, read: &RawObject) -> Option<&str> {
        match self {
            Self::ByEvent(event) if event.etag.as_ref() == Some(&read.id.version) => {
                event.sequencer.as_deref()
            }
            Self::Again(again) if again.object.id == read.id => again.sequence.as_deref(),
            Self::ByEvent(_) | Self::Listed(_) | Self::Again(_) => None,
        }
    }

    /// An operator's request: what was ingested of the object before this time is replaced by what it gives now.
    pub fn again(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Listed(_) => None,
            Self::ByEvent(event) => event.again,
            Self::Again(again) => Some(again.asked_at),
        }
    }

    /// The identity under which its outcome is kept when it could not be opened: the event's values
    /// stand in for the unknown ones, and `now` for a time that the event does not have.
    pub fn presumed(&self, now: DateTime<Utc>) -> ObjectId {
        match self {
            Self::Listed(object) | Self::Again(Reread { object, .. }) => object.id.clone(),
            Self::ByEvent(object) => ObjectId {
                uri: object.uri(),
                version: object.etag.clone().unwrap_or_default(),
                last_modified: object.event_time.unwrap_or(now),
            },
        }
    }
}

/// An object version opened.
pub struct Opened {
    /// The version that is read: not always the requested one, see [`RawStore::open`].
    pub object: RawObject,
    /// Its bytes. Reading may block, so it belongs on a thread that may. An error of reading holds a
    /// [`ReadError`] where the store knows its cause.
    pub input: Box<dyn Read + Send>,
    /// The same bytes at any offset, with the same errors. It is used instead of `input`, and not beside it.
    pub at: Arc<dyn ReadAt>,
}

impl Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("object", &self.object).finish_non_exhaustive()
    }
}

/// What to list, and what was listed before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Only objects whose URI begins with this.
    pub root: String,
    /// How far prefixes were listed before, as [`Page::reached`] reported it.
    pub reached: BTreeMap<String, Reached>,
    /// Only the folder that the root names, which ends with `/`: objects of folders below it are left out.
    pub shallow: bool,
}

/// How far a prefix was listed. Prefixes are listed side by side, each in the order of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// To this key, inclusive.
    Key(String),
    /// To its end.
    End,
}

/// A part of a listing.
#[derive(Debug, Clone)]
pub struct Page {
    /// The objects, in any order.
    pub objects: Vec<RawObject>,
    /// The prefix, and how far it was listed with this page; none where there is nothing to resume.
    pub reached: Option<(String, Reached)>,
}

/// Why an object version could not be read. All but `Store` are outcomes of this object alone.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The object does not exist any more.
    #[error("{0} does not exist any more")]
    Missing(String),
    /// The object exists in another version: its own event, or a listing, brings that one.
    #[error(
        "{0} changed while it was read; its new version is ingested by its own event or the next listing"
    )]
    Changed(String),
    /// The object exists and cannot be read. The cause may pass: the next listing tries again.
    #[error("{uri} cannot be read: {why}")]
    Unreadable {
        /// Which.
        uri: String,
        /// Why.
        why: String,
    },
    /// The store or the network failed, which concerns more than this object.
    #[error("the raw store failed at {uri}")]
    Store {
        /// At which object, or below which prefix.
        uri: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Lists and reads raw objects.
///
/// # Contract
/// - `list` shows every complete object version below the root, page by page. An object that is still
///   being written is left out until it is complete. What was reached before is not listed again. A shallow listing
///   costs what its folder costs, whatever is below it and beside it.
/// - `open` of an object that an event named reads the version that the event named, or, where that
///   does not exist any more, the current one, and says which it reads. `Missing`: there is none.
/// - `open` of a listed object reads that version or fails with `Changed`; a store that keeps no old
///   versions may read the current one instead, and says so.
/// - `verify`, called after the last byte: `Ok` means that all bytes were of the version that `open`
///   named. Before that, bytes of two versions may have been mixed.
/// - Nothing here changes the store. Every call may be repeated.
#[async_trait]
pub trait RawStore: Debug + Send + Sync {
    /// All complete object versions below a root.
    fn list<'a>(&'a self, listing: &'a Listing) -> BoxStream<'a, Result<Page, ReadError>>;

    /// When the oldest upload began that is not complete yet, of those below `root` whose URI matches.
    /// Its object will appear with that time as LastModified, not with the time of its completion
    /// ([multipart upload](https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html)).
    async fn oldest_incomplete(
        &self,
        root: &str,
        is_match: &(dyn for<'u> Fn(&'u str) -> bool + Sync),
    ) -> Result<Option<DateTime<Utc>>, ReadError>;

    /// URIs of objects that exist and are not listed yet, because they may still be written.
    async fn pending(&self) -> Result<Vec<String>, ReadError>;

    /// The bytes of an object version.
    async fn open(&self, requested: &Requested) -> Result<Opened, ReadError>;

    /// Whether what was read is the object version as `open` named it.
    async fn verify(&self, object: &RawObject) -> Result<(), ReadError>;
}

/// Every object version below a root, in the order of LastModified, then URI: for raw zones that are
/// small enough to be held in memory.
pub async fn all(store: &dyn RawStore, root: &str) -> Result<Vec<RawObject>, ReadError> {
    let listing = Listing { root: root.to_owned(), ..Listing::default() };
    let pages: Vec<Page> = store.list(&listing).try_collect().await?;
    let mut all: Vec<RawObject> = pages.into_iter().flat_map(|page| page.objects).collect();
    all.sort_by(|a, b| (a.id.last_modified, &a.id.uri).cmp(&(b.id.last_modified, &b.id.uri)));
    Ok(all)
}
