//! A stream of JSON → its records: lines, objects that follow each other in any layout, the elements of arrays,
//! and those of `{"Records": […]}`.
//!
//! What is no JSON costs its own lines: records go on at the next line that begins as the broken record did.

use super::super::blocks::Blocks;
use super::super::{FormatError, Limits};
use super::scan::{self, Member, Stop};

/// What the unread bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// An object, whose members were found.
    Object { length: usize },
    /// Something else, and what is wrong with it.
    Odd { length: usize, why: &'static str },
}

/// What the records are inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Nothing: they follow each other.
    Stream,
    /// An array.
    Array,
    /// The array of `{"Records": […]}`.
    Envelope,
    /// Such an object, behind its array.
    EnvelopeEnd,
}

/// See the module.
pub(super) struct Records {
    blocks: Blocks,
    limits: Limits,
    inside: Inside,
    /// The blanks before the next byte, where there is nothing else before it on its line.
    indent: Option<usize>,
    /// Records found so far.
    rows: u64,
}

/// The key of arrays in which AWS wraps records.
const WRAPPER: &[u8] = b"\"Records\"";
/// Bytes in which a wrapper begins, if it is one.
const WRAPPER_BYTES: usize = 256;

impl Records {
    pub(super) fn new(blocks: Blocks, limits: Limits) -> Self {
        Self { blocks, limits, inside: Inside::Stream, indent: Some(0), rows: 0 }
    }

    /// Records found so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The bytes that the record found begins.
    pub(super) fn bytes(&self) -> &[u8] {
        self.blocks.unread()
    }

    /// Goes on behind a record.
    pub(super) fn consume(&mut self, length: usize) {
        self.rows += 1;
        let ends_line = self.blocks.unread()[..length].ends_with(b"\n");
        self.indent = ends_line.then_some(0);
        self.blocks.consume(length);
    }

    /// Passes what is no record.
    fn pass(&mut self, length: usize) {
        let passed = &self.blocks.unread()[..length];
        let line = passed.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let blank = passed[line..].iter().all(|byte| is_blank(*byte));
        let before = if line > 0 { Some(0) } else { self.indent };
        self.indent = before.filter(|_| blank).map(|indent| indent + length - line);
        self.blocks.consume(length);
    }

    fn more(&mut self) -> Result<(), FormatError> {
        self.blocks.more().map_err(FormatError::of_read)
    }

    /// What comes next; none at the end of the file.
    pub(super) fn next(&mut self, members: &mut Vec<Member>) -> Result<Option<Found>, FormatError> {
        loop {
            self.pass_separators()?;
            let Some(first) = self.blocks.unread().first().copied() else {
                return match self.inside {
                    Inside::Stream => Ok(None),
                    _ => Err(self.endless("an array is not closed, the file ends too early")),
                };
            };
            match (first, self.inside) {
                (b'[', Inside::Stream) => (self.inside, _) = (Inside::Array, self.pass(1)),
                (b']', Inside::Array) => (self.inside, _) = (Inside::Stream, self.pass(1)),
                (b']', Inside::Envelope) => (self.inside, _) = (Inside::EnvelopeEnd, self.pass(1)),
                (b'}', Inside::EnvelopeEnd) => (self.inside, _) = (Inside::Stream, self.pass(1)),
                (b'{', Inside::Stream) => match self.wrapper()? {
                    Some(length) => (self.inside, _) = (Inside::Envelope, self.pass(length)),
                    None => return self.object(members).map(Some),
                },
                (b'{', Inside::Array | Inside::Envelope) => return self.object(members).map(Some),
                (_, Inside::EnvelopeEnd) => return self.beside_wrapper(members).map(Some),
                _ => return self.no_object().map(Some),
            }
        }
    }

    /// Passes blanks, commas between records, byte order marks within files that were put together, and the
    /// separators of RFC 7464. Behind the array of a wrapper a comma is none.
    fn pass_separators(&mut self) -> Result<(), FormatError> {
        loop {
            let (bytes, comma) = (self.blocks.unread(), self.inside != Inside::EnvelopeEnd);
            let separates = |byte: &u8| {
                is_blank(*byte) || matches!(byte, b'\n' | b'\r' | 0x1E) || comma && *byte == b','
            };
            let length = bytes.iter().take_while(|byte| separates(byte)).count();
            let rest = &bytes[length..];
            let (is_last, cut) = (self.blocks.is_last(), MARK.starts_with(rest));
            let marked = rest.starts_with(MARK);
            self.pass(length + if marked { MARK.len() } else { 0 });
            if marked {
                self.indent = Some(0);
            } else if !cut || is_last {
                return Ok(());
            } else {
                // Blanks alone, or the beginning of a byte order mark.
                self.more()?;
            }
        }
    }

    /// The length of `{"Records": [` if the file goes on so.
    fn wrapper(&mut self) -> Result<Option<usize>, FormatError> {
        while self.blocks.unread().len() < WRAPPER_BYTES && !self.blocks.is_last() {
            self.more()?;
        }
        let bytes = self.blocks.unread();
        let bytes = &bytes[..bytes.len().min(WRAPPER_BYTES)];
        let mut rest = bytes;
        for part in [b"{", WRAPPER, b":", b"["] {
            let blanks = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
            match rest[blanks..].strip_prefix(part) {
                Some(after) => rest = after,
                None => return Ok(None),
            }
        }
        Ok(Some(bytes.len() - rest.len()))
    }

    fn object(&mut self, members: &mut Vec<Member>) -> Result<Found, FormatError> {
        loop {
            let bytes = self.blocks.unread();
            let stop = match scan::object(bytes, members, self.limits.columns) {
                Ok(length) if length as u64 > self.limits.record_bytes => {
                    return Err(self.too_long());
                }
                Ok(length) => return Ok(Found::Object { length }),
                Err(stop) => stop,
            };
            match stop {
                Stop::Wide => return Err(FormatError::TooManyKeys { limit: self.limits.columns }),
                Stop::Broken { at, why } => return self.broken(at, why),
                Stop::Cut if bytes.len() as u64 > self.limits.record_bytes => {
                    return Err(self.too_long());
                }
                Stop::Cut if self.blocks.is_last() => {
                    let at = bytes.len();
                    return self.broken(at, "the file ends inside of it");
                }
                Stop::Cut => self.more()?,
            }
        }
    }

    /// Members behind the array of a wrapper: they are no records.
    fn beside_wrapper(&mut self, members: &mut Vec<Member>) -> Result<Found, FormatError> {
        let begins = self.blocks.unread().first() == Some(&b',');
        match self.object(members)? {
            Found::Object { length } if begins => {
                self.inside = Inside::Stream;
                Ok(Found::Odd { length, why: "members behind `Records`" })
            }
            _ => Err(self.endless("behind the array of `Records` is no JSON")),
        }
    }

    /// Anything but an object: to the end of its value, or of its line.
    fn no_object(&mut self) -> Result<Found, FormatError> {
        loop {
            let (bytes, is_last) = (self.blocks.unread(), self.blocks.is_last());
            let in_array = self.inside != Inside::Stream;
            let ends = |byte: &u8| *byte == b'\n' || in_array && matches!(byte, b',' | b']');
            let value = if in_array { scan::value(bytes) } else { Err(NO_VALUE) };
            let length = match value {
                Ok(length) if length < bytes.len() || is_last => Some(length),
                Ok(_) | Err(Stop::Cut) if !is_last => None,
                _ => bytes.iter().position(ends).or(is_last.then_some(bytes.len())),
            };
            match length {
                Some(length) => return Ok(Found::Odd { length, why: "not a JSON object" }),
                None if bytes.len() as u64 > self.limits.record_bytes => {
                    return Err(self.too_long());
                }
                None => self.more()?,
            }
        }
    }

    /// A record that is no JSON from byte `at` on: it ends with its line, if that looks whole; else where a line
    /// begins as it did.
    fn broken(&mut self, at: usize, why: &'static str) -> Result<Found, FormatError> {
        let Some(indent) = self.indent else { return self.broken_within_line(why) };
        loop {
            let (bytes, is_last) = (self.blocks.unread(), self.blocks.is_last());
            let in_array = self.inside != Inside::Stream;
            let whole = line(bytes).filter(|line| at <= *line && ends_whole(&bytes[..*line]));
            if let Some(length) = whole.or_else(|| next_like(bytes, indent, in_array)) {
                return Ok(Found::Odd { length, why });
            }
            if bytes.len() as u64 > self.limits.record_bytes {
                return Err(self.endless(why));
            }
            match (is_last, self.inside) {
                (true, Inside::Stream) => return Ok(Found::Odd { length: bytes.len(), why }),
                (true, _) => return Err(self.endless(why)),
                (false, _) => self.more()?,
            }
        }
    }

    /// The same where other records stand before it on its line: only its braces can show where it ends.
    fn broken_within_line(&mut self, why: &'static str) -> Result<Found, FormatError> {
        loop {
            let bytes = self.blocks.unread();
            match balanced(bytes) {
                Some(length) => return Ok(Found::Odd { length, why }),
                None if self.blocks.is_last() => return Err(self.endless(why)),
                None if bytes.len() as u64 > self.limits.record_bytes => {
                    return Err(self.endless(why));
                }
                None => self.more()?,
            }
        }
    }

    fn too_long(&self) -> FormatError {
        FormatError::RecordTooLong { limit: self.limits.record_bytes, row: self.rows }
    }

    fn endless(&self, why: &'static str) -> FormatError {
        FormatError::NotJson { row: self.rows, why }
    }
}

/// Between lines there are no other values than objects.
const NO_VALUE: Stop = Stop::Broken { at: 0, why: "not an object" };

/// The byte order mark of UTF-8.
const MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The length of the first line, without its end; none where that is not there yet.
fn line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// Whether a line ends as an object does.
fn ends_whole(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    line.strip_suffix(b",").unwrap_or(line).ends_with(b"}")
}

/// Where a line begins that has as many blanks and a brace behind them, or that closes the array.
fn next_like(bytes: &[u8], indent: usize, in_array: bool) -> Option<usize> {
    let mut at = 0;
    while let Some(length) = line(&bytes[at..]) {
        at += length + 1;
        let blanks = bytes[at..].iter().take_while(|byte| is_blank(**byte)).count();
        match bytes.get(at + blanks) {
            Some(b'{') if blanks == indent => return Some(at),
            Some(b']') if in_array && blanks <= indent => return Some(at),
            _ => {}
        }
    }
    None
}

/// The end of an object by its braces alone.
fn balanced(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => match depth {
                0 | 1 => return Some(at + 1),
                _ => depth -= 1,
            },
            _ => {}
        }
    }
    None
}
