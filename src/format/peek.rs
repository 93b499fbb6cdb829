//! An input whose first bytes are known before it is read.

use std::io::{Error, ErrorKind, Read, Result};

/// Bytes of the head.
const HEAD: usize = 512;

/// See the module.
pub(super) struct Peeked {
    head: Vec<u8>,
    /// Bytes of the head that were read.
    read: usize,
    /// A failure that came after the head.
    failed: Option<Error>,
    input: Box<dyn Read + Send>,
}

impl Peeked {
    /// Looks at an input. A failure of it comes when it is read.
    pub(super) fn new(mut input: Box<dyn Read + Send>) -> Self {
        let (mut head, mut length, mut failed) = (vec![0; HEAD], 0, None);
        while length < HEAD {
            match input.read(&mut head[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        head.truncate(length);
        Self { head, read: 0, failed, input }
    }

    /// The first bytes that are not read yet.
    pub(super) fn head(&self) -> &[u8] {
        &self.head[self.read..]
    }

    /// Passes over some of them.
    pub(super) fn skip(&mut self, length: usize) {
        self.read = (self.read + length).min(self.head.len());
    }
}

impl Read for Peeked {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let head = self.head();
        if !head.is_empty() {
            let length = head.len().min(buffer.len());
            buffer[..length].copy_from_slice(&head[..length]);
            self.read += length;
            return Ok(length);
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.input.read(buffer),
        }
    }
}
