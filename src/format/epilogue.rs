//! What may stand behind the records: the last lines of a text, held back while it is read, and dropped at its end.
//!
//! Blank lines are none, wherever they stand: those between and behind the lines that are dropped go with them.

use std::collections::VecDeque;
use std::io::{Error, Read, Result};

use super::FormatError;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// An input without its last lines.
pub(super) struct Epilogue<R> {
    input: R,
    /// How many lines are held back.
    lines: usize,
    /// Bytes of a line at most.
    limit: u64,
    /// What was read and not delivered.
    held: Vec<u8>,
    /// How much of it may be delivered.
    free: usize,
    /// Where the last lines begin, from the beginning of what is held.
    starts: VecDeque<usize>,
    /// Whether the next byte begins a line.
    at_start: bool,
    ended: bool,
}

impl<R: Read> Epilogue<R> {
    /// Without so many lines, each of at most `limit` bytes.
    pub(super) fn new(input: R, lines: usize, limit: u64) -> Self {
        Self {
            input,
            lines,
            limit,
            held: vec![],
            free: 0,
            starts: VecDeque::new(),
            at_start: true,
            ended: false,
        }
    }

    /// Reads on, and finds the lines of what was read.
    fn read_on(&mut self) -> Result<()> {
        let before = self.held.len();
        self.held.resize(before + CHUNK, 0);
        let read = self.input.read(&mut self.held[before..]);
        self.held.truncate(before + read.as_ref().map_or(0, |read| *read));
        if read? == 0 {
            self.ended = true;
            return Ok(());
        }
        for at in before..self.held.len() {
            let ends = matches!(self.held[at], b'\n' | b'\r');
            if self.at_start && !ends {
                self.starts.push_back(at);
            }
            self.at_start = ends;
        }
        let behind = self.starts.len().saturating_sub(self.lines);
        self.starts.drain(..behind);
        if self.starts.len() == self.lines {
            self.free = self.starts.front().copied().unwrap_or_default();
        }
        let held = (self.held.len() - self.free) as u64;
        // One of the lines is longer than a record may be (I7).
        if held > self.limit.saturating_mul(self.lines as u64).saturating_add(CHUNK as u64) {
            return Err(Error::other(FormatError::FooterTooLong { limit: self.limit }));
        }
        Ok(())
    }
}

impl<R: Read> Read for Epilogue<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.lines == 0 {
            return self.input.read(buffer);
        }
        while self.free == 0 && !self.ended {
            self.read_on()?;
        }
        let length = self.free.min(buffer.len());
        buffer[..length].copy_from_slice(&self.held[..length]);
        self.held.drain(..length);
        self.free -= length;
        self.starts.iter_mut().for_each(|start| *start -= length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delivers this many bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn the_last_lines_are_dropped_in_whatever_pieces_they_come() {
        for (text, lines, left) in [
            ("a\nb\nc\n", 0, "a\nb\nc\n"),
            ("a\nb\nc\n", 1, "a\nb\n"),
            ("a\nb\nc", 1, "a\nb\n"),
            ("a\nb\n\nc\n\n\n", 1, "a\nb\n\n"),
            ("a\r\nb\r\nc\r\nd", 2, "a\r\nb\r\n"),
            ("a\rb\rc\r", 2, "a\r"),
            ("a\nb\n", 2, ""),
            ("a\nb\n", 3, ""),
            ("\n\n", 1, ""),
            ("", 1, ""),
        ] {
            for piece in [1, 2, 3, 1_000] {
                let mut rest = String::new();
                let mut epilogue = Epilogue::new(Drops(text.as_bytes(), piece), lines, 100);
                epilogue.read_to_string(&mut rest).unwrap();
                assert_eq!(rest, left, "{text:?} without {lines}, {piece} bytes at a time");
            }
        }
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let long = "x".repeat(3 * CHUNK);
        let mut epilogue = Epilogue::new(long.as_bytes(), 2, 1_000);
        let error = epilogue.read_to_end(&mut vec![]).unwrap_err();
        let error = FormatError::of_read(error);
        assert!(matches!(error, FormatError::FooterTooLong { limit: 1_000 }), "{error}");
        // Lines that are short enough, however many there are.
        let many = "1,2\n".repeat(10 * CHUNK);
        let mut rest = vec![];
        Epilogue::new(many.as_bytes(), 2, 1_000).read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), many.len() - 8);
    }
}
