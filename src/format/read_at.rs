//! The bytes of a file at any offset, for formats that are not read from their beginning to their end.

use std::fmt::Debug;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Reads a file at any offset.
///
/// # Contract
/// - `read_at` returns exactly `length` bytes of the version of the file that was opened, or an error. An error of the
///   raw store is the error's source. It may block.
/// - Calls may be repeated, in any order, and side by side.
pub trait ReadAt: Debug + Send + Sync {
    /// The bytes from `offset` on.
    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes>;
}

/// A file as its format needs it: from its first byte on, or at any offset.
pub struct Input {
    /// All bytes, in their order.
    pub bytes: Box<dyn Read + Send>,
    /// The bytes at any offset.
    pub at: Arc<dyn ReadAt>,
    /// How many there are.
    pub size: u64,
}

impl Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Input {
    /// A file of this machine.
    pub fn of_file(file: File) -> Result<Self> {
        let size = file.metadata()?.len();
        let at = Arc::new(FileAt::new(file.try_clone()?));
        Ok(Self { bytes: Box::new(file), at, size })
    }

    /// Bytes in memory.
    pub fn of_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        Self { bytes: Box::new(std::io::Cursor::new(bytes.clone())), at: Arc::new(bytes), size }
    }
}

/// A file of this machine at any offset. Its position is shared with whatever else reads the same file: it is read
/// either so or in its order.
#[derive(Debug)]
pub struct FileAt(Mutex<File>);

impl FileAt {
    /// An opened file.
    pub fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }
}

impl ReadAt for FileAt {
    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl ReadAt for Bytes {
    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let start = usize::try_from(offset).map_err(Error::other)?;
        let end = start.checked_add(length).filter(|end| *end <= self.len());
        end.map(|end| self.slice(start..end)).ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}
