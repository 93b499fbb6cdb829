//! Sorting entries in bounded memory (I7): they are divided by ranges of their hash, spilled to disk, and each range is
//! sorted on its own. Each entry is written twice and read once, however many there are.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::entry::{ENTRY, Entry};
use super::error::{KeyIndexError, disk};
use super::run::{Covered, Run, RunWriter};

/// Bytes of a range that are held before they go to its file, at most …
const HELD: usize = 64 * 1024;
/// … and at least, however many ranges there are.
const LEAST_HELD: usize = 4 * 1024;
/// Ranges in memory at a time while a run is written: one is sorted, one waits, one is written.
const AT_ONCE: usize = 3;

/// See the module.
#[derive(Debug)]
pub struct Sorter {
    ranges: Vec<Range>,
    /// Entries of a range that are held: all of them take the memory together. Without an end where all are in one.
    held: usize,
    /// Entries of a range: rows with one key are all in one.
    most: u64,
}

#[derive(Debug)]
struct Range {
    path: PathBuf,
    held: Vec<Entry>,
    /// Entries in its file.
    spilled: u64,
}

impl Sorter {
    /// Sorts about `expected` entries in about `memory` bytes; what is spilled goes to `folder`.
    pub(super) fn new(folder: &Path, expected: u64, memory: usize) -> Self {
        let of_range = (memory / AT_ONCE).max(HELD) as u64;
        let bytes = expected.saturating_mul(ENTRY as u64);
        // What fits needs no ranges.
        let count = if bytes <= memory as u64 { 1 } else { bytes.div_ceil(of_range) };
        let some = (memory / count as usize).clamp(LEAST_HELD, HELD) / ENTRY;
        // A list that has to grow is twice in memory meanwhile.
        let (held, capacity) =
            if count == 1 { (usize::MAX, expected as usize) } else { (some, some) };
        let range = |number| Range {
            path: folder.join(format!("{number}.spill")),
            held: Vec::with_capacity(capacity),
            spilled: 0,
        };
        let most = (memory / ENTRY).max(1_024) as u64;
        Self { ranges: (0..count).map(range).collect(), held, most }
    }

    /// Adds entries, in any order.
    pub fn push(&mut self, entries: impl IntoIterator<Item = Entry>) -> Result<(), KeyIndexError> {
        let count = self.ranges.len() as u64;
        for entry in entries {
            // The upper half of 64 bits, as a part of `count`: ranges are in the order of hashes.
            let index = ((entry.first() >> 32) * count) >> 32;
            let range = &mut self.ranges[index as usize];
            range.held.push(entry);
            if range.entries() > self.most {
                return Err(KeyIndexError::Crowded { most: self.most });
            }
            if range.held.len() >= self.held {
                range.spill()?;
            }
        }
        Ok(())
    }

    /// Writes all entries as a run.
    pub(super) fn finish(
        self,
        mut run: RunWriter,
        files: &[Covered],
    ) -> Result<Run, KeyIndexError> {
        let (sender, sorted) = sync_channel(AT_ONCE - 2);
        std::thread::scope(|scope| {
            scope.spawn(move || sort(self.ranges, &sender));
            written(sorted, &mut run)
        })?;
        run.finish(files)
    }
}

type Sorted = Result<Vec<Entry>, KeyIndexError>;

/// Sorts range after range, while the receiver writes.
fn sort(ranges: Vec<Range>, sorted: &SyncSender<Sorted>) {
    for range in ranges {
        // The receiver is gone after an error of its own.
        if sorted.send(range.sorted()).is_err() {
            return;
        }
    }
}

/// Writes what comes. After an error the sender has no receiver, and ends.
fn written(sorted: Receiver<Sorted>, run: &mut RunWriter) -> Result<(), KeyIndexError> {
    for entries in sorted {
        for entry in &entries? {
            run.push(entry)?;
        }
    }
    Ok(())
}

impl Range {
    fn entries(&self) -> u64 {
        self.spilled + self.held.len() as u64
    }

    fn spill(&mut self) -> Result<(), KeyIndexError> {
        // It is opened each time: there are as many ranges as the table makes necessary.
        let file = match self.spilled {
            0 => File::create(&self.path),
            _ => File::options().append(true).open(&self.path),
        };
        let file = file.map_err(disk("opening", &self.path))?;
        let mut file = BufWriter::with_capacity(self.held.len() * ENTRY, file);
        let written = self.held.iter().try_for_each(|entry| file.write_all(entry.bytes()));
        written.and_then(|()| file.flush()).map_err(disk("writing", &self.path))?;
        self.spilled = self.entries();
        self.held.clear();
        Ok(())
    }

    fn sorted(mut self) -> Sorted {
        let mut entries = match self.spilled {
            0 => std::mem::take(&mut self.held),
            _ => self.with_spilled()?,
        };
        let by_hash = |a: &Entry, b: &Entry| a.first().cmp(&b.first()).then_with(|| a.cmp(b));
        entries.sort_unstable_by(by_hash);
        Ok(entries)
    }

    /// Those of its file, and those that are held.
    fn with_spilled(&self) -> Sorted {
        let mut entries = Vec::with_capacity(self.entries() as usize);
        let spilled = self.spilled as usize;
        let mut file = File::open(&self.path).map_err(disk("opening", &self.path))?;
        let mut some = vec![0; HELD / ENTRY * ENTRY];
        while entries.len() < spilled {
            let count = (spilled - entries.len()).min(some.len() / ENTRY) * ENTRY;
            file.read_exact(&mut some[..count]).map_err(disk("reading", &self.path))?;
            entries.extend(some[..count].as_chunks().0.iter().map(|bytes| Entry::of(*bytes)));
        }
        entries.extend_from_slice(&self.held);
        Ok(entries)
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the index is opened again.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(path = %self.path.display(), %error, "a spilled range stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use tempfile::TempDir;

    use super::super::entry::{Hasher, VALUE};
    use super::*;

    fn entries(count: u32) -> Vec<Entry> {
        let hasher = Hasher::new("secret");
        (0..count).map(|n| Entry::new(&hasher.key(&n.to_be_bytes()), &[0; VALUE], 0, n)).collect()
    }

    fn sorted(folder: &TempDir, entries: &[Entry], expected: u64, memory: usize) -> Vec<Entry> {
        let mut sorter = Sorter::new(folder.path(), expected, memory);
        entries.chunks(777).for_each(|some| sorter.push(some.iter().copied()).unwrap());
        let run = sorter.finish(RunWriter::create(folder.path(), 1).unwrap(), &[]).unwrap();
        let mut cursor = run.cursor();
        std::iter::from_fn(|| cursor.next().unwrap()).collect()
    }

    #[test]
    fn entries_come_out_sorted_from_memory_and_from_disk() {
        let folder = TempDir::new().unwrap();
        let entries = entries(40_000);
        let mut expected = entries.clone();
        expected.sort_unstable();
        for memory in [64 << 20, 400 << 10] {
            assert_eq!(sorted(&folder, &entries, 40_000, memory), expected, "{memory} bytes");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "spilled ranges are removed");
        assert_eq!(sorted(&folder, &[], 0, 1 << 20), []);
    }

    /// Ranges follow the table; what they hold together does not.
    #[test]
    fn what_is_held_of_many_ranges_fits_into_memory() {
        const MEMORY: usize = 1 << 20;
        let folder = TempDir::new().unwrap();
        let mut sorter = Sorter::new(folder.path(), 2_000_000, MEMORY);
        assert!(sorter.ranges.len() > 200, "{}", sorter.ranges.len());
        let mut most = 0;
        for some in entries(300_000).chunks(1_000) {
            sorter.push(some.iter().copied()).unwrap();
            let held: usize = sorter.ranges.iter().map(|range| range.held.capacity()).sum();
            most = most.max(held * ENTRY);
        }
        assert!(most <= MEMORY + sorter.ranges.len() * ENTRY, "{most} bytes");
    }

    /// The memory of the entries is the memory that sorting takes.
    #[test]
    fn what_fits_is_sorted_where_it_is() {
        let folder = TempDir::new().unwrap();
        let entries = entries(10_000);
        let mut sorter = Sorter::new(folder.path(), 10_000, 10_000 * ENTRY);
        sorter.push(entries.iter().copied()).unwrap();
        let range = sorter.ranges.pop().unwrap();
        assert!(sorter.ranges.is_empty());
        let (at, capacity) = (range.held.as_ptr(), range.held.capacity());
        let sorted = range.sorted().unwrap();
        assert_eq!((sorted.len(), capacity), (10_000, 10_000));
        assert_eq!(sorted.as_ptr(), at, "it is no copy");
    }

    #[test]
    fn memory_is_bounded_where_many_rows_have_one_key() {
        let folder = TempDir::new().unwrap();
        let mut sorter = Sorter::new(folder.path(), 100_000, 2_048 * ENTRY);
        let same = entries(1)[0];
        sorter.push(repeat_n(same, 2_048)).unwrap();
        let error = sorter.push(repeat_n(same, 2_048)).unwrap_err();
        assert!(matches!(error, KeyIndexError::Crowded { most: 2_048 }), "{error}");
    }
}
