//! Readers of rows: what every format promises, whatever its bytes look like.

use std::io::{self, Cursor, Read};

use arrow::array::{Array, AsArray};
use silversmith::format::csv::Dialect;
use silversmith::format::{
    self, BATCH_BYTES, BATCH_ROWS, FormatError, FormatSettings, Limits, RawBatch, RowReader,
};
use silversmith::source::ReadError;

/// A row as a test writes it; none is a null.
type Row = Vec<Option<String>>;

/// A format, and how its files are made.
struct Kind {
    name: &'static str,
    settings: FormatSettings,
    /// A file with these columns and rows.
    file: fn(&[&str], &[Row]) -> Vec<u8>,
    /// A record that does not fit two columns, as bytes, and a text that its JSON holds.
    misfits: Vec<(&'static [u8], &'static str)>,
}

fn kinds() -> Vec<Kind> {
    let misfits: Vec<(&[u8], &str)> = vec![
        (b"lonely\n", "\"lonely\""),
        (b"a,b,too many\n", "\"too many\""),
        (b"a,\xFF\xFE\n", "base64"),
    ];
    let semicolons = Dialect { delimiter: b';', ..Dialect::default() };
    vec![
        Kind {
            name: "csv",
            settings: FormatSettings::default(),
            file: |columns, rows| csv(b',', columns, rows),
            misfits,
        },
        Kind {
            name: "json",
            settings: FormatSettings::Json,
            file: json,
            misfits: vec![
                (b"lonely\n", "\"lonely\""),
                (b"{\"id\":\"unclosed}\n", "unclosed"),
                (b"{\"id\":1,\"name\":\"\xFF\xFE\"}\n", "base64"),
            ],
        },
        Kind {
            name: "csv with semicolons",
            settings: FormatSettings::Csv(semicolons),
            file: |columns, rows| csv(b';', columns, rows),
            misfits: vec![(b"lonely\n", "\"lonely\"")],
        },
    ]
}

/// Lines of JSON.
fn json(columns: &[&str], rows: &[Row]) -> Vec<u8> {
    let line = |row: &Row| {
        let members = columns
            .iter()
            .zip(row)
            .map(|(key, cell)| format!("{}:{}", serde_json::json!(key), serde_json::json!(cell)));
        format!("{{{}}}\n", members.collect::<Vec<_>>().join(","))
    };
    rows.iter().map(line).collect::<String>().into_bytes()
}

fn csv(delimiter: u8, columns: &[&str], rows: &[Row]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(vec![]);
    writer.write_record(columns).unwrap();
    for row in rows {
        writer.write_record(row.iter().map(|cell| cell.as_deref().unwrap_or(""))).unwrap();
    }
    writer.into_inner().unwrap()
}

/// Delivers at most `piece` bytes at a time, and fails at the end if it is to.
struct Input {
    bytes: Cursor<Vec<u8>>,
    piece: usize,
    fails: bool,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.piece);
        match self.bytes.read(&mut buffer[..length])? {
            0 if self.fails && length > 0 => {
                let source = io::Error::other("the connection was reset");
                Err(io::Error::other(ReadError::Store { uri: "here".into(), source }))
            }
            read => Ok(read),
        }
    }
}

impl Kind {
    fn open(&self, bytes: &[u8], piece: usize) -> Result<Box<dyn RowReader>, FormatError> {
        let input = Input { bytes: Cursor::new(bytes.to_vec()), piece, fails: false };
        format::open(&self.settings, Box::new(input), Limits::default())
    }

    fn batches(&self, bytes: &[u8], piece: usize) -> Result<Vec<RawBatch>, FormatError> {
        let mut reader = self.open(bytes, piece)?;
        let mut batches = Vec::new();
        while let Some(batch) = reader.next_batch()? {
            batches.push(batch);
        }
        assert!(reader.next_batch()?.is_none(), "{}: the end stays the end", self.name);
        Ok(batches)
    }
}

fn cells(batch: &RawBatch) -> Vec<Row> {
    let cell = |column: &arrow::array::ArrayRef, row: usize| {
        let column = column.as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    (0..batch.rows()).map(|row| batch.columns.iter().map(|c| cell(c, row)).collect()).collect()
}

fn all_cells(batches: &[RawBatch]) -> Vec<Row> {
    batches.iter().flat_map(cells).collect()
}

fn numbered(count: usize) -> Vec<Row> {
    (0..count).map(|n| vec![Some(n.to_string()), Some(format!("row {n}"))]).collect()
}

#[test]
fn names_are_those_of_the_file_and_the_sample_is_its_first_batch() {
    for kind in kinds() {
        let bytes = (kind.file)(&["id", "Zip Code", "zip_code"], &[vec![Some("1".into()); 3]]);
        let mut reader = kind.open(&bytes, usize::MAX).unwrap();
        assert_eq!(reader.originals(), ["id", "Zip Code", "zip_code"], "{}", kind.name);
        assert_eq!(reader.names(), ["id", "zip_code_a8fca6", "zip_code"], "{}", kind.name);
        let sample = cells(reader.sample().unwrap());
        let first = reader.next_batch().unwrap().unwrap();
        assert_eq!((cells(&first), first.first_row), (sample, 1), "{}", kind.name);
        assert_eq!(reader.names().len(), 3, "they do not change");
        assert!(reader.next_batch().unwrap().is_none(), "the sample comes once");
    }
}

#[test]
fn a_file_without_rows_has_no_sample_and_no_batch() {
    for kind in kinds() {
        // JSON has its columns in its rows.
        let of_header = if kind.name == "json" { 0 } else { 2 };
        for (bytes, names) in [((kind.file)(&["id", "name"], &[]), of_header), (vec![], 0)] {
            let mut reader = kind.open(&bytes, usize::MAX).unwrap();
            assert_eq!((reader.names().len(), reader.originals().len()), (names, names));
            assert!(reader.sample().is_none(), "{}", kind.name);
            assert!(reader.next_batch().unwrap().is_none(), "{}", kind.name);
        }
    }
}

#[test]
fn rows_are_numbered_from_one_in_batches_of_bounded_rows() {
    for kind in kinds() {
        let rows = numbered(2 * BATCH_ROWS + 10);
        let batches = kind.batches(&(kind.file)(&["id", "name"], &rows), usize::MAX).unwrap();
        assert!(batches.len() >= 3, "{}", kind.name);
        let mut next = 1;
        for batch in &batches {
            assert!((1..=BATCH_ROWS).contains(&batch.rows()), "{}", kind.name);
            assert_eq!((batch.columns.len(), batch.misfits.null_count()), (2, batch.rows()));
            assert_eq!(batch.first_row, next, "{}: no gaps", kind.name);
            next += batch.rows() as u64;
        }
        assert_eq!(all_cells(&batches), rows, "{}", kind.name);
    }
}

#[test]
fn batches_of_wide_rows_are_bounded_in_bytes() {
    const CELL: usize = 200_000;
    for kind in kinds() {
        let rows: Vec<Row> =
            (0..100).map(|n| vec![Some(n.to_string()), Some("x".repeat(CELL))]).collect();
        let batches = kind.batches(&(kind.file)(&["id", "text"], &rows), usize::MAX).unwrap();
        for batch in &batches {
            let text: usize = cells(batch).iter().flatten().flatten().map(String::len).sum();
            assert!(text <= BATCH_BYTES + CELL + 100, "{}: {text}", kind.name);
        }
        assert_eq!(batches.iter().map(RawBatch::rows).sum::<usize>(), 100, "{}", kind.name);
    }
}

#[test]
fn nulls_are_null_and_texts_are_kept_as_they_are() {
    for kind in kinds() {
        let text = |text: &str| Some(text.to_owned());
        let rows = vec![
            vec![text("1"), None],
            vec![text(" padded "), text("a \"quoted\" é, b; c")],
            vec![None, text("two\nlines")],
            vec![text("NULL"), text("0")],
        ];
        let batches = kind.batches(&(kind.file)(&["id", "name"], &rows), usize::MAX).unwrap();
        assert_eq!(all_cells(&batches), rows, "{}", kind.name);
        assert_eq!(batches[0].misfits.null_count(), 4, "{}", kind.name);
    }
}

#[test]
fn a_misfit_is_a_row_of_its_own_and_nothing_of_it_is_lost() {
    for kind in kinds() {
        for (misfit, kept) in &kind.misfits {
            let mut bytes = (kind.file)(&["id", "name"], &numbered(2));
            let between = (kind.file)(&["id", "name"], &numbered(1)).len();
            bytes.splice(between..between, misfit.iter().copied());
            let batches = kind.batches(&bytes, usize::MAX).unwrap();
            let rows = all_cells(&batches);
            assert_eq!((&rows[0], &rows[2]), (&numbered(2)[0], &numbered(2)[1]), "{kept}");
            assert_eq!(rows.len(), 3, "{}: {kept}", kind.name);
            let misfits = &batches[0].misfits;
            assert!(misfits.is_null(0) && misfits.is_null(2), "{}", kind.name);
            let json: serde_json::Value = serde_json::from_str(misfits.value(1)).unwrap();
            assert!(json.to_string().contains(kept), "{}: {json}", kind.name);
        }
    }
}

#[test]
fn a_failure_of_the_input_is_an_error_and_never_the_end() {
    for kind in kinds() {
        let rows = numbered(BATCH_ROWS + 100);
        let bytes = (kind.file)(&["id", "name"], &rows);
        // In the header, in the sample, and after it.
        for (length, before) in [(3, 0), (100, 0), (bytes.len() - 1, BATCH_ROWS)] {
            let bytes = Cursor::new(bytes[..length].to_vec());
            let input = Input { bytes, piece: 10_000, fails: true };
            let opened = format::open(&kind.settings, Box::new(input), Limits::default());
            let (mut read, error) = match opened {
                Err(error) => (vec![], error),
                Ok(mut reader) => {
                    let mut read = vec![];
                    loop {
                        match reader.next_batch() {
                            Ok(Some(batch)) => read.push(batch),
                            Ok(None) => panic!("{}: {length} bytes looked whole", kind.name),
                            Err(error) => break (read, error),
                        }
                    }
                }
            };
            let rows_read: Vec<Row> = read.drain(..).flat_map(|batch| cells(&batch)).collect();
            assert_eq!(rows_read, rows[..before], "{}: what came before is right", kind.name);
            let FormatError::Read(source) = error else { panic!("{}: {error:?}", kind.name) };
            let source = source.downcast::<ReadError>().unwrap();
            assert!(matches!(source, ReadError::Store { .. }), "{}: {source}", kind.name);
        }
    }
}

#[test]
fn records_beyond_the_limits_are_refused() {
    for kind in kinds() {
        let limits = Limits { record_bytes: 100_000, columns: 3, ..Limits::default() };
        let opened = |bytes: Vec<u8>| -> FormatError {
            let input = Box::new(Cursor::new(bytes));
            let read = format::open(&kind.settings, input, limits).and_then(|mut reader| {
                while reader.next_batch()?.is_some() {}
                Ok(())
            });
            read.expect_err(kind.name)
        };
        let mut rows = numbered(2);
        rows.push(vec![Some("2".into()), Some("x".repeat(1_000_000))]);
        let error = opened((kind.file)(&["id", "name"], &rows));
        assert!(
            matches!(error, FormatError::RecordTooLong { limit: 100_000, row: 2 }),
            "{}: {error}",
            kind.name
        );
        let error = opened((kind.file)(&["a", "b", "c", "d"], &[vec![Some("1".into()); 4]]));
        assert!(
            matches!(
                error,
                FormatError::TooManyColumns { found: 4, limit: 3 }
                    | FormatError::TooManyKeys { limit: 3 }
            ),
            "{}: {error}",
            kind.name
        );
    }
}

#[test]
fn the_same_bytes_give_the_same_rows_in_whatever_pieces_they_come() {
    for kind in kinds() {
        let mut bytes = (kind.file)(&["id", "name"], &numbered(3_000));
        bytes.splice(0..0, *b"\xEF\xBB\xBF");
        let rows = all_cells(&kind.batches(&bytes, usize::MAX).unwrap());
        assert_eq!(rows, numbered(3_000), "{}: a byte order mark is no text", kind.name);
        for piece in [1, 2, 7, 4_096, usize::MAX] {
            let reader = kind.open(&bytes, piece).unwrap();
            assert_eq!(reader.names(), ["id", "name"], "{}, by {piece}", kind.name);
            let again = all_cells(&kind.batches(&bytes, piece).unwrap());
            assert_eq!(again, rows, "{}, by {piece}", kind.name);
        }
    }
}
