//! A deadline for every request to a catalog: one that stops answering must not hang a worker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap};
use crate::ambient::{SharedAmbient, timeout};
use crate::error::Kind;
use crate::lake::TableName;

/// A catalog whose requests end within a time. See the module.
///
/// A request that was cut off has failed as one whose answer was lost: a swap may have been carried out.
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

    async fn within<T>(
        &self,
        doing: &'static str,
        request: impl Future<Output = Result<T, CatalogError>>,
    ) -> Result<T, CatalogError> {
        match timeout(&self.ambient, self.limit, request).await {
            Ok(answer) => answer,
            Err(late) => {
                let why = format!("{late}: is it reachable, and is something locked?");
                Err(CatalogError::unanswered("of the lake", doing, why, Kind::Look))
            }
        }
    }
}

#[async_trait]
impl Catalog for WithDeadline {
    fn writes_metadata(&self) -> bool {
        self.inner.writes_metadata()
    }

    async fn place(&self, table: &TableName) -> Result<Option<String>, CatalogError> {
        self.within("locate a new table", self.inner.place(table)).await
    }

    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        self.within("load a table", self.inner.load(table)).await
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        self.within("create a table", self.inner.create(table, first)).await
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        self.within("swap a table's metadata", self.inner.swap(table, base, next)).await
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        self.within("list tables", self.inner.tables()).await
    }
}
