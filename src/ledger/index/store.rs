//! Where the entries are: in memory, by file, and on disk once they are many.
//!
//! A batch adds one small file. Such files stay in memory, so that a batch writes no run; when they are many, they and
//! what is new go to the disk as one. Without a disk, all of them are in memory, up to a bound.

use std::collections::HashSet;

use super::disk::{Disk, Learned, OpenIndex};
use super::entry::{Row, key};
use super::error::IndexError;
use super::held::{Held, weight};
use super::reading::{Numbered, Readers};
use super::{Files, IndexSettings};
use crate::ambient::SharedAmbient;
use crate::key_index::entry::{Hasher, KeyHash, secret};
use crate::key_index::folder::Index;
use crate::key_index::run::Covered;
use crate::lake::read::scan::FileTask;
use crate::source::ObjectId;

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    settings: IndexSettings,
    ambient: SharedAmbient,
    hasher: Hasher,
    held: Held,
    disk: Disk,
    /// The number of the next file, where no index on disk gives it one.
    next_file: u32,
}

impl Store {
    pub(super) fn new(settings: IndexSettings, ambient: SharedAmbient) -> Self {
        let hasher = Hasher::new(&secret(&ambient));
        Self {
            settings,
            ambient,
            hasher,
            held: Held::default(),
            disk: Disk::Closed(None),
            next_file: 0,
        }
    }

    /// Whether there is an index on disk that may have failed.
    pub(super) fn is_on_disk(&self) -> bool {
        self.disk.is_open()
    }

    /// Goes on without the disk.
    pub(super) fn leave_disk(&mut self) {
        self.disk.fail(self.ambient.now());
        self.held = Held::default();
    }

    /// Covers all of these files and no other, and returns their numbers; none where they have too many rows.
    pub(super) async fn cover(
        &mut self,
        files: &Files<'_>,
        all: &[FileTask],
    ) -> Result<Option<Vec<u32>>, IndexError> {
        let paths: HashSet<&str> = all.iter().map(FileTask::path).collect();
        self.held.keep(|path| paths.contains(path));
        let (few, table) = (self.settings.few(), files.objects.uuid());
        let whole = weight(all.len(), rows_of(all));
        if whole > few && self.disk.of(&table).is_none() {
            self.open(&table).await?;
        }
        let disk = self.disk.of(&table).cloned();
        if disk.is_none() && whole > self.settings.versions {
            self.held = Held::default();
            return Ok(None);
        }
        let known = self.numbers(disk.as_ref(), all).await?;
        let lacking = known.iter().zip(all).filter(|(number, _)| number.is_none());
        let new: Vec<FileTask> = lacking.map(|(_, file)| file.clone()).collect();
        if new.is_empty() {
            return Ok(known.into_iter().collect());
        }
        let more = weight(new.len(), rows_of(&new));
        match &disk {
            Some(disk) if self.held.weight().saturating_add(more) > few => {
                self.learn(disk, files, new, all).await?;
            }
            _ => self.hold(disk.as_ref(), files, new).await?,
        }
        Ok(self.numbers(disk.as_ref(), all).await?.into_iter().collect())
    }

    /// Opens the index of a table on disk, if it may be: what is in memory has hashes of its own, and goes.
    async fn open(&mut self, table: &str) -> Result<(), IndexError> {
        let Some(folder) = &self.settings.folder else { return Ok(()) };
        let opened = self.disk.open(folder, table.to_owned(), &self.ambient).await;
        match opened {
            Ok(Some(hasher)) => (self.hasher, self.held) = (hasher, Held::default()),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "the ledger's index cannot be opened");
                self.disk.fail(self.ambient.now());
            }
        }
        Ok(())
    }

    /// The numbers of files that are covered.
    async fn numbers(
        &self,
        disk: Option<&OpenIndex>,
        all: &[FileTask],
    ) -> Result<Vec<Option<u32>>, IndexError> {
        let held = |(path, bytes, rows): &Described| self.held.covers(path, *bytes, *rows);
        let described: Vec<Described> = all.iter().map(described).collect();
        let numbers: Vec<Option<u32>> = described.iter().map(held).collect();
        let Some(disk) = disk else { return Ok(numbers) };
        disk.run(move |index| {
            let of = |(number, (path, bytes, rows)): (Option<u32>, Described)| {
                number.or_else(|| index.covers(&path, bytes, rows))
            };
            Ok(numbers.into_iter().zip(described).map(of).collect())
        })
        .await
    }

    /// New numbers for files.
    async fn numbered(
        &mut self,
        disk: Option<&OpenIndex>,
        new: Vec<FileTask>,
    ) -> Result<Vec<Numbered>, IndexError> {
        let all: Vec<Described> = new.iter().map(described).collect();
        let covered = match disk {
            Some(disk) => {
                let number = move |index: &mut Index| {
                    let all = all.iter().map(|(path, bytes, rows)| (path.as_str(), *bytes, *rows));
                    Ok(index.numbered(all))
                };
                disk.run(number).await?
            }
            None => {
                let first = self.next_file;
                self.next_file = first.wrapping_add(all.len() as u32);
                let numbers = (0..).map(|n: u32| first.wrapping_add(n));
                let covered = |((path, bytes, rows), id)| Covered { id, path, bytes, rows };
                all.into_iter().zip(numbers).map(covered).collect()
            }
        };
        Ok(new.into_iter().zip(covered).collect())
    }

    /// Reads files into memory.
    async fn hold(
        &mut self,
        disk: Option<&OpenIndex>,
        files: &Files<'_>,
        new: Vec<FileTask>,
    ) -> Result<(), IndexError> {
        let work = self.numbered(disk, new).await?;
        let covered = work.iter().map(|(_, covered)| covered.clone()).collect();
        let (readers, mut rows) = Readers::begin(files, &self.hasher, work);
        while let Some(rows) = rows.recv().await {
            self.held.push(rows);
        }
        readers.ended().await?;
        self.held.cover(covered);
        Ok(())
    }

    /// Reads files, and writes them and what is in memory to the disk.
    async fn learn(
        &mut self,
        disk: &OpenIndex,
        files: &Files<'_>,
        new: Vec<FileTask>,
        all: &[FileTask],
    ) -> Result<(), IndexError> {
        let work = self.numbered(Some(disk), new).await?;
        let (mut covered, held) = self.held.all();
        covered.extend(work.iter().map(|(_, covered)| covered.clone()));
        let (readers, read) = Readers::begin(files, &self.hasher, work);
        let learned = Learned {
            files: covered,
            held,
            read,
            live: all.iter().map(|file| file.path().to_owned()).collect(),
            rows: rows_of(all),
            memory: self.settings.sorting(),
            now: self.ambient.now(),
        };
        let is_whole = disk.learn(learned).await?;
        readers.ended().await?;
        if !is_whole {
            return Err(IndexError::Cut);
        }
        self.held = Held::default();
        Ok(())
    }

    /// The rows of these versions, whatever their LastModified, in all files that were ever covered: each with the
    /// index of its version.
    pub(super) async fn find(
        &self,
        table: &str,
        ids: &[ObjectId],
    ) -> Result<Vec<(usize, Row)>, IndexError> {
        let keys = ids.iter().map(|id| key(&self.hasher, id));
        let mut keys: Vec<(KeyHash, usize)> = keys.zip(0..).collect();
        keys.sort_unstable();
        let mut found = Vec::new();
        for (key, id) in &keys {
            found.extend(self.held.find(key).map(|row| (*id, *row)));
        }
        let Some(disk) = self.disk.of(table) else { return Ok(found) };
        let sorted: Vec<KeyHash> = keys.iter().map(|(key, _)| *key).collect();
        let entries = disk.run(move |index| index.find(&sorted)).await?;
        found.extend(entries.iter().map(|(at, entry)| (keys[*at].1, Row::of(entry))));
        Ok(found)
    }
}

/// Path, bytes and rows of a file.
type Described = (String, u64, u64);

fn described(file: &FileTask) -> Described {
    (file.path().to_owned(), file.bytes(), file.rows().unwrap_or_default())
}

fn rows_of(files: &[FileTask]) -> u64 {
    files.iter().filter_map(FileTask::rows).sum()
}
