//! A catalog that reads one table from a replica which is behind.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use silversmith::lake::TableName;
use silversmith::lake::catalog::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap};

/// See the module.
#[derive(Debug)]
pub struct LaggingCatalog {
    inner: Arc<dyn Catalog>,
    behind: Mutex<Option<Behind>>,
}

#[derive(Debug)]
struct Behind {
    table: TableName,
    older: Entry,
    /// How many looks it still shows.
    looks: usize,
}

impl LaggingCatalog {
    pub fn new(inner: Arc<dyn Catalog>) -> Self {
        Self { inner, behind: Mutex::default() }
    }

    /// The next looks at a table show this, older state.
    pub fn show(&self, table: &TableName, older: Entry, looks: usize) {
        *self.behind.lock().unwrap() = Some(Behind { table: table.clone(), older, looks });
    }

    /// So many more looks show the same.
    pub fn show_again(&self, looks: usize) {
        self.behind.lock().unwrap().as_mut().unwrap().looks = looks;
    }

    /// The looks that are still to show an older state.
    pub fn left(&self) -> usize {
        self.behind.lock().unwrap().as_ref().map_or(0, |behind| behind.looks)
    }

    fn shown(&self, table: &TableName) -> Option<Entry> {
        let mut behind = self.behind.lock().unwrap();
        let behind = behind.as_mut().filter(|b| b.table == *table && b.looks > 0)?;
        behind.looks -= 1;
        Some(behind.older.clone())
    }
}

#[async_trait]
impl Catalog for LaggingCatalog {
    fn may_lag(&self) -> bool {
        true
    }

    async fn place(&self, table: &TableName) -> Result<Option<String>, CatalogError> {
        self.inner.place(table).await
    }

    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        match self.shown(table) {
            Some(older) => Ok(Some(older)),
            None => self.inner.load(table).await,
        }
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        self.inner.create(table, first).await
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        self.inner.swap(table, base, next).await
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        self.inner.tables().await
    }
}
