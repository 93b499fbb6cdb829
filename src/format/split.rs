//! Bytes → the fields of one record. It neither reads nor remembers: who calls it has the bytes.
//!
//! A byte that means nothing costs one look into a table. A quote counts only at the start of a field.

/// What a byte can mean.
mod class {
    pub(super) const PLAIN: u8 = 0;
    pub(super) const DELIMITER: u8 = 1;
    pub(super) const LINE: u8 = 2;
    pub(super) const QUOTE: u8 = 3;
    pub(super) const ESCAPE: u8 = 4;
    pub(super) const NUL: u8 = 5;
}

/// Splits bytes in one dialect.
#[derive(Debug, Clone)]
pub(super) struct Splitter {
    classes: [u8; 256],
    delimiter: u8,
    quote: Option<u8>,
    /// The byte at the start of lines that are no records.
    comment: Option<u8>,
    /// Whether a CR that no LF follows ends a record.
    lone_cr_ends: bool,
    /// Fields of a record that are kept; more are only counted.
    most_fields: usize,
}

/// A field, as parts of the record's bytes or of its `rewritten` ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Where it is in the bytes, without its quotes.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it is in quotes.
    pub(super) quoted: bool,
    /// Where its text is in [`Record::rewritten`], if that differs from the bytes: a doubled quote, an escape.
    pub(super) rewritten: Option<(u32, u32)>,
}

/// The fields of a record. It is used again for the next one.
#[derive(Debug, Default, Clone)]
pub(super) struct Record {
    pub(super) fields: Vec<Field>,
    pub(super) rewritten: Vec<u8>,
    /// How many fields it has: those that are not kept, too.
    pub(super) count: usize,
    /// Whether a field holds a line break.
    pub(super) has_lines: bool,
    /// Whether a field holds a NUL byte.
    pub(super) has_nul: bool,
}

impl Record {
    /// The text of a field, as bytes.
    pub(super) fn text<'a>(&'a self, bytes: &'a [u8], field: &Field) -> &'a [u8] {
        match field.rewritten {
            Some((start, end)) => &self.rewritten[start as usize..end as usize],
            None => &bytes[field.start..field.end],
        }
    }

    /// Whether it has the fields of a record of this width. Delimiters without anything behind them, at its end, are
    /// none.
    pub(super) fn has_width(&self, width: usize) -> bool {
        let is_nothing = |field: &Field| !field.quoted && field.start == field.end;
        let are_nothing = || self.fields.iter().skip(width).all(is_nothing);
        let all_kept = self.fields.len() == self.count;
        self.count == width || self.count > width && all_kept && are_nothing()
    }

    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.rewritten.clear();
        (self.count, self.has_lines, self.has_nul) = (0, false, false);
    }
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// A quoted field has text behind its closing quote.
    TextAfterQuote,
    /// A quoted field has no closing quote.
    Unclosed,
}

impl Sign {
    /// As rescued rows say it.
    pub(super) const fn problem(self) -> &'static str {
        match self {
            Self::TextAfterQuote => "text after a closing quote",
            Self::Unclosed => "a quote that is not closed",
        }
    }
}

/// What the bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// A record of this length, its line ending included.
    Record(usize),
    /// An empty line of this length, or a comment.
    Blank(usize),
    /// The bytes end before the record does.
    Cut {
        /// Whether they end within quotes.
        in_quotes: bool,
    },
    /// No record.
    Broken {
        /// Why.
        sign: Sign,
        /// Where that shows.
        at: usize,
    },
}

impl Scan {
    /// How many of the bytes were looked through.
    pub(super) fn looked(self, bytes: &[u8]) -> usize {
        match self {
            Self::Record(length) | Self::Blank(length) => length,
            Self::Cut { .. } => bytes.len(),
            Self::Broken { at, .. } => at,
        }
    }
}

/// How a field ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With a delimiter: where the next one starts.
    Field(usize),
    /// With its record: where the next one starts.
    Record(usize),
    /// Not within the bytes.
    Cut {
        /// See [`Scan::Cut`].
        in_quotes: bool,
    },
    /// Wrongly: see [`Scan::Broken`].
    Broken { sign: Sign, at: usize },
}

/// Whether a line ends at a CR or LF.
enum LineEnd {
    /// Where the next line starts.
    Yes(usize),
    No,
    /// The next byte decides.
    Cut,
}

impl Splitter {
    /// For a dialect.
    pub(super) fn new(
        delimiter: u8,
        quote: Option<u8>,
        escape: Option<u8>,
        most_fields: usize,
    ) -> Self {
        let mut classes = [class::PLAIN; 256];
        classes[0] = class::NUL;
        classes[usize::from(b'\n')] = class::LINE;
        classes[usize::from(b'\r')] = class::LINE;
        if let Some(escape) = escape {
            classes[usize::from(escape)] = class::ESCAPE;
        }
        // A quote that escapes itself is a doubled quote.
        if let Some(quote) = quote {
            classes[usize::from(quote)] = class::QUOTE;
        }
        classes[usize::from(delimiter)] = class::DELIMITER;
        Self { classes, delimiter, quote, comment: None, lone_cr_ends: true, most_fields }
    }

    /// The same, where lines that begin with a byte are no records.
    pub(super) fn with_comment(mut self, comment: Option<u8>) -> Self {
        self.comment = comment;
        self
    }

    /// Whether bytes at the start of a line are a comment.
    pub(super) fn is_comment(&self, bytes: &[u8]) -> bool {
        self.comment.is_some() && bytes.first().copied() == self.comment
    }

    /// The first record has ended so. A lone CR ends records only where it ended that one: in other files
    /// it is text.
    pub(super) fn first_ended(&mut self, record: &[u8]) {
        self.lone_cr_ends = !record.ends_with(b"\n");
    }

    /// What `bytes` begin with; they are not empty. `last`: the file ends with them.
    pub(super) fn split(&self, bytes: &[u8], last: bool, record: &mut Record) -> Scan {
        record.clear();
        match self.line_end(bytes, 0, last) {
            LineEnd::Yes(length) => return Scan::Blank(length),
            LineEnd::Cut => return Scan::Cut { in_quotes: false },
            LineEnd::No => {}
        }
        if self.is_comment(bytes) {
            return match self.next_line(bytes, 0, last) {
                Some(length) => Scan::Blank(length),
                None if last => Scan::Blank(bytes.len()),
                None => Scan::Cut { in_quotes: false },
            };
        }
        let mut at = 0;
        loop {
            match self.field(bytes, at, last, record) {
                Ended::Field(next) => at = next,
                Ended::Record(length) => return Scan::Record(length),
                Ended::Cut { in_quotes } => return Scan::Cut { in_quotes },
                Ended::Broken { sign, at } => return Scan::Broken { sign, at },
            }
        }
    }

    /// Adds the field that starts at `start` to a record.
    pub(super) fn field(
        &self,
        bytes: &[u8],
        start: usize,
        last: bool,
        record: &mut Record,
    ) -> Ended {
        match bytes.get(start) {
            Some(byte) if Some(*byte) == self.quote => self.quoted(bytes, start, last, record),
            _ => self.unquoted(bytes, start, last, record),
        }
    }

    /// Where the next line starts, whatever quotes say; none where `bytes` end before.
    pub(super) fn next_line(&self, bytes: &[u8], start: usize, last: bool) -> Option<usize> {
        let mut at = start;
        loop {
            at += bytes[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
            match self.line_end(bytes, at, last) {
                LineEnd::Yes(next) => return Some(next),
                LineEnd::No => at += 1,
                LineEnd::Cut => return None,
            }
        }
    }

    /// Where the next delimiter is, whatever quotes say; else the end of `line`.
    pub(super) fn next_delimiter(&self, line: &[u8], start: usize) -> usize {
        let found = line[start..].iter().position(|byte| *byte == self.delimiter);
        found.map_or(line.len(), |offset| start + offset)
    }

    fn unquoted(&self, bytes: &[u8], start: usize, last: bool, record: &mut Record) -> Ended {
        let (mut at, mut text) = (start, Text::new(start, record));
        loop {
            at += self.plain(&bytes[at..]);
            let Some(byte) = bytes.get(at) else {
                if !last {
                    return Ended::Cut { in_quotes: false };
                }
                self.add(record, text, bytes, (start, at, false));
                return Ended::Record(at);
            };
            match self.classes[usize::from(*byte)] {
                class::DELIMITER => {
                    self.add(record, text, bytes, (start, at, false));
                    return Ended::Field(at + 1);
                }
                class::LINE => match self.line_end(bytes, at, last) {
                    LineEnd::Yes(next) => {
                        self.add(record, text, bytes, (start, at, false));
                        return Ended::Record(next);
                    }
                    LineEnd::Cut => return Ended::Cut { in_quotes: false },
                    LineEnd::No => at += 1,
                },
                class::ESCAPE => match bytes.get(at + 1) {
                    None if !last => return Ended::Cut { in_quotes: false },
                    None => at += 1,
                    Some(_) => at = self.escaped(bytes, at, record, &mut text),
                },
                other => {
                    record.has_nul |= other == class::NUL;
                    at += 1;
                }
            }
        }
    }

    fn quoted(&self, bytes: &[u8], open: usize, last: bool, record: &mut Record) -> Ended {
        let start = open + 1;
        let (mut at, mut text) = (start, Text::new(start, record));
        let within = match last {
            true => Ended::Broken { sign: Sign::Unclosed, at: bytes.len() },
            false => Ended::Cut { in_quotes: true },
        };
        loop {
            at += self.plain(&bytes[at..]);
            let Some(byte) = bytes.get(at) else { return within };
            match (self.classes[usize::from(*byte)], bytes.get(at + 1)) {
                (class::QUOTE, Some(next)) if Some(*next) == self.quote => {
                    text.copy(&bytes[..=at], record);
                    text.from = at + 2;
                    at += 2;
                }
                (class::QUOTE, None) if !last => return within,
                (class::QUOTE, _) => break,
                (class::ESCAPE, None) => return within,
                (class::ESCAPE, Some(_)) => at = self.escaped(bytes, at, record, &mut text),
                (kind, _) => {
                    record.has_lines |= kind == class::LINE;
                    record.has_nul |= kind == class::NUL;
                    at += 1;
                }
            }
        }
        self.closed(bytes, (start, at), last, record, text)
    }

    /// The end of a quoted field, whose closing quote is at `close`. Blanks behind it are a part of the field, as
    /// in other readers.
    fn closed(
        &self,
        bytes: &[u8],
        (start, close): (usize, usize),
        last: bool,
        record: &mut Record,
        mut text: Text,
    ) -> Ended {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t') && *byte != self.delimiter;
        let blanks = bytes[close + 1..].iter().take_while(|byte| is_blank(byte)).count();
        let after = close + 1 + blanks;
        let ended = match bytes.get(after) {
            None if !last => return Ended::Cut { in_quotes: false },
            None => Ended::Record(after),
            Some(byte) if *byte == self.delimiter => Ended::Field(after + 1),
            Some(_) => match self.line_end(bytes, after, last) {
                LineEnd::Yes(next) => Ended::Record(next),
                LineEnd::Cut => return Ended::Cut { in_quotes: false },
                LineEnd::No => {
                    return Ended::Broken { sign: Sign::TextAfterQuote, at: after };
                }
            },
        };
        if blanks > 0 {
            text.copy(&bytes[..close], record);
            text.from = close + 1;
            self.add(record, text, bytes, (start, after, true));
        } else {
            self.add(record, text, bytes, (start, close, true));
        }
        ended
    }

    /// An escape at `at` and the byte behind it, which means nothing but itself: where to go on.
    fn escaped(&self, bytes: &[u8], at: usize, record: &mut Record, text: &mut Text) -> usize {
        text.copy(&bytes[..at], record);
        text.from = at + 1;
        record.has_lines |= matches!(bytes[at + 1], b'\n' | b'\r');
        record.has_nul |= bytes[at + 1] == 0;
        at + 2
    }

    fn add(
        &self,
        record: &mut Record,
        mut text: Text,
        bytes: &[u8],
        (start, end, quoted): (usize, usize, bool),
    ) {
        record.count += 1;
        if record.fields.len() >= self.most_fields {
            return;
        }
        let rewritten = (text.from != start).then(|| {
            text.copy(&bytes[..end], record);
            (text.start as u32, record.rewritten.len() as u32)
        });
        record.fields.push(Field { start, end, quoted, rewritten });
    }

    /// How many bytes mean nothing.
    fn plain(&self, bytes: &[u8]) -> usize {
        let special = |byte: &u8| self.classes[usize::from(*byte)] != class::PLAIN;
        bytes.iter().position(special).unwrap_or(bytes.len())
    }

    fn line_end(&self, bytes: &[u8], at: usize, last: bool) -> LineEnd {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\n'), _) => LineEnd::Yes(at + 1),
            (Some(b'\r'), Some(b'\n')) => LineEnd::Yes(at + 2),
            (Some(b'\r'), Some(_)) if self.lone_cr_ends => LineEnd::Yes(at + 1),
            (Some(b'\r'), None) if last => LineEnd::Yes(at + 1),
            (Some(b'\r'), None) => LineEnd::Cut,
            _ => LineEnd::No,
        }
    }
}

/// The text of a field while it is rewritten.
#[derive(Debug, Clone, Copy)]
struct Text {
    /// Where it starts in [`Record::rewritten`].
    start: usize,
    /// The first of its bytes that are not copied there.
    from: usize,
}

impl Text {
    fn new(from: usize, record: &Record) -> Self {
        Self { start: record.rewritten.len(), from }
    }

    /// Copies what is not copied yet, to the end of `bytes`.
    fn copy(&mut self, bytes: &[u8], record: &mut Record) {
        record.rewritten.extend_from_slice(&bytes[self.from.min(bytes.len())..]);
        self.from = bytes.len();
    }
}
