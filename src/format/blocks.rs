//! The bytes of a file in blocks: a window over the input that grows only as far as a record needs.

use std::io::{ErrorKind, Read, Result};

/// Bytes that are read at a time.
const BLOCK: usize = 128 * 1024;

/// See the module.
pub(super) struct Blocks {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// The bytes of the buffer that are read and not consumed.
    unread: std::ops::Range<usize>,
    ended: bool,
    /// A failure of the input, kept until the bytes before it are consumed.
    failed: Option<std::io::Error>,
}

impl Blocks {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        Self { input, buffer: vec![], unread: 0..0, ended: false, failed: None }
    }

    /// The bytes that are read and not consumed.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Whether the file ends with them.
    pub(super) fn is_last(&self) -> bool {
        self.ended
    }

    /// Goes on behind the first `length` unread bytes.
    pub(super) fn consume(&mut self, length: usize) {
        self.unread.start = (self.unread.start + length).min(self.unread.end);
    }

    /// Reads a block more, or finds the end. The window at least doubles, so that a long record is searched
    /// a few times only. A failure of the input comes when what was read before it was not enough.
    pub(super) fn more(&mut self) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let wanted = self.unread.end + self.unread.end.max(BLOCK);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let before = self.unread.end;
        while self.unread.end < wanted && !self.ended {
            match self.input.read(&mut self.buffer[self.unread.end..wanted]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.unread.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if self.unread.end == before => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    /// Delivers a byte at a time, then fails.
    struct Failing(u8);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            match self.0 {
                0 => Err(Error::other("reset")),
                left => {
                    self.0 -= 1;
                    buffer[0] = left;
                    Ok(1)
                }
            }
        }
    }

    #[test]
    fn a_failure_comes_after_the_bytes_before_it() {
        let mut blocks = Blocks::new(Box::new(Failing(3)));
        blocks.more().unwrap();
        assert_eq!((blocks.unread(), blocks.is_last()), ([3, 2, 1].as_slice(), false));
        blocks.consume(2);
        assert!(blocks.more().is_err());
        assert_eq!(blocks.unread(), [1]);
    }

    #[test]
    fn the_window_doubles_and_keeps_what_is_not_consumed() {
        let bytes: Vec<u8> = (0..5 * BLOCK).map(|n| n as u8).collect();
        let mut blocks = Blocks::new(Box::new(std::io::Cursor::new(bytes.clone())));
        blocks.more().unwrap();
        assert_eq!(blocks.unread(), &bytes[..BLOCK]);
        blocks.consume(10);
        blocks.more().unwrap();
        assert_eq!(blocks.unread(), &bytes[10..2 * BLOCK]);
        while !blocks.is_last() {
            blocks.more().unwrap();
        }
        assert_eq!(blocks.unread(), &bytes[10..]);
    }
}
