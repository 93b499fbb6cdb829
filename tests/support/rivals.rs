//! Two writers on the same tables: the swaps of one are overtaken by the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use silversmith::ambient::ManualAmbient;
use silversmith::checkpoint::MemoryCheckpoints;
use silversmith::lake::catalog::{Catalog, MemoryCatalog};
use silversmith::merge::{MergeMode, MergeRules};
use silversmith::pipeline::Intake;
use silversmith::silver::{MERGED, Rewind};
use silversmith::source::MemoryStore;

use super::faulty::{FailingCatalog, Fate};
use super::warehouse::Warehouse;
use super::{World, at};

/// Two worlds on the same catalog, files, raw zone, checkpoints and clock.
pub struct Rivals {
    /// Its swaps of one table meet fates.
    pub world: World,
    /// All swaps of this one are fine.
    pub rival: Arc<World>,
    pub warehouse: Warehouse,
    acted: Arc<AtomicUsize>,
}

impl Rivals {
    /// The swaps of `table` by the first world meet `fates`: where these say so, the rival `acts`, knowing how
    /// often it has acted before.
    pub fn new<F>(
        pipelines: &str,
        table: &str,
        fates: &[Fate],
        acts: impl Fn(Arc<World>, usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let catalog = Arc::new(MemoryCatalog::new());
        let (warehouse, raw) = (Warehouse::default(), Arc::new(MemoryStore::new()));
        let checkpoints = Arc::new(MemoryCheckpoints::new());
        let ambient = Arc::new(ManualAmbient::at(at(12, 0)));
        let world = |catalog: Arc<dyn Catalog>| {
            let (files, raw) = (warehouse.files(), raw.clone());
            let (checkpoints, ambient) = (checkpoints.clone(), ambient.clone());
            let world = World::sharing(pipelines, catalog, files, raw, checkpoints, ambient);
            world.lake().list_by(Arc::new(warehouse.clone()));
            world
        };
        let rival = Arc::new(world(catalog.clone()));
        let acted = Arc::new(AtomicUsize::new(0));
        let (other, count) = (rival.clone(), acted.clone());
        let act = move || acts(other.clone(), count.fetch_add(1, Ordering::SeqCst)).boxed();
        let fateful = FailingCatalog::with(catalog, fates, Some(Box::new(act))).only_for(table);
        let world = world(Arc::new(fateful));
        Self { world, rival, warehouse, acted }
    }

    /// How often the rival came between.
    pub fn acted(&self) -> usize {
        self.acted.load(Ordering::SeqCst)
    }

    /// Files that no table names.
    pub async fn orphans(&self) -> Vec<String> {
        self.warehouse.orphans(&*self.rival.catalog).await
    }
}

impl World {
    /// A merge holds so many bytes of its rows from now on, and the others wait on disk.
    pub fn merge_within(&mut self, bytes: usize) {
        self.change_rules(|rules| rules.memory = bytes);
    }

    /// Merges change files in this way from now on.
    pub fn merge_by(&mut self, mode: MergeMode) {
        self.change_rules(|rules| rules.mode = mode);
    }

    fn change_rules(&mut self, change: impl Fn(&mut MergeRules)) {
        let mut settings = (*self.wired.settings).clone();
        for silver in settings.pipelines.iter_mut().filter_map(|p| p.silver.as_mut()) {
            change(&mut silver.rules);
        }
        let source = self.raw.clone();
        self.rewire(settings, source, Intake::Directory);
    }

    /// The next merge begins after this snapshot of bronze, or at its first row.
    pub async fn rewind(&self, after_snapshot_id: Option<i64>) {
        let silver = self.pipeline().silver.as_ref().unwrap();
        silver.request_rewind(Rewind { after_snapshot_id }).await.unwrap();
    }

    /// An object in the raw zone, ingested.
    pub async fn ingest(&self, name: &str, content: &str, minute: u32) {
        self.put(name, content, minute);
        assert_eq!(self.bronze().await.ingested, 1, "{name}");
    }

    /// The sequence numbers of bronze that the snapshots of a silver table say they are merged through.
    pub async fn positions(&self, table: &str) -> Vec<i64> {
        let key = format!("{MERGED}-sequence-number");
        let snapshots = self.table(table).await.snapshots();
        let said = snapshots.iter().filter_map(|snapshot| snapshot.summary.get(&key));
        said.map(|sequence| sequence.parse().unwrap()).collect()
    }
}
