//! Types of Parquet → those of Iceberg. What Iceberg's format version 2 does not have is text.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::compute::cast_with_options;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;

use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;
use std::sync::Arc;

use super::super::cast::{SAFE, whole};
use super::super::cells::value;

/// The type that a column of a table has for values of this one.
pub(super) fn kind_of(kind: &DataType) -> DataType {
    use DataType as T;
    match kind {
        T::Boolean | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Date32 => kind.clone(),
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 => T::Float32,
        T::Decimal32(digits, scale)
        | T::Decimal64(digits, scale)
        | T::Decimal128(digits, scale)
            if (0..=*digits as i8).contains(scale) =>
        {
            T::Decimal128(*digits, *scale)
        }
        T::Time32(_) | T::Time64(_) => T::Time64(TimeUnit::Microsecond),
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(_, Some(_)) => T::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        _ => T::Utf8,
    }
}

/// How the values of a type are read: long texts that repeat stay one text.
pub(super) fn read_as(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        other => other.clone(),
    }
}

/// Values in the type of the table, and what that type cannot hold, by its row.
pub(super) type Converted = (ArrayRef, Vec<(usize, Value)>);

/// Converts a column. A value that would lose something is null.
pub(super) fn converted(
    values: &ArrayRef,
    kind: &DataType,
    is_uuid: bool,
) -> Result<Converted, ArrowError> {
    use DataType as T;
    match values.data_type() {
        same if same == kind => Ok((values.clone(), vec![])),
        T::BinaryView => Ok(texts(values.as_binary_view().iter(), false)),
        T::FixedSizeBinary(_) => Ok(texts(values.as_fixed_size_binary().iter(), is_uuid)),
        nested if nested.is_nested() => Ok((json(values)?, vec![])),
        from => {
            let cast = cast_with_options(values, kind, &SAFE)?;
            let cuts = matches!(from, T::Timestamp(TimeUnit::Nanosecond, _))
                || matches!(from, T::Time64(TimeUnit::Nanosecond));
            match cuts || cast.null_count() > values.null_count() {
                true => kept(values, cast),
                false => Ok((cast, vec![])),
            }
        }
    }
}

/// The whole values of a cast, and the others.
fn kept(values: &ArrayRef, cast: ArrayRef) -> Result<Converted, ArrowError> {
    let (cast, whole) = whole(values, cast)?;
    let format = FormatOptions::default();
    let shown = ArrayFormatter::try_new(values, &format)?;
    let lost = (0..values.len()).filter(|row| !whole.value(*row));
    Ok((cast, lost.map(|row| (row, shown.value(row).to_string().into())).collect()))
}

/// Bytes as texts: many writers do not say that their texts are such.
fn texts<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, is_uuid: bool) -> Converted {
    let (mut texts, mut lost) = (StringBuilder::new(), Vec::new());
    for (row, bytes) in values.enumerate() {
        let uuid = bytes.filter(|_| is_uuid).and_then(|bytes| uuid::Uuid::from_slice(bytes).ok());
        match (uuid, bytes.map(std::str::from_utf8)) {
            (Some(uuid), _) => texts.append_value(uuid.to_string()),
            (None, None) => texts.append_null(),
            (None, Some(Ok(text))) => texts.append_value(text),
            (None, Some(Err(_))) => {
                texts.append_null();
                lost.extend(bytes.map(|bytes| (row, value(bytes))));
            }
        }
    }
    (Arc::new(texts.finish()), lost)
}

/// Structs, lists and maps as JSON.
fn json(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let schema = Schema::new(vec![Field::new("v", values.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![values.clone()])?;
    let writer = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = writer.build::<_, LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let lines = String::from_utf8(writer.into_inner())
        .map_err(|error| ArrowError::JsonError(error.to_string()))?;
    let mut texts = StringBuilder::new();
    for (row, line) in lines.lines().enumerate() {
        let text = line.strip_prefix("{\"v\":").and_then(|text| text.strip_suffix('}'));
        texts.append_option(text.filter(|_| values.is_valid(row)));
    }
    Ok(Arc::new(texts.finish()))
}
