//! A run: an immutable file of entries, sorted.
//!
//! ```text
//! blocks of 4 KiB     93 entries, zeros after the last one, a checksum
//! first hashes        8 bytes a block: the first entry's
//! files               JSON: the files of the table whose rows these are
//! trailer             magic, the run's number, entries, bytes of `files`, a checksum of all after the blocks
//! ```
//! The checksum of a block covers the run's number and the block's: a block of another run, or of another offset, is
//! as damaged as one with a changed bit. Reads are `pread`: what the system caches is not this process's memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entry::{ENTRY, Entry, KEY, KeyHash, first_of};
use super::error::{KeyIndexError, disk};

/// Bytes of a block.
const BLOCK: usize = 4_096;
/// Entries of a full block.
const PER_BLOCK: usize = (BLOCK - 4) / ENTRY;
const MAGIC: &[u8; 8] = b"silvrun1";
const TRAILER: usize = 36;
/// Blocks that a merge of runs reads at a time.
const AHEAD: usize = 16;
const WRITTEN_AT_ONCE: usize = 256 * 1024;

/// A file of the table that a run covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// Its number in entries.
    pub id: u32,
    /// Its location.
    pub path: String,
    /// Its bytes, which say together with its rows that it is the same file.
    pub bytes: u64,
    /// Its rows, deleted ones included.
    pub rows: u64,
}

impl Covered {
    /// A file with this path, bytes and rows.
    pub fn of(id: u32, (path, bytes, rows): (&str, u64, u64)) -> Self {
        Self { id, path: path.to_owned(), bytes, rows }
    }

    /// Its number, where a file of its path is this one.
    pub fn number_of(&self, bytes: u64, rows: u64) -> Option<u32> {
        (self.bytes == bytes && self.rows == rows).then_some(self.id)
    }

    /// A position in it, for an entry.
    pub fn position(&self, at: u64) -> Result<u32, KeyIndexError> {
        // More rows than the manifest says, which itself says what fits.
        u32::try_from(at).map_err(|_| self.wrong(at))
    }

    /// Whether so many rows are all of it.
    pub fn has_all(&self, found: u64) -> Result<(), KeyIndexError> {
        if found == self.rows { Ok(()) } else { Err(self.wrong(found)) }
    }

    fn wrong(&self, found: u64) -> KeyIndexError {
        KeyIndexError::Rows { file: self.path.clone(), expected: self.rows, found }
    }
}

/// The name of a run's file.
pub(super) fn file_name(id: u64) -> String {
    format!("{id}.run")
}

fn checksum_of_block(run: u64, block: u64, entries: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&run.to_be_bytes());
    hasher.update(&block.to_be_bytes());
    hasher.update(entries);
    hasher.finalize()
}

/// Writes a run. What it wrote is of no use until [`RunWriter::finish`].
#[derive(Debug)]
pub(super) struct RunWriter {
    id: u64,
    path: PathBuf,
    out: BufWriter<File>,
    block: Vec<u8>,
    firsts: Vec<u64>,
    entries: u64,
}

impl RunWriter {
    /// A new run in a folder.
    pub(super) fn create(folder: &Path, id: u64) -> Result<Self, KeyIndexError> {
        let path = folder.join(file_name(id));
        let file = File::create(&path).map_err(disk("creating", &path))?;
        let out = BufWriter::with_capacity(WRITTEN_AT_ONCE, file);
        let block = Vec::with_capacity(BLOCK);
        Ok(Self { id, path, out, block, firsts: vec![], entries: 0 })
    }

    /// Adds an entry; they come sorted.
    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), KeyIndexError> {
        if self.block.is_empty() {
            self.firsts.push(entry.first());
        }
        self.block.extend_from_slice(entry.bytes());
        self.entries += 1;
        if self.block.len() == PER_BLOCK * ENTRY { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), KeyIndexError> {
        self.block.resize(BLOCK - 4, 0);
        let number = self.firsts.len() as u64 - 1;
        let checksum = checksum_of_block(self.id, number, &self.block);
        self.block.extend_from_slice(&checksum.to_be_bytes());
        self.out.write_all(&self.block).map_err(disk("writing", &self.path))?;
        self.block.clear();
        Ok(())
    }

    /// Completes the run.
    pub(super) fn finish(mut self, files: &[Covered]) -> Result<Run, KeyIndexError> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let names = serde_json::to_vec(files).map_err(io::Error::from);
        let names = names.map_err(disk("describing", &self.path))?;
        let mut footer: Vec<u8> = self.firsts.iter().flat_map(|f| f.to_be_bytes()).collect();
        footer.extend_from_slice(&names);
        footer.extend_from_slice(MAGIC);
        footer.extend_from_slice(&self.id.to_be_bytes());
        footer.extend_from_slice(&self.entries.to_be_bytes());
        footer.extend_from_slice(&(names.len() as u64).to_be_bytes());
        footer.extend_from_slice(&crc32fast::hash(&footer).to_be_bytes());
        self.out.write_all(&footer).map_err(disk("writing", &self.path))?;
        self.out.flush().map_err(disk("writing", &self.path))?;
        drop(self.out);
        Run::open(&self.path, self.id)
    }
}

/// A complete run.
#[derive(Debug)]
pub(super) struct Run {
    id: u64,
    path: PathBuf,
    file: File,
    firsts: Vec<u64>,
    entries: u64,
    bytes: u64,
    files: Vec<Covered>,
}

impl Run {
    /// Opens a run and checks all but its blocks, which are checked as they are read.
    pub(super) fn open(path: &Path, id: u64) -> Result<Self, KeyIndexError> {
        let file = File::open(path).map_err(disk("opening", path))?;
        let bytes = file.metadata().map_err(disk("opening", path))?.len();
        let damaged = |why| KeyIndexError::Damaged { path: path.to_owned(), why };
        let end = bytes.checked_sub(TRAILER as u64).ok_or_else(|| damaged("it is too short"))?;
        let mut trailer = [0; TRAILER];
        read_at(&file, path, &mut trailer, end)?;
        let number = |from: usize| first_of(&trailer[from..]);
        let (entries, names) = (number(16), number(24));
        if trailer[..8] != *MAGIC || number(8) != id {
            return Err(damaged("it is not this run"));
        }
        let blocks = entries.div_ceil(PER_BLOCK as u64);
        let footer = blocks.checked_mul(8).and_then(|firsts| firsts.checked_add(names));
        let start = blocks.checked_mul(BLOCK as u64);
        let whole = start.zip(footer).and_then(|(start, footer)| start.checked_add(footer));
        let (Some(start), true) = (start, whole == Some(end)) else {
            return Err(damaged("its length is not what its trailer says"));
        };
        let mut footer = vec![0; (bytes - start) as usize];
        read_at(&file, path, &mut footer, start)?;
        let (checked, checksum) = footer.split_at(footer.len() - 4);
        if crc32fast::hash(checked).to_be_bytes() != *checksum {
            return Err(damaged("its footer does not match its checksum"));
        }
        let (firsts, rest) = checked.split_at(blocks as usize * 8);
        let files = serde_json::from_slice(&rest[..names as usize])
            .map_err(|_| damaged("its files cannot be read"))?;
        let firsts = firsts.chunks_exact(8).map(first_of).collect();
        Ok(Self { id, path: path.to_owned(), file, firsts, entries, bytes, files })
    }

    /// Its number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Its entries, those of dead files included.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Its size on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The files that it covers.
    pub(super) fn files(&self) -> &[Covered] {
        &self.files
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `found` with each entry that has one of the hashes, which are sorted, and with the index of the hash.
    pub(super) fn find(
        &self,
        hashes: &[KeyHash],
        found: &mut impl FnMut(usize, Entry),
    ) -> Result<(), KeyIndexError> {
        let mut block = Blocks::new(self, 1);
        let mut from = 0;
        for (index, hash) in hashes.iter().enumerate() {
            let first = first_of(hash);
            // Hashes are sorted: none is in a block before that of the last one.
            from += self.firsts[from..].partition_point(|f| *f < first);
            from = from.saturating_sub(1);
            let may_hold = self.firsts[from..].iter().take_while(|f| **f <= first).count();
            for number in from..from + may_hold {
                let entries = block.read(number)?;
                let start = entries.partition_point(|entry| entry[..KEY] < hash[..]);
                for entry in entries[start..].iter().take_while(|entry| entry[..KEY] == hash[..]) {
                    found(index, Entry::of(*entry));
                }
            }
        }
        Ok(())
    }

    /// All entries, in order.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor { blocks: Blocks::new(self, AHEAD), block: 0, next: 0 }
    }
}

/// Reads entries in order.
pub(super) struct Cursor<'a> {
    blocks: Blocks<'a>,
    block: usize,
    next: usize,
}

impl Cursor<'_> {
    pub(super) fn next(&mut self) -> Result<Option<Entry>, KeyIndexError> {
        if self.block == self.blocks.run.firsts.len() {
            return Ok(None);
        }
        let entries = self.blocks.read(self.block)?;
        let entry = entries.get(self.next).map(|bytes| Entry::of(*bytes));
        self.next += 1;
        if self.next >= entries.len() {
            (self.block, self.next) = (self.block + 1, 0);
        }
        Ok(entry)
    }
}

/// Some blocks of a run in memory, checked.
struct Blocks<'a> {
    run: &'a Run,
    buffer: Vec<u8>,
    /// The blocks that the buffer holds.
    held: std::ops::Range<usize>,
    ahead: usize,
}

impl<'a> Blocks<'a> {
    fn new(run: &'a Run, ahead: usize) -> Self {
        Self { run, buffer: vec![], held: 0..0, ahead }
    }

    /// The entries of a block.
    fn read(&mut self, number: usize) -> Result<&[[u8; ENTRY]], KeyIndexError> {
        if !self.held.contains(&number) {
            self.fill(number)?;
        }
        let start = (number - self.held.start) * BLOCK;
        let entries = (self.run.entries as usize - number * PER_BLOCK).min(PER_BLOCK);
        Ok(self.buffer[start..start + entries * ENTRY].as_chunks().0)
    }

    fn fill(&mut self, from: usize) -> Result<(), KeyIndexError> {
        let Run { path, file, firsts, id, .. } = self.run;
        let until = (from + self.ahead).min(firsts.len());
        self.held = 0..0;
        self.buffer.resize((until - from) * BLOCK, 0);
        read_at(file, path, &mut self.buffer, (from * BLOCK) as u64)?;
        for (number, block) in (from..until).zip(self.buffer.chunks_exact(BLOCK)) {
            let (entries, checksum) = block.split_at(BLOCK - 4);
            if checksum_of_block(*id, number as u64, entries).to_be_bytes() != *checksum {
                let why = "a block does not match its checksum";
                return Err(KeyIndexError::Damaged { path: path.clone(), why });
            }
        }
        self.held = from..until;
        Ok(())
    }
}

/// Reads exactly these bytes; a file that ends before is damaged.
fn read_at(file: &File, path: &Path, into: &mut [u8], offset: u64) -> Result<(), KeyIndexError> {
    #[cfg(unix)]
    let read = std::os::unix::fs::FileExt::read_exact_at(file, into, offset);
    #[cfg(not(unix))]
    let read = read_with_another_handle(file, path, into, offset);
    read.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            KeyIndexError::Damaged { path: path.to_owned(), why: "it is too short" }
        }
        _ => disk("reading", path)(error),
    })
}

/// Other threads read through the same handle, so its offset cannot be used.
#[cfg(not(unix))]
fn read_with_another_handle(
    _shared: &File,
    path: &Path,
    into: &mut [u8],
    offset: u64,
) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(into)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::entry::{Hasher, VALUE};
    use super::*;

    fn files() -> Vec<Covered> {
        vec![Covered { id: 3, path: "s3://b/a.parquet".into(), bytes: 10, rows: 20 }]
    }

    /// Entries of the keys 0, 1, …, each at its own position.
    fn entries(keys: impl Iterator<Item = u32>) -> Vec<Entry> {
        let mut entries: Vec<_> = keys
            .enumerate()
            .map(|(at, key)| Entry::new(&hash(key), &[0; VALUE], 3, at as u32))
            .collect();
        entries.sort_unstable();
        entries
    }

    fn hash(key: u32) -> KeyHash {
        Hasher::new("secret").key(&key.to_be_bytes())
    }

    fn run(folder: &TempDir, entries: &[Entry]) -> Run {
        let mut writer = RunWriter::create(folder.path(), 7).unwrap();
        entries.iter().for_each(|entry| writer.push(entry).unwrap());
        writer.finish(&files()).unwrap()
    }

    /// The positions of each key.
    fn found(run: &Run, keys: &[u32]) -> Result<Vec<(u32, u32)>, KeyIndexError> {
        let mut hashes: Vec<_> = keys.iter().map(|key| (hash(*key), *key)).collect();
        hashes.sort_unstable();
        let sorted: Vec<_> = hashes.iter().map(|(hash, _)| *hash).collect();
        let mut found = Vec::new();
        run.find(&sorted, &mut |index, entry| found.push((hashes[index].1, entry.position())))?;
        found.sort_unstable();
        Ok(found)
    }

    #[test]
    fn blocks_are_whole_pages() {
        assert_eq!(PER_BLOCK * ENTRY + 4, BLOCK, "not a byte is lost");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn each_key_is_found_as_often_as_it_was_pushed(
            keys in proptest::collection::vec(0..200_u32, 0..1_000),
            probed in proptest::collection::btree_set(0..400_u32, 0..60),
        ) {
            let folder = TempDir::new().unwrap();
            let entries = entries(keys.iter().copied());
            let run = run(&folder, &entries);
            let probed: Vec<u32> = probed.into_iter().collect();
            let mut expected: Vec<(u32, u32)> = keys.iter().zip(0..).map(|(k, at)| (*k, at)).collect();
            expected.retain(|(key, _)| probed.contains(key));
            expected.sort_unstable();
            prop_assert_eq!(found(&run, &probed).unwrap(), expected);
            let mut cursor = run.cursor();
            let all: Vec<Entry> = std::iter::from_fn(|| cursor.next().unwrap()).collect();
            prop_assert_eq!(all, entries);
            prop_assert_eq!(run.files(), &files()[..]);
        }
    }

    /// A key that is there more often than a block holds.
    #[test]
    fn a_key_may_fill_blocks() {
        let folder = TempDir::new().unwrap();
        let run = run(&folder, &entries((0..1_000).map(|at| if at % 2 == 0 { 5 } else { at })));
        assert_eq!(found(&run, &[5]).unwrap().len(), 501);
        assert_eq!(found(&run, &[4]).unwrap().len(), 0);
    }

    /// Whatever happens to the file: an error or the truth, never a wrong answer.
    #[test]
    fn no_damage_goes_unnoticed() {
        let folder = TempDir::new().unwrap();
        let run = run(&folder, &entries(0..300));
        let keys: Vec<u32> = (0..300).collect();
        let truth = found(&run, &keys).unwrap();
        let path = run.path().to_owned();
        let whole = fs::read(&path).unwrap();
        let read = || Run::open(&path, 7).and_then(|run| found(&run, &keys));
        for at in (0..whole.len()).step_by(61).chain(whole.len() - TRAILER..whole.len()) {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            fs::write(&path, &changed).unwrap();
            assert!(read().is_err(), "a changed bit in byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(read().is_err(), "{at} bytes of {}", whole.len());
        }
        let mut swapped = whole.clone();
        swapped.copy_within(0..BLOCK, BLOCK);
        fs::write(&path, &swapped).unwrap();
        assert!(read().is_err(), "a block where another belongs");
        fs::write(&path, &whole).unwrap();
        assert!(Run::open(&path, 8).is_err(), "another run under its name");
        assert_eq!(read().unwrap(), truth);
    }
}
