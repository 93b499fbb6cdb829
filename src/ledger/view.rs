//! The ledger as of one state of bronze, and the memory of files that were read for it.
//!
//! Ledger files never change, and every batch asks about the same few days: what a file says is kept,
//! by day, up to a bound, and only files that are new are read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::rows::{self, Rank, day_of};
use super::{Attempt, Known, Ledger, ObjectOutcome, READ_FILES, unpublished};
use crate::lake::read::scan::{Bounds, FileTask};
use crate::lake::{LakeError, Table};
use crate::source::ObjectId;

/// The object of a multipart upload is stamped with its beginning; lifecycle rules end most uploads that
/// take longer than this many days.
const UPLOAD_DAYS: i32 = 7;

/// Enough of a hash of an identity: two of 2⁶⁴ objects would have to share it.
type Print = [u8; 16];

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
    newest: HashMap<Print, Attempt>,
}

impl Memory {
    /// A memory of at most so many object versions.
    pub(super) fn of(capacity: usize) -> Arc<Self> {
        Arc::new(Self { days: Mutex::default(), capacity })
    }
}

/// The ledger as of one state of bronze and of the objects table. Only the days that are asked about
/// are looked at.
#[derive(Debug)]
pub struct View {
    ledger: Ledger,
    objects: Table,
    /// Files that bronze's snapshot properties name and that are not published yet.
    unpublished: Vec<FileTask>,
    planned: Mutex<Planned>,
}

#[derive(Debug, Default)]
struct Planned {
    by_day: BTreeMap<i32, Arc<Vec<FileTask>>>,
    /// Days whose files are all remembered.
    remembered: HashSet<i32>,
}

impl Ledger {
    /// See [`View`]. SUBTLE: bronze must be loaded before this call. Rows that are published between the
    /// two loads move from bronze's snapshot properties to the objects table, and are seen there. In the
    /// other order they would be seen in neither.
    pub async fn view(&self, bronze: Option<&Table>) -> Result<View, LakeError> {
        let objects = self.open().await?;
        let unpublished = match bronze {
            Some(bronze) => {
                let through = self.published_through(bronze, &objects).await?;
                unpublished(bronze, through.as_ref())?
            }
            None => vec![],
        };
        let unpublished = unpublished.iter().map(|f| f.to_task(&objects)).collect();
        Ok(View { ledger: self.clone(), objects, unpublished, planned: Mutex::default() })
    }
}

impl View {
    /// The objects table, as it was loaded.
    pub fn objects(&self) -> &Table {
        &self.objects
    }

    /// What is known of `wanted`.
    pub async fn known(&self, wanted: &HashSet<ObjectId>) -> Result<Known, LakeError> {
        let mut known = Known::default();
        for (day, ids) in by_day(wanted.iter()) {
            let files = self.files(day).await?;
            match rows_of(&files) > self.ledger.memory.capacity {
                // Too large to be remembered: searched for all of them at once.
                true => self.scan(files.to_vec(), &ids, &mut known).await?,
                false => self.recall(day, &files, &ids, &mut known).await?,
            }
        }
        Ok(known)
    }

    /// Whether an object is known to be ingested, as far as that is cheap: for a day too large for memory
    /// the answer is no, and the commit looks up its whole batch at once.
    pub async fn is_ingested(&self, id: &ObjectId) -> Result<bool, LakeError> {
        let day = day_of(id.last_modified);
        let files = self.files(day).await?;
        if rows_of(&files) > self.ledger.memory.capacity {
            return Ok(false);
        }
        // Forgotten since, for another day's sake: reading it again for every object would be no memory.
        let was_remembered = self.planned.lock().await.remembered.contains(&day);
        if was_remembered && !self.ledger.memory.days.lock().await.by_day.contains_key(&day) {
            return Ok(false);
        }
        let mut known = Known::default();
        self.recall(day, &files, &[id], &mut known).await?;
        Ok(known.values().any(|attempt| attempt.outcome == ObjectOutcome::Ingested))
    }

    /// Which of these were ingested in that version at any time: for objects that are gone, and whose
    /// LastModified is no longer known. It is close to the time of the event, except for large uploads;
    /// only where that day has no row, the whole ledger is searched.
    pub async fn ingested_once(
        &self,
        wanted: &[ObjectId],
    ) -> Result<HashSet<(String, String)>, LakeError> {
        let mut found = HashSet::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let version = |id: &ObjectId| (id.uri.clone(), id.version.clone());
        let days: BTreeSet<i32> = wanted
            .iter()
            .flat_map(|id| day_of(id.last_modified) - UPLOAD_DAYS..=day_of(id.last_modified) + 1)
            .collect();
        let mut files = Vec::new();
        for day in days {
            files.extend(self.files(day).await?.iter().cloned());
        }
        self.find_ingested(files, wanted.iter().map(version).collect(), &mut found).await?;
        let rest: HashSet<_> = wanted.iter().map(version).filter(|v| !found.contains(v)).collect();
        if let (Some(least), Some(greatest)) =
            (rest.iter().map(|(uri, _)| uri).min(), rest.iter().map(|(uri, _)| uri).max())
        {
            let bounds = Bounds {
                column: "source_uri".to_owned(),
                least: Arc::new(StringArray::from(vec![least.as_str()])),
                greatest: Arc::new(StringArray::from(vec![greatest.as_str()])),
            };
            let files = self.all_files(&[bounds]).await?;
            self.find_ingested(files, rest, &mut found).await?;
        }
        Ok(found)
    }

    async fn find_ingested(
        &self,
        files: Vec<FileTask>,
        wanted: HashSet<(String, String)>,
        found: &mut HashSet<(String, String)>,
    ) -> Result<(), LakeError> {
        let uris: HashSet<&str> = wanted.iter().map(|(uri, _)| uri.as_str()).collect();
        let mut batches = self.batches(files);
        while let Some(batch) = batches.try_next().await? {
            for (id, attempt) in rows::attempts(self.objects.name(), &batch, Some(&uris))? {
                let version = (id.uri, id.version);
                if attempt.outcome == ObjectOutcome::Ingested && wanted.contains(&version) {
                    found.insert(version);
                }
            }
        }
        Ok(())
    }

    /// The published files within bounds, and the unpublished ones.
    async fn all_files(&self, bounds: &[Bounds]) -> Result<Vec<FileTask>, LakeError> {
        let mut files = self.ledger.lake.files_of(&self.objects, None, bounds).await?;
        files.extend(self.unpublished.iter().cloned());
        Ok(files)
    }

    /// The files of a day: planned when the day is first asked about. A file without the partition, which
    /// only another engine writes, is found by its metrics.
    async fn files(&self, day: i32) -> Result<Arc<Vec<FileTask>>, LakeError> {
        let mut planned = self.planned.lock().await;
        if let Some(files) = planned.by_day.get(&day) {
            return Ok(files.clone());
        }
        let micros = |day: i32| -> ArrayRef {
            let micros = i64::from(day) * 86_400_000_000;
            Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("+00:00"))
        };
        let column = rows::LAST_MODIFIED.to_owned();
        let bounds = Bounds { column, least: micros(day), greatest: micros(day + 1) };
        let mut files = self.all_files(&[bounds]).await?;
        files.retain(|file| file.partition_int().is_none_or(|of| of == day));
        let files = Arc::new(files);
        planned.by_day.insert(day, files.clone());
        Ok(files)
    }

    async fn recall(
        &self,
        day: i32,
        files: &[FileTask],
        ids: &[&ObjectId],
        known: &mut Known,
    ) -> Result<(), LakeError> {
        if files.is_empty() {
            return Ok(());
        }
        let mut days = self.ledger.memory.days.lock().await;
        let is_ready = self.planned.lock().await.remembered.contains(&day);
        if !is_ready || !days.by_day.contains_key(&day) {
            self.remember(&mut days, day, files).await?;
            self.planned.lock().await.remembered.insert(day);
        }
        let Some(day) = days.by_day.get(&day) else { return Ok(()) };
        for id in ids {
            if let Some(attempt) = day.newest.get(&print(id)) {
                keep_newest(known, (*id).clone(), *attempt);
            }
        }
        Ok(())
    }

    /// For people: how the newest attempt at each of these URIs ended, in whatever version, in words
    /// such as `rejected (unreadable)`.
    pub async fn newest(&self, uris: &[String]) -> Result<HashMap<String, String>, LakeError> {
        let wanted: HashSet<&str> = uris.iter().map(String::as_str).collect();
        let files = self.all_files(&[]).await?;
        let mut newest: HashMap<String, (Rank, String)> = HashMap::new();
        let mut batches = self.batches(files);
        while let Some(batch) = batches.try_next().await? {
            for (uri, rank, words) in rows::words(&batch, &wanted) {
                if newest.get(&uri).is_none_or(|(before, _)| *before < rank) {
                    newest.insert(uri, (rank, words));
                }
            }
        }
        Ok(newest.into_iter().map(|(uri, (_, words))| (uri, words)).collect())
    }

    /// Brings the memory of a day up to its files: those that were not read before are read now.
    async fn remember(
        &self,
        days: &mut Days,
        day: i32,
        files: &[FileTask],
    ) -> Result<(), LakeError> {
        days.used.retain(|used| *used != day);
        let others: usize = days.used.iter().map(|d| days.by_day[d].newest.len()).sum();
        let mut spare = (others + rows_of(files)).saturating_sub(self.ledger.memory.capacity);
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
            return Ok(());
        }
        let read: Vec<String> = new.iter().map(|f| f.path().to_owned()).collect();
        let mut batches = self.batches(new);
        while let Some(batch) = batches.try_next().await? {
            for (id, attempt) in rows::attempts(self.objects.name(), &batch, None)? {
                keep_newest(&mut remembered.newest, print(&id), attempt);
            }
        }
        // Only now: a read that failed half-way is done again.
        remembered.files.extend(read);
        Ok(())
    }

    async fn scan(
        &self,
        files: Vec<FileTask>,
        ids: &[&ObjectId],
        known: &mut Known,
    ) -> Result<(), LakeError> {
        let wanted: HashSet<&ObjectId> = ids.iter().copied().collect();
        let uris: HashSet<&str> = ids.iter().map(|id| id.uri.as_str()).collect();
        let mut batches = self.batches(files);
        while let Some(batch) = batches.try_next().await? {
            for (id, attempt) in rows::attempts(self.objects.name(), &batch, Some(&uris))? {
                if wanted.contains(&id) {
                    keep_newest(known, id, attempt);
                }
            }
        }
        Ok(())
    }

    fn batches(&self, files: Vec<FileTask>) -> crate::lake::read::scan::Batches {
        let columns = rows::ATTEMPT_COLUMNS.map(str::to_owned);
        let lake = &self.ledger.lake;
        lake.read_files(&self.objects, self.objects.schema(), files, &columns, READ_FILES)
    }
}

fn keep_newest<K: Eq + Hash>(newest: &mut HashMap<K, Attempt>, key: K, attempt: Attempt) {
    if newest.get(&key).is_none_or(|before| before.rank() < attempt.rank()) {
        newest.insert(key, attempt);
    }
}

fn by_day<'a>(ids: impl Iterator<Item = &'a ObjectId>) -> BTreeMap<i32, Vec<&'a ObjectId>> {
    let mut by_day: BTreeMap<i32, Vec<&ObjectId>> = BTreeMap::new();
    for id in ids {
        by_day.entry(day_of(id.last_modified)).or_default().push(id);
    }
    by_day
}

fn rows_of(files: &[FileTask]) -> usize {
    // A file that does not say is taken for a large one.
    files.iter().map(|file| file.rows().unwrap_or(1 << 32) as usize).sum()
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
