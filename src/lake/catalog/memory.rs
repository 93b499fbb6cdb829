//! A catalog in memory whose tokens are version numbers, as S3 Tables and Glue have them: the fake
//! that passes the contract suite first.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap, Token};
use crate::lake::TableName;

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    tables: Mutex<BTreeMap<TableName, (u64, String)>>,
}

impl MemoryCatalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TableName, (u64, String)>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        Ok(self.lock().get(table).map(|(version, location)| Entry {
            pointer: Pointer {
                metadata_location: location.clone(),
                token: Token(version.to_string()),
            },
            metadata: None,
        }))
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        let mut tables = self.lock();
        if tables.contains_key(table) {
            return Ok(Swap::Refused);
        }
        tables.insert(table.clone(), (1, first.metadata_location.clone()));
        Ok(Swap::Swapped)
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        match self.lock().get_mut(table) {
            Some((version, current)) if version.to_string() == base.token.0 => {
                *version += 1;
                *current = next.metadata_location.clone();
                Ok(Swap::Swapped)
            }
            _ => Ok(Swap::Refused),
        }
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        Ok(self.lock().keys().cloned().collect())
    }
}
