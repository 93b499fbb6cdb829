//! The bytes of a Parquet file, in blocks: a page and its header are a few bytes each, and a request for each would
//! be slow. Few blocks are kept (I7).

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::super::read_at::ReadAt;

/// Bounds on the bytes of a block.
const SMALLEST: usize = 64 * 1024;
/// See [`SMALLEST`].
const LARGEST: usize = 1024 * 1024;
/// Bytes of all blocks that are kept.
pub(super) const KEPT: usize = 4 * 1024 * 1024;
/// The largest page, as it is packed.
const PAGE: usize = 64 * 1024 * 1024;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Chunks {
    at: Arc<dyn ReadAt>,
    size: u64,
    block: usize,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Blocks by their number, the one read last at the end.
    blocks: VecDeque<(u64, Bytes)>,
    /// The first failure of the input: the readers of Parquet keep only its text.
    failed: Option<std::io::Error>,
}

impl Chunks {
    /// For a file whose columns are read side by side.
    pub(super) fn new(at: Arc<dyn ReadAt>, size: u64, columns: usize) -> Self {
        let block = (KEPT / columns.max(1)).clamp(SMALLEST, LARGEST);
        Self { at, size, block, kept: Arc::default() }
    }

    /// The first failure of the input, once.
    pub(super) fn failure(&self) -> Option<std::io::Error> {
        self.kept().failed.take()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        self.at.read_at(offset, length).map_err(|error| {
            let text = error.to_string();
            self.kept().failed.get_or_insert(error);
            ParquetError::General(text)
        })
    }

    /// The bytes from an offset on to the end of its block.
    fn rest_of_block(&self, offset: u64) -> Result<Bytes> {
        let number = offset / self.block as u64;
        let start = number * self.block as u64;
        let behind = (offset - start) as usize;
        let mut kept = self.kept();
        let known = kept.blocks.iter().position(|(kept, _)| *kept == number);
        if let Some(block) = known.and_then(|index| kept.blocks.remove(index)) {
            let bytes = block.1.clone();
            kept.blocks.push_back(block);
            return Ok(bytes.slice(behind..));
        }
        drop(kept);
        let length = (self.size - start).min(self.block as u64) as usize;
        let bytes = self.read(start, length)?;
        let mut kept = self.kept();
        while kept.blocks.len() >= (KEPT / self.block).max(2) {
            kept.blocks.pop_front();
        }
        kept.blocks.push_back((number, bytes.clone()));
        Ok(bytes.slice(behind..))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Chunks {
    type T = FromOffset;

    fn get_read(&self, start: u64) -> Result<FromOffset> {
        Ok(FromOffset { chunks: self.clone(), at: start, rest: Bytes::new(), ended: false })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.size);
        if end.is_none() {
            return Err(ParquetError::EOF("a page ends behind the file".to_owned()));
        }
        if length > PAGE {
            return Err(ParquetError::General(format!("a page has {length} bytes")));
        }
        if length > self.block {
            return self.read(start, length);
        }
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let rest = self.rest_of_block(start + bytes.len() as u64)?;
            bytes.extend_from_slice(&rest[..rest.len().min(length - bytes.len())]);
        }
        Ok(bytes.into())
    }
}

/// The bytes from an offset on. Headers are read byte by byte, so it keeps the rest of its block.
pub(super) struct FromOffset {
    chunks: Chunks,
    /// Where the next block begins that is read.
    at: u64,
    rest: Bytes,
    /// Whether its reader knows that nothing follows.
    ended: bool,
}

impl Read for FromOffset {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() && self.at < self.chunks.size {
            self.rest = self.chunks.rest_of_block(self.at).map_err(std::io::Error::other)?;
            self.at += self.rest.len() as u64;
        }
        // The crate passes the members of a list that it does not know one by one, and does not look whether there are
        // any: behind the end that goes on two thousand million times.
        if self.rest.is_empty() && std::mem::replace(&mut self.ended, true) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}
