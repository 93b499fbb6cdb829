//! What a file is by its first bytes, where it is not text.

/// The first bytes of files that are not CSV, and what such a file is called.
const KINDS: [(&[u8], &str); 14] = [
    (&[0x04, 0x22, 0x4D, 0x18], "lz4-compressed"),
    (&[0xFF, 0x06, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y'], "snappy-compressed"),
    (&[0x1F, 0x9D], "compressed by `compress`"),
    (b"PK\x03\x04", "a zip archive, or an Excel workbook"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (&[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1], "an old Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"ARROW1\0\0", "an Arrow file"),
    (b"%PDF-", "a PDF file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (&[0x89, b'P', b'N', b'G'], "a PNG picture"),
];

/// What a file with these first bytes is, unless it can be text.
pub(super) fn kind(head: &[u8]) -> Option<&'static str> {
    let found = KINDS.iter().find(|(magic, _)| head.starts_with(magic));
    // Some of them are words, too: only bytes that no text has show that it is none.
    let is_word = |magic: &[u8]| magic.iter().all(u8::is_ascii_graphic);
    found.filter(|(magic, _)| !is_word(magic) || head.contains(&0)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_text_have_a_name_and_text_has_none() {
        for (head, expected) in [
            (&[0x04, 0x22, 0x4D, 0x18][..], Some("lz4-compressed")),
            (b"PK\x03\x04\x14\0", Some("a zip archive, or an Excel workbook")),
            (b"PAR1\x15\0", Some("a Parquet file")),
            (b"PAR1,amount\n1,2\n", None),
            (b"ORC,BZh\n", None),
            (b"BZh9,a\n", None),
            (b"", None),
        ] {
            assert_eq!(kind(head), expected, "{head:?}");
        }
    }
}
