//! Column metrics of data files: sizes, counts and bounds (Iceberg spec, "Data File Fields").
//!
//! A bound contains every value of its column, always: engines skip files by it. The bounds come from the
//! statistics of the row groups as Parquet wrote them. Parquet cuts long values and flags the result as inexact;
//! such a minimum or maximum is a bound all the same. Where a row group with values has no statistics, the file
//! has no bound for that column.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Schema,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;
use iceberg::spec::{DataFileBuilder, Datum, PrimitiveLiteral, PrimitiveType, Type};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use crate::lake::TableSchema;

/// Which metrics are kept (`write.metadata.metrics.default`, `write.metadata.metrics.column.*`).
const DEFAULT: &str = "write.metadata.metrics.default";
const OF_COLUMN: &str = "write.metadata.metrics.column.";
/// How many columns have bounds by default (Iceberg's documentation, "Write properties").
const MOST_COLUMNS: &str = "write.metadata.metrics.max-inferred-column-defaults";
const DEFAULT_MOST_COLUMNS: usize = 100;
/// Characters of a text bound, or bytes of a binary one.
const LENGTH: usize = 16;

/// What is kept about a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    None,
    Counts,
    Truncate(usize),
    Full,
}

impl Mode {
    /// Reads a property's value; an unknown one counts as the default.
    fn parse(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        let length = text.strip_prefix("truncate(").and_then(|rest| rest.strip_suffix(')'));
        match (text.as_str(), length.and_then(|digits| digits.trim().parse().ok())) {
            ("none", _) => Self::None,
            ("counts", _) => Self::Counts,
            ("full", _) => Self::Full,
            (_, Some(length)) if length > 0 => Self::Truncate(length),
            _ => Self::Truncate(LENGTH),
        }
    }
}

/// Which metrics the files of a table carry, by column.
#[derive(Debug, Clone)]
pub(in crate::lake) struct MetricsConfig {
    columns: Vec<(String, i32, Mode)>,
}

impl MetricsConfig {
    /// From the table's properties; columns named in `always` have bounds in any table.
    pub(in crate::lake) fn of(
        properties: &HashMap<String, String>,
        schema: &TableSchema,
        always: &[String],
    ) -> Self {
        let default = properties.get(DEFAULT).map(|text| Mode::parse(text));
        let most = properties.get(MOST_COLUMNS).and_then(|text| text.parse().ok());
        let most = most.unwrap_or(DEFAULT_MOST_COLUMNS);
        let fields = schema.arrow().fields().iter().enumerate();
        let columns = fields.filter_map(|(index, field)| {
            let name = field.name().clone();
            let own = properties.get(&format!("{OF_COLUMN}{name}")).map(|text| Mode::parse(text));
            let inferred = match default {
                Some(mode) => mode,
                None if index < most || always.contains(&name) => Mode::Truncate(LENGTH),
                None => Mode::None,
            };
            Some((name.clone(), schema.id_of(&name)?, own.unwrap_or(inferred)))
        });
        Self { columns: columns.collect() }
    }

    /// All metrics of all columns, bounds in full length.
    pub(in crate::lake) fn full(schema: &TableSchema) -> Self {
        let full = HashMap::from([(DEFAULT.to_owned(), "full".to_owned())]);
        Self::of(&full, schema, &[])
    }
}

/// Counts the NaN values of a batch, by field id.
pub(in crate::lake) fn count_nans(
    schema: &TableSchema,
    batch: &RecordBatch,
    counts: &mut HashMap<i32, u64>,
) {
    for (field, values) in batch.schema().fields().iter().zip(batch.columns()) {
        let nans = match values.data_type() {
            DataType::Float32 => {
                values.as_primitive::<Float32Type>().iter().flatten().filter(|v| v.is_nan()).count()
            }
            DataType::Float64 => {
                values.as_primitive::<Float64Type>().iter().flatten().filter(|v| v.is_nan()).count()
            }
            _ => continue,
        };
        if let Some(id) = schema.id_of(field.name()) {
            *counts.entry(id).or_default() += nans as u64;
        }
    }
}

/// Sets the metrics of a file, from what its writer knows.
pub(in crate::lake) fn describe(
    builder: &mut DataFileBuilder,
    metadata: &ParquetMetaData,
    schema: &TableSchema,
    config: &MetricsConfig,
    nans: &HashMap<i32, u64>,
) -> Result<(), ParquetError> {
    let (mut sizes, mut values, mut nulls) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut lower, mut upper) = (HashMap::new(), HashMap::new());
    let mut counted_nans = HashMap::new();
    for (name, id, mode) in &config.columns {
        if *mode == Mode::None {
            continue;
        }
        let Some(column) = Column::find(name, schema.arrow(), metadata)? else { continue };
        sizes.insert(*id, column.sum(|chunk| chunk.compressed_size()));
        values.insert(*id, column.sum(|chunk| chunk.num_values()));
        if let Some(count) = column.nulls() {
            nulls.insert(*id, count);
        }
        if let Some(count) = nans.get(id) {
            counted_nans.insert(*id, *count);
        }
        let length = match mode {
            Mode::Truncate(length) => Some(*length),
            Mode::Full => None,
            Mode::None | Mode::Counts => continue,
        };
        let Some(kind) = primitive(schema, *id) else { continue };
        if let Some(bound) = column.bound(&kind, End::Lower)? {
            lower.extend(cut(bound, length, End::Lower).map(|bound| (*id, bound)));
        }
        if let Some(bound) = column.bound(&kind, End::Upper)? {
            upper.extend(cut(bound, length, End::Upper).map(|bound| (*id, bound)));
        }
    }
    builder
        .column_sizes(sizes)
        .value_counts(values)
        .null_value_counts(nulls)
        .nan_value_counts(counted_nans)
        .lower_bounds(lower)
        .upper_bounds(upper)
        .split_offsets(Some(
            metadata.row_groups().iter().filter_map(RowGroupMetaData::file_offset).collect(),
        ));
    Ok(())
}

fn primitive(schema: &TableSchema, id: i32) -> Option<PrimitiveType> {
    match schema.iceberg().field_by_id(id)?.field_type.as_ref() {
        Type::Primitive(kind) => Some(kind.clone()),
        _ => None,
    }
}

/// Which end of a column's values a bound is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Lower,
    Upper,
}

/// One column of a written file, over all of its row groups.
struct Column<'a> {
    index: usize,
    converter: StatisticsConverter<'a>,
    groups: &'a [RowGroupMetaData],
}

impl<'a> Column<'a> {
    fn find(
        name: &'a str,
        schema: &'a Schema,
        metadata: &'a ParquetMetaData,
    ) -> Result<Option<Self>, ParquetError> {
        let parquet = metadata.file_metadata().schema_descr();
        let nested = schema.field_with_name(name).is_ok_and(|f| f.data_type().is_nested());
        if nested {
            return Ok(None);
        }
        let converter = StatisticsConverter::try_new(name, schema, parquet)?;
        let index = converter.parquet_column_index();
        Ok(index.map(|index| Self { index, converter, groups: metadata.row_groups() }))
    }

    fn chunks(&self) -> impl Iterator<Item = &parquet::file::metadata::ColumnChunkMetaData> {
        self.groups.iter().map(|group| group.column(self.index))
    }

    fn sum(&self, of: impl Fn(&parquet::file::metadata::ColumnChunkMetaData) -> i64) -> u64 {
        self.chunks().map(|chunk| of(chunk).max(0) as u64).sum()
    }

    /// Nulls of the file; none where a row group has no count.
    fn nulls(&self) -> Option<u64> {
        self.chunks().map(|chunk| chunk.statistics()?.null_count_opt()).sum()
    }

    /// A value at or beyond every value of the file; none where there is no sure one.
    fn bound(&self, kind: &PrimitiveType, end: End) -> Result<Option<Datum>, ParquetError> {
        let ends = match end {
            End::Lower => self.converter.row_group_mins(self.groups)?,
            End::Upper => self.converter.row_group_maxes(self.groups)?,
        };
        let mut bound: Option<Datum> = None;
        for (group, chunk) in self.chunks().enumerate() {
            let nulls = chunk.statistics().and_then(|s| s.null_count_opt());
            if ends.is_null(group) {
                if nulls == Some(chunk.num_values().max(0) as u64) {
                    continue;
                }
                return Ok(None);
            }
            let Some(value) = datum(&ends, group, kind) else { return Ok(None) };
            let further = |before: &Datum| match end {
                End::Lower => value < *before,
                End::Upper => value > *before,
            };
            if bound.as_ref().is_none_or(further) {
                bound = Some(value);
            }
        }
        Ok(bound)
    }
}

/// A value of an Arrow array as Iceberg compares it; none for types without bounds.
fn datum(values: &ArrayRef, row: usize, kind: &PrimitiveType) -> Option<Datum> {
    let bytes = match values.data_type() {
        DataType::Boolean => vec![u8::from(values.as_boolean().value(row))],
        DataType::Int32 => values.as_primitive::<Int32Type>().value(row).to_le_bytes().to_vec(),
        DataType::Int64 => values.as_primitive::<Int64Type>().value(row).to_le_bytes().to_vec(),
        DataType::Float32 => values.as_primitive::<Float32Type>().value(row).to_le_bytes().to_vec(),
        DataType::Float64 => values.as_primitive::<Float64Type>().value(row).to_le_bytes().to_vec(),
        DataType::Date32 => values.as_primitive::<Date32Type>().value(row).to_le_bytes().to_vec(),
        DataType::Time64(TimeUnit::Microsecond) => {
            values.as_primitive::<Time64MicrosecondType>().value(row).to_le_bytes().to_vec()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            values.as_primitive::<TimestampMicrosecondType>().value(row).to_le_bytes().to_vec()
        }
        DataType::Decimal128(..) => {
            values.as_primitive::<Decimal128Type>().value(row).to_be_bytes().to_vec()
        }
        DataType::Utf8 => values.as_string::<i32>().value(row).as_bytes().to_vec(),
        DataType::LargeUtf8 => values.as_string::<i64>().value(row).as_bytes().to_vec(),
        DataType::Binary => values.as_binary::<i32>().value(row).to_vec(),
        DataType::LargeBinary => values.as_binary::<i64>().value(row).to_vec(),
        DataType::FixedSizeBinary(_) => values.as_fixed_size_binary().value(row).to_vec(),
        _ => return None,
    };
    Datum::try_from_bytes(&bytes, kind.clone()).ok().filter(|datum| !datum.is_nan())
}

/// The bound, at most `length` characters or bytes long. A lower one is cut; an upper one is cut and
/// incremented (Iceberg spec, Appendix D). None: no such value is great enough.
fn cut(bound: Datum, length: Option<usize>, end: End) -> Option<Datum> {
    let Some(length) = length else { return Some(bound) };
    match bound.literal() {
        PrimitiveLiteral::String(text) if text.chars().count() > length => {
            let kept: Vec<char> = text.chars().take(length).collect();
            match end {
                End::Lower => Some(Datum::string(kept.iter().collect::<String>())),
                End::Upper => incremented_text(kept).map(Datum::string),
            }
        }
        PrimitiveLiteral::Binary(bytes)
            if bytes.len() > length && *bound.data_type() == PrimitiveType::Binary =>
        {
            let kept = bytes[..length].to_vec();
            match end {
                End::Lower => Some(Datum::binary(kept)),
                End::Upper => incremented_bytes(kept).map(Datum::binary),
            }
        }
        _ => Some(bound),
    }
}

/// The least text of at most that length above everything that begins with it.
fn incremented_text(mut text: Vec<char>) -> Option<String> {
    while let Some(last) = text.pop() {
        // Between U+D7FF and U+E000 there are no characters.
        let next =
            if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(next) = next {
            text.push(next);
            return Some(text.into_iter().collect());
        }
    }
    None
}

fn incremented_bytes(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = bytes.pop() {
        if let Some(next) = last.checked_add(1) {
            bytes.push(next);
            return Some(bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upper_bound_is_incremented_where_it_can_be() {
        let upper = |text: &str, length| cut(Datum::string(text), Some(length), End::Upper);
        assert_eq!(upper("abc", 3), Some(Datum::string("abc")));
        assert_eq!(upper("abcd", 3), Some(Datum::string("abd")));
        assert_eq!(upper("ab\u{10FFFF}d", 3), Some(Datum::string("ac")));
        assert_eq!(upper("\u{D7FF}\u{D7FF}", 1), Some(Datum::string("\u{E000}")));
        assert_eq!(upper("\u{10FFFF}\u{10FFFF}", 1), None);
        let upper = |bytes: &[u8]| cut(Datum::binary(bytes.to_vec()), Some(2), End::Upper);
        assert_eq!(upper(&[1, 255, 3]), Some(Datum::binary(vec![2])));
        assert_eq!(upper(&[255, 255, 3]), None);
    }

    #[test]
    fn modes_are_read_as_iceberg_writes_them() {
        for (text, mode) in [
            ("none", Mode::None),
            ("Counts", Mode::Counts),
            ("truncate(3)", Mode::Truncate(3)),
            ("full", Mode::Full),
            ("truncate(0)", Mode::Truncate(LENGTH)),
            ("whatever", Mode::Truncate(LENGTH)),
        ] {
            assert_eq!(Mode::parse(text), mode, "{text}");
        }
    }
}
