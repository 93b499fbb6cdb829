//! Listing table files on this machine.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;

use super::list::{FileListing, Listed, ListingError};

/// Folders and files read at a time, off the async threads.
const AT_A_TIME: usize = 256;

/// The files of this machine. Links are not followed.
pub fn local_listing() -> Arc<dyn FileListing> {
    Arc::new(LocalListing)
}

#[derive(Debug)]
struct LocalListing;

impl FileListing for LocalListing {
    fn list(&self, folder: &str) -> BoxStream<'static, Result<Listed, ListingError>> {
        let (folder, walk) = (folder.to_owned(), Walk::of(folder));
        let batches = futures::stream::try_unfold(walk, move |mut walk| {
            let folder = folder.clone();
            async move {
                let read =
                    tokio::task::spawn_blocking(move || walk.some().map(|some| (some, walk)));
                let read = read.await.map_err(io::Error::other).and_then(|read| read);
                let (some, walk) = read.map_err(|source| ListingError { folder, source })?;
                Ok((!some.is_empty() || !walk.is_done()).then_some((some, walk)))
            }
        });
        batches.map(flat).flatten().boxed()
    }
}

/// The files of a batch, or its error.
fn flat(
    batch: Result<Vec<Listed>, ListingError>,
) -> BoxStream<'static, Result<Listed, ListingError>> {
    match batch {
        Ok(some) => futures::stream::iter(some.into_iter().map(Ok)).boxed(),
        Err(error) => futures::stream::once(async move { Err(error) }).boxed(),
    }
}

/// A walk through a folder, continued where it stopped.
struct Walk {
    /// The folder as it was named, and where it is.
    named: String,
    root: PathBuf,
    folders: Vec<PathBuf>,
    open: Option<std::fs::ReadDir>,
}

impl Walk {
    fn of(folder: &str) -> Self {
        let root = PathBuf::from(folder.strip_prefix("file://").unwrap_or(folder));
        Self { named: folder.to_owned(), folders: vec![root.clone()], root, open: None }
    }

    fn is_done(&self) -> bool {
        self.folders.is_empty() && self.open.is_none()
    }

    /// The next files; none at the end, or where there were folders only.
    fn some(&mut self) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        for _ in 0..AT_A_TIME {
            let Some(entry) = self.next_entry()? else { break };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.folders.push(entry.path());
            } else if kind.is_file() {
                found.extend(self.listed(&entry)?);
            }
        }
        Ok(found)
    }

    fn next_entry(&mut self) -> io::Result<Option<std::fs::DirEntry>> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(entry) = open.next() {
                    return entry.map(Some);
                }
                self.open = None;
            }
            let Some(folder) = self.folders.pop() else { return Ok(None) };
            self.open = match std::fs::read_dir(&folder) {
                Ok(open) => Some(open),
                // Gone since, or never there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
    }

    fn listed(&self, entry: &std::fs::DirEntry) -> io::Result<Option<Listed>> {
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let path = entry.path();
        let below = path.strip_prefix(&self.root).map_err(io::Error::other)?;
        // A name that is no text was not written by a table format.
        let Some(below) = below.to_str() else { return Ok(None) };
        Ok(Some(Listed {
            path: format!("{}/{below}", self.named),
            bytes: metadata.len(),
            modified: metadata.modified()?.into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn files_at_any_depth_are_listed_and_what_is_missing_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap().to_owned();
        for index in 0..2 * AT_A_TIME {
            let nested = folder.path().join(format!("a/{}/b", index % 7));
            std::fs::create_dir_all(&nested).unwrap();
            std::fs::write(nested.join(format!("{index}.parquet")), "abc").unwrap();
        }
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        let list = async |folder: &str| {
            local_listing().list(folder).try_collect::<Vec<_>>().await.unwrap()
        };
        let all = list(&root).await;
        assert_eq!(all.len(), 2 * AT_A_TIME);
        assert!(all.iter().all(|file| file.bytes == 3 && file.path.starts_with(&root)));
        let named = list(&format!("file://{root}/a/3")).await;
        assert!(named.iter().all(|file| file.path.starts_with(&format!("file://{root}/a/3/b/"))));
        assert_eq!(named.len(), (0..2 * AT_A_TIME).filter(|index| index % 7 == 3).count());
        assert_eq!(list(&format!("{root}/none")).await, Vec::new());
    }
}
