//! How Parquet files are written: by the table's own properties (Iceberg's documentation, "Write properties"), within
//! what the writer's memory allows (I7). Pure.

use std::collections::HashMap;

use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::lake::{LakeError, Table, TableName};

/// The size at which a file is closed and the next one begins.
const TARGET_FILE: &str = "write.target-file-size-bytes";
/// The default of [`TARGET_FILE`].
const TARGET_FILE_BYTES: usize = 512 * 1024 * 1024;
/// Rows of a row group: what a writer holds in memory, and what a reader can skip.
const ROW_GROUP_ROWS: usize = 128 * 1024;
const ROW_GROUP: &str = "write.parquet.row-group-size-bytes";
/// Bytes of a row group at most, where rows are wide: the writer's memory does not follow them (I7).
pub(super) const ROW_GROUP_BYTES: usize = 32 * 1024 * 1024;
const PAGE: &str = "write.parquet.page-size-bytes";
const PAGE_ROWS: &str = "write.parquet.page-row-limit";
const DICTIONARY: &str = "write.parquet.dict-size-bytes";
/// Bytes of a page or a dictionary at most: there is one of each for every column of a row group.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
const CODEC: &str = "write.parquet.compression-codec";
const LEVEL: &str = "write.parquet.compression-level";
const BLOOM_FILTER: &str = "write.parquet.bloom-filter-enabled.column.";
const BLOOM_FILTER_FPP: &str = "write.parquet.bloom-filter-fpp.column.";

/// Properties of a table, by key.
type Properties = HashMap<String, String>;

/// The size at which a data file is large enough.
pub(in crate::lake) fn target_file_bytes(properties: &Properties) -> usize {
    number(properties, TARGET_FILE).unwrap_or(TARGET_FILE_BYTES).max(1)
}

impl Table {
    /// The size at which a data file is large enough.
    pub fn target_file_bytes(&self) -> u64 {
        target_file_bytes(self.metadata().properties()) as u64
    }
}

/// How a table's files are written.
///
/// # Errors
/// [`LakeError::NotWritable`]: the table wants a compression that silversmith cannot write.
pub(in crate::lake) fn writer_properties(
    table: &TableName,
    properties: &Properties,
) -> Result<WriterProperties, LakeError> {
    let bytes = |key: &str, most: usize| number(properties, key).map(|size| size.clamp(1, most));
    let mut builder = WriterProperties::builder()
        .set_compression(compression(table, properties)?)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(bytes(ROW_GROUP, ROW_GROUP_BYTES).or(Some(ROW_GROUP_BYTES)));
    if let Some(size) = bytes(PAGE, PAGE_BYTES) {
        builder = builder.set_data_page_size_limit(size);
    }
    if let Some(rows) = bytes(PAGE_ROWS, ROW_GROUP_ROWS) {
        builder = builder.set_data_page_row_count_limit(rows);
    }
    if let Some(size) = bytes(DICTIONARY, PAGE_BYTES) {
        builder = builder.set_dictionary_page_size_limit(size);
    }
    Ok(bloom_filters(builder, properties).build())
}

fn number(properties: &Properties, key: &str) -> Option<usize> {
    properties.get(key)?.trim().parse().ok()
}

/// Bloom filters for the columns that ask for one.
fn bloom_filters(
    mut builder: WriterPropertiesBuilder,
    properties: &Properties,
) -> WriterPropertiesBuilder {
    for (key, value) in properties {
        let Some(column) = key.strip_prefix(BLOOM_FILTER) else { continue };
        let path = ColumnPath::new(column.split('.').map(str::to_owned).collect());
        let enabled = value.trim().eq_ignore_ascii_case("true");
        builder = builder.set_column_bloom_filter_enabled(path.clone(), enabled);
        let fpp = properties.get(&format!("{BLOOM_FILTER_FPP}{column}"));
        let fpp = fpp.and_then(|text| text.trim().parse::<f64>().ok());
        if let Some(fpp) = fpp.filter(|fpp| enabled && *fpp > 0.0 && *fpp < 1.0) {
            builder = builder.set_column_bloom_filter_fpp(path, fpp);
        }
    }
    builder
}

/// The codec by Iceberg's names, zstd where the table names none.
fn compression(table: &TableName, properties: &Properties) -> Result<Compression, LakeError> {
    let codec = properties.get(CODEC).map_or("zstd", |text| text.trim()).to_ascii_lowercase();
    let level = properties.get(LEVEL).map(|text| text.trim());
    let refused = |why: String| LakeError::NotWritable { table: table.clone(), why };
    let chosen = match codec.as_str() {
        "zstd" => leveled(level, 1, ZstdLevel::try_new).map(Compression::ZSTD),
        "gzip" => leveled(level, 6, GzipLevel::try_new).map(Compression::GZIP),
        "brotli" => leveled(level, 1, BrotliLevel::try_new).map(Compression::BROTLI),
        "snappy" => Ok(Compression::SNAPPY),
        "lz4" | "lz4_raw" => Ok(Compression::LZ4_RAW),
        "uncompressed" | "none" => Ok(Compression::UNCOMPRESSED),
        other => {
            return Err(refused(format!(
                "wants files compressed by {other} (property {CODEC}), which silversmith cannot write; set it to zstd"
            )));
        }
    };
    chosen
        .map_err(|why| refused(format!("has a property {LEVEL} that {codec} does not know: {why}")))
}

fn leveled<N, L>(
    level: Option<&str>,
    default: N,
    of: impl Fn(N) -> Result<L, ParquetError>,
) -> Result<L, String>
where
    N: std::str::FromStr<Err: std::fmt::Display>,
{
    let level =
        level.map_or(Ok(default), |text| text.parse().map_err(|e: N::Err| e.to_string()))?;
    of(level).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(set: &[(&str, &str)]) -> Properties {
        set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn made(set: &[(&str, &str)]) -> Result<WriterProperties, String> {
        let table: TableName = "silver.orders".parse().unwrap();
        writer_properties(&table, &properties(set)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_tables_compression_is_written() {
        let codec =
            |set: &[(&str, &str)]| made(set).map(|made| made.compression(&ColumnPath::from("a")));
        let zstd = |level| Ok(Compression::ZSTD(ZstdLevel::try_new(level).unwrap()));
        assert_eq!(codec(&[]), zstd(1));
        assert_eq!(codec(&[(CODEC, "zstd"), (LEVEL, "5")]), zstd(5));
        assert_eq!(codec(&[(CODEC, "GZIP")]), Ok(Compression::GZIP(GzipLevel::default())));
        assert_eq!(codec(&[(CODEC, "snappy"), (LEVEL, "x")]), Ok(Compression::SNAPPY));
        assert_eq!(codec(&[(CODEC, "lz4")]), Ok(Compression::LZ4_RAW));
        assert_eq!(codec(&[(CODEC, "uncompressed")]), Ok(Compression::UNCOMPRESSED));
        for (set, says) in [
            (&[(CODEC, "lzo")][..], "table silver.orders wants files compressed by lzo"),
            (&[(LEVEL, "99")], "write.parquet.compression-level"),
            (&[(LEVEL, "fast")], "write.parquet.compression-level"),
        ] {
            let refused = codec(set).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn sizes_are_the_tables_within_what_memory_allows() {
        let made = made(&[
            (ROW_GROUP, "1048576"),
            (PAGE, "65536"),
            (PAGE_ROWS, "100"),
            (DICTIONARY, "4096"),
        ]);
        let made = made.unwrap();
        assert_eq!(made.max_row_group_bytes(), Some(1_048_576));
        let any = ColumnPath::from("a");
        assert_eq!(made.column_data_page_size_limit(&any), 65_536);
        assert_eq!(made.data_page_row_count_limit(), 100);
        assert_eq!(made.column_dictionary_page_size_limit(&any), 4096);
        let large = self::made(&[(ROW_GROUP, "134217728"), (PAGE, "134217728")]).unwrap();
        assert_eq!(large.max_row_group_bytes(), Some(ROW_GROUP_BYTES));
        assert_eq!(large.column_data_page_size_limit(&any), PAGE_BYTES);
        assert_eq!(target_file_bytes(&properties(&[])), TARGET_FILE_BYTES);
        assert_eq!(target_file_bytes(&properties(&[(TARGET_FILE, "1000")])), 1000);
    }

    #[test]
    fn bloom_filters_are_for_the_columns_that_ask() {
        let of = |column: &str, key: &str| format!("{key}{column}");
        let (a, b, fpp) = (of("a", BLOOM_FILTER), of("b", BLOOM_FILTER), of("a", BLOOM_FILTER_FPP));
        let made = made(&[(&a, "true"), (&b, "false"), (&fpp, "0.05")]).unwrap();
        let filter = |column: &str| made.bloom_filter_properties(&ColumnPath::from(column));
        assert_eq!(filter("a").map(|filter| filter.fpp), Some(0.05));
        assert_eq!((filter("b"), filter("c")), (None, None));
    }
}
