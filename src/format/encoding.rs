//! Encodings of text → UTF-8. A byte order mark decides; without one, what the settings say.
//!
//! Bytes that mean nothing in an encoding are not replaced, which would lose them: they become a byte that UTF-8
//! does not have, and their hexadecimal digits. So they cost their cell, as in a file of UTF-8.

use std::io::{Read, Result};

use encoding_rs::{Decoder, DecoderResult, UTF_8, UTF_16BE, UTF_16LE};

use super::peek::Peeked;

/// How the text of a file is written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// UTF-8.
    #[default]
    Utf8,
    /// ISO 8859-1: each byte is the character of that number.
    Latin1,
    /// Another one of the [Encoding Standard](https://encoding.spec.whatwg.org/).
    Other(&'static encoding_rs::Encoding),
}

impl Encoding {
    /// The encoding of a name such as `windows-1252` or `shift-jis`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        if matches!(name.as_str(), "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1") {
            return Some(Self::Latin1);
        }
        let found = encoding_rs::Encoding::for_label_no_replacement(name.as_bytes())?;
        Some(if found == UTF_8 { Self::Utf8 } else { Self::Other(found) })
    }
}

/// The byte order mark of UTF-8.
const UTF8_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

/// The text of a file in UTF-8, without a byte order mark.
pub(super) fn decoded(mut input: Peeked, encoding: Encoding) -> Box<dyn Read + Send> {
    let head = input.head();
    let (encoding, mark) = match head {
        _ if head.starts_with(UTF8_MARK) => (Encoding::Utf8, UTF8_MARK.len()),
        [0xFF, 0xFE, ..] => (Encoding::Other(UTF_16LE), 2),
        [0xFE, 0xFF, ..] => (Encoding::Other(UTF_16BE), 2),
        _ => (encoding, 0),
    };
    input.skip(mark);
    let decode = match encoding {
        Encoding::Utf8 => return Box::new(input),
        Encoding::Latin1 => Decode::Latin1,
        Encoding::Other(encoding) => Decode::Other(encoding.new_decoder_without_bom_handling()),
    };
    Box::new(Decoded {
        input,
        decode,
        bytes: vec![0; BLOCK],
        window: vec![0; WINDOW],
        text: vec![],
        read: 0,
        tail: vec![],
        ended: false,
    })
}

/// Bytes that are decoded at a time.
const BLOCK: usize = 32 * 1024;
/// Bytes of text that a decoder writes at a time. What it writes into stays as it is between two malformed bytes, of
/// which a file may be full.
const WINDOW: usize = 8 * 1024;

enum Decode {
    Latin1,
    Other(Decoder),
}

/// See the module.
struct Decoded {
    input: Peeked,
    decode: Decode,
    bytes: Vec<u8>,
    /// What a decoder writes into.
    window: Vec<u8>,
    /// Decoded text, of which `read` bytes were delivered.
    text: Vec<u8>,
    read: usize,
    /// The last bytes that were decoded: those that mean nothing may be among them.
    tail: Vec<u8>,
    ended: bool,
}

/// The most bytes that a decoder reports together as malformed.
const TAIL: usize = 8;

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.read == self.text.len() && !self.ended {
            self.text.clear();
            self.read = 0;
            let length = self.input.read(&mut self.bytes)?;
            self.ended = length == 0;
            self.decode(length);
        }
        let length = buffer.len().min(self.text.len() - self.read);
        buffer[..length].copy_from_slice(&self.text[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}

impl Decoded {
    /// Decodes the first `length` bytes.
    fn decode(&mut self, length: usize) {
        let Self { decode, bytes, window, text, tail, ended, .. } = self;
        let bytes = &bytes[..length];
        let decoder = match decode {
            Decode::Latin1 => {
                text.resize(2 * length, 0);
                let written = encoding_rs::mem::convert_latin1_to_utf8(bytes, text);
                text.truncate(written);
                return;
            }
            Decode::Other(decoder) => decoder,
        };
        let mut at = 0;
        loop {
            let (result, read, written) =
                decoder.decode_to_utf8_without_replacement(&bytes[at..], window, *ended);
            text.extend_from_slice(&window[..written]);
            tail.extend_from_slice(&bytes[at..at + read]);
            at += read;
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(malformed, after) => {
                    let end = tail.len().saturating_sub(usize::from(after));
                    let start = end.saturating_sub(usize::from(malformed));
                    append_malformed(text, &tail[start..end]);
                }
            }
        }
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
}

fn append_malformed(text: &mut Vec<u8>, bytes: &[u8]) {
    text.push(0xFF);
    for byte in bytes {
        text.extend_from_slice(format!("{byte:02X}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Delivers at most so many bytes at a time.
    struct Pieces(Cursor<Vec<u8>>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let length = buffer.len().min(self.1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn text(bytes: &[u8], encoding: &str) -> Vec<u8> {
        let read = |piece| {
            // Read by pieces of each size.
            let input = Peeked::new(Box::new(Pieces(Cursor::new(bytes.to_vec()), piece)));
            let mut text = vec![];
            let mut decoded = decoded(input, Encoding::named(encoding).unwrap());
            decoded.read_to_end(&mut text).unwrap();
            text
        };
        let whole = read(usize::MAX);
        for piece in [1, 2, 3, 7] {
            assert_eq!(read(piece), whole, "by {piece}");
        }
        whole
    }

    #[test]
    fn each_encoding_gives_its_text() {
        let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "é,名\n".encode_utf16().flat_map(bytes).collect()
        };
        for (bytes, encoding, expected) in [
            (b"\xEF\xBB\xBFa,\xC3\xA9".to_vec(), "utf-8", "a,é"),
            (b"a,\xE9\x96\x80".to_vec(), "windows-1252", "a,é–€"),
            (b"a,\xE9\x80".to_vec(), "latin-1", "a,é\u{80}"),
            (b"\x96\xBC\x91\x4F,\x83\x5C".to_vec(), "shift-jis", "名前,ソ"),
            ([b"\xFF\xFE".to_vec(), utf16(u16::to_le_bytes)].concat(), "utf-8", "é,名\n"),
            ([b"\xFE\xFF".to_vec(), utf16(u16::to_be_bytes)].concat(), "latin-1", "é,名\n"),
            (utf16(u16::to_le_bytes), "utf-16le", "é,名\n"),
            (b"\xEF\xBB\xBFa,\xC3\xA9".to_vec(), "windows-1252", "a,é"),
            (b"".to_vec(), "windows-1252", ""),
        ] {
            assert_eq!(text(&bytes, encoding), expected.as_bytes(), "{encoding}");
        }
        let long: Vec<u8> = b"\xE9".repeat(3 * BLOCK);
        assert_eq!(text(&long, "windows-1252"), "é".repeat(3 * BLOCK).as_bytes());
        assert_eq!(text(&long, "latin-1"), "é".repeat(3 * BLOCK).as_bytes());
    }

    #[test]
    fn bytes_that_mean_nothing_are_kept_as_digits_behind_a_byte_that_is_no_text() {
        assert_eq!(text(b"a\xFDb,\x81,c", "shift-jis"), b"a\xFFFDb,\xFF81,c");
        assert_eq!(text(b"a\0\x2C\xD8b\0c", "utf-16le"), b"a\xFF2CD8b\xFF63");
    }

    /// With work for each of them that is that of a block, this takes longer than all other tests.
    #[test]
    fn a_file_of_nothing_but_malformed_bytes_is_read_in_one_pass() {
        let bytes = b"\xFD".repeat(40 * BLOCK);
        let input = Peeked::new(Box::new(Cursor::new(bytes)));
        let mut decoded = decoded(input, Encoding::named("shift-jis").unwrap());
        let mut text = vec![];
        decoded.read_to_end(&mut text).unwrap();
        assert_eq!(text.len(), 3 * 40 * BLOCK);
        assert!(text.chunks(3).all(|malformed| malformed == b"\xFFFD"));
    }

    #[test]
    fn names_of_encodings() {
        assert_eq!(Encoding::named("UTF8"), Some(Encoding::Utf8));
        assert_eq!(Encoding::named("ISO-8859-1"), Some(Encoding::Latin1));
        assert_eq!(Encoding::named("sjis"), Some(Encoding::Other(encoding_rs::SHIFT_JIS)));
        assert_eq!(Encoding::named("klingon"), None);
        assert_eq!(Encoding::named("replacement"), None);
    }
}
