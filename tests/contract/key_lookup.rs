//! Finding rows by key: the index and the scan give the same answers, whatever happened to the table and to the disk.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use arrow::array::Int64Array;
use futures::TryStreamExt;
use proptest::prelude::*;
use silversmith::key_index::AFTER_FAILURE;
use silversmith::lake::write::data::DataWriter;
use silversmith::lake::{Change, Removed};
use silversmith::merge::{Counts, MergeEngine, MergeTask};

use super::ground::{CHOOSING, Ground, INDEXED, Row, SCANNING, row};
use crate::support::deletes::Scope;
use crate::support::unsaid;

const TABLE: &str = "silver.customers";

/// What happens between two look-ups.
#[derive(Debug, Clone)]
enum Step {
    /// A merge of keys with orders; some delete.
    Merge(Vec<(i64, i64, bool)>),
    /// Another writer appends rows, whatever keys there are already.
    Append(Vec<(i64, i64)>),
    /// Another writer deletes by position.
    DeletePositions { file: usize, position: i64, scope: Scope },
    /// Another writer deletes a key by value.
    DeleteKey(i64),
    /// All rows are written again, into one file.
    Compact,
    /// The table goes back a snapshot.
    RollBack,
    /// All snapshots but the current one expire.
    Expire,
    /// The process starts again.
    Restart,
    /// Something happens to a file of the index.
    Damage { file: usize, at: usize, harm: Harm },
}

#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip,
    Cut,
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..24_i64;
    let rows = proptest::collection::vec((key(), 0..12_i64, proptest::bool::weighted(0.1)), 1..12);
    let own = rows.prop_map(Step::Merge);
    let foreign = proptest::collection::vec((key(), 0..12_i64), 1..6).prop_map(Step::Append);
    let scope = prop_oneof![Just(Scope::File), Just(Scope::Rows)];
    let deletes = (0..8_usize, 0..12_i64, scope);
    let deletes =
        deletes.prop_map(|(file, position, scope)| Step::DeletePositions { file, position, scope });
    let harm = prop_oneof![Just(Harm::Flip), Just(Harm::Cut), Just(Harm::Remove)];
    let damage = (0..8_usize, 0..9_000_usize, harm);
    let damage = damage.prop_map(|(file, at, harm)| Step::Damage { file, at, harm });
    prop_oneof![
        8 => own,
        3 => foreign,
        3 => deletes,
        1 => key().prop_map(Step::DeleteKey),
        1 => Just(Step::Compact),
        1 => Just(Step::RollBack),
        1 => Just(Step::Expire),
        1 => Just(Step::Restart),
        2 => damage,
    ]
}

/// A table, the engine that scans, and the one that has an index.
struct Both {
    ground: Ground,
    scanning: Arc<dyn MergeEngine>,
    rows: i64,
}

impl Both {
    fn new() -> Self {
        let ground = Ground::new(INDEXED);
        let scanning = ground.another(SCANNING);
        Self { ground, scanning, rows: 0 }
    }

    fn numbered(&mut self, rows: impl IntoIterator<Item = (i64, i64, bool)>) -> Vec<Row> {
        let mut all = Vec::new();
        for (key, order, deletes) in rows {
            self.rows += 1;
            all.push(row(self.rows, key, if deletes { "-" } else { "x" }, order));
        }
        all
    }

    /// The same merge by both: the same counts, the same files that go, as many rows that come.
    async fn agree(&self, task: &MergeTask, after: &Step) -> Result<(), TestCaseError> {
        let mut seen: Vec<(Counts, BTreeSet<String>, u64)> = Vec::new();
        for engine in [&self.scanning, &self.ground.engine] {
            let merged = engine.merge(task.clone()).await.unwrap();
            let rows = merged.add.files().iter().map(|file| file.record_count()).sum();
            seen.push((merged.counts.clone(), merged.remove.clone(), rows));
        }
        prop_assert_eq!(&seen[0], &seen[1], "by a scan and by the index, after {:?}", after);
        Ok(())
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let ground = &self.ground;
        match step {
            Step::Merge(rows) => {
                let rows = self.numbered(rows.clone());
                let task = self.ground.task(&[&rows]).await;
                self.agree(&task, step).await?;
                let merged = self.ground.run(&task).await;
                self.ground.take(merged, false).await;
            }
            Step::Append(rows) => {
                let rows = self.numbered(rows.iter().map(|(key, order)| (*key, *order, false)));
                let target = self.ground.find(&self.ground.rules.table).await.unwrap();
                self.ground.append(&target, &[&rows]).await;
            }
            Step::DeletePositions { file, position, scope } => {
                let target = ground.find(&ground.rules.table).await.unwrap();
                let files = ground.world.lake().files_of(&target, None, &[]).await.unwrap();
                if let Some(file) = files.get(file % files.len().max(1)) {
                    let path = file.path();
                    ground.world.delete_positions(TABLE, path, &[*position], *scope).await;
                }
            }
            Step::DeleteKey(key) => {
                let ids = Arc::new(Int64Array::from(vec![*key]));
                ground.world.delete_equal(TABLE, &[("id", ids)]).await;
            }
            Step::Compact => self.compact().await,
            Step::RollBack => {
                let target = ground.find(&ground.rules.table).await.unwrap();
                if let Some(before) = target.ancestors().nth(1) {
                    ground.world.roll_back(TABLE, before.id).await;
                }
            }
            Step::Expire => ground.world.expire_all_but_current(TABLE).await,
            Step::Restart => {
                // The lock goes with the process.
                self.ground.engine = self.scanning.clone();
                self.ground.engine = self.ground.another(INDEXED);
            }
            Step::Damage { file, at, harm } => self.damage(*file, *at, *harm),
        }
        Ok(())
    }

    async fn compact(&self) {
        let (ground, lake) = (&self.ground, self.ground.world.lake());
        let target = ground.find(&ground.rules.table).await.unwrap();
        let schema = target.schema().clone();
        let columns: Vec<String> =
            schema.arrow().fields().iter().map(|field| field.name().clone()).collect();
        let mut writer = DataWriter::new(lake, &target, &schema).unwrap();
        for file in lake.files_of(&target, None, &[]).await.unwrap() {
            let rows = lake.read_rows(&target, &schema, &file, &columns).await.unwrap();
            for rows in rows.try_collect::<Vec<_>>().await.unwrap() {
                writer.write(&rows.batch).await.unwrap();
            }
        }
        let written = writer.close().await.unwrap();
        let all = Change::overwrite(written, Removed::All, unsaid());
        ground.commit(&target, all).await;
    }

    /// Harms one of the index's files, under the process that has it open.
    fn damage(&self, file: usize, at: usize, harm: Harm) {
        let mut files: Vec<_> = fs::read_dir(self.ground.state.path())
            .unwrap()
            .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap() != "lock")
            .collect();
        files.sort();
        let Some(path) = files.get(file % files.len().max(1)) else { return };
        let mut bytes = fs::read(path).unwrap();
        let at = at % bytes.len().max(1);
        match harm {
            Harm::Remove => return fs::remove_file(path).unwrap(),
            Harm::Cut => bytes.truncate(at),
            Harm::Flip => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 4;
                }
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

async fn history(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut both = Both::new();
    both.take(&Step::Merge(vec![(1, 1, false), (2, 1, false)])).await?;
    for step in steps {
        both.take(step).await?;
        // Every key, in the middle of its orders: older, newer and late rows, and rows that are not there.
        let rows = both.numbered((0..26).map(|key| (key, 6, key % 5 == 0)));
        let task = both.ground.task(&[&rows]).await;
        both.agree(&task, step).await?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_index_answers_as_the_scan_does(steps in proptest::collection::vec(step(), 1..14)) {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(2).thread_stack_size(8 << 20).enable_all();
        runtime.build().unwrap().block_on(Box::pin(history(&steps)))?;
    }
}

/// The runs of the index of the one table.
fn runs(ground: &Ground) -> usize {
    let folders = fs::read_dir(ground.state.path()).unwrap();
    let names = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    names
        .filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|e| e == "run"))
        .count()
}

/// Files are covered when they stay: one that each merge replaces is scanned, and costs no disk.
#[tokio::test]
async fn files_are_covered_when_they_were_there_before() {
    let ground = Ground::new(CHOOSING);
    let all: Vec<Row> = (0..200).map(|key| row(1, key, "a", 1)).collect();
    ground.merge(&[&all]).await;
    for expected in [0, 1, 1] {
        let counts = ground.merge(&[&[row(1, 5, "late", 0)]]).await;
        assert_eq!((counts.late, runs(&ground)), (1, expected));
    }
    // Copy-on-write: the one file is another one after each of these.
    for round in 2..6 {
        let counts = ground.merge(&[&[row(round, 5, "new", round)]]).await;
        assert_eq!((counts.updated, runs(&ground)), (1, 1), "round {round}");
    }
    // Too many keys for the index, and then few again.
    let counts = ground.merge(&[&all]).await;
    assert_eq!((counts.unchanged, counts.late), (199, 1));
    for expected in [1, 2] {
        let counts = ground.merge(&[&[row(1, 5, "late", 0)]]).await;
        assert_eq!((counts.late, runs(&ground)), (1, expected), "the file stays");
    }
}

/// Rows that tie in all that an entry has of their order are compared by what they are.
#[tokio::test]
async fn ties_are_decided_by_the_rows() {
    let ground = Ground::new(INDEXED);
    // The order is `updated`, the event's time, which is the same for all, texts, and the row's number.
    ground.merge(&[&[row(5, 1, "a", 1), row(5, 2, "b", 1), row(5, 3, "c", 1)]]).await;
    let counts =
        ground.merge(&[&[row(4, 1, "late", 1), row(5, 2, "b", 1), row(6, 3, "new", 1)]]).await;
    assert_eq!((counts.late, counts.unchanged, counts.updated), (1, 1, 1));
    assert_eq!(ground.silver().await, ["1|a|1", "2|b|1", "3|new|1"]);
}

/// One process has the index; the other one scans, and is right.
#[tokio::test]
async fn two_processes_do_not_share_an_index() {
    let mut ground = Ground::new(INDEXED);
    ground.merge(&[&[row(1, 1, "a", 1)]]).await;
    let first = ground.engine.clone();
    for round in 2..20 {
        let other = ground.another(INDEXED);
        ground.engine = if round % 2 == 0 { other } else { first.clone() };
        let counts = ground.merge(&[&[row(round, 1, "b", round), row(round, round, "c", 1)]]).await;
        assert_eq!((counts.updated, counts.inserted), (1, 1), "round {round}");
    }
    assert_eq!(ground.silver().await.len(), 19);
}

/// What cannot be written once is scanned; the index has the rest still, and goes on when the disk does.
#[tokio::test]
async fn a_disk_that_fails_once_costs_no_index() {
    let ground = Ground::new(INDEXED);
    // Each file spans the keys of the next one, which is why it is looked up.
    for round in 1..4 {
        ground.merge(&[&[row(round, round, "a", 1), row(round, 10 - round, "a", 1)]]).await;
    }
    assert_eq!(runs(&ground), 2);
    let folder = fs::read_dir(ground.state.path()).unwrap().next().unwrap().unwrap().path();
    // A folder has the name of the next run.
    fs::create_dir(folder.join("3.run")).unwrap();
    let counts = ground.merge(&[&[row(4, 3, "b", 2)]]).await;
    assert_eq!((counts.updated, counts.inserted), (1, 0));
    fs::remove_dir(folder.join("3.run")).unwrap();
    // For an hour the disk is left alone: a full one would be filled again at each merge.
    let counts = ground.merge(&[&[row(5, 3, "c", 3)]]).await;
    assert_eq!((counts.updated, counts.inserted, runs(&ground)), (1, 0, 2));
    ground.world.ambient.advance(AFTER_FAILURE);
    let counts = ground.merge(&[&[row(6, 3, "d", 4)]]).await;
    assert_eq!((counts.updated, counts.inserted), (1, 0));
    assert_eq!(runs(&ground), 3, "one for each time that it could learn files");
    let all = ["1|a|1", "2|a|1", "3|d|4", "7|a|1", "8|a|1", "9|a|1"];
    assert_eq!(ground.silver().await, all);
}

/// A folder that cannot be made: a file has its name.
#[tokio::test]
async fn without_a_disk_keys_are_scanned() {
    let ground = Ground::new(INDEXED);
    let path = ground.state.path().to_owned();
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "not a folder").unwrap();
    ground.merge(&[&[row(1, 1, "a", 1)]]).await;
    let counts = ground.merge(&[&[row(2, 1, "b", 2)]]).await;
    assert_eq!((counts.updated, counts.inserted), (1, 0));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
}
