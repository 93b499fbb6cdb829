//! Formats of files, and the names that say them.

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines of fields.
    Csv,
    /// Objects of JSON: lines, arrays, or one after the other.
    Json,
    /// Columns with types.
    Parquet,
}

/// What names of JSON files end with.
const JSON: [&str; 4] = ["json", "jsonl", "ndjson", "jsonlines"];
/// What names of Parquet files end with.
const PARQUET: [&str; 3] = ["parquet", "parq", "pq"];
/// What names of compressed files end with.
const COMPRESSED: [&str; 7] = ["gz", "gzip", "zst", "zstd", "bz2", "bzip2", "xz"];

/// Whether a name with this ending is that of a compressed file.
pub fn is_compressed(ending: &str) -> bool {
    COMPRESSED.contains(&ending.to_ascii_lowercase().as_str())
}

impl Format {
    /// The format that a name ends with, before what says that the file is compressed.
    pub(super) fn of_name(uri: &str) -> Self {
        let name = uri.rsplit('/').next().unwrap_or(uri).to_ascii_lowercase();
        let mut endings = name.split('.').skip(1).collect::<Vec<_>>();
        while endings.last().is_some_and(|ending| is_compressed(ending)) {
            endings.pop();
        }
        match endings.last() {
            Some(ending) if JSON.contains(ending) => Format::Json,
            Some(ending) if PARQUET.contains(ending) => Format::Parquet,
            _ => Format::Csv,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_format_whatever_is_compressed() {
        for (uri, expected) in [
            ("s3://raw/a/orders.json", Format::Json),
            ("raw/orders.JSONL.gz", Format::Json),
            ("raw/orders.2026-01.ndjson.zst", Format::Json),
            ("raw/orders.json.csv", Format::Csv),
            ("raw/x.json/orders", Format::Csv),
            ("raw/json", Format::Csv),
            ("raw/part-0.snappy.parquet", Format::Parquet),
            ("raw/x.PQ", Format::Parquet),
            ("raw/orders.csv.gz", Format::Csv),
        ] {
            assert_eq!(Format::of_name(uri), expected, "{uri}");
        }
    }
}
