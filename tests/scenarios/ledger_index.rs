//! The index of the ledger: on disk, in memory, and a search of the files say the same, whatever happened to the table
//! and to the disk.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::StringArray;
use chrono::Duration as Span;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use silversmith::batch::BatchId;
use silversmith::lake::{Change, CommitOutcome, CommitProperties, Properties, Table, Uncommitted};
use silversmith::ledger::{FILE, IndexSettings, Ledger, ObjectOutcome, ObjectRow};
use silversmith::reason::Reason;
use silversmith::source::ObjectId;
use silversmith::telemetry::metrics::Layer;
use silversmith::upkeep::{Limits, Work};
use tempfile::TempDir;

use crate::support::deletes::Scope;
use crate::support::{CUSTOMERS, World, at};

const BRONZE: &str = "bronze.customers";
const OBJECTS: &str = "bronze.customers_objects";
/// Object versions of a history, each at two seconds.
const VERSIONS: u8 = 30;
/// Histories that a run of all tests tries.
const CASES: u32 = 8;
/// With these, a hundred rows or six files go to the disk.
const FEW: usize = 400;
const OUTCOMES: [ObjectOutcome; 5] = [
    ObjectOutcome::Ingested,
    ObjectOutcome::Rejected,
    ObjectOutcome::Missing,
    ObjectOutcome::Skipped,
    ObjectOutcome::Replayed,
];

/// An object version, its second and the outcome of an attempt.
type Attempted = (u8, u8, usize);

#[derive(Debug, Clone)]
enum Step {
    /// Attempts with no rows in bronze.
    Record(Vec<Attempted>),
    /// A batch is committed, and its worker dies before it is published.
    Batch(Vec<Attempted>),
    Publish,
    Compact,
    /// Another program sets the objects table back.
    SetBack(usize),
    /// Another program deletes a row of a file, or the rows of an object.
    DeleteRow(usize),
    DeleteObject(u8),
    /// The worker starts again.
    Restart,
    /// A byte of a file of the index changes, or a file of it goes.
    Damage {
        file: usize,
        at: usize,
    },
    Lose(usize),
    /// A day and more goes by: snapshots expire with the next commit.
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let attempts =
        |most| proptest::collection::vec((0..VERSIONS, 0..2_u8, 0..OUTCOMES.len()), 1..most);
    let step = prop_oneof![
        4 => attempts(6).prop_map(Step::Record),
        1 => attempts(90).prop_map(Step::Record),
        4 => attempts(40).prop_map(Step::Batch),
        3 => Just(Step::Publish),
        2 => Just(Step::Compact),
        1 => any::<usize>().prop_map(Step::SetBack),
        1 => (0..1_000_usize).prop_map(Step::DeleteRow),
        1 => (0..VERSIONS).prop_map(Step::DeleteObject),
        2 => Just(Step::Restart),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(file, at)| Step::Damage { file, at }),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => Just(Step::Wait),
    ];
    proptest::collection::vec(step, 4..24)
}

fn id(version: u8, second: u8) -> ObjectId {
    let last_modified = at(10, 0) + Span::seconds(i64::from(second));
    ObjectId {
        uri: format!("raw/{}.csv", version / 2),
        version: (version % 2).to_string(),
        last_modified,
    }
}

/// All versions at all seconds.
fn all() -> Vec<ObjectId> {
    (0..VERSIONS).flat_map(|version| [id(version, 0), id(version, 1)]).collect()
}

struct Ground {
    world: World,
    folder: TempDir,
    /// One on disk, and one that finds the disk locked; one in memory; one that always searches.
    disk: Ledger,
    rival: Ledger,
    memory: Ledger,
    search: Ledger,
    attempts: i64,
}

impl Ground {
    async fn new() -> Self {
        let world = World::new(CUSTOMERS);
        let folder = TempDir::new().unwrap();
        let on_disk = || ledger(&world, FEW, Some(folder.path().to_owned()));
        let (disk, rival) = (on_disk(), on_disk());
        let (memory, search) = (ledger(&world, 1_000_000, None), ledger(&world, 0, None));
        let schema = Arc::new(arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
            "id",
            arrow::datatypes::DataType::Int64,
            true,
        )]));
        world.lake().find_or_create(&BRONZE.parse().unwrap(), &schema, None).await.unwrap();
        let mut ground = Self { world, folder, disk, rival, memory, search, attempts: 0 };
        ground.take(&Step::Record(vec![(0, 0, 1)])).await;
        ground
    }

    fn restart(&mut self) {
        // The lock of the old one goes first.
        self.disk = ledger(&self.world, 0, None);
        self.disk = ledger(&self.world, FEW, Some(self.folder.path().to_owned()));
    }

    async fn bronze(&self) -> Table {
        self.world.table(BRONZE).await
    }

    fn rows(&mut self, attempted: &[Attempted]) -> Vec<ObjectRow> {
        let mut row = |(version, second, outcome): &Attempted| {
            self.attempts += 1;
            let outcome = OUTCOMES[*outcome];
            let is_rejected = outcome == ObjectOutcome::Rejected;
            ObjectRow {
                id: id(*version, *second),
                size: None,
                outcome,
                reason: is_rejected.then_some(Reason::Unreadable),
                error: None,
                rows: 0,
                rescued: None,
                batch: BatchId::new("b"),
                finished_at: at(11, 0) + Span::milliseconds(self.attempts),
            }
        };
        attempted.iter().map(&mut row).collect()
    }

    /// A commit to bronze that names a ledger file.
    async fn batch(&mut self, attempted: &[Attempted]) {
        let (rows, bronze) = (self.rows(attempted), self.bronze().await);
        let objects = self.memory.open().await.unwrap();
        let (files, named) = self.memory.write(&objects, &rows).await.unwrap();
        let named = serde_json::to_string(&named.unwrap()).unwrap();
        let own = Properties::from([(FILE.to_owned(), named)]);
        let own = CommitProperties::of_snapshot(Layer::Bronze, own);
        let change = Change::append(Uncommitted::nothing(self.world.lake()), own);
        let done = self.world.lake().commit(&bronze, change.with_attached(files)).await.unwrap();
        assert!(matches!(done, CommitOutcome::Committed { .. }));
    }

    async fn compact(&self) {
        let work = Work { compact: true, expire: false, orphans: None, dry_run: false };
        let limits = Limits { least_files: 2, ..Limits::COMMAND };
        for target in self.world.pipeline().targets() {
            self.world.wired.upkeep().table(&target, work, limits, |_| {}).await.unwrap();
        }
    }

    async fn set_back(&self, to: usize) {
        let snapshots = self.world.table(OBJECTS).await.snapshots();
        if let Some(snapshot) = snapshots.get(to % snapshots.len().max(1)) {
            self.world.roll_back(OBJECTS, snapshot.id).await;
        }
    }

    async fn delete_row(&self, at: usize) {
        let objects = self.world.table(OBJECTS).await;
        let files = self.world.lake().files_of(&objects, None, &[]).await.unwrap();
        if let Some(file) = files.get(at % files.len().max(1)) {
            let row = at as i64 % file.rows().unwrap() as i64;
            let scope = if at.is_multiple_of(2) { Scope::File } else { Scope::Rows };
            self.world.delete_positions(OBJECTS, file.path(), &[row], scope).await;
        }
    }

    /// Runs, headers, and what else there is of the index on disk.
    fn index_files(&self) -> Vec<PathBuf> {
        let Ok(folders) = fs::read_dir(self.folder.path()) else { return vec![] };
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|path| !path.ends_with("lock"));
        files.sort();
        files
    }

    fn damage(&self, file: usize, at: usize) {
        let files = self.index_files();
        let Some(path) = files.get(file % files.len().max(1)) else { return };
        let mut bytes = fs::read(path).unwrap();
        let at = at % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x20;
        }
        fs::write(path, bytes).unwrap();
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Record(attempted) => {
                let rows = self.rows(attempted);
                self.memory.record(&rows).await.unwrap();
            }
            Step::Batch(attempted) => self.batch(attempted).await,
            Step::Publish => {
                self.disk.publish(&self.bronze().await, &[]).await.unwrap();
            }
            Step::Compact => self.compact().await,
            Step::SetBack(to) => self.set_back(*to).await,
            Step::DeleteRow(at) => self.delete_row(*at).await,
            Step::DeleteObject(version) => {
                let uri = Arc::new(StringArray::from(vec![id(*version, 0).uri]));
                self.world.delete_equal(OBJECTS, &[("source_uri", uri)]).await;
            }
            Step::Restart => self.restart(),
            Step::Damage { file, at } => self.damage(*file, *at),
            Step::Lose(file) => {
                let files = self.index_files();
                if let Some(path) = files.get(file % files.len().max(1)) {
                    fs::remove_file(path).unwrap();
                }
            }
            Step::Wait => self.world.ambient.advance(Duration::from_secs(90_000)),
        }
        // Long enough for a second try at a disk that failed.
        self.world.ambient.advance(Duration::from_secs(4_000));
    }

    /// All ledgers give one answer.
    async fn check(&self, step: &Step) {
        let expected = answers(self, &self.search).await;
        for (name, ledger) in
            [("disk", &self.disk), ("rival", &self.rival), ("memory", &self.memory)]
        {
            assert_eq!(answers(self, ledger).await, expected, "{name} after {step:?}");
        }
    }
}

fn ledger(world: &World, versions: usize, folder: Option<PathBuf>) -> Ledger {
    let bronze = BRONZE.parse().unwrap();
    Ledger::new(world.lake(), "customers", &bronze, IndexSettings { versions, folder })
}

type Answers = (BTreeMap<String, String>, BTreeSet<(String, String)>);

/// What a ledger says of all versions.
async fn answers(ground: &Ground, ledger: &Ledger) -> Answers {
    let (bronze, ids) = (ground.bronze().await, all());
    let view = ledger.view(Some(&bronze)).await.unwrap();
    let known = view.known(&ids.iter().cloned().collect()).await.unwrap();
    for id in &ids {
        let is_known = known.get(id).is_some_and(|a| a.outcome == ObjectOutcome::Ingested);
        assert!(is_known || view.ingested_at(id).await.unwrap().is_none(), "{id:?}");
    }
    let said = |(id, attempt)| (format!("{id:?}"), format!("{attempt:?}"));
    (
        known.into_iter().map(said).collect(),
        view.ingested_once(&ids).await.unwrap().into_iter().collect(),
    )
}

async fn live(steps: &[Step]) {
    let mut ground = Ground::new().await;
    for step in steps {
        ground.take(step).await;
        ground.check(step).await;
    }
}

#[test]
fn any_history_gives_the_same_answers_from_disk_from_memory_and_from_the_files() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config {
        cases: CASES,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let ran = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(live(&steps));
        Ok(())
    });
    ran.unwrap();
}

/// Attempts at so many versions.
fn many(count: u8) -> Vec<Attempted> {
    (0..count).map(|at| (at % VERSIONS, at / VERSIONS % 2, 0)).collect()
}

fn runs(ground: &Ground) -> Vec<PathBuf> {
    let mut files = ground.index_files();
    files.retain(|path| path.extension().is_some_and(|end| end == "run"));
    files
}

#[tokio::test]
async fn many_versions_go_to_the_disk_as_one_run_and_a_batch_writes_none() {
    let mut ground = Ground::new().await;
    let rows = ground.rows(&many(20));
    ground.disk.record(&rows).await.unwrap();
    ground.check(&Step::Publish).await;
    assert_eq!(ground.index_files(), Vec::<PathBuf>::new(), "a few stay in memory");
    let rows = ground.rows(&many(200));
    ground.disk.record(&rows).await.unwrap();
    ground.check(&Step::Publish).await;
    let first = runs(&ground);
    assert_eq!(first.len(), 1);
    // A batch that is known before it is published, and after it.
    ground.batch(&many(10)).await;
    ground.check(&Step::Publish).await;
    ground.take(&Step::Publish).await;
    ground.check(&Step::Publish).await;
    assert_eq!(runs(&ground), first, "a batch stays in memory");
    for _ in 0..6 {
        ground.batch(&many(10)).await;
        ground.take(&Step::Publish).await;
        ground.check(&Step::Publish).await;
    }
    assert_eq!(runs(&ground).len(), 2, "many batches go to the disk together");
}

/// The files that the index covers are not read again: here they are gone.
#[tokio::test]
async fn a_restart_reads_no_file_that_the_disk_covers_and_damage_is_rebuilt_from_the_table() {
    let mut ground = Ground::new().await;
    let rows = ground.rows(&many(200));
    ground.disk.record(&rows).await.unwrap();
    let before = answers(&ground, &ground.disk).await;
    assert_eq!(before.0.len(), usize::from(VERSIONS) * 2);
    let objects = ground.world.table(OBJECTS).await;
    let file = ground.world.lake().files_of(&objects, None, &[]).await.unwrap().remove(0);
    let bytes = ground.world.files.new_input(file.path()).unwrap().read().await.unwrap();
    ground.world.files.delete(file.path()).await.unwrap();
    ground.restart();
    assert_eq!(answers(&ground, &ground.disk).await, before);
    // Damage is not believed: the file is needed, and then the answers are the same.
    let run = runs(&ground).remove(0);
    let mut harmed = fs::read(&run).unwrap();
    harmed[100] ^= 1;
    fs::write(&run, harmed).unwrap();
    let ids: HashSet<ObjectId> = all().into_iter().collect();
    assert!(ground.disk.known(None, &ids).await.is_err(), "the file is gone");
    ground.world.files.new_output(file.path()).unwrap().write(bytes).await.unwrap();
    assert_eq!(answers(&ground, &ground.disk).await, before);
    ground.world.ambient.advance(Duration::from_secs(4_000));
    let rows = ground.rows(&many(1));
    ground.disk.record(&rows).await.unwrap();
    ground.check(&Step::Publish).await;
    assert_eq!(runs(&ground).len(), 1, "it was built again");
}

/// A bucket that `aws s3 sync` has filled has one LastModified for all of it.
#[tokio::test]
async fn versions_of_one_second_differ_and_one_version_is_found_at_any() {
    let mut ground = Ground::new().await;
    let same = (0..VERSIONS).map(|version| (version, 0, usize::from(version % 2))).collect();
    ground.take(&Step::Record(same)).await;
    ground.take(&Step::Record(many(120))).await;
    ground.check(&Step::Publish).await;
    let once = ground.disk.view(None).await.unwrap();
    let other_second = ObjectId { last_modified: at(9, 0), ..id(4, 0) };
    let other_version = ObjectId { version: "other".to_owned(), ..id(4, 0) };
    let asked = [other_second.clone(), other_version];
    let found = once.ingested_once(&asked).await.unwrap();
    assert_eq!(found, HashSet::from([(other_second.uri.clone(), other_second.version.clone())]));
    assert!(once.ingested_at(&other_second).await.unwrap().is_none());
}
