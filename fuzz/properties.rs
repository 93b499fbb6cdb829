//! What holds for every input. The fuzz targets search for one for which it does not; the tests of the program replay
//! the corpus, and every input that was found.
#![allow(dead_code, reason = "each target uses its own")]

use std::io::{Cursor, Read};

use arrow::array::{Array, AsArray, StringArray};
use silversmith::event::{DeadLetter, Origin, Record, parse};
use silversmith::format::csv::Dialect;
use silversmith::format::encoding::Encoding;
use silversmith::format::{BATCH_ROWS, FormatError, FormatSettings, Limits, open};
use silversmith::reason::Reason;

/// Bytes that choose the dialect, and in which pieces the rest is read.
const CHOICE: usize = 3;

/// A row as it is read: its cells, and what of it does not fit.
type Row = (Vec<Option<String>>, Option<String>);

/// The names of the columns, and the rows.
type Contents = (Vec<String>, Vec<Row>);

/// A file is read to its end or refused, without a panic, in bounded memory, and in the same way whatever pieces it
/// comes in. Rows are counted without gaps; a batch has as many columns as there are names, and as many rows as it may.
pub fn csv(data: &[u8]) {
    let Some((choice, file)) = data.split_at_checked(CHOICE) else { return };
    let settings = FormatSettings::Csv(dialect(choice));
    let whole = read(&settings, file, usize::MAX);
    let pieces = read(&settings, file, 1 + usize::from(choice[2]) % 13);
    assert_eq!(whole, pieces, "the pieces that a file comes in matter");
}

fn dialect(choice: &[u8]) -> Dialect {
    let (a, b) = (choice[0], choice[1]);
    Dialect {
        delimiter: [b',', b';', b'\t', b'|'][usize::from(a & 3)],
        quote: (a & 4 == 0).then_some(b'"'),
        escape: (a & 8 != 0).then_some(b'\\'),
        header: a & 16 == 0,
        encoding: if a & 32 == 0 {
            Encoding::Utf8
        } else {
            Encoding::named("windows-1252").unwrap()
        },
        comment: (a & 64 != 0).then_some(b'#'),
        skip_lines: u64::from(b & 3),
        skip_footer: usize::from(b >> 2 & 3),
        ..Dialect::default()
    }
}

struct Pieces {
    file: Cursor<Vec<u8>>,
    piece: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.piece.min(buffer.len());
        self.file.read(&mut buffer[..length])
    }
}

/// The names and the rows, or why the file is refused.
fn read(settings: &FormatSettings, file: &[u8], piece: usize) -> Result<Contents, String> {
    let limits =
        Limits { record_bytes: 4_096, columns: 64, expanded_bytes: 1 << 20, expansion: 200 };
    let input = Pieces { file: Cursor::new(file.to_vec()), piece };
    read_all(settings, input, limits).map_err(|error| format!("{:?}: {error}", error.reason()))
}

fn read_all(
    settings: &FormatSettings,
    input: Pieces,
    limits: Limits,
) -> Result<Contents, FormatError> {
    let mut reader = open(settings, Box::new(input), limits)?;
    let names = reader.names().to_vec();
    assert_eq!(names.len(), reader.originals().len());
    let mut rows: Vec<Row> = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        assert_eq!(batch.first_row, rows.len() as u64 + 1, "rows are counted without gaps");
        assert_eq!(batch.columns.len(), names.len());
        assert!((1..=BATCH_ROWS).contains(&batch.rows()), "{} rows", batch.rows());
        for row in 0..batch.rows() {
            let cell =
                |texts: &StringArray| texts.is_valid(row).then(|| texts.value(row).to_owned());
            let cells = batch.columns.iter().map(|column| cell(column.as_string::<i32>()));
            rows.push((cells.collect(), cell(&batch.misfits)));
        }
    }
    Ok((names, rows))
}

/// A body is records or no event, without a panic. What names an object names one that can be asked for, and a dead
/// letter about it says the same.
pub fn envelope(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    let Ok(records) = parse(body) else { return };
    for record in records {
        let Record::Created { object, pipeline } = &record else { continue };
        assert!(!object.bucket.is_empty() && !object.key.is_empty() && !object.key.ends_with('/'));
        let stamp = ("id".to_owned(), chrono::DateTime::UNIX_EPOCH);
        let origin = Origin { id: "m".to_owned(), receive_count: 1 };
        let why = (Reason::Redriven, body);
        let letter = DeadLetter::of_object(stamp, pipeline.as_deref(), object.clone(), why, origin);
        assert_eq!(parse(&letter.to_json()), Ok(vec![record]));
    }
}
