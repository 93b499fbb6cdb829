//! A crash between any two effects of bronze, silver and gold, followed by a restart that ends right (I2–I6).
//!
//! A first run counts the effects. Then the run is repeated for every effect, and dies right before it or right
//! after it; a new process goes on from what the dead one left.

use std::sync::Arc;

use silversmith::checkpoint::{CheckpointStore, MemoryCheckpoints};
use silversmith::lake::catalog::{Catalog, MemoryCatalog};
use silversmith::source::MemoryStore;

use crate::support::faulty::{Fuse, FusedCatalog, FusedCheckpoints, FusedFiles};
use crate::support::{CUSTOMERS, World};

/// How merges go: the mode, and whether every version of a key is kept.
#[derive(Clone, Copy)]
pub(super) struct Merges {
    mode: &'static str,
    history: &'static str,
}

impl Merges {
    pub(super) const COPY_ON_WRITE: Self = Self { mode: "copy-on-write", history: "none" };
    const ON_READ: Self = Self { mode: "merge-on-read", history: "none" };
}

fn pipeline(Merges { mode, history }: Merges) -> String {
    let gold = "table = \"gold.count\"\nsql = \"SELECT count(*) AS n FROM silver\"\n";
    let silver =
        format!("mode = \"{mode}\"\nhistory = \"{history}\"\ndelete_when = \"op = 'D'\"\n");
    let expect = "[[pipeline.silver.expect]]\nname = \"good\"\nsql = \"name <> 'bad'\"\n";
    format!("{CUSTOMERS}{silver}{expect}[[pipeline.gold]]\n{gold}")
}

/// What outlives a process.
pub(super) struct Remains {
    catalog: Arc<dyn Catalog>,
    files: FusedFiles,
    pub(super) raw: Arc<MemoryStore>,
    checkpoints: Arc<dyn CheckpointStore>,
    pub(super) ambient: Arc<silversmith::ambient::ManualAmbient>,
    merges: Merges,
}

impl Remains {
    /// Nothing yet; merges go like this.
    pub(super) fn of(merges: Merges) -> Self {
        Self {
            merges,
            catalog: Arc::new(MemoryCatalog::new()),
            files: FusedFiles::default(),
            raw: Arc::new(MemoryStore::new()),
            checkpoints: Arc::new(MemoryCheckpoints::new()),
            ambient: Arc::new(silversmith::ambient::ManualAmbient::at(crate::support::at(12, 0))),
        }
    }

    /// A process on what remains, behind a fuse.
    pub(super) fn process(&self, fuse: &Arc<Fuse>) -> World {
        self.process_as(&pipeline(self.merges), fuse)
    }

    /// The same, under another configuration.
    pub(super) fn process_as(&self, pipelines: &str, fuse: &Arc<Fuse>) -> World {
        World::sharing(
            pipelines,
            Arc::new(FusedCatalog(self.catalog.clone(), fuse.clone())),
            self.files.behind(fuse),
            self.raw.clone(),
            Arc::new(FusedCheckpoints(self.checkpoints.clone(), fuse.clone())),
            self.ambient.clone(),
        )
    }
}

fn put_first(remains: &Remains) {
    let put = |name: &str, text: &str, minute| {
        remains.raw.put(&format!("raw/{name}.csv"), text, crate::support::at(11, minute));
    };
    put("1", "id,name,op,updated\n1,a,U,1\n2,b,U,1\n3,c,U,1\n5,e,U,1\n1,bad,U,9\n", 0);
    put("bad", "id\0", 1);
}

fn put_second(remains: &Remains) {
    let put = |name: &str, text: &str, minute| {
        remains.raw.put(&format!("raw/{name}.csv"), text, crate::support::at(11, minute));
    };
    put("2", "id,name,op,updated,extra\n2,new,U,2,x\n3,,D,2,\n4,d,U,1,\n6,bad,U,1,\nx,f,U,1,\n", 2);
    put("empty", "", 3);
}

async fn all_steps(world: &World) {
    world.bronze().await;
    world.silver().await;
    world.gold().await;
}

/// One round; it dies where the fuse blows.
async fn life(remains: &Remains, fuse: &Arc<Fuse>) {
    let world = remains.process(fuse);
    tokio::select! {
        () = all_steps(&world) => {}
        () = fuse.blown() => {}
    }
}

async fn ends_right(remains: &Remains, case: &str) {
    let world = remains.process(&Fuse::counting());
    all_steps(&world).await;
    all_steps(&world).await;
    let gold = if remains.merges.history == "scd2" {
        let sql = "SELECT id, name, extra, valid_from, valid_to, is_current FROM silver.customers
          ORDER BY id, valid_from";
        let rows = [
            "1|a|null|1|null|true",
            "2|b|null|1|2|false",
            "2|new|x|2|null|true",
            "3|c|null|1|2|false",
            "4|d|null|1|null|true",
            "5|e|null|1|null|true",
        ];
        assert_eq!(world.sql(sql).await, rows, "{case}");
        "6"
    } else {
        let silver = world.sql("SELECT id, name, extra FROM silver.customers ORDER BY id").await;
        assert_eq!(silver, ["1|a|null", "2|new|x", "4|d|null", "5|e|null"], "{case}");
        "4"
    };
    let bronze =
        world.sql("SELECT _source_uri, count(*) FROM bronze.customers GROUP BY 1 ORDER BY 1").await;
    assert_eq!(bronze, ["raw/1.csv|5", "raw/2.csv|5"], "{case}");
    let refused = ["good|raw/1.csv|5", "good|raw/2.csv|4", "rescued|raw/2.csv|5"];
    assert_eq!(world.quarantine().await, refused, "{case}");
    let ingested = world
        .sql("SELECT source_uri, count(*) FROM bronze.customers_objects WHERE outcome = 'ingested' AND rows > 0 GROUP BY 1 ORDER BY 1")
        .await;
    assert_eq!(ingested, ["raw/1.csv|1", "raw/2.csv|1"], "{case}");
    let others = world
        .sql("SELECT DISTINCT source_uri, outcome FROM bronze.customers_objects WHERE rows = 0 ORDER BY 1")
        .await;
    assert_eq!(others, ["raw/bad.csv|rejected", "raw/empty.csv|ingested"], "{case}");
    assert_eq!(world.sql("SELECT n FROM gold.count").await, [gold], "{case}");
}

#[tokio::test]
async fn a_crash_at_any_effect_is_harmless() {
    crashes(Merges::COPY_ON_WRITE).await;
}

#[tokio::test]
async fn a_crash_at_any_effect_is_harmless_with_merge_on_read() {
    crashes(Merges::ON_READ).await;
}

#[tokio::test]
async fn a_crash_at_any_effect_is_harmless_with_a_history() {
    crashes(Merges { history: "scd2", ..Merges::COPY_ON_WRITE }).await;
}

#[tokio::test]
async fn a_crash_at_any_effect_is_harmless_with_a_history_and_merge_on_read() {
    crashes(Merges { history: "scd2", ..Merges::ON_READ }).await;
}

async fn crashes(merges: Merges) {
    // The effects of each of the two rounds, counted.
    let counted = Remains::of(merges);
    put_first(&counted);
    let first = Fuse::counting();
    life(&counted, &first).await;
    put_second(&counted);
    let second = Fuse::counting();
    life(&counted, &second).await;
    ends_right(&counted, "no crash").await;
    let (first, second) = (first.effects(), second.effects());
    assert!(first > 20 && second > 20, "{first} and {second} effects");

    for done in [false, true] {
        for effect in 0..first {
            let remains = Remains::of(merges);
            put_first(&remains);
            life(&remains, &Fuse::blowing(effect, done)).await;
            put_second(&remains);
            ends_right(&remains, &format!("round 1, effect {effect} of {first}, done: {done}"))
                .await;
        }
        for effect in 0..second {
            let remains = Remains::of(merges);
            put_first(&remains);
            life(&remains, &Fuse::counting()).await;
            put_second(&remains);
            life(&remains, &Fuse::blowing(effect, done)).await;
            ends_right(&remains, &format!("round 2, effect {effect} of {second}, done: {done}"))
                .await;
        }
    }
}
