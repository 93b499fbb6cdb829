//! What the objects table says of each object version, by a hash of its URI and version.
//!
//! Files of a table never change, so each is read once, and what is known of it stays right; of which files the table
//! is made now, its manifests say. So a roll-back, a removal of rows and a compaction are all the same to the index:
//! entries of files that are no longer live are not believed, and files that it lacks are read. The same holds for the
//! files that bronze names and that are not published yet.
//!
//! - [`live`]: the files of the table; [`reading`]: their rows as entries
//! - [`entry`]: what an entry says; [`store`]: where it is, in memory ([`held`]) or on [`disk`]

mod disk;
mod entry;
mod error;
mod held;
mod live;
mod reading;
mod store;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Attempt, READ_FILES, rows};
use crate::ambient::SharedAmbient;
use crate::lake::position::Position;
use crate::lake::read::scan::FileTask;
use crate::lake::{Lake, LakeError, Table};
use crate::source::ObjectId;
use entry::Row;
use error::IndexError;
use live::Live;
use store::Store;

/// Most rows that stay in memory where there is a disk.
const HELD: usize = 64 * 1024;
/// Bytes of a row in memory.
const ROW: usize = 64;

/// How much an index may know, and where.
#[derive(Debug, Clone)]
pub struct IndexSettings {
    /// Object versions that fit into its memory, 64 bytes each.
    pub versions: usize,
    /// The folder of indexes on this machine's disk, which hold any number of them. Without one, or while it cannot be
    /// used, look-ups of more than `versions` read the files.
    pub folder: Option<PathBuf>,
}

impl IndexSettings {
    /// Rows that stay in memory where there is a disk.
    fn few(&self) -> usize {
        (self.versions / 4).min(HELD)
    }

    /// Bytes for sorting: what is in memory meanwhile, and the sizes of runs, take the rest.
    fn sorting(&self) -> usize {
        self.versions / 2 * ROW
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    live: Live,
    store: Store,
    /// None after an error.
    believed: Option<Believed>,
}

/// The files whose entries are believed.
#[derive(Debug)]
struct Believed {
    /// The state of the objects table, and the files that are not published.
    of: (Option<Position>, Vec<String>),
    /// None where they have too many rows.
    files: Option<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    all: HashSet<u32>,
    /// Those of which rows are deleted.
    with_deletes: HashMap<u32, FileTask>,
}

/// An objects table, and the files beside it that bronze names and that are not published yet.
pub(super) struct Files<'a> {
    pub(super) lake: &'a Lake,
    pub(super) objects: &'a Table,
    pub(super) unpublished: &'a [FileTask],
}

/// What is asked of the index.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    /// These versions.
    Exactly(&'a [ObjectId]),
    /// These versions, whatever their LastModified was.
    AtAnyTime(&'a [ObjectId]),
}

impl<'a> Asked<'a> {
    fn ids(self) -> &'a [ObjectId] {
        match self {
            Self::Exactly(ids) | Self::AtAnyTime(ids) => ids,
        }
    }

    fn is_answered_by(self, index: usize, row: &Row) -> bool {
        match self {
            Self::Exactly(ids) => row.is_at(&ids[index]),
            Self::AtAnyTime(_) => true,
        }
    }
}

/// The attempts that count, by their index in what is asked.
type Counting = Vec<(usize, Attempt)>;

impl Index {
    /// An empty index.
    pub(super) fn of(settings: IndexSettings, ambient: SharedAmbient) -> Arc<Self> {
        let store = Store::new(settings, ambient);
        Arc::new(Self { state: Mutex::new(State { live: Live::default(), store, believed: None }) })
    }

    /// The attempts that count; none where there are too many object versions for an index.
    pub(super) async fn find(
        &self,
        files: &Files<'_>,
        asked: Asked<'_>,
    ) -> Result<Option<Counting>, LakeError> {
        let mut state = self.state.lock().await;
        let error = match state.find(files, asked).await {
            Ok(found) => return Ok(found),
            Err(IndexError::Lake(error)) => return Err(error),
            Err(error) => error,
        };
        let table = files.objects.name();
        state.believed = None;
        if state.store.is_on_disk() {
            tracing::warn!(%table, %error, "the ledger's index on disk failed; memory serves without it");
            state.store.leave_disk();
            match state.find(files, asked).await {
                Err(IndexError::Lake(error)) => return Err(error),
                Ok(found) => return Ok(found),
                Err(_) => state.believed = None,
            }
        }
        tracing::warn!(%table, %error, "the ledger's index failed; its files are searched");
        Ok(None)
    }
}

impl State {
    async fn find(
        &mut self,
        files: &Files<'_>,
        asked: Asked<'_>,
    ) -> Result<Option<Counting>, IndexError> {
        self.catch_up(files).await?;
        let Some(Believed { files: Some(numbers), .. }) = &self.believed else { return Ok(None) };
        let mut found = self.store.find(&files.objects.uuid(), asked.ids()).await?;
        found.retain(|(index, row)| {
            numbers.all.contains(&row.file) && asked.is_answered_by(*index, row)
        });
        let deleted = deleted(files, &numbers.with_deletes, &found).await?;
        let mut counting: BTreeMap<usize, Attempt> = BTreeMap::new();
        for (index, row) in &found {
            if deleted.contains(&(row.file, row.position)) {
                continue;
            }
            let attempt = row.attempt()?;
            let kept = counting.entry(*index).or_insert(attempt);
            if kept.rank() < attempt.rank() {
                *kept = attempt;
            }
        }
        Ok(Some(counting.into_iter().collect()))
    }

    /// Brings the index up to a state of the objects table, and of the files that are not published.
    async fn catch_up(&mut self, files: &Files<'_>) -> Result<(), IndexError> {
        self.live.catch_up(files).await?;
        let unpublished = files.unpublished.iter().filter(|file| !self.live.has(file.path()));
        let names = unpublished.clone().map(|file| file.path().to_owned()).collect();
        let of = (self.live.through().cloned(), names);
        if self.believed.as_ref().is_some_and(|believed| believed.of == of) {
            return Ok(());
        }
        let all: Vec<FileTask> = self.live.files().chain(unpublished).cloned().collect();
        let numbers = match all.iter().all(can_be_covered) {
            true => self.store.cover(files, &all).await?,
            false => None,
        };
        let numbers = numbers.map(|numbers| Numbers {
            with_deletes: numbers
                .iter()
                .zip(&all)
                .filter(|(_, file)| file.has_deletes())
                .map(|(number, file)| (*number, file.clone()))
                .collect(),
            all: numbers.into_iter().collect(),
        });
        self.believed = Some(Believed { of, files: numbers });
        Ok(())
    }
}

/// Which rows of a file are deleted by their values, only the values say. silversmith writes no such deletes.
fn can_be_covered(file: &FileTask) -> bool {
    let fits = file.rows().is_some_and(|rows| rows <= u64::from(u32::MAX));
    fits && !file.has_equality_deletes()
}

/// Those of the rows that position deletes delete, by file and position.
async fn deleted(
    files: &Files<'_>,
    with_deletes: &HashMap<u32, FileTask>,
    found: &[(usize, Row)],
) -> Result<HashSet<(u32, u32)>, LakeError> {
    let rows = found.iter().map(|(_, row)| row).filter(|row| with_deletes.contains_key(&row.file));
    let (mut tasks, mut numbers, mut asked) = (Vec::new(), HashMap::new(), HashMap::new());
    for row in rows {
        let at = *numbers.entry(row.file).or_insert_with(|| {
            tasks.push(with_deletes[&row.file].clone());
            tasks.len() - 1
        });
        asked.insert((at, u64::from(row.position)), (row.file, row.position));
    }
    let rows = asked.keys().copied().collect();
    let deleted = files.lake.deleted_among(files.objects, &tasks, &rows, READ_FILES).await?;
    Ok(deleted.iter().filter_map(|row| asked.get(row).copied()).collect())
}

/// The rows of files of the objects table, as [`rows::attempts`] reads them.
pub(super) fn batches(
    lake: &Lake,
    objects: &Table,
    files: Vec<FileTask>,
) -> crate::lake::read::scan::Batches {
    let columns = rows::ATTEMPT_COLUMNS.map(str::to_owned);
    lake.read_files(objects, objects.schema(), files, &columns, READ_FILES)
}
