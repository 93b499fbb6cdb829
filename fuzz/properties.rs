//! What holds for every input. The fuzz targets search for one for which it does not; the tests of the program replay
//! the corpus, and every input that was found.
#![allow(dead_code, reason = "each target uses its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use silversmith::event::{DeadLetter, ObjectEvent, Origin, Record, parse};
use silversmith::format::csv::Dialect;
use silversmith::format::encoding::Encoding;
use silversmith::format::{
    BATCH_ROWS, FormatError, FormatSettings, Input, Limits, RowReader, open, open_at,
};
use silversmith::reason::Reason;

/// Bytes that choose the dialect, and in which pieces the rest is read.
const CHOICE: usize = 3;

/// Rows of a file of Parquet that are compared. A few bytes may say that it has millions of nulls.
const ROWS: usize = 20_000;

const LIMITS: Limits =
    Limits { record_bytes: 4_096, columns: 64, expanded_bytes: 1 << 20, expansion: 200 };

/// A row as it is read: its cells, and what of it does not fit.
type Row = (Vec<Option<String>>, Option<String>);

/// The headers of the columns, and the rows.
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

/// The headers and the rows, or why the file is refused.
fn read(settings: &FormatSettings, file: &[u8], piece: usize) -> Result<Contents, String> {
    let input = Pieces { file: Cursor::new(file.to_vec()), piece };
    let read = open(settings, Box::new(input), LIMITS).and_then(|reader| read_all(reader, true));
    read.map_err(refused)
}

fn refused(error: FormatError) -> String {
    format!("{:?}: {error}", error.reason())
}

fn read_all(mut reader: Box<dyn RowReader>, is_text: bool) -> Result<Contents, FormatError> {
    let headers = reader.originals().to_vec();
    assert_eq!(headers.len(), reader.names().len());
    let mut rows: Vec<Row> = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        assert_eq!(batch.first_row, rows.len() as u64 + 1, "rows are counted without gaps");
        assert_eq!(batch.columns.len(), headers.len());
        assert!((1..=BATCH_ROWS).contains(&batch.rows()), "{} rows", batch.rows());
        let late = batch.late.iter().map(|column| {
            assert!(!headers.contains(&column.header), "{} is known", column.header);
            &column.values
        });
        let columns: Vec<&ArrayRef> = batch.columns.iter().chain(late).collect();
        for values in &columns {
            assert_eq!(values.len(), batch.rows());
            assert!(!is_text || values.data_type() == &DataType::Utf8);
        }
        let columns: Vec<_> = columns.into_iter().map(texts).collect();
        for row in 0..batch.rows() {
            let misfit = batch.misfits.is_valid(row).then(|| batch.misfits.value(row).to_owned());
            rows.push((columns.iter().map(|texts| texts[row].clone()).collect(), misfit));
        }
        if !is_text && rows.len() >= ROWS {
            break;
        }
    }
    Ok((headers, rows))
}

fn texts(values: &ArrayRef) -> Vec<Option<String>> {
    let options = FormatOptions::default();
    let shown = ArrayFormatter::try_new(values, &options).unwrap();
    (0..values.len())
        .map(|row| values.is_valid(row).then(|| shown.value(row).to_string()))
        .collect()
}

/// As of [`csv`]; and where each line is an object to another reader of JSON, each is a row, with its texts under their
/// keys and nothing that does not fit.
pub fn json(data: &[u8]) {
    let Some((choice, file)) = data.split_first() else { return };
    let whole = read(&FormatSettings::Json, file, usize::MAX);
    let pieces = read(&FormatSettings::Json, file, 1 + usize::from(*choice) % 13);
    assert_eq!(whole, pieces, "the pieces that a file comes in matter");
    let Some(objects) = objects(file) else { return };
    let (headers, rows) = whole.expect("each line is an object");
    assert_eq!(rows.len(), objects.len(), "each line is a row");
    for ((cells, misfit), object) in rows.iter().zip(objects) {
        assert_eq!(misfit, &None, "an object fits");
        for (key, value) in object {
            let cell = headers.iter().position(|header| *header == key).map(|index| &cells[index]);
            match value {
                Value::String(text) => assert_eq!(cell, Some(&Some(text)), "{key}"),
                Value::Null => assert!(matches!(cell, None | Some(None)), "{key}: {cell:?}"),
                _ => assert!(matches!(cell, Some(Some(_))), "{key} is lost"),
            }
        }
    }
}

/// The objects of a file that has one on each line; none where that is not so, where they are too long or too many, or
/// where silversmith sees more in them: repeated keys, NULs and the wrapper of AWS.
fn objects(file: &[u8]) -> Option<Vec<BTreeMap<String, Value>>> {
    let lines = std::str::from_utf8(file)
        .ok()?
        .split('\n')
        .map(|line| line.trim_matches([' ', '\t', '\r']));
    let lines = lines.filter(|line| !line.is_empty());
    let mut keys = BTreeSet::new();
    let objects = lines.map(|line| {
        let members: Members = serde_json::from_str(line).ok()?;
        let is_plain = |(key, value): &(String, Value)| {
            !key.contains('\0')
                && key != "Records"
                && value.as_str().is_none_or(|text| !text.contains('\0'))
        };
        let count = members.0.len();
        let plain = line.len() < LIMITS.record_bytes as usize && members.0.iter().all(is_plain);
        let object: BTreeMap<_, _> = members.0.into_iter().collect();
        keys.extend(object.keys().cloned());
        (plain && object.len() == count && keys.len() <= LIMITS.columns).then_some(object)
    });
    objects.collect()
}

/// The members of an object, repeated ones too.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = vec![];
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Visit)
    }
}

/// Any bytes as a file of Parquet: it is read to its end or refused, without a panic, in bounded memory, and twice in
/// the same way. What the crate that reads it makes of contradictions is a refusal, too.
pub fn parquet(data: &[u8]) {
    let read = || {
        let input = Input::of_bytes(data.to_vec());
        let reader = open_at(&FormatSettings::Parquet, input, LIMITS, None);
        reader.and_then(|reader| read_all(reader, false)).map_err(refused)
    };
    assert_eq!(read(), read());
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
        // What comes from a dead letter was sent again by an operator.
        let object = ObjectEvent { replayed: true, ..object.clone() };
        let again = Record::Created { object, pipeline: pipeline.clone() };
        assert_eq!(parse(&letter.to_json()), Ok(vec![again]));
    }
}
