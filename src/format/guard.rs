//! The guard before a reader of text: it refuses bytes that are not text, and records without end.
//!
//! It belongs after whatever unpacks the bytes, and before whatever splits them into records.

use std::io::{Error, Read, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The byte order mark of UTF-8.
const UTF8_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
/// Those of UTF-16.
const UTF16_MARKS: [[u8; 2]; 2] = [[0xFF, 0xFE], [0xFE, 0xFF]];

/// Why the guard refuses to read on; it is inside the [`Error`] that `read` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// A NUL byte, or the byte order mark of UTF-16.
    #[error("not text")]
    NotText,
    /// More bytes than the limit since the last record began.
    #[error("record too long")]
    RecordTooLong,
}

impl Refused {
    /// The refusal inside an error of `read`, or else that error.
    pub(super) fn of(error: Error) -> std::result::Result<Self, Error> {
        error.downcast::<Self>()
    }
}

/// See the module. The byte order mark of UTF-8 is passed over: it is not part of the first name.
pub(super) struct Guard<R> {
    input: R,
    /// The start, which was read to look for a byte order mark, and is still to be delivered.
    start: Option<Vec<u8>>,
    since_record: Arc<AtomicU64>,
    limit: u64,
}

/// Where the reader behind a [`Guard`] says that a record begins.
#[derive(Debug, Clone)]
pub(super) struct Records(Arc<AtomicU64>);

impl Records {
    /// The next record begins. The bytes that the reader has buffered count as read: a limit is exact
    /// to the size of that buffer.
    pub(super) fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl<R: Read> Guard<R> {
    /// Guards `input`; a record may have `record_bytes`.
    pub(super) fn new(input: R, record_bytes: u64) -> (Self, Records) {
        let since_record = Arc::new(AtomicU64::new(0));
        let records = Records(since_record.clone());
        (Self { input, start: None, since_record, limit: record_bytes }, records)
    }

    /// The first bytes without a byte order mark, however few of them the input delivers at a time.
    fn start(&mut self) -> Result<Vec<u8>> {
        let mut start = Vec::with_capacity(UTF8_MARK.len());
        self.input.by_ref().take(UTF8_MARK.len() as u64).read_to_end(&mut start)?;
        if UTF16_MARKS.iter().any(|mark| start.starts_with(mark)) {
            return Err(Error::other(Refused::NotText));
        }
        if start == UTF8_MARK {
            start.clear();
        }
        Ok(start)
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.since_record.load(Ordering::Relaxed) > self.limit {
            return Err(Error::other(Refused::RecordTooLong));
        }
        let start = match &mut self.start {
            Some(start) => start,
            None => {
                let start = self.start()?;
                self.start.insert(start)
            }
        };
        let read = match start.is_empty() {
            true => self.input.read(buffer)?,
            false => {
                let length = start.len().min(buffer.len());
                buffer[..length].copy_from_slice(&start[..length]);
                start.drain(..length);
                length
            }
        };
        if buffer[..read].contains(&0) {
            return Err(Error::other(Refused::NotText));
        }
        self.since_record.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delivers at most so many bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let length = buffer.len().min(self.1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn guarded(bytes: &[u8], piece: usize) -> std::result::Result<Vec<u8>, Refused> {
        let mut read = Vec::new();
        let (mut guard, _) = Guard::new(Pieces(bytes, piece), 100);
        match guard.read_to_end(&mut read) {
            Ok(_) => Ok(read),
            Err(error) => Err(Refused::of(error).unwrap()),
        }
    }

    #[test]
    fn only_the_mark_at_the_start_is_passed_over() {
        for piece in [1, 2, 3, 4, 100] {
            for (bytes, expected) in [
                (b"\xEF\xBB\xBFid,n\n1,2\n".as_slice(), b"id,n\n1,2\n".as_slice()),
                (b"\xEF\xBB\xBF", b""),
                (b"", b""),
                (b"i", b"i"),
                (b"\xEF\xBBx", b"\xEF\xBBx"),
                (b"id\xEF\xBB\xBF", b"id\xEF\xBB\xBF"),
            ] {
                assert_eq!(guarded(bytes, piece).unwrap(), expected, "{bytes:?} by {piece}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        for piece in [1, 2, 3, 100] {
            for bytes in [b"\xFF\xFEi\0".as_slice(), b"\xFE\xFF\0i", b"id\n1\0\n", b"\0"] {
                assert_eq!(guarded(bytes, piece), Err(Refused::NotText), "{bytes:?} by {piece}");
            }
        }
    }

    #[test]
    fn a_record_without_end_is_refused_and_a_new_record_counts_anew() {
        assert_eq!(guarded(&[b'x'; 200], 10), Err(Refused::RecordTooLong));
        let (mut guard, records) = Guard::new(Pieces(&[b'x'; 200], 10), 100);
        let (mut buffer, mut all) = ([0; 10], 0);
        loop {
            records.begin();
            match guard.read(&mut buffer).unwrap() {
                0 => break,
                read => all += read,
            }
        }
        assert_eq!(all, 200);
    }
}
