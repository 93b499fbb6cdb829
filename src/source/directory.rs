//! A folder of files as a raw zone: the embedded default.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Datelike, Utc};
use futures::stream::{self, BoxStream};
use walkdir::WalkDir;

use super::{Listing, ObjectId, Opened, Page, RawObject, RawStore, ReadError, Requested, Reread};
use crate::ambient::SharedAmbient;
use crate::format::FileAt;

/// See the module. URIs are paths relative to `base`, so that a lake can be moved with its files.
#[derive(Debug)]
pub struct DirectoryStore {
    base: PathBuf,
    directory: PathBuf,
    settle: Duration,
    ambient: SharedAmbient,
    /// Paths that were warned of once: a listing comes every half second.
    warned: Mutex<HashSet<PathBuf>>,
}

impl DirectoryStore {
    /// The files below `directory`; one counts once it has been unchanged for `settle`.
    pub fn new(base: &Path, directory: &Path, settle: Duration, ambient: SharedAmbient) -> Self {
        Self {
            base: base.to_owned(),
            directory: directory.to_owned(),
            settle,
            ambient,
            warned: Mutex::default(),
        }
    }

    fn warn_once(&self, path: &Path, error: &(dyn std::error::Error + 'static)) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(path.to_owned()) {
            let error = crate::error::chain(error);
            tracing::warn!(path = %path.display(), error, "skipping a file that cannot be listed");
        }
    }

    fn uri(&self, path: &Path) -> String {
        let shown = path.strip_prefix(&self.base).unwrap_or(path);
        shown.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/")
    }

    fn path(&self, uri: &str) -> PathBuf {
        self.base.join(uri)
    }

    /// All files, and whether each has settled; with a folder, only the files in it.
    fn walked(&self, folder: Option<&str>) -> Result<Vec<(RawObject, bool)>, ReadError> {
        let now = self.ambient.now();
        let mut found = Vec::new();
        let walk = match folder {
            None => WalkDir::new(&self.directory),
            Some(folder) => WalkDir::new(self.path(folder)).max_depth(1),
        };
        for entry in walk.follow_links(true) {
            let entry = match entry {
                Ok(entry) => entry,
                // Deleted with all that was in it.
                Err(error) if folder.is_some() && is_gone(&error) => break,
                // A dangling link or a loop is no file. The folder itself has to exist.
                Err(error) if error.depth() > 0 => {
                    let path = error.path().unwrap_or(&self.directory).to_owned();
                    self.warn_once(&path, &error);
                    continue;
                }
                Err(error) => return Err(self.failed(&self.directory, error.into())),
            };
            if !entry.file_type().is_file() {
                continue;
            }
            // A path that is not UTF-8 has no URI.
            if entry.path().to_str().is_none() {
                self.warn_once(entry.path(), &std::io::Error::other("its name is not UTF-8"));
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(_) => continue, // deleted since the folder was read
            };
            let object = match self.object(entry.path(), &metadata) {
                Ok(object) => object,
                Err(error) => {
                    self.warn_once(entry.path(), &error);
                    continue;
                }
            };
            let modified = object.id.last_modified;
            // A time well ahead of this machine's clock does not say when the file was last written.
            // `verify` finds out if it changes while it is read.
            let settled = modified <= now - self.settle || modified > now + SKEW;
            found.push((object, settled));
        }
        Ok(found)
    }

    fn object(&self, path: &Path, metadata: &Metadata) -> Result<RawObject, ReadError> {
        let modified = metadata.modified().map_err(|e| self.failed(path, e))?;
        let last_modified = time(modified).ok_or_else(|| {
            let why = "its modification time is out of range";
            self.failed(path, std::io::Error::other(why))
        })?;
        let nanos = last_modified.timestamp_nanos_opt().map_or_else(
            || format!("{}.{}", last_modified.timestamp(), last_modified.timestamp_subsec_nanos()),
            |nanos| nanos.to_string(),
        );
        let version = format!("{}-{nanos}", metadata.len());
        let id = ObjectId { uri: self.uri(path), version, last_modified };
        Ok(RawObject { id, size: metadata.len(), version_id: None })
    }

    fn failed(&self, path: &Path, source: std::io::Error) -> ReadError {
        ReadError::Store { uri: self.uri(path), source }
    }

    fn check(&self, object: &RawObject) -> Result<(), ReadError> {
        let uri = &object.id.uri;
        let path = self.path(uri);
        match std::fs::metadata(&path) {
            Ok(metadata) if self.object(&path, &metadata)? == *object => Ok(()),
            Ok(_) => Err(ReadError::Changed(uri.clone())),
            Err(error) => Err(failure(uri, &error)),
        }
    }
}

fn is_gone(error: &walkdir::Error) -> bool {
    let kind = error.io_error().map(std::io::Error::kind);
    error.depth() == 0 && kind == Some(ErrorKind::NotFound)
}

/// A file's time, where it is in the range of dates.
fn time(modified: SystemTime) -> Option<DateTime<Utc>> {
    let (seconds, nanos) = match modified.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (i64::try_from(since.as_secs()).ok()?, since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).ok()?.checked_neg()?;
            match before.subsec_nanos() {
                0 => (whole, 0),
                nanos => (whole.checked_sub(1)?, 1_000_000_000 - nanos),
            }
        }
    };
    DateTime::from_timestamp(seconds, nanos).filter(|t| (0..=9_999).contains(&t.year()))
}

/// A file whose modification time is further ahead than this does not count as being written.
const SKEW: Duration = Duration::from_secs(60);

fn failure(uri: &str, error: &std::io::Error) -> ReadError {
    match error.kind() {
        // Any other cause, permissions or a disk, may pass: the next listing tries again.
        ErrorKind::NotFound => ReadError::Missing(uri.to_owned()),
        _ => ReadError::Unreadable { uri: uri.to_owned(), why: error.to_string() },
    }
}

#[async_trait]
impl RawStore for DirectoryStore {
    fn list<'a>(&'a self, listing: &'a Listing) -> BoxStream<'a, Result<Page, ReadError>> {
        // Not what is above or beside the source's own folder.
        let folder = Some(listing.root.as_str());
        let folder =
            folder.filter(|root| listing.shallow && self.path(root).starts_with(&self.directory));
        let walked = self.walked(folder).map(|walked| {
            let settled = walked.into_iter().filter(|(_, settled)| *settled);
            let mut objects: Vec<RawObject> = settled.map(|(object, _)| object).collect();
            objects.retain(|object| {
                let below = object.id.uri.strip_prefix(&listing.root);
                below.is_some_and(|name| !(listing.shallow && name.contains('/')))
            });
            objects.sort_by(|a, b| {
                (a.id.last_modified, &a.id.uri).cmp(&(b.id.last_modified, &b.id.uri))
            });
            Page { objects, reached: None }
        });
        Box::pin(stream::iter([walked]))
    }

    async fn oldest_incomplete(
        &self,
        _root: &str,
        _is_match: &(dyn for<'u> Fn(&'u str) -> bool + Sync),
    ) -> Result<Option<DateTime<Utc>>, ReadError> {
        Ok(None)
    }

    async fn pending(&self) -> Result<Vec<String>, ReadError> {
        let moving = self.walked(None)?.into_iter().filter(|(_, settled)| !settled);
        Ok(moving.map(|(object, _)| object.id.uri).collect())
    }

    async fn open(&self, requested: &Requested) -> Result<Opened, ReadError> {
        let uri = requested.uri();
        let path = self.path(&uri);
        let object = match requested {
            Requested::Listed(object) | Requested::Again(Reread { object, .. }) => {
                self.check(object)?;
                object.clone()
            }
            Requested::ByEvent(_) => {
                let metadata = std::fs::metadata(&path).map_err(|e| failure(&uri, &e))?;
                self.object(&path, &metadata)?
            }
        };
        let file = std::fs::File::open(path).map_err(|e| failure(&uri, &e))?;
        // Not a byte more than the size: what a writer appends meanwhile is another version.
        let at = file.try_clone().map_err(|e| failure(&uri, &e))?;
        let input = Box::new(file.take(object.size));
        Ok(Opened { object, input, at: Arc::new(FileAt::new(at)) })
    }

    async fn verify(&self, object: &RawObject) -> Result<(), ReadError> {
        self.check(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_of_a_file_is_read_or_refused_without_a_panic() {
        let at = |seconds: i64, nanos: u32| {
            let since = Duration::new(seconds.unsigned_abs(), nanos);
            if seconds < 0 {
                SystemTime::UNIX_EPOCH - since
            } else {
                SystemTime::UNIX_EPOCH + since
            }
        };
        assert_eq!(time(at(0, 5)).map(|t| t.timestamp_subsec_nanos()), Some(5));
        assert_eq!(time(at(-1, 250_000_000)).map(|t| t.timestamp_millis()), Some(-1_250));
        assert_eq!(time(at(-1, 0)).map(|t| t.timestamp()), Some(-1));
        assert_eq!(time(at(99_999_999_999_999, 0)), None);
        assert!(time(at(10_000_000_000, 0)).is_some(), "the year 2286");
    }
}
