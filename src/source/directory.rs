//! A folder of files as a raw zone: the embedded default.

use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use walkdir::WalkDir;

use super::{ObjectId, RawObject, RawStore, ReadError};
use crate::ambient::SharedAmbient;

/// See the module. URIs are paths relative to `base`, so that a lake can be moved with its files.
#[derive(Debug)]
pub struct DirectoryStore {
    base: PathBuf,
    directory: PathBuf,
    settle: Duration,
    ambient: SharedAmbient,
}

impl DirectoryStore {
    /// The files below `directory`; one counts once it has been unchanged for `settle`.
    pub fn new(base: &Path, directory: &Path, settle: Duration, ambient: SharedAmbient) -> Self {
        Self { base: base.to_owned(), directory: directory.to_owned(), settle, ambient }
    }

    fn uri(&self, path: &Path) -> String {
        let shown = path.strip_prefix(&self.base).unwrap_or(path);
        shown.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/")
    }

    fn path(&self, uri: &str) -> PathBuf {
        self.base.join(uri)
    }

    /// All files, and whether each has settled.
    fn walked(&self) -> Result<Vec<(RawObject, bool)>, ReadError> {
        let now = self.ambient.now();
        let mut found = Vec::new();
        for entry in WalkDir::new(&self.directory).follow_links(true) {
            let entry = match entry {
                Ok(entry) => entry,
                // A dangling link or a loop is no file; the folder itself has to be there.
                Err(error) if error.depth() > 0 => {
                    tracing::warn!(%error, "an entry of the source directory cannot be listed");
                    continue;
                }
                Err(error) => return Err(self.trouble(&self.directory, error.into())),
            };
            // A path that is not UTF-8 could not be named again.
            if !entry.file_type().is_file() || entry.path().to_str().is_none() {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(_) => continue, // gone since the folder was read
            };
            let object = self.object(entry.path(), &metadata)?;
            let modified = object.id.last_modified;
            // A time well ahead of ours says nothing about when the file was last written; that it
            // does not change while it is read is verified anyway.
            let settled = modified <= now - self.settle || modified > now + SKEW;
            found.push((object, settled));
        }
        Ok(found)
    }

    fn object(&self, path: &Path, metadata: &Metadata) -> Result<RawObject, ReadError> {
        let modified = metadata.modified().map_err(|e| self.trouble(path, e))?;
        let last_modified: DateTime<Utc> = modified.into();
        let nanos = last_modified.timestamp_nanos_opt().unwrap_or_default();
        let version = format!("{}-{nanos}", metadata.len());
        let id = ObjectId { uri: self.uri(path), version, last_modified };
        Ok(RawObject { id, size: metadata.len() })
    }

    fn trouble(&self, path: &Path, source: std::io::Error) -> ReadError {
        ReadError::Trouble { uri: self.uri(path), source }
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

/// A modification time further ahead than this is not taken for a file being written.
const SKEW: Duration = Duration::from_secs(60);

fn failure(uri: &str, error: &std::io::Error) -> ReadError {
    match error.kind() {
        // Whatever else it is, permissions or a disk, may pass: the next listing tries again.
        ErrorKind::NotFound => ReadError::Missing(uri.to_owned()),
        _ => ReadError::Unreadable { uri: uri.to_owned(), why: error.to_string() },
    }
}

#[async_trait]
impl RawStore for DirectoryStore {
    async fn list(&self) -> Result<Vec<RawObject>, ReadError> {
        let settled = self.walked()?.into_iter().filter(|(_, settled)| *settled);
        let mut listed: Vec<RawObject> = settled.map(|(object, _)| object).collect();
        listed
            .sort_by(|a, b| (a.id.last_modified, &a.id.uri).cmp(&(b.id.last_modified, &b.id.uri)));
        Ok(listed)
    }

    async fn pending(&self) -> Result<Vec<String>, ReadError> {
        let moving = self.walked()?.into_iter().filter(|(_, settled)| !settled);
        Ok(moving.map(|(object, _)| object.id.uri).collect())
    }

    async fn open(&self, object: &RawObject) -> Result<Box<dyn Read + Send>, ReadError> {
        self.check(object)?;
        let uri = &object.id.uri;
        let file = std::fs::File::open(self.path(uri)).map_err(|e| failure(uri, &e))?;
        // Not a byte more than was announced: what a writer appends meanwhile is another version.
        Ok(Box::new(file.take(object.size)))
    }

    async fn verify(&self, object: &RawObject) -> Result<(), ReadError> {
        self.check(object)
    }
}
