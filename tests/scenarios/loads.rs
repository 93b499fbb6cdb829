//! What a merge costs its catalog.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use silversmith::checkpoint::MemoryCheckpoints;
use silversmith::gold::GoldReport;
use silversmith::lake::catalog::{
    Catalog, CatalogError, Entry, MemoryCatalog, Pointer, Proposal, Swap,
};
use silversmith::lake::{TableName, memory_files};
use silversmith::source::MemoryStore;
use silversmith::worker::{Merger, Refresher};

use crate::support::{CUSTOMERS, World};

/// A catalog that counts how often each table is loaded.
#[derive(Debug, Default)]
struct CountingCatalog {
    inner: MemoryCatalog,
    loads: Mutex<BTreeMap<String, usize>>,
}

#[async_trait]
impl Catalog for CountingCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        *self.loads.lock().unwrap().entry(table.to_string()).or_default() += 1;
        self.inner.load(table).await
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

#[tokio::test]
async fn a_merge_without_conflict_loads_each_table_at_most_twice() {
    let pipeline = format!(
        "{CUSTOMERS}delete_when = \"name = 'gone'\"\n[[pipeline.gold]]\ntable = \"gold.names\"\n\
         sql = \"SELECT name, count(*) AS n FROM silver GROUP BY name\"\n"
    );
    let catalog = Arc::new(CountingCatalog::default());
    let (raw, checkpoints) = (Arc::new(MemoryStore::new()), Arc::new(MemoryCheckpoints::new()));
    let world = World::on(&pipeline, catalog.clone(), memory_files(), raw, checkpoints);
    for (number, name) in [(1, "first"), (2, "gone"), (3, "second")] {
        let text = format!(
            "id,name,updated\n1,{name},2026-01-0{number}T00:00:00Z\n2,x,2026-01-01T00:00:00Z\n"
        );
        world.put(&format!("{number}.csv"), &text, number);
        world.bronze().await;
        catalog.loads.lock().unwrap().clear();
        let mut merger = Merger::new(world.pipeline(), world.lake().ambient());
        let round = merger.merge_until_done().await.unwrap().unwrap();
        assert_eq!(round.silver.unwrap().snapshots.len(), 1);
        let of_merge = std::mem::take(&mut *catalog.loads.lock().unwrap());
        let mut refresher = Refresher::new(world.pipeline(), world.lake().ambient());
        assert!(matches!(refresher.refresh().await[0].1, Ok(GoldReport::Refreshed { .. })));
        if number == 1 {
            // The tables were made as well.
            continue;
        }
        assert_eq!(of_merge.len(), 4, "bronze, silver, deleted keys, quarantine: {of_merge:?}");
        assert_eq!(of_merge["silver.customers_quarantine"], 1, "it is not there");
        assert!(of_merge.values().all(|count| *count <= 2), "{of_merge:?}");
        let of_refresh = catalog.loads.lock().unwrap().clone();
        assert_eq!(of_refresh["silver.customers"], 1);
        assert!(of_refresh["gold.names"] <= 2 && of_refresh.len() == 2, "{of_refresh:?}");
    }
}
