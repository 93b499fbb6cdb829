//! What may stand before the header: lines to be skipped, and the line `sep=;` by which a spreadsheet
//! says what parts the fields.

use std::io::{Error, Read, Result};

/// An input whose first lines were read. An error among them is returned by the first read.
pub(super) struct Preamble<R> {
    input: R,
    /// What was read and is still to be delivered.
    ahead: Vec<u8>,
    error: Option<Error>,
}

/// Bytes read at a time.
const CHUNK: u64 = 8 * 1024;
/// `sep=;`, and its line's end.
const SEPARATOR_LINE: usize = 7;

/// Skips lines. The byte is the delimiter: that of the file where it names one.
pub(super) fn begin<R: Read>(
    input: R,
    skip_lines: u64,
    (delimiter, quote): (u8, Option<u8>),
) -> (Preamble<R>, u8) {
    let mut preamble = Preamble { input, ahead: vec![], error: None };
    let skipped = (0..skip_lines).all(|_| preamble.skip_line());
    let own = if skipped { preamble.separator(quote) } else { None };
    (preamble, own.unwrap_or(delimiter))
}

impl<R: Read> Preamble<R> {
    /// Reads on; false at the end, and after an error.
    fn read_on(&mut self) -> bool {
        if self.error.is_some() {
            return false;
        }
        match self.input.by_ref().take(CHUNK).read_to_end(&mut self.ahead) {
            Ok(read) => read > 0,
            Err(error) => {
                self.error = Some(error);
                false
            }
        }
    }

    /// False at the end of the file.
    fn skip_line(&mut self) -> bool {
        loop {
            if let Some(at) = self.ahead.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                self.ahead.drain(..at);
                self.skip_end();
                return true;
            }
            self.ahead.clear();
            if !self.read_on() {
                return false;
            }
        }
    }

    /// Skips the end of a line: `\n`, `\r\n` or `\r`.
    fn skip_end(&mut self) {
        if self.ahead.len() < 2 {
            self.read_on();
        }
        let length = if self.ahead.starts_with(b"\r\n") { 2 } else { 1 };
        self.ahead.drain(..length.min(self.ahead.len()));
    }

    /// The delimiter that the file names; its line is skipped then.
    fn separator(&mut self, quote: Option<u8>) -> Option<u8> {
        while self.ahead.len() < SEPARATOR_LINE && self.read_on() {}
        let (word, rest) = self.ahead.split_at_checked(4)?;
        let (delimiter, end) = rest.split_first()?;
        let is_other = matches!(delimiter, 0 | b'\n' | b'\r') || Some(*delimiter) == quote;
        let is_delimiter = delimiter.is_ascii() && !is_other;
        let ends = matches!(end.first(), None | Some(b'\n' | b'\r'));
        if !word.eq_ignore_ascii_case(b"sep=") || !is_delimiter || !ends {
            return None;
        }
        let delimiter = *delimiter;
        self.ahead.drain(..5);
        self.skip_end();
        Some(delimiter)
    }
}

impl<R: Read> Read for Preamble<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.ahead[..length]);
            self.ahead.drain(..length);
            return Ok(length);
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => self.input.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a text, and its delimiter.
    fn rest(text: &str, skip_lines: u64) -> (String, char) {
        let (mut preamble, delimiter) = begin(text.as_bytes(), skip_lines, (b',', Some(b'"')));
        let mut rest = String::new();
        preamble.read_to_string(&mut rest).unwrap();
        (rest, char::from(delimiter))
    }

    #[test]
    fn lines_are_skipped_whatever_ends_them() {
        assert_eq!(rest("a\nb\r\nc\rid\n1\n", 3).0, "id\n1\n");
        assert_eq!(rest("a\n\n\nid\n", 3).0, "id\n");
        assert_eq!(rest("only", 3).0, "");
        assert_eq!(rest(&format!("{}\nid\n", "x".repeat(100_000)), 1).0, "id\n");
        let long = "1,2\n".repeat(10_000);
        assert_eq!(rest(&long, 0).0, long);
    }

    #[test]
    fn a_file_names_its_delimiter() {
        assert_eq!(rest("sep=;\r\nid;n\r\n", 0), ("id;n\r\n".to_owned(), ';'));
        assert_eq!(rest("title\nSEP=\t\nid\tn\n", 1), ("id\tn\n".to_owned(), '\t'));
        assert_eq!(rest("sep=|", 0), (String::new(), '|'));
        assert_eq!(begin("sep='\n".as_bytes(), 0, (b';', Some(b'\''))).1, b';', "it is the quote");
        for other in ["sep=;x\n", "sep=\n", "sep", "separator,id\n", "sep=\"\n", ""] {
            assert_eq!(rest(other, 0), (other.to_owned(), ','), "{other}");
        }
    }

    #[test]
    fn an_error_among_the_first_lines_is_returned() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> Result<usize> {
                Err(Error::other("reset"))
            }
        }
        let (mut preamble, _) = begin(b"a,b".chain(Fails), 0, (b',', None));
        let mut read = Vec::new();
        assert_eq!(preamble.read_to_end(&mut read).unwrap_err().to_string(), "reset");
        assert_eq!(read, b"a,b");
    }
}
