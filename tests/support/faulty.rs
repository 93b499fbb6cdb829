//! Faults as decorators over the ports: a process that dies between any two effects, a catalog
//! whose answers get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use iceberg::io::{
    FileMetadata, FileRead, FileWrite, InputFile, MemoryStorage, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use serde::{Deserialize, Serialize};
use silversmith::checkpoint::{CheckpointError, CheckpointStore, Put, Version};
use silversmith::error::Kind;
use silversmith::lake::catalog::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap};
use silversmith::lake::{FileIO, FileIOBuilder, TableName};
use tokio::sync::Notify;

/// Counts effects; at the chosen one the process "dies": nothing that it awaits ever returns.
#[derive(Debug, Default)]
pub struct Fuse {
    effects: AtomicUsize,
    blow_at: Option<usize>,
    /// Whether the effect at which it blows is still carried out.
    done: bool,
    blown: AtomicBool,
    notify: Notify,
}

impl Fuse {
    /// One that never blows, and only counts.
    pub fn counting() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// One that blows at an effect (from 0), before it or right after it.
    pub fn blowing(at: usize, done: bool) -> Arc<Self> {
        Arc::new(Self { blow_at: Some(at), done, ..Self::default() })
    }

    pub fn effects(&self) -> usize {
        self.effects.load(Ordering::SeqCst)
    }

    /// Returns when the process has died.
    pub async fn blown(&self) {
        while !self.blown.load(Ordering::SeqCst) {
            self.notify.notified().await;
        }
    }

    /// Returns only where the process has not died.
    pub async fn alive(&self) {
        if self.blown.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    /// Carries out an effect, unless it is the one at which the process dies.
    pub async fn effect<T>(&self, effect: impl Future<Output = T>) -> T {
        self.alive().await;
        let number = self.effects.fetch_add(1, Ordering::SeqCst);
        if Some(number) != self.blow_at {
            return effect.await;
        }
        if self.done {
            drop(effect.await);
        }
        self.blown.store(true, Ordering::SeqCst);
        self.notify.notify_one();
        std::future::pending().await
    }
}

/// Table files in memory, behind a fuse.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FusedFiles {
    #[serde(skip)]
    inner: MemoryStorage,
    #[serde(skip)]
    fuse: Arc<Fuse>,
}

impl FusedFiles {
    /// The same files, behind another fuse.
    pub fn behind(&self, fuse: &Arc<Fuse>) -> FileIO {
        let files = Self { inner: self.inner.clone(), fuse: fuse.clone() };
        FileIOBuilder::new(Arc::new(files)).build()
    }
}

#[typetag::serde]
impl StorageFactory for FusedFiles {
    fn build(&self, _config: &StorageConfig) -> iceberg::Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for FusedFiles {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        self.fuse.alive().await;
        self.inner.exists(path).await
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        self.fuse.alive().await;
        self.inner.metadata(path).await
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        self.fuse.alive().await;
        self.inner.read(path).await
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        self.fuse.alive().await;
        self.inner.reader(path).await
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        self.fuse.effect(self.inner.write(path, bytes)).await
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        let inner = self.inner.writer(path).await?;
        Ok(Box::new(FusedWrite { inner, fuse: self.fuse.clone() }))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        self.fuse.effect(self.inner.delete(path)).await
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        self.fuse.effect(self.inner.delete_prefix(path)).await
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        self.fuse.effect(self.inner.delete_stream(paths)).await
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct FusedWrite {
    inner: Box<dyn FileWrite>,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl FileWrite for FusedWrite {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.fuse.alive().await;
        self.inner.write(bytes).await
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        // A file exists once it is closed: that is the effect.
        self.fuse.clone().effect(self.inner.close()).await
    }
}

/// A catalog behind a fuse.
#[derive(Debug)]
pub struct FusedCatalog(pub Arc<dyn Catalog>, pub Arc<Fuse>);

#[async_trait]
impl Catalog for FusedCatalog {
    fn writes_metadata(&self) -> bool {
        self.0.writes_metadata()
    }

    async fn place(&self, table: &TableName) -> Result<Option<String>, CatalogError> {
        self.1.alive().await;
        self.0.place(table).await
    }

    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        self.1.alive().await;
        self.0.load(table).await
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        self.1.effect(self.0.create(table, first)).await
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        self.1.effect(self.0.swap(table, base, next)).await
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        self.0.tables().await
    }
}

/// Checkpoints behind a fuse.
#[derive(Debug)]
pub struct FusedCheckpoints(pub Arc<dyn CheckpointStore>, pub Arc<Fuse>);

#[async_trait]
impl CheckpointStore for FusedCheckpoints {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, CheckpointError> {
        self.1.alive().await;
        self.0.get(key).await
    }

    async fn put(
        &self,
        key: &str,
        value: &[u8],
        expected: Option<&Version>,
    ) -> Result<Put, CheckpointError> {
        self.1.effect(self.0.put(key, value, expected)).await
    }
}

/// What happens to a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes through.
    Fine,
    /// It is carried out, and the answer is lost.
    DoneAnswerLost,
    /// It is carried out, and a retry below us makes the answer "refused".
    DoneThenRefused,
    /// It is not carried out, and no answer comes.
    LostOnTheWay,
    /// The rival's commit is carried out first.
    Overtaken,
    /// It is carried out, and the rival's commit right after it, before the answer comes.
    Followed,
    /// The catalog says no, and why: nothing is carried out.
    Forbidden,
    /// It is carried out; the next looks are at a replica that still shows this, older state.
    DoneShownLate(usize),
}

type Rival = Box<dyn Fn() -> futures::future::BoxFuture<'static, ()> + Send + Sync>;

/// A catalog in which swaps meet their fates, one after the other; then all are fine.
pub struct FailingCatalog {
    pub inner: Arc<dyn Catalog>,
    /// The one table whose swaps are treated so, its creation being the first; none: every table's.
    only: Option<TableName>,
    fates: std::sync::Mutex<Vec<Fate>>,
    rival: Option<Rival>,
    pub swaps: AtomicUsize,
    pub loads: AtomicUsize,
    /// What a replica shows.
    pub older: std::sync::Mutex<Option<Entry>>,
    late: AtomicUsize,
}

impl std::fmt::Debug for FailingCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FailingCatalog")
    }
}

impl FailingCatalog {
    pub fn new(inner: Arc<dyn Catalog>, fates: &[Fate]) -> Arc<Self> {
        Arc::new(Self::with(inner, fates, None))
    }

    /// With a rival that commits where a swap is overtaken.
    pub fn with(inner: Arc<dyn Catalog>, fates: &[Fate], rival: Option<Rival>) -> Self {
        let mut fates = fates.to_vec();
        fates.reverse();
        Self {
            inner,
            only: None,
            fates: std::sync::Mutex::new(fates),
            rival,
            swaps: AtomicUsize::new(0),
            loads: AtomicUsize::new(0),
            older: std::sync::Mutex::default(),
            late: AtomicUsize::new(0),
        }
    }

    /// The same, for the creation and the swaps of one table alone.
    pub fn only_for(mut self, table: &str) -> Self {
        self.only = Some(table.parse().unwrap());
        self
    }

    async fn overtake(&self) {
        if let Some(rival) = &self.rival {
            rival().await;
        }
    }

    /// A swap or a creation, as the next fate has it.
    async fn meet(
        &self,
        swap: impl Future<Output = Result<Swap, CatalogError>>,
    ) -> Result<Swap, CatalogError> {
        self.swaps.fetch_add(1, Ordering::SeqCst);
        let fate = self.fates.lock().unwrap().pop().unwrap_or(Fate::Fine);
        let lost =
            || CatalogError::unanswered("test", "swap", "the connection was reset", Kind::Retry);
        match fate {
            Fate::Fine => swap.await,
            Fate::DoneAnswerLost => {
                swap.await?;
                Err(lost())
            }
            Fate::DoneThenRefused => {
                swap.await?;
                Ok(Swap::Refused)
            }
            Fate::LostOnTheWay => Err(lost()),
            Fate::Forbidden => {
                Err(CatalogError::refused("test", "swap", "the connection was reset", Kind::Look))
            }
            Fate::DoneShownLate(looks) => {
                let swapped = swap.await?;
                self.late.store(looks, Ordering::SeqCst);
                Ok(swapped)
            }
            Fate::Overtaken => {
                self.overtake().await;
                swap.await
            }
            Fate::Followed => {
                let swapped = swap.await?;
                self.overtake().await;
                Ok(swapped)
            }
        }
    }
}

#[async_trait]
impl Catalog for FailingCatalog {
    fn writes_metadata(&self) -> bool {
        self.inner.writes_metadata()
    }

    async fn place(&self, table: &TableName) -> Result<Option<String>, CatalogError> {
        self.inner.place(table).await
    }

    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let late = |n: usize| n.checked_sub(1);
        if self.late.fetch_update(Ordering::SeqCst, Ordering::SeqCst, late).is_ok() {
            return Ok(self.older.lock().unwrap().clone());
        }
        self.inner.load(table).await
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        let creation = self.inner.create(table, first);
        match self.only.as_ref() == Some(table) {
            true => self.meet(creation).await,
            false => creation.await,
        }
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        let swap = self.inner.swap(table, base, next);
        match self.only.as_ref().is_none_or(|only| only == table) {
            true => self.meet(swap).await,
            false => swap.await,
        }
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        self.inner.tables().await
    }
}
