//! A deadline for every request to a catalog, and a task: one that stops answering must not hang a worker, and a
//! caller that stops asking must not hang the catalog.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::Instrument;

use super::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap};
use crate::ambient::{SharedAmbient, timeout};
use crate::error::Kind;
use crate::lake::TableName;

/// A catalog whose requests end within a time. See the module.
///
/// A request that was cut off has failed as one whose answer was lost: a swap may have been carried out.
///
/// SUBTLE: a request goes on by itself, whether its caller waits for it or not. A caller may be a future that nothing polls for a while,
/// such as an item of a stream whose consumer does other work: as part of that future, a request would hold a
/// connection of a small pool, or be the next to get one, and the others would get none.
#[derive(Debug)]
pub struct WithDeadline {
    inner: Arc<dyn Catalog>,
    limit: Duration,
    ambient: SharedAmbient,
}

impl WithDeadline {
    /// The same catalog, with a deadline for each request.
    pub fn new(inner: Arc<dyn Catalog>, limit: Duration, ambient: SharedAmbient) -> Self {
        Self { inner, limit, ambient }
    }

    async fn within<T, F>(
        &self,
        doing: &'static str,
        request: impl FnOnce(Arc<dyn Catalog>) -> F,
    ) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CatalogError>> + Send + 'static,
    {
        let (ambient, limit) = (self.ambient.clone(), self.limit);
        let request = request(self.inner.clone()).in_current_span();
        let answered = tokio::spawn(async move { timeout(&ambient, limit, request).await }).await;
        let why = match answered {
            Ok(Ok(answer)) => return answer,
            Ok(Err(late)) => format!("{late}: is it reachable, and is something locked?"),
            Err(ended) => format!("it failed inside silversmith: {ended}"),
        };
        Err(CatalogError::unanswered("of the lake", doing, why, Kind::Look))
    }
}

#[async_trait]
impl Catalog for WithDeadline {
    fn writes_metadata(&self) -> bool {
        self.inner.writes_metadata()
    }

    async fn place(&self, table: &TableName) -> Result<Option<String>, CatalogError> {
        let table = table.clone();
        let place = |inner: Arc<dyn Catalog>| async move { inner.place(&table).await };
        self.within("locate a new table", place).await
    }

    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        let table = table.clone();
        let load = |inner: Arc<dyn Catalog>| async move { inner.load(&table).await };
        self.within("load a table", load).await
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        let (table, first) = (table.clone(), first.clone());
        let create = |inner: Arc<dyn Catalog>| async move { inner.create(&table, &first).await };
        self.within("create a table", create).await
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        let (table, base, next) = (table.clone(), base.clone(), next.clone());
        let swap = |inner: Arc<dyn Catalog>| async move { inner.swap(&table, &base, &next).await };
        self.within("swap a table's metadata", swap).await
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        self.within("list tables", |inner| async move { inner.tables().await }).await
    }
}
