//! The index of one table, in a folder of its own: a header, runs, and a lock that one process holds.
//!
//! It says of each file that it covers which rows the file has, deleted ones included: files never change, so nothing
//! that it says can become wrong. Which files are live, and which of their rows, the table says at each look-up.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::entry::{Entry, Hasher, KeyHash};
use super::error::{KeyIndexError, disk};
use super::header::{Definition, HEADER, Header, NamedRun};
use super::run::{Covered, Run, RunWriter, file_name};
use super::sort::Sorter;
use super::tiers::{Size, due, many_dead, merge};

const LOCK: &str = "lock";
/// An index that was not used for so long is removed: its table is gone, or merged elsewhere.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Hashes that are worth a thread: the disk answers several at a time.
const OF_A_THREAD: usize = 2_048;
const THREADS: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Index {
    folder: PathBuf,
    lock: File,
    header: Header,
    hasher: Hasher,
    runs: Vec<Run>,
    /// Covered files by path.
    files: HashMap<String, Covered>,
}

impl Index {
    /// Opens the index of a table below `root`, or begins it; `None`: another process has it.
    ///
    /// What is not the complete index of this definition is removed; where the disk fails, nothing is. Indexes of other
    /// tables below `root` that were not used for a week are removed, too.
    pub fn open(
        root: &Path,
        definition: &Definition,
        secret: String,
        now: DateTime<Utc>,
    ) -> Result<Option<Self>, KeyIndexError> {
        remove_unused(root, now);
        let folder = root.join(&definition.table);
        fs::create_dir_all(&folder).map_err(disk("creating", &folder))?;
        let Some(lock) = locked(&folder)? else { return Ok(None) };
        let (header, runs) = match complete(&folder, definition) {
            Ok(complete) => complete,
            Err(error) if error.is_lost() => {
                tracing::debug!(folder = %folder.display(), %error, "the key index begins anew");
                let header = Header::new(definition.clone(), secret);
                header.write(&folder)?;
                (header, vec![])
            }
            Err(error) => return Err(error),
        };
        remove_others(&folder, &header)?;
        let hasher = Hasher::new(&header.secret);
        let mut index = Self { folder, lock, header, hasher, runs, files: HashMap::new() };
        index.list_files();
        index.used(now);
        Ok(Some(index))
    }

    fn list_files(&mut self) {
        let covered = self.runs.iter().flat_map(Run::files);
        self.files = covered.map(|file| (file.path.clone(), file.clone())).collect();
    }

    /// Records that it is in use.
    fn used(&self, now: DateTime<Utc>) {
        if let Err(error) = self.lock.set_modified(now.into()) {
            tracing::debug!(folder = %self.folder.display(), %error, "the time of use is not kept");
        }
    }

    /// Whether it is the index of this definition.
    pub fn is_of(&self, definition: &Definition) -> bool {
        self.header.definition == *definition
    }

    /// What makes its hashes.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The number of a file in entries, where its rows are covered.
    pub fn covers(&self, path: &str, bytes: u64, rows: u64) -> Option<u32> {
        self.files.get(path)?.number_of(bytes, rows)
    }

    /// Its size on disk, its runs and their entries.
    pub fn size(&self) -> (u64, usize, u64) {
        let bytes = self.runs.iter().map(Run::bytes).sum();
        (bytes, self.runs.len(), self.runs.iter().map(Run::entries).sum())
    }

    /// Numbers for files that are to be covered, each with its path, bytes and rows. None is used twice.
    pub fn numbered<'a>(
        &mut self,
        files: impl IntoIterator<Item = (&'a str, u64, u64)>,
    ) -> Vec<Covered> {
        let mut numbered = Vec::new();
        for file in files {
            numbered.push(Covered::of(self.header.next_file, file));
            self.header.next_file += 1;
        }
        numbered
    }

    /// Sorts about so many entries, in about so much memory.
    pub fn sorter(&self, expected: u64, memory: usize) -> Sorter {
        Sorter::new(&self.folder, expected, memory)
    }

    /// Adds the rows of files, which are covered from now on.
    pub fn learn(
        &mut self,
        entries: Sorter,
        files: &[Covered],
        now: DateTime<Utc>,
    ) -> Result<(), KeyIndexError> {
        let run = entries.finish(self.begin_run()?, files)?;
        self.runs.push(run);
        let covered: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        self.header.waiting.retain(|path| !covered.contains(path.as_str()));
        self.save()?;
        self.used(now);
        Ok(())
    }

    fn begin_run(&mut self) -> Result<RunWriter, KeyIndexError> {
        let id = self.header.next_run;
        self.header.next_run += 1;
        RunWriter::create(&self.folder, id)
    }

    /// From now on the header names these runs.
    fn save(&mut self) -> Result<(), KeyIndexError> {
        let named = |run: &Run| NamedRun { id: run.id(), entries: run.entries() };
        self.header.runs = self.runs.iter().map(named).collect();
        self.header.write(&self.folder)?;
        self.list_files();
        Ok(())
    }

    /// Which of these paths were left to a scan before; from now on all of them were. Those of other look-ups are
    /// remembered while they are `live`.
    pub fn wait_for(
        &mut self,
        paths: Vec<String>,
        live: &HashSet<String>,
    ) -> Result<HashSet<String>, KeyIndexError> {
        let waiting = &mut self.header.waiting;
        let before: HashSet<String> = waiting.iter().cloned().collect();
        let (again, new): (HashSet<String>, HashSet<String>) =
            paths.into_iter().partition(|path| before.contains(path));
        waiting.retain(|path| live.contains(path));
        if !new.is_empty() || waiting.len() < before.len() {
            waiting.extend(new);
            self.header.write(&self.folder)?;
        }
        Ok(again)
    }

    /// Whether runs are due to be merged, as far as is known without the live files: from their number, and from the
    /// rows of the whole table.
    pub fn is_due(&self, rows: Option<u64>) -> bool {
        let size = |run: &Run| Size { entries: run.entries(), live: run.entries() };
        let sizes: Vec<Size> = self.runs.iter().map(size).collect();
        due(&sizes).is_some() || rows.is_some_and(|rows| many_dead(&sizes, rows))
    }

    /// Merges runs until none is due. Only the files in `live` stay covered in what is merged.
    pub fn tidy(&mut self, live: &HashSet<String>) -> Result<(), KeyIndexError> {
        loop {
            let is_live = |file: &&Covered| live.contains(&file.path);
            let size = |run: &Run| Size {
                entries: run.entries(),
                live: run.files().iter().filter(is_live).map(|file| file.rows).sum(),
            };
            let sizes: Vec<Size> = self.runs.iter().map(size).collect();
            let Some(group) = due(&sizes) else { return Ok(()) };
            let (old, rest): (Vec<_>, Vec<_>) =
                self.runs.drain(..).enumerate().partition(|(index, _)| group.contains(index));
            self.runs = rest.into_iter().map(|(_, run)| run).collect();
            let old: Vec<Run> = old.into_iter().map(|(_, run)| run).collect();
            self.replace(&old, live)?;
        }
    }

    /// Merges runs that are no longer in the list.
    fn replace(&mut self, old: &[Run], live: &HashSet<String>) -> Result<(), KeyIndexError> {
        let covered = old.iter().flat_map(Run::files);
        let files: Vec<Covered> = covered.filter(|f| live.contains(&f.path)).cloned().collect();
        if !files.is_empty() {
            let numbers: HashSet<u32> = files.iter().map(|file| file.id).collect();
            let mut run = self.begin_run()?;
            let runs: Vec<&Run> = old.iter().collect();
            merge(&runs, &mut run, |file| numbers.contains(&file))?;
            self.runs.push(run.finish(&files)?);
        }
        self.save()?;
        for run in old {
            fs::remove_file(run.path()).map_err(disk("removing", run.path()))?;
        }
        Ok(())
    }

    /// Finds the entries of sorted hashes: each with the index of its hash, in no particular order.
    pub fn find(&self, hashes: &[KeyHash]) -> Result<Vec<(usize, Entry)>, KeyIndexError> {
        let count = hashes.len().div_ceil(OF_A_THREAD).clamp(1, THREADS);
        let share = hashes.len().div_ceil(count).max(1);
        let parts: Vec<&[KeyHash]> = hashes.chunks(share).collect();
        let found: Vec<_> = std::thread::scope(|scope| {
            let begin = |part| scope.spawn(move || self.search(part));
            let running: Vec<_> = parts.iter().skip(1).map(|part| begin(*part)).collect();
            let first = parts.first().map(|part| self.search(part));
            let others = running.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            first.into_iter().chain(others).collect()
        });
        let mut all = Vec::new();
        for (number, found) in found.into_iter().enumerate() {
            all.extend(found?.into_iter().map(|(index, entry)| (number * share + index, entry)));
        }
        Ok(all)
    }

    fn search(&self, hashes: &[KeyHash]) -> Result<Vec<(usize, Entry)>, KeyIndexError> {
        let mut found = Vec::new();
        for run in &self.runs {
            run.find(hashes, &mut |index, entry| found.push((index, entry)))?;
        }
        Ok(found)
    }

    /// Does work with the index and returns it. After an error it is closed; a damaged one is forgotten: no one asks it
    /// again.
    pub fn doing<T>(
        mut self,
        work: impl FnOnce(&mut Self) -> Result<T, KeyIndexError>,
    ) -> Result<(Self, T), KeyIndexError> {
        match work(&mut self) {
            Ok(result) => Ok((self, result)),
            Err(error) => {
                if error.is_lost() {
                    self.forget()?;
                }
                Err(error)
            }
        }
    }

    /// Removes the header: the next one who opens the index begins anew.
    fn forget(self) -> Result<(), KeyIndexError> {
        let path = self.folder.join(HEADER);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(disk("removing", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// The lock of a folder; `None`: another process holds it. It ends with the process.
fn locked(folder: &Path) -> Result<Option<File>, KeyIndexError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(disk("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(disk("locking", &path)(error)),
    }
}

/// The header and all of its runs.
fn complete(folder: &Path, definition: &Definition) -> Result<(Header, Vec<Run>), KeyIndexError> {
    let header = Header::read(folder, definition)?;
    let mut runs = Vec::new();
    for NamedRun { id, entries } in &header.runs {
        let path = folder.join(file_name(*id));
        let run = Run::open(&path, *id)?;
        if run.entries() != *entries {
            return Err(KeyIndexError::Damaged { path, why: "its header says another length" });
        }
        runs.push(run);
    }
    Ok((header, runs))
}

/// Removes what a header does not name: runs that were not finished, and those of an index before.
fn remove_others(folder: &Path, header: &Header) -> Result<(), KeyIndexError> {
    let mut named: HashSet<String> = header.runs.iter().map(|run| file_name(run.id)).collect();
    named.extend([HEADER, LOCK].map(str::to_owned));
    for entry in fs::read_dir(folder).map_err(disk("listing", folder))? {
        let entry = entry.map_err(disk("listing", folder))?;
        if !named.contains(&*entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(disk("removing", &entry.path()))?;
        }
    }
    Ok(())
}

/// Removes indexes that no process has used for long. One that cannot be removed is logged: it costs disk only.
fn remove_unused(root: &Path, now: DateTime<Utc>) {
    let Ok(folders) = fs::read_dir(root) else { return };
    for folder in folders.flatten() {
        let Ok(used) = fs::metadata(folder.path().join(LOCK)).and_then(|lock| lock.modified())
        else {
            continue;
        };
        let unused = (now - DateTime::<Utc>::from(used)).to_std().unwrap_or_default();
        if unused < UNUSED || !matches!(locked(&folder.path()), Ok(Some(_))) {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(folder.path()) {
            let folder = folder.path();
            tracing::debug!(folder = %folder.display(), %error, "an unused key index stays");
        }
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
