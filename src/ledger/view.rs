//! The ledger as of one state of bronze, and the memory of files that were read for it.
//!
//! Ledger files never change, and every batch asks about the same few days: what a file says is kept,
//! by day, up to a bound, and only files that are new are read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::rows::{self, day_of};
use super::{Attempt, Known, Ledger, ObjectOutcome, READ_FILES};
use crate::lake::scan::FileTask;
use crate::lake::{LakeError, Table};
use crate::source::ObjectId;

/// Enough of a hash of an identity: two of 2⁶⁴ objects would have to share it.
type Print = [u8; 16];
/// Rows of which the newest counts, `ingested` before all others.
type Rank = (bool, i64);

/// What the files of some days say.
#[derive(Debug)]
pub(super) struct Memory {
    days: Mutex<Days>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Days {
    by_day: HashMap<i32, Day>,
    /// The days in the order of their last use.
    used: Vec<i32>,
}

#[derive(Debug, Default)]
struct Day {
    files: HashSet<String>,
    newest: HashMap<Print, (Rank, Attempt)>,
}

impl Memory {
    /// A memory of at most so many object versions.
    pub(super) fn of(capacity: usize) -> Arc<Self> {
        Arc::new(Self { days: Mutex::default(), capacity })
    }
}

/// What the ledger says of an object, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// How the newest attempt ended.
    pub outcome: ObjectOutcome,
    /// Why, where it was not ingested.
    pub reason: Option<String>,
}

/// The ledger as of one state of bronze and of the objects table.
#[derive(Debug)]
pub struct View {
    ledger: Ledger,
    objects: Table,
    by_day: BTreeMap<i32, Vec<FileTask>>,
    /// Files that somebody has written without the partition.
    undated: Vec<FileTask>,
}

impl Ledger {
    /// See [`View`]. SUBTLE: bronze has to be loaded before this call. Whatever is published between
    /// the two loads moves from the marks to the objects table, and is seen there; the other way
    /// round it would be seen in neither.
    pub async fn view(&self, bronze: Option<&Table>) -> Result<View, LakeError> {
        let objects = self.open().await?;
        let mut tasks: Vec<FileTask> =
            self.unpublished(bronze, &objects).await?.iter().map(|f| f.to_task(&objects)).collect();
        tasks.extend(self.lake.files_of(&objects, None, &[]).await?);
        let mut by_day: BTreeMap<i32, Vec<FileTask>> = BTreeMap::new();
        let mut undated = Vec::new();
        for task in tasks {
            match task.partition_int() {
                Some(day) => by_day.entry(day).or_default().push(task),
                None => undated.push(task),
            }
        }
        Ok(View { ledger: self.clone(), objects, by_day, undated })
    }
}

impl View {
    /// What is known of `wanted`.
    pub async fn known(&self, wanted: &HashSet<ObjectId>) -> Result<Known, LakeError> {
        let mut known = Newest::default();
        if !self.undated.is_empty() {
            self.scan(self.undated.clone(), wanted, &mut known).await?;
        }
        let days: BTreeSet<i32> = wanted.iter().map(|id| day_of(id.last_modified)).collect();
        for day in days {
            let Some(files) = self.by_day.get(&day) else { continue };
            let rows: u64 = files.iter().map(|f| f.rows().unwrap_or(u64::MAX / 1024)).sum();
            if rows > self.ledger.memory.capacity as u64 {
                self.scan(files.clone(), wanted, &mut known).await?;
                continue;
            }
            let mut days = self.ledger.memory.days.lock().await;
            let day = self.remembered(&mut days, day, files, rows as usize).await?;
            for id in wanted {
                if let Some((rank, attempt)) = day.newest.get(&print(id)) {
                    known.note(id.clone(), *rank, *attempt);
                }
            }
        }
        Ok(known.0.into_iter().map(|(id, (_, attempt))| (id, attempt)).collect())
    }

    /// Which of these URIs were ingested in that version, whenever that was: for objects that are
    /// gone, and whose LastModified nobody can tell any more.
    pub async fn ingested_once(
        &self,
        wanted: &HashSet<(String, String)>,
    ) -> Result<HashSet<(String, String)>, LakeError> {
        let mut found = HashSet::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let uris: HashSet<&str> = wanted.iter().map(|(uri, _)| uri.as_str()).collect();
        let files = self.by_day.values().flatten().chain(&self.undated).cloned().collect();
        let mut batches = self.batches(files);
        while let Some(batch) = batches.try_next().await? {
            for state in rows::states(&batch, Some(&uris)) {
                let version = (state.id.uri, state.id.version);
                if state.outcome == ObjectOutcome::Ingested && wanted.contains(&version) {
                    found.insert(version);
                }
            }
        }
        Ok(found)
    }

    /// The newest that is known of each of these URIs, in whatever version.
    pub async fn newest(&self, uris: &[String]) -> Result<HashMap<String, Told>, LakeError> {
        let wanted: HashSet<&str> = uris.iter().map(String::as_str).collect();
        let files = self.by_day.values().flatten().chain(&self.undated).cloned().collect();
        let mut newest: HashMap<String, (Rank, Told)> = HashMap::new();
        let mut batches = self.batches(files);
        while let Some(batch) = batches.try_next().await? {
            for state in rows::states(&batch, Some(&wanted)) {
                let (rank, _) = state.ranked();
                let told = Told { outcome: state.outcome, reason: state.reason };
                match newest.get_mut(&state.id.uri) {
                    Some(before) if before.0 < rank => *before = (rank, told),
                    Some(_) => {}
                    None => {
                        newest.insert(state.id.uri, (rank, told));
                    }
                }
            }
        }
        Ok(newest.into_iter().map(|(uri, (_, told))| (uri, told)).collect())
    }

    /// The day as its files tell it, those that were not read before read now.
    async fn remembered<'a>(
        &self,
        days: &'a mut Days,
        day: i32,
        files: &[FileTask],
        rows: usize,
    ) -> Result<&'a Day, LakeError> {
        days.used.retain(|used| *used != day);
        let others: usize = days.used.iter().map(|d| days.by_day[d].newest.len()).sum();
        let mut spare = (others + rows).saturating_sub(self.ledger.memory.capacity);
        while spare > 0 && !days.used.is_empty() {
            let oldest = days.used.remove(0);
            spare = spare.saturating_sub(days.by_day.remove(&oldest).map_or(0, |d| d.newest.len()));
        }
        days.used.push(day);
        let remembered = days.by_day.entry(day).or_default();
        let paths: HashSet<&str> = files.iter().map(FileTask::path).collect();
        // A file that is no longer named was compacted, or rolled back: what it said may not hold.
        if remembered.files.iter().any(|path| !paths.contains(path.as_str())) {
            *remembered = Day::default();
        }
        let new: Vec<FileTask> =
            files.iter().filter(|f| !remembered.files.contains(f.path())).cloned().collect();
        if new.is_empty() {
            return Ok(remembered);
        }
        let read: Vec<String> = new.iter().map(|f| f.path().to_owned()).collect();
        let mut batches = self.batches(new);
        while let Some(batch) = batches.try_next().await? {
            for state in rows::states(&batch, None) {
                let (rank, attempt) = state.ranked();
                let entry = remembered.newest.entry(print(&state.id)).or_insert((rank, attempt));
                if rank > entry.0 {
                    *entry = (rank, attempt);
                }
            }
        }
        // Only now: a read that failed half-way is done again.
        remembered.files.extend(read);
        Ok(remembered)
    }

    async fn scan(
        &self,
        files: Vec<FileTask>,
        wanted: &HashSet<ObjectId>,
        known: &mut Newest,
    ) -> Result<(), LakeError> {
        let uris: HashSet<&str> = wanted.iter().map(|id| id.uri.as_str()).collect();
        let mut batches = self.batches(files);
        while let Some(batch) = batches.try_next().await? {
            for state in rows::states(&batch, Some(&uris)) {
                if wanted.contains(&state.id) {
                    let (rank, attempt) = state.ranked();
                    known.note(state.id, rank, attempt);
                }
            }
        }
        Ok(())
    }

    fn batches(&self, files: Vec<FileTask>) -> crate::lake::scan::Batches {
        let columns = rows::STATE_COLUMNS.map(str::to_owned);
        let lake = &self.ledger.lake;
        lake.read_files(&self.objects, self.objects.schema(), files, &columns, READ_FILES)
    }
}

#[derive(Default)]
struct Newest(HashMap<ObjectId, (Rank, Attempt)>);

impl Newest {
    fn note(&mut self, id: ObjectId, rank: Rank, attempt: Attempt) {
        let entry = self.0.entry(id).or_insert((rank, attempt));
        if rank > entry.0 {
            *entry = (rank, attempt);
        }
    }
}

fn print(id: &ObjectId) -> Print {
    let mut hash = Sha256::new();
    hash.update((id.uri.len() as u64).to_le_bytes());
    hash.update(&id.uri);
    hash.update((id.version.len() as u64).to_le_bytes());
    hash.update(&id.version);
    hash.update(id.last_modified.timestamp().to_le_bytes());
    let whole = hash.finalize();
    let mut print = Print::default();
    print.copy_from_slice(&whole[..16]);
    print
}
