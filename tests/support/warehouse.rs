//! Table files in memory that can be listed, and whose writes can be refused.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileMetadata, FileRead, FileWrite, InputFile, MemoryStorage, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::spec::{FormatVersion, ManifestList, TableMetadata};
use iceberg::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use silversmith::lake::catalog::Catalog;
use silversmith::lake::{FileIO, FileIOBuilder, FileListing, Listed, ListingError};
use silversmith::ledger;

use super::at;

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Warehouse {
    #[serde(skip)]
    inner: MemoryStorage,
    #[serde(skip)]
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    paths: BTreeSet<String>,
    /// Part and end of the paths that cannot be written.
    refused: Option<(String, String)>,
}

impl Warehouse {
    /// The files, as a lake uses them.
    pub fn files(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(self.clone())).build()
    }

    /// From now on no file with `part` in its path and `end` at its end can be written.
    pub fn refuse(&self, part: &str, end: &str) {
        self.state().refused = Some((part.to_owned(), end.to_owned()));
    }

    /// From now on every file can be written.
    pub fn accept(&self) {
        self.state().refused = None;
    }

    /// The paths of all files, once what is deleted in the background is gone.
    pub async fn list(&self) -> BTreeSet<String> {
        // Deletions wait for nothing but their turn.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        self.state().paths.clone()
    }

    /// The files that no table of a catalog names.
    pub async fn orphans(&self, catalog: &dyn Catalog) -> Vec<String> {
        let files = self.files();
        let mut named = BTreeSet::new();
        for table in catalog.tables().await.unwrap() {
            let entry = catalog.load(&table).await.unwrap().unwrap();
            named.extend(named_by(&files, &entry.pointer.metadata_location).await);
        }
        self.list().await.difference(&named).cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn wrote(&self, path: &str) -> iceberg::Result<()> {
        let mut state = self.state();
        let refused =
            state.refused.as_ref().is_some_and(|(p, e)| path.contains(p) && path.ends_with(e));
        if refused {
            return Err(Error::new(ErrorKind::Unexpected, "the disk is full"));
        }
        state.paths.insert(path.to_owned());
        Ok(())
    }
}

/// The files that a metadata file names, itself included.
async fn named_by(files: &FileIO, location: &str) -> BTreeSet<String> {
    let metadata = TableMetadata::read_from(files, location).await.unwrap();
    let mut named = BTreeSet::from([location.to_owned()]);
    named.extend(metadata.metadata_log().iter().map(|log| log.metadata_file.clone()));
    for snapshot in metadata.snapshots() {
        named.insert(snapshot.manifest_list().to_owned());
        let list = files.new_input(snapshot.manifest_list()).unwrap().read().await.unwrap();
        let list = ManifestList::parse_with_version(&list, FormatVersion::V2).unwrap();
        for manifest in list.entries() {
            named.insert(manifest.manifest_path.clone());
            let entries = manifest.load_manifest(files).await.unwrap();
            let alive = entries.entries().iter().filter(|entry| entry.is_alive());
            named.extend(alive.map(|entry| entry.file_path().to_owned()));
        }
        if let Some(json) = snapshot.summary().additional_properties.get(ledger::FILE) {
            let file: serde_json::Value = serde_json::from_str(json).unwrap();
            named.insert(file["path"].as_str().unwrap().to_owned());
        }
    }
    named
}

impl FileListing for Warehouse {
    /// All files are as old as the tests' day.
    fn list(&self, folder: &str) -> BoxStream<'static, Result<Listed, ListingError>> {
        let below = format!("{folder}/");
        let paths = self.state().paths.clone().into_iter().filter(move |p| p.starts_with(&below));
        let listed = |path| Ok(Listed { path, bytes: 1, modified: at(0, 0) });
        futures::stream::iter(paths.map(listed).collect::<Vec<_>>()).boxed()
    }
}

#[typetag::serde]
impl StorageFactory for Warehouse {
    fn build(&self, _config: &StorageConfig) -> iceberg::Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for Warehouse {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        self.inner.exists(path).await
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        self.inner.metadata(path).await
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        self.inner.read(path).await
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        self.inner.reader(path).await
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        self.wrote(path)?;
        self.inner.write(path, bytes).await
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        let inner = self.inner.writer(path).await?;
        Ok(Box::new(Writing { inner, path: path.to_owned(), warehouse: self.clone() }))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        self.state().paths.remove(path);
        self.inner.delete(path).await
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        self.state().paths.retain(|written| !written.starts_with(path));
        self.inner.delete_prefix(path).await
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct Writing {
    inner: Box<dyn FileWrite>,
    path: String,
    warehouse: Warehouse,
}

#[async_trait]
impl FileWrite for Writing {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.inner.write(bytes).await
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        // A file exists once it is closed.
        self.warehouse.wrote(&self.path)?;
        self.inner.close().await
    }
}
