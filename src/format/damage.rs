//! Damage: where a record with a broken quote ends, and what of it is sure.
//!
//! A quote that is not closed swallows the records behind it, until another quote seems to close it. So a
//! broken quote costs its own lines only, up to the first line that surely is a record: one with exactly the
//! header's fields. Where no line is sure, the file is.

use super::split::{Ended, Field, Record, Scan, Splitter};

/// Lines that a broken record may have.
const MOST_LINES: usize = 100;

/// Where records go on behind a broken one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resync {
    /// Surely here.
    At(usize),
    /// The bytes are too few to say it.
    More,
    /// That cannot be known.
    Unsure,
}

/// Where records go on behind the broken one that `bytes` begin with. `last`: the file ends with them.
/// `looked` counts the bytes that the search looked through.
pub(super) fn resync(
    splitter: &Splitter,
    bytes: &[u8],
    last: bool,
    width: usize,
    looked: &mut u64,
) -> Resync {
    let mut at = 0;
    for lines in 1..=MOST_LINES {
        at = match splitter.next_line(bytes, at, last) {
            Some(next) => next,
            None if last => bytes.len(),
            None => return Resync::More,
        };
        match (at == bytes.len(), last) {
            (true, false) => return Resync::More,
            (true, true) if lines == 1 => return Resync::At(at),
            (true, true) => return Resync::Unsure,
            (false, _) => {}
        }
        // Any line of a file with one column looks like a record of it.
        match begins_record(splitter, &bytes[at..], last, width, looked) {
            _ if width < 2 => return Resync::Unsure,
            Some(true) => return Resync::At(at),
            Some(false) => {}
            None => return Resync::More,
        }
    }
    Resync::Unsure
}

/// Whether a record of exactly `width` fields begins here; none where the bytes are too few to say it. A line
/// that has that many fields is one, even if it has a broken quote of its own.
fn begins_record(
    splitter: &Splitter,
    bytes: &[u8],
    last: bool,
    width: usize,
    looked: &mut u64,
) -> Option<bool> {
    let end = match splitter.next_line(bytes, 0, last) {
        Some(end) => end,
        None if last => bytes.len(),
        None => return None,
    };
    *looked += end as u64;
    // It may be a line of the broken text: as a comment it would be lost.
    if splitter.is_comment(bytes) {
        return Some(false);
    }
    let mut record = Record::default();
    lenient(splitter, without_end(&bytes[..end]), &mut record);
    if record.has_width(width) {
        return Some(true);
    }
    let scan = splitter.split(bytes, last, &mut record);
    *looked += scan.looked(bytes) as u64;
    match scan {
        Scan::Record(_) => Some(record.has_width(width)),
        Scan::Cut { .. } => None,
        Scan::Blank(_) | Scan::Broken { .. } => Some(false),
    }
}

/// Splits one line as if it were a record, and says which of its fields are broken: each of these goes to the
/// next delimiter, quotes included.
pub(super) fn lenient(splitter: &Splitter, line: &[u8], record: &mut Record) -> Vec<usize> {
    record.clear();
    let (mut at, mut broken) = (0, vec![]);
    loop {
        match splitter.field(line, at, true, record) {
            Ended::Field(next) => at = next,
            Ended::Record(_) => return broken,
            Ended::Cut { .. } | Ended::Broken { .. } => {
                let end = splitter.next_delimiter(line, at);
                broken.push(record.count);
                record.count += 1;
                record.fields.push(Field { start: at, end, quoted: false, rewritten: None });
                if end == line.len() {
                    return broken;
                }
                at = end + 1;
            }
        }
    }
}

/// Whether a record is of one line.
pub(super) fn is_one_line(splitter: &Splitter, record: &[u8]) -> bool {
    splitter.next_line(record, 0, true).is_none_or(|next| next == record.len())
}

/// How many lines a record has, if each of them looks like a record of its own. Two quotes in different records
/// can pair up, and nothing but this shows it.
pub(super) fn lines_like_records(splitter: &Splitter, bytes: &[u8], width: usize) -> Option<usize> {
    let (mut at, mut lines, mut first) = (0, 0, None);
    let mut record = Record::default();
    while at < bytes.len() {
        let next = splitter.next_line(bytes, at, true).unwrap_or(bytes.len());
        let line = without_end(&bytes[at..next]);
        lenient(splitter, line, &mut record);
        let field = record.fields.first()?;
        let pattern = pattern(record.text(line, field));
        if !record.has_width(width) || first.get_or_insert_with(|| pattern.clone()) != &pattern {
            return None;
        }
        (at, lines) = (next, lines + 1);
    }
    (width > 1 && lines > 1).then_some(lines)
}

/// What a text looks like: runs of digits, runs of alphabetic characters, and the rest.
fn pattern(text: &[u8]) -> Vec<u8> {
    let kind = |byte: &u8| match byte {
        b'0'..=b'9' => b'0',
        b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => b'a',
        other => *other,
    };
    let mut pattern: Vec<u8> = text.iter().map(kind).collect();
    pattern.dedup();
    pattern
}

/// A line without its line ending.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splitter() -> Splitter {
        let mut splitter = Splitter::new(b',', Some(b'"'), None, 100);
        splitter.first_ended(b"\n");
        splitter
    }

    fn sync(bytes: &[u8], last: bool, width: usize) -> Resync {
        resync(&splitter(), bytes, last, width, &mut 0)
    }

    #[test]
    fn records_go_on_at_the_first_line_that_surely_is_one() {
        for (bytes, width, expected) in [
            ("3,1,\"6 inch pipe\n4,2,fine\n", 3, Resync::At(17)),
            ("3,\"6 inch, pipe\n4,2,fine\n", 3, Resync::At(16)),
            ("3,1,\"6 inch\n4,2,\"8 inch\n5,3,fine\n", 3, Resync::At(12)),
            ("3,1,\"He said \"hi\"\nand left\"\n4,2,fine\n", 3, Resync::At(28)),
            ("3,1,\"6\n4,2,\"two\nlines, fine\"\n", 3, Resync::At(7)),
            ("3,1,\"the last line", 3, Resync::At(18)),
            ("3,1,\"the last line\n", 3, Resync::At(19)),
            ("3,1,\"He said \"hi\"\nand left\"\n", 3, Resync::Unsure),
            ("\"one column\ntwo\n", 1, Resync::Unsure),
            ("3,1,\"6 inch,\n4,2,fine,\n", 3, Resync::At(13)),
        ] {
            assert_eq!(sync(bytes.as_bytes(), true, width), expected, "{bytes:?}");
        }
        let cut = b"3,1,\"6 inch pipe\n4,2,fi";
        assert_eq!(sync(cut, false, 3), Resync::More);
        let long = format!("1,\"x\n{}2,y\n", "text\n".repeat(MOST_LINES));
        assert_eq!(sync(long.as_bytes(), true, 2), Resync::Unsure);
    }

    #[test]
    fn only_the_broken_fields_of_a_line_are_broken() {
        for (line, count, broken) in [
            ("3,\"a, b\",\"6 inch pipe", 3, vec![2]),
            ("3,\"6\" pipe,\"7\" pipe,4", 4, vec![1, 2]),
            ("3,six \" inch,4", 3, vec![]),
            ("", 1, vec![]),
        ] {
            let mut record = Record::default();
            assert_eq!(lenient(&splitter(), line.as_bytes(), &mut record), broken, "{line}");
            assert_eq!(record.count, count, "{line}");
        }
    }

    #[test]
    fn quotes_that_pair_up_across_records_are_suspected() {
        for (record, lines) in [
            ("2,7,\"pipe\n3,1,fine\n5,9,plate\"\n", Some(3)),
            ("2,7,\"two\nlines\"\n", None),
            ("2,7,\"a note, with a comma\nb, c, d\"\n", None),
            ("A-2,7,\"pipe\r\nB-77,9,plate\"\r\n", Some(2)),
            ("2,7,\"pipe,\n5,9,plate\",,\n", Some(2)),
        ] {
            assert_eq!(lines_like_records(&splitter(), record.as_bytes(), 3), lines, "{record:?}");
        }
    }
}
