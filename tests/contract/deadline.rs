//! A catalog that stops answering ends each request, and a commit under way is still settled (I6).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use silversmith::ambient::ManualAmbient;
use silversmith::lake::catalog::{
    Catalog, CatalogError, Entry, MemoryCatalog, Pointer, Proposal, Swap, WithDeadline,
};
use silversmith::lake::{Change, CommitOutcome, Lake, TableName, Uncommitted, memory_files};

use crate::support::{at, unsaid};

/// A catalog that carries out what is requested, and whose next answers never arrive.
#[derive(Debug, Default)]
struct HangingCatalog {
    inner: MemoryCatalog,
    hangs: AtomicUsize,
}

impl HangingCatalog {
    async fn answer<T>(&self, answer: T) -> T {
        let left = |left: usize| left.checked_sub(1);
        if self.hangs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            std::future::pending::<()>().await;
        }
        answer
    }
}

#[async_trait]
impl Catalog for HangingCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        self.answer(self.inner.load(table).await).await
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        self.answer(self.inner.create(table, first).await).await
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        self.answer(self.inner.swap(table, base, next).await).await
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        self.answer(self.inner.tables().await).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_stops_answering_ends_each_request() {
    let hanging = Arc::new(HangingCatalog::default());
    let ambient = Arc::new(ManualAmbient::at(at(12, 0)));
    let limit = Duration::from_secs(60);
    let catalog = Arc::new(WithDeadline::new(hanging.clone(), limit, ambient.clone()));
    let lake = Lake::new(catalog.clone(), memory_files(), "memory:/warehouse", ambient);
    let name = TableName::new("never", "answers");
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let base = lake.find_or_create(&name, &schema, None).await.unwrap();

    hanging.hangs.store(1, Ordering::SeqCst);
    let error = lake.load(&name).await.unwrap_err();
    let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(text.contains("no answer within 60s"), "{text}");

    // The swap was carried out, and its answer never arrives: reading the table settles it.
    hanging.hangs.store(1, Ordering::SeqCst);
    let change = Change::append(Uncommitted::nothing(&lake), unsaid());
    let outcome = lake.commit(&base, change).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    assert_eq!(lake.load(&name).await.unwrap().snapshots().len(), 1);
}
