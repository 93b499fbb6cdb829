//! Files that are made at random, in every dialect: records are read back as they were written, and no bytes at
//! all make the reader fail otherwise than by an error.

use std::io::{Cursor, Read};

use arrow::array::{Array, AsArray};
use proptest::prelude::*;

use super::csv::Dialect;
use super::{FormatError, FormatSettings, Limits, open};

/// How a file is written.
#[derive(Debug, Clone)]
struct Written {
    dialect: Dialect,
    line_end: &'static str,
    /// Whether the last record has a line ending.
    ends: bool,
    byte_order_mark: bool,
    /// Whether cells are quoted that need not be.
    quotes_all: bool,
}

fn written() -> impl Strategy<Value = Written> {
    let delimiter = prop::sample::select(vec![b',', b';', b'\t', b'|']);
    let quote = prop::sample::select(vec![b'"', b'\'']);
    let escape = prop::sample::select(vec![None, Some(b'\\')]);
    let line_end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (delimiter, quote, escape, line_end, flags).prop_map(
        |(delimiter, quote, escape, line_end, (ends, byte_order_mark, quotes_all))| Written {
            dialect: Dialect { delimiter, quote: Some(quote), escape, ..Dialect::default() },
            line_end,
            ends,
            byte_order_mark,
            quotes_all,
        },
    )
}

type Row = Vec<Option<String>>;

fn rows() -> impl Strategy<Value = (usize, Vec<Row>)> {
    (1..5_usize).prop_flat_map(|width| {
        let cell = prop::option::of(r#"[a-c,;|\t"'\\ \r\né名]{0,6}"#);
        let row = prop::collection::vec(cell, width);
        (Just(width), prop::collection::vec(row, 0..12))
    })
}

impl Written {
    fn cell(&self, cell: Option<&str>) -> String {
        let Some(text) = cell else { return String::new() };
        let quote = char::from(self.dialect.quote.unwrap_or(b'"'));
        let special = |c: char| {
            c == quote || c == char::from(self.dialect.delimiter) || matches!(c, '\n' | '\r')
        };
        let escaped = match self.dialect.escape {
            Some(_) => text.replace('\\', "\\\\"),
            None => text.to_owned(),
        };
        if !(self.quotes_all || text.is_empty() || text.contains(special)) {
            return escaped;
        }
        let (from, to) = match self.dialect.escape {
            Some(_) => (quote.to_string(), format!("\\{quote}")),
            None => (quote.to_string(), quote.to_string().repeat(2)),
        };
        format!("{quote}{}{quote}", escaped.replace(&from, &to))
    }

    fn file(&self, width: usize, rows: &[Row]) -> Vec<u8> {
        let mut records = vec![(0..width).map(|n| format!("h{n}")).collect::<Vec<_>>()];
        records.extend(
            rows.iter()
                .map(|row| row.iter().map(|cell| self.cell(cell.as_deref())).collect::<Vec<_>>()),
        );
        let delimiter = char::from(self.dialect.delimiter).to_string();
        let lines: Vec<String> = records.iter().map(|record| record.join(&delimiter)).collect();
        let mut text = lines.join(self.line_end);
        if self.ends {
            text.push_str(self.line_end);
        }
        let mark: &[u8] = if self.byte_order_mark { b"\xEF\xBB\xBF" } else { b"" };
        [mark, text.as_bytes()].concat()
    }
}

/// Delivers at most so many bytes at a time.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

/// All rows, and what was rescued of each.
fn read(
    dialect: &Dialect,
    bytes: &[u8],
    piece: usize,
) -> Result<Vec<(Row, Option<String>)>, FormatError> {
    let input = Box::new(Pieces(Cursor::new(bytes.to_vec()), piece));
    let limits = Limits { record_bytes: 1_000, columns: 50, ..Limits::default() };
    let mut reader = open(&FormatSettings::Csv(dialect.clone()), input, limits)?;
    let mut rows = vec![];
    while let Some(batch) = reader.next_batch()? {
        let cell = |column: &arrow::array::StringArray, row: usize| {
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        rows.extend((0..batch.rows()).map(|row| {
            let cells = batch.columns.iter().map(|column| cell(column.as_string::<i32>(), row));
            (cells.collect(), cell(&batch.misfits, row))
        }));
    }
    Ok(rows)
}

proptest! {
    #[test]
    fn what_is_written_in_any_dialect_is_read_back(
        written in written(),
        (width, rows) in rows(),
        piece in 1..40_usize,
    ) {
        // A row without any byte is a blank line, and those are no rows.
        let is_blank = |row: &Row| width == 1 && row[0].is_none();
        let rows: Vec<Row> = rows.into_iter().filter(|row| !is_blank(row)).collect();
        let file = written.file(width, &rows);
        let found = read(&written.dialect, &file, piece).unwrap();
        let cells: Vec<Row> = found.into_iter().map(|(cells, _)| cells).collect();
        prop_assert_eq!(cells, rows, "{}", String::from_utf8_lossy(&file));
    }

    #[test]
    fn any_bytes_give_rows_or_an_error_and_the_same_in_any_pieces(
        bytes in prop::collection::vec(
            prop::sample::select(b"ab1,,;\"\"\"\n\n\r\\ \0\xC3\xA9\xFF".to_vec()), 0..200),
        escape in prop::sample::select(vec![None, Some(b'\\')]),
        piece in 1..40_usize,
    ) {
        let bytes = [b"a,b,c\n".as_slice(), &bytes].concat();
        let dialect = Dialect { escape, ..Dialect::default() };
        let whole = read(&dialect, &bytes, usize::MAX);
        let pieces = read(&dialect, &bytes, piece);
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => {
                prop_assert_eq!(&whole, &pieces);
                let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).count();
                prop_assert!(whole.len() <= lines);
                for (_, rescued) in whole {
                    let parsed = rescued.map(|json| serde_json::from_str::<serde_json::Value>(&json));
                    prop_assert!(parsed.is_none_or(|json| json.is_ok_and(|json| json.is_object())));
                }
            }
            (Err(whole), Err(pieces)) => prop_assert_eq!(whole.to_string(), pieces.to_string()),
            (whole, pieces) => prop_assert!(false, "{whole:?} and {pieces:?}"),
        }
    }
}
