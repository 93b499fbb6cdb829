//! What Parquet's types become, and what damaged files do.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, TimestampMillisecondArray, TimestampNanosecondArray,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, TimeUnit, i256};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::super::{
    BATCH_BYTES, FormatError, FormatSettings, Input, Limits, RawBatch, RowReader, open_at,
};

fn file(columns: Vec<(&str, ArrayRef)>, group: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(group))
        .build();
    let mut writer = ArrowWriter::try_new(vec![], batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn opened(bytes: Vec<u8>) -> Result<Box<dyn RowReader>, FormatError> {
    open_at(&FormatSettings::Parquet, Input::of_bytes(bytes), Limits::default(), None)
}

fn batches(bytes: Vec<u8>) -> Result<Vec<RawBatch>, FormatError> {
    let (mut reader, mut batches, mut next) = (opened(bytes)?, vec![], 1);
    while let Some(batch) = reader.next_batch()? {
        assert_eq!(batch.first_row, next);
        next += batch.rows() as u64;
        batches.push(batch);
    }
    Ok(batches)
}

/// The type of a column in a table, its values as text, and what does not fit of them.
fn read(values: ArrayRef) -> (DataType, Vec<String>, Vec<String>) {
    let batch = batches(file(vec![("v", values)], 1_000)).unwrap().remove(0);
    let options = FormatOptions::default().with_null("null");
    let shown = ArrayFormatter::try_new(&batch.columns[0], &options).unwrap();
    let values = (0..batch.rows()).map(|row| shown.value(row).to_string()).collect();
    let misfits = batch.misfits.iter().flatten().map(str::to_owned).collect();
    (batch.columns[0].data_type().clone(), values, misfits)
}

#[test]
fn types_that_a_table_has_are_kept_and_others_are_text() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let none: Vec<String> = vec![];
    let cases: Vec<(ArrayRef, DataType, Vec<&str>)> = vec![
        (
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            DataType::Boolean,
            vec!["true", "null"],
        ),
        (Arc::new(Int8Array::from(vec![-7])), DataType::Int32, vec!["-7"]),
        (Arc::new(Int32Array::from(vec![7])), DataType::Int32, vec!["7"]),
        (Arc::new(UInt32Array::from(vec![u32::MAX])), DataType::Int64, vec!["4294967295"]),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            DataType::Decimal128(20, 0),
            vec!["18446744073709551615"],
        ),
        (Arc::new(Float32Array::from(vec![0.1])), DataType::Float32, vec!["0.1"]),
        (Arc::new(Float64Array::from(vec![0.1, f64::NAN])), DataType::Float64, vec!["0.1", "NaN"]),
        (
            Arc::new(Decimal128Array::from(vec![950]).with_precision_and_scale(9, 2).unwrap()),
            DataType::Decimal128(9, 2),
            vec!["9.50"],
        ),
        (
            Arc::new(
                Decimal256Array::from(vec![i256::from_i128(5)])
                    .with_precision_and_scale(50, 1)
                    .unwrap(),
            ),
            DataType::Utf8,
            vec!["0.5"],
        ),
        (
            Arc::new(TimestampMillisecondArray::from(vec![1_500])),
            micros.clone(),
            vec!["1970-01-01T00:00:01.500"],
        ),
        (
            Arc::new(TimestampMillisecondArray::from(vec![1_500]).with_timezone("Europe/Berlin")),
            zoned,
            vec!["1970-01-01T00:00:01.500Z"],
        ),
        (Arc::new(StringArray::from(vec![Some("007"), None])), DataType::Utf8, vec!["007", "null"]),
        (Arc::new(BinaryArray::from(vec![&b"text"[..]])), DataType::Utf8, vec!["text"]),
    ];
    for (values, kind, shown) in cases {
        let from = values.data_type().clone();
        let shown: Vec<String> = shown.into_iter().map(str::to_owned).collect();
        assert_eq!(read(values), (kind, shown, none.clone()), "{from}");
    }
}

#[test]
fn a_value_that_its_type_would_cut_is_rescued() {
    let nanos = TimestampNanosecondArray::from(vec![Some(1_500), None, Some(2_000)]);
    let (kind, values, misfits) = read(Arc::new(nanos));
    assert_eq!(kind, DataType::Timestamp(TimeUnit::Microsecond, None));
    assert_eq!(values, ["null", "null", "1970-01-01T00:00:00.000002"]);
    assert_eq!(misfits, [r#"{"v":"1970-01-01T00:00:00.000001500"}"#]);
    let bytes = BinaryArray::from(vec![&b"\xFF\xFE"[..], b"ok"]);
    let (_, values, misfits) = read(Arc::new(bytes));
    assert_eq!(
        (values, misfits),
        (vec!["null".into(), "ok".into()], vec![r#"{"v":{"base64":"//4="}}"#.to_owned()])
    );
}

#[test]
fn nested_values_are_json_and_uuids_are_text() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    assert_eq!(read(Arc::new(list)).1, ["[1,null]", "null", "[]"]);
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("a\nb\""), None]));
    let object = StructArray::from(vec![(Arc::new(Field::new("k", DataType::Utf8, true)), inner)]);
    assert_eq!(read(Arc::new(object)).1, [r#"{"k":"a\nb\""}"#, r#"{"k":null}"#]);
    let bytes = FixedSizeBinaryArray::try_from_iter([b"0123456789abcdef"].into_iter()).unwrap();
    assert_eq!(read(Arc::new(bytes)).1, ["0123456789abcdef"]);
}

/// A long text that every row repeats is one text in the file.
#[test]
fn batches_are_bounded_whatever_a_dictionary_expands_to() {
    let text = "x".repeat(200_000);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![text.as_str(); 500]));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
    let bytes = file(vec![("id", ids), ("text", texts)], 1_000);
    assert!(bytes.len() < 1_000_000);
    let batches = batches(bytes).unwrap();
    assert_eq!(batches.iter().map(RawBatch::rows).sum::<usize>(), 500);
    for batch in &batches {
        let texts = batch.columns[1].as_string::<i32>();
        assert!(texts.value_data().len() <= BATCH_BYTES + 2 * 200_000);
    }
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(5 << 20)]));
    let error = opened(file(vec![("text", long)], 1)).unwrap_err();
    assert!(matches!(error, FormatError::RecordTooLong { .. }), "{error}");
}

#[test]
fn row_groups_are_one_file_and_an_empty_one_has_no_rows() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20_000));
    let read = batches(file(vec![("id", ids)], 3_000)).unwrap();
    let values = read.iter().flat_map(|batch| {
        batch.columns[0].as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
    });
    assert!(values.eq(0..20_000));
    let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
    let empty = opened(file(vec![("id", none)], 10)).unwrap();
    assert_eq!((empty.originals(), empty.sample().is_none()), (&["id".to_owned()][..], true));
    assert!(opened(vec![]).unwrap().originals().is_empty());
}

fn small() -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..500).map(|n| format!("text {n}"))));
    file(vec![("id", ids), ("text", texts)], 100)
}

#[test]
fn files_that_cannot_be_read_are_refused_with_a_reason() {
    let whole = small();
    let cut = whole[..whole.len() - 100].to_vec();
    let mut encrypted = whole.clone();
    let end = encrypted.len() - 4;
    encrypted[end..].copy_from_slice(b"PARE");
    let mut long = whole.clone();
    long[end - 4..end].copy_from_slice(&u32::MAX.to_le_bytes());
    for (bytes, why) in [
        (b"id,name\n1,Ada\n".to_vec(), "not a Parquet file"),
        (b"PAR1".to_vec(), "not a Parquet file"),
        (cut, "corrupt or ends too early"),
        (encrypted, "an encrypted Parquet file"),
        (long, "corrupt or ends too early"),
    ] {
        let error = batches(bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// The crate passes a list that it does not know in the header of a page, also where the file has ended.
#[test]
fn a_list_in_a_header_is_no_longer_than_the_file() {
    let mut bytes = small();
    // A field that Parquet does not know, a list of 2^31 - 1 doubles.
    bytes[4..11].copy_from_slice(b"\xA9\xF7\xFF\xFF\xFF\xFF\x07");
    let error = batches(bytes).unwrap_err().to_string();
    assert!(error.contains("corrupt or ends too early"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a byte is changed to, the file is read or refused, and the process goes on.
    #[test]
    fn damaged_files_are_read_or_refused(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let mut bytes = small();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        match batches(bytes) {
            Ok(batches) => prop_assert!(batches.iter().all(|batch| batch.columns.len() <= 4_096)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
