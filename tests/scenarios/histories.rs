//! Random histories: files come, merges, compactions, expiries, orphan runs, rollbacks and the commits of other
//! programs, in any order. After each step every table has the rows that a model of a few lines says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::Int64Array;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use silversmith::ambient::{Ambient, ManualAmbient, SystemAmbient};
use silversmith::checkpoint::MemoryCheckpoints;
use silversmith::lake::SnapshotId;
use silversmith::lake::catalog::MemoryCatalog;
use silversmith::merge::MergeMode;
use silversmith::source::MemoryStore;
use silversmith::upkeep::Work;
use silversmith::worker::Merger;

use super::partitions;
use crate::support::warehouse::Warehouse;
use crate::support::{CUSTOMERS, World};

const BRONZE: &str = "bronze.customers";
const SILVER: &str = "silver.customers";
const TABLES: [&str; 3] = [BRONZE, "bronze.customers_objects", SILVER];
/// Histories that a run of all tests tries.
const CASES: u32 = 16;

#[derive(Debug, Clone)]
enum Step {
    /// A file with these keys comes.
    Ingest(Vec<u8>),
    Merge,
    /// From now on merges change files in this way.
    MergeBy(MergeMode),
    Compact,
    Expire,
    Orphans,
    /// Another program sets silver to one of its snapshots.
    SetSilverBack(usize),
    /// Another program sets bronze back; then it is repaired, and all files are listed again.
    SetBronzeBack(usize),
    /// Another program expires all snapshots of a table but the current one.
    ForeignExpiry(usize),
    /// Another program deletes a key from silver.
    ForeignDelete(u8),
}

/// Whether tables are in parts, whether silver keeps every version of a key, and what happens.
fn steps() -> impl Strategy<Value = (bool, bool, Vec<Step>)> {
    let keys = || proptest::collection::vec(0..12_u8, 1..5);
    let common = move || {
        prop_oneof![
            4 => keys().prop_map(Step::Ingest),
            3 => Just(Step::Merge),
            1 => Just(Step::MergeBy(MergeMode::CopyOnWrite)),
            1 => Just(Step::MergeBy(MergeMode::MergeOnRead)),
            3 => Just(Step::Compact),
            2 => Just(Step::Orphans),
            1 => (0..8_usize).prop_map(Step::SetSilverBack),
        ]
    };
    // A merge whose start has expired sees old rows again, and a key that another program deleted comes back.
    let expiring = prop_oneof![
        6 => common(),
        1 => Just(Step::Expire),
        1 => (0..TABLES.len()).prop_map(Step::ForeignExpiry),
        1 => (0..8_usize).prop_map(Step::SetBronzeBack),
    ];
    let deleting = prop_oneof![5 => common(), 2 => (0..12_u8).prop_map(Step::ForeignDelete)];
    prop_oneof![
        (any::<bool>(), any::<bool>(), proptest::collection::vec(expiring, 4..20)),
        (Just(false), any::<bool>(), proptest::collection::vec(deleting, 4..20)),
    ]
}

/// What silver holds: the names of the versions by key and order. And how many rows of bronze are merged.
#[derive(Debug, Clone, Default)]
struct Silver {
    rows: BTreeMap<(u8, i64), String>,
    merged: usize,
}

impl Silver {
    /// Each version with when it ends; without a history, those that are current.
    fn lines(&self, keeps_versions: bool) -> Vec<String> {
        let next = self.rows.keys().skip(1).map(Some).chain([None]);
        let versions = self.rows.iter().zip(next).map(|(((key, order), name), next)| {
            let end = next.filter(|(of, _)| of == key).map(|(_, end)| *end);
            (key, order, name, end)
        });
        let kept = versions.filter(|(.., end)| keeps_versions || end.is_none());
        kept.map(|(key, order, name, end)| match (keeps_versions, end) {
            (false, _) => format!("{key}|{name}"),
            (true, Some(end)) => format!("{key}|{name}|{order}|{end}|false"),
            (true, None) => format!("{key}|{name}|{order}|null|true"),
        })
        .collect()
    }
}

struct History {
    world: World,
    warehouse: Warehouse,
    keeps_versions: bool,
    /// All rows that came: key, order, name.
    rows: Vec<(u8, i64, String)>,
    silver: Silver,
    /// Silver at each of its snapshots.
    past: BTreeMap<SnapshotId, Silver>,
    files: u32,
}

impl History {
    /// With tables in parts by key, or not; with every version of a key, or the newest.
    async fn begin(partitioned: bool, keeps_versions: bool) -> Self {
        const FIELD: &str = "\"bucket(2, id)\"";
        let pipeline = match partitioned {
            true => partitions::partitioned(FIELD, FIELD),
            false => CUSTOMERS.to_owned(),
        };
        let pipeline = match keeps_versions {
            true => pipeline.replace("order_by =", "history = \"scd2\"\norder_by ="),
            false => pipeline,
        };
        let (warehouse, raw) = (Warehouse::default(), Arc::new(MemoryStore::new()));
        let ambient = Arc::new(ManualAmbient::at(SystemAmbient.now()));
        let world = World::sharing(
            &pipeline,
            Arc::new(MemoryCatalog::new()),
            warehouse.files(),
            raw,
            Arc::new(MemoryCheckpoints::new()),
            ambient,
        );
        world.lake().list_by(Arc::new(warehouse.clone()));
        let (silver, past) = (Silver::default(), BTreeMap::new());
        let mut history =
            Self { world, warehouse, keeps_versions, rows: vec![], silver, past, files: 0 };
        history.ingest(&[1, 2, 3]).await;
        history.merge().await;
        for table in TABLES {
            history.world.set_property(table, "history.expire.max-snapshot-age-ms", "1").await;
        }
        history
    }

    async fn ingest(&mut self, keys: &[u8]) {
        let mut text = "id,name,updated\n".to_owned();
        for key in keys {
            let order = self.rows.len() as i64;
            text.push_str(&format!("{key},n{order},{order}\n"));
            self.rows.push((*key, order, format!("n{order}")));
        }
        self.files += 1;
        self.world.ingest(&format!("{}.csv", self.files), &text, self.files % 60).await;
    }

    async fn merge(&mut self) {
        self.world.silver().await;
        for (key, order, name) in &self.rows[self.silver.merged..] {
            self.silver.rows.insert((*key, *order), name.clone());
        }
        self.silver.merged = self.rows.len();
    }

    async fn take(&mut self, step: &Step) {
        let nothing = Work { compact: false, expire: false, orphans: None, dry_run: false };
        match step {
            Step::Ingest(keys) => self.ingest(keys).await,
            Step::Merge => self.merge().await,
            Step::MergeBy(mode) => self.world.merge_by(*mode),
            Step::Compact => drop(self.world.upkeep(Work { compact: true, ..nothing }).await),
            Step::Expire => drop(self.world.upkeep(Work { expire: true, ..nothing }).await),
            Step::Orphans => {
                self.world
                    .upkeep(Work { orphans: Some(Duration::from_secs(86_400)), ..nothing })
                    .await;
                // The newest ledger file is named by a table property, too.
                let bronze = self.world.table(BRONZE).await;
                let named = bronze.property(silversmith::ledger::FILE).unwrap_or_default();
                let mut left = self.warehouse.orphans(&*self.world.catalog).await;
                left.retain(|path| !named.contains(path));
                assert_eq!(left, Vec::<String>::new(), "orphans are gone");
            }
            Step::SetSilverBack(index) => {
                let snapshots = self.world.table(SILVER).await.snapshots();
                let known: Vec<_> =
                    snapshots.iter().filter(|s| self.past.contains_key(&s.id)).collect();
                let to = known[index % known.len()].id;
                self.world.roll_back(SILVER, to).await;
                self.silver = self.past[&to].clone();
            }
            Step::SetBronzeBack(index) => self.set_bronze_back(*index).await,
            Step::ForeignExpiry(index) => self.world.expire_all_but_current(TABLES[*index]).await,
            Step::ForeignDelete(key) => {
                let ids = Arc::new(Int64Array::from(vec![i64::from(*key)]));
                self.world.delete_equal(SILVER, &[("id", ids)]).await;
                self.silver.rows.retain(|(of, _), _| of != key);
            }
        }
    }

    async fn set_bronze_back(&mut self, index: usize) {
        let snapshots: Vec<_> = self.world.table(BRONZE).await.ancestors().collect();
        let to = snapshots[index % snapshots.len()].id;
        self.world.roll_back(BRONZE, to).await;
        let pipeline = self.world.pipeline().clone();
        let mut merger = Merger::new(&pipeline, self.world.lake().ambient());
        if merger.rolled_back().await.unwrap().is_some() {
            merger.accept_rollback().await.unwrap();
        }
        assert_eq!(merger.rolled_back().await.unwrap(), None);
        let root = pipeline.settings.bronze.root.clone();
        pipeline.bronze.backfill(&root, |_| {}).await.unwrap();
    }

    async fn check(&mut self, step: &Step) {
        let world = &self.world;
        let bronze = world.sql("SELECT id, name FROM bronze.customers ORDER BY updated").await;
        let rows: Vec<String> =
            self.rows.iter().map(|(key, _, name)| format!("{key}|{name}")).collect();
        assert_eq!(bronze, rows, "bronze after {step:?}");
        let columns = if self.keeps_versions { ", valid_from, valid_to, is_current" } else { "" };
        let silver = format!("SELECT id, name{columns} FROM silver.customers ORDER BY id, updated");
        let rows = self.silver.lines(self.keeps_versions);
        assert_eq!(world.sql(&silver).await, rows, "silver after {step:?}");
        let known = "SELECT count(DISTINCT source_uri) FROM bronze.customers_objects";
        assert_eq!(world.sql(known).await, [self.files.to_string()], "ledger after {step:?}");
        let current = world.table(SILVER).await.current().unwrap().id;
        self.past.insert(current, self.silver.clone());
        world.ambient.advance(Duration::from_millis(50));
    }
}

async fn live(partitioned: bool, keeps_versions: bool, steps: &[Step]) {
    let mut history = History::begin(partitioned, keeps_versions).await;
    history.check(&Step::Merge).await;
    for step in steps {
        history.take(step).await;
        history.check(step).await;
    }
    history.merge().await;
    history.check(&Step::Merge).await;
}

#[test]
fn any_history_ends_with_the_rows_of_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config {
        cases: CASES,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let ran = runner.run(&steps(), |(partitioned, keeps_versions, steps)| {
        runtime.block_on(live(partitioned, keeps_versions, &steps));
        Ok(())
    });
    ran.unwrap();
}
